//! Fates and money, from the journal and the chain into the ledger.
//!
//! Provisional fates come as blocks tells them, and may be lost. Final ones do not: they are read from
//! the journal's settled records, at the start and whenever there are new ones, past the slot below
//! which the ledger has noted that all are booked. That note and the bookings are one transaction.

use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tandem_blocks::{Blocks, FateEvent, Holds, opening::Served};
use tandem_feed::Feed;
use tandem_journal::{Journal, Recorded, SlotDuties};
use tandem_ledger::{Entry, Forgone, Ledger, LedgerError, OwnBlock, Price, Prices, Settlement, effective_tip};
use tandem_module::Slots;
use tandem_types::{BlockId, ChainSpec, Fate, ModuleId, Slot, SlotKey, Wei};
use tokio::sync::Notify;

/// The books among the journal's readers.
pub const READER: &str = "books";
/// Records that are read at once.
const PAGE: usize = 4_096;
/// After this what could not be booked is tried again, whether or not something new is final.
const RETRY: Duration = Duration::from_secs(30);
/// How often is looked whether the ledger's file was opened anew.
const LOOK: Duration = Duration::from_millis(500);

/// What the books ask of blocks and the chain.
#[async_trait]
pub trait Sources: Send + Sync + 'static {
    /// Whether the tip in the fate's block is booked under this promise.
    fn is_paid(&self, record: &Recorded, fate: &Fate) -> bool;
    /// What a promised transaction paid in a block. The error is for the log: it is asked again.
    async fn tip(&self, record: &Recorded, block: BlockId) -> Result<OwnBlock, String>;
    /// What own slots forwent.
    fn forgone(&self) -> Vec<Served>;
    /// A promise's fate as it is known now, and whether it is final.
    fn fate(&self, seq: u64) -> Option<(Fate, bool)>;
}

/// The floors below.
pub struct Floors {
    /// Blocks.
    pub blocks: Blocks,
    /// The chain.
    pub feed: Feed,
}

#[async_trait]
impl Sources for Floors {
    fn is_paid(&self, record: &Recorded, fate: &Fate) -> bool {
        self.blocks.is_paid(record, fate)
    }
    async fn tip(&self, record: &Recorded, block: BlockId) -> Result<OwnBlock, String> {
        let facts = record.facts().ok_or("not a promise")?;
        let found = self.feed.block(block.hash).await.map_err(|e| e.to_string())?;
        let i = found.txs().iter().position(|t| t.hash == facts.hash).ok_or("the block does not have it")?;
        let base_fee = found.chain.header.base_fee_per_gas.ok_or("the block has no base fee")?;
        let tip_per_gas = effective_tip(facts.max_fee_per_gas, facts.max_priority_fee_per_gas, base_fee)
            .ok_or("its fee cap is below the base fee")?;
        let gas_used = found.chain.gas_used(i).ok_or("the block's receipts are not known")?;
        Ok(OwnBlock { block, tip_per_gas, gas_used })
    }
    fn forgone(&self) -> Vec<Served> {
        self.blocks.forgone()
    }
    fn fate(&self, seq: u64) -> Option<(Fate, bool)> {
        Slots::fate(&self.blocks, seq)
    }
}

/// The books' keeper.
pub struct Books {
    journal: Journal,
    ledger: Arc<Ledger>,
    chain: ChainSpec,
    sources: Arc<dyn Sources>,
    news: Notify,
    /// Fates were told while nobody listened: before the start, or too many at once.
    missed: AtomicBool,
    /// What was booked as forgone since the start, so that it is not booked each slot.
    forgone: parking_lot::Mutex<BTreeMap<SlotKey, (Wei, bool)>>,
}

impl Books {
    /// Over these.
    pub fn new(journal: Journal, ledger: Arc<Ledger>, chain: ChainSpec, sources: Arc<dyn Sources>) -> Arc<Self> {
        Arc::new(Self {
            journal,
            ledger,
            chain,
            sources,
            news: Notify::new(),
            missed: AtomicBool::new(true),
            forgone: Default::default(),
        })
    }

    /// Books what is final, now and whenever there is more, until it is dropped.
    pub async fn keep(self: Arc<Self>) {
        let mut reopened = self.ledger.reopened();
        loop {
            let left = match self.reconcile().await {
                Ok(left) => left,
                Err(error) => {
                    tracing::error!(%error, "what is final is not booked; it is tried again");
                    1
                }
            };
            self.book_forgone().await;
            if self.missed.swap(false, Ordering::SeqCst) {
                self.catch_up().await;
            }
            self.rest(left > 0, reopened).await;
            let now = self.ledger.reopened();
            if now != reopened {
                tracing::warn!("the ledger's file was opened anew: what it lost is booked again");
                self.book_again();
                reopened = now;
            }
        }
    }

    /// Waits for news, for a ledger whose file was opened anew, or until what is left is tried again.
    async fn rest(&self, is_left: bool, reopened: u64) {
        let (begin, news) = (Instant::now(), self.news.notified());
        let mut news = std::pin::pin!(news);
        loop {
            // Nothing new within that time is a reason to try again, too.
            let is_due = is_left && begin.elapsed() >= RETRY;
            if is_due || self.ledger.reopened() != reopened {
                return;
            }
            tokio::select! {
                () = &mut news => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// What was not synced is gone. Charges and final fates are read from the journal as always.
    fn book_again(&self) {
        self.forgone.lock().clear();
        self.missed.store(true, Ordering::SeqCst);
    }

    /// There is more to read from the journal.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    /// Fates were told that nobody heard.
    pub fn missed(&self) {
        self.missed.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Books the provisional fates as they stand.
    async fn catch_up(&self) {
        for key in self.journal.unsettled() {
            let duties = self.journal.duties(&key).borrow().clone();
            for record in &duties.promises {
                if let Some((fate, false)) = self.sources.fate(record.seq()) {
                    self.provisional(record, fate).await;
                }
            }
        }
    }

    /// A fate was told. A final one is read from the journal, with all others. Of one that holds no more
    /// the tip is taken back; its count stays until there is another.
    pub async fn told(&self, e: &FateEvent) {
        let record = self.journal.by_seq(e.seq);
        match (e.holds, record) {
            (Holds::Finally, _) => self.wake(),
            (Holds::Provisionally, Some(record)) => self.provisional(&record, e.fate.clone()).await,
            (Holds::NoMore, Some(record)) => self.book_soon(&record, e.fate.clone(), None),
            (_, None) => {}
        }
    }

    async fn provisional(&self, record: &Recorded, fate: Fate) {
        let own = match &fate {
            Fate::Kept { block } | Fate::Early { block } if self.sources.is_paid(record, &fate) => {
                let tip = self.sources.tip(record, *block).await;
                tip.inspect_err(|why| tracing::debug!(why, seq = record.seq(), "a tip is booked when it is final")).ok()
            }
            _ => None,
        };
        self.book_soon(record, fate, own);
    }

    fn book_soon(&self, record: &Recorded, fate: Fate, own: Option<OwnBlock>) {
        let Some(settlement) = self.settlement(record, fate, own, false) else { return };
        if let Err(error) = self.ledger.settle_soon(settlement) {
            tracing::error!(%error, seq = record.seq(), "a fate was not booked");
        }
    }

    /// Books charges and final fates that the journal has and the ledger has not. Answers how many
    /// could not be booked yet.
    ///
    /// # Errors
    /// The ledger's.
    pub async fn reconcile(self: &Arc<Self>) -> Result<usize, LedgerError> {
        let books = Arc::clone(self);
        let (upto, below, new) = blocking(move || {
            let upto = books.journal.durable_seq();
            books.replay_charges()?;
            // Read before the fates are.
            let below = books.all_settled_below();
            Ok((upto, below, books.unbooked()?))
        })
        .await?;
        let (mut settlements, mut left) = (Vec::new(), 0);
        for (record, fate) in new {
            let own = match &fate {
                Fate::Kept { block } | Fate::Early { block } if self.sources.is_paid(&record, &fate) => {
                    match self.sources.tip(&record, *block).await {
                        Ok(own) => Some(own),
                        Err(why) => {
                            tracing::warn!(why, seq = record.seq(), %block, "a tip is not booked yet");
                            left += 1;
                            continue;
                        }
                    }
                }
                _ => None,
            };
            settlements.extend(self.settlement(&record, fate, own, true));
        }
        let books = Arc::clone(self);
        blocking(move || {
            let below = if left == 0 { below } else { books.ledger.settled_below()? };
            let booked = books.ledger.reconcile(&settlements, below)?;
            if left == 0 {
                books.journal.read_by(READER, upto);
            }
            if booked > 0 {
                tracing::debug!(booked, %below, "final fates are booked");
            }
            Ok(left)
        })
        .await
    }

    /// Below this slot every promise has its final fate. Where the journal was restored its floor is the mark, and
    /// promises of slots below that are settled as always, one slot after the other.
    fn all_settled_below(&self) -> Slot {
        let floor = self.journal.floor();
        self.journal.unsettled().first().map_or(floor, |key| key.slot.min(floor))
    }

    /// Promises with a final fate that the ledger does not have as final.
    fn unbooked(&self) -> Result<Vec<(Recorded, Fate)>, LedgerError> {
        let (from, mut after, mut out) = (self.ledger.settled_below()?, 0, Vec::new());
        loop {
            let page = self.journal.records_after(after, PAGE);
            let Some(last) = page.last().map(Recorded::seq) else { return Ok(out) };
            after = last;
            for record in page.into_iter().filter(|r| r.promise().is_some_and(|(p, _)| p.key.slot >= from)) {
                let Some(fate) = self.journal.fate(record.seq()) else { continue };
                let booked = self.ledger.fate(record.module(), record.seq())?;
                if !booked.is_some_and(|(_, is_final)| is_final) {
                    out.push((record, fate));
                }
            }
        }
    }

    fn settlement(&self, r: &Recorded, fate: Fate, own: Option<OwnBlock>, is_final: bool) -> Option<Settlement> {
        let slot = r.promise()?.0.key.slot;
        let at_ms = self.chain.clock.start_ms(slot);
        Some(Settlement { module: r.module().clone(), seq: r.seq(), slot, at_ms, fate, own, is_final })
    }

    /// Books what was charged and not booked, because of a crash or since too much waited at once.
    fn replay_charges(&self) -> Result<(), LedgerError> {
        let mut upto = self.ledger.cursor()?;
        loop {
            let page = self.journal.records_after(upto, PAGE);
            let Some(last) = page.last().map(Recorded::seq) else { return Ok(()) };
            let charge = |r: &Recorded| {
                let (p, _) = r.promise()?;
                Some(Entry::charged(r.module().clone(), r.seq(), Some(p.key.slot), r.recorded_ms(), p.price))
            };
            // What one module asked can not stop the others' books: it is left out where it is no amount.
            self.ledger.replay(page.iter().filter_map(charge).collect(), last)?;
            upto = last;
        }
    }

    /// Books what own slots forwent: as their header was served, and as it stands once they are final.
    pub async fn book_forgone(self: &Arc<Self>) {
        let books = Arc::clone(self);
        let booked = blocking(move || {
            for served in books.sources.forgone() {
                let Some((key, forgone)) = books.forgone_of(&served)? else { continue };
                match books.ledger.forgo(std::slice::from_ref(&forgone)) {
                    // What can not be booked now never can: it would hold up those behind it.
                    Err(LedgerError::Final { .. } | LedgerError::Amount { .. }) | Ok(()) => {
                        books.forgone.lock().insert(key, (forgone.wei, forgone.is_final));
                    }
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        });
        if let Err(error) = booked.await {
            tracing::error!(%error, "what slots forwent was not booked; it is tried again");
        }
    }

    fn forgone_of(&self, served: &Served) -> Result<Option<(SlotKey, Forgone)>, LedgerError> {
        let key = SlotKey { chain_id: self.chain.chain_id, proposer: served.proposer, slot: served.slot };
        let (wei, is_final) = (Wei::new(served.wei()), served.is_final());
        if self.forgone.lock().get(&key) == Some(&(wei, is_final)) {
            return Ok(None);
        }
        let Some(duties) = self.journal.known(&key) else { return self.forgone_before(key, wei, is_final) };
        let Some(seal_seq) = self.named(&duties) else { return self.forgone_before(key, wei, is_final) };
        let mut gas: BTreeMap<ModuleId, u64> = BTreeMap::new();
        for r in &duties.promises {
            let sum = gas.entry(r.module().clone()).or_default();
            *sum = sum.saturating_add(r.facts().map_or(0, |f| f.gas_limit));
        }
        let (slot, at_ms) = (served.slot, self.chain.clock.start_ms(served.slot));
        let weights = gas.into_iter().collect();
        Ok(Some((key, Forgone { seal_seq, slot, at_ms, wei, weights, is_final })))
    }

    /// The record that what a slot forwent is named by.
    fn named(&self, duties: &SlotDuties) -> Option<u64> {
        // Below a watermark nothing is sealed, and what was promised there is kept all the same.
        let unsealed = || self.journal.withheld().is_some_and(|until| duties.key.slot < until);
        let first = || duties.promises.first().filter(|_| unsealed());
        self.journal.sealed(&duties.key).as_ref().or_else(first).map(Recorded::seq)
    }

    /// As the ledger has it from before. After a long stop the journal's floor rises by so much at once that it
    /// has forgotten the seal before this is asked, and what was booked as its header was served is still open.
    fn forgone_before(
        &self,
        key: SlotKey,
        wei: Wei,
        is_final: bool,
    ) -> Result<Option<(SlotKey, Forgone)>, LedgerError> {
        let before = self.ledger.forgone_in(key.slot)?;
        // With two of them nobody could tell which one is this proposer's.
        let [one] = before.as_slice() else { return Ok(None) };
        Ok((!one.is_final).then(|| (key, Forgone { wei, is_final, ..one.clone() })))
    }
}

/// The journal's records, as charges must have them.
pub struct JournalPrices(pub Journal);

impl Prices for JournalPrices {
    fn price(&self, module: &ModuleId, seq: u64) -> Option<Price> {
        let record = self.0.by_seq(seq).filter(|r| r.module() == module)?;
        let (promise, _) = record.promise()?;
        Some(Price { slot: Some(promise.key.slot), at_ms: record.recorded_ms(), wei: promise.price })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(LedgerError::Task(e.to_string())),
    }
}

#[cfg(test)]
mod restored_tests;
#[cfg(test)]
mod tests;
