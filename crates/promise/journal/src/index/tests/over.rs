//! Promises for slots that are over.

use super::*;

/// The middle of a slot, in unix milliseconds.
fn within(n: u64) -> u64 {
    chain().clock.start_ms(Slot::new(n)) + 6_000
}

#[test]
fn nothing_follows_a_promise_whose_slot_is_over_until_a_block_has_it_or_it_is_promised_again() {
    let gap = |over: Option<u64>| {
        Verdict::Exhausted(Shortage::Nonce { sender: account(1), expected: 5, over: over.map(Slot::new) })
    };
    let follows = |slot| Ask { state_nonce: 5, ..ask(slot, 1, 6) };
    let before = |slot| Ask { state_nonce: 5, ..ask(slot, 1, 5) };
    let mut b = Book::new();
    assert_eq!(b.put(before(100).checked()), Verdict::New);
    b.now = within(100);
    assert_eq!(b.put(follows(104).checked()), Verdict::New, "the slot runs, and its block may come");
    b.now = within(101);
    assert_eq!(b.put(follows(105).checked()), gap(Some(100)), "the state does not have it");
    assert_eq!(b.put(follows(104).checked()), Verdict::Same(2), "what was said is said again");
    // A block has it: the state is above.
    assert_eq!(b.put(Ask { state_nonce: 6, ..ask(106, 1, 6) }.checked()), Verdict::New);
    // It is promised again, and what follows it counts from there on.
    assert_eq!(b.put(follows(105).checked()), gap(Some(100)));
    assert_eq!(b.put(before(103).checked()), Verdict::New);
    assert_eq!(b.put(follows(105).checked()), Verdict::New);
    assert_eq!(b.put(follows(102).checked()), gap(Some(100)), "but not before it");
    b.now = within(104);
    assert_eq!(b.put(follows(107).checked()), gap(Some(103)), "the latest slot that it was promised for");
}

#[test]
fn a_promise_whose_slot_is_over_costs_until_it_is_settled() {
    let mut b = Book::new();
    let costs = |slot, nonce, cost| Ask { cost, balance: 100, ..ask(slot, 1, nonce) }.checked();
    assert_eq!(b.put(costs(100, 0, 60)), Verdict::New);
    assert_eq!(b.put(costs(100, 1, 30)), Verdict::New);
    b.now = within(101);
    // Another proposer may still take it out of the pool.
    let short = Shortage::Balance { sender: account(1), left: U256::from(70) };
    let dearer = Ask { cost: 71, balance: 100, ..ask(103, 1, 0) };
    assert!(matches!(b.put(dearer.checked()), Verdict::Conflict { .. }), "its nonce is not free either");
    b.index.settle(1, kept());
    assert_eq!(b.put(dearer.checked()), Verdict::Exhausted(short));
    b.index.settle(2, kept());
    assert_eq!(b.put(dearer.checked()), Verdict::New);
}
