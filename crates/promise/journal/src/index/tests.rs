mod limits;
mod over;

use super::{Index, decide::Verdict};
use crate::{
    Checked, JournalError, RoomLimits, Shortage,
    testing::{Ask, account, ask, chain, config, constraints, custom, delegation, seal, slot},
};
use alloy_primitives::U256;
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tandem_types::{BlockId, Fate, Pool, ScopeKind, Slot};

struct Book {
    index: Index,
    next: u64,
    /// Unix milliseconds.
    now: u64,
}

impl Book {
    fn new() -> Self {
        Self { index: Index::new(chain().clock, &config()), next: 1, now: 0 }
    }
    fn put(&mut self, c: Checked) -> Verdict {
        let verdict = self.index.decide(&c, self.now).unwrap();
        if verdict == Verdict::New {
            self.index.apply(&Arc::new(c.into_entry(self.next, 0).0)).unwrap();
            self.next += 1;
        }
        verdict
    }
}

fn kept() -> Fate {
    Fate::Kept { block: BlockId::default() }
}

#[test]
fn asking_again_is_the_same_in_whatever_dialect() {
    let mut b = Book::new();
    assert_eq!(b.put(ask(100, 1, 0).checked()), Verdict::New);
    assert_eq!(b.put(ask(100, 1, 0).checked()), Verdict::Same(1));
    let other_dialect = Ask { request: 9, deposited: false, balance: 0, ..ask(100, 1, 0) };
    assert_eq!(b.put(other_dialect.checked()), Verdict::Same(1));
}

#[test]
fn another_transaction_with_the_nonce_conflicts_in_every_slot() {
    let mut b = Book::new();
    b.put(ask(100, 1, 0).checked());
    for slot in [99, 100, 101] {
        let verdict = b.put(ask(slot, 1, 0).variant(1).checked());
        assert!(matches!(verdict, Verdict::Conflict { scope, .. } if scope.kind() == ScopeKind::Sender), "{verdict:?}");
    }
    // The same transaction may be promised for more than one slot.
    assert_eq!(b.put(ask(101, 1, 0).checked()), Verdict::New);
}

#[test]
fn the_order_of_the_decision_is_expired_same_closed_conflict_exhausted() {
    let mut b = Book::new();
    b.put(ask(100, 1, 0).checked());
    let cutoff = chain().clock.cutoff_ms(Slot::new(100));
    let late = |b: &Book, c: &Checked| b.index.decide(c, cutoff).unwrap();
    assert_eq!(late(&b, &ask(100, 1, 0).checked()), Verdict::Same(1));
    // Conflicting, too large and late: closed is said first.
    let all = Ask { gas: u64::MAX, ..ask(100, 1, 0).variant(1) };
    assert_eq!(late(&b, &all.checked()), Verdict::Closed(slot(100)));
    assert!(matches!(b.put(all.checked()), Verdict::Conflict { .. }));
    assert!(matches!(b.put(Ask { gas: 2_000_000, ..ask(100, 2, 0) }.checked()), Verdict::Exhausted(_)));
    b.index.floor = Slot::new(101);
    assert_eq!(b.put(ask(100, 1, 0).checked()), Verdict::Expired(None));
    b.index.settle(1, kept());
    assert_eq!(b.put(ask(100, 1, 0).checked()), Verdict::Expired(Some(kept())));
}

#[test]
fn one_millisecond_before_the_cutoff_is_open_and_at_it_closed() {
    let b = Book::new();
    let cutoff = chain().clock.cutoff_ms(Slot::new(100));
    let c = ask(100, 1, 0).checked();
    assert_eq!(b.index.decide(&c, cutoff - 1).unwrap(), Verdict::New);
    assert_eq!(b.index.decide(&c, cutoff).unwrap(), Verdict::Closed(slot(100)));
}

#[test]
fn a_pool_gives_what_is_left_and_unsecured_senders_get_half() {
    let mut b = Book::new();
    let unsecured = |sender, gas| Ask { gas, deposited: false, ..ask(100, sender, 0) }.checked();
    assert_eq!(b.put(unsecured(1, 400_000)), Verdict::New);
    let short = Shortage::Slot { key: slot(100), pool: Pool::UnsecuredGas, left: 100_000 };
    assert_eq!(b.put(unsecured(2, 100_001)), Verdict::Exhausted(short));
    assert_eq!(b.put(unsecured(2, 100_000)), Verdict::New);
    assert_eq!(b.put(Ask { gas: 500_000, ..ask(100, 3, 0) }.checked()), Verdict::New);
    let short = Shortage::Slot { key: slot(100), pool: Pool::Gas, left: 0 };
    assert_eq!(b.put(ask(100, 4, 0).checked()), Verdict::Exhausted(short));
    assert_eq!(b.put(ask(101, 4, 0).checked()), Verdict::New);
    assert_eq!(b.index.room(&slot(100)).gas, 0);
}

#[test]
fn unsecured_senders_get_half_of_each_pool_and_the_rest_stays_for_the_others() {
    let size = Ask { blob: true, ..ask(100, 1, 0) }.facts().size as u64;
    let room = RoomLimits { gas: 84_000, blobs: 4, bytes: 4 * size, count: 4, ..config().room };
    let wide = RoomLimits { gas: 840_000, blobs: 40, bytes: 40 * size, count: 40, ..room };
    for (limits, pool, all) in [
        (RoomLimits { gas: room.gas, ..wide }, Pool::UnsecuredGas, Pool::Gas),
        (RoomLimits { blobs: room.blobs, ..wide }, Pool::UnsecuredBlobs, Pool::Blobs),
        (RoomLimits { bytes: room.bytes, ..wide }, Pool::UnsecuredBytes, Pool::Bytes),
        (RoomLimits { count: room.count, ..wide }, Pool::UnsecuredCount, Pool::Count),
    ] {
        let mut b = Book::new();
        b.index.limits = limits;
        let one = |sender, deposited| Ask { blob: true, deposited, ..ask(100, sender, 0) }.checked();
        let short = |pool| Verdict::Exhausted(Shortage::Slot { key: slot(100), pool, left: 0 });
        assert_eq!([b.put(one(1, false)), b.put(one(2, false))], [Verdict::New, Verdict::New], "{pool:?}");
        assert_eq!(b.put(one(3, false)), short(pool), "exactly half fits");
        let r = b.index.room(&slot(100));
        let left = [r.unsecured_gas, r.unsecured_blobs, r.unsecured_bytes, r.unsecured_count];
        assert_eq!(left.iter().filter(|l| **l == 0).count(), 1, "{pool:?}: {r:?}");
        assert_eq!([b.put(one(3, true)), b.put(one(4, true))], [Verdict::New, Verdict::New], "{pool:?}");
        assert_eq!(b.put(one(5, true)), short(all));
    }
}

#[test]
fn the_unsecured_share_is_rounded_down_and_follows_the_percentage() {
    let of = |percent, n| {
        let l = RoomLimits { gas: n, unsecured_percent: percent, blobs: n, bytes: n, count: n };
        let share = [Pool::UnsecuredGas, Pool::UnsecuredBlobs, Pool::UnsecuredBytes, Pool::UnsecuredCount];
        let [first, rest @ ..] = share.map(|p| l.of(p));
        assert_eq!(rest, [first; 3], "the same share of each");
        first
    };
    assert_eq!([of(50, 0), of(50, 1), of(50, 2), of(50, 3)], [0, 0, 1, 1]);
    assert_eq!([of(0, 100), of(33, 100), of(100, 100)], [0, 33, 50], "never more than half");
    assert_eq!(of(50, u64::MAX), u64::MAX / 2);
    let tops = |percent, from: u64| {
        let l = RoomLimits { unsecured_percent: percent, ..config().room };
        (from..from + 100).map(|n| l.at(Pool::UnsecuredTop, Slot::new(n))).sum::<u64>()
    };
    for (percent, from) in [(0, 0), (1, 7), (33, 51), (49, 0), (50, 0), (50, 1)] {
        assert_eq!(tops(percent, from), percent, "of any hundred slots, from {from}");
    }
    assert_eq!(tops(100, 0), 50, "never more than half");
    assert_eq!(config().room.at(Pool::UnsecuredTop, Slot::new(u64::MAX)), 0, "an odd one");
}

#[test]
fn nonces_have_no_gaps_up_to_the_slot() {
    let mut b = Book::new();
    let gap = |expected| Verdict::Exhausted(Shortage::Nonce { sender: account(1), expected, over: None });
    assert_eq!(b.put(ask(100, 1, 1).checked()), gap(0));
    assert_eq!(b.put(ask(102, 1, 0).checked()), Verdict::New);
    // Nonce 0 is promised for a later slot than this one.
    assert_eq!(b.put(ask(101, 1, 1).checked()), gap(0));
    assert_eq!(b.put(ask(102, 1, 1).checked()), Verdict::New);
    assert_eq!(b.put(ask(103, 1, 3).checked()), gap(2));
    let used = Ask { state_nonce: 3, ..ask(103, 1, 2) };
    assert_eq!(b.put(used.checked()), gap(3));
}

#[test]
fn all_promises_of_a_sender_together_cost_at_most_its_balance() {
    let mut b = Book::new();
    let costs = |slot, nonce, cost| Ask { cost, balance: 100, ..ask(slot, 1, nonce) }.checked();
    assert_eq!(b.put(costs(100, 0, 60)), Verdict::New);
    // The same transaction for another slot costs once.
    assert_eq!(b.put(costs(101, 0, 60)), Verdict::New);
    let short = Shortage::Balance { sender: account(1), left: U256::from(40) };
    assert_eq!(b.put(costs(101, 1, 41)), Verdict::Exhausted(short));
    assert_eq!(b.put(costs(101, 1, 40)), Verdict::New);
}

#[test]
fn a_sender_with_code_or_an_authority_is_promised_once_over_all_slots() {
    let mut b = Book::new();
    let coded = |slot, nonce| Ask { has_code: true, ..ask(slot, 1, nonce) }.checked();
    assert_eq!(b.put(coded(100, 0)), Verdict::New);
    let alone = |v: Verdict| matches!(v, Verdict::Conflict { scope, .. } if scope.kind() == ScopeKind::Delegated);
    assert!(alone(b.put(coded(101, 0))), "the same transaction for another slot is another promise");
    assert!(alone(b.put(ask(101, 1, 1).checked())), "nor may one follow that sees no code");
    // In a slot of its own: each has one top.
    let authorizes = |sender, authority| Ask { authorities: vec![(authority, 5)], ..ask(102, sender, 0) }.checked();
    assert!(alone(b.put(authorizes(2, 1))), "nor may another's transaction change its code");
    assert_eq!(b.put(authorizes(2, 3)), Verdict::New);
    assert!(alone(b.put(ask(100, 3, 1).checked())), "an authority of a promise gets none of its own");
    b.index.settle(1, kept());
    let after = Ask { state_nonce: 1, ..ask(101, 1, 1) };
    assert_eq!(b.put(after.checked()), Verdict::New);
}

#[test]
fn a_senders_scope_is_released_when_all_its_slots_are_settled_and_a_slots_never() {
    let mut b = Book::new();
    b.put(ask(100, 1, 0).checked());
    b.put(ask(101, 1, 0).checked());
    let other = |slot| ask(slot, 1, 0).variant(1).checked();
    b.index.settle(1, kept());
    assert!(matches!(b.put(other(102)), Verdict::Conflict { .. }), "slot 101 is not settled");
    b.index.settle(2, kept());
    assert_eq!(b.put(other(102)), Verdict::New);
    let verdict = b.put(other(101));
    assert!(matches!(verdict, Verdict::Conflict { scope, .. } if scope.kind() == ScopeKind::SlotSender), "{verdict:?}");
    assert_eq!(b.put(ask(100, 1, 0).checked()), Verdict::Same(1), "until the floor");
}

#[test]
fn a_seal_lists_exactly_what_is_recorded_and_closes_the_slot() {
    let mut b = Book::new();
    b.put(ask(100, 1, 0).checked());
    b.put(ask(100, 2, 0).checked());
    let right = b.index.seal_items(&slot(100));
    assert_eq!(right.iter().map(|i| i.seq).collect::<Vec<_>>(), [1, 2]);
    let reversed: Vec<_> = right.iter().rev().copied().collect();
    for wrong in [vec![], right[..1].to_vec(), reversed] {
        match b.index.decide(&seal(100, wrong), 0) {
            Err(JournalError::SealStale { current, .. }) => assert_eq!(current, right),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(b.put(seal(100, right.clone())), Verdict::New);
    assert_eq!(b.put(ask(100, 3, 0).checked()), Verdict::Closed(slot(100)));
    assert_eq!(b.put(ask(100, 1, 0).checked()), Verdict::Same(1));
    assert_eq!(b.put(seal(100, right)), Verdict::Same(3));
    assert!(matches!(b.put(seal(100, vec![])), Verdict::Conflict { .. }));
}

#[test]
fn constraints_ask_for_exactly_what_is_sealed_in_whatever_order() {
    let mut b = Book::new();
    let txs: Vec<(u64, alloy_primitives::Bytes)> = [ask(100, 1, 0), ask(100, 2, 0), ask(100, 3, 0)]
        .map(|a| {
            let c = a.checked();
            b.put(c.clone());
            let tandem_types::Body::Inclusion(p) = c.body else { panic!() };
            (1, p.tx)
        })
        .into();
    let refused = |b: &Book, txs: &[(u64, alloy_primitives::Bytes)]| match b.index.decide(&constraints(100, txs), 0) {
        Err(JournalError::NotFromSeal { kind: "constraints", .. }) => true,
        other => panic!("{other:?}"),
    };
    assert!(refused(&b, &txs), "before the seal");
    b.put(seal(100, b.index.seal_items(&slot(100))));
    let doubled = [&txs[..2], &txs[..1]].concat();
    let more = [&txs[..], &[(1, vec![2, 9].into())]].concat();
    let other_kind = [&txs[..2], &[(2, txs[2].1.clone())]].concat();
    for wrong in [&txs[..0], &txs[..2], &doubled[..], &more[..], &other_kind[..]] {
        assert!(refused(&b, wrong));
    }
    let reversed: Vec<_> = txs.iter().rev().cloned().collect();
    assert_eq!(b.put(constraints(100, &reversed)), Verdict::New);
    assert_eq!(b.put(constraints(100, &reversed)), Verdict::Same(5));
    assert!(matches!(b.put(constraints(100, &txs)), Verdict::Conflict { .. }), "one message, once it is said");
}

#[test]
fn a_modules_statement_holds_its_scope_for_ever() {
    let mut b = Book::new();
    assert_eq!(b.put(custom(Some("a"), 1)), Verdict::New);
    assert_eq!(b.put(custom(Some("a"), 1)), Verdict::Same(1));
    assert!(matches!(b.put(custom(Some("a"), 2)), Verdict::Conflict { .. }));
    assert_eq!(b.put(custom(None, 2)), Verdict::New);
    assert_eq!(b.put(custom(None, 2)), Verdict::Same(2), "without a scope the same words are still one record");
    b.index.watermarked = true;
    assert_eq!(b.put(custom(Some("a"), 1)), Verdict::Same(1));
    assert_eq!(b.put(custom(Some("b"), 1)), Verdict::Expired(None), "nobody knows what the lost journal said");
}

#[test]
fn what_lies_far_below_the_floor_is_forgotten_once_it_is_settled() {
    let mut b = Book::new();
    b.put(ask(100, 1, 0).checked());
    b.put(ask(100, 2, 0).checked());
    b.put(seal(100, b.index.seal_items(&slot(100))));
    b.index.settle(1, kept());
    b.index.floor = Slot::new(200);
    assert_eq!(b.index.forget(Slot::new(101), u64::MAX), 2, "the settled promise and the seal");
    assert_eq!(b.index.oldest_seq(), Some(2), "an unsettled promise is remembered");
    b.index.settle(2, kept());
    assert_eq!(b.index.forget(Slot::new(101), u64::MAX), 1);
    assert_eq!(b.index.oldest_seq(), None);
    let empty = Index::new(chain().clock, &config());
    let sizes =
        |i: &Index| (i.scopes.len(), i.books.len(), i.by_tx.len(), i.by_request.len(), i.fates.len(), i.by_slot.len());
    assert_eq!(sizes(&b.index), sizes(&empty), "nothing is left behind");
    assert_eq!(b.put(ask(100, 1, 0).checked()), Verdict::Expired(None));
}

#[test]
fn a_delegation_is_remembered_as_long_as_a_promise_of_its_slot() {
    let mut b = Book::new();
    b.put(delegation(100));
    b.put(ask(100, 1, 0).checked());
    b.put(seal(100, b.index.seal_items(&slot(100))));
    b.index.floor = Slot::new(200);
    assert_eq!(b.index.forget(Slot::new(101), u64::MAX), 1, "the seal alone");
    assert!(b.index.delegation(&slot(100)).is_some());
    b.index.settle(2, kept());
    assert_eq!(b.index.forget(Slot::new(101), u64::MAX), 2);
    assert!(b.index.delegation(&slot(100)).is_none() && b.index.oldest_seq().is_none());
}

#[test]
fn nothing_is_promised_while_a_lost_promise_may_hold() {
    let mut b = Book::new();
    (b.index.floor, b.index.withheld) = (Slot::new(200), Slot::new(200));
    let withheld = |b: &Book, c: &Checked| matches!(b.index.decide(c, 0), Err(JournalError::Withheld { .. }));
    assert!(withheld(&b, &ask(200, 1, 0).checked()), "another may have the nonce below");
    assert_eq!(b.put(ask(199, 1, 0).checked()), Verdict::Expired(None));
    assert_eq!(b.put(delegation(201)), Verdict::New, "what belongs to a slot of its own is said");
    assert_eq!(b.put(seal(202, vec![])), Verdict::New);
    b.index.withheld = Slot::new(0);
    assert_eq!(b.put(ask(200, 1, 0).checked()), Verdict::New);
    b.index.withheld = Slot::new(200);
    assert_eq!(b.put(ask(200, 1, 0).checked()), Verdict::Same(3), "what was said is said again");
}

// ── The decision against a reference that looks through all records each time ──────────────────────

#[derive(Clone, Debug)]
enum Step {
    Ask(Ask),
    Settle(u64),
    Seal(u64),
    /// The next slot begins.
    Tick,
}

/// The slot that runs at first.
const FIRST: u64 = 98;

fn asks() -> impl Strategy<Value = Ask> {
    let who = (100..104u64, 1..4u8, 0..4u64, 0..2u8);
    let what = (prop::bool::weighted(0.1), any::<bool>(), prop_oneof![Just(21_000u64), Just(300_000)]);
    let seen = (0..3u64, prop_oneof![Just(25u64), Just(1_000)]);
    let authorities = prop::collection::vec((1..5u8, 0..2u64), 0..2);
    (who, what, seen, authorities, prop::bool::weighted(0.15)).prop_map(|(who, what, seen, authorities, delegates)| {
        Ask {
            variant: who.3,
            has_code: what.0,
            deposited: what.1,
            gas: what.2,
            state_nonce: seen.0,
            balance: seen.1,
            authorities: if delegates { authorities } else { Vec::new() },
            ..ask(who.0, who.1, who.2)
        }
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        20 => asks().prop_map(Step::Ask),
        3 => (1..30u64).prop_map(Step::Settle),
        1 => (100..104u64).prop_map(Step::Seal),
        1 => Just(Step::Tick),
    ];
    prop::collection::vec(one, 1..80)
}

#[derive(Default)]
struct Reference {
    records: BTreeMap<u64, Ask>,
    settled: BTreeSet<u64>,
    sealed: BTreeSet<u64>,
    /// Slots that began since the first.
    ticks: u64,
}

impl Reference {
    fn now(&self) -> u64 {
        FIRST + self.ticks
    }
    fn involved(a: &Ask) -> Vec<(u8, u64)> {
        let mut all = vec![(a.sender, a.nonce)];
        all.extend(a.authorities.iter().filter(|x| x.0 != a.sender));
        all
    }
    fn alone(a: &Ask) -> BTreeSet<u8> {
        let self_alone = a.has_code || a.authorities.iter().any(|x| x.0 == a.sender);
        let others = a.authorities.iter().map(|x| x.0).filter(|x| *x != a.sender);
        others.chain(self_alone.then_some(a.sender)).collect()
    }
    fn open(&self) -> impl Iterator<Item = &Ask> {
        self.records.iter().filter(|(s, _)| !self.settled.contains(s)).map(|(_, a)| a)
    }
    fn word(&self, a: &Ask) -> &'static str {
        let hash = |a: &Ask| a.facts().hash;
        if self.records.values().any(|r| r.slot == a.slot && hash(r) == hash(a)) {
            return "same";
        }
        if self.sealed.contains(&a.slot) || a.slot <= self.now() {
            return "closed";
        }
        let touches = |r: &Ask| Self::involved(r).iter().any(|i| Self::involved(a).contains(i));
        let over_all_slots = self.open().any(|r| hash(r) != hash(a) && touches(r));
        let in_the_slot = self.records.values().any(|r| r.slot == a.slot && hash(r) != hash(a) && touches(r));
        let names = |r: &Ask| -> BTreeSet<u8> { Self::involved(r).iter().map(|i| i.0).collect() };
        let not_alone =
            self.open().any(|r| !names(r).is_disjoint(&Self::alone(a)) || !names(a).is_disjoint(&Self::alone(r)));
        if over_all_slots || in_the_slot || not_alone {
            return "conflict";
        }
        if self.fits(a) { "new" } else { "exhausted" }
    }
    fn fits(&self, a: &Ask) -> bool {
        let room = config().room;
        let in_slot = || self.records.values().filter(|r| r.slot == a.slot);
        let gas: u64 = in_slot().map(|r| r.gas).sum::<u64>() + a.gas;
        let loose = || in_slot().filter(|r| !r.deposited).chain([a]);
        let halves = [
            (loose().map(|r| r.gas).sum::<u64>(), room.gas),
            (loose().map(|r| r.facts().size as u64).sum(), room.bytes),
            (loose().count() as u64, room.count),
        ];
        let own = || self.open().filter(|r| r.sender == a.sender);
        // A slot that is over takes nothing any more.
        let promised = |n: u64| own().any(|r| r.nonce == n && r.slot <= a.slot && r.slot >= self.now());
        let mut costs: BTreeMap<u64, u64> =
            own().filter(|r| r.nonce >= a.state_nonce).map(|r| (r.nonce, r.cost)).collect();
        costs.insert(a.nonce, a.cost);
        let top = |r: &Ask| r.has_code || !r.authorities.is_empty();
        in_slot().count() < room.count as usize
            && !(top(a) && in_slot().any(top))
            && (a.deposited || !top(a) || a.slot.is_multiple_of(2))
            && gas <= room.gas
            && (a.deposited || halves.iter().all(|(used, all)| *used <= all / 2))
            && a.nonce >= a.state_nonce
            && (a.state_nonce..a.nonce).all(promised)
            && costs.values().sum::<u64>() <= a.balance
    }
}

const fn word(v: &Verdict) -> &'static str {
    match v {
        Verdict::Expired(_) => "expired",
        Verdict::Same(_) | Verdict::Again(_) => "same",
        Verdict::Closed(_) => "closed",
        Verdict::Conflict { .. } => "conflict",
        Verdict::Exhausted(_) => "exhausted",
        Verdict::New => "new",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn the_index_decides_as_a_reference_that_looks_through_everything(steps in steps()) {
        let (mut book, mut reference) = (Book::new(), Reference::default());
        for step in steps {
            book.now = chain().clock.start_ms(Slot::new(reference.now()));
            match step {
                Step::Tick => reference.ticks += 1,
                Step::Ask(a) => {
                    let want = reference.word(&a);
                    let seq = book.next;
                    let got = book.put(a.checked());
                    prop_assert_eq!(word(&got), want, "{:?}", a);
                    if got == Verdict::New {
                        reference.records.insert(seq, a);
                    }
                }
                Step::Settle(of) => {
                    book.index.settle(of, kept());
                    if reference.records.contains_key(&of) {
                        reference.settled.insert(of);
                    }
                }
                Step::Seal(n) => {
                    if book.put(seal(n, book.index.seal_items(&slot(n)))) == Verdict::New {
                        reference.sealed.insert(n);
                    }
                }
            }
        }
    }
}
