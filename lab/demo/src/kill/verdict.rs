//! The end of the kill loop: what the chain shows of everything that was promised.

use super::oracle::{Held, Kind, Oracle};
use crate::{
    ask, http,
    process::Host,
    report::Report,
    rig::{Rig, hex_number},
};
use alloy_primitives::B256;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How long the devnet may take over an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long after a slot's start a kill can have cut off the header call, or the blinded block, for which
/// the beacon node waits four seconds.
const EXPOSED_MS: u64 = 6_000;

/// When the host was down, in unix milliseconds: from the kill until it was ready again.
pub type Downs = Vec<(u64, u64)>;

/// What the slot's proposer decided, as the devnet tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Decision {
    chosen: String,
    reason: String,
    blinded_status: Option<u16>,
}

/// The canonical chain and the proposers' decisions.
#[derive(Debug, Default)]
pub struct Seen {
    slot_of: HashMap<B256, u64>,
    blocks: BTreeMap<u64, usize>,
    decisions: BTreeMap<u64, Decision>,
}

impl Seen {
    /// Takes down what was decided so far; the devnet forgets it after 512 slots.
    ///
    /// # Errors
    /// If the devnet does not answer.
    pub async fn decisions(&mut self, rig: &Rig) -> Result<()> {
        let url = format!("{}/tandem/v1/devnet/decisions", rig.beacon());
        let all = http::get(&url, PATIENCE).await?.json()?;
        for d in all.as_array().context("no list of decisions")? {
            let slot = d["slot"].as_u64().or_else(|| d["slot"].as_str()?.parse().ok()).context("a slot")?;
            self.decisions.insert(slot, Decision::deserialize(d)?);
        }
        Ok(())
    }

    /// Reads the whole canonical chain.
    async fn chain(&mut self, rig: &Rig) -> Result<()> {
        let call = |method, params| http::rpc(rig.execution(), method, params, PATIENCE);
        let head = hex_number(&call("eth_blockNumber", json!([])).await?).context("eth_blockNumber")?;
        for number in 0..=head {
            let block = call("eth_getBlockByNumber", json!([format!("0x{number:x}"), false])).await?;
            let slot = slot_of_block(rig, &block)?;
            let hashes = block["transactions"].as_array().context("a block without transactions")?;
            self.blocks.insert(slot, hashes.len());
            self.slot_of.extend(hashes.iter().filter_map(|h| Some((h.as_str()?.parse().ok()?, slot))));
        }
        Ok(())
    }

    /// How a promise ended.
    fn end(&self, h: &Held, start_ms: u64, downs: &Downs) -> End {
        let (slot, found) = (h.asked.slot, self.slot_of.get(&h.asked.tx_hash).copied());
        match found {
            Some(f) if f == slot => End::Kept,
            Some(f) if f < slot => End::Early,
            // A courtesy after a missed slot; the promise itself must be excused.
            _ if self.blocks.contains_key(&slot) => {
                let decided = self.decisions.get(&slot).map_or("nothing", |d| &d.chosen);
                End::Lost(format!("its slot has a block without it (found: {found:?}, chosen: {decided})"))
            }
            _ => match excuse(self.decisions.get(&slot), start_ms, downs) {
                Ok(()) => End::Excused,
                Err(why) => End::Lost(why),
            },
        }
    }
}

/// A missed slot excuses its promises only if the host was killed between the header and the end of the
/// publication: then nobody has the block that the proposer signed.
fn excuse(decision: Option<&Decision>, start_ms: u64, downs: &Downs) -> Result<(), String> {
    let Some(d) = decision else { return Err("its slot is missed, and nobody decided anything".into()) };
    let killed = downs.iter().any(|(from, to)| *from < start_ms + EXPOSED_MS && *to > start_ms);
    match (d.chosen.as_str(), d.blinded_status) {
        ("builder", Some(202)) => Err("its slot is missed, and the host said that it had published".into()),
        ("builder", _) if killed => Ok(()),
        ("builder", status) => Err(format!("its slot is missed, the host was up, and answered {status:?}")),
        (chosen, _) => Err(format!("its slot is missed: {chosen}, {}", d.reason)),
    }
}

/// Waits until the last promised slot is over, then looks every promise up on the chain.
///
/// # Errors
/// If the chain does not get there.
pub async fn judge(rig: &Rig, oracle: &Mutex<Oracle>, seen: &mut Seen, downs: &Downs) -> Result<Ends> {
    seen.decisions(rig).await?;
    seen.chain(rig).await?;
    let held: Vec<Held> = oracle.lock().await.held().to_vec();
    let clock = rig.clock();
    let ends = Ends::of(&held, |h| seen.end(h, clock.start_ms(h.asked.slot.into()), downs));
    let mut o = oracle.lock().await;
    ends.lost.iter().for_each(|l| o.fault(Kind::Lost, l.clone()));
    if let Some(why) = ends.too_many_missed() {
        o.fault(Kind::Missed, why);
    }
    Ok(ends)
}

/// How all promises ended.
#[derive(Debug, Default)]
pub struct Ends {
    counts: BTreeMap<&'static str, usize>,
    lost: Vec<String>,
    /// Slots with promises, and whether they are excused.
    slots: BTreeMap<u64, bool>,
}

impl Ends {
    fn of(held: &[Held], end: impl Fn(&Held) -> End) -> Self {
        let mut all = Self::default();
        for h in held {
            let end = end(h);
            *all.counts.entry(end.name()).or_default() += 1;
            *all.slots.entry(h.asked.slot).or_default() |= matches!(end, End::Excused);
            if let End::Lost(why) = end {
                all.lost.push(format!("slot {} tx {}: {why}", h.asked.slot, h.asked.tx_hash));
            }
        }
        all
    }

    /// How many ended so.
    pub fn count(&self, name: &str) -> usize {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// Slots with promises that were missed with an excuse.
    pub fn missed(&self) -> usize {
        self.slots.values().filter(|m| **m).count()
    }

    /// A kill hits the moment between header and publication now and then, not often.
    fn too_many_missed(&self) -> Option<String> {
        let (missed, all) = (self.missed(), self.slots.len());
        (missed > 1 + all / 5).then(|| format!("{missed} of {all} slots with promises were missed"))
    }

    /// The rows of the table.
    pub fn rows(&self, report: &mut Report) {
        let all: Vec<String> = self.counts.iter().map(|(k, n)| format!("{n} {k}")).collect();
        let kept = self.count("kept");
        report.add("promises kept in their slot", kept > 0 && self.lost.is_empty(), kept as f64, "", all.join(", "));
        let missed = format!("of {} slots with promises, by a kill between header and publication", self.slots.len());
        report.add("slots missed", self.too_many_missed().is_none(), self.missed() as f64, "", missed);
    }
}

/// How a promise ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// In its slot.
    Kept,
    /// Before it.
    Early,
    /// Its slot has no block.
    Excused,
    /// Neither, with what was seen.
    Lost(String),
}

impl End {
    /// One word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Early => "early",
            Self::Excused => "excused",
            Self::Lost(_) => "LOST",
        }
    }
}

/// How a promise ended, by the chain alone: any slot without a block is an excuse here.
///
/// # Errors
/// If the chain does not answer.
pub async fn end_of(rig: &Rig, host: &Host, h: &Held) -> Result<End> {
    let hash = h.asked.tx_hash.to_string();
    if let Some(slot) = slot_of(rig, &hash).await? {
        return Ok(match slot.cmp(&h.asked.slot) {
            std::cmp::Ordering::Equal => End::Kept,
            std::cmp::Ordering::Less => End::Early,
            // A courtesy after a missed slot; the promise itself must be excused.
            std::cmp::Ordering::Greater => unless_missed(rig, host, h).await?,
        });
    }
    unless_missed(rig, host, h).await
}

/// The slot of the canonical block that has a transaction.
async fn slot_of(rig: &Rig, hash: &str) -> Result<Option<u64>> {
    let call = |method, params| http::rpc(rig.execution(), method, params, Duration::from_secs(5));
    let receipt = call("eth_getTransactionReceipt", json!([hash])).await?;
    let Some(number) = receipt["blockNumber"].as_str() else { return Ok(None) };
    let block = call("eth_getBlockByNumber", json!([number, false])).await?;
    slot_of_block(rig, &block).map(Some)
}

fn slot_of_block(rig: &Rig, block: &Value) -> Result<u64> {
    let slot = hex_number(&block["timestamp"]).and_then(|t| rig.clock().slot_of_timestamp(t));
    let Some(slot) = slot else { bail!("a block without a slot's timestamp: {block}") };
    Ok(slot.get())
}

/// An excuse counts only if the chain itself shows it: here no nonce is voided and no balance spent, so
/// the slot must be without a block.
async fn unless_missed(rig: &Rig, host: &Host, h: &Held) -> Result<End> {
    if rig.block_root_at(h.asked.slot).await?.is_none() {
        return Ok(End::Excused);
    }
    let begin = Instant::now();
    let told = ask::promise(&host.gateway, &h.asked.tx_hash.to_string()).await;
    let told = told.map_or_else(|e| e.to_string(), |v| v["fate"].to_string());
    Ok(End::Lost(format!(
        "its slot has a block without it; the host says {told} after {} ms",
        begin.elapsed().as_millis()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kill::oracle::tests::asked;
    use alloy_primitives::Bytes;

    fn held(slot: u64, tx: u8) -> Held {
        Held { asked: asked(1, 0, slot, tx), answer: Bytes::new() }
    }
    fn decided(chosen: &str, blinded_status: Option<u16>) -> Decision {
        Decision { chosen: chosen.into(), reason: "why".into(), blinded_status }
    }
    /// Slots 9 and 11 have blocks, 10 has none; transaction 1 is in slot 9.
    fn seen(decision: Option<Decision>) -> Seen {
        Seen {
            slot_of: HashMap::from([(B256::repeat_byte(1), 9)]),
            blocks: BTreeMap::from([(9, 1), (11, 0)]),
            decisions: decision.map(|d| (10, d)).into_iter().collect(),
        }
    }

    #[test]
    fn a_promise_is_kept_in_its_slot_early_before_it_and_lost_where_its_slot_has_a_block_without_it() {
        let s = seen(None);
        let end = |slot, tx| s.end(&held(slot, tx), 0, &Vec::new());
        assert_eq!((end(9, 1), end(11, 1)), (End::Kept, End::Early));
        assert!(matches!(end(11, 2), End::Lost(_)));
        assert!(matches!(s.end(&held(9, 2), 0, &vec![(0, u64::MAX)]), End::Lost(_)), "a kill is no excuse for a block");
    }

    #[test]
    fn a_missed_slot_excuses_only_if_the_builder_was_chosen_and_the_host_killed_before_it_published() {
        let at_start = vec![(99_000, 101_000)];
        let end = |decision, downs: &Downs| seen(decision).end(&held(10, 2), 100_000, downs);
        assert_eq!(end(Some(decided("builder", Some(0))), &at_start), End::Excused);
        assert_eq!(end(Some(decided("builder", None)), &at_start), End::Excused);
        for (decision, downs) in [
            (None, at_start.clone()),
            (Some(decided("builder", Some(202))), at_start.clone()),
            (Some(decided("builder", Some(0))), Vec::new()),
            (Some(decided("builder", Some(0))), vec![(90_000, 99_999), (106_000, 107_000)]),
            (Some(decided("local", None)), at_start.clone()),
            (Some(decided("nothing", None)), at_start),
        ] {
            assert!(matches!(end(decision.clone(), &downs), End::Lost(_)), "{decision:?} {downs:?}");
        }
    }

    #[test]
    fn excuses_alone_or_too_many_of_them_are_not_enough() {
        let all = |n: u64, excused: u64| {
            let held: Vec<Held> = (0..n).map(|slot| held(slot, 1)).collect();
            Ends::of(&held, |h| if h.asked.slot < excused { End::Excused } else { End::Kept })
        };
        let ok = |ends: &Ends| {
            let mut r = Report::default();
            ends.rows(&mut r);
            r.checks().iter().map(|c| c.ok).collect::<Vec<_>>()
        };
        assert_eq!(ok(&all(10, 3)), [true, true]);
        assert_eq!(ok(&all(10, 4)), [true, false]);
        assert_eq!(ok(&all(1, 1)), [false, true], "nothing was kept");
        assert_eq!(ok(&Ends::default()), [false, true]);
        let lost =
            Ends::of(&[held(1, 1), held(2, 1)], |h| if h.asked.slot == 1 { End::Kept } else { End::Lost("x".into()) });
        assert_eq!(ok(&lost), [false, true]);
    }
}
