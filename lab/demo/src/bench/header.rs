//! `header.overhead.*`: what the host adds to the slowest relay's answer.
//!
//! The devnet's beacon node asks the host for a header as it does in every slot, 50 promises are due,
//! and one relay with the constraints API answers with a bid and 50 proofs. A tap stands before the
//! host and one before the relay, both on this machine's clock. A sample is the first header call of a
//! slot: from the moment when the relay's last byte was given to the host, until the host's last byte was
//! read, less the median of one BLS verification and one BLS signature that are measured in each of
//! the same slots. So decoding the bid, all proofs, the choice, what is stored and synced, encoding and
//! the system's loopback are in it.
//!
//! A slot counts only if it had its whole load: all its promises are in its block and in none before it,
//! so that they were due; the relay was asked for proofs and gave them with its bid; the host took that
//! bid; and the beacon node saw the steering value and took it. One slot without is enough to mar the
//! figure.

use super::{
    figure::{Row, percentile},
    load::{self, Pool},
    setup::{Settings, Setup},
    tap::{Seen, Tap},
};
use crate::{ask, decisions, http, rig::Rig};
use alloy_primitives::{B256, U256};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use tandem_devnet::{consensus::validator_key, proposer::Chosen};
use tandem_types::Wei;

/// Promises due in a slot.
const DUE: u32 = 50;
/// Wall milliseconds a slot.
const SLOT_MS: u64 = 1_000;
/// Slots that are filled ahead of the running one.
const AHEAD: u64 = 3;
/// Slots that are filled.
const SLOTS: u64 = 210;
/// Samples that a 99th percentile needs to be another value than the largest.
const SAMPLES: usize = 200;
/// What the host's bid is worth to the beacon node where promises are due, by the default configuration.
const STEERING_ETH: u64 = 1_000;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the slots gave, in milliseconds.
#[derive(Default)]
struct Samples {
    beyond: Vec<f64>,
    verify: Vec<f64>,
    sign: Vec<f64>,
    /// What slots lacked, and how many.
    lacking: BTreeMap<&'static str, usize>,
}

/// What a slot's block, and the decision about it, were.
#[derive(Clone, Debug, Default)]
struct Outcome {
    /// Promises of the host in the block.
    promised: u64,
    /// Whether the host says that it came from a relay.
    by_relay: bool,
    /// Whether the beacon node took the builder's block.
    chosen: bool,
    /// What the beacon node was told that it is worth.
    value: Option<U256>,
}

/// Measures.
///
/// # Errors
/// If the rig fails, or no slot gives a sample.
pub async fn measure(binary: &Path, settings: &Settings) -> Result<Vec<Row>> {
    let slots = settings.part_of(SLOTS);
    let senders = u32::try_from(slots)? * DUE;
    let mut relay_tap = None;
    let via = |plain: &str| Ok(relay_tap.insert(Tap::before(plain)?).address());
    let mut setup = Setup::new(binary, SLOT_MS, senders, true, via).await?;
    let relay_tap = relay_tap.context("no relay was asked for")?;
    let host_tap = Tap::before(setup.host.builder.trim_start_matches("http://"))?;
    let txs = load::sign(0..senders, setup.rig.chain_id())?;
    setup.start(Some(&format!("http://{}", host_tap.address()))).await?;
    let pool = Pool::new(&setup.host.gateway, 4);
    let (mut samples, mut blocks) = (Samples::default(), BTreeMap::new());
    let first = ask::served(&setup.host.gateway).await?.first().context("no slot is open")?.slot;
    let first = first.max(setup.rig.slot_now()) + AHEAD;
    for (slot, txs) in (first..).zip(txs.chunks(DUE as usize)) {
        setup.rig.wait_for_slot(slot - AHEAD).await?;
        // Past the header call of the slot that runs: the load must not stand in its way.
        tokio::time::sleep(Duration::from_millis(SLOT_MS / 4)).await;
        let done = pool.open(500, txs, &[slot]).await?;
        if let (_, Some(why)) = load::count(&done) {
            println!("  slot {slot}: {why}");
        }
        samples.time_bls()?;
        // The host tells of its last blocks only.
        let over = slot - AHEAD - 1;
        if over >= first {
            blocks.insert(over, block(&setup.host.gateway, over).await?);
        }
    }
    let end = first + slots;
    setup.rig.wait_for_slot(end + 1).await?;
    for over in end.saturating_sub(AHEAD + 2).max(first)..end {
        blocks.insert(over, block(&setup.host.gateway, over).await?);
    }
    decide(&setup.rig, &mut blocks).await?;
    for slot in first..end {
        let outcome = blocks.get(&slot).cloned().unwrap_or_default();
        samples.take(&host_tap.of(slot), &relay_tap.of(slot), &outcome);
    }
    setup.stop().await?;
    samples.rows(settings, slots)
}

/// What the host says of a slot's block.
async fn block(gateway: &str, slot: u64) -> Result<Outcome> {
    let all = http::get(&format!("{gateway}/api/v1/blocks?slot={slot}"), PATIENCE).await?.json()?;
    let canonical = |b: &&Value| b["canonical"] == true;
    let Some(b) = all.as_array().context("no list of blocks")?.iter().find(canonical) else {
        return Ok(Outcome::default());
    };
    let promised = b["promised"].as_u64().unwrap_or_default();
    Ok(Outcome { promised, by_relay: b["origin"]["from"] == "relay", ..Outcome::default() })
}

/// What the beacon node decided about each slot.
async fn decide(rig: &Rig, blocks: &mut BTreeMap<u64, Outcome>) -> Result<()> {
    for d in decisions::all(rig).await? {
        if let Some(outcome) = blocks.get_mut(&d.slot.get()) {
            outcome.chosen = d.chosen == Chosen::Builder;
            outcome.value = d.bid_value.map(Wei::get);
        }
    }
    Ok(())
}

impl Samples {
    /// One verification and one signature of the kind that a header call needs.
    fn time_bls(&mut self) -> Result<()> {
        let key = validator_key(1, 0)?;
        let (public, root) = (key.public_key(), B256::repeat_byte(self.sign.len() as u8));
        let begin = Instant::now();
        let signature = key.sign(root);
        self.sign.push(ms(begin.elapsed()));
        let begin = Instant::now();
        tandem_crypto::bls::verify(&public, root.as_slice(), &signature)?;
        self.verify.push(ms(begin.elapsed()));
        Ok(())
    }

    /// The first header call of a slot, and the relay's last answer before it. What it lacks of the whole
    /// load is told; it is a sample only if it lacks nothing.
    fn take(&mut self, host: &[Seen], relay: &[Seen], outcome: &Outcome) {
        match beyond(host, relay, outcome) {
            Ok(ms) => self.beyond.push(ms),
            Err(lacks) => *self.lacking.entry(lacks).or_default() += 1,
        }
    }

    fn rows(mut self, settings: &Settings, slots: u64) -> Result<Vec<Row>> {
        let lacking: Vec<String> = self.lacking.iter().map(|(what, n)| format!("{n} slots without {what}")).collect();
        let lacking = (!lacking.is_empty()).then(|| format!("of {slots} slots {}", lacking.join(", ")));
        if self.beyond.is_empty() {
            bail!("no slot gave a sample: {}", lacking.unwrap_or_default());
        }
        let verify = percentile(&mut self.verify, 50.0).context("no verification")?;
        let sign = percentile(&mut self.sign, 50.0).context("no signature")?;
        let samples = self.beyond.len();
        let mut rows = Vec::new();
        for (id, percent) in [("header.overhead.p50", 50.0), ("header.overhead.p99", 99.0)] {
            let beyond = percentile(&mut self.beyond, percent).context("no sample")?;
            let detail = format!(
                "{beyond:.3} ms after the relay, less {verify:.3} (verify) and {sign:.3} (sign); \
                 {DUE} due, proofs checked, the relay's bid taken at {STEERING_ETH} ETH in each of {samples} slots"
            );
            let row = Row::value(id, beyond - verify - sign, samples, detail);
            let few = settings.too_few(samples, SAMPLES);
            rows.extend(row.map(|r| r.marred(settings.short()).marred(few).marred(lacking.clone())));
        }
        Ok(rows)
    }
}

/// Milliseconds from the relay's last byte to the host's, or what the slot lacks.
fn beyond(host: &[Seen], relay: &[Seen], outcome: &Outcome) -> Result<f64, &'static str> {
    let answer = host.first().filter(|a| a.is_bid).ok_or("the host's bid")?;
    let before = relay.iter().filter(|r| r.is_bid && r.with_proofs && r.written < answer.read);
    let last = before.map(|r| r.written).max().ok_or("the relay's bid with proofs")?;
    if outcome.promised != u64::from(DUE) {
        return Err("all promises due");
    }
    if !outcome.by_relay || !outcome.chosen {
        return Err("the relay's bid taken");
    }
    if outcome.value.is_none_or(|v| v < Wei::from_eth(STEERING_ETH).get()) {
        return Err("steering");
    }
    Ok(ms(answer.read - last))
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> (Vec<Seen>, Vec<Seen>, Outcome) {
        let at = Instant::now();
        let seen = |ms, with_proofs| {
            let read = at + Duration::from_millis(ms);
            Seen { read, written: read, is_bid: true, with_proofs }
        };
        let value = Some(Wei::from_eth(STEERING_ETH).get());
        let outcome = Outcome { promised: DUE.into(), by_relay: true, chosen: true, value };
        (vec![seen(10, false)], vec![seen(4, true), seen(12, true)], outcome)
    }

    #[test]
    fn a_sample_is_from_the_relays_last_byte_before_the_hosts_and_needs_the_whole_load() {
        let (host, relay, ok) = slot();
        assert!((beyond(&host, &relay, &ok).unwrap() - 6.0).abs() < 1e-6);
        let no_bid = [Seen { is_bid: false, ..host[0] }];
        assert!(beyond(&no_bid, &relay, &ok).is_err() && beyond(&[], &relay, &ok).is_err());
        let plain = [Seen { with_proofs: false, ..relay[0] }];
        assert!(beyond(&host, &plain, &ok).is_err() && beyond(&host, &relay[1..], &ok).is_err());
        let few = Outcome { promised: 49, ..ok.clone() };
        let own = Outcome { by_relay: false, ..ok.clone() };
        let local = Outcome { chosen: false, ..ok.clone() };
        let unsteered = Outcome { value: Some(U256::from(1)), ..ok.clone() };
        let unseen = Outcome { value: None, ..ok };
        for lacking in [few, own, local, unsteered, unseen, Outcome::default()] {
            assert!(beyond(&host, &relay, &lacking).is_err(), "{lacking:?}");
        }
    }

    #[test]
    fn one_slot_without_its_load_or_too_few_samples_mar_the_figure() {
        let full = Settings { seconds: 60, promises: 100_000, smoke: false };
        let measured = |samples: usize, lacking: usize| {
            let mut s = Samples { verify: vec![1.0], sign: vec![1.0], ..Samples::default() };
            let (host, relay, outcome) = slot();
            (0..samples).for_each(|_| s.take(&host, &relay, &outcome));
            (0..lacking).for_each(|_| s.take(&host, &relay, &Outcome::default()));
            s.beyond.iter_mut().for_each(|b| *b = 2.1);
            s.rows(&full, 210).map(|rows| rows.iter().all(|r| r.ok)).unwrap_or(false)
        };
        assert!(measured(200, 0));
        assert!(!measured(200, 1) && !measured(199, 0) && !measured(0, 5));
    }
}
