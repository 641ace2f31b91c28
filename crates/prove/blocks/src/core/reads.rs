//! Accounts and blocks from the operator's node.

use super::{Core, judge::STATE_SLOTS};
use crate::{
    chain::ChainBlock,
    due::{self, AccountView, DueSet, Promised},
    error::BlocksError,
};
use alloy_primitives::{Address, B256};
use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering,
    time::Duration,
};
use tandem_types::{BlockId, Slot};

/// Blocks that are read at the start below the head: the look-ahead's two epochs.
const FILL: usize = 64;
/// Slots before its own in which a promised transaction can be in a block already: those two epochs, in which
/// it is promised, and one more for the head that it was checked on, which may have been late, or have left the
/// chain since. The head that a record names is no bound: it is what a module said.
const EARLY: u64 = 96;
/// And at most, after a long stop with unsettled promises: one day.
const MOST: usize = 7_200;
/// Slots behind the running one whose blocks are kept whole: as far as one can be told as a parent.
const RECENT: u64 = 96;
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
        let block = self.within("a block", self.reader.block(hash)).await?;
        let block = block.filter(|b| b.id.hash == hash);
        let block = block.ok_or_else(|| BlocksError::State(format!("the node does not know block {hash}")))?;
        let mut view = self.view.write();
        view.remember(block);
        view.block(hash).ok_or_else(|| BlocksError::State(format!("block {hash} is not kept")))
    }

    /// A read, within its time.
    async fn within<T>(&self, what: &str, read: impl Future<Output = Result<T, String>>) -> Result<T, BlocksError> {
        let answer = tokio::time::timeout(Duration::from_millis(BLOCK_MS), read).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".into()));
        answer.map_err(|why| BlocksError::State(format!("{what}: {why}")))
    }

    /// The oldest slot whose promises have no final fate.
    pub fn oldest_unsettled(&self) -> Option<Slot> {
        self.door.journal().unsettled().first().map(|k| k.slot)
    }

    /// The first slot whose block can have the transaction of a promise without a final fate.
    pub fn needed_from(&self) -> Option<Slot> {
        self.oldest_unsettled().map(|oldest| oldest.saturating_sub(EARLY))
    }

    /// Fills the view from the node's head downwards, so that what was included early before a restart
    /// is known, as far as transactions of unsettled promises can be. Best effort: the feed goes on from there.
    pub async fn fill_view(&self) -> Result<(), BlocksError> {
        // One at a time: whoever waited finds most of it read.
        let _turn = self.filling.lock().await;
        let before = self.view.read().head().map(|h| h.id);
        let Some(head) = self.within("the head", self.reader.head()).await? else { return Ok(()) };
        let mut parent = (head.parent, head.id.number);
        {
            let mut view = self.view.write();
            view.keep_from(self.needed_from());
            // The feed may have told of a newer one meanwhile.
            match view.head().filter(|h| Some(h.id) != before) {
                Some(newer) => parent = (newer.parent, newer.id.number),
                None => view.apply(head),
            }
        }
        let from = self.needed_from();
        let mut whole = false;
        for n in 0..MOST {
            if parent.1 == 0 {
                whole = true;
                break;
            }
            let known = self.view.read().block(parent.0);
            let block = match known {
                Some(block) => block.as_ref().clone(),
                None => match self.within("an ancestor", self.reader.block(parent.0)).await? {
                    Some(block) => self.of_use(block),
                    None => break,
                },
            };
            let enough = n >= FILL && from.is_none_or(|from| block.slot < from);
            parent = (block.parent, block.id.number);
            self.view.write().prepend(block);
            whole |= n + 1 >= FILL;
            if enough {
                break;
            }
        }
        // Of a chain that is not known nobody can say how many of its slots were missed.
        if !whole {
            return Err(BlocksError::State(format!(
                "the node does not know block {}, on which its own head stands",
                parent.0
            )));
        }
        self.filled.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// A block with its transactions only where a promise without a final fate can be among them, or it is recent:
    /// after a stop of weeks all others are links of a chain, and would be gigabytes.
    fn of_use(&self, block: ChainBlock) -> ChainBlock {
        let recent = block.slot.saturating_add(RECENT) >= self.now_slot();
        let unsettled = self.door.journal().unsettled();
        let next = unsettled.partition_point(|k| k.slot < block.slot);
        let wanted = unsettled.get(next).is_some_and(|k| k.slot <= block.slot.saturating_add(EARLY));
        if recent || wanted { block } else { ChainBlock { txs: HashSet::new(), ..block } }
    }

    /// Reads what is missing of a canonical branch down to a slot, where filling the view did not get to it: a
    /// transaction that was included early must not be taken for one whose nonce something else used. What
    /// the node does not have stays unknown.
    ///
    /// # Errors
    /// [`BlocksError::State`] where the node did not answer, or does not know a block that is not old.
    pub async fn reach_down(&self, tip: B256, from: Slot) -> Result<(), BlocksError> {
        for _ in 0..MOST {
            let known = self.view.read().on_branch(tip, from).map(drop);
            let Err(missing) = known else { break };
            let block = self.within("an ancestor", self.reader.block(missing)).await?;
            let Some(block) = block.filter(|b| b.id.hash == missing) else {
                // A word that is wrong for a moment must not become a fate for ever.
                let why = format!("the node does not know block {missing}, on which its own head stands");
                let is_old = from.saturating_add(EARLY + STATE_SLOTS) < self.now_slot();
                return if is_old { Ok(()) } else { Err(BlocksError::State(why)) };
            };
            let block = self.of_use(block);
            self.view.write().prepend(block);
        }
        Ok(())
    }
}
