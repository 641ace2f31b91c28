//! `header.overhead.*`: what the host adds to the slowest relay's answer.
//!
//! The devnet's beacon node asks the host for a header as it does in every slot, 50 promises are due,
//! and one relay with the constraints API answers with a bid and 50 proofs. A tap stands before the
//! host and one before the relay, both on this machine's clock. A sample is the first header call of a
//! slot: from the moment when the relay's last byte was given to the host, until the host's last byte was
//! read, less the median of one BLS verification and one BLS signature that are measured in each of
//! the same slots. So decoding the bid, all proofs, the choice, what is stored and synced, encoding and
//! the system's loopback are in it.

use super::{
    figure::{Row, percentile},
    load::{self, Pool, Slots},
    setup::{Settings, Setup},
    tap::{Seen, Tap},
};
use alloy_primitives::B256;
use anyhow::{Context, Result, bail};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tandem_devnet::consensus::validator_key;

/// Promises due in a slot.
const DUE: u32 = 50;
/// Wall milliseconds a slot.
const SLOT_MS: u64 = 2_000;
/// Slots that are filled ahead of the running one.
const AHEAD: u64 = 3;

/// What the slots gave, in milliseconds.
#[derive(Default)]
struct Samples {
    beyond: Vec<f64>,
    verify: Vec<f64>,
    sign: Vec<f64>,
    without_bid: usize,
    without_relay: usize,
}

/// Measures.
///
/// # Errors
/// If the rig fails, or no slot gives a sample.
pub async fn measure(binary: &Path, settings: &Settings) -> Result<Vec<Row>> {
    let slots = settings.seconds.max(5);
    let senders = u32::try_from(slots)? * DUE;
    let mut relay_tap = None;
    let via = |plain: &str| Ok(relay_tap.insert(Tap::before(plain)?).address());
    let mut setup = Setup::new(binary, SLOT_MS, senders, true, via).await?;
    let relay_tap = relay_tap.context("no relay was asked for")?;
    let host_tap = Tap::before(setup.host.builder.trim_start_matches("http://"))?;
    setup.start(Some(&format!("http://{}", host_tap.address()))).await?;
    let txs = load::sign(0..senders, setup.rig.chain_id())?;
    let first = setup.rig.slot_now() + AHEAD;
    let pool = Pool::new(&setup.host.gateway, 4);
    let mut samples = Samples::default();
    let mut due = Vec::new();
    for (slot, txs) in (first..).zip(txs.chunks(DUE as usize)) {
        setup.rig.wait_for_slot(slot - AHEAD).await?;
        // Past the header call of the slot that runs: the load must not stand in its way.
        tokio::time::sleep(Duration::from_millis(SLOT_MS / 2)).await;
        let open = Slots::follow(&setup.host.gateway, setup.rig.clock(), 2).await?.now();
        if !open.contains(&slot) {
            continue;
        }
        let done = pool.open(500, txs, &[slot]).await?;
        if let (_, Some(why)) = load::count(&done) {
            bail!("slot {slot}: {why}");
        }
        due.push(slot);
        samples.time_bls()?;
    }
    setup.rig.wait_for_slot(due.last().context("no slot was open")? + 2).await?;
    for slot in &due {
        samples.take(&host_tap.of(*slot), &relay_tap.of(*slot));
    }
    setup.stop().await?;
    samples.rows(settings, due.len())
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

    /// The first header call of a slot, and the relay's last answer before it.
    fn take(&mut self, host: &[Seen], relay: &[Seen]) {
        let Some(answer) = host.first().filter(|a| a.is_bid) else {
            self.without_bid += 1;
            return;
        };
        let last = relay.iter().filter(|r| r.is_bid && r.written < answer.read).map(|r| r.written).max();
        match last {
            Some(last) => self.beyond.push(ms(answer.read - last)),
            None => self.without_relay += 1,
        }
    }

    fn rows(mut self, settings: &Settings, slots: usize) -> Result<Vec<Row>> {
        let (without_bid, without_relay) = (self.without_bid, self.without_relay);
        if self.beyond.is_empty() {
            bail!(
                "none of {slots} slots gave a sample: {without_bid} without the host's bid, {without_relay} without the relay's"
            );
        }
        let verify = percentile(&mut self.verify, 50.0).context("no verification")?;
        let sign = percentile(&mut self.sign, 50.0).context("no signature")?;
        let mut rows = Vec::new();
        for (id, percent) in [("header.overhead.p50", 50.0), ("header.overhead.p99", 99.0)] {
            let beyond = percentile(&mut self.beyond, percent).context("no sample")?;
            let detail = format!(
                "{beyond:.3} ms after the relay, less {verify:.3} (verify) and {sign:.3} (sign); {slots} slots, \
                 {without_bid} without the host's bid, {without_relay} without the relay's"
            );
            let unanswered = (without_bid > 0).then(|| format!("{without_bid} header calls got no bid"));
            let row = Row::value(id, beyond - verify - sign, self.beyond.len(), detail);
            rows.extend(row.map(|r| r.marred(settings.short()).marred(unanswered)));
        }
        Ok(rows)
    }
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}
