//! An execution layer with its JSON-RPC, driven from outside, and transactions for it.
#![allow(dead_code, missing_docs)]

use alloy_consensus::{EthereumTxEnvelope, TxEip4844WithSidecar};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip4844, TxEip7702, TxEnvelope, TxLegacy};
use alloy_eips::{
    eip2718::Encodable2718, eip4844::Blob, eip7594::BlobTransactionSidecarEip7594, eip7702::Authorization,
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use jsonrpsee::{
    core::client::{ClientT, Error},
    http_client::{HttpClient, HttpClientBuilder},
};
use serde_json::{Value, json};
use tandem_devnet::{
    execution::{DEV_ACCOUNTS, Execution, GenesisConfig},
    rpc::{RpcConfig, RpcServer, serve},
};

pub const CHAIN: u64 = 32_382;
pub const GWEI: u128 = 1_000_000_000;

pub struct Net {
    pub execution: Execution,
    pub server: RpcServer,
    pub http: HttpClient,
}

impl Net {
    pub async fn start() -> Self {
        let execution = Execution::new(&GenesisConfig::default()).unwrap();
        let server = serve(execution.clone(), RpcConfig::default()).await.unwrap();
        let http = HttpClientBuilder::default()
            .max_request_size(30 << 20)
            .max_response_size(80 << 20)
            .build(server.http_url())
            .unwrap();
        Self { execution, server, http }
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
        self.ask("testing_commitBlockV1", json!([head.hash, at, null, null])).await
    }

    /// An empty block on any parent, imported; the head stays.
    pub fn side_block(&self, parent: B256, later: u64) -> B256 {
        let of = self.execution.block_by_hash(parent).unwrap();
        let at = serde_json::from_value(attributes(of.header().timestamp + later)).unwrap();
        let fill = tandem_devnet::execution::Fill::Exactly(vec![]);
        let built = self.execution.build(parent, &at, &fill, Bytes::new()).unwrap();
        let status = self.execution.import(&built.payload(), B256::repeat_byte(3), &built.block.requests);
        assert!(status.is_valid(), "{status:?}");
        built.block.hash
    }
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

/// A blob transaction in network form, and in canonical form.
pub fn blob(from: usize, nonce: u64, blobs: usize) -> (Bytes, Bytes) {
    let sidecar = BlobTransactionSidecarEip7594::try_from_blobs(vec![Blob::ZERO; blobs]).unwrap();
    let tx = TxEip4844 {
        chain_id: CHAIN,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10 * GWEI,
        max_priority_fee_per_gas: GWEI,
        max_fee_per_blob_gas: GWEI,
        to: Address::repeat_byte(0xbb),
        blob_versioned_hashes: sidecar.versioned_hashes().collect(),
        ..TxEip4844::default()
    };
    let signature = sign(from, &tx);
    let canonical: EthereumTxEnvelope<TxEip4844> = tx.clone().into_signed(signature).into();
    let whole = TxEip4844WithSidecar::from_tx_and_sidecar(tx, sidecar);
    let network: EthereumTxEnvelope<TxEip4844WithSidecar<BlobTransactionSidecarEip7594>> =
        whole.into_signed(signature).into();
    (network.encoded_2718().into(), canonical.encoded_2718().into())
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
