//! Histories that were doctored: each rule must find its own.

use super::*;
use tandem_journal::RoomLimits;

pub(crate) fn asked(sender: u32, nonce: u64, slot: u64, tx: u8) -> Asked {
    Asked {
        sender,
        nonce,
        slot,
        tx_hash: B256::repeat_byte(tx),
        gas: 21_000,
        size: 100,
        blobs: 0,
        purse: None,
        secured: false,
        request: format!("{sender} {nonce} {slot} {tx}").into_bytes().into(),
        request_hash: B256::with_last_byte(tx),
        contested: false,
    }
}
pub(super) fn contested(sender: u32, nonce: u64, slot: u64, tx: u8) -> Asked {
    Asked { contested: true, ..asked(sender, nonce, slot, tx) }
}
pub(super) fn promise(s: &'static str) -> Answer {
    Answer::Promise(Bytes::from_static(s.as_bytes()))
}
pub(super) fn refused(code: &str) -> Answer {
    Answer::Refused(code.into())
}
/// The kinds of what was found.
pub(super) fn found(o: &Oracle) -> Vec<Kind> {
    o.kinds().keys().copied().collect()
}

#[test]
fn two_transactions_promised_for_one_nonce_are_a_fault_and_one_in_two_slots_is_none() {
    let mut o = Oracle::default();
    o.take(asked(1, 0, 9, 1), promise("x"));
    o.take(asked(1, 0, 10, 1), promise("y"));
    assert!(o.faults().is_empty());
    o.take(asked(1, 0, 10, 2), promise("z"));
    assert_eq!(found(&o), [Kind::Double]);
}

#[test]
fn other_bytes_for_a_repeated_request_are_a_fault_and_the_same_are_none() {
    let mut o = Oracle::default();
    o.take(asked(1, 0, 9, 1), promise("x"));
    o.take(asked(1, 0, 9, 1), promise("x"));
    assert!(o.faults().is_empty());
    o.take(asked(1, 0, 9, 1), promise("z"));
    assert_eq!(found(&o), [Kind::Changed]);
}

#[test]
fn a_promise_that_is_refused_later_is_a_fault_unless_it_expired_below_the_final_slot() {
    let mut o = Oracle::default();
    o.take(asked(1, 0, 9, 1), promise("x"));
    o.finalized(9);
    o.take(asked(1, 0, 9, 1), refused("expired"));
    assert!(o.faults().is_empty());
    o.finalized(8);
    o.take(asked(1, 0, 9, 1), refused("expired"));
    assert_eq!(o.faults().len(), 1);
    o.take(asked(1, 0, 9, 1), refused("slot-full"));
    assert_eq!((o.faults().len(), found(&o)), (2, vec![Kind::Forgotten]));
}

#[test]
fn more_than_the_room_is_a_fault_and_a_full_slot_is_counted_by_its_pool() {
    let room = RoomLimits { gas: 84_000, unsecured_percent: 50, blobs: 0, bytes: 1_000, count: 10 };
    let mut o = Oracle::default();
    o.take(asked(1, 0, 9, 1), promise("x"));
    assert!(o.check_room(&room).is_empty());
    o.take(asked(2, 0, 9, 2), promise("y"));
    assert_eq!(o.check_room(&room), BTreeMap::from([("unsecured gas", 1)]));
    assert!(o.faults().is_empty());
    o.take(asked(3, 0, 9, 3), promise("z"));
    o.check_room(&room);
    assert_eq!(found(&o), [Kind::Room]);

    // Any other resource, too.
    let large = [
        Asked { gas: 90_000, ..asked(4, 0, 9, 4) },
        Asked { blobs: 1, ..asked(4, 0, 9, 4) },
        Asked { size: 1_001, ..asked(4, 0, 9, 4) },
    ];
    for a in large {
        let mut o = Oracle::default();
        o.take(Asked { secured: true, ..a }, promise("x"));
        o.check_room(&room);
        assert_eq!((found(&o), o.faults().len()), (vec![Kind::Room], 1));
    }
}

#[test]
fn what_was_not_answered_is_asked_again_until_it_is_and_is_a_fault_if_it_never_was() {
    let mut o = Oracle::default();
    o.take(asked(1, 0, 9, 1), Answer::Nothing);
    o.take(asked(2, 0, 9, 2), Answer::Nothing);
    assert_eq!(o.unanswered().len(), 2);
    o.take(asked(1, 0, 9, 1), promise("x"));
    assert_eq!(o.unanswered().len(), 1);
    o.close();
    assert_eq!(found(&o), [Kind::Silent]);
}

#[test]
fn who_was_refused_for_another_transaction_must_have_lost_against_one_that_is_promised() {
    let mut o = Oracle::default();
    o.take(contested(1, 0, 9, 1), refused("conflict"));
    o.take(contested(1, 0, 9, 2), promise("x"));
    o.close();
    assert!(o.faults().is_empty());
    o.take(contested(2, 0, 9, 3), refused("conflict"));
    o.take(contested(2, 0, 9, 4), refused("nonce-taken"));
    o.close();
    assert_eq!(found(&o), [Kind::Denied]);
    assert_eq!(o.take_losers().len(), 3);
    o.take(contested(2, 0, 9, 3), refused("conflict"));
    assert!(o.take_losers().is_empty(), "a loser is asked again once");
}

#[test]
fn a_promised_nonce_needs_the_one_before_it_promised_for_the_same_slot_or_an_earlier_one() {
    let mut o = Oracle::default();
    o.take(asked(1, 0, 9, 1), promise("a"));
    o.take(asked(1, 1, 9, 2), promise("b"));
    o.take(asked(1, 2, 11, 3), promise("c"));
    o.close();
    assert!(o.faults().is_empty());
    o.take(asked(2, 0, 12, 4), promise("d"));
    o.take(asked(2, 1, 11, 5), promise("e"));
    o.close();
    assert_eq!((found(&o), o.faults().len()), (vec![Kind::Gap], 1));
    o.take(asked(3, 1, 11, 6), promise("f"));
    o.close();
    assert_eq!(o.faults().len(), 3);
}

#[test]
fn only_what_an_early_acknowledgement_leads_to_counts_as_a_loss() {
    let losses = [Kind::Double, Kind::Changed, Kind::Forgotten, Kind::Lost, Kind::Constraints];
    assert!(losses.iter().all(|k| k.is_loss()));
    let others = [Kind::Silent, Kind::Unready, Kind::Room, Kind::Missed, Kind::Denied, Kind::Fate, Kind::Rig];
    assert!(others.iter().all(|k| !k.is_loss()));
}

#[test]
fn no_honest_request_may_be_refused_and_hardly_any_left_without_an_answer() {
    let denied = refused("balance-short");
    let of = |won, refused, silent| {
        let mut o = Oracle::default();
        (0..won).for_each(|_| o.honest(&promise("x")));
        (0..refused).for_each(|_| o.honest(&denied));
        (0..silent).for_each(|_| o.honest(&Answer::Nothing));
        o.honest_counts().is_ok()
    };
    assert!(of(1, 0, 0) && of(199, 0, 1));
    assert!(!of(0, 0, 0) && !of(10_000, 1, 0) && !of(100, 0, 1) && !of(0, 0, 5));
}
