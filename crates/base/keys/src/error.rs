//! Why a key could not be had.

use std::path::PathBuf;
use thiserror::Error;

/// Errors name the file and what to do about it, and never the secret.
#[derive(Debug, Error)]
pub enum KeysError {
    /// Zero, or not below the group's order.
    #[error("not a valid secret key: it is zero, or not below the group's order")]
    BadSecret,
    /// A seed for derivation must have at least 32 bytes.
    #[error("a seed needs at least 32 bytes, not {0}")]
    ShortSeed(usize),
    /// Not a path such as `m/12381/3600/0/0/0`.
    #[error("{0:?} is not an EIP-2334 path such as m/12381/3600/0/0/0")]
    BadPath(String),
    /// The keystore's JSON is not one of EIP-2335, version 4.
    #[error("not an EIP-2335 keystore: {0}")]
    Keystore(String),
    /// The keystore's parameters would cost too much, or too little.
    #[error("the keystore's {what} is {got}, and only {allowed} is accepted")]
    Parameter {
        /// Which parameter.
        what: &'static str,
        /// What it is.
        got: u64,
        /// What is accepted.
        allowed: &'static str,
    },
    /// The checksum does not fit.
    #[error("wrong password")]
    WrongPassword,
    /// The keystore says another public key than its secret has.
    #[error("the keystore says public key {said}, but its secret has {has}")]
    WrongPublicKey {
        /// What it says.
        said: String,
        /// What it has.
        has: String,
    },
    /// A file could not be used.
    #[error("{}: {why}; {remedy}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
}

impl KeysError {
    pub(crate) fn file(path: impl Into<PathBuf>, why: impl ToString, remedy: &'static str) -> Self {
        Self::File { path: path.into(), why: why.to_string(), remedy }
    }
}

pub(crate) fn random(out: &mut [u8]) -> Result<(), KeysError> {
    use rand::TryRngCore;
    rand::rngs::OsRng.try_fill_bytes(out).map_err(|e| KeysError::Random(e.to_string()))
}
