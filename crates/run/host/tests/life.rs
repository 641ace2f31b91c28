//! A module's life: requests, events, containment.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, B256};
use common::*;
use std::sync::{Arc, atomic::Ordering};
use tandem_host::{HostConfig, HostError, ModuleConfig, Moment, Phase, Registry, Ring};
use tandem_module::{Event, Limits, Log, Need, Permission, SlotPhase};
use tandem_types::{BlockId, Fate, Slot};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_answers_a_request_through_its_ports() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path()).start().await;
    assert_eq!(r.ask("a", "read").await.unwrap(), "7");
    assert_eq!(r.ask("a", "commit hello").await.unwrap(), "1");
    assert_eq!(r.ask("a", "commit hello").await.unwrap(), "1", "the same again");
    assert_eq!(r.ask("a", "refuse too-dear").await.unwrap_err(), "too-dear");
    assert_eq!(r.ask("c", "x").await.unwrap_err(), "unknown-method");
    let h = r.health("a");
    assert_eq!((h.requests, h.refused, h.in_flight), (4, 1, 0));
    r.host.stop().await;
    assert_eq!(r.ask("a", "read").await.unwrap_err(), "unknown-method");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_takes_both_the_manifest_and_the_grant() {
    let dir = tempfile::tempdir().unwrap();
    let mut r = rig(dir.path());
    r.config.modules.get_mut(&"a".parse().unwrap()).unwrap().grant = vec![Permission::State];
    let r = r.start().await;
    assert_eq!(r.ask("a", "commit x").await.unwrap_err(), "not-permitted", "asked for, not granted");
    assert_eq!(r.ask("b", "read").await.unwrap_err(), "not-permitted", "granted, not asked for");
    assert_eq!(r.ask("a", "read").await.unwrap(), "7", "both");
    assert!(r.door.bodies().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panicking_module_is_started_again_banned_after_the_third_time_and_freed_by_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path()).start().await;
    for n in 1..=3 {
        assert_eq!(r.ask("a", "panic").await.unwrap_err(), "module-failed");
        let want = if n < 3 { Phase::Running } else { Phase::Banned };
        r.until("it was judged", |r| r.health("a").strikes == n && r.health("a").phase == want).await;
        assert_eq!(r.ask("b", "still here").await.unwrap(), "still here");
    }
    assert_eq!(r.ask("a", "read").await.unwrap_err(), "module-down");
    assert_eq!((r.health("a").panics, r.health("a").turned_away), (3, 1));
    assert!(r.health("a").last_error.unwrap().contains("told to panic"));
    r.host.apply(r.config.clone()).await.unwrap();
    r.until("it runs", |r| r.health("a").phase == Phase::Running).await;
    assert_eq!((r.ask("a", "read").await.unwrap().as_str(), r.health("a").panics), ("7", 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_keeps_its_thread_is_left_behind_and_its_neighbour_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path());
    *r.a.limits.lock() = Some(within(1_000));
    let r = r.start().await;
    r.ask("a", "read").await.unwrap();
    let old = r.a.commits.lock().last().unwrap().clone();
    let (stuck, _) = tokio::join!(r.ask("a", "spin"), async {
        for _ in 0..20 {
            assert_eq!(r.ask("b", "here").await.unwrap(), "here");
        }
    });
    assert!(["late", "module-down"].contains(&stuck.unwrap_err().as_str()));
    r.until("a new one runs", |r| r.health("a").restarts == 1 && r.health("a").phase == Phase::Running).await;
    assert_eq!((r.health("a").hangs, r.health("a").stuck_threads, r.health("b").restarts), (1, 1, 0));
    assert_eq!(r.ask("a", "read").await.unwrap(), "7");
    // What the one that was left behind still does goes nowhere.
    assert_eq!(old.commit(statement("late")).await.unwrap_err().code, "abandoned");
    assert!(r.door.bodies().is_empty());
    r.a.release.store(true, Ordering::SeqCst);
    r.until("its thread has ended", |r| r.health("a").stuck_threads == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_hangs_is_rolled_back_and_comes_again_to_the_next_instance() {
    for hang in ["spins", "waits"] {
        let dir = tempfile::tempdir().unwrap();
        let r = rig(dir.path());
        *r.a.limits.lock() = Some(within(1_000));
        let r = r.start().await;
        if hang == "spins" { &r.a.spins } else { &r.a.waits }.store(1, Ordering::SeqCst);
        r.block(1);
        r.block(2);
        r.until("both are handled", |r| r.health("a").feed_cursor.is_some_and(|c| c.0 == 2)).await;
        assert_eq!(r.ask("a", "get blocks").await.unwrap(), "Some([0, 0, 0, 0, 0, 0, 0, 2])", "{hang}");
        assert_eq!((r.applied(), r.health("a").hangs), (vec![1, 1, 2], 1));
        r.a.release.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_event_leaves_nothing_and_comes_again_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path()).start().await;
    r.a.faults.store(3, Ordering::SeqCst);
    r.a.panics.store(1, Ordering::SeqCst);
    r.a.drafts.store(true, Ordering::SeqCst);
    (1..=5).for_each(|n| r.block(n));
    r.until("all are handled", |r| r.health("a").feed_cursor.is_some_and(|c| c.0 == 5)).await;
    assert_eq!(r.ask("a", "get blocks").await.unwrap(), "Some([0, 0, 0, 0, 0, 0, 0, 5])");
    // On a busy machine the panic may be judged a hang: its end was not seen in time.
    let a = r.health("a");
    assert_eq!((a.faults, a.panics + a.hangs), (3, 1));
    r.until("all drafts have left", |r| r.door.bodies().len() == 5).await;
    // Without failures each comes once.
    r.until("its neighbour has all", |r| applied(&r.b).len() == 5).await;
    assert_eq!(applied(&r.b), [1, 2, 3, 4, 5]);
    // A number that was rolled back comes again, and none is left out.
    let mut seqs = r.a.seqs.lock().clone();
    seqs.dedup();
    seqs.sort_unstable();
    seqs.dedup();
    assert!(seqs.windows(2).all(|w| w[1] == w[0] + 1), "{seqs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_allowed_at_once_are_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path());
    *r.a.limits.lock() = Some(within(1_000));
    let r = r.start().await;
    let all = futures::future::join_all((0..10).map(|_| r.ask("a", "wait"))).await;
    let count = |code: &str| all.iter().filter(|a| a.as_ref().unwrap_err() == code).count();
    assert_eq!((count("late"), count("busy")), (4, 6));
    assert_eq!((r.health("a").late, r.health("a").turned_away, r.health("a").in_flight), (4, 6, 0));
    // As many callers as places, each asking again as soon as it has its answer, are never turned away.
    let caller = || async {
        for _ in 0..500 {
            assert_eq!(r.ask("a", "read").await.unwrap(), "7");
        }
    };
    futures::future::join_all((0..4).map(|_| caller())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_grows_beyond_its_store_is_banned_and_its_store_stays_within() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path()).start().await;
    r.a.grow.store(30_000, Ordering::SeqCst);
    (1..=9).for_each(|n| r.block(n));
    r.until("it is banned", |r| r.health("a").phase == Phase::Banned).await;
    assert!(r.health("a").last_error.unwrap().contains("full"));
    assert!(r.health("a").store_bytes <= 100_000);
    r.until("its neighbour has all", |r| applied(&r.b).len() == 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_publications_is_cut_to_the_rate_and_a_slow_listener_loses_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let mut r = rig(dir.path());
    r.config.modules.get_mut(&"a".parse().unwrap()).unwrap().publishes_per_second = 2_000;
    let r = r.start().await;
    let mut heard = r.host.published();
    r.a.publishes.store(4_000, Ordering::SeqCst);
    r.block(1);
    r.until("it was cut", |r| r.health("a").dropped_publishes >= 1_000).await;
    let first = heard.recv().await.unwrap_err();
    assert!(matches!(first, tokio::sync::broadcast::error::RecvError::Lagged(n) if n >= 900), "{first:?}");
    let next = heard.recv().await.unwrap();
    assert_eq!((next.module.as_str(), &*next.channel), ("a", "out"));
    let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
    assert!(r.host.may_publish(&a, "out") && r.host.may_publish(&a, "another"));
    assert!(!r.host.may_publish(&b, "out"), "it did not ask for that");
    assert!(!r.host.may_publish(&"stranger".parse().unwrap(), "out"));
    // The negative control: within its rate nothing is lost.
    assert_eq!(r.health("b").dropped_publishes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commitments_above_the_rate_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut r = rig(dir.path());
    r.config.modules.get_mut(&"a".parse().unwrap()).unwrap().commits_per_second = 3;
    let r = r.start().await;
    let mut refused = 0;
    for n in 0..20 {
        refused += usize::from(r.ask("a", &format!("commit {n}")).await == Err("rate-limited".into()));
    }
    assert!(refused >= 10, "{refused}");
    assert_eq!(r.health("a").over_rate as usize, refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_can_not_be_applied_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path()).start().await;
    let with = |name: &str, factory: &str| {
        let mut c = r.config.clone();
        c.modules.insert(name.parse().unwrap(), ModuleConfig { factory: factory.into(), ..Default::default() });
        c
    };
    let e = r.host.apply(with("c", "twin")).await.unwrap_err();
    assert!(matches!(e, HostError::Conflict { ref method, .. } if method == "a"), "{e}");
    let e = r.host.apply(with("c", "twim")).await.unwrap_err();
    assert!(e.to_string().contains("the nearest is \"twin\""), "{e}");
    for (factory, words) in [("broken", "another configuration"), ("bomb", "told to panic while made")] {
        let e = r.host.apply(with("c", factory)).await.unwrap_err();
        assert!(e.to_string().contains(words), "{e}");
    }
    assert_eq!(r.host.health().len(), 2);
    assert_eq!(r.ask("a", "read").await.unwrap(), "7");
    assert_eq!(r.health("a").restarts, 0);
}

#[tokio::test]
async fn everything_that_could_not_be_started_is_named_and_nothing_is_asked_of_what_is_off() {
    let puppet = |_: &[u8]| {
        let puppet = Puppet { control: Arc::default(), methods: vec!["a".into()], permissions: vec![] };
        Ok(Arc::new(puppet) as Arc<dyn tandem_module::Module>)
    };
    let registry = Registry::new()
        .with("good", "1", puppet)
        .with("twin", "1", puppet)
        .with("broken", "1", |_| Err("it wants another configuration".into()));
    let named = |factory: &str, enabled| ModuleConfig { factory: factory.into(), enabled, ..Default::default() };
    let config = |all: &[(&str, &str, bool)]| HostConfig {
        modules: all.iter().map(|(id, factory, on)| (id.parse().unwrap(), named(factory, *on))).collect(),
        ..Default::default()
    };
    assert_eq!(
        registry.faults(&config(&[("a", "good", true), ("b", "broken", false), ("c", "twin", false)])).await,
        []
    );
    let wrong = config(&[("a", "good", true), ("b", "broken", true), ("c", "twin", true), ("d", "goood", true)]);
    let faults = registry.faults(&wrong).await;
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| id.parse().unwrap());
    let want = [
        HostError::Refused { module: b, why: "it wants another configuration".into() },
        HostError::UnknownFactory { module: d, name: "goood".into(), nearest: "good".into() },
        HostError::Conflict { method: "a".into(), first: a, second: c },
    ];
    assert_eq!(faults, want);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_switches_modules_off_and_on_and_reloads_only_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path()).start().await;
    let mut c = r.config.clone();
    c.modules.get_mut(&"b".parse().unwrap()).unwrap().enabled = false;
    let a = c.modules.get_mut(&"a".parse().unwrap()).unwrap();
    a.config = serde_json::json!({ "key": 5 });
    r.host.apply(c.clone()).await.unwrap();
    assert_eq!(r.ask("b", "x").await.unwrap_err(), "unknown-method");
    r.until("a runs", |r| r.health("a").phase == Phase::Running).await;
    assert_eq!(r.ask("a", "config").await.unwrap(), r#"{"key":5}"#);
    let told = |r: &Rig| r.a.seen.lock().iter().any(|e| matches!(e, Event::Config(b) if b.as_ref() == br#"{"key":5}"#));
    r.until("it was told", told).await;
    c.modules.get_mut(&"b".parse().unwrap()).unwrap().enabled = true;
    r.host.apply(c).await.unwrap();
    r.until("b runs", |r| r.health("b").phase == Phase::Running).await;
    assert_eq!(r.ask("b", "x").await.unwrap(), "x");
    assert_eq!(r.health("a").restarts, 1, "what did not change goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slot_phases_reach_who_asked_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path()).start().await;
    let m = Moment::Slot { slot: Slot::new(9), phase: SlotPhase::Cutoff, proposer: None };
    r.host.moment(&m);
    let saw = |c: &Arc<Control>| c.seen.lock().iter().any(|e| matches!(e, Event::Slot { slot, .. } if slot.get() == 9));
    r.until("both saw it", |r| saw(&r.a) && saw(&r.b)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_asks_for_endless_time_is_struck_at_the_hosts_own_limit() {
    let dir = tempfile::tempdir().unwrap();
    let mut r = rig(dir.path());
    let endless = Limits { event_ms: u64::MAX, request_ms: u64::MAX, ..Limits::default() };
    *r.a.limits.lock() = Some(endless);
    r.config.limits.event_ms = 1_000;
    r.config.limits.request_ms = 1_000;
    let r = r.start().await;
    r.a.spins.store(1, Ordering::SeqCst);
    r.block(1);
    r.until("it was struck and started again", |r| r.health("a").hangs == 1 && r.applied() == [1, 1]).await;
    assert_eq!(r.ask("a", "wait").await.unwrap_err(), "late");
    r.a.release.store(true, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_gets_the_logs_that_pass_one_of_its_filters_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path());
    let (token, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
    let (transfer, approval) = (B256::repeat_byte(3), B256::repeat_byte(4));
    let any_of_other = Need::Logs(vec![other], vec![]);
    *r.a.needs.lock() = vec![Need::Logs(vec![token], vec![transfer]), any_of_other];
    let r = r.start().await;
    let log = |index, address, topics: &[B256]| Log {
        address,
        topics: topics.to_vec(),
        data: bytes::Bytes::from_static(b"x"),
        tx_hash: B256::ZERO,
        index,
    };
    let all = vec![
        log(0, token, &[transfer, approval]),
        log(1, token, &[approval, transfer]),
        log(2, token, &[]),
        log(3, other, &[]),
        log(4, other, &[approval]),
        log(5, Address::repeat_byte(9), &[transfer]),
    ];
    r.block_with(1, all.clone());
    r.until("both saw it", |r| r.applied() == [1] && applied(&r.b) == [1]).await;
    let logs = |c: &Control| match c.seen.lock().iter().find(|e| matches!(e, Event::Apply(_))) {
        Some(Event::Apply(b)) => b.logs.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(logs(&r.a), [all[0].clone(), all[3].clone(), all[4].clone()]);
    assert_eq!(logs(&r.b), [], "who did not ask for logs gets none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signing_id_comes_from_the_operators_name_and_the_houses_word_and_not_from_the_module() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path()).start().await;
    let id = |r: &Rig, name: &str| {
        let grants = r.door.grants.lock();
        grants.iter().rev().find(|g| g.module.as_str() == name).unwrap().signing_id
    };
    let (a, b) = (id(&r, "a"), id(&r, "b"));
    assert_ne!(a, b, "two names");
    // The module says of itself that it is a later version.
    *r.a.version.lock() = Some("2".into());
    let mut c = r.config.clone();
    c.modules.get_mut(&"a".parse().unwrap()).unwrap().config = serde_json::json!({ "key": 1 });
    r.host.apply(c.clone()).await.unwrap();
    r.until("it runs", |r| r.health("a").phase == Phase::Running && r.health("a").version == "2").await;
    assert_eq!(id(&r, "a"), a);
    // The same code by another name is somebody else.
    let module = ModuleConfig { factory: "b".into(), ..c.modules[&"b".parse().unwrap()].clone() };
    c.modules.get_mut(&"b".parse().unwrap()).unwrap().enabled = false;
    c.modules.insert("c".parse().unwrap(), module);
    r.host.apply(c).await.unwrap();
    r.until("it runs", |r| r.health("c").phase == Phase::Running).await;
    assert!(id(&r, "c") != a && id(&r, "c") != b);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_that_requests_take_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path());
    *r.a.limits.lock() = Some(within(1_000));
    let r = r.start().await;
    assert_eq!((r.health("a").p50_us, r.health("a").p99_us), (None, None));
    for _ in 0..50 {
        r.ask("a", "read").await.unwrap();
    }
    assert_eq!(r.ask("a", "wait").await.unwrap_err(), "late");
    let (p50, p99) = (r.health("a").p50_us.unwrap(), r.health("a").p99_us.unwrap());
    assert!(p50 < 200_000, "{p50} µs for a request that does nothing");
    assert!((975_000..5_000_000).contains(&p99), "{p99} µs: one of 51 waited a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provisional_fate_is_a_moment_and_a_final_one_comes_from_the_journal_once() {
    let dir = tempfile::tempdir().unwrap();
    let r = rig(dir.path()).start().await;
    r.ask("a", "commit x").await.unwrap();
    let fate = Fate::Kept { block: BlockId::default() };
    for is_final in [false, true] {
        r.host.moment(&Moment::Fate { module: "a".parse().unwrap(), seq: 1, fate: fate.clone(), is_final });
    }
    r.door.settle(1);
    r.until("the final one is told", |r| !final_fates(&r.a).is_empty()).await;
    r.block(1);
    r.until("what came after is told", |r| r.applied() == [1]).await;
    assert_eq!(final_fates(&r.a), [1]);
    let all = r.a.seen.lock().iter().filter(|e| matches!(e, Event::Fate { .. })).count();
    assert_eq!(all, 2);
    assert!(final_fates(&r.b).is_empty(), "it is not b's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_hears_how_far_a_module_has_read_for_good_and_when_it_reads_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let door = Door::new();
    let r = rig_with(dir.path(), Arc::new(Ring::new(64)), door.clone());
    let read = |id: &str| door.read.lock().get(&id.parse().unwrap()).copied();
    let r = r.start().await;
    assert!(read("a").is_some_and(|upto| upto.is_some()), "before it handled anything, all is kept for it");
    r.ask("a", "commit x").await.unwrap();
    r.door.settle(1);
    r.until("the fate is told", |r| final_fates(&r.a) == [1]).await;
    r.until("its store is synced", |_| read("a") == Some(Some(2))).await;
    let mut off = r.config.clone();
    off.modules.get_mut(&"a".parse().unwrap()).unwrap().enabled = false;
    r.host.apply(off).await.unwrap();
    assert_eq!(read("a"), Some(None));
}
