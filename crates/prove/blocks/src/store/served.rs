//! Whose header was served: what tells somebody else's block from one that nobody asked us for.

use super::RELAYS;
use alloy_primitives::B256;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// The ending of an own offer's mark. A relay's offer is written for an answer and for nothing else, and is
/// its own mark.
pub(super) const SERVED: &str = "served";
/// The ending of the mark that no answer with this header left.
const WITHHELD: &str = "withheld";

/// Where the answer with a header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// On its way. It counts as served.
    Chosen,
    /// At least one was handed over.
    Left,
    /// None was: the call had been given up.
    Withheld,
}

/// The headers that header calls are answered with, by their block.
#[derive(Debug)]
pub(super) struct Served {
    dir: PathBuf,
    answers: Mutex<HashMap<B256, Answer>>,
    /// Held while a mark is written or removed, and never by whoever only looks.
    marks: Mutex<()>,
}

impl Served {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), answers: Mutex::default(), marks: Mutex::default() }
    }

    /// Takes in a file of the folder, as it is read at a start. Others' are left alone.
    pub fn read(&self, path: &Path) {
        let Some(hash) = path.file_stem().and_then(|s| s.to_str()?.parse::<B256>().ok()) else { return };
        let mut answers = self.answers.lock();
        match path.extension().and_then(|e| e.to_str()) {
            // Either may be read first.
            Some(WITHHELD) => drop(answers.insert(hash, Answer::Withheld)),
            Some(SERVED | RELAYS) => drop(answers.entry(hash).or_insert(Answer::Left)),
            _ => {}
        }
    }

    /// An answer with this header is on its way. Whether it is the first.
    pub fn choose(&self, hash: B256) -> bool {
        let mut answers = self.answers.lock();
        match answers.get(&hash) {
            Some(Answer::Chosen | Answer::Left) => false,
            Some(Answer::Withheld) => {
                answers.insert(hash, Answer::Chosen);
                false
            }
            None => {
                answers.insert(hash, Answer::Chosen);
                true
            }
        }
    }

    /// Writes an own offer's mark. It is made durable by whoever syncs the offer.
    pub fn write_mark(&self, hash: B256) {
        let _one = self.marks.lock();
        if let Err(error) = File::create(self.path(hash, SERVED)) {
            tracing::error!(%error, "the mark of a served header was not written; it holds until a restart");
        }
    }

    /// An answer with this header was handed over, or was not. One that was counts for good. Whether the
    /// marks are to be brought in line, by [`Self::settle`].
    pub fn note_left(&self, hash: B256, left: bool) -> bool {
        let mut answers = self.answers.lock();
        let before = answers.get(&hash).copied();
        let now = match (before, left) {
            (Some(Answer::Left), _) | (_, true) => Answer::Left,
            (_, false) => Answer::Withheld,
        };
        answers.insert(hash, now);
        // The mark that none left may be there from a call before this one, whatever was chosen since.
        before != Some(Answer::Left)
    }

    /// Writes or removes the mark that no answer left, as things are now.
    pub fn settle(&self, hash: B256) {
        let _one = self.marks.lock();
        let withheld = self.answers.lock().get(&hash) == Some(&Answer::Withheld);
        let path = self.path(hash, WITHHELD);
        let done = if withheld { File::create(path).map(drop) } else { removed(&path) };
        if let Err(error) = done {
            // Without it a restart takes the header for served, which is the safe side.
            tracing::warn!(%error, withheld, "whether a header left is not written; after a restart promising may stop for its slot");
        }
    }

    /// Whether an answer with this header left, or may have.
    pub fn was(&self, hash: &B256) -> bool {
        self.answers.lock().get(hash).is_some_and(|a| *a != Answer::Withheld)
    }

    /// Forgets a header with its marks.
    pub fn forget(&self, hash: B256) {
        let _one = self.marks.lock();
        if self.answers.lock().remove(&hash).is_some() {
            // What can not be removed now is read at the next start, and removed then.
            let _ = (removed(&self.path(hash, SERVED)), removed(&self.path(hash, WITHHELD)));
        }
    }

    fn path(&self, hash: B256, ending: &str) -> PathBuf {
        self.dir.join(format!("{hash:x}.{ending}"))
    }
}

fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
