//! Changes of the configuration, and who orders them and leaves.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tandem_host::{ModuleConfig, Moment, Phase};
use tandem_module::SlotPhase;
use tandem_types::Slot;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_is_switched_off_stays_listed_with_what_it_did_until_it_is_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path()).start().await;
    let listed = || r.host.health().iter().map(|h| (h.module.to_string(), h.phase)).collect::<Vec<_>>();
    let is = |phases: [(&str, Phase); 2]| phases.map(|(name, phase)| (name.to_owned(), phase)).to_vec();
    let mut c = r.config.clone();
    assert_eq!(r.ask("b", "x").await.unwrap(), "x");
    assert_eq!(r.ask("b", "refuse no").await.unwrap_err(), "no");
    let b = "b".parse().unwrap();
    c.modules.get_mut(&b).unwrap().enabled = false;
    r.host.apply(c.clone()).await.unwrap();
    assert_eq!(listed(), is([("a", Phase::Running), ("b", Phase::Stopped)]));
    let off = r.health("b");
    assert_eq!((off.requests, off.refused, off.version.as_str()), (2, 1, "1"), "what it did is still shown");
    assert_eq!(off.methods, ["b"]);
    // It is off: it answers nothing, and neither blocks nor moments reach it.
    assert_eq!(r.ask("b", "x").await.unwrap_err(), "unknown-method");
    r.block(1);
    r.host.moment(&Moment::Slot { slot: Slot::new(9), phase: SlotPhase::Cutoff, proposer: None });
    r.until("a has the block", |r| r.health("a").feed_cursor.is_some_and(|c| c.0 == 1)).await;
    let after = r.health("b");
    assert_eq!((after.feed_cursor, after.missed_moments), (off.feed_cursor, 0));

    // On again: its counts go on, and the start is one more.
    c.modules.get_mut(&b).unwrap().enabled = true;
    r.host.apply(c.clone()).await.unwrap();
    r.until("b runs", |r| r.health("b").phase == Phase::Running).await;
    assert_eq!(r.ask("b", "x").await.unwrap(), "x");
    assert_eq!((r.health("b").requests, r.health("b").restarts), (3, 1));
    r.until("b has the block", |r| r.health("b").feed_cursor.is_some_and(|c| c.0 == 1)).await;

    // Taken out of the configuration, it is not listed any more, also where it was off before.
    c.modules.get_mut(&b).unwrap().enabled = false;
    r.host.apply(c.clone()).await.unwrap();
    c.modules.remove(&b);
    r.host.apply(c.clone()).await.unwrap();
    assert_eq!(listed(), [("a".to_owned(), Phase::Running)]);
    // And what comes in its name later begins anew, off from the first.
    let module = ModuleConfig { enabled: false, ..r.config.modules[&b].clone() };
    c.modules.insert(b, module);
    r.host.apply(c).await.unwrap();
    assert_eq!(listed(), is([("a", Phase::Running), ("b", Phase::Stopped)]));
    assert_eq!((r.health("b").requests, r.health("b").factory.as_str()), (0, "b"));
    r.host.stop().await;
    assert_eq!(r.host.health().len(), 0);
}
