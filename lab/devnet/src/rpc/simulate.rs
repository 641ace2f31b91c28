//! `eth_simulateV1` as geth has it: a simulated block's state root, receipts root, gas, bloom,
//! withdrawals root and requests hash are those of the block that is really built with the same
//! inputs. Its transactions are unsigned, so its transactions root, size and hash are not.

use super::{
    Rpc,
    answer::heavy,
    call::halt_text,
    convert,
    fail::{Args, Fail},
    overrides::Overrides,
    precompiles::Precompiles,
    simulate_types::{Payload, SimBlock, message, unsigned},
};
use crate::execution::{Ancestors, Block, Codes, ExecError, Executor, Rejected, StateView, Tx, assemble_as};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header, proofs};
use alloy_eips::{BlockId, eip4895::Withdrawal, eip7825::MAX_TX_GAS_LIMIT_OSAKA};
use alloy_evm::{EvmEnv, overrides::apply_state_overrides};
use alloy_primitives::{B256, Bytes, U256};
use alloy_rpc_types_eth::{
    Log, TransactionRequest,
    simulate::{SimCallResult, SimulateError, SimulatedBlock},
    state::StateOverride,
};
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use revm::context_interface::{
    block::BlobExcessGasAndPrice,
    result::{ExecutionResult, InvalidTransaction},
};
use std::{collections::BTreeMap, sync::Arc};

/// Blocks in one request: geth's.
const MAX_BLOCKS: u64 = 256;
/// Seconds by which an undated block follows its parent: geth's.
const STEP: u64 = 12;

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    heavy(m, "eth_simulateV1", simulate)
}

/// A simulation as it goes from block to block.
struct Simulation<'a> {
    rpc: &'a Rpc,
    payload: Payload,
    parent: Header,
    view: StateView,
    hashes: BTreeMap<u64, B256>,
    /// What is left of the request's gas cap: calls are silently limited to it, as in geth.
    gas: u64,
}

fn simulate(rpc: &Rpc, args: &mut Args) -> Result<Vec<SimulatedBlock>, Fail> {
    let (mut payload, id): (Payload, Option<BlockId>) = (args.next()?, args.optional()?);
    args.end()?;
    if payload.block_state_calls.is_empty() {
        return Err(Fail::params("empty input"));
    }
    let base = rpc.need_block(id)?;
    let blocks = std::mem::take(&mut payload.block_state_calls);
    let blocks = in_order(&base, blocks)?;
    let mut view = rpc.view(&base)?;
    view = StateView::new(view.state, Arc::new(Codes::over(view.codes)), view.ancestors);
    let (parent, gas) = (base.header().clone(), rpc.config.gas_cap);
    let mut simulation = Simulation { rpc, payload, parent, view, hashes: BTreeMap::new(), gas };
    blocks.into_iter().map(|block| simulation.block(block)).collect()
}

/// Every block with its number and time; gaps in the numbers are filled with empty blocks.
fn in_order(base: &Block, blocks: Vec<SimBlock>) -> Result<Vec<SimBlock>, Fail> {
    let (mut number, mut time) = (base.number(), base.header().timestamp);
    let mut out = Vec::new();
    for mut block in blocks {
        let mut overrides = block.block_overrides.take().unwrap_or_default();
        let wanted = match overrides.number {
            Some(given) => given.try_into().ok(),
            None => number.checked_add(1),
        };
        let wanted: u64 = wanted.ok_or_else(|| Fail::coded(-38020, "block number too large"))?;
        if wanted <= number {
            return Err(Fail::coded(-38020, format!("block numbers must be in order: {wanted} <= {number}")));
        }
        if wanted - base.number() > MAX_BLOCKS {
            return Err(Fail::coded(-38026, "too many blocks"));
        }
        while number + 1 < wanted {
            (number, time) = (number + 1, step(time)?);
            out.push(dated(SimBlock::default(), Overrides::default(), number, time));
        }
        let at = overrides.time.map_or_else(|| step(time), |t| Ok(t.to()))?;
        if at <= time {
            return Err(Fail::coded(-38021, format!("block timestamps must be in order: {at} <= {time}")));
        }
        (number, time) = (wanted, at);
        overrides.number = None;
        out.push(dated(block, overrides, number, time));
    }
    Ok(out)
}

/// The time of an undated block.
fn step(time: u64) -> Result<u64, Fail> {
    let beyond =
        || Fail::coded(-38021, format!("block timestamps must be in order: nothing comes {STEP} s after {time}"));
    time.checked_add(STEP).ok_or_else(beyond)
}

fn dated(mut block: SimBlock, mut overrides: Overrides, number: u64, time: u64) -> SimBlock {
    overrides.number = Some(U256::from(number));
    overrides.time = Some(alloy_primitives::U64::from(time));
    block.block_overrides = Some(overrides);
    block
}

impl Simulation<'_> {
    fn block(&mut self, block: SimBlock) -> Result<SimulatedBlock, Fail> {
        let overrides = block.block_overrides.unwrap_or_default();
        let withdrawals = overrides.withdrawals.clone().unwrap_or_default();
        let header = self.header(&overrides, &withdrawals)?;
        let env = self.env(&header, &overrides);
        let blob_fee = env.block_env.blob_excess_gas_and_price.map_or(0, |b| b.blob_gasprice);
        let state = block.state_overrides.unwrap_or_default();
        let precompiles = Precompiles::overridden(&state)?;
        let spec = self.rpc.execution.spec();
        let (view, trace) = (self.view.clone(), self.payload.trace_transfers);
        let prepare = |db: &mut _| override_state(state, db);
        let prepare = (prepare, |map: &mut _| precompiles.apply(map));
        let mut run = Executor::start_with(spec, view, (&header, env), withdrawals.clone(), trace, prepare)?;
        let mut done = Vec::new();
        for (index, call) in block.calls.into_iter().enumerate() {
            let call = self.complete(call, &mut run, &header)?;
            let message = message(call, spec.chain_id, blob_fee)?;
            let result = run.transact_message(message.env, &message.shown);
            let result = result.map_err(|e| refused(&e, index, &message.shown))?;
            self.gas = self.gas.saturating_sub(result.tx_gas_used());
            done.push((message.shown, result));
        }
        let run = run.finish()?;
        run.new_codes.iter().for_each(|(hash, code)| self.view.codes.insert(*hash, code.clone()));
        let txs: Vec<Tx> = done.iter().map(|(tx, _)| tx.clone()).collect();
        let state = run.state.clone();
        let root = tandem_trie::ordered::root(txs.iter().map(|tx| unsigned(tx.inner())));
        let root = root.map_err(|e| Fail::coded(-32603, e.to_string()))?;
        let block = assemble_as(header, withdrawals, (txs, root), run);
        self.advance(&block, state);
        Ok(self.show(&block, done.into_iter().map(|(_, result)| result)))
    }

    /// The environment, as far as the overrides leave it open: the parent's or geth's defaults.
    fn header(&self, of: &Overrides, withdrawals: &[Withdrawal]) -> Result<Header, Fail> {
        if of.difficulty.is_some_and(|d| !d.is_zero()) {
            return Err(Fail::params("difficulty must be 0 after the merge"));
        }
        let spec = self.rpc.execution.spec();
        let parent = &self.parent;
        let base_fee = match of.base_fee_per_gas {
            Some(given) => u64::try_from(given).ok(),
            // It grows by an eighth at most.
            None if self.payload.validation => {
                let now = parent.base_fee_per_gas.unwrap_or_default();
                now.checked_add(now / 4 + 1).map(|_| spec.next_base_fee(parent))
            }
            None => Some(0),
        };
        Ok(Header {
            parent_hash: parent.hash_slow(),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: of.fee_recipient.unwrap_or(parent.beneficiary),
            number: of.number.map_or_else(|| parent.number.saturating_add(1), |n| n.saturating_to()),
            gas_limit: of.gas_limit.map_or(parent.gas_limit, |g| g.to()),
            timestamp: of.time.map_or_else(|| parent.timestamp.saturating_add(STEP), |t| t.to()),
            mix_hash: of.prev_randao.unwrap_or_default(),
            base_fee_per_gas: Some(base_fee.ok_or_else(|| Fail::params("baseFeePerGas is too large"))?),
            withdrawals_root: Some(proofs::calculate_withdrawals_root(withdrawals)),
            excess_blob_gas: Some(spec.next_excess_blob_gas(parent)),
            parent_beacon_block_root: Some(of.beacon_root.unwrap_or_default()),
            ..Header::default()
        })
    }

    fn env(&self, header: &Header, of: &Overrides) -> EvmEnv {
        let mut env = self.rpc.execution.spec().env(header);
        if let Some(price) = of.blob_base_fee {
            let excess_blob_gas = header.excess_blob_gas.unwrap_or_default();
            let blob_gasprice = price.saturating_to();
            env.block_env.blob_excess_gas_and_price = Some(BlobExcessGasAndPrice { excess_blob_gas, blob_gasprice });
        }
        if !self.payload.validation {
            let cfg = &mut env.cfg_env;
            cfg.disable_nonce_check = true;
            cfg.disable_base_fee = true;
            cfg.disable_eip3607 = true;
            cfg.tx_gas_limit_cap = Some(u64::MAX);
        }
        env
    }

    /// Nonce and gas where the call leaves them open.
    fn complete(
        &self,
        mut call: TransactionRequest,
        run: &mut Executor,
        header: &Header,
    ) -> Result<TransactionRequest, Fail> {
        if call.nonce.is_none() {
            call.nonce = Some(run.nonce(call.from.unwrap_or_default())?);
        }
        let left = header.gas_limit.saturating_sub(run.gas_used());
        let most = if self.payload.validation { MAX_TX_GAS_LIMIT_OSAKA } else { u64::MAX };
        let gas = call.gas.unwrap_or(left.min(most));
        if gas > left {
            let used = run.gas_used().saturating_add(gas);
            return Err(Fail::coded(-38015, format!("block gas limit reached: {used} >= {}", header.gas_limit)));
        }
        call.gas = Some(gas.min(self.gas));
        Ok(call)
    }

    fn advance(&mut self, block: &Block, state: tandem_trie::State) {
        self.hashes.insert(block.number(), block.hash);
        let below = match &self.view.ancestors {
            Ancestors::Over { below, .. } => below.clone(),
            other => Box::new(other.clone()),
        };
        let ancestors = Ancestors::Over { list: Arc::new(self.hashes.clone()), below };
        self.view = StateView::new(state, self.view.codes.clone(), ancestors);
        self.parent = block.header().clone();
    }

    fn show(&self, block: &Block, results: impl Iterator<Item = ExecutionResult>) -> SimulatedBlock {
        let mut logs = convert::logs(block, false).into_iter();
        let calls = results.map(|result| {
            let own = if result.is_success() { result.logs().len() } else { 0 };
            shown(result, logs.by_ref().take(own).collect())
        });
        let calls = calls.collect();
        SimulatedBlock { inner: convert::block(block, self.payload.return_full_transactions), calls }
    }
}

fn override_state(state: StateOverride, db: &mut revm::database::State<StateView>) -> Result<(), ExecError> {
    apply_state_overrides(state, db).map_err(|e| ExecError::Internal(e.to_string()))
}

fn shown(result: ExecutionResult, logs: Vec<Log>) -> SimCallResult {
    let (gas_used, status) = (result.tx_gas_used(), result.is_success());
    // Before refunds, and at least what the calldata costs (EIP-7623).
    let max_used_gas = Some(result.gas().total_gas_spent().max(result.gas().floor_gas()));
    let error = |code, message, data: Option<Bytes>| Some(SimulateError { code, message, data });
    let (return_data, error) = match result {
        ExecutionResult::Success { output, .. } => (output.into_data(), None),
        ExecutionResult::Revert { output, .. } => {
            let fail = Fail::reverted(&output);
            (output.clone(), error(fail.code, fail.message, Some(output)))
        }
        ExecutionResult::Halt { reason, .. } => (Bytes::new(), error(-32015, halt_text(&reason), None)),
    };
    SimCallResult { return_data, logs, gas_used, max_used_gas, status, error }
}

/// geth's codes for a call that is no valid transaction.
fn refused(why: &Rejected, index: usize, tx: &Tx) -> Fail {
    use alloy_consensus::Transaction;
    let Rejected::Invalid(error, _) = why else { return Fail::new(format!("call {index}: {}", why.text(tx))) };
    let code = match error {
        InvalidTransaction::NonceTooLow { .. } => -38010,
        InvalidTransaction::NonceTooHigh { .. } => -38011,
        InvalidTransaction::GasPriceLessThanBasefee => -38012,
        InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
        | InvalidTransaction::GasFloorMoreThanGasLimit { .. } => -38013,
        InvalidTransaction::LackOfFundForMaxFee { .. } => -38014,
        InvalidTransaction::RejectCallerWithCode => -38024,
        InvalidTransaction::CreateInitCodeSizeLimit => -38025,
        _ => -32000,
    };
    Fail::coded(code, format!("err: {} (supplied gas {})", why.text(tx), tx.gas_limit()))
}
