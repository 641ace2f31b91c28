//! What the chain tells its listeners.

use super::{Block, PoolTx};
use std::sync::Arc;

/// Events that a slow listener may be behind by before it is cut off: some minutes of a busy chain.
pub(crate) const EVENT_BUFFER: usize = 16_384;

/// Something happened. Events come in the order in which geth tells them: on a reorg the removed logs,
/// ascending, then the new logs, then **one** head, the tip only.
#[derive(Clone, Debug)]
pub enum ChainEvent {
    /// Blocks left the canonical chain, lowest first: their logs are removed.
    Removed(Vec<Arc<Block>>),
    /// Blocks joined the canonical chain, lowest first: their logs are new. After a rewind it is the
    /// ancestor that is told again.
    Added(Vec<Arc<Block>>),
    /// The new head.
    Head(Arc<Block>),
    /// A transaction entered the pool and could be included now.
    Pending(Arc<PoolTx>),
}
