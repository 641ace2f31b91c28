//! Logs of past blocks.

use super::{Rpc, answer::heavy, convert, fail::Fail};
use crate::execution::Block;
use alloy_eips::BlockNumberOrTag;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Logs in one answer: 20,000 are some 20 MB.
const MAX_LOGS: usize = 20_000;
/// Blocks that one query may scan.
const MAX_BLOCKS: u64 = 100_000;

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    heavy(m, "eth_getLogs", |rpc, args| {
        let filter = read(args.next()?, 0)?;
        args.end()?;
        rpc.logs(&filter)
    })
}

/// Addresses, and topics at one place, that a filter may have: geth's.
const MAX_CHOICES: usize = 1_000;

/// The filter that an argument is. Members that a filter does not have are ignored, as geth does.
pub(super) fn read(mut raw: Map<String, Value>, argument: usize) -> Result<Filter, Fail> {
    raw.retain(|key, _| ["fromBlock", "toBlock", "blockHash", "address", "topics"].contains(&key.as_str()));
    let bad = |why: &dyn std::fmt::Display| Fail::params(format!("invalid argument {argument}: {why}"));
    let filter: Filter = serde_json::from_value(Value::Object(raw)).map_err(|e| bad(&e))?;
    if filter.topics.iter().any(|choice| choice.len() > MAX_CHOICES) {
        return Err(bad(&"exceed max topics"));
    }
    if filter.address.len() > MAX_CHOICES {
        return Err(Fail::new("exceed max addresses or topics per search position"));
    }
    Ok(filter)
}

fn pending() -> Fail {
    Fail::params("pending logs are not supported")
}

fn reversed() -> Fail {
    Fail::params("invalid block range params")
}

/// What a filter or a subscription waits for, if there can be any: logs from a number on or of all that comes,
/// up to a number or for ever. As geth takes them.
pub(super) fn to_come(filter: Filter) -> Result<Box<Filter>, Fail> {
    use BlockNumberOrTag::{Earliest, Latest, Number, Pending};
    let option = &filter.block_option;
    let (from, to) = (option.get_from_block().copied(), option.get_to_block().copied());
    match (from.unwrap_or_default(), to.unwrap_or_default()) {
        (Pending, _) | (_, Pending) => Err(pending()),
        (Number(_) | Earliest | Latest, Latest) | (Earliest, Number(_)) => Ok(Box::new(filter)),
        (Number(from), Number(to)) if from <= to => Ok(Box::new(filter)),
        _ => Err(reversed()),
    }
}

/// The logs of a block that a filter waits for.
pub(super) fn awaited(block: &Block, filter: &Filter, removed: bool) -> Vec<Log> {
    let bound = |tag: Option<&BlockNumberOrTag>| tag.and_then(BlockNumberOrTag::as_number);
    let (option, number) = (&filter.block_option, block.number());
    let before = bound(option.get_from_block()).is_some_and(|from| number < from);
    if before || bound(option.get_to_block()).is_some_and(|to| number > to) {
        return Vec::new();
    }
    matching(block, filter, removed)
}

/// The logs of a block that match.
fn matching(block: &Block, filter: &Filter, removed: bool) -> Vec<Log> {
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
            return Err(pending());
        }
        let head = self.execution.head().number();
        let number = |tag: Option<BlockNumberOrTag>| match tag.unwrap_or_default() {
            BlockNumberOrTag::Number(n) => Ok(n),
            tag => {
                self.block(tag.into()).map(|b| b.number()).ok_or_else(|| Fail::new(format!("{tag} header not found")))
            }
        };
        let (from, to) = (number(from)?, number(to)?);
        if from > to {
            return Err(reversed());
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
