//! The floor of a promise: what must be done for one in any case, done one after another.

use super::conn::Conn;
use crate::wallet::SignedTx;
use alloy_primitives::Address;
use anyhow::{Result, bail};
use serde_json::json;
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tandem_journal::floor::SyncedWrites;
use tandem_testkit::wallet::Wallet;

/// Bytes of a synced write: about what the journal writes for a promise.
const BYTES: usize = 600;

/// Does the floor's work: recover, one account read over HTTP (the three calls in one batch that tell
/// nonce, balance and code), one secp256k1 signature, and this disk's own synced write. No waiting
/// for others is in it: it is never done twice at once.
pub struct Floor {
    node: Conn,
    writes: SyncedWrites,
    signer: Wallet,
}

impl Floor {
    /// Over a node, and a file in `dir`, which should be on the host's disk.
    ///
    /// # Errors
    /// If the file can not be made.
    pub fn new(execution: &str, dir: &Path, chain_id: u64) -> Result<Self> {
        Ok(Self { node: Conn::new(execution), writes: SyncedWrites::open(dir)?, signer: Wallet::dev(0, chain_id)? })
    }

    /// Once, and how long it took.
    ///
    /// # Errors
    /// If a part of it fails.
    pub async fn once(&mut self, tx: &SignedTx) -> Result<Duration> {
        let begin = Instant::now();
        let decoded = tandem_crypto::tx::decode(&tx.raw)?;
        let sender = decoded.facts.sender;
        let calls: Vec<_> = ["eth_getTransactionCount", "eth_getBalance", "eth_getCode"]
            .iter()
            .enumerate()
            .map(|(id, m)| json!({ "jsonrpc": "2.0", "id": id, "method": m, "params": [sender, "latest"] }))
            .collect();
        let (status, body) = self.node.post(serde_json::to_vec(&calls)?.into()).await?;
        let answers: Vec<serde_json::Value> = serde_json::from_slice(&body)?;
        if status != 200 || answers.len() != calls.len() || answers.iter().any(|a| a.get("result").is_none()) {
            bail!("the account read answered {status}: {}", String::from_utf8_lossy(&body));
        }
        // An authorization is the least that signs with the library that the host signs with.
        self.signer.authorize(Address::ZERO, 0)?;
        tokio::task::block_in_place(|| self.writes.write(BYTES))?;
        Ok(begin.elapsed())
    }
}
