//! Promises that nobody holds: settled before they were asked for again, or taken by a kill before they were
//! written.

use super::{
    tests::{asked, contested, found, promise, refused},
    *,
};

#[test]
fn what_is_told_as_promised_when_it_is_final_counts_for_its_nonce_its_room_and_its_money() {
    let purse = Some(Purse { has: 100, cost: 60 });
    let mut o = Oracle::default();
    o.finalized(9);
    o.take(contested(1, 0, 9, 1), Answer::Nothing);
    o.take(contested(1, 0, 9, 2), refused("nonce-taken"));
    // Told twice, it is one.
    o.take(contested(1, 0, 9, 1), Answer::WasPromised);
    o.take(contested(1, 0, 9, 1), Answer::WasPromised);
    o.take(asked(1, 1, 9, 3), promise("x"));
    o.close();
    assert_eq!((found(&o), o.unanswered().len()), (vec![], 0));
    let ever: BTreeSet<B256> = o.promised_ever().iter().map(|h| h.asked.tx_hash).collect();
    assert_eq!(ever, [1, 3].map(B256::repeat_byte).into(), "the chain is asked for both");
    let room = RoomLimits { gas: 84_000, unsecured_percent: 50, blobs: 0, bytes: 1_000, count: 10 };
    assert_eq!(o.check_room(&room), BTreeMap::from([("unsecured gas", 1)]));
    // Another of its nonce is one too many, also when both are told so.
    o.take(contested(1, 0, 9, 4), Answer::WasPromised);
    assert_eq!(found(&o), [Kind::Double], "{:?}", o.faults());
    let mut o = Oracle::default();
    o.take(Asked { purse, ..asked(1, 0, 9, 1) }, promise("x"));
    o.take(Asked { purse, ..asked(1, 1, 9, 2) }, Answer::WasPromised);
    assert_eq!(found(&o), [Kind::Room]);
}

#[test]
fn what_is_told_as_promised_before_it_is_final_is_a_fault() {
    let mut o = Oracle::default();
    o.finalized(8);
    o.take(asked(1, 0, 9, 1), Answer::WasPromised);
    assert_eq!(found(&o), [Kind::Denied]);
    o.take(asked(2, 0, 9, 2), promise("x"));
    o.take(asked(2, 0, 9, 2), Answer::WasPromised);
    assert_eq!(found(&o), [Kind::Forgotten, Kind::Denied]);
}

/// One asks, and hears nothing until 100; the host is killed at `killed`; another is refused for it at these
/// times. What is found in the end.
fn lost(asked: Option<u64>, killed: u64, refused_at: &[u64]) -> Vec<Kind> {
    let (mut o, one) = (Oracle::default(), contested(1, 0, 9, 1));
    o.killed(Kill { from_ms: killed - 2, gone_ms: killed });
    if let Some(at) = asked {
        o.asking_at(&one, at);
    }
    for at in refused_at.iter().filter(|at| **at <= 100) {
        o.take_at(contested(1, 0, 9, 2), refused("conflict"), *at);
    }
    o.take_at(one.clone(), Answer::Nothing, 100);
    for at in refused_at.iter().filter(|at| **at > 100) {
        o.take_at(contested(1, 0, 9, 2), refused("conflict"), *at);
    }
    // Its slot is closed when it is asked again.
    o.take_at(one, refused("closed"), 1_000);
    o.close();
    found(&o)
}

#[test]
fn a_refusal_for_a_promise_that_a_kill_took_is_none_against_the_host_and_any_other_is() {
    assert_eq!(lost(Some(80), 95, &[90]), []);
    assert_eq!(lost(Some(80), 95, &[95]), []);
    for after in [96, 97, 100, 110] {
        assert_eq!(lost(Some(80), 95, &[after]), [Kind::Denied], "{after}: after a kill only what is written counts");
    }
    assert_eq!(lost(Some(80), 95, &[90, 110]), [Kind::Denied]);
    assert_eq!(lost(Some(92), 95, &[90]), [Kind::Denied], "it was asked for after that");
    assert_eq!(lost(Some(80), 150, &[90]), [Kind::Denied], "no kill took the answer");
    assert_eq!(lost(Some(80), 70, &[90]), [Kind::Denied]);
    assert_eq!(lost(None, 95, &[90]), [Kind::Denied], "nobody knows since when");
}

#[test]
fn a_kill_that_is_told_after_the_broken_answer_was_noted_took_it_all_the_same() {
    let mut o = Oracle::default();
    o.asking_at(&contested(1, 0, 9, 1), 80);
    o.take_at(contested(1, 0, 9, 2), refused("conflict"), 90);
    // The connection broke at the signal; the process was gone a moment later.
    o.take_at(contested(1, 0, 9, 1), Answer::Nothing, 95);
    o.killed(Kill { from_ms: 94, gone_ms: 99 });
    o.take_at(contested(1, 0, 9, 1), refused("closed"), 1_000);
    o.close();
    assert_eq!(found(&o), []);
}

#[test]
fn a_refusal_that_was_asked_for_before_the_kill_was_said_before_it_however_late_it_is_read() {
    for (begun, found_in_the_end) in [(90, vec![]), (99, vec![Kind::Denied])] {
        let (mut o, one, other) = (Oracle::default(), contested(1, 0, 9, 1), contested(1, 0, 9, 2));
        o.asking_at(&one, 80);
        o.asking_at(&other, begun);
        o.killed(Kill { from_ms: 93, gone_ms: 95 });
        o.take_at(one.clone(), Answer::Nothing, 100);
        o.take_at(other, refused("conflict"), 300);
        o.take_at(one, refused("closed"), 1_000);
        o.close();
        assert_eq!(found(&o), found_in_the_end, "begun at {begun}");
    }
}

#[test]
fn another_nonces_silence_is_no_reason() {
    let mut o = Oracle::default();
    o.killed(Kill { from_ms: 95, gone_ms: 95 });
    o.asking_at(&contested(1, 1, 9, 3), 80);
    o.take_at(contested(1, 0, 9, 2), refused("conflict"), 90);
    o.take_at(contested(1, 1, 9, 3), Answer::Nothing, 100);
    o.take_at(contested(1, 1, 9, 3), refused("closed"), 1_000);
    o.close();
    assert_eq!(found(&o), [Kind::Denied]);
    assert!(o.faults()[0].contains("90 slot 9"), "its story is told: {:?}", o.faults());
}
