//! Blocks, transactions and receipts as JSON-RPC shows them.

use crate::execution::{Block, PoolTx};
use alloy_consensus::{
    ReceiptEnvelope, Sealed, Transaction as _, TxEnvelope,
    transaction::{Recovered, TransactionInfo},
};
use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::{BlockTransactions, Header, Log, Transaction, TransactionReceipt};

/// The header of a block.
pub(crate) fn header(block: &Block) -> Header {
    Header::from_consensus(Sealed::new_unchecked(block.header().clone(), block.hash), None, None)
}

/// A block with its transactions, whole or by hash.
pub(crate) fn block(block: &Block, full: bool) -> alloy_rpc_types_eth::Block {
    let mut header = header(block);
    header.size = Some(U256::from(block.size));
    let transactions = if full {
        BlockTransactions::Full((0..block.senders.len()).filter_map(|i| transaction(block, i)).collect())
    } else {
        BlockTransactions::Hashes(block.tx_hashes().collect())
    };
    let withdrawals = block.inner.body.withdrawals.clone();
    alloy_rpc_types_eth::Block::new(header, transactions).with_withdrawals(withdrawals)
}

/// A transaction of a block.
pub(crate) fn transaction(block: &Block, index: usize) -> Option<Transaction> {
    let (tx, from) = (block.transactions().get(index)?, block.senders.get(index)?);
    let info = TransactionInfo {
        hash: Some(*tx.tx_hash()),
        index: Some(index as u64),
        block_hash: Some(block.hash),
        block_number: Some(block.number()),
        base_fee: block.header().base_fee_per_gas,
        block_timestamp: Some(block.header().timestamp),
    };
    Some(Transaction::from_transaction(Recovered::new_unchecked(tx.clone(), *from), info))
}

/// A transaction that waits.
pub(crate) fn waiting(tx: &PoolTx) -> Transaction {
    let info = TransactionInfo { hash: Some(tx.hash), ..TransactionInfo::default() };
    Transaction::from_transaction(tx.tx.clone(), info)
}

/// All receipts of a block.
pub(crate) fn receipts(block: &Block, blob_fee: u128) -> Vec<TransactionReceipt> {
    let mut first_log = 0;
    let mut out = Vec::with_capacity(block.receipts.len());
    for (index, ((tx, from), consensus)) in
        block.transactions().iter().zip(&block.senders).zip(&block.receipts).enumerate()
    {
        let logs = logs_of(block, index, first_log, consensus, false);
        first_log += logs.len();
        out.push(receipt(block, index, tx, *from, consensus, logs, blob_fee));
    }
    out
}

fn receipt(
    block: &Block,
    index: usize,
    tx: &TxEnvelope,
    from: Address,
    consensus: &ReceiptEnvelope,
    logs: Vec<Log>,
    blob_fee: u128,
) -> TransactionReceipt {
    let mut logs = logs.into_iter();
    let inner = consensus.clone().map_logs(|log| logs.next().unwrap_or_else(|| Log { inner: log, ..Log::default() }));
    let blob_gas_used = tx.blob_gas_used();
    TransactionReceipt {
        inner,
        transaction_hash: *tx.tx_hash(),
        transaction_index: Some(index as u64),
        block_hash: Some(block.hash),
        block_number: Some(block.number()),
        gas_used: block.gas_used(index),
        effective_gas_price: tx.effective_gas_price(block.header().base_fee_per_gas),
        blob_gas_used,
        blob_gas_price: blob_gas_used.map(|_| blob_fee),
        from,
        to: tx.to(),
        contract_address: tx.is_create().then(|| from.create(tx.nonce())),
    }
}

/// All logs of a block, with their places.
pub(crate) fn logs(block: &Block, removed: bool) -> Vec<Log> {
    let mut out = Vec::new();
    for (index, receipt) in block.receipts.iter().enumerate() {
        out.extend(logs_of(block, index, out.len(), receipt, removed));
    }
    out
}

fn logs_of(block: &Block, tx: usize, first: usize, receipt: &ReceiptEnvelope, removed: bool) -> Vec<Log> {
    let hash: Option<B256> = block.transactions().get(tx).map(|t| *t.tx_hash());
    receipt
        .logs()
        .iter()
        .enumerate()
        .map(|(i, log)| Log {
            inner: log.clone(),
            block_hash: Some(block.hash),
            block_number: Some(block.number()),
            block_timestamp: Some(block.header().timestamp),
            transaction_hash: hash,
            transaction_index: Some(tx as u64),
            log_index: Some((first + i) as u64),
            removed,
        })
        .collect()
}

#[cfg(test)]
mod tests;
