//! One simulated L1 with one host that has room for load.

use crate::{
    ask,
    process::{Host, free_port},
    rig::{Rig, RigConfig},
};
use anyhow::{Context, Result, bail};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};
use tandem_testkit::relay::{Behaviour, Relay, RelayConfig};
use tandem_types::Wei;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Seconds of load.
    pub seconds: u64,
    /// Promises in the journal that is recovered.
    pub promises: usize,
    /// Only to see that everything runs: nothing is said about goals that were measured with less, or
    /// without optimisation.
    pub smoke: bool,
}

/// What the goals are for.
const FULL: Settings = Settings { seconds: 60, promises: 100_000, smoke: false };
/// Cores that the goals are for.
const CORES: usize = 2;

impl Settings {
    /// From `TANDEM_BENCH_SECONDS` and `TANDEM_BENCH_PROMISES`.
    ///
    /// # Errors
    /// If one is not a number of at least 1.
    pub fn from_env() -> Result<Self> {
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) => match text.parse() {
                Ok(n) if n > 0 => Ok(n),
                _ => bail!("{name}={text}: give a number of at least 1"),
            },
            Err(_) => Ok(default),
        };
        let promises = usize::try_from(number("TANDEM_BENCH_PROMISES", FULL.promises as u64)?)?;
        let smoke = std::env::var_os("TANDEM_BENCH_SMOKE").is_some_and(|v| v == "1");
        Ok(Self { seconds: number("TANDEM_BENCH_SECONDS", FULL.seconds)?, promises, smoke })
    }

    /// How much is measured where the whole is so much.
    pub fn part_of(&self, whole: u64) -> u64 {
        (whole * self.seconds.min(FULL.seconds) / FULL.seconds).max(1)
    }

    /// Why a figure that depends on the time of load is not the one that was asked for.
    pub fn short(&self) -> Option<String> {
        let less = !self.smoke && self.seconds < FULL.seconds;
        less.then(|| format!("measured for {} s in place of {} s", self.seconds, FULL.seconds))
    }

    /// Why the recovery is not the one that was asked for.
    pub fn few(&self) -> Option<String> {
        let less = !self.smoke && self.promises < FULL.promises;
        less.then(|| format!("{} promises in place of {}", self.promises, FULL.promises))
    }

    /// Why too few samples do not show a percentile.
    pub fn too_few(&self, samples: usize, needed: usize) -> Option<String> {
        (!self.smoke && samples < needed).then(|| format!("{samples} samples in place of {needed}"))
    }

    /// Why no figure of this build is the one that was asked for.
    pub fn unoptimised(&self) -> Option<String> {
        (!self.smoke && cfg!(debug_assertions)).then(|| "built without optimisation".to_owned())
    }

    /// Why a figure for two cores, load generator included, is not the one that was asked for.
    pub fn cores(&self) -> Option<String> {
        let cores = cores();
        (!self.smoke && cores != CORES).then(|| format!("{cores} cores in place of {CORES}"))
    }
}

/// The cores that this process and those that it starts may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// The build, the cores and what else runs on them: a figure means nothing without these.
pub fn machine() -> String {
    let profile =
        if cfg!(debug_assertions) { "the development profile (figures are for `--release`)" } else { "release" };
    let cores = cores();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    format!("built with {profile}; {cores} cores; load before: {}", load.join(" "))
}

/// The pieces.
pub struct Setup {
    /// The L1.
    pub rig: Rig,
    /// The host; it serves all validators.
    pub host: Host,
    /// An honest relay that speaks the constraints API, where one was asked for.
    pub relay: Option<Relay>,
}

/// Gas of a block: far above what is promised in one slot.
const BLOCK_GAS: u64 = 4_000_000_000;

impl Setup {
    /// A started L1, and a host in a folder, not yet started. The relay's address goes through `via`,
    /// which gets its plain `HOST:PORT` and names another one.
    ///
    /// # Errors
    /// If one of them can not be made.
    pub async fn new(
        binary: &Path,
        slot_ms: u64,
        accounts: u32,
        with_relay: bool,
        via: impl FnOnce(&str) -> Result<String>,
    ) -> Result<Self> {
        let config = RigConfig { slot_ms, accounts, gas_limit: BLOCK_GAS, ..RigConfig::default() };
        let mut rig = Rig::start(config).await?;
        let (mut relay, mut urls) = (None, Vec::new());
        if with_relay {
            let r = start_relay(&rig).await?;
            let plain = r.address().trim_start_matches("http://").to_owned();
            urls.push(format!("{}+constraints", r.url().replace(&plain, &via(&plain)?)));
            relay = Some(r);
        }
        let host = rig.add_host(binary, "host", 0..rig.validators(), "prysm", &urls).await?;
        raise_room(&host.dir.join("tandem.toml"))?;
        Ok(Self { rig, host, relay })
    }

    /// Starts the host for the first time and points the beacon node at it, or at what stands before
    /// it; waits until slots are served.
    ///
    /// # Errors
    /// If it does not get there.
    pub async fn start(&mut self, builder: Option<&str>) -> Result<()> {
        self.host.flag("--first-use");
        self.host.start()?;
        self.host.ready(Duration::from_secs(30)).await?;
        self.host.without_flag("--first-use");
        match builder {
            None => self.rig.connect(&self.host).await?,
            Some(url) => self.rig.attach("host", &(0..self.rig.validators()), "prysm", url).await?,
        }
        ask::wait_until_served(&self.host.gateway, Duration::from_secs(120)).await.map(drop)
    }

    /// Ends everything.
    ///
    /// # Errors
    /// If the host can not be ended.
    pub async fn stop(mut self) -> Result<()> {
        self.host.stop()?;
        drop(self.relay);
        self.rig.stop().await;
        Ok(())
    }
}

async fn start_relay(rig: &Rig) -> Result<Relay> {
    Relay::start(RelayConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
        execution: rig.execution().to_owned(),
        beacon: rig.beacon().to_owned(),
        genesis_fork_version: rig.genesis_fork_version(),
        chain_id: rig.chain_id(),
        seed: 2,
        constraints: true,
        // More than the same block is worth when it is built by the host, or the host would take its own.
        behaviour: Behaviour { claim: Some(Wei::from_eth(1)), ..Behaviour::default() },
    })
    .await
}

/// Raises whatever would refuse honest load; nothing else is changed from what `init` writes.
fn raise_room(file: &Path) -> Result<()> {
    let mut text = std::fs::read_to_string(file)?;
    let gas = BLOCK_GAS.to_string();
    for (section, key, value) in [
        ("journal.room", "gas", gas.as_str()),
        ("journal.room", "bytes", "8000000"),
        ("journal.room", "count", "100000"),
        ("blocks", "simulate_gas_cap", gas.as_str()),
        // The relay here is no market: what it would have paid must not close slots.
        ("blocks.opening", "max_forgone", "\"1000000000000000000000\"\nfixed = \"0\""),
        ("run.modules.preconf.config", "remember", "1000000"),
    ] {
        text = set(&text, section, key, value)?;
    }
    std::fs::write(file, text)?;
    Ok(())
}

/// Replaces a setting's value in a section.
///
/// # Errors
/// If the section has no such setting.
pub fn set(text: &str, section: &str, key: &str, value: &str) -> Result<String> {
    let (mut at, mut found) = ("", false);
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
            at = name;
        }
        if at == section && line.split('=').next().is_some_and(|k| k.trim() == key) {
            found = true;
            lines.push(format!("{key} = {value}"));
        } else {
            lines.push(line.to_owned());
        }
    }
    found.then(|| lines.join("\n") + "\n").with_context(|| format!("the configuration has no {section}.{key}"))
}

#[cfg(test)]
mod tests {
    use super::{FULL, Settings, set};

    #[test]
    fn less_than_the_goals_are_for_is_told_unless_it_is_only_a_smoke_test() {
        let less = Settings { seconds: 30, promises: 10, smoke: false };
        assert!(less.short().is_some() && less.few().is_some() && less.too_few(199, 200).is_some());
        assert_eq!(less.unoptimised().is_some(), cfg!(debug_assertions));
        assert!(FULL.short().is_none() && FULL.few().is_none() && FULL.too_few(200, 200).is_none());
        let smoke = Settings { smoke: true, ..less };
        assert!(smoke.short().is_none() && smoke.few().is_none() && smoke.unoptimised().is_none());
        assert_eq!(
            (less.part_of(220), FULL.part_of(220), Settings { seconds: 600, ..FULL }.part_of(220)),
            (110, 220, 220)
        );
    }

    #[test]
    fn a_setting_is_changed_in_its_own_section_only_and_must_be_there() {
        let text = "gas = 1\n[a]\ngas = 2 # why\n[a.b]\ngas = 3\n";
        assert_eq!(set(text, "a", "gas", "9").unwrap(), "gas = 1\n[a]\ngas = 9\n[a.b]\ngas = 3\n");
        assert!(set(text, "a", "count", "9").is_err());
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tandem.example.toml");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::copy(example, file.path()).unwrap();
        super::raise_room(file.path()).unwrap();
    }
}
