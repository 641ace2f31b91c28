//! Which block is meant.

use super::{Rpc, fail::Fail};
use crate::execution::{Block, StateView};
use alloy_eips::{BlockId, BlockNumberOrTag};
use std::sync::Arc;

impl Rpc {
    /// The block behind a number, a tag or a hash; `pending` is the head here, and before a safe or a finalised
    /// block is named there is none.
    pub(crate) fn block(&self, id: BlockId) -> Option<Arc<Block>> {
        match id {
            BlockId::Hash(hash) => {
                let block = self.execution.block_by_hash(hash.block_hash)?;
                let canonical = hash.require_canonical == Some(true);
                (!canonical || self.execution.is_canonical(&block)).then_some(block)
            }
            BlockId::Number(number) => match number {
                BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => Some(self.execution.head()),
                BlockNumberOrTag::Safe => self.execution.named_safe(),
                BlockNumberOrTag::Finalized => self.execution.named_finalized(),
                BlockNumberOrTag::Earliest => Some(self.execution.genesis()),
                BlockNumberOrTag::Number(n) => self.execution.block_by_number(n),
            },
        }
    }

    /// The same, where geth has an error for a tag without a block and null for a number without one.
    pub(crate) fn find(&self, id: BlockId) -> Result<Option<Arc<Block>>, Fail> {
        match (self.block(id), id) {
            (None, BlockId::Number(tag)) if !tag.is_number() => Err(unnamed(tag)),
            (found, _) => Ok(found),
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
            BlockId::Number(tag) if !tag.is_number() => unnamed(tag),
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

fn unnamed(tag: BlockNumberOrTag) -> Fail {
    Fail::new(format!("{tag} block not found"))
}
