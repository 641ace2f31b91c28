//! A module that misbehaves on demand: alone, or around another one that it then takes down with it.
//!
//! Simulated malice, for tests of what the host bears. The binary has it behind its feature `lab`, on
//! the devnet only, and only where a configuration names it.
//!
//! What it is told comes by a request to its method, `lab_hostile` alone and `lab_around` around another:
//!
//! | parameters | what it does |
//! |---|---|
//! | `["panic"]` | panics |
//! | `["hang", ms]` | keeps its thread for so long |
//! | `["wait"]` | gives its thread back, and never answers |
//! | `["hang-events", ms]` | the same, at each event from then on |
//! | `["flood", n, key, tx]` | commits under this validator's key with and without scopes, reads, counts, publishes and charges what nobody accepted n times, has this blob transaction checked as often by many at once where there is one, and answers how often it was refused; then at each of its timer's ticks |
//! | `["fates"]` | answers the fates that this instance was told: `[[seq, final], …]` |
//! | anything else | answers `"well"` |

use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tandem_module::{
    Context, Delivery, Event, Fault, Limits, Manifest, Module, ModuleTx, Permission, Refusal, Reply, Request, Trigger,
};
use tandem_types::{BlsPublicKey, Body, Custom, Draft, SignerRef};

/// The method of one that is alone.
pub const ALONE: &str = "lab_hostile";
/// The method of one that is around another.
pub const AROUND: &str = "lab_around";
/// Longest hang: a test that fails must not leave a thread that hangs for ever.
const LONGEST: Duration = Duration::from_secs(60);
/// Who has something checked at once in a flood: more than one module may have waiting.
const CHECKERS: usize = 64;
/// What one of them waits for after a refusal.
const BETWEEN: Duration = Duration::from_millis(1);
/// Fates that are remembered.
const FATES: usize = 4_096;

/// See the [module](self).
pub struct Hostile {
    inner: Option<Arc<dyn Module>>,
    hang_ms: AtomicU64,
    flood: AtomicU64,
    key: Mutex<SignerRef>,
    fates: Mutex<Vec<(u64, bool)>>,
}

impl Hostile {
    /// With nothing but malice.
    pub fn alone() -> Self {
        Self {
            inner: None,
            hang_ms: AtomicU64::new(0),
            flood: AtomicU64::new(0),
            key: Mutex::new(SignerRef::Nobody),
            fates: Mutex::default(),
        }
    }
    /// Does what another module does, and misbehaves in its place.
    pub fn around(inner: Arc<dyn Module>) -> Self {
        Self { inner: Some(inner), ..Self::alone() }
    }

    fn method(&self) -> &'static str {
        if self.inner.is_some() { AROUND } else { ALONE }
    }

    async fn misbehave(&self, cx: &Context, params: &[u8]) -> Value {
        let told: Vec<Value> = serde_json::from_slice(params).unwrap_or_default();
        let n = told.get(1).and_then(Value::as_u64).unwrap_or(1_000);
        match told.first().and_then(Value::as_str) {
            // What it is for.
            #[allow(clippy::panic)]
            Some("panic") => panic!("told to panic by the lab"),
            Some("hang") => hang(n),
            Some("wait") => std::future::pending().await,
            Some("hang-events") => self.hang_ms.store(n, Ordering::SeqCst),
            Some("flood") => {
                let key = told.get(2).and_then(|k| serde_json::from_value::<BlsPublicKey>(k.clone()).ok());
                let signer = key.map_or(SignerRef::Nobody, SignerRef::Validator);
                *self.key.lock() = signer;
                self.flood.store(n, Ordering::SeqCst);
                let tx = told.get(3).and_then(|tx| serde_json::from_value(tx.clone()).ok());
                let (calls, checks) = tokio::join!(flood(cx, n, signer), flood_checks(cx, n, tx));
                return json!(calls + checks);
            }
            Some("fates") => return json!(*self.fates.lock()),
            _ => {}
        }
        json!("well")
    }
}

/// Does not give the thread back, which is the point.
fn hang(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms).min(LONGEST));
}

fn statement(n: u64, signer: SignerRef) -> Draft {
    said(n, signer, None)
}

fn said(n: u64, signer: SignerRef, scope: Option<alloy_primitives::Bytes>) -> Draft {
    let body = Custom { tag: B256::ZERO, scope, body: n.to_be_bytes().to_vec().into() };
    Draft { signer, body: Body::Custom(body), attachments: Vec::new() }
}

/// As much as it can through every port; how many calls were refused.
async fn flood(cx: &Context, n: u64, signer: SignerRef) -> u64 {
    let mut refused = 0;
    for i in 0..n {
        let address = Address::from_word(B256::from(U256::from(i)));
        refused += u64::from(cx.state.account(address).await.is_err());
        refused += u64::from(cx.commit.commit(statement(i, signer)).await.is_err());
        let scope = i.to_be_bytes().to_vec().into();
        refused += u64::from(cx.commit.commit(said(i, signer, Some(scope))).await.is_err());
        cx.meter.count(&format!("flood {i}"), 1);
        cx.meter.charged(i, U256::MAX);
        // An ether for a record that is another's, or for none.
        cx.meter.charged(i, U256::from(1_000_000_000_000_000_000_u64));
        cx.publish.publish("flood", vec![b' '; 1_024].into());
    }
    refused
}

/// Has a blob transaction checked n times by each of many at once; how many checks were refused.
async fn flood_checks(cx: &Context, n: u64, tx: Option<alloy_primitives::Bytes>) -> u64 {
    let Some(tx) = tx else { return 0 };
    let clock = cx.chain.clock;
    let at = clock.timestamp(clock.slot_at(cx.clock.now_ms()));
    let mut checkers = tokio::task::JoinSet::new();
    for _ in 0..CHECKERS {
        let (state, tx) = (cx.state.clone(), tx.clone());
        checkers.spawn(async move {
            let mut refused = 0;
            for _ in 0..n {
                if state.check(tx.clone(), at).await.is_err() {
                    refused += 1;
                    // A refusal comes at once: who asked again at once had asked n times before the first place
                    // is free, and the flood was over.
                    tokio::time::sleep(BETWEEN).await;
                }
            }
            refused
        });
    }
    checkers.join_all().await.iter().sum()
}

#[async_trait]
impl Module for Hostile {
    fn manifest(&self) -> Manifest {
        let all = vec![Permission::State, Permission::Custom, Permission::Publish];
        let alone = Manifest {
            name: "hostile".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            triggers: vec![Trigger::Timer("flood".into(), 10), Trigger::Slot],
            permissions: all,
            limits: Limits::default(),
        };
        let mut manifest = self.inner.as_ref().map_or(alone, |m| m.manifest());
        manifest.triggers.push(Trigger::Request(self.method().into()));
        manifest
    }

    async fn event(&self, cx: &Context, delivery: Delivery, tx: &mut dyn ModuleTx) -> Result<(), Fault> {
        let ms = self.hang_ms.load(Ordering::SeqCst);
        if ms > 0 {
            hang(ms);
        }
        if let Event::Fate { seq, is_final, .. } = &delivery.event {
            let mut fates = self.fates.lock();
            if fates.len() < FATES {
                fates.push((*seq, *is_final));
            }
        }
        if matches!(delivery.event, Event::Timer(_)) {
            let signer = *self.key.lock();
            for i in 0..self.flood.load(Ordering::SeqCst).min(1_000) {
                tx.publish("flood", vec![b' '; 1_024].into());
                tx.draft(statement(delivery.seq.wrapping_mul(1_000).wrapping_add(i), signer));
                tx.put(Bytes::from(format!("{}", i % 100)), vec![0; 1_024].into());
            }
        }
        match &self.inner {
            Some(inner) => inner.event(cx, delivery, tx).await,
            None => Ok(()),
        }
    }

    async fn request(&self, cx: &Context, request: Request) -> Result<Reply, Refusal> {
        if request.method == self.method() {
            let answer = self.misbehave(cx, &request.params).await;
            return Ok(Reply::Json(answer.to_string().into()));
        }
        match &self.inner {
            Some(inner) => inner.request(cx, request).await,
            None => Err(Refusal::new("unknown-method", "it only misbehaves")),
        }
    }
}
