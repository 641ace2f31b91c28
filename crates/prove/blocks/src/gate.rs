//! When not to promise. Pure: every condition of a slot in, the first one that closes it out.

use crate::chain::Missed;
use tandem_module::Refusal;
use tandem_types::{Epoch, Slot};

/// Epochs for which a registration counts: beacon nodes repeat theirs in every epoch.
pub const REGISTRATION_EPOCHS: u64 = 2;
/// Missed slots in a row that stop promising: Prysm's circuit breaker opens there, Lighthouse's later.
pub const MISSED_ROW: u64 = 2;
/// Missed slots among the last 32, wherever an epoch begins, that stop promising: one fewer than opens Prysm's
/// breaker, the stricter one.
pub const MISSED_OF_32: u64 = 4;
/// Epochs since the finalised one at which Lighthouse's breaker opens.
pub const NOT_FINAL: u64 = 4;
/// Where Prysm's breaker is open on every new chain: its window begins with the slot itself, this once.
pub const NEW_CHAIN: Slot = Slot::new(32);
/// Slots into an epoch by which a beacon node's head, and with it what is final, is of this epoch.
const SETTLED_IN: u64 = 2;

/// What the operator's own nodes say of themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeHealth {
    /// The beacon node answered that it is not syncing.
    pub synced: bool,
    /// Its head was not checked by its execution client.
    pub optimistic: bool,
    /// The epoch that its head has as finalised.
    pub finalized: Epoch,
}

impl NodeHealth {
    /// Whether its word counts: synced, and its head checked.
    pub const fn is_good(&self) -> bool {
        self.synced && !self.optimistic
    }
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
    /// The recent chain was read: before that no missed slot is known.
    pub chain_known: bool,
    /// Missed slots.
    pub missed: Missed,
    /// Why an operator has to look first.
    pub stopped: Option<String>,
    /// The process was told to end.
    pub closing: bool,
    /// The journal writes and syncs.
    pub journal_ok: bool,
    /// The day forwent more than the operator allows.
    pub forgone_too_much: bool,
    /// The watermark until which the journal promises nothing.
    pub withheld: Option<Slot>,
    /// No beacon node's payload attributes are heard.
    pub deaf: bool,
    /// The disk is nearly full.
    pub disk_low: bool,
    /// Neither the client nor a relay could build a block with what is due.
    pub unbuildable: bool,
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
    /// Its delegation is recorded, and names keys that can be derived here.
    pub delegated: bool,
    /// Its delegation is recorded, and names keys of another host secret.
    pub of_other_keys: bool,
    /// Its seal is recorded.
    pub sealed: bool,
    /// The slot's payload attributes may have been told before a stream of them was open here, and they are not
    /// known: no block could be offered in it.
    pub blind: bool,
}

/// Why a slot takes no promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// An operator has to look first.
    Stopped(String),
    /// The process was told to end, and keeps what it promised before.
    Closing,
    /// The journal does not write.
    JournalHalted,
    /// The disk is nearly full: a block that can not be written is not offered.
    DiskLow,
    /// Nobody could build a block with what is due.
    Unbuildable,
    /// The journal was begun at a watermark, and not every slot below it is final.
    Watermarked(Slot),
    /// The beacon node is syncing, or silent.
    NotSynced,
    /// Its head was not checked.
    Optimistic,
    /// The recent chain is not read yet.
    ChainUnknown,
    /// Too many slots were missed.
    Missed(Missed),
    /// So many epochs are not final.
    NotFinal(u64),
    /// A slot in which circuit breakers are open on every new chain.
    NewChain,
    /// No payload attributes are heard.
    Deaf,
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
    /// It is recorded, for keys of another host secret: it can not be made anew.
    OtherKeys,
    /// Attributes are heard since too shortly before it.
    Blind,
}

impl Closed {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stopped(_) => "promising-stopped",
            Self::Closing => "host-stopping",
            Self::JournalHalted => "journal-halted",
            Self::DiskLow => "disk-low",
            Self::Unbuildable => "no-way-to-build",
            Self::Watermarked(_) => "watermarked",
            Self::NotSynced => "node-not-synced",
            Self::Optimistic => "node-optimistic",
            Self::ChainUnknown => "chain-unknown",
            Self::Missed(_) => "slots-missed",
            Self::NotFinal(_) => "not-final",
            Self::NewChain => "new-chain",
            Self::Deaf => "attributes-unheard",
            Self::Forgone => "forgone-too-much",
            Self::Stranger => "slot-not-served",
            Self::TooFar => "slot-too-far",
            Self::PastCutoff => "slot-closed",
            Self::NotRegistered => "proposer-not-registered",
            Self::NotDelegated => "slot-not-delegated",
            Self::OtherKeys => "slot-of-other-keys",
            Self::Blind => "host-starting",
        }
    }

    /// As a module hands it on.
    pub fn refusal(&self) -> Refusal {
        let text = match self {
            Self::Stopped(why) => format!("the host stopped promising until its operator looks: {why}"),
            Self::Closing => "the host is being stopped; it promises again once it is started".into(),
            Self::JournalHalted => "the journal could not be written; nothing is signed until a restart".into(),
            Self::DiskLow => "the host's disk is nearly full; nothing is promised until its operator makes room".into(),
            Self::Unbuildable => {
                "the execution client builds no blocks for the host, or only with another gas limit than the \
                 validators registered; the host has no engine endpoint to check its own by, and no relay takes \
                 constraints"
                    .into()
            }
            Self::Watermarked(until) => {
                format!("nothing is promised before all slots below the watermark {until} are final")
            }
            Self::NotSynced => "the beacon node is not synced".into(),
            Self::Optimistic => "the beacon node's head is not checked by its execution client yet".into(),
            Self::ChainUnknown => "the recent chain is not read from the node yet; try again in a moment".into(),
            Self::Missed(m) => {
                let Missed { row, of_last_32 } = m;
                format!(
                    "{row} slots in a row and {of_last_32} of the last 32 were missed; beacon nodes ask nobody for blocks, \
                     or will not after one more"
                )
            }
            Self::NotFinal(epochs) => format!(
                "the finalised epoch is {epochs} epochs back; beacon nodes ask nobody for blocks, or will not in this slot"
            ),
            Self::NewChain => {
                format!("in slot {NEW_CHAIN} of a new chain beacon nodes ask nobody for blocks; ask for another slot")
            }
            Self::Deaf => "no beacon node tells payload attributes at the moment; try again in a slot".into(),
            Self::Forgone => "today's slots forwent more than the operator allows".into(),
            Self::Stranger => "the slot's proposer is not served here".into(),
            Self::TooFar => "the slot is further ahead than promises are taken".into(),
            Self::PastCutoff => "the slot is past its cut-off".into(),
            Self::NotRegistered => {
                "the slot's proposer did not register with this host within the last two epochs".into()
            }
            Self::NotDelegated => "the slot's delegation is not recorded yet; ask again".into(),
            Self::OtherKeys => {
                "the slot is delegated to keys of a host secret that this host does not have; ask for another slot"
                    .into()
            }
            Self::Blind => {
                "the host listens to its beacon node since too shortly before this slot; ask for a later one".into()
            }
        };
        Refusal::new(self.code(), text)
    }
}

/// Why nothing at all can be promised now.
pub fn host_closed(host: &HostState) -> Option<Closed> {
    if let Some(why) = &host.stopped {
        return Some(Closed::Stopped(why.clone()));
    }
    if host.closing {
        return Some(Closed::Closing);
    }
    if !host.journal_ok {
        return Some(Closed::JournalHalted);
    }
    if host.disk_low {
        return Some(Closed::DiskLow);
    }
    if host.unbuildable {
        return Some(Closed::Unbuildable);
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
    if !host.chain_known {
        return Some(Closed::ChainUnknown);
    }
    if host.deaf {
        return Some(Closed::Deaf);
    }
    if host.missed.row >= MISSED_ROW || host.missed.of_last_32 >= MISSED_OF_32 {
        return Some(Closed::Missed(host.missed));
    }
    let epochs = not_final(host, host.now);
    if epochs >= NOT_FINAL {
        return Some(Closed::NotFinal(epochs));
    }
    host.forgone_too_much.then_some(Closed::Forgone)
}

/// Epochs from the finalised one to a slot's.
fn not_final(host: &HostState, slot: Slot) -> u64 {
    slot.epoch().get().saturating_sub(host.health.finalized.get())
}

/// How many epochs will not be final in a slot unless finality moves, where it seems to stand still: it is
/// two epochs back, and three before an epoch's first block.
fn stands_still(host: &HostState, slot: Slot) -> Option<u64> {
    let late = not_final(host, host.now) + 1 >= NOT_FINAL && host.now.get() % 32 >= SETTLED_IN;
    let epochs = not_final(host, slot);
    (late && epochs >= NOT_FINAL).then_some(epochs)
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
    if slot.slot == NEW_CHAIN {
        return Some(Closed::NewChain);
    }
    if let Some(epochs) = stands_still(host, slot.slot) {
        return Some(Closed::NotFinal(epochs));
    }
    if !registered(slot.registered, host.now.epoch()) {
        return Some(Closed::NotRegistered);
    }
    if slot.blind {
        return Some(Closed::Blind);
    }
    if slot.of_other_keys {
        return Some(Closed::OtherKeys);
    }
    (!slot.delegated).then_some(Closed::NotDelegated)
}

/// Whether this slot takes promises now, or will in a moment unless something else happens: a node is asked again,
/// a proposer registers.
pub fn may_open(host: &HostState, slot: &SlotState) -> bool {
    let passes = |c: &Closed| {
        !matches!(
            c,
            Closed::Stranger
                | Closed::PastCutoff
                | Closed::Blind
                | Closed::OtherKeys
                | Closed::NewChain
                | Closed::DiskLow
                | Closed::Unbuildable
                | Closed::Watermarked(_)
                | Closed::Missed(_)
                | Closed::NotFinal(_)
                | Closed::Forgone
                | Closed::Stopped(_)
                | Closed::Closing
                | Closed::JournalHalted
        )
    };
    closed(host, slot).as_ref().is_none_or(passes)
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
            health: NodeHealth { synced: true, optimistic: false, finalized: Epoch::new(1) },
            journal_ok: true,
            chain_known: true,
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
            of_other_keys: false,
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
        let row = Missed { row: 2, of_last_32: 2 };
        let window = Missed { row: 0, of_last_32: 4 };
        let good = host().health;
        let hosts = [
            (HostState { stopped: Some("foreign block".into()), ..host() }, "promising-stopped"),
            (HostState { closing: true, ..host() }, "host-stopping"),
            (HostState { journal_ok: false, ..host() }, "journal-halted"),
            (HostState { disk_low: true, ..host() }, "disk-low"),
            (HostState { unbuildable: true, ..host() }, "no-way-to-build"),
            (HostState { withheld: Some(Slot::new(1)), ..host() }, "watermarked"),
            (HostState { health: NodeHealth::default(), ..host() }, "node-not-synced"),
            (HostState { health: NodeHealth { optimistic: true, ..good }, ..host() }, "node-optimistic"),
            (
                HostState { health: NodeHealth { finalized: Epoch::new(0), ..good }, now: Slot::new(128), ..host() },
                "not-final",
            ),
            (HostState { chain_known: false, ..host() }, "chain-unknown"),
            (HostState { deaf: true, ..host() }, "attributes-unheard"),
            (HostState { missed: row, ..host() }, "slots-missed"),
            (HostState { missed: window, ..host() }, "slots-missed"),
            (HostState { forgone_too_much: true, ..host() }, "forgone-too-much"),
            (HostState { now_ms: 2_000, ..host() }, "slot-closed"),
        ];
        for (host, code) in hosts {
            assert_eq!(closed(&host, &slot()).map(|c| c.code()), Some(code));
        }
        let slots = [
            (SlotState { slot: NEW_CHAIN, ..slot() }, "new-chain"),
            (SlotState { ours: false, ..slot() }, "slot-not-served"),
            (SlotState { sealed: true, ..slot() }, "slot-closed"),
            (SlotState { within_reach: false, ..slot() }, "slot-too-far"),
            (SlotState { registered: None, ..slot() }, "proposer-not-registered"),
            (SlotState { registered: Some(Epoch::new(0)), ..slot() }, "proposer-not-registered"),
            (SlotState { delegated: false, ..slot() }, "slot-not-delegated"),
            (SlotState { delegated: false, of_other_keys: true, ..slot() }, "slot-of-other-keys"),
            (SlotState { blind: true, ..slot() }, "host-starting"),
        ];
        for (slot, code) in slots {
            assert_eq!(closed(&host(), &slot).map(|c| c.code()), Some(code));
        }
    }

    #[test]
    fn a_slot_may_open_if_only_time_or_a_registration_is_wanting() {
        let here = |slot: SlotState| may_open(&host(), &slot);
        assert!(here(slot()) && here(SlotState { registered: None, ..slot() }));
        assert!(here(SlotState { delegated: false, ..slot() }) && here(SlotState { within_reach: false, ..slot() }));
        assert!(!here(SlotState { ours: false, ..slot() }) && !here(SlotState { sealed: true, ..slot() }));
        assert!(!here(SlotState { blind: true, ..slot() }));
        assert!(!here(SlotState { delegated: false, of_other_keys: true, ..slot() }));
        assert!(!may_open(&HostState { now_ms: 2_000, ..host() }, &slot()), "past its cut-off");
        assert!(!may_open(&HostState { stopped: Some("operator".into()), ..host() }, &slot()));
        assert!(may_open(&HostState { health: NodeHealth::default(), ..host() }, &slot()), "a node comes back");
        let missed = Missed { row: 0, of_last_32: 4 };
        assert!(!may_open(&HostState { missed, ..host() }, &slot()), "nobody knows for how long");
    }

    #[test]
    fn one_missed_slot_and_three_of_the_last_32_do_not_stop_promising() {
        let missed = Missed { row: 1, of_last_32: 3 };
        assert_eq!(closed(&HostState { missed, ..host() }, &slot()), None);
    }

    #[test]
    fn finality_that_stands_still_closes_slots_before_a_breaker_opens_and_its_usual_distance_does_not() {
        let code = |now: u64, finalized: u64, slot_: u64| {
            let health = NodeHealth { finalized: Epoch::new(finalized), ..host().health };
            let host = HostState { now: Slot::new(now), health, ..host() };
            closed(&host, &SlotState { slot: Slot::new(slot_), registered: Some(host.now.epoch()), ..slot() })
                .map(|c| c.code())
        };
        // Epoch 10 begins at slot 320. Two epochs back, also for a slot that is two epochs ahead.
        assert_eq!([code(330, 8, 330), code(330, 8, 394)], [None, None]);
        // Before an epoch's first block it is three.
        assert_eq!([code(320, 7, 325), code(321, 7, 384)], [None, None]);
        // It stands still: this epoch's slots are before the breaker, the next one's are not.
        assert_eq!([code(330, 7, 335), code(330, 7, 352)], [None, Some("not-final")]);
        assert_eq!(code(352, 7, 353), Some("not-final"));
    }

    #[test]
    fn a_registration_counts_for_two_epochs() {
        let at = Some(Epoch::new(5));
        assert!(registered(at, Epoch::new(7)));
        assert!(!registered(at, Epoch::new(8)));
    }
}
