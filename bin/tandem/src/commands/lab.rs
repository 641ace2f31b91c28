//! `tandem devnet` and `tandem lab`.

use crate::cli::{Devnet as Args, Lab, LabArgs};
use anyhow::{Context, Result};
use tandem_demo::{self as demo, stop::Stop};
use tandem_devnet::{Config, Devnet, ProposerConfig};

/// Runs the devnet until Ctrl-C or SIGTERM.
///
/// # Errors
/// If it can not start.
pub async fn devnet(args: Args) -> Result<()> {
    let mut proposers = vec![ProposerConfig::default()];
    proposers.extend(builders(&args.builder, args.validators)?);
    let config = Config {
        seed: args.seed,
        validators: u32::try_from(args.validators).context("--validators")?,
        slot_seconds: args.slot_seconds,
        slot_wall_ms: args.slot_ms,
        execution_port: args.execution_port,
        beacon_port: args.beacon_port,
        proposers,
        ..Config::default()
    };
    let stop = Stop::listen()?;
    let devnet = Devnet::start(config).await?;
    println!("a simulated Ethereum L1 runs (chain {}), nothing on it is worth anything", devnet.spec().chain_id);
    println!("  execution  {}", devnet.execution_url());
    println!("  websocket  {}", devnet.execution_ws());
    println!("  beacon     {}", devnet.beacon_url());
    println!("  trouble    {}/tandem/v1/devnet", devnet.beacon_url());
    println!("  a host beside it: tandem init --devnet {} --validators 0-{}", devnet.beacon_url(), args.validators - 1);
    println!("{}", crate::cli::accounts());
    println!("  a promise of that host for one of them: tandem preconf send --devnet-account 0 --to ADDRESS --wait");
    println!("Ctrl-C ends it.");
    stop.asked().await;
    devnet.stop().await;
    Ok(())
}

/// The proposers of all `--builder`, no two of which have a validator in common: only the last would be asked for
/// its block, and nobody would hear of it.
fn builders(texts: &[String], there_are: u64) -> Result<Vec<ProposerConfig>> {
    let mut all: Vec<ProposerConfig> = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let next = proposer(i, text, there_are)?;
        for (before, earlier) in all.iter().zip(texts) {
            let first = before.first_validator.max(next.first_validator);
            let last = last_of(before).min(last_of(&next));
            anyhow::ensure!(
                first > last,
                "--builder {text}: validators {first}-{last} have a builder already, by --builder {earlier}. Remedy: \
                 give each validator to one --builder"
            );
        }
        all.push(next);
    }
    Ok(all)
}

fn last_of(p: &ProposerConfig) -> u64 {
    p.first_validator.saturating_add(p.validators.saturating_sub(1))
}

fn proposer(i: usize, text: &str, there_are: u64) -> Result<ProposerConfig> {
    let wrong =
        || format!("--builder {text}: give FIRST-LAST@PERSONALITY=URL, for instance 0-31@prysm=http://127.0.0.1:18550");
    let (who, url) = text.split_once('=').with_context(wrong)?;
    let (range, personality) = who.split_once('@').with_context(wrong)?;
    let (first, last) = range.split_once('-').with_context(wrong)?;
    let (first, last): (u64, u64) = (first.parse().with_context(wrong)?, last.parse().with_context(wrong)?);
    // One more than the last number of all is none.
    let validators = last.checked_sub(first).and_then(|n| n.checked_add(1)).with_context(wrong)?;
    // A validator that is not there would be served by nobody, and nobody would hear of it.
    anyhow::ensure!(
        last < there_are,
        "--builder {text}: there are {there_are} validators, 0-{}; name some of these, or give --validators",
        there_are.saturating_sub(1)
    );
    let url: url::Url = url.parse().with_context(wrong)?;
    anyhow::ensure!(
        matches!(url.scheme(), "http" | "https") && url.has_host(),
        "--builder {text}: {url} is no http:// or https:// address. Remedy: give that of the host's Builder API, for \
         instance http://127.0.0.1:18550"
    );
    let personality = serde_json::from_value(serde_json::json!(personality)).with_context(wrong)?;
    Ok(ProposerConfig {
        name: format!("node-{}", i + 1),
        first_validator: first,
        validators,
        builder: Some(url),
        personality,
        ..ProposerConfig::default()
    })
}

/// The demo, the kill loop, the benchmarks, the browser test. At Ctrl-C or SIGTERM, and when the process
/// ends that asked for it, each ends what it started and removes its folders.
///
/// # Errors
/// If one of them did not come out as it had to.
pub async fn run(args: LabArgs) -> Result<()> {
    if let Some(parent) = args.lab_parent {
        crate::run::end_with(parent, rustix::process::Signal::TERM)?;
    }
    let stop = Stop::listen()?;
    let binary = std::env::current_exe().context("this program's own path")?;
    match args.command {
        Lab::Demo { keep, report, slot_ms, seed } => {
            demo::run::run(&demo::run::Options { binary, keep, report, slot_ms, seed }, &stop).await
        }
        Lab::KillLoop { rounds, seed, break_write, report } => {
            let seed = seed.unwrap_or_else(crate::run::now_ms);
            let options = demo::kill::Options { binary, rounds, seed, break_write, report };
            stop.during(demo::kill::run(&options)).await.map(drop)
        }
        Lab::Bench { prefix, report, list } => {
            stop.during(demo::bench::run(&demo::bench::Options { binary, prefix, report, list })).await
        }
        Lab::BrowserTest { script, shots, npm } => {
            stop.during(demo::browser::run(&binary, &script, &shots, &npm)).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_has_a_range_of_validators_that_can_be_counted_or_is_refused_with_an_example() {
        let proposer = |i, text| super::proposer(i, text, u64::MAX);
        let p = proposer(0, "3-5@lighthouse=http://127.0.0.1:18550").unwrap();
        assert_eq!((p.first_validator, p.validators, p.name.as_str()), (3, 3, "node-1"));
        assert_eq!(proposer(1, "7-7@prysm=http://127.0.0.1:1").unwrap().validators, 1);
        let most = proposer(0, "0-18446744073709551614@prysm=http://127.0.0.1:1").unwrap();
        assert_eq!(most.validators, u64::MAX);
        for wrong in [
            "0-18446744073709551615@prysm=http://127.0.0.1:1",
            "0-18446744073709551616@prysm=http://127.0.0.1:1",
            "5-3@prysm=http://127.0.0.1:1",
            "-1-3@prysm=http://127.0.0.1:1",
            "0-3@teku=http://127.0.0.1:1",
            "0-3@prysm=nowhere",
            "0-3@prysm",
            "0@prysm=http://127.0.0.1:1",
            "",
        ] {
            let said = format!("{:#}", proposer(0, wrong).unwrap_err());
            assert!(said.contains("give FIRST-LAST@PERSONALITY=URL, for instance 0-31@prysm="), "{wrong}: {said}");
        }
    }

    #[test]
    fn two_builders_of_one_validator_are_refused_with_the_ones_they_share_and_a_remedy() {
        let of = |ranges: &[&str]| {
            let texts: Vec<String> = ranges.iter().map(|r| format!("{r}@prysm=http://127.0.0.1:1")).collect();
            builders(&texts, 64)
        };
        let names: Vec<String> = of(&["0-31", "40-63", "32-39"]).unwrap().into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["node-1", "node-2", "node-3"]);
        for (ranges, shared) in
            [(["0-31", "31-63"], "31-31"), (["0-63", "3-5"], "3-5"), (["3-5", "0-63"], "3-5"), (["7-7", "7-7"], "7-7")]
        {
            let said = of(&ranges).unwrap_err().to_string();
            let [earlier, later] = ranges.map(|r| format!("--builder {r}@prysm=http://127.0.0.1:1"));
            assert!(said.starts_with(&later) && said.contains(&earlier), "{said}");
            assert!(said.contains(&format!("validators {shared} have")) && said.contains("Remedy: "), "{said}");
        }
    }

    #[test]
    fn a_builder_that_no_beacon_node_could_ask_is_refused_with_its_address_and_a_remedy() {
        for url in ["ftp://127.0.0.1:1", "file:///tmp/x", "ws://127.0.0.1:1"] {
            let said = proposer(0, &format!("0-3@prysm={url}"), 64).unwrap_err().to_string();
            assert!(said.starts_with("--builder 0-3@prysm=") && said.contains(url), "{said}");
            assert!(said.contains("http:// or https://") && said.contains("Remedy: "), "{said}");
        }
        assert!(proposer(0, "0-3@prysm=https://relay.example", 64).is_ok());
    }

    #[test]
    fn a_builder_for_validators_that_are_not_there_is_refused_with_those_that_are() {
        let of = |range: &str| proposer(0, &format!("{range}@prysm=http://127.0.0.1:1"), 64);
        assert_eq!(of("0-63").unwrap().validators, 64);
        for wrong in ["0-500", "63-64", "64-64", "1-18446744073709551615"] {
            let said = format!("{:#}", of(wrong).unwrap_err());
            assert!(said.contains("there are 64 validators, 0-63"), "{wrong}: {said}");
        }
    }
}
