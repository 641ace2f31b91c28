//! One reader's way along the chain.

use crate::{Block, Canonical, Change, Cursor, Entry, Feed, FeedError, Resume, feed::Shared};
use std::{sync::Arc, time::Duration};
use tandem_node::{At, NodeError};
use tandem_types::BlockId;
use tokio::sync::watch;

/// Pauses after a failed fetch. The reader waits here, and holds nobody back.
const RETRY: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(2));
/// Failures in a row by "not found" after which a block counts as gone: about ten seconds.
const PATIENCE: u32 = 12;

/// A reader. [`Subscription::next`] may be dropped and called again at any time: the position moves
/// only when an entry is returned.
#[derive(Debug)]
pub struct Subscription {
    feed: Feed,
    changes: watch::Receiver<Option<Arc<Canonical>>>,
    /// `None` until a reader that wants the tip has one.
    position: Option<Cursor>,
    failures: u32,
}

/// What to do next from a position.
enum Step {
    Wait,
    Undo(BlockId),
    /// The block after the position by hash, or by number where only the node knows it.
    Apply(At),
    Final(BlockId),
    /// Too far behind: go on after this block.
    Jump(BlockId),
}

impl Subscription {
    pub(crate) fn new(feed: Feed, resume: Resume) -> Self {
        let changes = feed.shared.canonical.subscribe();
        let position = match resume {
            Resume::Tip => None,
            Resume::At(cursor) => Some(cursor),
        };
        Self { feed, changes, position, failures: 0 }
    }

    /// Where the reader is: after the last entry that was returned. `None` before the first head.
    pub const fn cursor(&self) -> Option<Cursor> {
        self.position
    }

    /// Waits for the next step. Failures of the node are waited out; [`Feed::status`] shows them.
    ///
    /// # Errors
    /// [`FeedError::Stopped`].
    pub async fn next(&mut self) -> Result<Entry, FeedError> {
        loop {
            let now = self.changes.borrow_and_update().clone();
            let Some(canonical) = now else {
                self.changed().await?;
                continue;
            };
            let position = *self.position.get_or_insert_with(|| Cursor {
                seq: 0,
                at: canonical.head(),
                finalized: canonical.finalized(),
            });
            let step = step(&canonical, &position, self.feed.shared.config.max_blocks);
            if matches!(step, Step::Wait) {
                self.changed().await?;
                continue;
            }
            match self.take(step, &canonical, position).await {
                Ok(Some(entry)) => {
                    (self.failures, self.position) = (0, Some(entry.cursor));
                    return Ok(entry);
                }
                Ok(None) => self.failures = 0,
                Err(error) => self.pause(error).await,
            }
        }
    }

    async fn changed(&mut self) -> Result<(), FeedError> {
        self.changes.changed().await.map_err(|_| FeedError::Stopped)
    }

    async fn pause(&mut self, error: NodeError) {
        self.failures = self.failures.saturating_add(1);
        let wait = RETRY.0.saturating_mul(1 << self.failures.min(10)).min(RETRY.1);
        tracing::debug!(%error, failures = self.failures, "a reader of the feed waits");
        // A new head may make the step needless.
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = self.changes.changed() => {}
        }
    }

    /// Does a step. `None` means that the chain moved meanwhile: look again.
    async fn take(&self, step: Step, canonical: &Canonical, p: Cursor) -> Result<Option<Entry>, NodeError> {
        let shared = &*self.feed.shared;
        let patient = self.failures < PATIENCE;
        let gone = |e: &NodeError| matches!(e, NodeError::NotFound { .. } | NodeError::Rpc { .. }) && !patient;
        let next = || canonical.at(p.at.number + 1).map_or(canonical.root(), |l| l.id);
        Ok(match step {
            Step::Wait => None,
            Step::Undo(id) => match shared.block(id.hash).await {
                Ok(block) => {
                    let at = block.parent_id();
                    Some(entry(p, Change::Undo(block), at))
                }
                // What left the chain is not to be had any more: nobody can undo it step by step.
                Err(e) if gone(&e) => Some(gap(p, canonical.root())),
                Err(e) => return Err(e),
            },
            Step::Apply(at) => match fetch(shared, at).await {
                Ok(block) if block.parent_id() == p.at => {
                    let id = block.id();
                    Some(entry(p, Change::Apply(block), id))
                }
                // By number: the position itself is not canonical.
                Ok(_) => match shared.block(p.at.hash).await {
                    Ok(block) => {
                        let at = block.parent_id();
                        Some(entry(p, Change::Undo(block), at))
                    }
                    Err(e) if gone(&e) => Some(gap(p, canonical.root())),
                    Err(e) => return Err(e),
                },
                Err(e) if gone(&e) => Some(gap(p, next())),
                Err(e) => return Err(e),
            },
            Step::Final(id) => {
                let mut e = entry(p, Change::Final(id), p.at);
                e.cursor.finalized = id;
                Some(e)
            }
            Step::Jump(to) => Some(gap(p, to)),
        })
    }
}

async fn fetch(shared: &Shared, at: At) -> Result<Arc<Block>, NodeError> {
    let hash = match at {
        At::Hash(hash) => hash,
        by_number => shared.link(by_number).await?.id.hash,
    };
    shared.block(hash).await
}

fn entry(p: Cursor, change: Change, at: BlockId) -> Entry {
    let cursor = Cursor { seq: p.seq + 1, at, ..p };
    Entry { seq: cursor.seq, change, cursor }
}

/// Jumps over what is not to be had: the reader goes on after `to`, which is canonical.
fn gap(p: Cursor, to: BlockId) -> Entry {
    let (low, high) = (p.at.number.min(to.number), p.at.number.max(to.number));
    entry(p, Change::Gap { from: low + u64::from(low < high), to: high }, to)
}

/// The next step from a position. Finality is said as soon as its block is applied, before anything
/// newer.
fn step(c: &Canonical, p: &Cursor, max_blocks: u64) -> Step {
    let (at, root) = (p.at, c.root());
    let on_chain = c.contains(at);
    if on_chain && p.finalized.number < c.finalized().number && c.finalized().number <= at.number {
        return Step::Final(c.finalized());
    }
    if on_chain {
        return c.at(at.number + 1).map_or(Step::Wait, |next| Step::Apply(At::Hash(next.id.hash)));
    }
    if at.number >= root.number {
        return Step::Undo(at);
    }
    // Older than what is held here: everything there is final, and the node knows it by number.
    if root.number - at.number > max_blocks { Step::Jump(root) } else { Step::Apply(At::Number(at.number + 1)) }
}
