//! The oracle's own controls: it finds every limit that is passed, and every answer that is not honest.

use super::{
    fresh_ask,
    oracle::{BALANCE, FIRST_SLOT, Oracle, SLOTS},
};
use crate::{
    Bound, FirstUse, JournalConfig, RoomLimits,
    storage::sim::SimDisk,
    testing::{Ask, Stepped, ask, config, open_with, seal, slot},
};

/// What the oracle thinks each slot has.
const ROOM: RoomLimits = RoomLimits { gas: 1_000_000, unsecured_percent: 50, blobs: 4, bytes: 540, count: 20 };

/// A journal that has more room than that.
fn generous() -> Stepped {
    let room = RoomLimits { gas: 9_000_000, unsecured_percent: 50, blobs: 90, bytes: 90_000, count: 900 };
    open_with(SimDisk::new(1).process(), JournalConfig { room, ..config() }, FirstUse::Yes).unwrap()
}

fn bind(s: &mut Stepped, asked: &Ask) -> Bound {
    let ticket = s.journal.submit(asked.checked(), None).unwrap();
    assert!(s.writer.step());
    ticket.poll().unwrap().unwrap()
}

/// Promises so many to senders of their own, and what the oracle says to the last but one and to the last.
fn promised(n: u8, each: impl Fn(Ask) -> Ask) -> (Result<(), String>, String) {
    let (oracle, mut s) = (Oracle::new(ROOM), generous());
    let mut before = Ok(());
    for i in 0..n {
        before = oracle.limits(&s);
        let asked = each(ask(FIRST_SLOT, i + 1, 0));
        assert!(matches!(bind(&mut s, &asked), Bound::New(_)), "{asked:?}");
    }
    (before, oracle.limits(&s).err().unwrap_or_default())
}

#[test]
fn the_oracle_finds_every_pool_and_every_balance_that_is_overdrawn() {
    let secured = |a: Ask| Ask { deposited: true, ..a };
    let unsecured = |a: Ask| Ask { deposited: false, ..a };
    let gas = |a: Ask| Ask { gas: 100_000, ..a };
    let blob = |a: Ask| Ask { blob: true, gas: 1, ..a };
    // A transaction has 27 bytes.
    let longer = |a: Ask| Ask { padding: 14, gas: 1, ..a };
    let small = |a: Ask| Ask { gas: 1, ..a };
    let room = |got: (Result<(), String>, String), what: &str| {
        assert_eq!(got.0, Ok(()), "{what}");
        assert!(got.1.starts_with(&format!("slot {FIRST_SLOT} promised {what}")), "{got:?}, not {what}");
    };
    room(promised(11, |a| secured(gas(a))), "1100000 gas");
    room(promised(6, |a| unsecured(gas(a))), "600000 unsecured gas");
    room(promised(5, |a| secured(blob(a))), "5 blobs");
    room(promised(3, |a| unsecured(blob(a))), "3 unsecured blobs");
    room(promised(14, |a| secured(longer(a))), "574 bytes");
    room(promised(7, |a| unsecured(longer(a))), "287 unsecured bytes");
    let more = |n, each: &dyn Fn(Ask) -> Ask| {
        let roomy = RoomLimits { bytes: 10_000, ..ROOM };
        let (oracle, mut s) = (Oracle::new(roomy), generous());
        (1..=n).for_each(|i| drop(bind(&mut s, &each(ask(FIRST_SLOT, i, 0)))));
        (oracle.limits(&s).err().unwrap_or_default(), s.journal.health().records)
    };
    assert_eq!(more(20, &|a| secured(small(a))), (String::new(), 20));
    assert_eq!(more(21, &|a| secured(small(a))).0, "slot 100 promised 21 promises of 20");
    assert_eq!(more(10, &|a| unsecured(small(a))), (String::new(), 10));
    assert_eq!(more(11, &|a| unsecured(small(a))).0, "slot 100 promised 11 unsecured promises, the whole is 20");

    // Two nonces in two slots, each within the balance, and the same one twice.
    let (oracle, mut s) = (Oracle::new(ROOM), generous());
    let rich = |slot, nonce| Ask { cost: 600, balance: 10 * BALANCE, ..ask(slot, 1, nonce) };
    assert!(matches!(bind(&mut s, &rich(FIRST_SLOT, 0)), Bound::New(_)));
    assert!(matches!(bind(&mut s, &rich(FIRST_SLOT + 1, 0)), Bound::New(_)));
    assert_eq!(oracle.limits(&s), Ok(()));
    assert!(matches!(bind(&mut s, &rich(FIRST_SLOT + 2, 1)), Bound::New(_)));
    assert!(oracle.limits(&s).unwrap_err().ends_with("was promised what costs 1200"));
}

/// An oracle that was told of one promise, and its journal.
fn told() -> (Oracle, Stepped, Ask) {
    let (mut oracle, mut s, asked) = (Oracle::new(ROOM), generous(), ask(FIRST_SLOT, 1, 0));
    let bound = bind(&mut s, &asked);
    oracle.acknowledged(&asked, bound).unwrap();
    (oracle, s, asked)
}

#[test]
fn the_oracle_finds_an_answer_that_is_not_repeated() {
    let (mut oracle, mut s, asked) = told();
    let again = oracle.ask_again(&mut s, fresh_ask(0)).unwrap();
    assert_eq!((again.going, again.same), (true, 1));
    let lost = |e: Result<_, String>| e.map(|_: super::oracle::Again| ()).unwrap_err().contains("was acknowledged");
    // Nothing is known of it; another transaction of its sender stands in its place; or another record does.
    assert!(lost(told().0.ask_again(&mut generous(), fresh_ask(0))));
    let mut other = generous();
    bind(&mut other, &asked.clone().variant(1));
    assert!(lost(told().0.ask_again(&mut other, fresh_ask(0))));
    let mut later = generous();
    bind(&mut later, &ask(FIRST_SLOT, 2, 0));
    bind(&mut later, &asked);
    assert!(lost(told().0.ask_again(&mut later, fresh_ask(0))));
    // A sealed slot repeats what it promised.
    s.journal.submit(seal(FIRST_SLOT, s.journal.seal_items(&slot(FIRST_SLOT))), None).unwrap();
    assert_eq!(oracle.ask_again(&mut s, fresh_ask(1)).unwrap().same, 2);
}

#[test]
fn the_oracle_finds_an_honest_ask_that_is_refused() {
    let refused = |asked: Ask, s: &mut Stepped| {
        let mut oracle = Oracle::new(ROOM);
        oracle.unanswered.push(asked);
        oracle.ask_again(s, fresh_ask(0)).map(|again| (again.found, again.anew)).map_err(|e| e.contains("honestly"))
    };
    let asked = ask(FIRST_SLOT, 1, 0);
    assert_eq!(refused(asked.clone(), &mut generous()), Ok((0, 1)), "recorded now");
    let mut recorded = generous();
    bind(&mut recorded, &asked);
    assert_eq!(refused(asked.clone(), &mut recorded), Ok((1, 0)), "recorded before");
    // Another transaction has its nonce; its slot is sealed; its nonce is not the next.
    let mut other = generous();
    bind(&mut other, &asked.clone().variant(1));
    assert_eq!(refused(asked.clone(), &mut other), Err(true));
    let mut sealed = generous();
    sealed.journal.submit(seal(FIRST_SLOT, Vec::new()), None).unwrap();
    assert_eq!(refused(asked, &mut sealed), Err(true));
    assert_eq!(refused(ask(FIRST_SLOT, 1, 1), &mut generous()), Err(true));
    // Nor may a stranger be, nor find that it was there before.
    let mut known = generous();
    bind(&mut known, &fresh_ask(0));
    assert!(Oracle::new(ROOM).ask_again(&mut known, fresh_ask(0)).is_err());
    let mut full = generous();
    full.journal.submit(seal(FIRST_SLOT + SLOTS, Vec::new()), None).unwrap();
    assert!(Oracle::new(ROOM).ask_again(&mut full, fresh_ask(0)).is_err());
}
