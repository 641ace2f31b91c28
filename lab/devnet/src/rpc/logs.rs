//! Logs of past blocks.

use super::{Rpc, answer::heavy, convert, fail::Fail};
use crate::execution::Block;
use alloy_eips::BlockNumberOrTag;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use std::sync::Arc;

/// Logs in one answer: 20,000 are some 20 MB.
const MAX_LOGS: usize = 20_000;
/// Blocks that one query may scan.
const MAX_BLOCKS: u64 = 100_000;

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    heavy(m, "eth_getLogs", |rpc, args| {
        let filter: Filter = args.next()?;
        args.end()?;
        rpc.logs(&filter)
    })
}

/// The logs of a block that match.
pub(crate) fn matching(block: &Block, filter: &Filter, removed: bool) -> Vec<Log> {
    if !filter.matches_bloom(block.header().logs_bloom) {
        return Vec::new();
    }
    convert::logs(block, removed).into_iter().filter(|log| filter.matches(&log.inner)).collect()
}

impl Rpc {
    pub(super) fn logs(&self, filter: &Filter) -> Result<Vec<Log>, Fail> {
        let mut found = Vec::new();
        for block in self.wanted(filter)? {
            found.extend(matching(&block, filter, false));
            if found.len() > MAX_LOGS {
                return Err(Fail::coded(-32005, format!("query returned more than {MAX_LOGS} results")));
            }
        }
        Ok(found)
    }

    fn wanted(&self, filter: &Filter) -> Result<Vec<Arc<Block>>, Fail> {
        let (from, to) = match filter.block_option {
            FilterBlockOption::AtBlockHash(hash) => {
                let block = self.execution.block_by_hash(hash).ok_or_else(|| Fail::new("unknown block"))?;
                return Ok(vec![block]);
            }
            FilterBlockOption::Range { from_block, to_block } => (from_block, to_block),
        };
        if from == Some(BlockNumberOrTag::Pending) || to == Some(BlockNumberOrTag::Pending) {
            return Err(Fail::params("pending logs are not supported"));
        }
        let head = self.execution.head().number();
        let number = |tag: Option<BlockNumberOrTag>| match tag.unwrap_or_default() {
            BlockNumberOrTag::Number(n) => n,
            tag => self.block(tag.into()).map_or(head, |b| b.number()),
        };
        let (from, to) = (number(from), number(to));
        if from > to {
            return Err(Fail::params("invalid block range params"));
        }
        // Not an empty answer: whoever asks too early must not take it for all that there is.
        if to > head {
            return Err(Fail::params("block range extends beyond current head block"));
        }
        if to - from >= MAX_BLOCKS {
            return Err(Fail::coded(-32005, format!("query spans more than {MAX_BLOCKS} blocks")));
        }
        Ok((from..=to).filter_map(|n| self.execution.block_by_number(n)).collect())
    }
}
