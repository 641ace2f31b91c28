//! The execution client's JSON-RPC, as far as the house uses it.

mod block;
mod build;
mod types;

pub use block::{ChainBlock, ChainTx, TxEnvelope};
pub use build::Simulated;
pub use types::{AccountAt, At, PoolTx};

use crate::{Endpoint, HttpClient, JwtSecret, Limits, NodeError, RpcClient, RpcError};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::EIP1186AccountProofResponse;
use serde::de::DeserializeOwned;
use serde_json::{Value, json, value::RawValue};
use std::time::Duration;
use types::RpcHeader;

/// The operator's own execution client. Cheap to clone.
///
/// Blocks are checked before they are handed out: a header hashes to its hash, transactions and
/// receipts to the header's roots, and senders are recovered here. Accounts are not proven: the node
/// is the operator's own.
#[derive(Clone, Debug)]
pub struct ExecutionNode {
    rpc: RpcClient,
}

impl ExecutionNode {
    /// A client for an HTTP address.
    ///
    /// # Errors
    /// [`NodeError::Address`].
    pub fn new(url: &str, limits: Limits) -> Result<Self, NodeError> {
        Self::at(url.parse()?, limits)
    }
    /// A client for an address that was parsed already.
    ///
    /// # Errors
    /// [`NodeError::Address`].
    pub fn at(endpoint: Endpoint, limits: Limits) -> Result<Self, NodeError> {
        Ok(Self { rpc: RpcClient::new(HttpClient::new(endpoint, limits)?) })
    }
    /// The same, for the authenticated port with the Engine API.
    pub fn with_jwt(self, secret: JwtSecret) -> Self {
        Self { rpc: self.rpc.with_jwt(secret) }
    }
    /// The same node with another deadline for each call.
    pub fn within(&self, deadline: Duration) -> Self {
        Self { rpc: self.rpc.over(self.rpc.http().within(deadline)) }
    }
    /// The JSON-RPC layer.
    pub const fn rpc(&self) -> &RpcClient {
        &self.rpc
    }
    /// The node's redacted address.
    pub fn node(&self) -> String {
        self.rpc.http().node()
    }

    /// Calls any method.
    ///
    /// # Errors
    /// As [`RpcClient::call`].
    pub async fn call<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T, NodeError> {
        self.rpc.call(method, params).await
    }

    /// Calls several methods in one request; see [`RpcClient::batch`].
    ///
    /// # Errors
    /// As [`RpcClient::batch`].
    pub async fn batch(
        &self,
        calls: &[(&'static str, Value)],
    ) -> Result<Vec<Result<Box<RawValue>, RpcError>>, NodeError> {
        self.rpc.batch(calls).await
    }

    /// `eth_chainId`.
    ///
    /// # Errors
    /// As [`RpcClient::call`].
    pub async fn chain_id(&self) -> Result<u64, NodeError> {
        self.call::<U64>("eth_chainId", json!([])).await.map(|v| v.to())
    }
    /// `web3_clientVersion`.
    ///
    /// # Errors
    /// As [`RpcClient::call`].
    pub async fn client_version(&self) -> Result<String, NodeError> {
        self.call("web3_clientVersion", json!([])).await
    }
    /// `eth_blockNumber`.
    ///
    /// # Errors
    /// As [`RpcClient::call`].
    pub async fn block_number(&self) -> Result<u64, NodeError> {
        self.call::<U64>("eth_blockNumber", json!([])).await.map(|v| v.to())
    }

    /// A header with its hash, computed here and equal to the node's and to the asked one.
    ///
    /// # Errors
    /// [`NodeError::NotFound`], [`NodeError::Untrue`], and all of [`RpcClient::call`].
    pub async fn header(&self, at: At) -> Result<(B256, Header), NodeError> {
        let found: Option<RpcHeader> = self.call(at.block_method(), json!([at.param(), false])).await?;
        let found = found.ok_or_else(|| self.not_found(format!("block {at}")))?;
        let hash = found.inner.hash_slow();
        if hash != found.hash || !at.fits(hash, found.inner.number) {
            return Err(self.untrue("header", format!("asked for {at}, got {hash} that says {}", found.hash)));
        }
        Ok((hash, found.inner))
    }

    /// A block with its transactions and receipts, checked as [`ChainBlock`] says.
    ///
    /// # Errors
    /// [`NodeError::NotFound`], [`NodeError::Untrue`], and all of [`RpcClient::batch`].
    pub async fn block(&self, hash: B256) -> Result<ChainBlock, NodeError> {
        let calls =
            [("eth_getBlockByHash", json!([hash, true])), ("eth_getBlockReceipts", At::Hash(hash).params_eip1898())];
        let mut answers = self.batch(&calls).await?.into_iter();
        let mut next = || {
            let missing = || self.malformed("batch answer", "too short");
            answers.next().ok_or_else(missing)?.map_err(|error| self.rpc.rpc_error(error))
        };
        let (block, receipts) = (next()?, next()?);
        // Reading and checking a full block takes milliseconds of pure computation.
        let node = self.clone();
        tokio::task::spawn_blocking(move || node.read_block(hash, &block, &receipts))
            .await
            .map_err(|e| self.malformed("block", e))?
    }

    /// Accounts in the state after a block, all in one request.
    ///
    /// # Errors
    /// As [`RpcClient::batch`]; [`NodeError::Rpc`] when the node does not have that state.
    pub async fn accounts(&self, addresses: &[Address], at: B256) -> Result<Vec<AccountAt>, NodeError> {
        let block = At::Hash(at).param_eip1898();
        let calls: Vec<_> = addresses
            .iter()
            .flat_map(|a| {
                ["eth_getTransactionCount", "eth_getBalance", "eth_getCode"].map(|m| (m, json!([a, block.clone()])))
            })
            .collect();
        let mut answers = self.batch(&calls).await?.into_iter();
        let mut raw = || match answers.next() {
            Some(Ok(v)) => Ok(v),
            Some(Err(error)) => Err(self.rpc.rpc_error(error)),
            None => Err(self.malformed("batch answer", "too short")),
        };
        let one = |address: &Address| {
            let (nonce, balance, code) = (raw()?, raw()?, raw()?);
            Ok(AccountAt {
                address: *address,
                nonce: self.rpc.read::<U64>("nonce", &nonce)?.to(),
                balance: self.rpc.read::<U256>("balance", &balance)?,
                code: self.rpc.read::<Bytes>("code", &code)?,
            })
        };
        addresses.iter().map(one).collect()
    }

    /// `eth_getProof`. The proof is not checked here.
    ///
    /// # Errors
    /// As [`RpcClient::call`].
    pub async fn proof(
        &self,
        address: Address,
        slots: &[B256],
        at: B256,
    ) -> Result<EIP1186AccountProofResponse, NodeError> {
        self.call("eth_getProof", json!([address, slots, At::Hash(at).param_eip1898()])).await
    }

    /// `eth_sendRawTransaction`: the transaction's hash, which must be `expect`. A node that knows the
    /// transaction already counts as success.
    ///
    /// # Errors
    /// As [`RpcClient::call`]; [`NodeError::Untrue`] for another hash.
    pub async fn send_raw(&self, raw: &Bytes, expect: B256) -> Result<(), NodeError> {
        match self.call::<B256>("eth_sendRawTransaction", json!([raw])).await {
            Ok(hash) if hash == expect => Ok(()),
            Ok(hash) => Err(self.untrue("transaction hash", format!("sent {expect}, the node says {hash}"))),
            Err(NodeError::Rpc { error, .. }) if error.message.to_ascii_lowercase().contains("already known") => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// `txpool_content`: what is pending, by sender and nonce. Entries that do not read as signed
    /// transactions of their sender are left out. Blob transactions come without their sidecars.
    ///
    /// # Errors
    /// As [`RpcClient::call`].
    pub async fn pending(&self) -> Result<Vec<PoolTx>, NodeError> {
        let content: types::PoolContent = self.call("txpool_content", json!([])).await?;
        let read = move || content.into_pending();
        tokio::task::spawn_blocking(read).await.map_err(|e| self.malformed("pool content", e))
    }

    fn not_found(&self, what: String) -> NodeError {
        NodeError::NotFound { node: self.node(), what }
    }
    fn malformed(&self, what: &'static str, why: impl std::fmt::Display) -> NodeError {
        self.rpc.http().malformed(what, why)
    }
    fn untrue(&self, what: &'static str, why: impl std::fmt::Display) -> NodeError {
        self.rpc.http().untrue(what, why)
    }
}
