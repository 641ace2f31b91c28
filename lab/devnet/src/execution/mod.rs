//! The execution layer.
//!
//! ```text
//! Execution::new(GenesisConfig)                              -> Result<Execution, ExecError>   (cheap to clone, Send + Sync)
//! genesis_json(&self) -> alloy_genesis::Genesis              geth-style genesis, to start a real client from
//! head() / safe() / finalized() / genesis() -> Arc<Block>
//! block_by_hash(B256) / block_by_number(u64) -> Option<Arc<Block>>
//! build(parent, PayloadAttributes, Fill, extra_data) -> Result<Built, BuildError>
//! import(ExecutionPayloadV3, parent_beacon_block_root, &Requests) -> PayloadStatus   (valid, invalid or syncing)
//! set_head(head, safe, finalized) -> Result<HeadChange, ExecError>    (any depth)
//! set_gas_target(u64)
//! add_transaction(Bytes) -> Result<B256, PoolError>          network form; type 3 with its sidecar of cell proofs
//! events() -> broadcast::Receiver<ChainEvent>
//! ```

mod accounts;
mod block;
mod build;
mod canonical;
mod chain;
mod db;
mod diff;
mod error;
mod events;
mod execute;
mod genesis;
mod import;
mod pool;
mod spec;
mod text;
mod trace;
mod tx;

pub use accounts::{DEV_ACCOUNTS, DevAccount, dev_account};
pub use block::{Block, Blocks, Tx};
pub(crate) use build::assemble_as;
pub use build::{Built, Fill};
pub use chain::{Execution, HeadChange, Limits};
pub use db::{Ancestors, Codes, StateView, ViewError};
pub use error::{BuildError, ExecError, PoolError, Shortage};
pub use events::ChainEvent;
pub use execute::{Executed, Executor, Rejected, Touches};
pub use genesis::{DEPOSIT_CONTRACT, GenesisConfig};
pub use pool::{Added, Best, PoolConfig, PoolContent, PoolTx, TxPool};
pub use spec::{MAX_BLOCK_RLP, OsakaSpec};
pub use text::{Fees, invalid_transaction_text};
pub use trace::{TraceError, trace_block};
pub(crate) use trace::{Traced, trace_message};
pub use tx::{DecodedTx, decode_network};

/// Attributes of a payload, as the Engine API has them.
pub use alloy_rpc_types_engine::PayloadAttributes;
