//! An execution layer with its JSON-RPC, driven from outside, and transactions for it.
#![allow(dead_code, missing_docs)]

pub mod damage;
pub mod stateless;

use alloy_consensus::{EthereumTxEnvelope, TxEip4844WithSidecar};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxEnvelope, TxLegacy};
use alloy_eips::{
    eip2718::Encodable2718,
    eip2930::{AccessList, AccessListItem},
    eip4844::{Blob, BlobTransactionSidecar, env_settings::EnvKzgSettings},
    eip4895::Withdrawal,
    eip7594::BlobTransactionSidecarEip7594,
    eip7702::Authorization,
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolCall, sol};
use jsonrpsee::{
    core::client::{ClientT, Error},
    http_client::{HttpClient, HttpClientBuilder},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tandem_devnet::{
    execution::{Block, DEPOSIT_CONTRACT, DEV_ACCOUNTS, Execution, Fill, GenesisConfig, PayloadAttributes},
    rpc::{RpcConfig, RpcServer, serve},
};

pub const CHAIN: u64 = 32_382;
pub const GWEI: u128 = 1_000_000_000;

pub struct Net {
    pub execution: Execution,
    /// A second node on the same genesis, which imports every block that is mined here.
    pub replica: Execution,
    pub server: RpcServer,
    pub http: HttpClient,
}

impl Net {
    pub async fn start() -> Self {
        let execution = Execution::new(&GenesisConfig::default()).unwrap();
        let replica = Execution::new(&GenesisConfig::default()).unwrap();
        let server = serve(execution.clone(), RpcConfig::default()).await.unwrap();
        let http = HttpClientBuilder::default()
            .max_request_size(30 << 20)
            .max_response_size(80 << 20)
            .build(server.http_url())
            .unwrap();
        Self { execution, replica, server, http }
    }

    pub async fn ask(&self, method: &str, params: Value) -> Value {
        let params: Vec<Value> = serde_json::from_value(params).unwrap();
        self.http.request(method, params).await.unwrap_or_else(|e| panic!("{method}: {e}"))
    }

    /// Code and words of an error.
    pub async fn refused(&self, method: &str, params: Value) -> String {
        let params: Vec<Value> = serde_json::from_value(params).unwrap();
        match self.http.request::<Value, _>(method, params).await.unwrap_err() {
            Error::Call(e) => format!("{}: {}", e.code(), e.message()),
            other => panic!("{other}"),
        }
    }

    pub async fn send(&self, raw: Bytes) -> Value {
        self.ask("eth_sendRawTransaction", json!([raw])).await
    }

    /// A block of the pool's best on the head, which becomes the head.
    pub async fn mine(&self) -> Value {
        let head = self.execution.head();
        let at = attributes(head.header().timestamp + 12);
        let hash = self.ask("testing_commitBlockV1", json!([at, null, null])).await;
        // What was built here is only remembered by its import: another node checks it from scratch.
        let check = self.replica.import_rlp(&alloy_rlp::encode(&self.execution.head().inner));
        assert!(check.is_valid(), "another node refuses the block: {check:?}");
        hash
    }

    /// An empty block on any parent, imported; the head stays.
    pub fn side_block(&self, parent: B256, later: u64) -> B256 {
        let of = self.execution.block_by_hash(parent).unwrap();
        let at = serde_json::from_value(attributes(of.header().timestamp + later)).unwrap();
        let built = self.execution.build(parent, &at, &Fill::Exactly(vec![]), Bytes::new()).unwrap();
        for node in [&self.replica, &self.execution] {
            let status = node.import(&built.payload(), B256::repeat_byte(3), &built.block.requests);
            assert!(status.is_valid(), "{status:?}");
        }
        built.block.hash
    }
}

/// Builds on the head, has a second node check the block from scratch, imports it, and moves the head.
/// The node that built it only remembers what it built: it alone would not notice a wrong root.
pub fn advance(execution: &Execution, replica: &Execution, at: &PayloadAttributes, fill: &Fill) -> Arc<Block> {
    let built = execution.build(execution.head().hash, at, fill, Bytes::new()).unwrap();
    let root = at.parent_beacon_block_root.unwrap();
    for node in [replica, execution] {
        let status = node.import(&built.payload(), root, &built.block.requests);
        assert!(status.is_valid(), "{status:?}");
    }
    execution.set_head(built.block.hash, B256::ZERO, B256::ZERO).unwrap();
    built.block
}

/// Attributes so many seconds after the head, with withdrawals.
pub fn after(execution: &Execution, seconds: u64, withdrawals: Vec<Withdrawal>) -> PayloadAttributes {
    let at = serde_json::from_value(attributes(execution.head().header().timestamp + seconds)).unwrap();
    PayloadAttributes { withdrawals: Some(withdrawals), ..at }
}

pub fn attributes(timestamp: u64) -> Value {
    json!({
        "timestamp": format!("{timestamp:#x}"),
        "prevRandao": B256::repeat_byte(7),
        "suggestedFeeRecipient": Address::repeat_byte(0xfe),
        "withdrawals": [],
        "parentBeaconBlockRoot": B256::repeat_byte(3),
    })
}

pub fn signer(account: usize) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&DEV_ACCOUNTS[account].key).unwrap()
}

pub fn address(account: usize) -> Address {
    DEV_ACCOUNTS[account].address
}

fn sign(from: usize, tx: &impl SignableTransaction<Signature>) -> Signature {
    signer(from).sign_hash_sync(&tx.signature_hash()).unwrap()
}

pub fn raw(from: usize, tx: TxEip1559) -> Bytes {
    let signature = sign(from, &tx);
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

pub fn template(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: TxKind::Call(Address::repeat_byte(0xaa)),
        ..TxEip1559::default()
    }
}

pub fn transfer(from: usize, nonce: u64, to: Address, wei: u64) -> Bytes {
    raw(from, TxEip1559 { to: TxKind::Call(to), value: U256::from(wei), ..template(nonce) })
}

pub fn call(from: usize, nonce: u64, to: Address, input: impl Into<Bytes>, value: u64) -> Bytes {
    let tx = TxEip1559 {
        to: TxKind::Call(to),
        input: input.into(),
        value: U256::from(value),
        gas_limit: 1_000_000,
        ..template(nonce)
    };
    raw(from, tx)
}

pub fn legacy(from: usize, nonce: u64, to: Address) -> Bytes {
    let tx = TxLegacy {
        chain_id: Some(CHAIN),
        nonce,
        gas_price: 10 * GWEI,
        gas_limit: 21_000,
        to: TxKind::Call(to),
        value: U256::from(1),
        ..TxLegacy::default()
    };
    let signature = sign(from, &tx);
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

/// Type 1: names storage that it will touch.
pub fn access_list(from: usize, nonce: u64, to: Address, slots: Vec<B256>) -> Bytes {
    let tx = TxEip2930 {
        chain_id: CHAIN,
        nonce,
        gas_price: 10 * GWEI,
        gas_limit: 100_000,
        to: TxKind::Call(to),
        access_list: AccessList(vec![AccessListItem { address: to, storage_keys: slots }]),
        ..TxEip2930::default()
    };
    let signature = sign(from, &tx);
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

sol! {
    function deposit(bytes pubkey, bytes withdrawal_credentials, bytes signature, bytes32 deposit_data_root);
}

/// A deposit of 32 ETH, and the request that a block makes of it.
pub fn deposit(from: usize, nonce: u64) -> (Bytes, Vec<u8>) {
    let hash = |parts: &[&[u8]]| -> [u8; 32] { Sha256::digest(parts.concat()).into() };
    let (pubkey, credentials, signature) = (vec![0xa1; 48], [2u8; 32], vec![0xb2; 96]);
    let gwei: u64 = 32_000_000_000;
    let pubkey_root = hash(&[&pubkey, &[0; 16]]);
    let signature_root = hash(&[&hash(&[&signature[..64]]), &hash(&[&signature[64..], &[0; 32]])]);
    let amount = [gwei.to_le_bytes().as_slice(), &[0; 24]].concat();
    let root = hash(&[&hash(&[&pubkey_root, &credentials]), &hash(&[&amount, &signature_root])]);
    let call = depositCall {
        pubkey: pubkey.clone().into(),
        withdrawal_credentials: credentials.into(),
        signature: signature.clone().into(),
        deposit_data_root: root.into(),
    };
    let tx = TxEip1559 {
        value: U256::from(gwei) * U256::from(1_000_000_000u64),
        to: TxKind::Call(DEPOSIT_CONTRACT),
        input: call.abi_encode().into(),
        gas_limit: 500_000,
        ..template(nonce)
    };
    let request = [&[0u8][..], &pubkey, &credentials, &gwei.to_le_bytes(), &signature, &0u64.to_le_bytes()].concat();
    (raw(from, tx), request)
}

/// A contract that is gone when its creation ends: it stores a slot and destroys itself (EIP-6780).
pub fn vanish(from: usize, nonce: u64) -> Bytes {
    let code = Bytes::from_static(&[0x60, 1, 0x60, 0, 0x55, 0x33, 0xff]);
    raw(
        from,
        TxEip1559 { to: TxKind::Create, input: code, value: U256::from(3), gas_limit: 200_000, ..template(nonce) },
    )
}

/// Deploys `runtime`: the creation code copies it.
pub fn deploy(from: usize, nonce: u64, runtime: &[u8]) -> Bytes {
    let n = u8::try_from(runtime.len()).unwrap();
    // PUSH1 n, DUP1, PUSH1 11, PUSH1 0, CODECOPY, PUSH1 0, RETURN
    let mut code = vec![0x60, n, 0x80, 0x60, 11, 0x60, 0, 0x39, 0x60, 0, 0xf3];
    code.extend_from_slice(runtime);
    raw(from, TxEip1559 { to: TxKind::Create, input: code.into(), gas_limit: 500_000, ..template(nonce) })
}

/// LOG1 with topic 0x…42 and no data.
pub const LOGGER: &[u8] = &[0x60, 0x42, 0x60, 0, 0x60, 0, 0xa1, 0x00];
/// Returns the first storage slot, after adding one to it.
pub const COUNTER: &[u8] = &[0x60, 0, 0x54, 0x60, 1, 0x01, 0x80, 0x60, 0, 0x55, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3];

/// Stores the hash of the block three before its own in slot 0.
pub const HASHER: &[u8] = &[0x60, 3, 0x43, 0x03, 0x40, 0x60, 0, 0x55];
/// Stores the first word of its input in the slot that the second names.
pub const SETTER: &[u8] = &[0x60, 0, 0x35, 0x60, 32, 0x35, 0x55];

/// Input of [`SETTER`].
pub fn set(slot: u8, value: u8) -> Vec<u8> {
    [B256::with_last_byte(value), B256::with_last_byte(slot)].concat()
}

fn blob_tx(nonce: u64, blob_versioned_hashes: Vec<B256>) -> TxEip4844 {
    TxEip4844 {
        chain_id: CHAIN,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10 * GWEI,
        max_priority_fee_per_gas: GWEI,
        max_fee_per_blob_gas: GWEI,
        to: Address::repeat_byte(0xbb),
        blob_versioned_hashes,
        ..TxEip4844::default()
    }
}

/// A blob transaction in network form, and in canonical form.
pub fn blob(from: usize, nonce: u64, blobs: usize) -> (Bytes, Bytes) {
    let sidecar = BlobTransactionSidecarEip7594::try_from_blobs(vec![Blob::ZERO; blobs]).unwrap();
    let tx = blob_tx(nonce, sidecar.versioned_hashes().collect());
    let signature = sign(from, &tx);
    let canonical: EthereumTxEnvelope<TxEip4844> = tx.clone().into_signed(signature).into();
    let whole = TxEip4844WithSidecar::from_tx_and_sidecar(tx, sidecar);
    let network: EthereumTxEnvelope<TxEip4844WithSidecar<BlobTransactionSidecarEip7594>> =
        whole.into_signed(signature).into();
    (network.encoded_2718().into(), canonical.encoded_2718().into())
}

/// The same in the network form of before Osaka: one proof a blob, no cell proofs.
pub fn legacy_blob(from: usize, nonce: u64, blobs: usize) -> Bytes {
    let settings = EnvKzgSettings::Default;
    let made = BlobTransactionSidecar::try_from_blobs_with_settings(vec![Blob::ZERO; blobs], settings.get());
    let sidecar = made.unwrap();
    let tx = blob_tx(nonce, sidecar.versioned_hashes().collect());
    let signature = sign(from, &tx);
    let network: EthereumTxEnvelope<TxEip4844WithSidecar<BlobTransactionSidecar>> =
        TxEip4844WithSidecar::from_tx_and_sidecar(tx, sidecar).into_signed(signature).into();
    network.encoded_2718().into()
}

/// `authority` delegates to `to`; `from` pays.
pub fn set_code(from: usize, nonce: u64, authority: usize, authority_nonce: u64, to: Address) -> Bytes {
    let authorization = Authorization { chain_id: U256::from(CHAIN), address: to, nonce: authority_nonce };
    let signature = signer(authority).sign_hash_sync(&authorization.signature_hash()).unwrap();
    let tx = TxEip7702 {
        chain_id: CHAIN,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 10 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: Address::repeat_byte(0xcc),
        authorization_list: vec![authorization.into_signed(signature)],
        ..TxEip7702::default()
    };
    let signature = sign(from, &tx);
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}
