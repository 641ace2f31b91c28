//! What an operator sees: the coming slots, what was served and published, counters, and the events
//! that somebody must look at.

use crate::{opening::OpeningBook, store::Source};
use alloy_primitives::{B256, U256};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use tandem_types::{BlsPublicKey, Slot, ValidatorIndex};

/// Critical events that are kept: more than a night of one a minute.
const KEEP_CRITICAL: usize = 512;
/// Slots that are kept for the tables.
const KEEP_SLOTS: u64 = 256;

/// Something that an operator must see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Critical {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// In which slot, where it is about one.
    pub slot: Option<Slot>,
    /// A stable code.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
}

/// A relay's bid that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedBid {
    /// The relay's name.
    pub relay: String,
    /// What it claims to pay, in wei, decimal.
    pub value: String,
    /// Why, a stable name.
    pub fault: &'static str,
}

/// What happened in one of our slots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SlotStory {
    /// Where the served block came from.
    pub source: Option<Source>,
    /// The served block.
    pub block_hash: Option<B256>,
    /// What it truly pays, in wei, decimal.
    pub value: Option<String>,
    /// How many promises were due in it.
    pub due: usize,
    /// Bids that were refused.
    pub refused: Vec<RefusedBid>,
    /// What was forgone, in wei, decimal.
    pub forgone: Option<String>,
    /// The beacon root that a node or relay took.
    pub published: Option<B256>,
    /// How many promises have which fate.
    pub fates: BTreeMap<&'static str, usize>,
}

/// One coming or recent slot of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotView {
    /// The slot.
    pub slot: Slot,
    /// Its proposer.
    pub proposer: BlsPublicKey,
    /// The proposer's place in the registry.
    pub index: ValidatorIndex,
    /// Whether it is one of ours.
    pub ours: bool,
    /// When it starts, in unix milliseconds.
    pub start_ms: u64,
    /// When it takes no more promises.
    pub cutoff_ms: u64,
    /// Why it takes none now; absent where it does.
    pub closed: Option<&'static str>,
    /// Recorded promises.
    pub promises: usize,
    /// Whether its seal is recorded.
    pub sealed: bool,
    /// What happened.
    pub story: Option<SlotStory>,
}

/// A snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The running slot.
    pub slot: Slot,
    /// Unix milliseconds.
    pub now_ms: u64,
    /// Milliseconds of a slot on the wall.
    pub slot_ms: u64,
    /// Head of the chain, as the feed told it.
    pub head: Option<tandem_types::BlockId>,
    /// The newest final block.
    pub finalized: Option<tandem_types::BlockId>,
    /// Why nothing can be promised; absent where it can.
    pub closed: Option<String>,
    /// Our validators that registered.
    pub registered: usize,
    /// Recent and coming slots.
    pub slots: Vec<SlotView>,
    /// What today's slots forwent, in wei, decimal.
    pub forgone_today: String,
    /// The opening price of a slot, in wei, decimal.
    pub opening_price: String,
    /// Counters by name.
    pub counters: BTreeMap<&'static str, u64>,
    /// The newest critical events, the newest last.
    pub critical: Vec<Critical>,
}

/// Collects it all.
#[derive(Default)]
pub(crate) struct Watchtower {
    critical: Mutex<VecDeque<Critical>>,
    counters: Mutex<BTreeMap<&'static str, u64>>,
    stories: Mutex<BTreeMap<Slot, SlotStory>>,
}

impl Watchtower {
    pub fn critical(&self, event: Critical) {
        self.count("critical", 1);
        self.count(event.code, 1);
        let mut ring = self.critical.lock();
        if ring.len() == KEEP_CRITICAL {
            ring.pop_front();
        }
        ring.push_back(event);
    }
    pub fn count(&self, name: &'static str, n: u64) {
        let mut counters = self.counters.lock();
        let counter = counters.entry(name).or_default();
        *counter = counter.saturating_add(n);
    }
    fn story(&self, slot: Slot, change: impl FnOnce(&mut SlotStory)) {
        change(self.stories.lock().entry(slot).or_default());
    }
    pub fn served(&self, slot: Slot, source: &Source, hash: B256, value: U256, due: usize) {
        self.story(slot, |s| {
            s.source = Some(source.clone());
            s.block_hash = Some(hash);
            s.value = Some(value.to_string());
            s.due = due;
        });
    }
    pub fn refused_bid(&self, slot: Slot, relay: &str, value: U256, fault: &'static str) {
        self.count("bids_refused", 1);
        let bid = RefusedBid { relay: relay.into(), value: value.to_string(), fault };
        self.story(slot, |s| {
            if !s.refused.contains(&bid) && s.refused.len() < 32 {
                s.refused.push(bid);
            }
        });
    }
    pub fn forgone(&self, slot: Slot, wei: U256) {
        self.story(slot, |s| s.forgone = Some(wei.to_string()));
    }
    pub fn published(&self, slot: Slot, root: B256) {
        self.count("blocks_published", 1);
        self.story(slot, |s| s.published = Some(root));
    }
    pub fn fates(&self, slot: Slot, names: impl Iterator<Item = &'static str>) {
        let mut fates = BTreeMap::new();
        names.for_each(|n| *fates.entry(n).or_default() += 1);
        self.story(slot, |s| s.fates = fates);
    }
    pub fn prune(&self, now: Slot) {
        let floor = now.saturating_sub(KEEP_SLOTS);
        self.stories.lock().retain(|s, _| *s >= floor);
    }
    pub fn story_of(&self, slot: Slot) -> Option<SlotStory> {
        self.stories.lock().get(&slot).cloned()
    }
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.counters.lock().clone()
    }
    pub fn criticals(&self) -> Vec<Critical> {
        self.critical.lock().iter().cloned().collect()
    }
}

/// The money part of a snapshot.
pub(crate) fn money(book: &OpeningBook, config: &crate::config::OpeningConfig, now_ms: u64) -> (String, String) {
    (book.forgone_today(now_ms / 1000).to_string(), book.price(config).to_string())
}
