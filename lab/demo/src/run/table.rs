//! The demo's closing table: each row is looked up on the chain, or at the hosts from outside.

use super::{Killed, load::Load, relays::Relays};
use crate::{ask, http, kill::verdict, process::Host, report::Report, rig::Rig};
use alloy_primitives::U256;
use anyhow::Result;
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Fills the table.
///
/// # Errors
/// If the chain or a host does not answer.
pub async fn fill(
    rig: &Rig,
    hosts: &[Host],
    load: &Load,
    relays: &Relays,
    killed: &Killed,
    report: &mut Report,
) -> Result<()> {
    let held = load.held();
    report.add("promises made", !held.is_empty(), held.len() as f64, "", format!("by {} hosts", hosts.len()));
    latencies(load, report);
    fates(rig, hosts, load, report).await?;
    let faults = load.oracle().faults();
    report.add(
        "contradictions",
        faults.is_empty(),
        faults.len() as f64,
        "",
        faults.first().cloned().unwrap_or_default(),
    );
    let doubles = load.refused_doubles();
    report.add("double spends refused", doubles > 0, doubles as f64, "", "second transactions for a promised nonce");
    report.add(
        "promises after SIGKILL",
        killed.held > 0 && killed.same == killed.held,
        killed.same as f64,
        "",
        format!(
            "of {} of host {}, the same bytes; back after {} ms",
            killed.held,
            killed.name,
            killed.back.as_millis()
        ),
    );
    censorship(hosts, relays, report).await?;
    blocks(hosts, report).await?;
    money(hosts, report).await
}

fn latencies(load: &Load, report: &mut Report) {
    let all = load.latencies();
    let at = |p: usize| all.get((all.len() * p / 100).min(all.len().saturating_sub(1))).copied().unwrap_or_default();
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    report.add("request to promise, p50", !all.is_empty(), ms(at(50)), "ms", "over HTTP, signed and durable");
    report.add("request to promise, p99", !all.is_empty(), ms(at(99)), "ms", "");
}

async fn fates(rig: &Rig, hosts: &[Host], load: &Load, report: &mut Report) -> Result<()> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lost = Vec::new();
    for (i, h) in load.held().iter().enumerate() {
        let end = verdict::end_of(rig, &hosts[load.host_of(i)], h).await?;
        *counts.entry(end.name()).or_default() += 1;
        if let verdict::End::Lost(why) = end {
            lost.push(format!("slot {}: {why}", h.asked.slot));
        }
    }
    let of = |name: &str| counts.get(name).copied().unwrap_or(0);
    report.add("kept in exactly their slot", of("kept") > 0, of("kept") as f64, "", "looked up on the chain");
    report.add("included early", true, of("early") as f64, "", "by another proposer, before their slot");
    report.add("excused", true, of("excused") as f64, "", "the chain shows that their slot has no block");
    report.add("broken", lost.is_empty(), lost.len() as f64, "", lost.first().cloned().unwrap_or_default());
    Ok(())
}

/// The censoring relay's name, as `tandem init` numbers relays.
const CENSOR: &str = "relay-3";

async fn censorship(hosts: &[Host], relays: &Relays, report: &mut Report) -> Result<()> {
    let [honest, constraints, censor] = relays.counts();
    let (mut refused, mut taken) = (0, 0);
    for h in hosts {
        for b in list(h, "blocks?limit=200").await? {
            let promised = b["promised"].as_u64() > Some(0);
            refused += usize::from(promised && !b["best_refused"].is_null());
            taken += usize::from(promised && b["origin"]["name"] == CENSOR);
        }
    }
    report.add(
        "censoring bids refused",
        refused > 0 && taken == 0,
        refused as f64,
        "blocks",
        format!(
            "it bid {} ETH {} times; {taken} of its blocks were taken where a promise was due",
            super::relays::BRIBE_ETH,
            censor.bids
        ),
    );
    let published = honest.published + constraints.published;
    report.add(
        "constraints honoured",
        constraints.constraints > 0,
        constraints.constraints as f64,
        "slots",
        format!("by the relay that speaks the API; honest relays published {published} blocks"),
    );
    Ok(())
}

async fn blocks(hosts: &[Host], report: &mut Report) -> Result<()> {
    let mut origins: BTreeMap<String, usize> = BTreeMap::new();
    for h in hosts {
        for b in list(h, "blocks?limit=200").await? {
            let from = b["origin"]["from"].as_str().unwrap_or("unknown").to_owned();
            if from != "foreign" {
                *origins.entry(from).or_default() += 1;
            }
        }
    }
    let own = origins.get("own").copied().unwrap_or(0);
    let detail: Vec<String> = origins.iter().map(|(k, n)| format!("{n} {k}")).collect();
    report.add("blocks built by hosts", own > 0, own as f64, "", detail.join(", "));
    Ok(())
}

async fn money(hosts: &[Host], report: &mut Report) -> Result<()> {
    let mut received = U256::ZERO;
    let mut charged = U256::ZERO;
    for h in hosts {
        let status = http::get(&format!("{}/api/v1/status", h.gateway), Duration::from_secs(5)).await?.json()?;
        let wei =
            |name: &str| U256::from_str_radix(status["totals"][name].as_str().unwrap_or("0"), 10).unwrap_or_default();
        received += wei("received");
        charged += wei("charged");
    }
    let eth = |w: U256| w.to_string().parse::<f64>().unwrap_or(0.0) / 1e18;
    report.add(
        "operators' tips",
        received > U256::ZERO,
        eth(received),
        "ETH",
        format!("prices asked {:.9} ETH; simulated money", eth(charged)),
    );
    Ok(())
}

async fn list(h: &Host, what: &str) -> Result<Vec<Value>> {
    let v = http::get(&format!("{}/api/v1/{what}", h.gateway), Duration::from_secs(5)).await?.json()?;
    Ok(v.as_array().cloned().unwrap_or_default())
}

/// Keeps one promise of the run, so that it can be verified after it.
pub async fn save_promise(hosts: &[Host], load: &Load) -> Option<PathBuf> {
    let (i, h) = load.held().iter().enumerate().next_back()?;
    let promise = ask::promise(&hosts[load.host_of(i)].gateway, &h.asked.tx_hash.to_string()).await.ok()?;
    let path = std::env::temp_dir().join("tandem-demo-promise.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&promise).ok()?).ok()?;
    Some(path)
}
