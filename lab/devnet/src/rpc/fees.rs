//! What gas costs.

use super::{
    Rpc,
    answer::{heavy, quick},
    fail::{Args, Fail},
};
use crate::execution::Block;
use alloy_consensus::Transaction;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::U256;
use alloy_rpc_types_eth::FeeHistory;
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use serde_json::{Value, json};
use std::sync::Arc;

/// Blocks that a suggestion looks back, the percentile that it takes, and tips too small to count:
/// geth's.
const SAMPLE_BLOCKS: u64 = 20;
const SAMPLE_PER_BLOCK: usize = 3;
const SAMPLE_PERCENTILE: usize = 60;
const IGNORED_TIP: u128 = 2;
/// What is suggested where no block tells anything: 0.001 gwei, geth's least.
const DEFAULT_TIP: u128 = 1_000_000;
/// Most blocks of one history, and most percentiles: geth's.
const MAX_HISTORY: u64 = 1024;
const MAX_PERCENTILES: usize = 100;

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    heavy(m, "eth_maxPriorityFeePerGas", |rpc, _| Ok(U256::from(rpc.suggested_tip())))?;
    heavy(m, "eth_gasPrice", |rpc, _| {
        let base = rpc.execution.head().header().base_fee_per_gas.unwrap_or_default();
        Ok(U256::from(rpc.suggested_tip() + u128::from(base)))
    })?;
    quick(m, "eth_baseFee", |rpc, _| {
        Ok(U256::from(rpc.execution.spec().next_base_fee(rpc.execution.head().header())))
    })?;
    quick(m, "eth_blobBaseFee", |rpc, _| Ok(U256::from(rpc.execution.spec().blob_fee(rpc.execution.head().header()))))?;
    heavy(m, "eth_feeHistory", fee_history)
}

impl Rpc {
    /// The 60th percentile of the three lowest tips of each of the last 20 blocks.
    fn suggested_tip(&self) -> u128 {
        let head = self.execution.head().number();
        let mut tips = Vec::new();
        for number in head.saturating_sub(SAMPLE_BLOCKS - 1)..=head {
            let Some(block) = self.execution.block_by_number(number) else { continue };
            let mut of: Vec<u128> = tips_of(&block).filter(|t| *t >= IGNORED_TIP).collect();
            of.sort_unstable();
            if of.is_empty() {
                of.push(DEFAULT_TIP);
            }
            tips.extend(of.into_iter().take(SAMPLE_PER_BLOCK));
        }
        tips.sort_unstable();
        tips.get(tips.len().saturating_sub(1) * SAMPLE_PERCENTILE / 100).copied().unwrap_or(DEFAULT_TIP)
    }
}

fn tips_of(block: &Block) -> impl Iterator<Item = u128> + '_ {
    let base = block.header().base_fee_per_gas.unwrap_or_default();
    block.transactions().iter().filter_map(move |tx| tx.effective_tip_per_gas(base))
}

/// Hex or decimal, number or string: what geth takes.
fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => match s.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => s.parse().ok(),
        },
        _ => None,
    }
}

fn fee_history(rpc: &Rpc, args: &mut Args) -> Result<Value, Fail> {
    let (blocks, newest): (Value, BlockNumberOrTag) = (args.next()?, args.next()?);
    let percentiles: Vec<f64> = args.next()?;
    let blocks = count(&blocks).ok_or_else(|| Fail::params("invalid argument 0: invalid hex or decimal integer"))?;
    if blocks == 0 {
        return Ok(json!({"oldestBlock": "0x0", "gasUsedRatio": null}));
    }
    check_percentiles(&percentiles)?;
    let beyond = |why| {
        if !newest.is_number() {
            return why;
        }
        let (requested, head) = (newest.as_number().unwrap_or_default(), rpc.execution.head().number());
        Fail::new(format!("request beyond head block: requested {requested}, head {head}"))
    };
    let newest = rpc.need_block(Some(newest.into())).map_err(beyond)?;
    let blocks = blocks.min(MAX_HISTORY).min(newest.number() + 1);
    let oldest = newest.number() + 1 - blocks;
    let found: Vec<Arc<Block>> = (oldest..=newest.number()).filter_map(|n| rpc.execution.block_by_number(n)).collect();
    if found.len() as u64 != blocks {
        return Err(Fail::new("historical blocks are no longer kept"));
    }
    let history = assemble(rpc, &found, oldest, &newest, &percentiles);
    serde_json::to_value(history).map_err(|e| Fail::coded(-32603, e.to_string()))
}

fn check_percentiles(percentiles: &[f64]) -> Result<(), Fail> {
    if percentiles.len() > MAX_PERCENTILES {
        return Err(Fail::new(format!("invalid reward percentile: over the query limit {MAX_PERCENTILES}")));
    }
    if let Some(p) = percentiles.iter().find(|p| !(0.0..=100.0).contains(*p)) {
        return Err(Fail::new(format!("invalid reward percentile: {p:.6}")));
    }
    for (i, (a, b)) in percentiles.iter().zip(percentiles.iter().skip(1)).enumerate() {
        if a >= b {
            return Err(Fail::new(format!("invalid reward percentile: #{i}:{a:.6} >= #{}:{b:.6}", i + 1)));
        }
    }
    Ok(())
}

fn assemble(rpc: &Rpc, blocks: &[Arc<Block>], oldest: u64, newest: &Block, percentiles: &[f64]) -> FeeHistory {
    let spec = rpc.execution.spec();
    let mut base: Vec<u128> = blocks.iter().map(|b| b.header().base_fee_per_gas.unwrap_or_default().into()).collect();
    base.push(spec.next_base_fee(newest.header()).into());
    let mut blob: Vec<u128> = blocks.iter().map(|b| spec.blob_fee(b.header())).collect();
    blob.push(spec.blobs.calc_blob_fee(spec.next_excess_blob_gas(newest.header())));
    let ratio = |used: u64, limit: u64| if limit == 0 { 0.0 } else { used as f64 / limit as f64 };
    let max_blob_gas = spec.blobs.max_blob_gas_per_block();
    FeeHistory {
        base_fee_per_gas: base,
        gas_used_ratio: blocks.iter().map(|b| ratio(b.header().gas_used, b.header().gas_limit)).collect(),
        base_fee_per_blob_gas: blob,
        blob_gas_used_ratio: blocks
            .iter()
            .map(|b| ratio(b.header().blob_gas_used.unwrap_or_default(), max_blob_gas))
            .collect(),
        oldest_block: oldest,
        reward: (!percentiles.is_empty()).then(|| blocks.iter().map(|b| rewards(b, percentiles)).collect()),
    }
}

/// Tips at percentiles of the gas that a block used.
fn rewards(block: &Block, percentiles: &[f64]) -> Vec<u128> {
    let base = block.header().base_fee_per_gas.unwrap_or_default();
    let mut tips: Vec<(u128, u64)> = block
        .transactions()
        .iter()
        .enumerate()
        .map(|(i, tx)| (tx.effective_tip_per_gas(base).unwrap_or_default(), block.gas_used(i)))
        .collect();
    tips.sort_unstable();
    let total = block.header().gas_used as f64;
    let at = |percentile: f64| {
        let threshold = (total * percentile / 100.0) as u64;
        let mut sum = 0;
        let found = tips.iter().find(|(_, gas)| {
            sum += gas;
            sum >= threshold
        });
        found.or(tips.last()).map_or(0, |(tip, _)| *tip)
    };
    percentiles.iter().map(|p| at(*p)).collect()
}
