//! Parameters and answers of the execution client.

use super::block::{ChainTx, TxEnvelope};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{collections::BTreeMap, fmt};

/// A header as the node sends it: with the hash that it states.
#[derive(Deserialize)]
pub(super) struct RpcHeader {
    pub hash: B256,
    #[serde(flatten)]
    pub inner: alloy_consensus::Header,
}

/// Which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The block with this hash, canonical or not.
    Hash(B256),
    /// The canonical block of this number.
    Number(u64),
    /// The client's head.
    Latest,
    /// The newest final block that the client knows.
    Finalized,
}

impl At {
    pub(super) const fn block_method(self) -> &'static str {
        match self {
            Self::Hash(_) => "eth_getBlockByHash",
            _ => "eth_getBlockByNumber",
        }
    }
    pub(super) fn param(self) -> Value {
        match self {
            Self::Hash(h) => json!(h),
            Self::Number(n) => json!(U64::from(n)),
            Self::Latest => json!("latest"),
            Self::Finalized => json!("finalized"),
        }
    }
    /// For methods that take EIP-1898 objects: a hash is asked for as such.
    pub(super) fn param_eip1898(self) -> Value {
        match self {
            Self::Hash(h) => json!({ "blockHash": h }),
            other => other.param(),
        }
    }
    pub(super) fn params_eip1898(self) -> Value {
        json!([self.param_eip1898()])
    }
    pub(super) fn fits(self, hash: B256, number: u64) -> bool {
        match self {
            Self::Hash(h) => h == hash,
            Self::Number(n) => n == number,
            Self::Latest | Self::Finalized => true,
        }
    }
}
impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(h) => h.fmt(f),
            Self::Number(n) => n.fmt(f),
            Self::Latest => f.write_str("latest"),
            Self::Finalized => f.write_str("finalized"),
        }
    }
}

/// An account in the state after a block, as the node says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountAt {
    /// Whose.
    pub address: Address,
    /// Nonce.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Its code; an EIP-7702 delegation shows as `0xef0100` and the address.
    pub code: Bytes,
}

/// A pending transaction of the client's pool.
#[derive(Clone, Debug)]
pub struct PoolTx {
    /// Recovered here.
    pub sender: Address,
    /// Computed here.
    pub hash: B256,
    /// The transaction, without a blob sidecar.
    pub envelope: TxEnvelope,
}

#[derive(Deserialize)]
pub(super) struct PoolContent {
    #[serde(default)]
    pending: BTreeMap<Address, BTreeMap<String, Box<RawValue>>>,
}

impl PoolContent {
    pub(super) fn into_pending(self) -> Vec<PoolTx> {
        let mut out = Vec::new();
        for (sender, queue) in self.pending {
            let read = queue.values().filter_map(|raw| {
                let tx: alloy_rpc_types_eth::Transaction<TxEnvelope> = serde_json::from_str(raw.get()).ok()?;
                ChainTx::check(tx.inner.into_inner()).ok().filter(|tx| tx.sender == sender)
            });
            let mut own: Vec<_> =
                read.map(|t| PoolTx { sender: t.sender, hash: t.hash, envelope: t.envelope }).collect();
            own.sort_by_key(|t| alloy_consensus::Transaction::nonce(&t.envelope));
            out.append(&mut own);
        }
        out
    }
}
