//! What a state holds.

use super::{
    Rpc,
    answer::pendable,
    fail::{Args, Fail},
};
use crate::execution::StateView;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256, hex};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use alloy_serde::JsonStorageKey;
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use tandem_trie::{Account, KECCAK_EMPTY};

/// Slots in one proof: what geth allows.
const MAX_PROOF_SLOTS: usize = 1024;

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    pendable(m, "eth_getBalance", |rpc, args| Ok(account(rpc, args)?.1.map_or(U256::ZERO, |a| a.balance)))?;
    pendable(m, "eth_getCode", |rpc, args| {
        let (view, account) = account(rpc, args)?;
        let code = view.codes.get(&account.map_or(KECCAK_EMPTY, |a| a.code_hash));
        Ok(code.map(|c| c.original_bytes()).unwrap_or_default())
    })?;
    pendable(m, "eth_getTransactionCount", |rpc, args| {
        let (address, id): (Address, Option<BlockId>) = (args.next()?, args.optional()?);
        if id == Some(BlockId::Number(BlockNumberOrTag::Pending)) {
            return Ok(U64::from(rpc.execution.pool().next_nonce(address)));
        }
        let block = rpc.need_block(id)?;
        Ok(U64::from(rpc.view(&block)?.state.account(address)?.map_or(0, |a| a.nonce)))
    })?;
    pendable(m, "eth_getStorageAt", |rpc, args| {
        let (address, slot, id): (Address, JsonStorageKey, Option<BlockId>) =
            (args.next()?, args.next()?, args.optional()?);
        let block = rpc.need_state(id)?;
        Ok(B256::from(rpc.view(&block)?.state.slot(address, slot.as_b256())?))
    })?;
    pendable(m, "eth_getProof", |rpc, args| {
        let (address, slots, id): (Address, Vec<String>, Option<BlockId>) =
            (args.next()?, args.next()?, args.optional()?);
        if slots.len() > MAX_PROOF_SLOTS {
            let asked = slots.len();
            let why = format!("too many storage keys requested (max {MAX_PROOF_SLOTS}, got {asked})");
            return Err(Fail::params(why));
        }
        let slots: Vec<JsonStorageKey> = slots.iter().map(|key| storage_key(key)).collect::<Result<_, _>>()?;
        proof(rpc, address, &slots, id)
    })?;
    pendable(m, "eth_getAccount", |rpc, args| {
        let found = account(rpc, args)?.1;
        Ok(found.map(|a| alloy_rpc_types_eth::Account {
            balance: a.balance,
            nonce: a.nonce,
            code_hash: a.code_hash,
            storage_root: a.storage_root(),
        }))
    })
}

/// An account, and the state that it is in.
fn account(rpc: &Rpc, args: &mut Args) -> Result<(StateView, Option<Account>), Fail> {
    let (address, id): (Address, Option<BlockId>) = (args.next()?, args.optional()?);
    args.end()?;
    let block = rpc.need_state(id)?;
    let view = rpc.view(&block)?;
    let account = view.state.account(address)?.cloned();
    Ok((view, account))
}

/// A storage key as geth reads one: hex of at most 32 bytes. One of 32 is answered as it is, a shorter one as a
/// number.
fn storage_key(text: &str) -> Result<JsonStorageKey, Fail> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    if digits.len() > 64 {
        return Err(Fail::params(format!("storage key too long (want at most 32 bytes): {text:?}")));
    }
    let bad = || Fail::params(format!("invalid hex in storage key: {text:?}"));
    let padded = hex::decode_to_array::<_, 32>(format!("{digits:0>64}")).map_err(|_| bad())?;
    let whole = digits.len() > 62;
    Ok(if whole { JsonStorageKey::Hash(padded.into()) } else { JsonStorageKey::Number(U256::from_be_bytes(padded)) })
}

fn proof(
    rpc: &Rpc,
    address: Address,
    slots: &[JsonStorageKey],
    id: Option<BlockId>,
) -> Result<EIP1186AccountProofResponse, Fail> {
    let block = rpc.need_state(id)?;
    let keys: Vec<B256> = slots.iter().map(JsonStorageKey::as_b256).collect();
    let proof = rpc.view(&block)?.state.prove(address, &keys)?;
    let of = proof.account.as_ref();
    let storage = slots.iter().zip(proof.storage);
    Ok(EIP1186AccountProofResponse {
        address,
        balance: of.map_or(U256::ZERO, |a| a.balance),
        // As geth does, zero hashes for an account that is not there.
        code_hash: of.map_or(B256::ZERO, |a| a.code_hash),
        nonce: of.map_or(0, |a| a.nonce),
        storage_hash: of.map_or(B256::ZERO, Account::storage_root),
        account_proof: proof.nodes,
        // The key is answered in the form in which it was asked.
        storage_proof: storage.map(|(k, p)| EIP1186StorageProof { key: *k, value: p.value, proof: p.nodes }).collect(),
    })
}

impl Rpc {
    pub(super) fn code(&self, hash: B256) -> Bytes {
        self.execution.codes().get(&hash).map(|c| c.original_bytes()).unwrap_or_default()
    }
}
