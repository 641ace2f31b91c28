//! What readiness has from outside: whether a node answers, and whether anybody registered.

use std::time::{Duration, Instant};
use tandem_blocks::status;
use tandem_feed::{FeedError, FeedStatus};
use tandem_gateway::view::Reason;

/// A node may be silent so long before that is told: one lost call, or the way from one beacon node to the
/// next, is none of it.
const SILENT: Duration = Duration::from_secs(1);

/// That no node answers: the head that is known gets older, and nothing can be judged by it.
pub fn no_node(feed: &FeedStatus, now: Instant) -> Option<Reason> {
    let since = feed.failing_since?;
    let silent = now.saturating_duration_since(since);
    match &feed.error {
        Some(FeedError::Node(error)) if error.is_silence() && silent >= SILENT => {
            let seconds = silent.as_secs();
            let message = format!(
                "the chain is not followed for {seconds} s, because no node answers ({error}). Remedy: start it, or mend \
                 its address in `nodes`"
            );
            Some(Reason::new("no-node", message))
        }
        _ => None,
    }
}

/// That no validator of ours is registered, so that no slot can be promised for. It is no reason against requests
/// as such: registrations come from the beacon node once an epoch, also to a host that waits to be called ready.
pub fn nobody_registered(s: &status::Status, validators: usize) -> Option<Reason> {
    if validators == 0 {
        let message = "no validator key is loaded. Remedy: put keystores where `paths.keys` points to, and restart";
        return Some(Reason::new("nobody-registered", message));
    }
    let closed = s.slots.iter().filter(|slot| slot.ours && slot.slot > s.slot).map(|slot| slot.closed);
    // A host that restarts has the last ones from its disk, and they may be too old to count.
    let (mut some, mut none) = (false, s.registered == 0);
    for code in closed {
        // What is looked at after the registration.
        some |= matches!(code, None | Some("slot-not-delegated" | "host-starting"));
        none |= code == Some("proposer-not-registered");
    }
    (none && !some).then(|| {
        let message = format!(
            "none of the {validators} validators served here registered with this host within the last two epochs. It \
             comes by itself, once an epoch, where the beacon node uses this host as its builder; `tandem check` prints \
             the flags"
        );
        Reason::new("nobody-registered", message)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tandem_node::NodeError;
    use tandem_types::Slot;

    fn failing(error: FeedError, ago: u64) -> (FeedStatus, Instant) {
        let since = Instant::now();
        let feed = FeedStatus { error: Some(error), failing_since: Some(since), ..FeedStatus::default() };
        (feed, since + Duration::from_secs(ago))
    }

    fn connect() -> FeedError {
        NodeError::Connect { node: "http://n:1".into(), why: "refused".into() }.into()
    }

    #[test]
    fn a_node_that_is_silent_for_longer_than_a_moment_is_a_reason_and_what_it_says_is_not_silence() {
        let (feed, now) = failing(connect(), 3);
        let said = no_node(&feed, now).unwrap();
        assert_eq!(said.code, "no-node");
        assert!(said.message.contains("3 s") && said.message.contains("http://n:1"), "{}", said.message);
        let (feed, now) = failing(connect(), 0);
        assert_eq!(no_node(&feed, now), None, "a moment");
        let (feed, now) = failing(FeedError::Optimistic, 60);
        assert_eq!(no_node(&feed, now), None, "it answers");
        assert_eq!(no_node(&FeedStatus::default(), Instant::now()), None);
    }

    fn slot(n: u64, ours: bool, closed: Option<&'static str>) -> status::SlotView {
        status::SlotView {
            slot: Slot::new(n),
            proposer: tandem_types::BlsPublicKey::default(),
            index: 0.into(),
            ours,
            start_ms: 0,
            cutoff_ms: 0,
            closed,
            promises: 0,
            sealed: false,
            story: None,
        }
    }

    fn seen(registered: usize, slots: Vec<status::SlotView>) -> status::Status {
        status::Status {
            slot: Slot::new(10),
            now_ms: 0,
            slot_ms: 12_000,
            head: None,
            finalized: None,
            closed: None,
            registered,
            slots,
            forgone_today: "0".into(),
            opening_price: "0".into(),
            counters: Default::default(),
            critical: Vec::new(),
        }
    }

    #[test]
    fn nobody_is_registered_where_none_ever_did_or_all_did_too_long_ago() {
        let is = |registered, slots| nobody_registered(&seen(registered, slots), 4).is_some();
        let lapsed = || slot(11, true, Some("proposer-not-registered"));
        assert!(is(0, vec![]) && is(0, vec![lapsed()]) && is(4, vec![lapsed()]));
        assert!(!is(4, vec![]), "no slot of ours is known, and they registered");
        assert!(!is(4, vec![lapsed(), slot(12, true, None)]), "one did");
        assert!(!is(4, vec![lapsed(), slot(12, true, Some("slot-not-delegated"))]));
        assert!(
            is(4, vec![lapsed(), slot(12, true, Some("slot-too-far")), slot(9, true, None)]),
            "past ones tell nothing"
        );
        assert!(!is(4, vec![slot(11, false, Some("slot-not-served"))]));
        assert_eq!(nobody_registered(&seen(0, vec![]), 4).unwrap().code, "nobody-registered");
        assert!(nobody_registered(&seen(0, vec![]), 0).unwrap().message.contains("no validator key"));
    }
}
