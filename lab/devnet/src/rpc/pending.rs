//! The block that the pool would make now, and its state.

use super::{Rpc, fail::Fail};
use crate::execution::{Block, Fill, PayloadAttributes};
use alloy_primitives::{B256, Bytes};
use parking_lot::Mutex;
use std::sync::Arc;

/// What the last pending block was made of: the head, and the pool as it was.
type Made = ((B256, (u64, usize)), Arc<Block>);

/// The last pending block. It is made again only once the head or the pool changed.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<Option<Made>>);

impl Rpc {
    /// The pool's best on the head. Its time is as far after the head's as that is after its parent's.
    pub(crate) fn pending(&self) -> Result<Arc<Block>, Fail> {
        let head = self.execution.head();
        let of = (head.hash, self.execution.pool().version());
        // Held while it is made, so that it is made once.
        let mut last = self.pending.0.lock();
        if let Some((made_of, block)) = last.as_ref()
            && *made_of == of
        {
            return Ok(block.clone());
        }
        let parent = self.execution.block_by_hash(head.header().parent_hash);
        let step = parent.map_or(12, |p| head.header().timestamp.saturating_sub(p.header().timestamp));
        let attributes = PayloadAttributes {
            timestamp: head.header().timestamp.saturating_add(step.max(1)),
            withdrawals: Some(Vec::new()),
            parent_beacon_block_root: Some(B256::ZERO),
            ..PayloadAttributes::default()
        };
        let fill = Fill::FromPool { first: Vec::new() };
        let block = self.execution.build(head.hash, &attributes, &fill, Bytes::new())?.block;
        *last = Some((of, block.clone()));
        Ok(block)
    }
}
