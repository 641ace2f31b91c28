//! One L1 with hosts beside it, and the questions that tests ask of it.

use alloy_primitives::{Address, B256, Bytes};
use serde_json::{Value, json};
use std::{collections::BTreeMap, ops::Range, path::Path, time::Duration};
use tandem_demo::{
    ask, http,
    kill::oracle::Answer,
    process::Host,
    rig::{Rig, RigConfig, hex_number, now_ms},
    wallet::{Fees, Wallet},
};
use tandem_testkit::{Behaviour, Relay, RelayConfig};
use tokio::sync::{Mutex, MutexGuard};

/// Only one L1 at a time: the machine is small, and slots are short.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// How long any single answer may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long something that must happen may take.
const DEADLINE: Duration = Duration::from_secs(90);
/// How long before a slot's cut-off it must still be open: time for a few promises, each with its sync.
const LEAD_MS: u64 = 2_500;
/// Slots that steps are tried in where one must end in a block of the host's own: a node waits a second at most for a
/// header, and builds itself if the machine stood still as long.
pub const TRIES: u32 = 4;
pub const SEED: u64 = 1;
pub const VALIDATORS: u64 = 32;
pub const GWEI: u128 = 1_000_000_000;

/// A host to be.
#[derive(Clone)]
pub struct Plan {
    pub name: &'static str,
    pub validators: Range<u64>,
    pub personality: &'static str,
    /// Changes `tandem.toml` before the host starts.
    pub edit: fn(String) -> String,
    /// Relays that it asks, silent at first; whether each speaks the constraints API.
    pub relays: &'static [bool],
}

impl Plan {
    pub fn new(name: &'static str, validators: Range<u64>, personality: &'static str) -> Self {
        Self { name, validators, personality, edit: |text| text, relays: &[] }
    }
}

pub struct World {
    pub rig: Rig,
    pub hosts: Vec<Host>,
    /// The hosts' relays, in the order of their plans.
    pub relays: Vec<Relay>,
    ranges: Vec<Range<u64>>,
    _turn: MutexGuard<'static, ()>,
}

/// What somebody was promised.
#[derive(Clone, Debug)]
pub struct Held {
    pub slot: u64,
    pub hash: B256,
    pub raw: Bytes,
    pub request: Bytes,
    pub answer: Bytes,
}

/// An L1 at this pace. What is late on a loaded machine is orphaned by nobody: tests of that say otherwise.
pub fn paced(slot_ms: u64) -> RigConfig {
    let config = RigConfig { slot_ms, validators: VALIDATORS, seed: SEED, accounts: 200, ..RigConfig::default() };
    RigConfig { late_after_permille: 900, reorg_late_heads: false, ..config }
}

async fn relay(rig: &Rig, seed: u64, constraints: bool) -> Relay {
    let config = RelayConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        execution: rig.execution().to_owned(),
        beacon: rig.beacon().to_owned(),
        genesis_fork_version: rig.genesis_fork_version(),
        chain_id: rig.chain_id(),
        seed,
        constraints,
        behaviour: Behaviour { silent: true, ..Behaviour::default() },
    };
    Relay::start(config).await.unwrap()
}

/// An L1, hosts that are ready, and their relays.
async fn hosts(config: RigConfig, plans: Vec<Plan>) -> anyhow::Result<(Rig, Vec<Host>, Vec<Relay>)> {
    let mut rig = Rig::start(config).await?;
    let (mut hosts, mut relays) = (Vec::new(), Vec::new());
    for plan in plans {
        let mut urls = Vec::new();
        for constraints in plan.relays {
            let relay = relay(&rig, relays.len() as u64 + 1, *constraints).await;
            urls.push(format!("{}{}", relay.url(), if *constraints { "+constraints" } else { "" }));
            relays.push(relay);
        }
        let binary = Path::new(env!("CARGO_BIN_EXE_tandem"));
        let mut host = rig.add_host(binary, plan.name, plan.validators, plan.personality, &urls).await?;
        let file = host.dir.join("tandem.toml");
        let text = std::fs::read_to_string(&file)?;
        std::fs::write(&file, (plan.edit)(text))?;
        host.flag("--first-use");
        host.start()?;
        hosts.push(host);
    }
    for host in &mut hosts {
        host.ready(Duration::from_secs(60)).await?;
        host.without_flag("--first-use");
    }
    Ok((rig, hosts, relays))
}

impl World {
    pub async fn start(slot_ms: u64, plans: Vec<Plan>) -> Self {
        Self::start_on(paced(slot_ms), plans).await
    }

    pub async fn start_on(config: RigConfig, plans: Vec<Plan>) -> Self {
        let mut world = Self::unconnected_on(config, plans).await;
        for host in &mut world.hosts {
            world.rig.connect(host).await.unwrap();
        }
        world.wait_until_served().await;
        world
    }

    /// Hosts run, and no beacon node knows of them yet.
    pub async fn unconnected(slot_ms: u64, plans: Vec<Plan>) -> Self {
        Self::unconnected_on(paced(slot_ms), plans).await
    }

    async fn unconnected_on(config: RigConfig, plans: Vec<Plan>) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let ranges = plans.iter().map(|plan| plan.validators.clone()).collect();
        let mut tried = 0;
        loop {
            tried += 1;
            match hosts(config.clone(), plans.clone()).await {
                Ok((rig, hosts, relays)) => return Self { rig, hosts, relays, ranges, _turn: turn },
                // A free port is found a while before it is used: another process may have taken it meanwhile.
                Err(e) if tried < TRIES && format!("{e:#}").contains("in use") => {}
                Err(e) => panic!("{e:#}"),
            }
        }
    }

    pub async fn wait_until_served(&self) {
        for host in &self.hosts {
            ask::wait_until_served(&host.gateway, DEADLINE).await.unwrap();
        }
    }

    pub async fn stop(mut self) {
        for host in &mut self.hosts {
            host.stop().unwrap();
        }
        self.rig.stop().await;
    }

    pub fn wallet(&self, index: u32) -> Wallet {
        Wallet::nth(index, self.rig.chain_id()).unwrap()
    }

    pub fn is_of(&self, host: usize, validator: u64) -> bool {
        self.ranges[host].contains(&validator)
    }

    /// The proposers of the running epoch and the next: slot → (validator, key).
    pub async fn proposers(&self) -> BTreeMap<u64, (u64, String)> {
        let epoch = self.rig.slot_now() / 32;
        let mut all = BTreeMap::new();
        for e in [epoch, epoch + 1] {
            let url = format!("{}/eth/v1/validator/duties/proposer/{e}", self.rig.beacon());
            let v = http::get(&url, PATIENCE).await.unwrap().json().unwrap();
            let number = |v: &Value| v.as_str().unwrap().parse::<u64>().unwrap();
            for d in v["data"].as_array().unwrap_or_else(|| panic!("no duties: {v}")) {
                let key = d["pubkey"].as_str().unwrap().to_owned();
                all.insert(number(&d["slot"]), (number(&d["validator_index"]), key));
            }
        }
        all
    }

    /// Slots of a host that it serves now and that begin in `lead` slots or later, soonest first.
    pub async fn open_slots(&self, host: usize, lead: u64) -> Vec<u64> {
        let from = self.rig.slot_now() + lead;
        // A host that was just killed may be starting its module.
        let served = ask::served(&self.hosts[host].gateway).await.unwrap_or_default();
        served.iter().map(|s| s.slot).filter(|s| *s >= from).collect()
    }

    /// Those of them that also leave a loaded machine time for a few promises before they are closed.
    async fn open_long_enough(&self, host: usize, lead: u64) -> impl Iterator<Item = u64> {
        let (clock, open) = (self.rig.clock(), self.open_slots(host, lead).await);
        let from = now_ms() + LEAD_MS + clock.wall_slot_ms / 8;
        open.into_iter().filter(move |slot| clock.start_ms((*slot).into()) >= from)
    }

    /// The soonest of those, once there is one.
    pub async fn open_slot(&self, host: usize, lead: u64) -> u64 {
        until("a slot to be open", async || self.open_long_enough(host, lead).await.next()).await
    }

    /// The soonest of them whose very top a sender without a deposit may have: one of an even number.
    pub async fn open_slot_with_top(&self, host: usize, lead: u64) -> u64 {
        let even = async || self.open_long_enough(host, lead).await.find(|s| s % 2 == 0);
        until("a slot with a top to be open", even).await
    }

    /// What a host answers to a request for a transfer with a tip in gwei.
    pub async fn try_promise(&self, host: usize, sender: u32, nonce: u64, slot: u64) -> Result<Held, String> {
        let (asked, tx) = ask::ask(&self.wallet(sender), sender, nonce, slot, 1, Fees::default()).unwrap();
        match ask::send(&self.hosts[host].gateway, &asked.request, PATIENCE).await {
            Answer::Promise(answer) => Ok(Held { slot, hash: tx.hash, raw: tx.raw, request: asked.request, answer }),
            other => Err(format!("{other:?}")),
        }
    }

    /// The same, asked again while there is no answer: the host may be busy, or late with it.
    pub async fn promise(&self, host: usize, sender: u32, nonce: u64, slot: u64) -> Held {
        let answer =
            until("a promise or a refusal", async || match self.try_promise(host, sender, nonce, slot).await {
                Err(why) if why == "Nothing" => None,
                answer => Some(answer),
            });
        answer.await.unwrap_or_else(|why| {
            panic!("slot {slot} of host {host} was not promised to sender {sender}: {why}\n{}", self.log(host))
        })
    }

    /// Stops a host, changes its `tandem.toml`, and starts it again.
    pub async fn reconfigure(&mut self, host: usize, edit: impl FnOnce(String) -> String) {
        let host = &mut self.hosts[host];
        let file = host.dir.join("tandem.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        host.stop().unwrap();
        std::fs::write(&file, edit(text)).unwrap();
        host.start().unwrap();
        host.ready(Duration::from_secs(60)).await.unwrap();
    }

    /// The slot's block as the host shows it.
    pub async fn shown(&self, host: usize, slot: u64) -> Value {
        let url = format!("{}/api/v1/blocks?slot={slot}", self.hosts[host].gateway);
        until("the block in the host's list", async || {
            let all = http::get(&url, PATIENCE).await.ok()?.json().ok()?;
            let list = all.as_array().or_else(|| all["blocks"].as_array()).cloned().unwrap_or_default();
            list.first().cloned()
        })
        .await
    }

    /// Another transaction with a sender's nonce, which pays far more.
    pub fn richer(&self, sender: u32, nonce: u64) -> (B256, Bytes) {
        let fees = Fees { max_fee: 3_000 * GWEI, tip: 800 * GWEI };
        let tx = self.wallet(sender).transfer(nonce, Address::repeat_byte(0x99), 2, fees).unwrap();
        (tx.hash, tx.raw)
    }

    /// Hands a transaction to the public pool.
    pub async fn publish(&self, raw: &Bytes) {
        self.execution("eth_sendRawTransaction", json!([raw])).await;
    }

    pub async fn execution(&self, method: &str, params: Value) -> Value {
        http::rpc(self.rig.execution(), method, params, PATIENCE).await.unwrap()
    }

    /// The slot of the canonical block that has a transaction.
    pub async fn slot_of(&self, hash: B256) -> Option<u64> {
        let receipt = self.execution("eth_getTransactionReceipt", json!([hash])).await;
        let block = self.execution("eth_getBlockByNumber", json!([receipt["blockNumber"].as_str()?, false])).await;
        self.rig.clock().slot_of_timestamp(hex_number(&block["timestamp"])?).map(u64::from)
    }

    /// Waits until a slot's block is on the chain.
    pub async fn block_of(&self, slot: u64) -> String {
        self.rig.wait_for_slot(slot).await.unwrap();
        until(&format!("the block of slot {slot}"), async || self.rig.block_root_at(slot).await.unwrap()).await
    }

    /// What the slot's proposer decided.
    pub async fn decision(&self, slot: u64) -> Value {
        let url = format!("{}/tandem/v1/devnet/decisions", self.rig.beacon());
        until(&format!("a decision about slot {slot}"), async || {
            let all = http::get(&url, PATIENCE).await.unwrap().json().unwrap();
            let of = |d: &&Value| d["slot"] == json!(slot) || d["slot"] == json!(slot.to_string());
            all.as_array().unwrap().iter().rev().find(of).cloned()
        })
        .await
    }

    /// The fate that a host tells, once it is one that `is` takes.
    pub async fn fate(&self, host: usize, held: &Held, is: &str) -> Value {
        let begin = std::time::Instant::now();
        loop {
            let told = ask::promise(&self.hosts[host].gateway, &held.hash.to_string()).await;
            if let Ok(v) = &told
                && v["fate"]["fate"] == is
            {
                return v["fate"].clone();
            }
            if begin.elapsed() > DEADLINE {
                let told = told.map(|v| v["fate"].to_string());
                panic!("slot {}: not {is} but {told:?}\n{}", held.slot, self.log(host));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits for the slot's end, and checks that the transaction is in exactly its block.
    pub async fn assert_in_its_slot(&self, host: usize, held: &Held) {
        self.rig.wait_for_slot(held.slot + 1).await.unwrap();
        // The block may be a moment late, and is then in its slot all the same.
        let (begin, mut found) = (std::time::Instant::now(), None);
        while found.is_none() && begin.elapsed() < DEADLINE {
            found = self.slot_of(held.hash).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        if found != Some(held.slot) {
            let decided = self.decision(held.slot).await;
            panic!("slot {}: found in {found:?}; {decided}\n{}", held.slot, self.log(host));
        }
    }

    /// The same, and that the host knows it.
    pub async fn assert_kept(&self, host: usize, held: &Held) {
        self.assert_in_its_slot(host, held).await;
        self.fate(host, held, "kept").await;
    }

    /// Whether the slot's block is the host's own. The promised transactions are in the node's local block,
    /// too, since the seal made them public: being kept alone does not show that the host goes on.
    pub async fn is_own(&self, host: usize, slot: u64) -> bool {
        self.block_of(slot).await;
        let decided = self.decision(slot).await;
        decided["chosen"] == "builder" && self.shown(host, slot).await["origin"]["from"] == "own"
    }

    pub fn log(&self, host: usize) -> String {
        self.hosts[host].log_tail(60)
    }

    /// An operator's order to a host.
    pub async fn order(&self, host: usize, order: &str) -> u16 {
        let host = &self.hosts[host];
        let token = std::fs::read_to_string(host.dir.join("admin-token")).unwrap();
        let url = format!("{}/api/v1/{order}", host.gateway);
        http::post(&url, &json!({}), Some(token.trim()), PATIENCE).await.unwrap().status
    }

    /// The same answer, byte for byte, to the same request.
    pub async fn assert_same(&self, host: usize, held: &Held) {
        let again = until("the same answer again", async || {
            let again = ask::send(&self.hosts[host].gateway, &held.request, PATIENCE).await;
            (again != Answer::Nothing).then_some(again)
        });
        assert_eq!(again.await, Answer::Promise(held.answer.clone()), "slot {}", held.slot);
    }
}

/// Asks until there is an answer.
pub async fn until<T>(what: &str, question: impl AsyncFn() -> Option<T>) -> T {
    let begin = std::time::Instant::now();
    loop {
        if let Some(found) = question().await {
            return found;
        }
        assert!(begin.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Takes the steps of a slot, of each try another one, until they say that it went as planned. Whatever must hold in
/// each of them they assert themselves.
pub async fn tries(what: &str, mut steps: impl AsyncFnMut(u32) -> bool) {
    for n in 0..TRIES {
        if steps(n).await {
            return;
        }
        eprintln!("{what}: not in try {n}, by a machine that is too slow");
    }
    panic!("{what}: not in {TRIES} slots");
}

/// Runs the program to its end.
pub async fn tandem(args: &[&str]) -> std::process::Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(args).kill_on_drop(true);
    tokio::time::timeout(std::time::Duration::from_secs(120), command.output()).await.expect("it ends").unwrap()
}

/// All that it said.
pub fn said(out: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}
