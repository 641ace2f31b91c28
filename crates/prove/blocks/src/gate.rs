//! When not to promise. Pure: every condition of a slot in, the first one that closes it out.

use crate::chain::Missed;
use tandem_module::Refusal;
use tandem_types::{Epoch, Slot};

/// Epochs for which a registration counts: beacon nodes repeat theirs in every epoch.
pub const REGISTRATION_EPOCHS: u64 = 2;
/// Missed slots in a row that stop promising: beacon nodes' circuit breakers open there.
pub const MISSED_ROW: u64 = 2;
/// Missed slots in one epoch that stop promising: one fewer than opens a breaker.
pub const MISSED_EPOCH: u64 = 4;

/// What the operator's own nodes say of themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeHealth {
    /// The beacon node answered that it is not syncing.
    pub synced: bool,
    /// Its head was not checked by its execution client.
    pub optimistic: bool,
}

/// What holds for the host as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    /// Unix milliseconds.
    pub now_ms: u64,
    /// The running slot.
    pub now: Slot,
    /// The nodes.
    pub health: NodeHealth,
    /// Missed slots.
    pub missed: Missed,
    /// Why an operator has to look first.
    pub stopped: Option<String>,
    /// The journal writes and syncs.
    pub journal_ok: bool,
    /// The day forwent more than the operator allows.
    pub forgone_too_much: bool,
    /// The watermark until which the journal promises nothing.
    pub withheld: Option<Slot>,
}

/// What holds for one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// The slot.
    pub slot: Slot,
    /// Its cut-off in unix milliseconds.
    pub cutoff_ms: u64,
    /// Within the slots that promises are taken for.
    pub within_reach: bool,
    /// Its proposer is one of ours.
    pub ours: bool,
    /// In which epoch the proposer's registration came last.
    pub registered: Option<Epoch>,
    /// Its delegation is recorded.
    pub delegated: bool,
    /// Its seal is recorded.
    pub sealed: bool,
    /// This process may have begun to listen after the slot's payload attributes were told, and does not
    /// know them: no block could be offered in it.
    pub blind: bool,
}

/// Why a slot takes no promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// An operator has to look first.
    Stopped(String),
    /// The journal does not write.
    JournalHalted,
    /// The journal was begun at a watermark, and not every slot below it is final.
    Watermarked(Slot),
    /// The beacon node is syncing, or silent.
    NotSynced,
    /// Its head was not checked.
    Optimistic,
    /// Too many slots were missed.
    Missed(Missed),
    /// The day forwent too much.
    Forgone,
    /// Another proposer's slot.
    Stranger,
    /// Further ahead than promises are taken.
    TooFar,
    /// Past its cut-off, or sealed.
    PastCutoff,
    /// The validator never registered, or too long ago.
    NotRegistered,
    /// The delegation is not recorded yet.
    NotDelegated,
    /// The host started too shortly before it.
    Blind,
}

impl Closed {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stopped(_) => "promising-stopped",
            Self::JournalHalted => "journal-halted",
            Self::Watermarked(_) => "watermarked",
            Self::NotSynced => "node-not-synced",
            Self::Optimistic => "node-optimistic",
            Self::Missed(_) => "slots-missed",
            Self::Forgone => "forgone-too-much",
            Self::Stranger => "slot-not-served",
            Self::TooFar => "slot-too-far",
            Self::PastCutoff => "slot-closed",
            Self::NotRegistered => "proposer-not-registered",
            Self::NotDelegated => "slot-not-delegated",
            Self::Blind => "host-starting",
        }
    }

    /// As a module hands it on.
    pub fn refusal(&self) -> Refusal {
        let text = match self {
            Self::Stopped(why) => format!("the host stopped promising until its operator looks: {why}"),
            Self::JournalHalted => "the journal could not be written; nothing is signed until a restart".into(),
            Self::Watermarked(until) => {
                format!("nothing is promised before all slots below the watermark {until} are final")
            }
            Self::NotSynced => "the beacon node is not synced".into(),
            Self::Optimistic => "the beacon node's head is not checked by its execution client yet".into(),
            Self::Missed(m) => {
                format!("{} slots in a row and {} in this epoch were missed; blocks are not asked for", m.row, m.epoch)
            }
            Self::Forgone => "today's slots forwent more than the operator allows".into(),
            Self::Stranger => "the slot's proposer is not served here".into(),
            Self::TooFar => "the slot is further ahead than promises are taken".into(),
            Self::PastCutoff => "the slot is past its cut-off".into(),
            Self::NotRegistered => {
                "the slot's proposer did not register with this host within the last two epochs".into()
            }
            Self::NotDelegated => "the slot's delegation is not recorded yet; ask again".into(),
            Self::Blind => "the host started too shortly before this slot; ask for a later one".into(),
        };
        Refusal::new(self.code(), text)
    }
}

/// Why nothing at all can be promised now.
pub fn host_closed(host: &HostState) -> Option<Closed> {
    if let Some(why) = &host.stopped {
        return Some(Closed::Stopped(why.clone()));
    }
    if !host.journal_ok {
        return Some(Closed::JournalHalted);
    }
    if let Some(until) = host.withheld {
        // A promise of the journal that is lost may hold its sender's nonce over all slots until then.
        return Some(Closed::Watermarked(until));
    }
    if !host.health.synced {
        return Some(Closed::NotSynced);
    }
    if host.health.optimistic {
        return Some(Closed::Optimistic);
    }
    if host.missed.row >= MISSED_ROW || host.missed.epoch >= MISSED_EPOCH {
        return Some(Closed::Missed(host.missed));
    }
    host.forgone_too_much.then_some(Closed::Forgone)
}

/// Why this slot takes no promises now; `None` where it is open.
pub fn closed(host: &HostState, slot: &SlotState) -> Option<Closed> {
    let first = if !slot.ours { Some(Closed::Stranger) } else { host_closed(host) };
    if first.is_some() {
        return first;
    }
    if slot.sealed || host.now_ms >= slot.cutoff_ms {
        return Some(Closed::PastCutoff);
    }
    if !slot.within_reach {
        return Some(Closed::TooFar);
    }
    if !registered(slot.registered, host.now.epoch()) {
        return Some(Closed::NotRegistered);
    }
    if slot.blind {
        return Some(Closed::Blind);
    }
    (!slot.delegated).then_some(Closed::NotDelegated)
}

/// Whether a registration that came in epoch `at` counts in epoch `now`.
pub fn registered(at: Option<Epoch>, now: Epoch) -> bool {
    at.is_some_and(|at| at.saturating_add(REGISTRATION_EPOCHS) >= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostState {
        HostState {
            now_ms: 1_000,
            now: Slot::new(100),
            health: NodeHealth { synced: true, optimistic: false },
            journal_ok: true,
            ..HostState::default()
        }
    }
    fn slot() -> SlotState {
        SlotState {
            slot: Slot::new(105),
            cutoff_ms: 2_000,
            within_reach: true,
            ours: true,
            registered: Some(Slot::new(100).epoch()),
            delegated: true,
            sealed: false,
            blind: false,
        }
    }

    #[test]
    fn a_slot_that_meets_every_condition_is_open() {
        assert_eq!(closed(&host(), &slot()), None);
    }

    #[test]
    fn each_condition_alone_closes_the_slot_with_its_own_code() {
        let row = Missed { row: 2, epoch: 0 };
        let epoch = Missed { row: 0, epoch: 4 };
        let hosts = [
            (HostState { stopped: Some("foreign block".into()), ..host() }, "promising-stopped"),
            (HostState { journal_ok: false, ..host() }, "journal-halted"),
            (HostState { withheld: Some(Slot::new(1)), ..host() }, "watermarked"),
            (HostState { health: NodeHealth::default(), ..host() }, "node-not-synced"),
            (HostState { health: NodeHealth { synced: true, optimistic: true }, ..host() }, "node-optimistic"),
            (HostState { missed: row, ..host() }, "slots-missed"),
            (HostState { missed: epoch, ..host() }, "slots-missed"),
            (HostState { forgone_too_much: true, ..host() }, "forgone-too-much"),
            (HostState { now_ms: 2_000, ..host() }, "slot-closed"),
        ];
        for (host, code) in hosts {
            assert_eq!(closed(&host, &slot()).map(|c| c.code()), Some(code));
        }
        let slots = [
            (SlotState { ours: false, ..slot() }, "slot-not-served"),
            (SlotState { sealed: true, ..slot() }, "slot-closed"),
            (SlotState { within_reach: false, ..slot() }, "slot-too-far"),
            (SlotState { registered: None, ..slot() }, "proposer-not-registered"),
            (SlotState { registered: Some(Epoch::new(0)), ..slot() }, "proposer-not-registered"),
            (SlotState { delegated: false, ..slot() }, "slot-not-delegated"),
            (SlotState { blind: true, ..slot() }, "host-starting"),
        ];
        for (slot, code) in slots {
            assert_eq!(closed(&host(), &slot).map(|c| c.code()), Some(code));
        }
    }

    #[test]
    fn one_missed_slot_and_three_in_the_epoch_do_not_stop_promising() {
        let missed = Missed { row: 1, epoch: 3 };
        assert_eq!(closed(&HostState { missed, ..host() }, &slot()), None);
    }

    #[test]
    fn a_registration_counts_for_two_epochs() {
        let at = Some(Epoch::new(5));
        assert!(registered(at, Epoch::new(7)));
        assert!(!registered(at, Epoch::new(8)));
    }
}
