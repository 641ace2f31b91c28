//! The host runs any kind of module by one interface. Here: one that is reached by bytes only, as a
//! remote process or a wasm component would be, and reaches the house through its ports by bytes only.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "kinds/wire.rs"]
mod wire;

use async_trait::async_trait;
use bytes::Bytes;
use common::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tandem_host::{Host, Instance, Kind, Life, ModuleConfig, Phase, Ports, Registry, Stop, tx::TxBuf};
use tandem_module::{Context, Delivery, Event, Fault, Manifest, Module, ModuleTx, Permission, Refusal, Reply, Request};
use wire::{CALLS, Crossed, FullSlots, FullState, Wire, sent};

/// A puppet that uses every port when it is asked to, and every part of a transaction at each block.
struct Prober(Puppet);

#[async_trait]
impl Module for Prober {
    fn manifest(&self) -> Manifest {
        self.0.manifest()
    }
    async fn event(&self, cx: &Context, delivery: Delivery, tx: &mut dyn ModuleTx) -> Result<(), Fault> {
        if matches!(delivery.event, Event::Apply(_)) {
            wire::use_all(tx);
        }
        self.0.event(cx, delivery, tx).await
    }
    async fn request(&self, cx: &Context, request: Request) -> Result<Reply, Refusal> {
        if request.params.as_ref() == b"probe" {
            return wire::call_all(cx).await.map(|answers| Reply::Json(answers.into()));
        }
        self.0.request(cx, request).await
    }
}

const GRANT: [Permission; 4] = [Permission::State, Permission::Custom, Permission::Publish, Permission::Inclusion];

/// Reached by encoded messages, without a thread of its own.
struct ByBytes {
    control: Arc<Control>,
    ended: Arc<AtomicU64>,
    crossed: Crossed,
}

impl ByBytes {
    fn module(&self) -> Prober {
        Prober(Puppet { control: self.control.clone(), methods: vec!["far".into()], permissions: GRANT.into() })
    }
}

#[async_trait]
impl Kind for ByBytes {
    async fn manifest(&self, _: Bytes, _: Duration) -> Result<Manifest, String> {
        Ok(sent(&self.module().manifest()))
    }
    async fn start(&self, life: Life) -> Result<Box<dyn Instance>, String> {
        let crossed = self.crossed.clone();
        Ok(Box::new(Far {
            module: self.module(),
            context: wire::far(&life.context, &crossed),
            crossed,
            done: AtomicU64::new(0),
            left: false.into(),
            ended: self.ended.clone(),
        }))
    }
}

struct Far {
    module: Prober,
    context: Context,
    crossed: Crossed,
    done: AtomicU64,
    left: AtomicBool,
    ended: Arc<AtomicU64>,
}

#[async_trait]
impl Instance for Far {
    async fn events(&self, batch: Vec<Delivery>, mut tx: TxBuf) -> Result<TxBuf, Stop> {
        for (at, delivery) in batch.iter().enumerate() {
            let mut far = Wire(&mut tx as &mut dyn ModuleTx, self.crossed.clone());
            let answer = self.module.event(&self.context, sent(delivery), &mut far).await;
            answer.map_err(|fault| Stop::Fault { at, fault: sent::<Fault>(&fault) })?;
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        Ok(tx)
    }
    async fn request(&self, request: Request) -> Result<Reply, Stop> {
        let answer = self.module.request(&self.context, sent(&request)).await;
        answer.map(|r| sent(&r)).map_err(|r| Stop::Refused(sent::<Refusal>(&r)))
    }
    fn progress(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }
    fn unanswered(&self) -> u32 {
        0
    }
    fn silent_ms(&self) -> u64 {
        0
    }
    fn abandon(&self) {
        self.left.store(true, Ordering::SeqCst);
    }
    async fn end(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_of_another_kind_lives_by_the_same_interface() {
    let dir = tempfile::tempdir().unwrap();
    let (control, ended) = (Arc::new(Control::default()), Arc::new(AtomicU64::new(0)));
    *control.limits.lock() = Some(within(1_000));
    let crossed = Crossed::default();
    let kind = ByBytes { control: control.clone(), ended: ended.clone(), crossed: crossed.clone() };
    let mut r = rig(dir.path());
    let registry = Registry::new().with_kind("far", "hash of its code", Arc::new(kind));
    let ports = Ports { state: Arc::new(FullState), slots: Arc::new(FullSlots), ..ports(&r.blocks, &r.door) };
    r.host = Host::new(ports, registry, dir.path().to_owned());
    r.config.modules.clear();
    let grant = GRANT.into();
    r.config.modules.insert("far".parse().unwrap(), ModuleConfig { grant, ..Default::default() });
    let mut r = r.start().await;
    r.a = control.clone();

    control.drafts.store(true, Ordering::SeqCst);
    control.faults.store(1, Ordering::SeqCst);
    (1..=3).for_each(|n| r.block(n));
    r.until("all are handled", |r| r.health("far").feed_cursor.is_some_and(|c| c.0 == 3)).await;
    r.until("all drafts have left", |r| r.door.bodies().len() == 4).await;
    assert_eq!(r.health("far").faults, 1);
    assert_eq!(r.ask("far", "get blocks").await.unwrap(), "Some([0, 0, 0, 0, 0, 0, 0, 3])");
    assert_eq!(r.ask("far", "refuse too-dear").await.unwrap_err(), "too-dear");
    assert_eq!(r.ask("far", "commit x").await.unwrap(), "5");
    r.door.settle(5);
    r.until("its fate is told", |_| final_fates(&control) == [5]).await;

    assert_eq!(r.ask("far", "probe").await.unwrap(), "1 true true 1 Some(65) false true");
    let want: Vec<&str> = CALLS.into();
    assert_eq!(crossed.lock().iter().copied().collect::<Vec<_>>(), want, "every call of every port");
    assert!(std::panic::catch_unwind(|| sent(&f64::NAN)).is_err(), "the control: what can not be sent is found");

    // An event that it never finishes is a strike for it, too, and its ports die with it.
    control.waits.store(1, Ordering::SeqCst);
    r.ask("far", "read").await.unwrap();
    let old = control.commits.lock().last().unwrap().clone();
    r.block(4);
    r.until("it was started again", |r| r.health("far").hangs == 1 && r.health("far").phase == Phase::Running).await;
    assert_eq!(old.commit(statement("late")).await.unwrap_err().code, "abandoned");
    r.until("the event came again", |r| r.health("far").feed_cursor.is_some_and(|c| c.0 == 4)).await;
    r.host.stop().await;
    assert_eq!(ended.load(Ordering::SeqCst), 2, "each life was ended");
}
