//! What the journal's folder shows from outside: whether segments were begun and taken away under kills.

use crate::report::Report;
use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long the host may take to write what it has to.
const WRITES: Duration = Duration::from_secs(60);
/// Rounds from which on a segment must have been removed.
const REMOVES: u32 = 200;

/// The numbers of a journal's oldest and newest segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// The oldest that is left: as many were taken away.
    pub oldest: u64,
    /// The newest: as many were full.
    pub newest: u64,
}

impl Segments {
    /// Reads the folder of a host.
    ///
    /// # Errors
    /// If it can not be read, or has no segment.
    pub fn of(host: &Path) -> Result<Self> {
        let dir = journal(host);
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(|n| u64::from_str_radix(n.strip_suffix(".seg")?, 16).ok()));
        }
        let (oldest, newest) = (numbers.iter().min(), numbers.iter().max());
        let (oldest, newest) = oldest.zip(newest).with_context(|| format!("no segment in {}", dir.display()))?;
        Ok(Self { oldest: *oldest, newest: *newest })
    }

    /// Waits until the first segment of a host is full.
    ///
    /// # Errors
    /// If it does not fill up.
    pub async fn first_is_full(host: &Path) -> Result<()> {
        let begin = Instant::now();
        while Self::of(host)?.newest == 0 {
            if begin.elapsed() > WRITES {
                bail!("the delegations did not fill a segment within {WRITES:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until the newest segment of a host is more than the place that is kept for it.
    ///
    /// # Errors
    /// If it stays empty.
    pub async fn newest_is_written(host: &Path) -> Result<()> {
        let begin = Instant::now();
        loop {
            let segment = journal(host).join(format!("{:016x}.seg", Self::of(host)?.newest));
            let mut first = [0];
            // None is there yet where this fails.
            let read = File::open(&segment).and_then(|mut file| file.read_exact(&mut first));
            if read.is_ok() && first != [0] {
                return Ok(());
            }
            if begin.elapsed() > WRITES {
                bail!("{} was not written within {WRITES:?}", segment.display());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The rows of the table. A `whole` run has begun some, and one of 200 rounds removed the first.
    pub fn rows(self, report: &mut Report, rounds: u32, whole: bool) {
        let Self { oldest, newest } = self;
        report.add(
            "journal segments begun",
            newest > 0 || !whole,
            (newest + 1) as f64,
            "",
            format!("{newest} were full"),
        );
        let ok = oldest > 0 || rounds < REMOVES;
        report.add("journal segments removed", ok, oldest as f64, "", "the oldest, once all slots in them were final");
    }
}

fn journal(host: &Path) -> PathBuf {
    host.join("data").join("journal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_told_by_their_names_and_a_folder_without_one_is_an_error() {
        let host = tempfile::tempdir().unwrap();
        let dir = host.path().join("data/journal");
        std::fs::create_dir_all(&dir).unwrap();
        assert!(Segments::of(host.path()).is_err());
        for name in ["000000000000000c.seg", "000000000000000a.seg", "lock", "00.blob", "000000000000000d.seg.tmp"] {
            std::fs::write(dir.join(name), b"").unwrap();
        }
        assert_eq!(Segments::of(host.path()).unwrap(), Segments { oldest: 10, newest: 12 });
    }

    #[tokio::test]
    async fn a_segment_that_is_only_reserved_is_waited_for() {
        let host = tempfile::tempdir().unwrap();
        let dir = journal(host.path());
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("000000000000000a.seg"), b"TNDM").unwrap();
        Segments::newest_is_written(host.path()).await.unwrap();
        for empty in [&b""[..], &[0; 64]] {
            std::fs::write(dir.join("000000000000000b.seg"), empty).unwrap();
            let written = Segments::newest_is_written(host.path());
            assert!(tokio::time::timeout(Duration::from_millis(100), written).await.is_err());
        }
    }

    #[test]
    fn two_hundred_rounds_must_have_removed_a_segment_and_a_whole_run_begun_one() {
        let ok = |oldest, newest, rounds, whole| {
            let mut report = Report::default();
            Segments { oldest, newest }.rows(&mut report, rounds, whole);
            report.checks().iter().map(|c| (c.ok, c.value)).collect::<Vec<_>>()
        };
        assert_eq!(ok(2, 9, 200, true), [(true, 10.0), (true, 2.0)]);
        assert_eq!(ok(0, 9, 200, true), [(true, 10.0), (false, 0.0)]);
        assert_eq!(ok(0, 9, 199, true), [(true, 10.0), (true, 0.0)]);
        assert_eq!(ok(0, 0, 199, true), [(false, 1.0), (true, 0.0)]);
        assert_eq!(ok(0, 0, 10, false), [(true, 1.0), (true, 0.0)]);
    }
}
