//! Lookups that see what waits for its sync, and lookups of slots that nobody heard of.

use super::*;

#[test]
fn who_asks_for_a_promise_that_waits_for_its_sync_is_answered_after_it() {
    let (disk, mut s) = new_disk();
    let a = Ask { request: 9, ..ask(100, 1, 0) };
    let (hash, request) = (a.facts().hash, B256::repeat_byte(9));
    let journal = s.journal.clone();
    assert_eq!(s.run(journal.made_for_tx(hash, None)).unwrap(), None, "nothing is decided");
    s.journal.submit(a.checked(), None).unwrap();
    assert_eq!((s.journal.by_tx(hash, None), s.journal.by_request(request)), (None, None), "it is not shown yet");
    let mut cx = Context::from_waker(Waker::noop());
    let (mut by_tx, mut by_request) =
        (pin!(journal.made_for_tx(hash, Some(Slot::new(100)))), pin!(journal.made_for_request(request)));
    assert!(by_tx.as_mut().poll(&mut cx).is_pending() && by_request.as_mut().poll(&mut cx).is_pending());
    assert_eq!(s.run(journal.made_for_tx(hash, Some(Slot::new(101)))).unwrap(), None, "another slot's");
    assert!(s.writer.step());
    let first = s.journal.by_seq(1);
    assert!(first.is_some());
    assert_eq!(s.run(by_tx).unwrap(), first);
    assert_eq!(s.run(by_request).unwrap(), first);

    let lost = ask(100, 2, 0);
    s.journal.submit(lost.checked(), None).unwrap();
    disk.set_faults(Faults { failing_syncs: 100, ..Faults::default() });
    assert!(matches!(s.run(journal.made_for_tx(lost.facts().hash, None)), Err(JournalError::Halted(_))));
    assert_eq!(s.run(journal.made_for_tx(hash, None)).unwrap(), first, "what is durable is told all the same");
}

#[test]
fn looking_at_made_up_slots_leaves_nothing_behind() {
    let (_disk, mut s) = new_disk();
    let slots = |s: &Stepped| s.journal.0.shared.state.lock().views.slots.len();
    for n in 1_000..2_000 {
        assert!(s.journal.known(&slot(n)).is_none());
    }
    assert_eq!(slots(&s), 0);
    // The control: who waits for a slot's records has a place made for them.
    assert!(s.journal.duties(&slot(1_000)).borrow().is_empty());
    assert_eq!(slots(&s), 1);
    let promised = s.new_record(ask(100, 1, 0));
    assert_eq!(s.journal.known(&slot(100)).unwrap().promises, [promised]);
}

#[test]
fn the_newest_records_are_had_from_above_and_none_that_waits_for_its_sync() {
    let (_disk, mut s) = new_disk();
    (0..3).for_each(|nonce| drop(s.new_record(ask(100 + nonce, 1, nonce))));
    let journal = s.journal.clone();
    let below = |seq, max| journal.records_below(seq, max).iter().map(Recorded::seq).collect::<Vec<_>>();
    assert_eq!((below(u64::MAX, 10), below(u64::MAX, 2)), (vec![3, 2, 1], vec![3, 2]));
    assert_eq!((below(3, 10), below(1, 10), below(0, 10)), (vec![2, 1], vec![], vec![]));
    s.journal.submit(ask(103, 1, 3).checked(), None).unwrap();
    assert_eq!(below(u64::MAX, 1), [3]);
    assert!(s.writer.step());
    assert_eq!(below(u64::MAX, 1), [4]);
}
