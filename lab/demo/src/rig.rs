//! A simulated L1 with hosts beside it, as the demo, the kill loop and the benchmarks use it.
//!
//! The devnet runs in this process; hosts are processes of their own and reach it by RPC only.

use crate::{
    http,
    process::{Host, free_port},
};
use alloy_primitives::Address;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tandem_devnet::{Devnet, consensus::FinalityConfig, proposer::Breaker};
use tandem_types::{SlotClock, Wei};

/// How long an answer of the devnet may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a host waits for what it promised, as `tandem init` writes it.
const WAITS: &str = "waits_ms = 60000";

/// What to start.
#[derive(Clone, Debug)]
pub struct RigConfig {
    /// Wall milliseconds per slot.
    pub slot_ms: u64,
    /// Chain seconds per slot.
    pub slot_seconds: u64,
    /// Validators.
    pub validators: u64,
    /// Seed.
    pub seed: u64,
    /// Load accounts with money at genesis.
    pub accounts: u32,
    /// Gas limit of blocks.
    pub gas_limit: u64,
    /// Finality.
    pub finality: FinalityConfig,
    /// Per mille of a slot after which its block is late.
    pub late_after_permille: u64,
    /// Whether the next proposer orphans a late head.
    pub reorg_late_heads: bool,
    /// Further accounts that have just so much at genesis.
    pub purses: BTreeMap<Address, Wei>,
    /// Keep the folder of keys, journals and logs at the end.
    pub keep: bool,
}

impl Default for RigConfig {
    fn default() -> Self {
        let devnet = tandem_devnet::Config::default();
        Self {
            slot_ms: 2_000,
            slot_seconds: 12,
            validators: 32,
            seed: 1,
            accounts: 40_000,
            gas_limit: 60_000_000,
            finality: FinalityConfig::default(),
            late_after_permille: devnet.late_after_permille,
            reorg_late_heads: devnet.reorg_late_heads,
            purses: BTreeMap::new(),
            keep: false,
        }
    }
}

/// The running L1 and the folder of its hosts.
pub struct Rig {
    config: RigConfig,
    devnet: Devnet,
    dir: tempfile::TempDir,
    chain_id: u64,
    clock: SlotClock,
    execution: String,
    beacon: String,
    ranges: Vec<(String, Range<u64>, String)>,
}

impl Rig {
    /// Starts the L1 and waits until it answers.
    ///
    /// # Errors
    /// If it does not.
    pub async fn start(config: RigConfig) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tandem-lab-").tempdir().context("a folder for the run")?;
        if !config.keep {
            crate::stop::removed_at_any_end(dir.path());
        }
        let devnet = Devnet::start(tandem_devnet::Config {
            slot_wall_ms: config.slot_ms,
            slot_seconds: config.slot_seconds,
            validators: u32::try_from(config.validators)?,
            seed: config.seed,
            load_accounts: config.accounts,
            gas_limit: config.gas_limit,
            finality: config.finality,
            late_after_permille: config.late_after_permille,
            reorg_late_heads: config.reorg_late_heads,
            accounts: config.purses.clone(),
            execution_port: free_port()?,
            beacon_port: free_port()?,
            ..tandem_devnet::Config::default()
        })
        .await
        .context("starting the devnet")?;
        let said = http::get(&format!("{}/tandem/v1/devnet", devnet.beacon_url()), PATIENCE).await?.json()?;
        let said = said.get("data").unwrap_or(&said).clone();
        let clock =
            serde_json::from_value(said["clock"].clone()).with_context(|| format!("the devnet's clock in {said}"))?;
        let id = http::rpc(&devnet.execution_url(), "eth_chainId", json!([]), PATIENCE).await?;
        let chain_id = hex_number(&id).context("eth_chainId")?;
        let (execution, beacon) = (devnet.execution_url(), devnet.beacon_url());
        Ok(Self { config, devnet, dir, chain_id, clock, execution, beacon, ranges: Vec::new() })
    }

    /// Makes a host's folder with `tandem init`. It is not started yet, and no beacon node knows of it:
    /// see [`Rig::connect`].
    ///
    /// # Errors
    /// If `init` fails, with what it said.
    pub async fn add_host(
        &mut self,
        binary: &Path,
        name: &str,
        validators: Range<u64>,
        personality: &str,
        relays: &[String],
    ) -> Result<Host> {
        let dir = self.dir.path().join(name);
        let (gateway, builder) = (free_port()?, free_port()?);
        let mut init = Command::new(binary);
        init.arg("init").arg("--dir").arg(&dir).args(["--devnet", self.beacon()]);
        init.arg("--devnet-seed").arg(self.config.seed.to_string());
        init.arg("--validators").arg(format!("{}-{}", validators.start, validators.end - 1));
        init.arg("--gateway").arg(format!("127.0.0.1:{gateway}")).arg("--builder").arg(format!("127.0.0.1:{builder}"));
        for relay in relays {
            init.arg("--relay").arg(relay);
        }
        let out = init.output().with_context(|| format!("starting {}", binary.display()))?;
        if !out.status.success() {
            bail!("tandem init failed: {}", String::from_utf8_lossy(&out.stderr));
        }
        // Nobody waits here for what a host still has to keep when it is stopped.
        let file = dir.join("tandem.toml");
        let text = std::fs::read_to_string(&file)?;
        // Else it would be killed where it is told to end, and nobody would notice.
        anyhow::ensure!(text.contains(WAITS), "{} has no {WAITS:?}, which is changed here", file.display());
        std::fs::write(&file, text.replace(WAITS, "waits_ms = 0"))?;
        let host = Host::new(name, binary, &dir, gateway, builder);
        self.ranges.push((name.to_owned(), validators, personality.to_owned()));
        Ok(host)
    }

    /// Points the beacon nodes of a host's validators at it. It must be ready: they register at once.
    ///
    /// # Errors
    /// If the devnet refuses.
    pub async fn connect(&self, host: &Host) -> Result<()> {
        let Some((name, range, personality)) = self.ranges.iter().find(|r| r.0 == host.name) else {
            bail!("{} is no host of this rig", host.name);
        };
        self.attach(name, range, personality, &host.builder).await
    }

    /// Points a range of validators at a builder.
    ///
    /// # Errors
    /// If the devnet refuses.
    pub async fn attach(&self, name: &str, validators: &Range<u64>, personality: &str, builder: &str) -> Result<()> {
        // Slot 32 of a new chain, where a real Prysm asks nobody for a header, says nothing of any other
        // chain: what is measured here shall not depend on when it comes.
        let personality_of = serde_json::from_value(json!(personality)).context("the personality")?;
        let breaker = Breaker { open_at_slot_32: false, ..Breaker::of(personality_of) };
        let body = json!({
            "name": name,
            "first_validator": validators.start,
            "validators": validators.end - validators.start,
            "personality": personality,
            "builder": builder,
            "gas_limit": self.config.gas_limit,
            "breaker": breaker,
        });
        self.admin("nodes", &body).await.map(drop)
    }

    /// An order to the devnet's admin API.
    ///
    /// # Errors
    /// If it refuses, with what it said.
    pub async fn admin(&self, order: &str, body: &Value) -> Result<Value> {
        let url = format!("{}/tandem/v1/devnet/{order}", self.beacon());
        let answer = http::post(&url, body, None, PATIENCE).await?;
        if answer.status >= 300 {
            bail!("devnet {order}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        if answer.body.is_empty() { Ok(Value::Null) } else { answer.json() }
    }

    /// Validators.
    pub fn validators(&self) -> u64 {
        self.config.validators
    }
    /// EIP-155 chain id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }
    /// The execution JSON-RPC.
    pub fn execution(&self) -> &str {
        &self.execution
    }
    /// The beacon API.
    pub fn beacon(&self) -> &str {
        &self.beacon
    }
    /// Genesis fork version.
    pub fn genesis_fork_version(&self) -> [u8; 4] {
        self.devnet.spec().genesis_fork_version
    }
    /// The clock.
    pub fn clock(&self) -> SlotClock {
        self.clock
    }
    /// The folder of hosts' folders.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
    /// The slot that is running.
    pub fn slot_now(&self) -> u64 {
        self.clock.slot_at(now_ms()).get()
    }

    /// Waits until a slot begins.
    ///
    /// # Errors
    /// Never; the clock goes on.
    pub async fn wait_for_slot(&self, slot: u64) -> Result<()> {
        let at = self.clock.start_ms(slot.into());
        tokio::time::sleep(Duration::from_millis(at.saturating_sub(now_ms()))).await;
        Ok(())
    }

    /// The canonical beacon block's root at a slot, or nothing if the slot was missed.
    ///
    /// # Errors
    /// If the devnet answers neither 200 nor 404.
    pub async fn block_root_at(&self, slot: u64) -> Result<Option<String>> {
        let answer = http::get(&format!("{}/eth/v1/beacon/headers/{slot}", self.beacon()), PATIENCE).await?;
        match answer.status {
            200 => Ok(answer.json()?["data"]["root"].as_str().map(str::to_owned)),
            404 => Ok(None),
            other => bail!("headers/{slot}: {other} {}", String::from_utf8_lossy(&answer.body)),
        }
    }

    /// Stops the L1; the folder goes with it unless it was to be kept.
    pub async fn stop(self) -> Option<PathBuf> {
        self.devnet.stop().await;
        if self.config.keep { Some(self.dir.keep()) } else { None }
    }
}

/// Unix milliseconds.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A JSON-RPC quantity.
pub fn hex_number(v: &Value) -> Option<u64> {
    u64::from_str_radix(v.as_str()?.strip_prefix("0x")?, 16).ok()
}
