//! Requests of `eth_simulateV1`.

use super::{
    fail::Fail,
    overrides::{Overrides, accounts, known},
};
use crate::execution::Tx;
use alloy_consensus::{
    SignableTransaction, Signed, TxEip1559, TxEip4844, TxEip4844Variant, TxEip7702, TxEnvelope, TxLegacy,
};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Bytes, Signature, TxKind, U256, keccak256};
use alloy_rpc_types_eth::{TransactionRequest, state::StateOverride};
use revm::{context::TxEnv, context_interface::either::Either};
use serde::Deserialize;

/// The whole request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payload {
    pub(super) block_state_calls: Vec<SimBlock>,
    #[serde(default)]
    pub(super) trace_transfers: bool,
    #[serde(default)]
    pub(super) validation: bool,
    #[serde(default)]
    pub(super) return_full_transactions: bool,
}

/// One block.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SimBlock {
    #[serde(default, deserialize_with = "known")]
    pub(super) block_overrides: Option<Overrides>,
    #[serde(default, deserialize_with = "accounts")]
    pub(super) state_overrides: Option<StateOverride>,
    #[serde(default)]
    pub(super) calls: Vec<TransactionRequest>,
}

/// A call as it runs, and the unsigned transaction that the block shows for it.
pub(super) struct Message {
    pub(super) env: TxEnv,
    pub(super) shown: Tx,
}

/// A signature that nobody made: the block's transactions are unsigned.
const UNSIGNED: Signature = Signature::new(U256::ZERO, U256::ZERO, false);

/// Makes the message of a request whose nonce and gas are given.
///
/// As in geth a request with `gasPrice` is shown as a legacy transaction even if it has an access list
/// (its type, and so the receipts root, then differ from the real one's), any other as type 2, 3 or 4.
pub(super) fn message(request: TransactionRequest, chain_id: u64, blob_fee: u128) -> Result<Message, Fail> {
    let input = request.input.clone().try_into_unique_input().map_err(|e| Fail::params(e.to_string()))?;
    let from = request.from.unwrap_or_default();
    let env = TxEnv {
        caller: from,
        nonce: request.nonce.unwrap_or_default(),
        gas_limit: request.gas.unwrap_or_default(),
        gas_price: request.gas_price.or(request.max_fee_per_gas).unwrap_or_default(),
        gas_priority_fee: request.gas_price.is_none().then(|| request.max_priority_fee_per_gas.unwrap_or_default()),
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: input.unwrap_or_default(),
        chain_id: Some(request.chain_id.unwrap_or(chain_id)),
        access_list: request.access_list.clone().unwrap_or_default(),
        blob_hashes: request.blob_versioned_hashes.clone().unwrap_or_default(),
        max_fee_per_blob_gas: request.max_fee_per_blob_gas.unwrap_or(blob_fee),
        authorization_list: request.authorization_list.iter().flatten().cloned().map(Either::Left).collect(),
        ..TxEnv::default()
    };
    let shown = Tx::new_unchecked(shown(&request, &env)?, from);
    Ok(Message { env: TxEnv { tx_type: run_type(&request), ..env }, shown })
}

/// The type under which a request runs.
pub(super) fn run_type(request: &TransactionRequest) -> u8 {
    match request {
        r if r.authorization_list.is_some() => 4,
        r if r.blob_versioned_hashes.is_some() => 3,
        r if r.gas_price.is_none() => 2,
        r if r.access_list.is_some() => 1,
        _ => 0,
    }
}

/// The bytes of a transaction that nobody signed. A legacy one has a `v` of 0 then, as no signed one has.
pub(super) fn unsigned(tx: &TxEnvelope) -> Bytes {
    match tx {
        TxEnvelope::Legacy(legacy) => unsigned_legacy(legacy.tx()).into(),
        other => other.encoded_2718().into(),
    }
}

fn unsigned_legacy(tx: &TxLegacy) -> Vec<u8> {
    // What is signed ends in the chain's id and two zeros: with an id of 0 it is three zeros for v, r, s.
    TxLegacy { chain_id: Some(0), ..tx.clone() }.encoded_for_signing()
}

fn shown(request: &TransactionRequest, env: &TxEnv) -> Result<TxEnvelope, Fail> {
    let (chain_id, nonce, gas_limit) = (env.chain_id.unwrap_or_default(), env.nonce, env.gas_limit);
    let (max_fee_per_gas, max_priority_fee_per_gas) = (env.gas_price, env.gas_priority_fee.unwrap_or_default());
    let (to, value, input, access_list) = (env.kind, env.value, env.data.clone(), env.access_list.clone());
    let called = || to.to().copied().ok_or_else(|| Fail::params("missing \"to\" in a blob or set-code transaction"));
    Ok(if request.gas_price.is_some() {
        let tx = TxLegacy { chain_id: None, nonce, gas_price: env.gas_price, gas_limit, to, value, input };
        let hash = keccak256(unsigned_legacy(&tx));
        Signed::new_unchecked(tx, UNSIGNED, hash).into()
    } else if let Some(authorization_list) = request.authorization_list.clone() {
        let (to, m, p) = (called()?, max_fee_per_gas, max_priority_fee_per_gas);
        let tx = TxEip7702 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: m,
            max_priority_fee_per_gas: p,
            to,
            value,
            access_list,
            authorization_list,
            input,
        };
        tx.into_signed(UNSIGNED).into()
    } else if let Some(blob_versioned_hashes) = request.blob_versioned_hashes.clone() {
        let (to, m, p) = (called()?, max_fee_per_gas, max_priority_fee_per_gas);
        let max_fee_per_blob_gas = env.max_fee_per_blob_gas;
        let tx = TxEip4844 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: m,
            max_priority_fee_per_gas: p,
            to,
            value,
            access_list,
            blob_versioned_hashes,
            max_fee_per_blob_gas,
            input,
        };
        let tx: TxEip4844Variant = tx.into();
        tx.into_signed(UNSIGNED).into()
    } else {
        let tx = TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to,
            value,
            access_list,
            input,
        };
        tx.into_signed(UNSIGNED).into()
    })
}
