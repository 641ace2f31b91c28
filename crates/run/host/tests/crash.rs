//! What survives the end of a process: cursors, stores, outboxes.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use std::sync::{Arc, atomic::Ordering};
use tandem_host::{Phase, Ring};
use tandem_module::Event;
use tandem_types::Body;

/// Outcomes of drafts by id, and of requests without.
fn outcomes(c: &Control) -> Vec<(Option<u64>, bool)> {
    let seen = c.seen.lock();
    seen.iter()
        .filter_map(|e| match e {
            Event::Bound { id, result, .. } => Some((*id, result.is_ok())),
            _ => None,
        })
        .collect()
}

fn texts(bodies: &[Body]) -> Vec<String> {
    bodies
        .iter()
        .map(|b| match b {
            Body::Custom(c) => String::from_utf8(c.body.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_events_go_on_where_the_cursor_is() {
    let dir = tempfile::tempdir().unwrap();
    let (blocks, door) = (Arc::new(Ring::new(1_024)), Door::new());
    let r = rig_with(dir.path(), blocks.clone(), door.clone()).start().await;
    (1..=2).for_each(|n| r.block(n));
    // A draft is synced before its cursor shows; a clean stop hurries nothing.
    r.a.drafts.store(true, Ordering::SeqCst);
    r.block(3);
    r.until("three are handled", |r| r.health("a").feed_cursor.is_some_and(|c| c.0 == 3)).await;
    r.host.stop().await;
    drop(r);
    let r = rig_with(dir.path(), blocks, door).start().await;
    (4..=5).for_each(|n| r.block(n));
    r.until("five are handled", |r| r.health("a").feed_cursor.is_some_and(|c| c.0 == 5)).await;
    assert_eq!(r.applied(), [4, 5]);
    assert_eq!(r.ask("a", "get blocks").await.unwrap(), "Some([0, 0, 0, 0, 0, 0, 0, 5])");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_waits_in_the_outbox_over_a_restart_until_its_outcome_was_handled() {
    let dir = tempfile::tempdir().unwrap();
    let (blocks, door) = (Arc::new(Ring::new(1_024)), Door::new());
    door.shut.store(true, Ordering::SeqCst);
    let r = rig_with(dir.path(), blocks.clone(), door.clone()).start().await;
    r.a.drafts.store(true, Ordering::SeqCst);
    (1..=2).for_each(|n| r.block(n));
    r.until("both wait", |r| r.health("a").outbox == 2).await;
    assert!(outcomes(&r.a).is_empty());
    r.host.stop().await;
    drop(r);
    door.shut.store(false, Ordering::SeqCst);
    let r = rig_with(dir.path(), blocks.clone(), door.clone()).start().await;
    r.until("both are handled", |r| outcomes(&r.a).len() == 2).await;
    assert_eq!(outcomes(&r.a), [(Some(0), true), (Some(1), true)]);
    assert_eq!(texts(&door.bodies()), ["block 1", "block 2"]);
    r.until("none waits", |r| r.health("a").outbox == 0 && r.health("a").journal_cursor == 2).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(outcomes(&r.a).len(), 2, "the journal does not tell it again");
    r.until("that is synced", |_| door.read.lock().get(&"a".parse().unwrap()) == Some(&Some(2))).await;
    r.host.stop().await;
    drop(r);
    let r = rig_with(dir.path(), blocks, door).start().await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(outcomes(&r.a).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_an_outcome_too() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path()).start().await;
    r.a.drafts.store(true, Ordering::SeqCst);
    r.block(1);
    r.until("it is bound", |r| outcomes(&r.a) == [(Some(0), true)]).await;
    assert_eq!(r.ask("a", "commit bad thing").await.unwrap_err(), "conflict");
    assert_eq!(texts(&r.door.bodies()), ["block 1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_requests_promised_is_told_again_also_to_a_module_that_lost_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let (blocks, door) = (Arc::new(Ring::new(1_024)), Door::new());
    let r = rig_with(dir.path(), blocks.clone(), door.clone()).start().await;
    for n in 0..50 {
        r.ask("a", &format!("commit {n}")).await.unwrap();
    }
    r.until("all are told", |r| outcomes(&r.a).len() == 50).await;
    assert!(outcomes(&r.b).is_empty(), "others' promises are not");
    r.host.stop().await;
    drop(r);
    std::fs::remove_file(dir.path().join("a.redb")).unwrap();
    let r = rig_with(dir.path(), blocks, door).start().await;
    r.until("all are told again", |r| outcomes(&r.a).len() == 50).await;
    assert!(outcomes(&r.a).iter().all(|o| *o == (None, true)));
}

/// Copies the stores as a crash leaves them: nothing is closed or synced for it.
fn crash(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_store_and_cursor_fall_back_together_and_each_block_counts_once() {
    for synced in [3u64, 0] {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (blocks, door) = (Arc::new(Ring::new(1_024)), Door::new());
        let mut r = rig_with(dir.path(), blocks.clone(), door.clone());
        // What is not synced by a draft is not synced at all.
        r.config.sync_ms = 3_600_000;
        let r = r.start().await;
        for n in 1..=5 {
            r.a.drafts.store(n == synced, Ordering::SeqCst);
            r.block(n);
            r.until("it is handled", |r| r.health("a").feed_cursor.is_some_and(|c| c.0 == n)).await;
        }
        crash(dir.path(), copy.path());
        r.host.stop().await;
        drop(r);
        let r = rig_with(copy.path(), blocks, door).start().await;
        r.block(6);
        r.until("six are handled", |r| r.health("a").feed_cursor.is_some_and(|c| c.0 == 6)).await;
        if synced > 0 {
            assert_eq!(r.applied(), [4, 5, 6], "those after the sync come again");
            assert_eq!(r.ask("a", "get blocks").await.unwrap(), "Some([0, 0, 0, 0, 0, 0, 0, 6])");
        } else {
            // Not even the first cursor was synced: it begins at the tip, like a new module.
            assert_eq!(r.applied(), [6]);
            assert_eq!(r.ask("a", "get blocks").await.unwrap(), "Some([0, 0, 0, 0, 0, 0, 0, 1])");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_fell_off_the_end_of_the_log_is_told_of_the_gap() {
    let dir = tempfile::tempdir().unwrap();
    let (blocks, door) = (Arc::new(Ring::new(4)), Door::new());
    let r = rig_with(dir.path(), blocks.clone(), door.clone()).start().await;
    // A draft is synced before its cursor shows.
    r.a.drafts.store(true, Ordering::SeqCst);
    r.block(1);
    r.until("it is handled", |r| r.health("a").feed_cursor.is_some_and(|c| c.0 == 1)).await;
    r.host.stop().await;
    drop(r);
    let r = rig_with(dir.path(), blocks, door);
    (2..=9).for_each(|n| r.block(n));
    let r = r.start().await;
    r.until("it has caught up", |r| r.health("a").feed_cursor.is_some_and(|c| c.0 == 9)).await;
    assert!(r.a.seen.lock().iter().any(|e| matches!(e, Event::Gap { from: 2, to: 9 })));
    assert!(r.applied().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_fate_reaches_a_module_that_was_off_when_it_was_settled() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path()).start().await;
    r.ask("a", "commit one").await.unwrap();
    r.ask("a", "commit two").await.unwrap();
    r.until("both are told", |r| outcomes(&r.a).len() == 2).await;
    let mut off = r.config.clone();
    off.modules.get_mut(&"a".parse().unwrap()).unwrap().enabled = false;
    r.host.apply(off).await.unwrap();
    // The moment passes while nobody is there; the record stays.
    let fate = tandem_types::Fate::Kept { block: tandem_types::BlockId::default() };
    r.host.moment(&tandem_host::Moment::Fate { module: "a".parse().unwrap(), seq: 1, fate, is_final: true });
    r.door.settle(1);
    r.host.apply(r.config.clone()).await.unwrap();
    r.until("it is told", |r| final_fates(&r.a) == [1]).await;
    // And over a restart of the whole host, while it was banned.
    for n in 1..=3 {
        assert_eq!(r.ask("a", "panic").await.unwrap_err(), "module-failed");
        let want = if n < 3 { Phase::Running } else { Phase::Banned };
        r.until("it was judged", |r| r.health("a").strikes == n && r.health("a").phase == want).await;
    }
    r.door.settle(2);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let (blocks, door) = (r.blocks.clone(), r.door.clone());
    r.host.stop().await;
    assert_eq!(final_fates(&r.a), [1]);
    drop(r);
    let r = rig_with(dir.path(), blocks, door).start().await;
    r.until("it is told", |r| final_fates(&r.a).contains(&2)).await;
}
