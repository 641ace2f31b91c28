//! Lives and commits, side by side.

use super::*;
use alloy_primitives::B256;
use bytes::Bytes;
use tandem_types::{Body, Custom, SignerRef};

fn draft(text: &str) -> Draft {
    let body = Custom { tag: B256::ZERO, scope: None, body: text.as_bytes().to_vec().into() };
    Draft { signer: SignerRef::Nobody, body: Body::Custom(body), attachments: Vec::new() }
}

fn step(life: u64, text: &str) -> Step {
    let keys = BTreeMap::from([(Bytes::from_static(b"k"), Some(Bytes::copy_from_slice(text.as_bytes())))]);
    let writes = Writes { keys, drafts: vec![(0, draft(text))], next_draft: 1, publishes: Vec::new() };
    let cursors = Cursors { journal: 7, delivery: 1, next_draft: 1, ..Default::default() };
    Step { writes, cursors, life, ..Default::default() }
}

#[test]
fn a_commit_that_an_earlier_life_left_behind_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Shelf::default().take(&dir.path().join("s"), 1 << 20, 1 << 20).unwrap();
    let first = store.begin().unwrap();
    // The first life ends while its commit is queued; the next one reads the cursors before it runs.
    let second = store.begin().unwrap();
    assert_eq!(first.cursors, second.cursors);
    assert!(matches!(store.commit(&step(first.life, "late")), Err(StoreError::Over)));
    assert_eq!((store.get(b"k"), store.bytes()), (None, 0));
    let done = store.commit(&step(second.life, "in time")).unwrap();
    assert_eq!(store.get(b"k").unwrap(), "in time");
    let third = store.begin().unwrap();
    assert_eq!((third.cursors, third.outbox), (done, BTreeMap::from([(0, draft("in time"))])));
}

#[test]
fn a_life_that_begins_waits_for_the_commit_that_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = Shelf::default().take(&dir.path().join("s"), 1 << 20, 1 << 20).unwrap();
    for _ in 0..50 {
        let life = store.begin().unwrap().life;
        let (committing, beginning) = (store.clone(), store.clone());
        let a = std::thread::spawn(move || committing.commit(&step(life, "x")));
        let b = std::thread::spawn(move || beginning.begin().unwrap());
        let (committed, begun) = (a.join().unwrap(), b.join().unwrap());
        // Whichever came first, the new life has seen exactly what was committed.
        match committed {
            Ok(cursors) => assert_eq!((begun.cursors, begun.outbox.len()), (cursors, 1)),
            Err(StoreError::Over) => assert_eq!(begun.cursors, store.begin().unwrap().cursors),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn after_a_failure_nothing_is_kept_until_the_file_was_opened_anew_and_then_on_from_what_is_durable() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), tandem_testkit::Disk::default());
    let on = disk.clone();
    let shelf = Shelf::with(Box::new(move |path, cache| on.database(path, cache)));
    let take = || shelf.take(&dir.path().join("s"), 1 << 20, 1 << 20);
    let store = take().unwrap();
    let life = store.begin().unwrap().life;
    let of = |life, text: &str, sync| Step { sync, ..step(life, text) };
    let durable = store.commit(&of(life, "durable", true)).unwrap();
    store.commit(&of(life, "not synced", false)).unwrap();
    let snapshot = store.snapshot().unwrap();
    disk.fill(true);
    let full = store.commit(&of(life, "lost", true)).unwrap_err();
    assert!(matches!(full, StoreError::Database(_)) && !full.is_modules(), "{full}");
    assert!(store.has_failed());
    assert!(matches!(store.commit(&of(life, "lost", false)), Err(StoreError::Unreadable)));
    // It is tried again as often as it takes, and holds the file all the while.
    for _ in 0..3 {
        assert!(!take().err().unwrap().is_modules());
    }
    disk.fill(false);
    let again = take().unwrap();
    assert!(Arc::ptr_eq(&store, &again) && !again.has_failed());
    assert_eq!(again.get(b"k").unwrap(), "durable");
    assert!(matches!(again.commit(&of(life, "of the life before", true)), Err(StoreError::Over)));
    // What a life that is over still reads from its view says nothing of the file that is open now.
    snapshot.get(b"k");
    assert!(!again.has_failed());
    let begun = again.begin().unwrap();
    assert_eq!(begun.cursors, durable);
    again.commit(&of(begun.life, "goes on", true)).unwrap();
    assert_eq!(again.get(b"k").unwrap(), "goes on");
}
