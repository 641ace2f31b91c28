//! Why nothing was signed.

use tandem_keys::KeysError;
use tandem_types::{BlsPublicKey, SlotKey};
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
    /// The slot's delegation is not recorded: nobody could check a signature of its keys.
    #[error("the delegation for {0} is not recorded, so that its keys may sign nothing")]
    NotDelegated(SlotKey),
    /// The slot's recorded delegation names other keys than the host secret gives.
    #[error(
        "the recorded delegation for {0} names other keys than this host's secret gives; a host that promised must \
         keep the secret it had"
    )]
    OtherKeys(SlotKey),
    /// The record is a fact that nobody signs (a seal, a seen block).
    #[error("record {0} is a fact that nobody signs")]
    NotSigned(u64),
    /// A slot's keys can not be derived.
    #[error("deriving a slot's keys: {0}")]
    Derive(#[from] KeysError),
}
