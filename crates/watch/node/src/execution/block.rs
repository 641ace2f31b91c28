//! A block that is what it says: read from the node's JSON and checked down to its hash.

use super::ExecutionNode;
use crate::NodeError;
use alloy_consensus::{
    EthereumTxEnvelope, Header, ReceiptEnvelope, Transaction as _, TxEip4844,
    proofs::{calculate_receipt_root, calculate_transaction_root, calculate_withdrawals_root},
    transaction::SignerRecoverable,
};
use alloy_eips::{Encodable2718, eip4895::Withdrawal};
use alloy_primitives::{Address, B256, keccak256};
use alloy_rpc_types_eth::{BlockTransactions, TransactionReceipt};
use serde_json::value::RawValue;
use tandem_types::BlockId;

/// A transaction as blocks carry it: a blob transaction is without its sidecar.
pub type TxEnvelope = EthereumTxEnvelope<TxEip4844>;

/// A transaction with what was computed from it here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainTx {
    /// Keccak of the canonical bytes.
    pub hash: B256,
    /// Recovered from the signature.
    pub sender: Address,
    /// The transaction.
    pub envelope: TxEnvelope,
}

impl ChainTx {
    /// Computes the hash, compares it with the one that came with the transaction, and recovers the
    /// sender.
    pub(super) fn check(envelope: TxEnvelope) -> Result<Self, String> {
        let hash = keccak256(envelope.encoded_2718());
        if hash != *envelope.tx_hash() {
            return Err(format!("a transaction hashes to {hash}, not to {}", envelope.tx_hash()));
        }
        let sender = envelope.recover_signer().map_err(|e| format!("transaction {hash}: {e}"))?;
        Ok(Self { hash, sender, envelope })
    }
    /// The nonce.
    pub fn nonce(&self) -> u64 {
        self.envelope.nonce()
    }
}

/// A block with its transactions and receipts.
///
/// # Guarantees
/// The header hashes to `id.hash`; transactions, withdrawals and receipts give the header's roots;
/// senders are recovered from the signatures. Nothing else of the node's answer is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainBlock {
    /// Number and hash.
    pub id: BlockId,
    /// The header.
    pub header: Header,
    /// The transactions.
    pub txs: Vec<ChainTx>,
    /// The withdrawals.
    pub withdrawals: Vec<Withdrawal>,
    /// One receipt a transaction.
    pub receipts: Vec<ReceiptEnvelope>,
}

impl ChainBlock {
    /// The parent's hash.
    pub const fn parent(&self) -> B256 {
        self.header.parent_hash
    }
    /// Gas that transaction `i` used, from the receipts' running sums.
    pub fn gas_used(&self, i: usize) -> Option<u64> {
        let upto = |i: usize| self.receipts.get(i).map(|r| r.cumulative_gas_used());
        let before = if i == 0 { 0 } else { upto(i - 1)? };
        upto(i)?.checked_sub(before)
    }
}

type RpcBlock = alloy_rpc_types_eth::Block<alloy_rpc_types_eth::Transaction<TxEnvelope>>;

impl ExecutionNode {
    /// Reads and checks a block. Pure computation.
    pub(super) fn read_block(
        &self,
        want: B256,
        block: &RawValue,
        receipts: &RawValue,
    ) -> Result<ChainBlock, NodeError> {
        let block: Option<RpcBlock> = self.rpc.read("block", block)?;
        let block = block.ok_or_else(|| self.not_found(format!("block {want}")))?;
        let receipts: Option<Vec<TransactionReceipt>> = self.rpc.read("receipts", receipts)?;
        let receipts = receipts.ok_or_else(|| self.not_found(format!("receipts of block {want}")))?;
        check_block(want, block, receipts).map_err(|why| self.untrue("block", why))
    }
}

fn check_block(want: B256, block: RpcBlock, receipts: Vec<TransactionReceipt>) -> Result<ChainBlock, String> {
    let (said, header) = (block.header.hash, block.header.inner);
    let equal = |what: &str, have: B256, want: B256| {
        if have == want { Ok(()) } else { Err(format!("{what} is {have}, expected {want}")) }
    };
    equal("the stated hash", said, want)?;
    equal("the header's hash", header.hash_slow(), want)?;
    let BlockTransactions::Full(txs) = block.transactions else {
        return Err("transactions came as hashes".into());
    };
    let senders: Vec<Address> = txs.iter().map(|t| t.inner.signer()).collect();
    let txs = txs.into_iter().map(|t| ChainTx::check(t.inner.into_inner())).collect::<Result<Vec<_>, _>>()?;
    if let Some((tx, from)) = txs.iter().zip(&senders).find(|(tx, from)| tx.sender != **from) {
        return Err(format!("transaction {} is said to be from {from}, its signature is of {}", tx.hash, tx.sender));
    }
    let envelopes: Vec<&TxEnvelope> = txs.iter().map(|t| &t.envelope).collect();
    equal("the transactions' root", calculate_transaction_root(&envelopes), header.transactions_root)?;
    let withdrawals = block.withdrawals.map(|w| w.0).unwrap_or_default();
    if let Some(root) = header.withdrawals_root {
        equal("the withdrawals' root", calculate_withdrawals_root(&withdrawals), root)?;
    }
    let receipts: Vec<_> = receipts.into_iter().map(|r| r.inner.into_primitives_receipt()).collect();
    if receipts.len() != txs.len() {
        return Err(format!("{} receipts for {} transactions", receipts.len(), txs.len()));
    }
    equal("the receipts' root", calculate_receipt_root(&receipts), header.receipts_root)?;
    Ok(ChainBlock { id: BlockId { number: header.number, hash: want }, header, txs, withdrawals, receipts })
}
