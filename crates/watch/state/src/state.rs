//! The reader itself.

use crate::{
    Account, BlobParams, Call, Config, Forks, HEADERS, Header, ReadCounts, Rpc, StateError, accounts::Accounts,
    head::Recent,
};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use lru::LruCache;
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use std::{num::NonZeroUsize, str::FromStr, sync::Arc, time::Duration};
use tandem_crypto::SenderCache;
use tandem_types::BlockId;

/// Code hashes kept: only an operator's few slashers are asked for.
const CODES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

/// Recent headers and accounts of the canonical chain.
pub struct ChainState {
    chain_id: u64,
    rpc: Arc<dyn Rpc>,
    recent: RwLock<Recent>,
    accounts: Accounts,
    forks: Forks,
    deadline: Duration,
    senders: Option<Arc<SenderCache>>,
    codes: Mutex<LruCache<(B256, Address), B256>>,
}

impl ChainState {
    /// A reader over `rpc`. Must be called on the runtime that the reads shall run on.
    pub fn new(rpc: Arc<dyn Rpc>, chain_id: u64, config: Config) -> Self {
        let accounts = Accounts::new(rpc.clone(), &config);
        let deadline = Duration::from_millis(config.deadline_ms);
        Self {
            chain_id,
            rpc,
            recent: RwLock::default(),
            accounts,
            forks: config.forks,
            deadline,
            senders: None,
            codes: Mutex::new(LruCache::new(CODES)),
        }
    }

    /// Takes senders that others recovered, and gives them its own: the guard decodes again what is
    /// checked here.
    #[must_use]
    pub fn sharing(mut self, senders: Arc<SenderCache>) -> Self {
        self.senders = Some(senders);
        self
    }
    pub(crate) fn senders(&self) -> Option<&SenderCache> {
        self.senders.as_deref()
    }

    /// The chain's id.
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }
    /// The fork and blob schedule.
    pub const fn forks(&self) -> &Forks {
        &self.forks
    }
    /// The blob schedule at a time.
    pub fn blob_params(&self, timestamp: u64) -> BlobParams {
        self.forks.blob_params(timestamp)
    }
    /// How much was read.
    pub fn counts(&self) -> ReadCounts {
        self.accounts.counts()
    }

    /// The feed applied a block: it is the head now. `txs` are the hashes of its transactions.
    pub fn on_head(&self, header: Header, txs: Vec<B256>) {
        self.recent.write().apply(header, txs);
        self.accounts.new_head(header.id.hash);
    }
    /// The feed undid a block: its parent is the head again.
    pub fn on_undo(&self, hash: B256) {
        let head = {
            let mut recent = self.recent.write();
            recent.undo(hash);
            recent.head()
        };
        if let Some(h) = head {
            self.accounts.new_head(h.id.hash);
        }
    }

    /// The head, as the feed named it.
    pub fn head(&self) -> Option<Header> {
        self.recent.read().head()
    }
    /// Recent canonical headers, the head first, at most [`HEADERS`].
    pub fn headers(&self) -> Arc<Vec<Header>> {
        self.recent.read().headers()
    }
    /// Where a transaction is, if it is in one of the recent blocks.
    pub fn included(&self, tx: &B256) -> Option<BlockId> {
        self.recent.read().place(tx)
    }

    /// An account in the head's state.
    ///
    /// # Errors
    /// See [`StateError`].
    pub async fn account(&self, address: Address) -> Result<Account, StateError> {
        let head = self.head().ok_or(StateError::NoHead)?;
        self.accounts.read(head.id, address).await
    }
    /// An account in the state after a block.
    ///
    /// # Errors
    /// See [`StateError`].
    pub async fn account_at(&self, block: BlockId, address: Address) -> Result<Account, StateError> {
        self.accounts.read(block, address).await
    }

    /// Fills in ancestors of the head below what the feed told, down to `depth` headers, by following
    /// parent hashes: after a start the feed has told of one block only, and fees are judged from the
    /// head's grandparent.
    ///
    /// # Errors
    /// See [`StateError`]. What was read until then is kept.
    pub async fn backfill(&self, depth: usize) -> Result<(), StateError> {
        for _ in 0..depth.min(HEADERS) {
            let headers = self.headers();
            let Some(last) = headers.last().copied() else { return Err(StateError::NoHead) };
            if headers.len() >= depth.min(HEADERS) || last.id.number == 0 {
                return Ok(());
            }
            let (header, txs) = self.block(last.parent).await?;
            if header.id.hash != last.parent || header.id.number.checked_add(1) != Some(last.id.number) {
                return Err(StateError::Shape { method: "eth_getBlockByHash" });
            }
            self.recent.write().prepend(header, txs);
        }
        Ok(())
    }

    /// keccak of an account's code in the head's state; of nothing for an account without code.
    ///
    /// # Errors
    /// See [`StateError`].
    pub async fn code_hash(&self, address: Address) -> Result<B256, StateError> {
        let block = self.head().ok_or(StateError::NoHead)?.id.hash;
        if let Some(known) = self.codes.lock().get(&(block, address)) {
            return Ok(*known);
        }
        let code = self.ask("eth_getCode", json!([address, { "blockHash": block }])).await?;
        let code: Bytes = serde_json::from_value(code).map_err(|_| StateError::Shape { method: "eth_getCode" })?;
        let hash = keccak256(&code);
        self.codes.lock().put((block, address), hash);
        Ok(hash)
    }

    async fn ask(&self, method: &'static str, params: Value) -> Result<Value, StateError> {
        let asked = tokio::time::timeout(self.deadline, self.rpc.batch(vec![Call { method, params }])).await;
        let mut answers = match asked {
            Ok(a) => a.map_err(StateError::Node)?,
            Err(_) => return Err(StateError::Node("no answer in time".into())),
        };
        answers.pop().ok_or(StateError::Shape { method })?.map_err(StateError::Node)
    }

    async fn block(&self, hash: B256) -> Result<(Header, Vec<B256>), StateError> {
        let block = self.ask("eth_getBlockByHash", json!([hash, false])).await?;
        parse_block(&block).ok_or(StateError::Shape { method: "eth_getBlockByHash" })
    }
}

fn parse_block(v: &Value) -> Option<(Header, Vec<B256>)> {
    let text = |k: &str| v.get(k).and_then(Value::as_str);
    let hash = |k: &str| B256::from_str(text(k)?).ok();
    let number = |k: &str| u64::from_str_radix(text(k)?.strip_prefix("0x")?, 16).ok();
    let header = Header {
        id: BlockId { number: number("number")?, hash: hash("hash")? },
        parent: hash("parentHash")?,
        timestamp: number("timestamp")?,
        gas_limit: number("gasLimit")?,
        gas_used: number("gasUsed")?,
        base_fee: number("baseFeePerGas")?,
        // Absent before Cancun.
        excess_blob_gas: number("excessBlobGas").unwrap_or_default(),
        blob_gas_used: number("blobGasUsed").unwrap_or_default(),
        state_root: hash("stateRoot")?,
    };
    let txs = v.get("transactions")?.as_array()?;
    let txs = txs.iter().map(|t| B256::from_str(t.as_str()?).ok()).collect::<Option<Vec<_>>>()?;
    Some((header, txs))
}
