//! `tandem journal`: looks at a stopped host's journal, and changes nothing.

use crate::{cli::Journal, config::Config};
use anyhow::{Context, Result};
use tandem_journal::segment;

/// Reads every segment, checks it, and says what is in it.
///
/// # Errors
/// If a segment is damaged, with its file and offset.
pub fn run(args: &Journal) -> Result<()> {
    let config = Config::read(&args.config.config)?;
    let dir = config.paths.data.join("journal");
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .with_context(|| format!("the journal in {}", dir.display()))?
        .filter_map(Result::ok)
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    files.sort();
    let mut records = 0;
    for path in &files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let scan = segment::scan(&name, &bytes)?;
        records += scan.frames.len();
        let end = if scan.closed_by.is_some() { "closed by a synced mark" } else { "open at its end" };
        println!(
            "{name}: {} records, {} bytes, {end}, {} bytes past the last whole record",
            scan.frames.len(),
            scan.end,
            scan.torn
        );
        if args.records {
            for f in &scan.frames {
                println!("  {:>10}  {:?} at {}, {} bytes", f.seq, f.kind, f.offset, f.body.len());
            }
        }
    }
    println!("{} segments, {records} records, no damage", files.len());
    Ok(())
}
