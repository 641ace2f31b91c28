//! How the process ends: at the first signal it promises nothing more, keeps what comes soon, and ends in order;
//! another one ends the waiting, and then the process. What is promised is on the disk in any case; but only a host that
//! runs keeps a promise. So one whose upper floors do not open stays as long as it owes something.

use super::now_ms;
use std::{sync::Arc, time::Duration};
use tandem_blocks::Blocks;
use tandem_types::{Slot, SlotClock};
use tokio::sync::watch;

/// How often it is looked whether everything was kept.
const LOOK: Duration = Duration::from_millis(100);

/// How the process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Not yet.
    No,
    /// Once what comes soon is kept.
    Soon,
    /// In order, without waiting.
    Now,
}

/// Hears signals. Further ones count only if they are the same as the first: a terminal's goes to all
/// of a group, and whoever started this process may pass on another one for the same reason.
pub async fn signals(stop: Arc<watch::Sender<Stop>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!(
            "signals can not be heard; stop this process with SIGKILL: what was promised is on the disk, and is kept if \
             it is started again before its slot"
        );
        return std::future::pending().await;
    };
    let again = tokio::select! { _ = interrupt.recv() => &mut interrupt, _ = terminate.recv() => &mut terminate };
    tracing::info!("stopping; nothing new is promised. The same signal again ends it without waiting");
    stop.send_replace(Stop::Soon);
    again.recv().await;
    if stop.send_replace(Stop::Now) == Stop::Soon {
        tracing::info!("ending without waiting; the same signal again kills it");
        again.recv().await;
    }
    tracing::warn!("ending at once; what was promised is on the disk");
    // If even this is refused, the orderly end goes on.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// What only a host that runs can keep: promises, and the block of a header that it served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// How many promises. With none it is the block.
    promises: usize,
    /// The first slot of one, and when it begins, in unix milliseconds.
    first: (Slot, u64),
}

impl Open {
    /// What is open now; `None` if nothing is.
    pub fn of(blocks: &Blocks, clock: &SlotClock) -> Option<Self> {
        Self::among(&blocks.to_be_kept(), clock, u64::MAX)
    }

    /// What is open in slots that begin until a time.
    fn among(slots: &[(Slot, usize)], clock: &SlotClock, until_ms: u64) -> Option<Self> {
        let soon = slots.iter().filter(|(slot, _)| clock.start_ms(*slot) <= until_ms);
        // One with promises is told before one without.
        let (_, first) = soon.clone().map(|(slot, n)| (*n == 0, *slot)).min()?;
        Some(Self { promises: soon.map(|(_, n)| n).sum(), first: (first, clock.start_ms(first)) })
    }
}

/// Promises nothing more, and waits until promised slots that begin within `waits` are over or have their block; and
/// so does a slot for which a header was served: nobody else can hand in the block that is signed then.
pub async fn keep_what_comes_soon(blocks: &Blocks, clock: &SlotClock, waits: Duration, stop: &watch::Sender<Stop>) {
    blocks.promise_no_more();
    let mut now = stop.subscribe();
    let until = now_ms().saturating_add(u64::try_from(waits.as_millis()).unwrap_or(u64::MAX));
    let mut told = None;
    while let Some(open) = Open::among(&blocks.to_be_kept(), clock, until) {
        if told != Some(open) {
            let (promises, slot, in_ms) = (open.promises, open.first.0.get(), open.first.1.saturating_sub(now_ms()));
            match promises {
                0 => tracing::info!(slot, "a header was served for this slot; its block is waited for first"),
                _ => tracing::info!(promises, slot, in_ms, "what is promised is kept first"),
            }
            told = Some(open);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = now.wait_for(|s| *s == Stop::Now) => return,
        }
    }
    stop.send_replace(Stop::Now);
}

/// An upper floor did not open, or a node turned out to be of another chain: promises nothing more, and stays while
/// anything is owed, so that what was promised before is kept, and the block of a header that was served. Returns at
/// once where nothing is owed. At a signal it is as with any other stop.
pub async fn stay(
    fault: &anyhow::Error,
    blocks: &Blocks,
    clock: &SlotClock,
    waits: Duration,
    stop: &watch::Sender<Stop>,
) {
    blocks.promise_no_more();
    let (mut signals, mut told) = (stop.subscribe(), Vec::new());
    let stayed = loop {
        let owed = blocks.to_be_kept();
        if owed.is_empty() {
            break !told.is_empty();
        }
        if owed != told {
            let slots = owed.iter().map(|(slot, _)| slot.to_string()).collect::<Vec<_>>().join(", ");
            let promises: usize = owed.iter().map(|(_, n)| n).sum();
            tracing::error!(
                slots,
                promises,
                "CRITICAL: this host can not go on, and stays for the slots that it owes a block; it promises nothing new, \
                 and ends after them. What is to be mended: {fault:#}"
            );
            told = owed;
        }
        // What is waited for holds the value, and must not while it is changed.
        let is_signal = async { signals.wait_for(|s| *s != Stop::No).await.is_ok() };
        if let Ok(true) = tokio::time::timeout(LOOK, is_signal).await {
            keep_what_comes_soon(blocks, clock, waits, stop).await;
            break true;
        }
    };
    if stayed {
        tell(Open::of(blocks, clock));
    }
}

/// Says how it ended.
pub fn tell(open: Option<Open>) {
    match open {
        None => tracing::info!("stopped; no promise is open"),
        Some(Open { promises: 0, first: (slot, _) }) => tracing::warn!(
            slot = slot.get(),
            "stopped; no promise is open, but a header was served for this slot and its block is not there: it is missed \
             unless this is started again at once"
        ),
        Some(Open { promises, first: (slot, at) }) => tracing::warn!(
            promises,
            slot = slot.get(),
            in_ms = at.saturating_sub(now_ms()),
            "stopped with open promises: they are on the disk, and are kept if this is started again before that slot's \
             cut-off"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slots_that_begin_in_time_are_waited_for_and_the_first_is_told() {
        let clock = SlotClock { genesis_time: 0, slot_seconds: 12, wall_genesis_ms: 0, wall_slot_ms: 12_000 };
        let slots = [(Slot::new(9), 2), (Slot::new(7), 3), (Slot::new(20), 1)];
        let among = |ms| Open::among(&slots, &clock, ms);
        assert_eq!(among(83_999), None);
        assert_eq!(among(84_000), Some(Open { promises: 3, first: (Slot::new(7), 84_000) }));
        assert_eq!(among(u64::MAX), Some(Open { promises: 6, first: (Slot::new(7), 84_000) }));
    }

    #[test]
    fn a_slot_without_promises_is_waited_for_too_and_told_only_where_nothing_is_promised() {
        let clock = SlotClock { genesis_time: 0, slot_seconds: 12, wall_genesis_ms: 0, wall_slot_ms: 12_000 };
        let among = |slots: &[(u64, usize)]| {
            let slots: Vec<_> = slots.iter().map(|(slot, n)| (Slot::new(*slot), *n)).collect();
            Open::among(&slots, &clock, 100_000)
        };
        assert_eq!(among(&[(7, 0), (9, 2)]), Some(Open { promises: 0, first: (Slot::new(7), 84_000) }));
        assert_eq!(among(&[(7, 0), (8, 2)]), Some(Open { promises: 2, first: (Slot::new(8), 96_000) }));
        assert_eq!(among(&[(9, 0)]), None);
    }
}
