//! Lookups that see what waits for its sync.

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
