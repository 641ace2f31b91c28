//! Refusals that were doctored: only those are fair for which clients themselves see the reason.

use super::{
    tests::{asked, contested, found, promise, refused},
    *,
};
use tandem_journal::RoomLimits;
use tandem_types::SlotClock;

const ROOM: RoomLimits = RoomLimits { gas: 84_000, unsecured_percent: 50, blobs: 2, bytes: 1_000, count: 10 };
/// In the middle of slot 7: slot 9 is open, its cut-off far, and no host that came back now is blind to it.
const EARLY: u64 = 1_000_000 + 7 * 12_000 + 6_000;
/// Past the cut-off of slot 9.
const LATE: u64 = 1_000_000 + 9 * 12_000;

fn clock() -> SlotClock {
    SlotClock::real(1_000, 12)
}
fn oracle() -> Oracle {
    Oracle::with(Terms { room: ROOM, clock: clock() })
}
/// What is found where this is not answered, and then refused so at some time.
fn after_silence(o: &mut Oracle, a: &Asked, code: &str, at_ms: u64) -> (Vec<Kind>, usize) {
    o.take_at(a.clone(), Answer::Nothing, EARLY);
    o.take_at(a.clone(), refused(code), at_ms);
    (found(o), o.unanswered().len())
}

#[test]
fn a_request_without_an_answer_may_be_too_late_past_its_cut_off_only() {
    for code in ["closed", "slot-closed", "slot-closing", "slot-past"] {
        let a = asked(1, 0, 9, 1);
        assert_eq!(after_silence(&mut oracle(), &a, code, LATE), (vec![], 0), "{code}");
        assert_eq!(after_silence(&mut oracle(), &a, code, EARLY), (vec![Kind::Denied], 0), "{code}");
    }
}

#[test]
fn no_code_that_is_not_named_clears_a_request_without_an_answer() {
    let unfair = [
        "halted",
        "journal",
        "journal-halted",
        "not-signed",
        "fee-too-low",
        "tip-too-low",
        "bad-transaction",
        "internal",
        "slots-missed",
        "host-stopping",
        "-32000 whatever",
    ];
    for code in unfair {
        for a in [asked(1, 0, 9, 1), contested(1, 0, 9, 1)] {
            assert_eq!(after_silence(&mut oracle(), &a, code, LATE), (vec![Kind::Denied], 0), "{code}");
        }
        let mut o = oracle();
        o.take_at(asked(1, 0, 9, 1), refused(code), LATE);
        assert_eq!(found(&o), [Kind::Denied], "{code}, also where it is the first answer");
    }
}

#[test]
fn want_of_room_is_a_reason_only_where_what_clients_hold_or_may_hold_fills_the_slot() {
    for code in ["slot-full", "exhausted"] {
        let mut o = oracle();
        assert_eq!(after_silence(&mut o, &asked(9, 0, 9, 9), code, EARLY).0, [Kind::Denied], "{code}: it is empty");
        let mut o = oracle();
        o.take_at(asked(1, 0, 9, 1), promise("x"), EARLY);
        o.asking(&asked(2, 0, 9, 2));
        assert_eq!(after_silence(&mut o, &asked(9, 0, 9, 9), code, EARLY), (vec![], 0), "{code}: two of 42,000 gas");
        let other = after_silence(&mut o, &asked(9, 0, 10, 9), code, EARLY);
        assert_eq!(other.0, [Kind::Denied], "{code}: another slot is empty");
    }
    let blob = |sender, tx| Asked { blobs: 1, ..asked(sender, 0, 9, tx) };
    let mut o = oracle();
    o.take_at(blob(1, 1), promise("x"), EARLY);
    assert_eq!(after_silence(&mut o, &blob(2, 2), "slot-full", EARLY), (vec![], 0), "the one blob of the half");
    assert_eq!(after_silence(&mut o, &asked(3, 0, 9, 3), "slot-full", EARLY).0, [Kind::Denied], "it takes no blob");
}

#[test]
fn want_of_money_is_a_reason_only_where_the_senders_promises_leave_too_little() {
    let poor = |nonce, tx| Asked { purse: Some(Purse { has: 25, cost: 10 }), secured: true, ..asked(1, nonce, 9, tx) };
    let mut o = oracle();
    o.take_at(poor(0, 1), promise("a"), EARLY);
    assert_eq!(after_silence(&mut o, &poor(1, 2), "balance-short", EARLY).0, [Kind::Denied], "10 and 10 of 25");
    let mut o = oracle();
    o.take_at(poor(0, 1), promise("a"), EARLY);
    o.take_at(poor(1, 2), promise("b"), EARLY);
    assert_eq!(after_silence(&mut o, &poor(2, 3), "balance-short", EARLY), (vec![], 0));
    assert_eq!(o.penniless(), 1);
    assert_eq!(after_silence(&mut o, &asked(2, 0, 9, 9), "balance-short", EARLY).0, [Kind::Denied], "a rich one");
    assert_eq!(o.penniless(), 1);

    // A promise beyond it is more than there is.
    let mut o = oracle();
    o.take_at(poor(0, 1), promise("a"), EARLY);
    o.take_at(poor(1, 2), promise("b"), EARLY);
    assert!(o.faults().is_empty());
    o.take_at(poor(2, 3), promise("c"), EARLY);
    assert_eq!(found(&o), [Kind::Room]);
}

#[test]
fn a_full_slot_is_no_want_of_money_and_an_empty_purse_no_want_of_room() {
    // Two of 42,000 gas: full. A rich sender is short of nothing there, nor one with money for this one.
    let full = || {
        let mut o = oracle();
        o.take_at(asked(2, 0, 9, 2), promise("x"), EARLY);
        o.take_at(asked(3, 0, 9, 3), promise("y"), EARLY);
        o
    };
    let purse = |has| Some(Purse { has, cost: 10 });
    for (a, code, kinds) in [
        (asked(9, 0, 9, 9), "balance-short", vec![Kind::Denied]),
        (Asked { purse: purse(10), ..asked(9, 0, 9, 9) }, "balance-short", vec![Kind::Denied]),
        (asked(9, 0, 9, 9), "slot-full", vec![]),
        (asked(9, 0, 9, 9), "exhausted", vec![]),
    ] {
        let mut o = full();
        assert_eq!(after_silence(&mut o, &a, code, EARLY).0, kinds, "{code} {:?}", a.purse);
        assert_eq!(o.penniless(), 0, "{code}");
    }
    // Its money is used up, and the slot has room for more like it.
    for (code, kinds) in [("balance-short", vec![]), ("slot-full", vec![Kind::Denied]), ("exhausted", vec![])] {
        let mut o = oracle();
        let poor = |nonce, tx| Asked { purse: purse(15), secured: true, ..asked(1, nonce, 9, tx) };
        o.take_at(poor(0, 1), promise("a"), EARLY);
        assert_eq!(after_silence(&mut o, &poor(1, 2), code, EARLY).0, kinds, "{code}");
        assert_eq!(o.penniless(), u64::from(code == "balance-short"), "{code}");
    }
}

#[test]
fn taken_is_a_reason_only_where_somebody_asked_for_something_else() {
    let mut o = oracle();
    o.take_at(contested(1, 0, 9, 2), promise("x"), EARLY);
    let first = after_silence(&mut o, &contested(1, 0, 9, 1), "nonce-gap", EARLY);
    assert_eq!(first, (vec![Kind::Denied], 0), "nothing comes before the first nonce");
    for code in ["conflict", "nonce-taken"] {
        assert_eq!(after_silence(&mut oracle(), &asked(1, 0, 9, 1), code, EARLY), (vec![Kind::Denied], 0), "{code}");
        let mut o = oracle();
        o.take_at(contested(1, 0, 9, 2), promise("x"), EARLY);
        assert_eq!(after_silence(&mut o, &contested(1, 0, 9, 1), code, EARLY), (vec![], 0), "{code}");
        o.close();
        assert!(o.faults().is_empty());
    }
}

#[test]
fn a_gap_is_a_reason_also_where_the_nonce_before_is_promised_for_slots_that_are_over_only() {
    let in_slot = |n: u64| 1_000_000 + n * 12_000 + 6_000;
    let after = |before: &[u64], at_ms| {
        let mut o = oracle();
        for slot in before {
            o.take_at(asked(1, 0, *slot, 1), promise("x"), EARLY);
        }
        let next = Asked { slot: 12, ..asked(1, 1, 12, 99) };
        let found = after_silence(&mut o, &next, "nonce-gap", at_ms).0;
        found.contains(&Kind::Denied)
    };
    assert!(!after(&[9], in_slot(10)), "slot 9 is over; the chain must show that it was in no block");
    assert!(after(&[9], in_slot(9)), "it runs");
    assert!(after(&[9, 11], in_slot(10)), "the same is promised for slot 11, too");
    assert!(after(&[], in_slot(10)), "nothing is promised before");
}

#[test]
fn a_used_nonce_is_a_reason_only_where_an_earlier_slots_promise_used_it() {
    let two_slots = |first: Option<u64>| {
        let mut o = oracle();
        if let Some(slot) = first {
            o.take_at(asked(1, 0, slot, 1), promise("x"), EARLY);
        }
        assert_eq!(after_silence(&mut o, &asked(1, 0, 10, 1), "nonce-too-low", LATE), (vec![], 0));
        o.close();
        found(&o)
    };
    assert_eq!(two_slots(Some(9)), []);
    assert_eq!(two_slots(Some(11)), [Kind::Denied], "a later slot's promise uses nothing before");
    assert_eq!(two_slots(None), [Kind::Denied]);
}

#[test]
fn expired_is_a_reason_only_below_the_newest_final_slot() {
    let mut o = oracle();
    o.finalized(9);
    assert_eq!(after_silence(&mut o, &asked(1, 0, 9, 1), "expired", LATE), (vec![], 0));
    assert_eq!(after_silence(&mut o, &asked(1, 0, 10, 1), "expired", LATE).0, [Kind::Denied]);
}

#[test]
fn a_host_that_starts_is_asked_again_and_must_answer_in_the_end() {
    let a = asked(1, 0, 9, 1);
    assert_eq!(after_silence(&mut oracle(), &a, "host-starting", EARLY), (vec![Kind::Denied], 0), "slot 9 is far");
    let in_slot_8 = EARLY + 12_000;
    let mut o = oracle();
    assert_eq!(after_silence(&mut o, &a, "host-starting", in_slot_8), (vec![], 1), "it is asked again");
    let mut never = oracle();
    after_silence(&mut never, &a, "host-starting", in_slot_8);
    never.close();
    assert_eq!(found(&never), [Kind::Silent]);
    o.take_at(a, promise("x"), in_slot_8);
    o.close();
    assert!(o.faults().is_empty());
}

#[test]
fn a_wallet_is_refused_for_no_reason() {
    let mut o = oracle();
    let a = asked(1, 0, 0, 1);
    o.asking(&a);
    o.wallet_answered(&a, None);
    assert!(o.faults().is_empty());
    o.wallet_answered(&a, Some("slot-full"));
    assert_eq!(found(&o), [Kind::Denied]);
}

#[test]
fn promises_for_final_slots_are_spread_over_all_of_them() {
    let mut o = oracle();
    for slot in 1..=20 {
        o.take_at(asked(1, slot, slot, 1), promise("x"), EARLY);
    }
    assert!(o.settled(4).is_empty(), "nobody told what is final");
    o.finalized(12);
    let slots: Vec<u64> = o.settled(4).iter().map(|h| h.asked.slot).collect();
    assert_eq!(slots, [12, 9, 6, 3]);
    assert_eq!(o.settled(100).len(), 12);
}
