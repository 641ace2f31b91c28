//! Ends of a life, and whose fault they are.

use crate::store::StoreError;

/// Why a running instance is not running any more.
pub(super) enum End {
    Stopped,
    /// The module's fault.
    Strike(String),
    /// Its store's: a full disk, say. It is tried again for as long as it takes.
    Store(String),
}

impl From<StoreError> for End {
    fn from(e: StoreError) -> Self {
        if e.is_modules() { Self::Strike(e.to_string()) } else { Self::Store(e.to_string()) }
    }
}
impl From<String> for End {
    fn from(why: String) -> Self {
        Self::Strike(why)
    }
}
