//! Which block is meant.

use super::{Rpc, fail::Fail};
use crate::execution::{Block, StateView};
use alloy_eips::{BlockId, BlockNumberOrTag};
use std::sync::Arc;

impl Rpc {
    /// The block behind a number, a tag or a hash; `pending` is the head here.
    pub(crate) fn block(&self, id: BlockId) -> Option<Arc<Block>> {
        match id {
            BlockId::Hash(hash) => {
                let block = self.execution.block_by_hash(hash.block_hash)?;
                let canonical = hash.require_canonical == Some(true);
                (!canonical || self.execution.is_canonical(&block)).then_some(block)
            }
            BlockId::Number(number) => match number {
                BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => Some(self.execution.head()),
                BlockNumberOrTag::Safe => Some(self.execution.safe()),
                BlockNumberOrTag::Finalized => Some(self.execution.finalized()),
                BlockNumberOrTag::Earliest => Some(self.execution.genesis()),
                BlockNumberOrTag::Number(n) => self.execution.block_by_number(n),
            },
        }
    }

    /// The same, or geth's error.
    pub(crate) fn need_block(&self, id: Option<BlockId>) -> Result<Arc<Block>, Fail> {
        let id = id.unwrap_or_default();
        self.block(id).ok_or_else(|| match id {
            BlockId::Hash(h) if self.execution.block_by_hash(h.block_hash).is_some() => {
                Fail::new("hash is not currently canonical")
            }
            BlockId::Hash(_) => Fail::new("header for hash not found"),
            BlockId::Number(_) => Fail::new("header not found"),
        })
    }

    /// The same, where `pending` is the block that the pool would make.
    pub(crate) fn need_state(&self, id: Option<BlockId>) -> Result<Arc<Block>, Fail> {
        match id {
            Some(BlockId::Number(BlockNumberOrTag::Pending)) => self.pending(),
            id => self.need_block(id),
        }
    }

    /// What the EVM reads on top of a block.
    pub(crate) fn view(&self, block: &Block) -> Result<StateView, Fail> {
        Ok(self.execution.view(block)?)
    }
}
