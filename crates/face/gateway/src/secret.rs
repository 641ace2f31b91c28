//! Secrets: read from files or the environment, kept as hashes, never printed.

use crate::config::ConfigError;
use alloy_primitives::B256;
use sha2::{Digest, Sha256};
use std::{fmt, io, path::Path};
use zeroize::Zeroizing;

/// Reads a secret from a file or the environment, without its line's end.
pub(crate) fn secret(
    key: &str,
    file: Option<&Path>,
    env: Option<&str>,
) -> Result<Option<Zeroizing<String>>, ConfigError> {
    let raw = if let Some(path) = file {
        let read = std::fs::read_to_string(path);
        read.map_err(|source| ConfigError::Secret { key: format!("{key}_file"), path: path.into(), source })?
    } else if let Some(name) = env {
        std::env::var(name)
            .map_err(|_| ConfigError::value(format!("{key}_env"), format!("the environment has no {name}")))?
    } else {
        return Ok(None);
    };
    let raw = Zeroizing::new(raw);
    Ok(Some(Zeroizing::new(raw.trim_end_matches(['\r', '\n']).to_owned())))
}

/// The admin token: only its hash is kept, so that it can be compared in constant time and never be
/// printed.
#[derive(Clone)]
pub struct AdminToken([u8; 32]);

/// Shortest token: 32 hexadecimal digits are 128 bits.
const SHORTEST_TOKEN: usize = 32;

impl AdminToken {
    /// From the token itself.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if it is shorter than 32 characters or not printable ASCII.
    pub fn new(token: &str) -> Result<Self, ConfigError> {
        if token.len() < SHORTEST_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
            let why = "at least 32 printable ASCII characters without blanks";
            return Err(ConfigError::value("admin_token", why));
        }
        Ok(Self(Sha256::digest(token.as_bytes()).into()))
    }

    /// Writes a fresh token to a new file that only its owner reads. An existing file is left alone.
    ///
    /// # Errors
    /// The file system's.
    pub fn create_file(path: &Path) -> io::Result<()> {
        use std::io::Write;
        if path.try_exists()? {
            return Ok(());
        }
        // Beside its name, so that a kill leaves no empty one: every later start would stand before it.
        let beside = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // What a kill left of an earlier process with this number.
        let _ = std::fs::remove_file(&beside);
        let token = Zeroizing::new(hex::encode(B256::random()));
        let mut file = options.open(&beside)?;
        let made = file.write_all(token.as_bytes()).and_then(|()| file.sync_all());
        // Unlike a rename this takes nobody's place.
        let linked = made.and_then(|()| std::fs::hard_link(&beside, path));
        let _ = std::fs::remove_file(&beside);
        match linked {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    }

    /// Compares in a time that does not depend on where the two differ: hashes are compared, all of
    /// their bytes.
    pub fn matches(&self, token: &str) -> bool {
        let other: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let differ = self.0.iter().zip(other).fold(0u8, |d, (a, b)| d | (a ^ b));
        std::hint::black_box(differ) == 0
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn an_admin_token_is_long_matches_itself_only_and_is_not_printed() {
        let token = "0123456789abcdef0123456789abcdef";
        let admin = AdminToken::new(token).unwrap();
        assert!(admin.matches(token));
        assert!(!admin.matches("0123456789abcdef0123456789abcdee"));
        assert!(!admin.matches(""));
        assert_eq!(format!("{admin:?}"), "AdminToken(…)");
        assert!(AdminToken::new("short").is_err());
    }

    #[test]
    fn a_token_file_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin");
        // As a kill leaves it: nothing under the name, and a half beside it.
        let half = dir.path().join(format!("admin.{}.tmp", std::process::id()));
        std::fs::write(&half, "").unwrap();
        AdminToken::create_file(&path).unwrap();
        assert!(!half.exists());
        let first = std::fs::read_to_string(&path).unwrap();
        AdminToken::create_file(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
        let config = Config { admin_token_file: Some(path.clone()), ..Config::default() };
        assert!(config.admin_token().unwrap().unwrap().matches(&first));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
