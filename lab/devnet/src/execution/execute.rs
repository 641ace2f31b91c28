//! Running a block's transactions.

use super::{
    ExecError, OsakaSpec, StateView, Tx,
    text::{Fees, invalid_transaction_text},
};
use alloy_consensus::{Header, ReceiptEnvelope, Transaction};
use alloy_eips::{eip4895::Withdrawal, eip7685::Requests};
use alloy_evm::{
    Evm, EvmEnv,
    block::{BlockExecutionError, BlockExecutor, BlockValidationError, TxResult},
    eth::{EthBlockExecutionCtx, EthBlockExecutor, EthEvm, EthEvmBuilder, receipt_builder::AlloyReceiptBuilder},
    precompiles::PrecompilesMap,
};
use alloy_primitives::{Address, B256, map::HashMap};
use revm::{
    Database,
    context::TxEnv,
    context_interface::result::{ExecutionResult, InvalidTransaction},
    database::{BundleState, State as EvmState, states::bundle_state::BundleRetention},
    state::Bytecode,
};
use revm_inspectors::transfer::TransferInspector;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};
use tandem_trie::{Change, State, Touched};

/// What an execution read and changed.
pub type Touches = Touched;

/// Watches transfers for simulations that ask for them; elsewhere it is switched off and costs nothing.
type RunEvm = EthEvm<EvmState<StateView>, TransferInspector, PrecompilesMap>;
type Inner = EthBlockExecutor<'static, RunEvm, OsakaSpec, AlloyReceiptBuilder>;

/// A block while it is being run: pre-block calls first, then transactions, then [`Executor::finish`].
#[allow(missing_debug_implementations)]
pub struct Executor {
    inner: Inner,
    max_blob_gas: u64,
    before: State,
}

/// Why a transaction does not fit the block. The block goes on as if it had not been tried.
#[derive(Clone, Debug)]
pub enum Rejected {
    /// Its gas limit is more than the block has left.
    Gas,
    /// It has more blobs than the block has room for.
    Blobs,
    /// It is not valid on this state, under this base fee.
    Invalid(InvalidTransaction, u64),
    /// The state could not be read, or the EVM failed.
    Failed(String),
}

impl Rejected {
    /// The reason as geth words it.
    pub fn text(&self, tx: &Tx) -> String {
        match self {
            Self::Gas => "gas limit reached".to_owned(),
            Self::Blobs => "blob gas limit reached".to_owned(),
            Self::Invalid(e, base_fee) => {
                let max_fee = tx.max_fee_per_gas();
                let tip = tx.max_priority_fee_per_gas().unwrap_or(max_fee);
                invalid_transaction_text(e, tx.signer(), Fees { max_fee, tip, base_fee: *base_fee })
            }
            Self::Failed(e) => e.clone(),
        }
    }
}

/// A block that was run.
#[derive(Debug)]
pub struct Executed {
    /// Receipts, one a transaction.
    pub receipts: Vec<ReceiptEnvelope>,
    /// EIP-7685 requests, the empty ones left out.
    pub requests: Requests,
    /// Gas of all transactions.
    pub gas_used: u64,
    /// Blob gas of all transactions.
    pub blob_gas_used: u64,
    /// The state after.
    pub state: State,
    /// What was read and changed, system calls and withdrawals included.
    pub touches: Touches,
    /// Codes that were read from the state, by hash; those that the block itself created are not among them.
    pub codes: BTreeSet<B256>,
    /// Codes that it created. They are known to others only once the block is kept.
    pub new_codes: Vec<(B256, Bytecode)>,
    /// The lowest block number whose hash was asked for.
    pub lowest_asked: Option<u64>,
}

impl Executor {
    /// Begins a block: its environment is `header`'s, its state `view`'s. Calls the contracts of
    /// EIP-2935 and EIP-4788.
    ///
    /// # Errors
    /// [`ExecError::Internal`] if a system call fails or the state is partial.
    pub fn start(
        spec: &OsakaSpec,
        view: StateView,
        header: &Header,
        withdrawals: Vec<Withdrawal>,
    ) -> Result<Self, ExecError> {
        Self::start_with(spec, view, (header, spec.env(header)), withdrawals, false, (|_| Ok(()), |_| {}))
    }

    /// The same in an environment of one's own, after `prepare` changed the state and the precompiles. With
    /// `trace_transfers` each transfer of ether leaves a log.
    pub(crate) fn start_with(
        spec: &OsakaSpec,
        view: StateView,
        (header, env): (&Header, EvmEnv),
        withdrawals: Vec<Withdrawal>,
        trace_transfers: bool,
        (prepare, precompiles): (
            impl FnOnce(&mut EvmState<StateView>) -> Result<(), ExecError>,
            impl FnOnce(&mut PrecompilesMap),
        ),
    ) -> Result<Self, ExecError> {
        let before = view.state.clone();
        let mut db = EvmState::builder().with_database(view).with_bundle_update().build();
        prepare(&mut db)?;
        let inspector = TransferInspector::new(false).with_logs(true);
        let mut evm = EthEvmBuilder::new(db, env).inspector(inspector).set_inspect(trace_transfers).build();
        precompiles(evm.precompiles_mut());
        let ctx = EthBlockExecutionCtx {
            parent_hash: header.parent_hash,
            parent_beacon_block_root: header.parent_beacon_block_root,
            ommers: &[],
            withdrawals: Some(Cow::Owned(withdrawals)),
            extra_data: header.extra_data.clone(),
            tx_count_hint: None,
            slot_number: None,
        };
        let mut inner = EthBlockExecutor::new(evm, ctx, spec.clone(), AlloyReceiptBuilder::default());
        inner.apply_pre_execution_changes().map_err(internal)?;
        Ok(Self { inner, max_blob_gas: spec.blobs.max_blob_gas_per_block(), before })
    }

    /// Runs a transaction; returns the gas that it used.
    ///
    /// # Errors
    /// [`Rejected`]; nothing of it stays.
    pub fn transact(&mut self, tx: &Tx) -> Result<u64, Rejected> {
        self.has_blob_room(tx)?;
        let base_fee = self.inner.evm.block().basefee;
        self.inner.execute_transaction(tx).map(|gas| gas.tx_gas_used()).map_err(|e| rejected(e, base_fee))
    }

    fn has_blob_room(&self, tx: &Tx) -> Result<(), Rejected> {
        let blob_gas = tx.blob_gas_used().unwrap_or_default();
        let fits = self.inner.blob_gas_used.saturating_add(blob_gas) <= self.max_blob_gas;
        fits.then_some(()).ok_or(Rejected::Blobs)
    }

    /// Runs a message in place of a signed transaction, which only its receipt shows.
    pub(crate) fn transact_message(&mut self, message: TxEnv, shown: &Tx) -> Result<ExecutionResult, Rejected> {
        self.has_blob_room(shown)?;
        let base_fee = self.inner.evm.block().basefee;
        let mut result = None;
        let shown = shown.as_recovered_ref();
        self.inner
            .execute_transaction_with_result_closure((message, shown), |r| result = Some(r.result().result.clone()))
            .map_err(|e| rejected(e, base_fee))?;
        result.ok_or_else(|| Rejected::Failed("no result".to_owned()))
    }

    /// An account's nonce now.
    pub(crate) fn nonce(&mut self, address: Address) -> Result<u64, ExecError> {
        let info = self.inner.evm.db_mut().basic(address).map_err(|e| ExecError::Internal(e.to_string()))?;
        Ok(info.map_or(0, |i| i.nonce))
    }

    /// Gas that the transactions so far used.
    pub const fn gas_used(&self) -> u64 {
        self.inner.cumulative_tx_gas_used
    }

    /// Withdrawals, requests, and the state after.
    ///
    /// # Errors
    /// [`ExecError::Internal`] if a system call fails or the state is partial.
    pub fn finish(self) -> Result<Executed, ExecError> {
        let Self { inner, before, .. } = self;
        let (evm, result) = inner.finish().map_err(internal)?;
        let mut db = evm.into_db();
        db.merge_transitions(BundleRetention::PlainState);
        let bundle = db.take_bundle();
        let new_codes = bundle.contracts.iter().map(|(hash, code)| (*hash, code.clone())).collect();
        let touches = Touches { read: read(&db), changed: changes(&bundle) };
        let mut state = before;
        state.apply(&touches.changed).map_err(|e| ExecError::Internal(e.to_string()))?;
        // What this block created is in its transactions already; but what it read and then created again
        // was needed from outside.
        let codes = db.database.codes_read();
        let lowest_asked = db.database.lowest_asked();
        let (receipts, requests) = (result.receipts, result.requests);
        let (gas_used, blob_gas_used) = (result.gas_used, result.blob_gas_used);
        Ok(Executed { receipts, requests, gas_used, blob_gas_used, state, touches, codes, new_codes, lowest_asked })
    }
}

fn internal(error: BlockExecutionError) -> ExecError {
    ExecError::Internal(error.to_string())
}

fn rejected(error: BlockExecutionError, base_fee: u64) -> Rejected {
    match error {
        BlockExecutionError::Validation(BlockValidationError::TransactionGasLimitMoreThanAvailableBlockGas {
            ..
        }) => Rejected::Gas,
        BlockExecutionError::Validation(BlockValidationError::InvalidTx { error, .. }) => {
            match error.as_invalid_tx_err() {
                Some(e) => Rejected::Invalid(e.clone(), base_fee),
                None => Rejected::Failed(error.to_string()),
            }
        }
        other => Rejected::Failed(other.to_string()),
    }
}

/// Everything that was loaded from the state.
fn read(db: &EvmState<StateView>) -> BTreeMap<Address, BTreeSet<B256>> {
    let slots =
        |a: &revm::database::states::plain_account::PlainAccount| a.storage.keys().map(|k| B256::from(*k)).collect();
    db.cache
        .accounts
        .iter()
        .map(|(address, cached)| (*address, cached.account.as_ref().map(slots).unwrap_or_default()))
        .collect()
}

/// The changes that a trie applies.
pub(crate) fn changes(bundle: &BundleState) -> HashMap<Address, Change> {
    let mut out = HashMap::default();
    for (address, account) in &bundle.state {
        let wiped = account.was_destroyed();
        let slots: Vec<_> = account
            .storage
            .iter()
            .filter(|(_, s)| wiped || s.previous_or_original_value != s.present_value)
            .map(|(slot, s)| (B256::from(*slot), s.present_value))
            .collect();
        if slots.is_empty() && !wiped && account.info == account.original_info {
            continue;
        }
        let info = account.info.as_ref().map(|i| (i.nonce, i.balance, i.code_hash));
        out.insert(*address, Change { info, wiped, slots });
    }
    out
}
