//! Changes of the configuration, and who orders them and leaves.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tandem_host::Phase;

fn with_key(r: &Rig, key: u64) -> tandem_host::HostConfig {
    let mut c = r.config.clone();
    c.modules.get_mut(&"a".parse().unwrap()).unwrap().config = serde_json::json!({ "key": key });
    c
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_nobody_waits_for_is_carried_out_whole_and_no_module_runs_twice() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path());
    // Longer than the test, so that it is ended by the order and not by a strike.
    *r.a.limits.lock() = Some(tandem_module::Limits { event_ms: 10_000, ..Default::default() });
    let r = r.start().await;
    // `a` does not give its thread back, so that ending it takes a while, and with it the change.
    r.a.spins.store(1, Ordering::SeqCst);
    r.block(1);
    r.until("a hangs", |r| r.applied() == [1]).await;
    let dropped = tokio::time::timeout(Duration::from_millis(20), r.host.apply(with_key(&r, 5))).await;
    assert!(dropped.is_err(), "the change was over before it could be left");
    r.a.release.store(true, Ordering::SeqCst);
    // The next order waits for the one before, and finds its modules.
    r.host.apply(with_key(&r, 5)).await.unwrap();
    r.until("both run", |r| ["a", "b"].iter().all(|m| r.health(m).phase == Phase::Running)).await;
    assert_eq!(r.ask("a", "config").await.unwrap(), r#"{"key":5}"#, "the order that was left is carried out");
    assert_eq!((r.health("a").restarts, r.health("b").restarts), (1, 0), "the second order changed nothing");
    (2..=4).for_each(|n| r.block(n));
    r.until("all are handled", |r| ["a", "b"].iter().all(|m| r.health(m).feed_cursor.is_some_and(|c| c.0 == 4))).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(applied(&r.b), [1, 2, 3, 4], "each block once");
    assert_eq!(r.applied(), [1, 1, 2, 3, 4], "the block at which it hung comes again, and then each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_from_many_at_once_leave_one_of_each_module() {
    let dir = tempfile::tempdir().unwrap();
    let r = Arc::new(rig(dir.path()).start().await);
    let orders = (0..12u64).map(|n| {
        let r = r.clone();
        async move {
            let order = r.host.apply(with_key(&r, n));
            // Half of those who order leave at once.
            if n % 2 == 0 {
                let _ = tokio::time::timeout(Duration::from_millis(1), order).await;
            } else {
                order.await.unwrap();
            }
        }
    });
    futures::future::join_all(orders).await;
    r.host.apply(with_key(&r, 99)).await.unwrap();
    r.until("both run", |r| ["a", "b"].iter().all(|m| r.health(m).phase == Phase::Running)).await;
    (1..=5).for_each(|n| r.block(n));
    r.until("all are handled", |r| r.health("a").feed_cursor.is_some_and(|c| c.0 == 5)).await;
    r.until("by both", |r| r.health("b").feed_cursor.is_some_and(|c| c.0 == 5)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((r.applied(), applied(&r.b)), (vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 5]));
    assert_eq!(r.ask("a", "config").await.unwrap(), r#"{"key":99}"#);
}
