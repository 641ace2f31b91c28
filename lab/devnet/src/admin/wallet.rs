//! The devnet's own accounts: they pay the faucet's transfers and burn gas in fee spikes.

use crate::node::Node;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use tandem_keys::EcdsaSecretKey;

/// Accounts that burn gas in fee spikes. Four fill a block of 60M gas, since a transaction has at
/// most 2²⁴ (EIP-7825); the rest is for larger blocks. The last one is the faucet.
pub const SPIKE_ACCOUNTS: u32 = 9;

/// The key of one of the devnet's own accounts. Everybody knows it: for devnets only.
pub fn spike_key(index: u32) -> B256 {
    keccak256([&b"tandem-devnet/own/"[..], &index.to_be_bytes()].concat())
}

/// The address of a key; zero for what is none.
pub fn address_of(key: &B256) -> Address {
    EcdsaSecretKey::from_bytes(&key.0).map_or(Address::ZERO, |k| k.address())
}

/// A transaction of one of the devnet's accounts, to be signed.
pub(super) struct Ask {
    pub(super) account: u32,
    pub(super) to: TxKind,
    pub(super) value: U256,
    pub(super) gas_limit: u64,
    pub(super) input: Bytes,
    pub(super) tip: u128,
}

/// Signs a transaction with the account's next nonce and hands it to the pool.
///
/// # Errors
/// What the pool says.
pub(super) fn send(node: &Node, ask: Ask) -> Result<B256, String> {
    let key = EcdsaSecretKey::from_bytes(&spike_key(ask.account).0).map_err(|e| e.to_string())?;
    let execution = node.chain.execution();
    let head = execution.head();
    let nonce = execution.pool().next_nonce(key.address());
    let base_fee = u128::from(head.header().base_fee_per_gas.unwrap_or_default());
    let tx = TxEip1559 {
        chain_id: node.chain.spec().chain_id,
        nonce,
        gas_limit: ask.gas_limit,
        // Enough for six full blocks in a row.
        max_fee_per_gas: base_fee * 2 + ask.tip,
        max_priority_fee_per_gas: ask.tip,
        to: ask.to,
        value: ask.value,
        access_list: Default::default(),
        input: ask.input,
    };
    let signature = Signature::from_raw_array(&key.sign(tx.signature_hash())).map_err(|e| e.to_string())?;
    let signed = TxEnvelope::from(tx.into_signed(signature));
    execution.add_transaction(&signed.encoded_2718()).map_err(|e| e.to_string())
}

/// A plain transfer from the faucet.
///
/// # Errors
/// What the pool says.
pub(super) fn transfer(node: &Node, to: Address, wei: U256) -> Result<B256, String> {
    let to = TxKind::Call(to);
    let tip = 1_000_000_000;
    send(node, Ask { account: SPIKE_ACCOUNTS - 1, to, value: wei, gas_limit: 100_000, input: Bytes::new(), tip })
}
