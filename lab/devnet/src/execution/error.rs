//! What can go wrong.

use alloy_primitives::{B256, U256};

/// Why the chain refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExecError {
    /// No block has this hash.
    #[error("unknown block {0}")]
    UnknownBlock(B256),
    /// The state of this block was pruned.
    #[error("the state of block {0} is no longer kept")]
    NoState(B256),
    /// A head that does not descend from the finalised block.
    #[error("block {0} does not descend from the finalised block")]
    NotOnFinalized(B256),
    /// The genesis is none.
    #[error("bad genesis: {0}")]
    Genesis(String),
    /// The machinery failed.
    #[error("execution failed: {0}")]
    Internal(String),
}

/// Why a block could not be built.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BuildError {
    /// The parent is unknown or its state is gone.
    #[error(transparent)]
    Chain(#[from] ExecError),
    /// Attributes that no valid block can have.
    #[error("invalid attributes: {0}")]
    Attributes(&'static str),
    /// A transaction that was asked for does not execute. The text is geth's.
    #[error("{reason}")]
    Transaction {
        /// Its place in the list.
        index: usize,
        /// Its hash, zero if it could not be read.
        hash: B256,
        /// Why.
        reason: String,
    },
    /// The block would be larger than EIP-7934 allows.
    #[error("the block has {0} bytes, more than fit in a block")]
    TooLarge(usize),
}

/// Why a transaction did not enter the pool. Texts are geth's, since tools look for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PoolError {
    #[error("{0}")]
    Decode(String),
    #[error("invalid sender")]
    InvalidSender,
    #[error("invalid sender: invalid chain id for signer: have {have} want {want}")]
    ChainId { have: u64, want: u64 },
    #[error("only replay-protected (EIP-155) transactions allowed over RPC")]
    Unprotected,
    #[error("oversized data: transaction size {size}, limit {limit}")]
    Oversized { size: usize, limit: usize },
    #[error("max initcode size exceeded: code size {size}, limit {limit}")]
    InitCode { size: usize, limit: usize },
    #[error("exceeds block gas limit")]
    BlockGasLimit,
    #[error("transaction gas limit too high (cap: {cap}, tx: {gas})")]
    TxGasCap { gas: u64, cap: u64 },
    #[error("max priority fee per gas higher than max fee per gas")]
    TipAboveFee { tip: u128, fee: u128 },
    #[error("intrinsic gas too low: gas {gas}, minimum needed {needed}")]
    IntrinsicGas { gas: u64, needed: u64 },
    #[error("insufficient gas for floor data gas cost: gas {gas}, minimum needed {needed}")]
    FloorGas { gas: u64, needed: u64 },
    #[error("transaction gas price below minimum: {what} {have}, minimum needed {needed}")]
    Underpriced { what: &'static str, have: u128, needed: u128 },
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow { next: u64, nonce: u64 },
    #[error("nonce too high: tx nonce {nonce}, gapped nonce {next}")]
    NonceTooHigh { next: u64, nonce: u64 },
    #[error("nonce has max value: {0}")]
    NonceMax(u64),
    #[error("insufficient funds for gas * price + value: {0}")]
    Funds(Box<Shortage>),
    #[error("sender not an eoa: address {0}")]
    SenderNotEoa(alloy_primitives::Address),
    #[error("already known")]
    AlreadyKnown,
    #[error("replacement transaction underpriced")]
    ReplacementUnderpriced,
    #[error("in-flight transaction limit reached for delegated accounts")]
    InFlightLimit,
    #[error("gapped-nonce tx from delegated accounts")]
    DelegatedGap,
    #[error("authority already reserved")]
    AuthorityReserved,
    #[error("address already reserved")]
    Reserved,
    #[error("account limit exceeded: pooled {pooled} txs")]
    AccountLimit { pooled: usize },
    #[error("txpool is full")]
    Full,
    #[error("missing sidecar in blob transaction")]
    MissingSidecar,
    #[error("blob sidecar conversion failed: {0}")]
    SidecarConversion(String),
    #[error("blobless blob transaction")]
    NoBlobs,
    #[error("too many blobs in transaction: have {have}, permitted {max}")]
    TooManyBlobs { have: usize, max: u64 },
    #[error("invalid blob sidecar: {0}")]
    Sidecar(String),
    #[error("set code tx must have at least one authorization tuple")]
    NoAuthorizations,
}

/// How much a sender lacks, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What it has.
    pub balance: U256,
    /// What its waiting transactions can cost already; zero if none waits.
    pub queued: U256,
    /// What this one can cost.
    pub cost: U256,
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { balance, queued, cost } = self;
        let overshot = queued.saturating_add(*cost).saturating_sub(*balance);
        if queued.is_zero() {
            write!(f, "balance {balance}, tx cost {cost}, overshot {overshot}")
        } else {
            write!(f, "balance {balance}, queued cost {queued}, tx cost {cost}, overshot {overshot}")
        }
    }
}
