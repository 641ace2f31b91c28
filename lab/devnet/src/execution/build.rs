//! Building blocks.

use super::{
    Block, BuildError, DecodedTx, ExecError, Executed, Execution, Executor, MAX_BLOCK_RLP, PayloadAttributes, Tx,
    decode_network, execute::Rejected,
};
use alloy_consensus::{BlockBody, EMPTY_OMMER_ROOT_HASH, Header, TxReceipt, proofs};
use alloy_eips::{
    eip1559::calculate_block_gas_limit, eip2718::Encodable2718, eip4895::Withdrawal,
    eip7594::BlobTransactionSidecarEip7594,
};
use alloy_primitives::{B256, Bloom, Bytes, U256};
use alloy_rpc_types_engine::{BlobsBundleV2, ExecutionPayloadEnvelopeV5, ExecutionPayloadV3};
use std::sync::Arc;

/// Most bytes of extra data in a header.
pub(crate) const MAX_EXTRA_DATA: usize = 32;
/// Room that everything but the transactions takes in a block's RLP, at most: header, lists, and
/// withdrawals (16 of 70 bytes).
const RLP_OVERHEAD: usize = 4096;

/// Which transactions a block gets.
#[derive(Clone, Debug)]
pub enum Fill {
    /// Exactly these, in this order, in network form; one that does not execute fails the build.
    Exactly(Vec<Bytes>),
    /// These first, in this order, none of which may fail, then the pool's best.
    FromPool {
        /// What comes first.
        first: Vec<Bytes>,
    },
}

/// A block that was built. It is not imported yet.
#[derive(Clone, Debug)]
pub struct Built {
    /// The block.
    pub block: Arc<Block>,
    /// The sidecars of its blob transactions, in order.
    pub sidecars: Vec<Arc<BlobTransactionSidecarEip7594>>,
    /// What was said of builders' blocks when it was built ([`Execution::set_override_builder`]).
    pub should_override_builder: bool,
}

impl Built {
    /// The payload.
    pub fn payload(&self) -> ExecutionPayloadV3 {
        ExecutionPayloadV3::from_block_unchecked(self.block.hash, &self.block.inner)
    }

    /// What getPayload V5 answers.
    pub fn envelope(&self) -> ExecutionPayloadEnvelopeV5 {
        ExecutionPayloadEnvelopeV5 {
            execution_payload: self.payload(),
            block_value: self.block.value,
            blobs_bundle: BlobsBundleV2::new(self.sidecars.iter().map(|s| (**s).clone())),
            should_override_builder: self.should_override_builder,
            execution_requests: self.block.requests.clone(),
        }
    }

    /// What the fee recipient gets, in wei.
    pub fn value_wei(&self) -> U256 {
        self.block.value
    }
}

/// A block under construction.
struct Draft {
    header: Header,
    withdrawals: Vec<Withdrawal>,
    run: Executor,
    txs: Vec<Tx>,
    sidecars: Vec<Arc<BlobTransactionSidecarEip7594>>,
    bytes: usize,
}

impl Execution {
    /// Builds a block on any known parent, and remembers it so that its import need not run it again.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(
        &self,
        parent: B256,
        attributes: &PayloadAttributes,
        fill: &Fill,
        extra_data: Bytes,
    ) -> Result<Built, BuildError> {
        let parent = self.block_by_hash(parent).ok_or(ExecError::UnknownBlock(parent))?;
        let mut draft = self.draft(&parent, attributes, extra_data)?;
        let (wanted, pool) = match fill {
            Fill::Exactly(txs) => (txs, false),
            Fill::FromPool { first } => (first, true),
        };
        for (index, raw) in wanted.iter().enumerate() {
            self.push_wanted(&mut draft, index, raw)?;
        }
        if pool {
            self.fill_from_pool(&parent, &mut draft);
        }
        let sidecars = std::mem::take(&mut draft.sidecars);
        let block = Arc::new(draft.seal()?);
        if block.size > MAX_BLOCK_RLP {
            return Err(BuildError::TooLarge(block.size));
        }
        self.remember_built(block.clone());
        Ok(Built { block, sidecars, should_override_builder: self.overrides_builder() })
    }

    fn draft(&self, parent: &Block, at: &PayloadAttributes, extra_data: Bytes) -> Result<Draft, BuildError> {
        let of = parent.header();
        if at.timestamp <= of.timestamp {
            return Err(BuildError::Attributes("the timestamp is not after the parent's"));
        }
        if extra_data.len() > MAX_EXTRA_DATA {
            return Err(BuildError::Attributes("extra data is longer than 32 bytes"));
        }
        let withdrawals = at.withdrawals.clone().ok_or(BuildError::Attributes("withdrawals are missing"))?;
        let root = at.parent_beacon_block_root.ok_or(BuildError::Attributes("the parent beacon root is missing"))?;
        let gas_target = at.target_gas_limit.unwrap_or_else(|| self.gas_target());
        let header = Header {
            parent_hash: parent.hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: at.suggested_fee_recipient,
            number: of.number + 1,
            gas_limit: calculate_block_gas_limit(of.gas_limit, gas_target),
            timestamp: at.timestamp,
            extra_data,
            mix_hash: at.prev_randao,
            base_fee_per_gas: Some(self.spec().next_base_fee(of)),
            withdrawals_root: Some(proofs::calculate_withdrawals_root(&withdrawals)),
            excess_blob_gas: Some(self.spec().next_excess_blob_gas(of)),
            parent_beacon_block_root: Some(root),
            ..Header::default()
        };
        let run = Executor::start(self.spec(), self.view(parent)?, &header, withdrawals.clone())?;
        Ok(Draft { header, withdrawals, run, txs: Vec::new(), sidecars: Vec::new(), bytes: RLP_OVERHEAD })
    }

    /// A transaction that must be in the block.
    fn push_wanted(&self, draft: &mut Draft, index: usize, raw: &[u8]) -> Result<(), BuildError> {
        let fail = |hash, reason| BuildError::Transaction { index, hash, reason };
        let unread = |e| fail(B256::ZERO, format!("invalid transaction {index}: {e}"));
        let mut decoded = decode_network(raw).map_err(unread)?;
        let hash = decoded.hash();
        if decoded.tx.is_eip4844() && decoded.sidecar.is_none() {
            decoded.sidecar = self.pool().get(&hash).and_then(|p| p.sidecar.clone());
            if decoded.sidecar.is_none() {
                return Err(fail(hash, "blob transaction without blobs".to_owned()));
            }
        }
        draft.push(&decoded).map_err(|e| fail(hash, e.text(&decoded.tx)))
    }

    /// Best first; a transaction that does not execute takes its sender out of this block.
    fn fill_from_pool(&self, parent: &Block, draft: &mut Draft) {
        let base_fee = draft.header.base_fee_per_gas.unwrap_or_default();
        let Some(state) = parent.state() else { return };
        let taken: std::collections::HashSet<B256> =
            draft.txs.iter().map(|tx| *alloy_consensus::transaction::TxHashRef::tx_hash(tx)).collect();
        // Promised transactions moved their senders' nonces: count them on top of the parent's state.
        let mut sent = std::collections::HashMap::new();
        for tx in &draft.txs {
            *sent.entry(tx.signer()).or_insert(0u64) += 1;
        }
        let at_head = self.head().hash == parent.hash;
        let nonce = |sender| {
            let more = sent.get(&sender).copied();
            if at_head && more.is_none() {
                return None;
            }
            let at = state.account(sender).ok().flatten().map_or(0, |a| a.nonce);
            Some(at + more.unwrap_or_default())
        };
        let mut best = self.pool().best(base_fee, self.spec().blob_fee(&draft.header), nonce);
        while let Some(tx) = best.next() {
            if draft.is_full() {
                break;
            }
            if taken.contains(&tx.hash) {
                continue;
            }
            let decoded = DecodedTx { tx: tx.tx.clone(), sidecar: tx.sidecar.clone() };
            if draft.push(&decoded).is_err() {
                best.skip_sender(tx.tx.signer());
            }
        }
    }
}

impl Draft {
    fn push(&mut self, tx: &DecodedTx) -> Result<(), Rejected> {
        let size = tx.tx.encode_2718_len() + 4;
        if self.bytes + size > MAX_BLOCK_RLP {
            return Err(Rejected::Failed("block size limit reached".to_owned()));
        }
        self.run.transact(&tx.tx)?;
        self.bytes += size;
        self.txs.push(tx.tx.clone());
        self.sidecars.extend(tx.sidecar.clone());
        Ok(())
    }

    /// Whether not even a plain transfer fits.
    const fn is_full(&self) -> bool {
        self.header.gas_limit - self.run.gas_used() < 21_000
    }

    fn seal(self) -> Result<Block, ExecError> {
        let Self { header, withdrawals, run, txs, .. } = self;
        Ok(assemble(header, withdrawals, txs, run.finish()?))
    }
}

/// The block that an execution makes of a header's environment.
pub(crate) fn assemble(mut header: Header, withdrawals: Vec<Withdrawal>, txs: Vec<Tx>, run: Executed) -> Block {
    let (transactions, senders): (Vec<_>, Vec<_>) = txs.into_iter().map(Tx::into_parts).unzip();
    header.state_root = run.state.root();
    header.transactions_root = proofs::calculate_transaction_root(&transactions);
    header.receipts_root = proofs::calculate_receipt_root(&run.receipts);
    header.logs_bloom = run.receipts.iter().fold(Bloom::ZERO, |bloom, r| bloom | r.bloom());
    header.gas_used = run.gas_used;
    header.blob_gas_used = Some(run.blob_gas_used);
    header.requests_hash = Some(run.requests.requests_hash());
    let body = BlockBody { transactions, ommers: Vec::new(), withdrawals: Some(withdrawals.into()) };
    let inner = alloy_consensus::Block::new(header, body);
    let mut block = Block::new(inner, senders, run.receipts, run.requests, run.state);
    block.new_codes = run.new_codes;
    block
}
