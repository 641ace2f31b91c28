//! The small file in which the last final block is kept.

use crate::FeedError;
use std::{
    fmt::Display,
    fs::File,
    io::{self, Write},
    path::Path,
};
use tandem_types::BlockId;

/// Reads it; `None` where there is none yet.
pub(crate) fn read(path: &Path) -> Result<Option<BlockId>, FeedError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| failed(path, e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(path, e)),
    }
}

/// Writes beside, syncs, and renames, so that a crash leaves the old record or the new one. The folder is not
/// synced: an older record after a power cut only makes the check weaker, not wrong. An empty one would be damage.
pub(crate) fn write(path: &Path, finalized: BlockId) -> Result<(), FeedError> {
    let new = path.with_extension("new");
    let bytes = serde_json::to_vec(&finalized).map_err(|e| failed(path, e))?;
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_data()
    });
    written.and_then(|()| std::fs::rename(&new, path)).map_err(|e| failed(path, e))
}

fn failed(path: &Path, e: impl Display) -> FeedError {
    FeedError::Record(format!("{}: {e}", path.display()))
}
