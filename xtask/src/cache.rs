//! Where things are kept outside the clone.

use std::path::PathBuf;

/// The cache folder: `$TANDEM_CACHE`, else `$XDG_CACHE_HOME/tandem`, else `~/.cache/tandem`.
pub fn dir() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("TANDEM_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|d| d.join("tandem")))
        .or_else(|| var("HOME").map(|d| d.join(".cache/tandem")))
        .unwrap_or_else(|| std::env::temp_dir().join("tandem-cache"))
}

/// The one target folder for demo and tests, unless the caller chose another.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").filter(|v| !v.is_empty()).map_or_else(|| dir().join("target"), PathBuf::from)
}

/// Where the browser driver and other npm packages are installed.
pub fn npm() -> PathBuf {
    dir().join("npm")
}

/// Where tools built from source are installed.
pub fn tools() -> PathBuf {
    dir().join("tools")
}
