//! What carries news between floors: blocks from the feed, fates from blocks, promises from the journal.

use super::{modules::Modules, views::Shared};
use std::{sync::Arc, time::Duration};
use tandem_blocks::{FateEvent, Holds};
use tandem_feed::{Block, Change, Cursor, Feed, Resume, Subscription};
use tandem_gateway::view::{FateChange, FateView, Happening};
use tandem_host::{BlockEvent, Moment, Published, Ring};
use tandem_module::{HeadBlock, HeaderInfo, Log, SlotPhase, Transaction};
use tandem_state::{ChainState, Header};
use tandem_types::{Body, Slot, SlotKey};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::JoinHandle,
};

/// Headers that are read at the start: fees are judged from the head's grandparent.
const BACKFILL: usize = 8;
/// Pause before earlier blocks are asked for again, where the node did not have them or the chain moved.
const REFILL: Duration = Duration::from_secs(1);
/// Promises of a sealed slot that are told in one go: a small part of what a listener may lag behind.
const BREATH: usize = 256;

/// The tasks; they end when this is stopped.
pub struct Pumps(Vec<JoinHandle<()>>);

impl Pumps {
    /// Starts them on the current runtime.
    pub fn start(shared: &Arc<Shared>, modules: &Modules) -> Self {
        Self(vec![
            tokio::spawn(modules_blocks(Arc::clone(shared), Arc::clone(&modules.ring))),
            tokio::spawn(fates(Arc::clone(shared))),
            tokio::spawn(Arc::clone(&shared.books).keep()),
            tokio::spawn(promises(Arc::clone(shared))),
            tokio::spawn(slots(Arc::clone(shared))),
            tokio::spawn(channels(Arc::clone(shared), modules.host.published())),
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
    // Beside it: what the chain had before is for the pages only.
    let mut filling = Filling::start(&shared);
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
            Change::Gap { from, to } => {
                drop(filling);
                shared.blocks_missed();
                filling = Filling::start(&shared);
                (at, BlockEvent::Gap { from, to })
            }
        };
        ring.push(id, event);
    }
    drop(filling);
}

/// Reads the blocks below the head for the pages; ends when it is dropped.
struct Filling(JoinHandle<()>);

impl Filling {
    fn start(shared: &Arc<Shared>) -> Self {
        let shared = Arc::clone(shared);
        Self(tokio::spawn(async move {
            loop {
                match shared.fill_blocks().await {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(error) => tracing::debug!(%error, "earlier blocks are not known yet"),
                }
                tokio::time::sleep(REFILL).await;
            }
        }))
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.0.abort();
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
    HeadBlock { id: block.id(), parent: block.parent(), slot: block.slot, header: info, txs, logs: logs(block) }
}

/// A block's logs, in order.
fn logs(block: &Block) -> Vec<Log> {
    let receipts = block.txs().iter().zip(&block.chain.receipts);
    let all = receipts.flat_map(|(tx, receipt)| receipt.logs().iter().map(move |log| (tx.hash, log)));
    let log = |(index, (tx_hash, log)): (usize, (alloy_primitives::B256, &alloy_primitives::Log))| Log {
        address: log.address,
        topics: log.topics().to_vec(),
        data: log.data.data.0.clone(),
        tx_hash,
        index: index as u64,
    };
    all.enumerate().map(log).collect()
}

/// Fates go to the module that promised, to the books, and to whoever listens.
async fn fates(shared: Arc<Shared>) {
    let mut events = shared.blocks.fates();
    loop {
        match events.recv().await {
            Ok(event) => fate(&shared, event).await,
            Err(RecvError::Lagged(n)) => {
                tracing::warn!(n, "listeners and modules miss fates; the books read the final ones from the journal");
                shared.books.missed();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn fate(shared: &Shared, e: FateEvent) {
    if e.holds == Holds::NoMore {
        shared.books.told(&e).await;
        // Modules know no such thing: what they keep is provisional until the next verdict.
        if let Some(open) = shared.journal.by_seq(e.seq).and_then(|r| shared.promise_view(&r)) {
            shared.events.publish(&Happening::PromiseChanged(open));
        }
        return;
    }
    let is_final = e.holds == Holds::Finally;
    shared.host.moment(&Moment::Fate { module: e.module.clone(), seq: e.seq, fate: e.fate.clone(), is_final });
    shared.books.told(&e).await;
    shared.events.publish(&Happening::Fate(FateChange {
        seq: e.seq,
        slot: e.key.slot,
        tx_hash: e.tx_hash,
        module: e.module,
        fate: FateView::new(&e.fate, is_final),
    }));
}

/// New promises are shown as they are recorded, and slots as records open and seal them.
async fn promises(shared: Arc<Shared>) {
    let mut records = shared.journal.subscribe();
    let mut turned = Vec::new();
    loop {
        match records.recv().await {
            Ok(record) => {
                if !shared.events.has_listeners() {
                    if record.promise().is_some() {
                        shared.metrics.promised(record.module());
                    }
                } else if let Some(p) = shared.promise_view(&record) {
                    shared.events.publish(&if p.latency_us.is_none() {
                        Happening::Promise(p)
                    } else {
                        // Its answer was faster than this, and how long that took is counted already.
                        shared.metrics.promised(record.module());
                        Happening::PromiseChanged(p)
                    });
                } else if matches!(record.body(), Body::Delegation(_) | Body::Seal(_)) {
                    turned.extend(record.body().slot_key());
                }
            }
            // The list at /api/v1/promises has them all; a listener misses some lines.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
        // Delegations come in rows, an epoch's at a time: one look is enough for those that are there.
        if records.is_empty() && !turned.is_empty() {
            slots_turned(&shared, &std::mem::take(&mut turned)).await;
        }
    }
}

/// Tells the listeners of slots that were opened or sealed. A sealed one's promises are told again: now
/// everybody may see what is in them.
async fn slots_turned(shared: &Shared, turned: &[SlotKey]) {
    shared.look_anew();
    let views = shared.slot_views();
    for key in turned {
        if let Some(view) = views.iter().find(|v| v.slot == key.slot) {
            shared.events.publish(&Happening::Slot(view.clone()));
        }
        let duties = shared.journal.duties(key).borrow().clone();
        for part in duties.promises.chunks(BREATH).take_while(|_| duties.is_sealed()) {
            let told = part.iter().filter_map(|r| shared.promise_view(r));
            told.for_each(|p| shared.events.publish(&Happening::PromiseChanged(p)));
            // Listeners read meanwhile, and the next part pushes nothing out that they did not.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What modules publish goes to whoever listens to that channel. Neither side is waited for: what this
/// is too slow for is counted, and told to the listeners.
async fn channels(shared: Arc<Shared>, mut published: broadcast::Receiver<Published>) {
    loop {
        match published.recv().await {
            Ok(Published { module, channel, data }) => {
                let channel = String::from(&*channel);
                shared.events.publish(&Happening::Channel { module, channel, data });
            }
            Err(RecvError::Lagged(n)) => shared.events.missed(n),
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
                let books = Arc::clone(&shared.books);
                tokio::spawn(async move { books.book_forgone().await });
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
