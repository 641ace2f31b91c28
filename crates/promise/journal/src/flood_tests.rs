//! A module's own statements stand in one line with all else that must be durable: how much of the line
//! they can take, and what that leaves to a slot's seal.

use crate::{
    Bound, Checked, FirstUse, Journal, JournalConfig, JournalError,
    guard::MAX_STATEMENT,
    queue::STATEMENT_BYTES,
    storage::sim::SimDisk,
    testing::{Stepped, ask, check, config, custom, delegation, open, open_with, seal, slot},
};
use alloy_primitives::{B256, Bytes};
use tandem_types::{BlsPublicKey, Body, Custom, SignerRef};

/// A statement of the longest kind, which no other number has.
fn long(module: &str, scope: Option<&str>, n: u64) -> Checked {
    let scope = scope.map(|s| Bytes::copy_from_slice(s.as_bytes()));
    let mut text = n.to_le_bytes().to_vec();
    text.resize(MAX_STATEMENT - scope.as_ref().map_or(0, |s| s.len()), 7);
    let body = Body::Custom(Custom { tag: B256::repeat_byte(3), scope, body: text.into() });
    check(body, SignerRef::Validator(BlsPublicKey::new([1; 48])), module, None)
}

impl Stepped {
    /// Says as many as are taken, and how many those were.
    fn flood(&self, from: u64) -> u64 {
        let taken = (from..from + 64).take_while(|n| match self.journal.submit(long("oracle", None, *n), None) {
            Ok(_) => true,
            Err(JournalError::Busy { module, most }) => {
                assert_eq!((module.as_str(), most), ("oracle", STATEMENT_BYTES));
                false
            }
            Err(other) => panic!("{other}"),
        });
        taken.count() as u64
    }
}

#[test]
fn a_module_has_four_of_the_longest_statements_on_their_way_and_more_once_they_are_written() {
    let mut s = open(SimDisk::new(1).process(), FirstUse::Yes).unwrap();
    let first = s.journal.submit(long("oracle", Some("tea"), 0), None).unwrap();
    assert_eq!(s.flood(1), 3);
    let before = s.journal.health();
    let refused = s.journal.submit(long("oracle", Some("coffee"), 9), None).map(|_| ()).unwrap_err();
    assert!(matches!(refused, JournalError::Busy { .. }) && refused.is_retryable(), "{refused}");
    assert!(matches!(s.journal.submit(custom(None, 1), None), Err(JournalError::Busy { .. })), "nor a short one");
    assert_eq!(s.journal.health(), before, "what is refused is neither decided nor counted");
    // What is on its way already is answered with it, another module has a share of its own, and so has the house.
    let again = s.journal.submit(long("oracle", Some("tea"), 0), None).unwrap();
    let other = s.journal.submit(long("weather", None, 0), None).unwrap();
    let house = s.journal.submit(delegation(100), None).unwrap();
    assert!(first.poll().is_none() && again.poll().is_none());
    while house.poll().is_none() {
        assert!(s.writer.step());
    }
    assert!(matches!(first.poll(), Some(Ok(Bound::New(_)))) && matches!(again.poll(), Some(Ok(Bound::Same(_)))));
    assert!(matches!(other.poll(), Some(Ok(Bound::New(_)))) && matches!(house.poll(), Some(Ok(Bound::New(_)))));
    // All of it is free again, and the scope that was refused is nobody's.
    let scoped = s.journal.submit(long("oracle", Some("coffee"), 10), None).unwrap();
    assert_eq!(s.flood(20), 3);
    assert!(s.writer.step());
    assert!(matches!(scoped.poll(), Some(Ok(Bound::New(_)))));
}

#[test]
fn a_flood_of_the_longest_statements_puts_no_more_than_its_share_before_a_seal() {
    let mut s = open(SimDisk::new(2).process(), FirstUse::Yes).unwrap();
    let mut said = 0;
    for n in 100..104 {
        // The module never rests: whenever there is room, it says more.
        said += s.flood(said);
        let written = s.journal.health().bytes;
        let sealed = s.journal.submit(seal(n, s.journal.seal_items(&slot(n))), None).unwrap();
        while sealed.poll().is_none() {
            assert!(s.writer.step());
            said += s.flood(said);
        }
        assert!(matches!(sealed.poll(), Some(Ok(Bound::New(_)))));
        let before_it = s.journal.health().bytes - written;
        // And what the writer itself adds: marks, and the heads of new segments.
        let most = STATEMENT_BYTES as u64 + (64 << 10);
        assert!((1..=most).contains(&before_it), "{before_it} bytes went before the seal of {n}");
    }
    assert!(said >= 16, "only {said} statements were said");
}

#[tokio::test]
async fn a_seal_needs_no_place_in_a_queue_that_others_fill() {
    let config = JournalConfig { queue: 1, ..config() };
    let mut s = open_with(SimDisk::new(3).process(), config, FirstUse::Yes).unwrap();
    let bind = |draft: Checked| {
        let journal = s.journal.clone();
        tokio::spawn(async move { journal.bind(draft).await })
    };
    let decided = async |journal: &Journal, n: u64| {
        while journal.health().answers.new < n {
            tokio::task::yield_now().await;
        }
    };
    let first = bind(ask(101, 1, 0).checked());
    decided(&s.journal, 1).await;
    let waits = bind(ask(101, 2, 0).checked());
    let sealed = bind(seal(100, Vec::new()));
    decided(&s.journal, 2).await;
    assert!(s.writer.step());
    assert!(matches!(first.await.unwrap(), Ok(Bound::New(_))) && matches!(sealed.await.unwrap(), Ok(Bound::New(_))));
    decided(&s.journal, 3).await;
    assert!(s.writer.step());
    assert!(matches!(waits.await.unwrap(), Ok(Bound::New(_))));
}
