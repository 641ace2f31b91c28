//! The house as the gateway sees it.

use super::{
    now_ms,
    views::Shared,
    wallets::{self, Wallets},
};
use crate::config::Config;
use alloy_primitives::B256;
use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_gateway::{
    AdminToken, Backend, Gateway, NodeError, Order, Running,
    backend::Newest,
    view::{self, Health},
};
use tandem_host::HostConfig;
use tandem_ledger::Report;
use tandem_module::{Refusal, Reply, Request};
use tandem_types::{ModuleId, Slot};

/// The gateway's settings with the file of the admin token, where none is named for it.
pub fn with_secrets(config: &Config) -> tandem_gateway::Config {
    let mut gateway = config.gateway.clone();
    if gateway.admin_token_file.is_none() && gateway.admin_token_env.is_none() {
        gateway.admin_token_file = Some(config.paths.admin_token.clone());
    }
    gateway
}

/// Starts the gateway.
///
/// # Errors
/// If its address can not be had, or a secret not be read.
pub async fn serve(config: &Config, shared: Arc<Shared>) -> Result<Running> {
    let gateway = with_secrets(config);
    if gateway.admin_token_file.as_ref() == Some(&config.paths.admin_token) {
        // One that is there is left alone.
        AdminToken::create_file(&config.paths.admin_token)?;
    }
    let in_force = InForce { run: config.run.clone(), switched: BTreeMap::new() };
    let orders = Orders { shared: Arc::clone(&shared), in_force: tokio::sync::Mutex::new(in_force) };
    let node_bytes = gateway.limits.answer_bytes;
    let house = Arc::new(House {
        shared: Arc::clone(&shared),
        orders: Arc::new(orders),
        node_bytes,
        wallets: Wallets::default(),
    });
    let (events, metrics, registry) = (shared.events.clone(), shared.metrics.clone(), shared.registry.clone());
    Ok(Gateway::new(gateway, house, events, metrics, registry)?.serve().await?)
}

struct House {
    shared: Arc<Shared>,
    orders: Arc<Orders>,
    /// Bytes of a forwarded call's answer.
    node_bytes: usize,
    wallets: Wallets,
}

#[derive(Deserialize)]
struct Answered {
    commitment: Commitment,
}
#[derive(Deserialize)]
struct Commitment {
    #[serde(alias = "requestHash")]
    request_hash: B256,
}

impl House {
    /// Notes how long a promise took and whose it is, by the hash in its answer.
    fn note(&self, (caller, method): (&str, &str), reply: &Reply, arrived_ms: u64, since: Instant) {
        let Reply::Json(json) = reply else { return };
        let hash = match method {
            "commitmentRequest" => serde_json::from_slice::<Answered>(json).ok().map(|a| a.commitment.request_hash),
            "eth_sendRawTransaction" => serde_json::from_slice(json).ok(),
            _ => None,
        };
        if let Some(record) = hash.and_then(|h| self.shared.record_of(h)) {
            self.shared.took(&record, arrived_ms, u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
            if let Some((promise, facts)) = record.promise() {
                self.wallets.asked(caller, facts.hash, promise.private);
            }
        }
    }

    /// Asks the node, and answers with what it said.
    async fn forward(&self, method: &str, params: &Bytes, within: Duration) -> Result<Bytes, NodeError> {
        let text = String::from_utf8_lossy(params).into_owned();
        let params =
            serde_json::value::RawValue::from_string(text).map_err(|e| NodeError::Unavailable(e.to_string()))?;
        let node = self.shared.node.within(within);
        let rpc = node.rpc().over(node.rpc().http().capped(self.node_bytes));
        let answer = rpc.forward(method, &params).await;
        answer.map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())).map_err(|e| match e {
            tandem_node::NodeError::Rpc { error, .. } => {
                NodeError::Rpc { code: error.code, message: error.message, data: error.data }
            }
            other => {
                // Its own words may name the operator's addresses.
                tracing::debug!(error = %other, method, "a forwarded call failed");
                NodeError::Unavailable(other.name().into())
            }
        })
    }

    /// What a promise of a plain transfer costs now, where a module says so. In half of the time: a module that
    /// is slow does not cost the node's own answer.
    async fn fees(&self, caller: &str, within: Duration) -> Option<wallets::Fees> {
        const METHOD: &str = "tandem_fees";
        self.shared.host.answers(METHOD)?;
        let within = within / 2;
        let deadline_ms = now_ms().saturating_add(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        let params = Bytes::from_static(b"[]");
        let request = Request { method: METHOD.into(), params, caller: caller.into(), deadline_ms };
        let asked = tokio::time::timeout(within, self.shared.host.request(METHOD, request)).await;
        match asked.ok()?.ok()? {
            Reply::Json(told) => serde_json::from_slice(&told).ok(),
            Reply::Subscribe(_) => None,
        }
    }
}

#[async_trait]
impl Backend for House {
    fn serves(&self, method: &str) -> bool {
        self.shared.host.answers(method).is_some()
    }
    async fn request(&self, request: Request) -> Result<Reply, Refusal> {
        let (arrived_ms, since) = (now_ms(), Instant::now());
        let (method, caller) = (request.method.clone(), request.caller.clone());
        let module = self.shared.host.answers(&method);
        let reply = self.shared.host.request(&method, request).await?;
        self.note((&caller, &method), &reply, arrived_ms, since);
        Ok(match (reply, module) {
            // A module names its own channel; who listens must say whose it is.
            (Reply::Subscribe(channel), Some(module)) => Reply::Subscribe(format!("{module}/{channel}")),
            (reply, _) => reply,
        })
    }
    fn publishes(&self, module: &ModuleId, channel: &str) -> bool {
        self.shared.host.may_publish(module, channel)
    }
    async fn node(&self, caller: &str, method: &str, params: Bytes, deadline: Instant) -> Result<Bytes, NodeError> {
        let within = deadline.saturating_duration_since(Instant::now());
        if wallets::is_of_fees(method) {
            let (answer, fees) = tokio::join!(self.forward(method, &params, within), self.fees(caller, within));
            let answer = answer?;
            return Ok(fees.and_then(|fees| wallets::raised(method, &answer, &fees)).unwrap_or(answer));
        }
        let answer = self.forward(method, &params, within).await?;
        // After the node's answer: what a block took meanwhile is counted by one of the two.
        let promised =
            wallets::next_of(method, &params).map(|sender| self.wallets.own(caller, self.shared.slots.pledged(sender)));
        Ok(promised.and_then(|promised| wallets::next_nonce(&answer, &promised)).unwrap_or(answer))
    }
    fn health(&self) -> Health {
        self.shared.health()
    }
    fn ready(&self) -> Health {
        self.shared.ready()
    }
    fn status(&self) -> view::Status {
        self.shared.status()
    }
    fn slots(&self) -> Vec<view::SlotView> {
        self.shared.slot_views()
    }
    fn promises(&self, which: Newest) -> Vec<view::Promise> {
        self.shared.promises(which.limit, which.slot)
    }
    fn blocks(&self, which: Newest) -> Vec<view::BlockView> {
        self.shared.block_views(which.limit, which.slot)
    }
    fn modules(&self) -> Vec<view::ModuleView> {
        self.shared.module_views()
    }
    fn completeness(&self, slot: Slot) -> Option<view::Completeness> {
        self.shared.completeness(slot)
    }
    async fn ledger(&self, days: u64) -> Result<Report, Refusal> {
        let ledger = Arc::clone(&self.shared.ledger);
        let read = tokio::task::spawn_blocking(move || ledger.report(now_ms(), days)).await;
        let failed = |e: String| Refusal::new("ledger-unreadable", e);
        read.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))
    }
    async fn order(&self, order: Order) -> Result<(), Refusal> {
        let orders = Arc::clone(&self.orders);
        // In a task of its own: who ordered may leave before it is carried out, and half of an order is
        // worse than none.
        let carried = tokio::spawn(async move { orders.carry_out(order).await }).await;
        carried.map_err(|e| Refusal::new("not-applied", e.to_string()))?
    }
}

/// What the modules run by.
#[derive(Clone)]
struct InForce {
    /// The configuration file's `run` table, as it was last read.
    run: HostConfig,
    /// Modules that an order switched on or off. That holds until the module is reloaded or the process
    /// ends: what holds for good is in the file, and in one place only.
    switched: BTreeMap<ModuleId, bool>,
}

impl InForce {
    fn whole(&self) -> HostConfig {
        let mut run = self.run.clone();
        for (id, on) in &self.switched {
            run.modules.entry(id.clone()).and_modify(|m| m.enabled = *on);
        }
        run
    }
}

/// Carries out orders, one after the other.
struct Orders {
    shared: Arc<Shared>,
    in_force: tokio::sync::Mutex<InForce>,
}

impl Orders {
    async fn carry_out(&self, order: Order) -> Result<(), Refusal> {
        let done = self.carry_out_one(order).await;
        // Whoever looks next sees what it did.
        self.shared.look_anew();
        done
    }

    async fn carry_out_one(&self, order: Order) -> Result<(), Refusal> {
        match order {
            Order::EnableModule(id) => self.switch(id, true).await,
            Order::DisableModule(id) => self.switch(id, false).await,
            Order::ReloadModule(id) => self.reload(id).await,
            Order::ResumePromising => {
                self.shared.blocks.resume().map_err(|e| Refusal::new("not-resumed", e.to_string()))
            }
            Order::StopPromising => self
                .shared
                .blocks
                .stop_promising("the operator said so")
                .map_err(|e| Refusal::new("not-stopped", e.to_string())),
        }
    }

    async fn switch(&self, id: ModuleId, on: bool) -> Result<(), Refusal> {
        let mut in_force = self.in_force.lock().await;
        let Some(module) = in_force.run.modules.get(&id) else { return Err(unknown(&id)) };
        if module.enabled != on {
            tracing::warn!(module = %id, on, "switched until it is reloaded or the host starts again; `enabled` in the file holds for good");
        }
        let mut next = in_force.clone();
        next.switched.insert(id.clone(), on);
        self.apply(&mut in_force, next, &id).await
    }

    /// Takes the whole `run` table of the file: modules that are new in it start, those that are gone
    /// from it stop, and all of its rules count.
    async fn reload(&self, id: ModuleId) -> Result<(), Refusal> {
        let mut in_force = self.in_force.lock().await;
        let path = self.shared.config_path.clone();
        let read = tokio::task::spawn_blocking(move || Config::read(&path)).await;
        let bad = |why: String| Refusal::new("bad-configuration", why);
        let run = read.map_err(|e| bad(e.to_string()))?.map_err(|e| bad(e.to_string()))?.run;
        if !run.modules.contains_key(&id) && !in_force.run.modules.contains_key(&id) {
            return Err(unknown(&id));
        }
        let mut next = InForce { run, switched: in_force.switched.clone() };
        next.switched.retain(|switched, _| *switched != id && next.run.modules.contains_key(switched));
        self.apply(&mut in_force, next, &id).await
    }

    async fn apply(&self, in_force: &mut InForce, next: InForce, id: &ModuleId) -> Result<(), Refusal> {
        let applied = self.shared.host.apply_for(next.whole(), id).await;
        applied.map_err(|e| Refusal::new("not-applied", e.to_string()))?;
        *in_force = next;
        Ok(())
    }
}

fn unknown(id: &ModuleId) -> Refusal {
    Refusal::new("unknown-module", format!("no module {id} is configured"))
}
