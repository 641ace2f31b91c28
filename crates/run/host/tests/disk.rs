//! A module whose store fails for a while: no fault of its own.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
};
use tandem_host::{Phase, Ring, store::Shelf};
use tandem_testkit::Disk;

/// A host on a disk. The back-off is a few milliseconds, so that it is tried often.
fn on(disk: &Disk, folder: &Path) -> Rig {
    let disk = disk.clone();
    let shelf = Shelf::with(Box::new(move |path, cache| disk.database(path, cache)));
    rig_on(folder, Arc::new(Ring::new(1_024)), Door::new(), shelf)
}

fn is_failing(r: &Rig, name: &str) -> bool {
    r.health(name).phase == Phase::StoreFailed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_no_strike_and_the_module_goes_on_by_itself_from_what_is_durable() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
    let r = on(&disk, dir.path()).start().await;
    r.a.drafts.store(true, Ordering::SeqCst);
    r.block(1);
    r.until("one is handled", |r| r.health("a").feed_cursor.is_some_and(|c| c.0 == 1)).await;
    disk.fill(true);
    (2..=3).for_each(|n| r.block(n));
    r.until("it is told", |r| is_failing(r, "a")).await;
    let before = r.health("a").restarts;
    // Far more often than what a module is banned after.
    r.until("it was tried again and again", |r| r.health("a").restarts > before + 8).await;
    let a = r.health("a");
    assert_eq!((a.phase, a.strikes, a.panics, a.hangs), (Phase::StoreFailed, 0, 0, 0));
    assert!(a.last_error.unwrap().contains("store"));
    disk.fill(false);
    r.until("all are handled", |r| r.health("a").feed_cursor.is_some_and(|c| c.0 == 3)).await;
    r.until("both run", |r| ["a", "b"].iter().all(|m| r.health(m).phase == Phase::Running)).await;
    assert_eq!(r.ask("a", "get blocks").await.unwrap(), "Some([0, 0, 0, 0, 0, 0, 0, 3])", "each counts once");
    r.until("all drafts have left", |r| r.door.bodies().len() == 3).await;
    assert_eq!((r.health("a").strikes, r.health("b").strikes), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_can_not_be_opened_is_tried_until_it_can_be_and_requests_are_refused_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.redb");
    std::fs::create_dir(&file).unwrap();
    let r = rig(dir.path());
    r.host.apply(r.config.clone()).await.unwrap();
    r.until("it was tried again and again", |r| r.health("a").restarts > 8).await;
    assert!(is_failing(&r, "a"));
    assert_eq!(r.ask("a", "read").await.unwrap_err(), "module-down");
    r.until("its neighbour runs", |r| r.health("b").phase == Phase::Running).await;
    std::fs::remove_dir(&file).unwrap();
    r.until("it runs", |r| r.health("a").phase == Phase::Running).await;
    assert_eq!((r.ask("a", "read").await.unwrap().as_str(), r.health("a").strikes), ("7", 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_module_itself_does_wrong_is_a_strike_all_the_same() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
    let r = on(&disk, dir.path()).start().await;
    disk.fill(true);
    r.block(1);
    r.until("it is told", |r| is_failing(r, "a")).await;
    disk.fill(false);
    r.until("it runs", |r| r.health("a").phase == Phase::Running).await;
    for n in 1..=3 {
        assert_eq!(r.ask("a", "panic").await.unwrap_err(), "module-failed");
        let want = if n < 3 { Phase::Running } else { Phase::Banned };
        r.until("it was judged", |r| r.health("a").strikes == n && r.health("a").phase == want).await;
    }
}
