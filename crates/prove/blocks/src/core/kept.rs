//! What an earlier life left in files, where a file that can not be read must not be taken for none.

use super::{STOP_FILE, start::OPENING_FILE};
use crate::{opening::OpeningBook, store::write_atomic};
use std::{io, path::Path};

/// Why promising is stopped, if the stop's file is there. One that can not be read says so, too.
pub(super) fn stop(dir: &Path) -> Option<String> {
    match std::fs::read(dir.join(STOP_FILE)) {
        Ok(raw) => Some(String::from_utf8_lossy(&raw).into_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => Some(format!("{STOP_FILE} can not be read: {e}")),
    }
}

/// Writes the stop's file.
pub(super) fn write_stop(dir: &Path, why: &str) -> io::Result<()> {
    write_atomic(dir, STOP_FILE, why.as_bytes())
}

/// What was forgone, and where that can not be read why nothing is promised: the day's limit would count from zero.
pub(super) fn opening_book(dir: &Path) -> (OpeningBook, Option<String>) {
    let raw = match std::fs::read(dir.join(OPENING_FILE)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Default::default(),
        raw => raw.map_err(|e| e.to_string()),
    };
    match raw.and_then(|raw| serde_json::from_slice(&raw).map_err(|e| e.to_string())) {
        Ok(book) => (book, None),
        Err(e) => {
            (OpeningBook::default(), Some(format!("{OPENING_FILE}, which has what was forgone, can not be read: {e}")))
        }
    }
}
