//! Modules that give their thread back and never answer.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{Address, B256, Bytes};
use async_trait::async_trait;
use common::*;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tandem_host::{Host, LimitsConfig, ModuleConfig, Phase, Ports, Registry};
use tandem_module::{Account, BlobParams, HeaderInfo, Refusal, State, TxReport};
use tandem_testkit::hostile::{ALONE, Hostile};
use tandem_types::BlockId;

/// Requests in a row that are a hang.
const ROW: usize = 8;

/// A host with a hostile module and the puppet `b`, of which neither may take longer than `request_ms`.
async fn beside_a_hostile_one(dir: &std::path::Path, request_ms: u64) -> Rig {
    let mut r = rig(dir);
    let control = r.b.clone();
    let registry = Registry::new().with("hostile", "1", |_| Ok(Arc::new(Hostile::alone()))).with("b", "1", move |_| {
        Ok(Arc::new(Puppet { control: control.clone(), methods: vec!["b".into()], permissions: vec![] }))
    });
    r.host = Host::new(ports(&r.blocks, &r.door), registry, dir.to_owned());
    let limits = Some(LimitsConfig { request_ms: Some(request_ms), ..Default::default() });
    let module = ModuleConfig { limits, ..Default::default() };
    r.config.modules = ["hostile", "b"].map(|n| (n.parse().unwrap(), module.clone())).into();
    r.start_all_but_feeds().await
}

impl Rig {
    /// As [`Rig::start`], where not every module is called at blocks.
    async fn start_all_but_feeds(self) -> Self {
        self.host.apply(self.config.clone()).await.unwrap();
        self.until("all run", |r| r.host.health().iter().all(|h| h.phase == Phase::Running)).await;
        self
    }
    /// So many requests at once that never end.
    async fn never_answered(&self, method: &str, text: &str, n: usize) {
        for answer in futures::future::join_all((0..n).map(|_| self.ask(method, text))).await {
            assert_eq!(answer.unwrap_err(), "late");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_never_answers_and_keeps_no_thread_is_struck_restarted_and_banned_after_the_third_time() {
    let dir = tempfile::tempdir().unwrap();
    let r = beside_a_hostile_one(dir.path(), 2_000).await;
    for n in 1..=3u32 {
        r.never_answered(ALONE, r#"["wait"]"#, ROW).await;
        let want = if n < 3 { Phase::Running } else { Phase::Banned };
        r.until("it was judged", |r| r.health("hostile").strikes == n && r.health("hostile").phase == want).await;
        assert_eq!(r.ask("b", "still here").await.unwrap(), "still here");
    }
    let h = r.health("hostile");
    assert_eq!((h.hangs, h.late, h.restarts, h.panics), (3, 3 * ROW as u64, 2, 0));
    let why = h.last_error.unwrap();
    assert!(why.contains("8 requests in a row within 2000 ms"), "{why}");
    assert_eq!(r.ask(ALONE, "[]").await.unwrap_err(), "module-down");
    // It gave its thread back: none is left behind.
    r.until("its threads have ended", |r| r.health("hostile").stuck_threads == 0).await;
    let b = r.health("b");
    assert_eq!((b.hangs, b.restarts), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fewer_in_a_row_are_slow_requests_and_an_answer_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let r = beside_a_hostile_one(dir.path(), 2_000).await;
    for _ in 0..3 {
        r.never_answered(ALONE, r#"["wait"]"#, ROW - 1).await;
        assert_eq!(r.ask(ALONE, "[]").await.unwrap(), r#""well""#);
    }
    let h = r.health("hostile");
    assert_eq!((h.late, h.hangs, h.strikes, h.restarts), (3 * (ROW as u64 - 1), 0, 0, 0));
    // The control: one more, and it is one.
    r.never_answered(ALONE, r#"["wait"]"#, ROW).await;
    r.until("it was judged", |r| r.health("hostile").hangs == 1).await;
}

/// A node that does not answer until it is told to.
#[derive(Default)]
struct SlowState(AtomicBool);

#[async_trait]
impl State for SlowState {
    async fn headers(&self) -> Result<Vec<HeaderInfo>, Refusal> {
        Ok(Vec::new())
    }
    async fn account(&self, _: Address) -> Result<Account, Refusal> {
        if self.0.load(Ordering::SeqCst) {
            return Ok(Account::default());
        }
        std::future::pending().await
    }
    async fn check(&self, _: Bytes, _: u64) -> Result<TxReport, Refusal> {
        Err(Refusal::new("unused", "not asked for here"))
    }
    fn blob_params(&self, _: u64) -> BlobParams {
        BlobParams::default()
    }
    async fn included(&self, _: B256) -> Option<BlockId> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_waits_for_the_node_is_not_struck_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut r = rig(dir.path());
    let (control, state) = (r.a.clone(), Arc::new(SlowState::default()));
    let grant = vec![tandem_module::Permission::State];
    let asked = grant.clone();
    let registry = Registry::new().with("a", "1", move |_| {
        Ok(Arc::new(Puppet { control: control.clone(), methods: vec!["a".into()], permissions: asked.clone() }))
    });
    let ports = Ports { state: state.clone(), ..ports(&r.blocks, &r.door) };
    r.host = Host::new(ports, registry, dir.path().to_owned());
    let limits = Some(LimitsConfig { request_ms: Some(2_000), ..Default::default() });
    r.config.modules = [("a".parse().unwrap(), ModuleConfig { grant, limits, ..Default::default() })].into();
    let r = r.start().await;
    // The puppet takes four at once.
    for _ in 0..3 {
        r.never_answered("a", "read", 4).await;
    }
    state.0.store(true, Ordering::SeqCst);
    assert_eq!(r.ask("a", "read").await.unwrap(), "0");
    let h = r.health("a");
    assert_eq!((h.late, h.hangs, h.strikes, h.restarts), (12, 0, 0, 0));
}
