//! What one slot has once, and what its block can hold.

use super::*;
use crate::BlockLimits;

/// Whatever runs before a sender with code can call that code and use up its nonce.
#[test]
fn the_very_top_of_a_slot_is_promised_once_whoever_asks_for_it() {
    let mut b = Book::new();
    let coded = |slot, sender| Ask { has_code: true, ..ask(slot, sender, 0) }.checked();
    let authorizes = |slot, sender, of| Ask { authorities: vec![(of, 0)], ..ask(slot, sender, 0) }.checked();
    let taken = |n| Verdict::Exhausted(Shortage::Slot { key: slot(n), pool: Pool::Top, left: 0 });
    assert_eq!((b.put(coded(100, 1)), b.index.room(&slot(100)).top), (Verdict::New, 0));
    assert_eq!(b.put(coded(100, 2)), taken(100), "another sender with code");
    assert_eq!(b.put(authorizes(100, 3, 3)), taken(100), "one that gives itself code");
    assert_eq!(b.put(authorizes(100, 3, 4)), taken(100), "one that gives another code");
    assert_eq!(b.put(coded(100, 1)), Verdict::Same(1), "what was said is said again");
    assert_eq!(b.put(ask(100, 5, 0).checked()), Verdict::New, "anywhere there is room");
    assert_eq!((b.put(coded(101, 2)), b.put(authorizes(102, 3, 4))), (Verdict::New, Verdict::New), "other slots");
    b.index.settle(1, kept());
    assert_eq!(b.put(coded(100, 6)), taken(100), "settling gives nothing of a slot back");
}

/// Voiding a promise by its nonce costs nothing: an account that did so with every top would leave none.
#[test]
fn an_account_without_a_deposit_gets_the_top_of_every_second_slot_at_most_and_one_with_a_deposit_of_all() {
    let mut b = Book::new();
    // An account without code, that authorizes fresh keys: it need not be alone.
    let tops =
        |slot, nonce, key, deposited| Ask { deposited, authorities: vec![(key, 0)], ..ask(slot, 1, nonce) }.checked();
    let kept = |n| Verdict::Exhausted(Shortage::Slot { key: slot(n), pool: Pool::UnsecuredTop, left: 0 });
    assert_eq!(b.put(tops(101, 0, 10, false)), kept(101));
    assert_eq!(b.put(tops(102, 0, 10, false)), Verdict::New);
    assert_eq!(b.put(tops(103, 1, 11, false)), kept(103), "whatever it holds already");
    assert_eq!(b.put(tops(104, 1, 11, false)), Verdict::New);
    let rooms = [101, 102, 105, 106].map(|n| b.index.room(&slot(n)));
    assert_eq!(rooms.map(|r| (r.top, r.unsecured_top)), [(1, 0), (0, 0), (1, 0), (1, 1)]);
    let taken = Verdict::Exhausted(Shortage::Slot { key: slot(104), pool: Pool::Top, left: 0 });
    assert_eq!(b.put(tops(104, 2, 12, false)), taken, "what is taken is told as taken");
    // Where it need not stand at the top it has its share of every slot.
    assert_eq!(b.put(Ask { deposited: false, ..ask(101, 2, 0) }.checked()), Verdict::New);
    for (n, sender) in [(101, 3), (103, 4), (106, 5)] {
        assert_eq!(b.put(Ask { has_code: true, ..ask(n, sender, 0) }.checked()), Verdict::New, "{n}: with a deposit");
    }
    assert_eq!(b.index.room(&slot(106)).unsecured_top, 0, "there is no top left for anybody");
}

#[test]
fn a_room_ends_where_the_block_does_and_the_unsecured_have_their_share_of_what_is_left() {
    let mut b = Book::new();
    b.index.limits = RoomLimits { gas: 200_000_000, blobs: 50, bytes: 90_000, ..config().room };
    let size = ask(100, 1, 0).facts().size as u64;
    let block = BlockLimits { gas: 63_000, blobs: 3, bytes: 3 * size };
    let put = |b: &mut Book, a: Ask, block: &BlockLimits| {
        let verdict = b.index.decide_within(&a.checked(), 0, Some(block)).unwrap();
        if verdict == Verdict::New {
            assert_eq!(b.put(a.checked()), Verdict::New, "the configured room has more");
        }
        verdict
    };
    let short = |pool, left| Verdict::Exhausted(Shortage::Slot { key: slot(100), pool, left });
    let room = b.index.room_within(&slot(100), Some(&block));
    assert_eq!([room.gas_total, room.gas, room.unsecured_gas], [63_000, 63_000, 31_500]);
    assert_eq!([room.blobs, room.unsecured_blobs, room.bytes, room.unsecured_bytes], [3, 1, 3 * size, 3 * size / 2]);
    let unsecured = |sender| Ask { deposited: false, ..ask(100, sender, 0) };
    assert_eq!(put(&mut b, unsecured(1), &block), Verdict::New);
    let roomy = BlockLimits { bytes: u64::MAX, ..block };
    assert_eq!(put(&mut b, unsecured(2), &roomy), short(Pool::UnsecuredGas, 10_500));
    let wide = BlockLimits { gas: u64::MAX, ..block };
    assert_eq!(put(&mut b, unsecured(2), &wide), short(Pool::UnsecuredBytes, 3 * size / 2 - size));
    assert_eq!(put(&mut b, ask(100, 2, 0), &block), Verdict::New);
    assert_eq!(put(&mut b, Ask { gas: 21_001, ..ask(100, 3, 0) }, &block), short(Pool::Gas, 21_000));
    assert_eq!(put(&mut b, Ask { padding: 1, ..ask(100, 3, 0) }, &block), short(Pool::Bytes, size));
    let none = BlockLimits { blobs: 0, bytes: u64::MAX, ..block };
    assert_eq!(put(&mut b, Ask { blob: true, ..ask(100, 3, 0) }, &none), short(Pool::Blobs, 0));
    assert_eq!(put(&mut b, ask(100, 3, 0), &block), Verdict::New, "exactly what the block can hold");
    // A block that shrank below what is promised takes nothing more.
    let smaller = BlockLimits { gas: 30_000, ..block };
    assert_eq!(b.index.room_within(&slot(100), Some(&smaller)).gas, 0);
    assert_eq!(
        put(&mut b, Ask { gas: 1, ..ask(100, 4, 0) }, &BlockLimits { bytes: u64::MAX, ..smaller }),
        short(Pool::Gas, 0)
    );
    assert_eq!(put(&mut b, Ask { gas: 1, ..ask(101, 4, 0) }, &smaller), Verdict::New, "each slot has its own");
}
