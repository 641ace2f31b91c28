//! Checking blocks that others built.

use super::{
    Block, Execution, Executor, MAX_BLOCK_RLP, Tx,
    build::{MAX_EXTRA_DATA, assemble},
    tx::decode_canonical,
};
use alloy_consensus::{Block as ConsensusBlock, EMPTY_OMMER_ROOT_HASH, Header, TxEnvelope, proofs};
use alloy_eips::{eip4895::Withdrawal, eip7685::Requests};
use alloy_primitives::{B256, Bytes, U256};
use alloy_rlp::Decodable;
use alloy_rpc_types_engine::{ExecutionPayloadV3, PayloadStatus, PayloadStatusEnum};
use std::sync::Arc;

/// Least gas limit of a block (the yellow paper's).
const MIN_GAS_LIMIT: u64 = 5000;
/// A block's gas limit moves by less than this part of its parent's.
const GAS_LIMIT_BOUND_DIVISOR: u64 = 1024;

impl Execution {
    /// What `engine_newPayloadV4` does: checks everything and executes; does not move the head.
    /// A parent that is not known is `SYNCING`.
    pub fn import(&self, payload: &ExecutionPayloadV3, parent_beacon_root: B256, requests: &Requests) -> PayloadStatus {
        let v2 = &payload.payload_inner;
        let v1 = &v2.payload_inner;
        let header = match header_of(payload, parent_beacon_root, requests) {
            Ok(header) => header,
            Err(why) => return PayloadStatus::from_status(PayloadStatusEnum::Invalid { validation_error: why }),
        };
        // At least so much; what is whole is measured once it is.
        let size = v1.transactions.iter().map(|t| t.len()).sum::<usize>();
        self.import_checked(header, &v1.transactions, v2.withdrawals.clone(), size)
    }

    /// The same for a whole block in RLP, which names its requests by their hash only.
    pub fn import_rlp(&self, rlp: &[u8]) -> PayloadStatus {
        let mut rest = rlp;
        let Ok(block) = ConsensusBlock::<TxEnvelope>::decode(&mut rest) else {
            return invalid("the block is not RLP".to_owned(), B256::ZERO);
        };
        if !rest.is_empty() {
            return invalid("trailing bytes after the block".to_owned(), block.header.parent_hash);
        }
        let ConsensusBlock { header, body } = block;
        if !body.ommers.is_empty() {
            return invalid("a block with uncles".to_owned(), header.parent_hash);
        }
        let withdrawals = body.withdrawals.unwrap_or_default().into_inner();
        let txs: Vec<Bytes> = body.transactions.iter().map(super::tx::canonical).collect();
        let roots = tandem_trie::ordered::root(txs.iter().cloned()).ok() == Some(header.transactions_root)
            && header.withdrawals_root == Some(proofs::calculate_withdrawals_root(&withdrawals));
        if !roots {
            return invalid("the body is not the header's".to_owned(), header.parent_hash);
        }
        self.import_checked(header, &txs, withdrawals, rlp.len())
    }

    /// Imports a block whose header commits to its body.
    fn import_checked(
        &self,
        header: Header,
        txs: &[Bytes],
        withdrawals: Vec<Withdrawal>,
        size: usize,
    ) -> PayloadStatus {
        let (hash, parent) = (header.hash_slow(), header.parent_hash);
        if self.block_by_hash(hash).is_some() {
            return valid(hash);
        }
        // A side branch below the finalised block can never become canonical: it is not kept.
        if self.block_by_hash(parent).is_none() || header.number <= self.finalized().number() {
            return PayloadStatus::from_status(PayloadStatusEnum::Syncing);
        }
        match self.check(header, txs, withdrawals, size) {
            Ok(block) => {
                self.keep(block);
                valid(hash)
            }
            Err(why) => invalid(why, parent),
        }
    }

    /// Checks the header against its parent, runs the block, and compares everything.
    fn check(
        &self,
        header: Header,
        raw: &[Bytes],
        withdrawals: Vec<Withdrawal>,
        size: usize,
    ) -> Result<Arc<Block>, String> {
        if size > MAX_BLOCK_RLP {
            return Err(format!("block RLP-encoded size exceeds maximum: {size} > {MAX_BLOCK_RLP}"));
        }
        let hash = header.hash_slow();
        if let Some(built) = self.recall_built(&hash) {
            return Ok(built);
        }
        let parent = self.block_by_hash(header.parent_hash).ok_or("unknown ancestor")?;
        self.check_header(&header, parent.header())?;
        let txs = raw.iter().map(|t| decode_canonical(t)).collect::<Result<Vec<Tx>, _>>();
        let txs = txs.map_err(|e| format!("invalid transaction: {e}"))?;
        let view = self.view(&parent).map_err(|e| e.to_string())?;
        let mut run = Executor::start(self.spec(), view, &header, withdrawals.clone()).map_err(|e| e.to_string())?;
        for (i, tx) in txs.iter().enumerate() {
            let hash = alloy_consensus::transaction::TxHashRef::tx_hash(tx);
            run.transact(tx).map_err(|e| format!("could not apply tx {i} [{hash}]: {}", e.text(tx)))?;
        }
        let run = run.finish().map_err(|e| e.to_string())?;
        let block = assemble(header.clone(), withdrawals, txs, run);
        compare(&header, block.header())?;
        if block.size > MAX_BLOCK_RLP {
            return Err(format!("block RLP-encoded size exceeds maximum: {} > {MAX_BLOCK_RLP}", block.size));
        }
        Ok(Arc::new(block))
    }

    fn check_header(&self, header: &Header, parent: &Header) -> Result<(), String> {
        let expect = |fits: bool, what: &str| if fits { Ok(()) } else { Err(what.to_owned()) };
        expect(header.ommers_hash == EMPTY_OMMER_ROOT_HASH, "invalid uncle hash")?;
        expect(header.difficulty == U256::ZERO && header.nonce.is_zero(), "invalid difficulty or nonce")?;
        expect(header.number == parent.number + 1, "invalid block number")?;
        expect(header.timestamp > parent.timestamp, "invalid timestamp")?;
        expect(header.extra_data.len() <= MAX_EXTRA_DATA, "extra-data too long")?;
        let moved = header.gas_limit.abs_diff(parent.gas_limit);
        let bound = parent.gas_limit / GAS_LIMIT_BOUND_DIVISOR;
        expect(moved < bound || moved == 0, "invalid gas limit")?;
        expect(header.gas_limit >= MIN_GAS_LIMIT && header.gas_limit <= i64::MAX as u64, "invalid gas limit")?;
        expect(header.gas_used <= header.gas_limit, "invalid gasUsed")?;
        expect(header.base_fee_per_gas == Some(self.spec().next_base_fee(parent)), "invalid baseFee")?;
        expect(header.excess_blob_gas == Some(self.spec().next_excess_blob_gas(parent)), "invalid excessBlobGas")?;
        expect(header.parent_beacon_block_root.is_some(), "missing parentBeaconRoot")?;
        expect(header.requests_hash.is_some(), "missing requestsHash")?;
        expect(header.block_access_list_hash.is_none() && header.slot_number.is_none(), "fields of a later fork")
    }
}

/// The header that a payload states, which must have the payload's hash.
fn header_of(payload: &ExecutionPayloadV3, parent_beacon_root: B256, requests: &Requests) -> Result<Header, String> {
    let v2 = &payload.payload_inner;
    let v1 = &v2.payload_inner;
    let txs = v1.transactions.iter().cloned();
    let header = Header {
        parent_hash: v1.parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: v1.fee_recipient,
        state_root: v1.state_root,
        transactions_root: tandem_trie::ordered::root(txs).map_err(|e| e.to_string())?,
        receipts_root: v1.receipts_root,
        logs_bloom: v1.logs_bloom,
        number: v1.block_number,
        gas_limit: v1.gas_limit,
        gas_used: v1.gas_used,
        timestamp: v1.timestamp,
        extra_data: v1.extra_data.clone(),
        mix_hash: v1.prev_randao,
        base_fee_per_gas: Some(u64::try_from(v1.base_fee_per_gas).map_err(|_| "invalid baseFee".to_owned())?),
        withdrawals_root: Some(proofs::calculate_withdrawals_root(&v2.withdrawals)),
        blob_gas_used: Some(payload.blob_gas_used),
        excess_blob_gas: Some(payload.excess_blob_gas),
        parent_beacon_block_root: Some(parent_beacon_root),
        requests_hash: Some(requests.requests_hash()),
        ..Header::default()
    };
    let hash = header.hash_slow();
    if hash != v1.block_hash {
        return Err(format!("blockhash mismatch, want {}, got {hash}", v1.block_hash));
    }
    Ok(header)
}

/// Names the first thing that an execution found otherwise than the header says.
fn compare(said: &Header, found: &Header) -> Result<(), String> {
    let differ = |what: &str, said: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
        Err(format!("invalid {what} (remote: {said} local: {found})"))
    };
    match () {
        () if said.gas_used != found.gas_used => differ("gas used", &said.gas_used, &found.gas_used),
        () if said.logs_bloom != found.logs_bloom => differ("bloom", &said.logs_bloom, &found.logs_bloom),
        () if said.receipts_root != found.receipts_root => {
            differ("receipt root hash", &said.receipts_root, &found.receipts_root)
        }
        () if said.transactions_root != found.transactions_root => {
            differ("transaction root hash", &said.transactions_root, &found.transactions_root)
        }
        () if said.withdrawals_root != found.withdrawals_root => Err("invalid withdrawals root".to_owned()),
        () if said.requests_hash != found.requests_hash => Err("invalid requests hash".to_owned()),
        () if said.blob_gas_used != found.blob_gas_used => Err("blob gas used mismatch".to_owned()),
        () if said.state_root != found.state_root => differ("merkle root", &said.state_root, &found.state_root),
        () if said.hash_slow() != found.hash_slow() => Err("the header differs".to_owned()),
        () => Ok(()),
    }
}

fn valid(hash: B256) -> PayloadStatus {
    PayloadStatus::new(PayloadStatusEnum::Valid, Some(hash))
}

fn invalid(validation_error: String, latest_valid: B256) -> PayloadStatus {
    PayloadStatus::new(PayloadStatusEnum::Invalid { validation_error }, Some(latest_valid))
}
