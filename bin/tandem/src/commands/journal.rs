//! `tandem journal`: looks at a stopped host's journal, and changes nothing.

use crate::{cli::Journal, config::Config};
use anyhow::{Context, Result};
use tandem_journal::{FileStorage, SegmentReport, inspect};

/// Reads every segment by the checks of a start, and says what is in it: nothing is damaged, missing, out of
/// its order or unreadable if this says so.
///
/// # Errors
/// What the host would refuse to start with, with file and offset.
pub fn run(args: &Journal) -> Result<()> {
    let config = Config::read(&args.config.config)?;
    let dir = config.paths.data.join("journal");
    let storage = FileStorage::existing(&dir).with_context(|| format!("the journal in {}", dir.display()))?;
    let sum = inspect(&storage, |segment| show(segment, args.records))?;
    if sum.dead > 0 {
        println!("{} older files hold nothing alive; the next start removes them", sum.dead);
    }
    println!(
        "{} segments, {} records up to number {}, {} commitments alive, {} scopes of modules, floor {}, no damage",
        sum.segments, sum.records, sum.last_seq, sum.alive, sum.scopes, sum.floor
    );
    if let Some(watermark) = sum.withheld {
        println!("nothing is promised before all slots below the watermark {watermark} are final");
    }
    Ok(())
}

fn show(segment: &SegmentReport, records: bool) {
    let end = if segment.closed { "closed by a synced mark" } else { "open at its end" };
    println!(
        "{}: {} records, {} bytes, {end}, {} bytes past the last whole record",
        segment.file,
        segment.records.len(),
        segment.bytes,
        segment.torn
    );
    for line in segment.records.iter().filter(|_| records) {
        println!("  {:>10}  at {:>9}  {}", line.seq, line.offset, line.what);
    }
}
