//! What carries news between floors: blocks from the feed, fates from blocks, promises from the journal.

use super::{modules::Modules, views::Shared};
use alloy_primitives::B256;
use std::{sync::Arc, time::Duration};
use tandem_blocks::FateEvent;
use tandem_feed::{Block, Change, Cursor, Feed, Resume, Subscription};
use tandem_gateway::view::{FateChange, FateView, Happening};
use tandem_host::{BlockEvent, Moment, Ring};
use tandem_ledger::{Entry, OwnBlock, Settlement, effective_tip};
use tandem_module::{HeadBlock, HeaderInfo, SlotPhase, Transaction};
use tandem_state::{ChainState, Header};
use tandem_types::{Fate, Slot, SlotKey};
use tokio::{sync::broadcast::error::RecvError, task::JoinHandle};

/// Headers that are read at the start: fees are judged from the head's grandparent.
const BACKFILL: usize = 8;

/// Records that are booked in one transaction when charges are replayed.
const REPLAY: usize = 4_096;

/// The tasks; they end when this is stopped.
pub struct Pumps(Vec<JoinHandle<()>>);

impl Pumps {
    /// Starts them on the current runtime.
    pub fn start(shared: &Arc<Shared>, modules: &Modules) -> Self {
        Self(vec![
            tokio::spawn(modules_blocks(Arc::clone(shared), Arc::clone(&modules.ring))),
            tokio::spawn(fates(Arc::clone(shared))),
            tokio::spawn(promises(Arc::clone(shared))),
            tokio::spawn(slots(Arc::clone(shared))),
        ])
    }

    /// Stops them.
    pub fn stop(self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// A reader that starts right after the head that the feed has now, and that head.
async fn at_head(feed: &Feed) -> Option<(Arc<Block>, Subscription)> {
    let mut status = feed.status();
    loop {
        if let Some(canonical) = feed.canonical() {
            match feed.block(canonical.head().hash).await {
                Ok(block) => {
                    let cursor = Cursor { seq: 0, at: canonical.head(), finalized: canonical.finalized() };
                    return Some((block, feed.subscribe(Resume::At(cursor))));
                }
                Err(error) => tracing::warn!(%error, "the head's block is not to be had yet"),
            }
        }
        let wait = tokio::time::timeout(Duration::from_millis(50), status.changed()).await;
        if matches!(wait, Ok(Err(_))) {
            return None;
        }
    }
}

/// Feeds the head's state.
pub async fn feed_state(feed: Feed, state: Arc<ChainState>) {
    let Some((head, mut reader)) = at_head(&feed).await else { return };
    apply(&head, &state);
    backfill(&state).await;
    while let Ok(entry) = reader.next().await {
        match entry.change {
            Change::Apply(block) => apply(&block, &state),
            Change::Undo(block) => state.on_undo(block.id().hash),
            Change::Final(_) => {}
            Change::Gap { from, to } => {
                tracing::warn!(from, to, "the feed has a gap");
                if let Ok(block) = feed.block(entry.cursor.at.hash).await {
                    apply(&block, &state);
                }
                backfill(&state).await;
            }
        }
    }
    tracing::error!("the feed stopped");
}

async fn backfill(state: &ChainState) {
    if let Err(error) = state.backfill(BACKFILL).await {
        tracing::warn!(%error, "the head's ancestors are not known yet");
    }
}

fn apply(block: &Block, state: &ChainState) {
    state.on_head(header(block), block.txs().iter().map(|t| t.hash).collect());
}

fn header(block: &Block) -> Header {
    let h = &block.chain.header;
    Header {
        id: block.id(),
        parent: h.parent_hash,
        timestamp: h.timestamp,
        gas_limit: h.gas_limit,
        gas_used: h.gas_used,
        base_fee: h.base_fee_per_gas.unwrap_or_default(),
        excess_blob_gas: h.excess_blob_gas.unwrap_or_default(),
        blob_gas_used: h.blob_gas_used.unwrap_or_default(),
        state_root: h.state_root,
    }
}

/// Feeds the modules' log and the gateway's listeners.
async fn modules_blocks(shared: Arc<Shared>, ring: Arc<Ring>) {
    let Some((_, mut reader)) = at_head(&shared.feed).await else { return };
    while let Ok(entry) = reader.next().await {
        let at = entry.cursor.at;
        let (id, event) = match entry.change {
            Change::Apply(block) => {
                let event = BlockEvent::Apply(Arc::new(head_block(&block)));
                shared.block_applied(&block);
                (block.id(), event)
            }
            Change::Undo(block) => {
                shared.block_undone(block.id());
                (block.id(), BlockEvent::Undo(Arc::new(head_block(&block))))
            }
            Change::Final(id) => {
                shared.block_final(id);
                (id, BlockEvent::Final)
            }
            Change::Gap { from, to } => (at, BlockEvent::Gap { from, to }),
        };
        ring.push(id, event);
    }
}

fn head_block(block: &Block) -> HeadBlock {
    let h = header(block);
    let info = HeaderInfo {
        id: h.id,
        parent: h.parent,
        timestamp: h.timestamp,
        gas_limit: h.gas_limit,
        gas_used: h.gas_used,
        base_fee: h.base_fee,
        excess_blob_gas: h.excess_blob_gas,
        blob_gas_used: h.blob_gas_used,
        state_root: h.state_root,
    };
    let txs = block.txs().iter().map(|t| Transaction { hash: t.hash, sender: t.sender, nonce: t.nonce() }).collect();
    HeadBlock { id: block.id(), parent: block.parent(), slot: block.slot, header: info, txs }
}

/// Fates go to the module that promised, to the books, and to whoever listens.
async fn fates(shared: Arc<Shared>) {
    let mut events = shared.blocks.fates();
    loop {
        match events.recv().await {
            Ok(event) => fate(&shared, event).await,
            Err(RecvError::Lagged(n)) => tracing::warn!(n, "fates were missed; the books take them at finality"),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn fate(shared: &Shared, e: FateEvent) {
    shared.host.moment(&Moment::Fate {
        module: e.module.clone(),
        seq: e.seq,
        fate: e.fate.clone(),
        is_final: e.is_final,
    });
    let own = match (&e.fate, e.own_block) {
        (Fate::Kept { block } | Fate::Early { block }, true) => tip(shared, block.hash, e.tx_hash).await,
        _ => None,
    };
    let settlement = Settlement {
        module: e.module.clone(),
        seq: e.seq,
        slot: e.key.slot,
        at_ms: shared.chain.clock.start_ms(e.key.slot),
        fate: e.fate.clone(),
        own,
        is_final: e.is_final,
    };
    if let Err(error) = shared.ledger.settle_soon(settlement) {
        tracing::error!(%error, seq = e.seq, "a fate was not booked");
    }
    shared.events.publish(&Happening::Fate(FateChange {
        seq: e.seq,
        slot: e.key.slot,
        tx_hash: e.tx_hash,
        module: e.module,
        fate: FateView::new(&e.fate, e.is_final),
    }));
}

/// What a promised transaction paid in an own block.
async fn tip(shared: &Shared, block: B256, tx: B256) -> Option<OwnBlock> {
    let block = shared.feed.block(block).await.ok()?;
    let i = block.txs().iter().position(|t| t.hash == tx)?;
    let facts = shared.journal.by_tx(tx, block.slot)?.facts()?.clone();
    let base_fee = block.chain.header.base_fee_per_gas?;
    let tip_per_gas = effective_tip(facts.max_fee_per_gas, facts.max_priority_fee_per_gas, base_fee)?;
    Some(OwnBlock { block: block.id(), tip_per_gas, gas_used: block.chain.gas_used(i)? })
}

/// Books what was charged and not booked before a crash: the journal knows it all.
fn replay_charges(shared: &Shared) -> Result<u64, tandem_ledger::LedgerError> {
    let mut upto = shared.ledger.cursor()?;
    loop {
        let page = shared.journal.records_after(upto, REPLAY);
        let Some(last) = page.last().map(|r| r.seq()) else { return Ok(upto) };
        let charge = |r: &tandem_journal::Recorded| {
            let (p, _) = r.promise()?;
            Some(Entry::charged(r.module().clone(), r.seq(), Some(p.key.slot), r.recorded_ms(), p.price))
        };
        shared.ledger.book(page.iter().filter_map(charge).collect())?;
        shared.ledger.set_cursor(last)?;
        upto = last;
    }
}

/// New promises are shown as they are recorded.
async fn promises(shared: Arc<Shared>) {
    let mut records = shared.journal.subscribe();
    let replayed = {
        let shared = Arc::clone(&shared);
        tokio::task::spawn_blocking(move || replay_charges(&shared)).await
    };
    match replayed {
        Ok(Ok(upto)) => tracing::debug!(upto, "charges are booked"),
        Ok(Err(error)) => tracing::error!(%error, "charges before the start are not booked"),
        Err(error) => tracing::error!(%error, "charges before the start are not booked"),
    }
    loop {
        match records.recv().await {
            Ok(record) => {
                if !shared.events.has_listeners() {
                    if record.promise().is_some() {
                        shared.metrics.promised(record.module());
                    }
                } else if let Some(p) = shared.promise_view(&record) {
                    shared.events.publish(&Happening::Promise(p));
                }
            }
            // The list at /api/v1/promises has them all; a listener misses some lines.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// The moments of each slot, for modules and listeners; and what each own slot forwent, for the books.
async fn slots(shared: Arc<Shared>) {
    let clock = shared.chain.clock;
    let mut slot = clock.slot_at(super::now_ms());
    loop {
        slot = slot.saturating_add(1);
        for (phase, at) in [(SlotPhase::Cutoff, clock.cutoff_ms(slot)), (SlotPhase::Start, clock.start_ms(slot))] {
            tokio::time::sleep(Duration::from_millis(at.saturating_sub(super::now_ms()))).await;
            if phase == SlotPhase::Start {
                moment(&shared, slot.saturating_sub(1), SlotPhase::End);
                shared.book_forgone(slot.saturating_sub(2));
            }
            moment(&shared, slot, phase);
        }
        shared.publish_round(slot);
    }
}

fn moment(shared: &Shared, slot: Slot, phase: SlotPhase) {
    let proposer = shared.own_key(slot).map(|k: SlotKey| k.proposer);
    shared.host.moment(&Moment::Slot { slot, phase, proposer });
}
