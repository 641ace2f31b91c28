//! Accounts and blocks from the operator's node.

use super::Core;
use crate::{
    chain::ChainBlock,
    due::{self, AccountView, DueSet, Promised},
    error::BlocksError,
    own_block::ParentHeader,
};
use alloy_primitives::{Address, B256};
use serde_json::{Value, json};
use std::{collections::HashMap, str::FromStr, time::Duration};
use tandem_state::Call;
use tandem_types::{BlockId, Slot};

/// Blocks that are read at the start below the head: the look-ahead's two epochs.
const FILL: usize = 64;
/// And at most, after a long stop with unsettled promises: one day.
const MOST: usize = 7_200;
/// Accounts that are read at once; the reader below batches them.
const READS_AT_ONCE: usize = 64;
/// Milliseconds for one block.
const BLOCK_MS: u64 = 2_000;

impl Core {
    /// How the sealed list stands on a parent.
    ///
    /// # Errors
    /// [`BlocksError::State`] where an account could not be read: nothing is guessed here.
    pub async fn walk(&self, sealed: &[Promised], parent: BlockId) -> Result<DueSet, BlocksError> {
        if sealed.is_empty() {
            return Ok(DueSet { parent, items: Vec::new() });
        }
        self.block_or_fetch(parent.hash).await?;
        let accounts = self.accounts_at(parent, due::senders(sealed)).await?;
        let view = self.view.read();
        Ok(due::walk(sealed, parent, &accounts, |tx| view.ancestor_with(parent.hash, tx)))
    }

    async fn accounts_at(
        &self,
        at: BlockId,
        addresses: Vec<Address>,
    ) -> Result<HashMap<Address, AccountView>, BlocksError> {
        use futures::{StreamExt, TryStreamExt};
        let read = |a: Address| async move {
            let account = self.accounts.account_at(at, a).await.map_err(BlocksError::State)?;
            Ok::<_, BlocksError>((a, account))
        };
        futures::stream::iter(addresses).map(read).buffer_unordered(READS_AT_ONCE).try_collect().await
    }

    /// A block of the view, or read from the node and remembered: attributes may come before the feed
    /// tells of their parent.
    pub async fn block_or_fetch(&self, hash: B256) -> Result<std::sync::Arc<ChainBlock>, BlocksError> {
        if let Some(block) = self.view.read().block(hash) {
            return Ok(block);
        }
        let block = self.fetch(json!([hash, false]), "eth_getBlockByHash").await?;
        let block = block.filter(|b| b.id.hash == hash);
        let block = block.ok_or_else(|| BlocksError::State(format!("the node does not know block {hash}")))?;
        let mut view = self.view.write();
        view.remember(block);
        view.block(hash).ok_or_else(|| BlocksError::State(format!("block {hash} is not kept")))
    }

    async fn fetch(&self, params: Value, method: &'static str) -> Result<Option<ChainBlock>, BlocksError> {
        let state = |why: String| BlocksError::State(format!("{method}: {why}"));
        let asked = self.rpc.batch(vec![Call { method, params }]);
        let answers = tokio::time::timeout(Duration::from_millis(BLOCK_MS), asked).await;
        let mut answers = answers.map_err(|_| state("no answer in time".into()))?.map_err(state)?;
        let answer = answers.pop().ok_or_else(|| state("an empty batch".into()))?.map_err(state)?;
        if answer.is_null() {
            return Ok(None);
        }
        self.parse(&answer).map(Some).ok_or_else(|| state("not a block".into()))
    }

    fn parse(&self, v: &Value) -> Option<ChainBlock> {
        let text = |k: &str| v.get(k).and_then(Value::as_str);
        let hash = |k: &str| B256::from_str(text(k)?).ok();
        let number = |k: &str| u64::from_str_radix(text(k)?.strip_prefix("0x")?, 16).ok();
        let txs = v.get("transactions")?.as_array()?.iter();
        let slot_of = |timestamp| self.chain.clock.slot_of_timestamp(timestamp);
        Some(ChainBlock {
            id: BlockId { number: number("number")?, hash: hash("hash")? },
            parent: hash("parentHash")?,
            // Block 0 is older than the first slot.
            slot: slot_of(number("timestamp")?).unwrap_or_default(),
            header: ParentHeader {
                gas_limit: number("gasLimit")?,
                gas_used: number("gasUsed")?,
                base_fee: number("baseFeePerGas")?,
            },
            txs: txs.map(|t| B256::from_str(t.as_str()?).ok()).collect::<Option<_>>()?,
        })
    }

    /// The oldest slot whose promises have no final fate.
    pub fn oldest_unsettled(&self) -> Option<Slot> {
        self.door.journal().unsettled().first().map(|k| k.slot)
    }

    /// Fills the view from the node's head downwards, so that what was included early before a restart
    /// is known, as far as unsettled promises reach. Best effort: the feed goes on from there.
    pub async fn fill_view(&self) -> Result<(), BlocksError> {
        let Some(head) = self.fetch(json!(["latest", false]), "eth_getBlockByNumber").await? else { return Ok(()) };
        let mut parent = (head.parent, head.id.number);
        {
            let mut view = self.view.write();
            view.keep_from(self.oldest_unsettled());
            view.apply(head);
        }
        let oldest = self.oldest_unsettled();
        for n in 0..MOST {
            if parent.1 == 0 {
                break;
            }
            let known = self.view.read().block(parent.0);
            let block = match known {
                Some(block) => block.as_ref().clone(),
                None => match self.fetch(json!([parent.0, false]), "eth_getBlockByHash").await? {
                    Some(block) => block,
                    None => break,
                },
            };
            let enough = n >= FILL && oldest.is_none_or(|o| block.slot < o);
            parent = (block.parent, block.id.number);
            self.view.write().prepend(block);
            if enough {
                break;
            }
        }
        Ok(())
    }
}
