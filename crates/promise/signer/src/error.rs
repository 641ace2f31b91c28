//! Why nothing was signed.

use tandem_keys::KeysError;
use tandem_types::BlsPublicKey;
use thiserror::Error;

/// Why a recorded commitment was not signed.
#[derive(Debug, Error)]
pub enum SignError {
    /// The journal is halted.
    #[error("nothing is signed until a restart: {0}")]
    Halted(String),
    /// The validator's key is not loaded here.
    #[error("the key of validator {} is not loaded", .0.short())]
    NoKey(BlsPublicKey),
    /// The record is a fact that nobody signs (a seal, a seen block).
    #[error("record {0} is a fact that nobody signs")]
    NotSigned(u64),
    /// A slot's keys can not be derived.
    #[error("deriving a slot's keys: {0}")]
    Derive(#[from] KeysError),
}
