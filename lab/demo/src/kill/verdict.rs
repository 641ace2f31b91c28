//! The end of the kill loop: what the chain shows of everything that was promised.

use super::oracle::{Asked, Held, Kill, Kind, Oracle};
use crate::{
    decisions, http,
    report::Report,
    rig::{Rig, hex_number},
};
use alloy_primitives::B256;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};
use tandem_devnet::proposer::{Chosen, Decision};
use tandem_types::{Slot, SlotClock};
use tokio::sync::Mutex;

/// How long the devnet may take over an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Promised blobs of which one must have come through a kill. Fewer are promised in many a run: the host is
/// mostly killed while it loads the trusted setup.
const SOME_BLOBS: usize = 3;
/// The slots that clients hold promises for, by transaction.
type Slots = HashMap<B256, BTreeSet<u64>>;

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
        self.decisions.extend(decisions::all(rig).await?.into_iter().map(|d| (d.slot.get(), d)));
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

    /// How a promise ended, of all that clients hold.
    fn end(&self, h: &Held, all: &Slots, kills: &[Kill]) -> End {
        let (slot, found) = (h.asked.slot, self.slot_of.get(&h.asked.tx_hash).copied());
        match found {
            Some(f) if f == slot => End::Kept,
            Some(f) if f < slot => self.early(h.asked.tx_hash, f, all),
            // A courtesy after a missed slot; the promise itself must be excused.
            _ if self.blocks.contains_key(&slot) => {
                let decided = self.chosen(slot);
                End::Lost(format!("its slot has a block without it (found: {found:?}, chosen: {decided:?})"))
            }
            _ => match excuse(self.decisions.get(&slot), kills) {
                Ok(()) => End::Excused,
                Err(why) => End::Lost(why),
            },
        }
    }

    /// One that lies in an earlier slot's block. A block that came from the host has only what the host owed
    /// there: what it promised for that slot, and as a courtesy what it promised for a slot before that was
    /// missed. A local block may have anything.
    fn early(&self, tx: B256, at: u64, all: &Slots) -> End {
        let owed = |s: &u64| *s == at || (*s < at && !self.blocks.contains_key(s));
        let decided = self.chosen(at);
        if decided == Some(Chosen::Local) || all.get(&tx).is_some_and(|slots| slots.iter().any(owed)) {
            return End::Early;
        }
        End::Lost(format!("it is in slot {at}, where nobody was promised it (chosen: {decided:?})"))
    }

    fn chosen(&self, slot: u64) -> Option<Chosen> {
        self.decisions.get(&slot).map(|d| d.chosen)
    }

    /// Refusals behind a nonce that is in no block, although every promised one before it was in one by then.
    fn untrue(&self, behind: &[(Asked, u64)], all: &[Held], clock: &SlotClock) -> Vec<String> {
        let waits = |a: &Asked, at_ms: u64| {
            let now = clock.slot_at(at_ms).get();
            let mut before = all.iter().map(|h| &h.asked).filter(|b| b.sender == a.sender && b.nonce < a.nonce);
            before.any(|b| self.slot_of.get(&b.tx_hash).is_none_or(|slot| *slot >= now))
        };
        let untrue = behind.iter().filter(|(a, at_ms)| !waits(a, *at_ms));
        untrue
            .map(|(a, at_ms)| {
                let Asked { sender, nonce, slot, .. } = a;
                let now = clock.slot_at(*at_ms);
                format!(
                    "sender {sender} nonce {nonce} slot {slot}: refused in slot {now} as behind a nonce that is in no \
                     block, and every one before it was in one"
                )
            })
            .collect()
    }
}

fn slots_of(held: &[Held]) -> Slots {
    let mut all = Slots::new();
    for h in held {
        all.entry(h.asked.tx_hash).or_default().insert(h.asked.slot);
    }
    all
}

/// A missed slot excuses its promises only if the host was killed between the header's answer and the end of the
/// wait for the blinded block's, which then never came: nobody has the block that the proposer signed. Whatever a
/// running host answers is no excuse, nor that it was killed before: who is up again and gives a header has to
/// publish its block.
fn excuse(decision: Option<&Decision>, kills: &[Kill]) -> Result<(), String> {
    let Some(d) = decision else { return Err("its slot is missed, and nobody decided anything".into()) };
    match (d.chosen, d.blinded_status, d.blinded_ms) {
        (Chosen::Builder, Some(202), _) => Err("its slot is missed, and the host said that it had published".into()),
        (Chosen::Builder, Some(0), Some([header, until])) => {
            let killed = kills.iter().any(|k| k.is_between(header, until));
            let last = kills.iter().rfind(|k| k.from_ms <= until);
            let lived = format!(
                "its slot is missed, and the host was not killed from its header at {header} to {until}, when there \
                 was no answer to the blinded block (the last kill before: {last:?})"
            );
            killed.then_some(()).ok_or(lived)
        }
        (Chosen::Builder, status, _) => Err(format!("its slot is missed, and the host answered {status:?}")),
        (chosen, ..) => Err(format!("its slot is missed: {chosen:?}, {}", d.reason)),
    }
}

/// Whether the host was killed between a promise and its slot.
fn was_killed(h: &Held, begin_ms: u64, kills: &[Kill]) -> bool {
    kills.iter().any(|k| (h.at_ms..begin_ms).contains(&k.from_ms))
}

/// Waits until the last promised slot is over, then looks every promise up on the chain.
///
/// # Errors
/// If the chain does not get there.
pub async fn judge(rig: &Rig, oracle: &Mutex<Oracle>, seen: &mut Seen) -> Result<Ends> {
    seen.decisions(rig).await?;
    seen.chain(rig).await?;
    let mut o = oracle.lock().await;
    let (held, kills) = (o.promised_ever(), o.kills().to_vec());
    let begin_ms = |slot| rig.clock().start_ms(Slot::new(slot));
    let all = slots_of(&held);
    let ends = Ends::judge(&held, |h| seen.end(h, &all, &kills), |h| was_killed(h, begin_ms(h.asked.slot), &kills));
    let untrue = seen.untrue(o.behind(), &held, &rig.clock());
    untrue.into_iter().for_each(|what| o.fault(Kind::Denied, what));
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
    /// By slot and transaction, in one word.
    names: HashMap<(u64, B256), &'static str>,
    /// Promises of blobs, and those of them that were kept though the host was killed in between: it has the
    /// blobs from its disk then.
    blobs: [usize; 2],
}

impl Ends {
    fn judge(held: &[Held], end: impl Fn(&Held) -> End, was_killed: impl Fn(&Held) -> bool) -> Self {
        let mut all = Self::default();
        for h in held {
            let end = end(h);
            if h.asked.blobs > 0 {
                all.blobs[0] += 1;
                all.blobs[1] += usize::from(end == End::Kept && was_killed(h));
            }
            *all.counts.entry(end.name()).or_default() += 1;
            all.names.insert((h.asked.slot, h.asked.tx_hash), end.name());
            *all.slots.entry(h.asked.slot).or_default() |= matches!(end, End::Excused);
            if let End::Lost(why) = end {
                all.lost.push(format!("slot {} tx {}: {why}", h.asked.slot, h.asked.tx_hash));
            }
        }
        all
    }

    /// How a promise ended.
    pub fn of(&self, h: &Held) -> Option<&'static str> {
        self.names.get(&(h.asked.slot, h.asked.tx_hash)).copied()
    }

    /// How many ended so.
    pub fn count(&self, name: &str) -> usize {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// Slots with promises that were missed with an excuse.
    pub fn missed(&self) -> usize {
        self.slots.values().filter(|m| **m).count()
    }

    /// A kill hits the moment between header and publication now and then: it is a tenth of a second or two
    /// in a slot, in which the host is killed every second, and down for half of the time.
    fn too_many_missed(&self) -> Option<String> {
        let (missed, all) = (self.missed(), self.slots.len());
        (missed > 1 + all / 10).then(|| format!("{missed} of {all} slots with promises were missed"))
    }

    /// The rows of the table. A `whole` run has seen a blob come through a kill.
    pub fn rows(&self, report: &mut Report, whole: bool) {
        let all: Vec<String> = self.counts.iter().map(|(k, n)| format!("{n} {k}")).collect();
        let kept = self.count("kept");
        report.add("promises kept in their slot", kept > 0 && self.lost.is_empty(), kept as f64, "", all.join(", "));
        let missed = format!("of {} slots with promises, by a kill between header and publication", self.slots.len());
        report.add("slots missed", self.too_many_missed().is_none(), self.missed() as f64, "", missed);
        let [promised, kept] = self.blobs;
        let detail = format!("of {promised} promised");
        let ok = kept > 0 || promised < SOME_BLOBS || !whole;
        report.add("blobs kept across a kill", ok, kept as f64, "", detail);
    }
}

/// How a promise ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// In its slot.
    Kept,
    /// Before it, in another one's block or because it was owed there.
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

fn slot_of_block(rig: &Rig, block: &Value) -> Result<u64> {
    let slot = hex_number(&block["timestamp"]).and_then(|t| rig.clock().slot_of_timestamp(t));
    let Some(slot) = slot else { bail!("a block without a slot's timestamp: {block}") };
    Ok(slot.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kill::oracle::tests::asked;
    use Chosen::{Builder, Local, Nothing};
    use alloy_primitives::Bytes;
    use tandem_devnet::proposer::Outcome;

    type Kills = Vec<Kill>;

    fn held(slot: u64, tx: u8) -> Held {
        Held { asked: asked(1, 0, slot, tx), answer: Bytes::new(), at_ms: 1_000 }
    }
    /// The header was there at 100,000, and the wait for the blinded block's answer over at 100,500.
    fn decided(chosen: Chosen, blinded_status: Option<u16>) -> Decision {
        Decision {
            slot: Slot::new(10),
            node: "host".into(),
            validator: 1,
            chosen,
            reason: "why".into(),
            bid_value: None,
            local_value: None,
            header_ms: None,
            blinded_status,
            blinded_ms: blinded_status.map(|_| [100_000, 100_500]),
            block_root: None,
            outcome: Outcome::Missed,
        }
    }
    fn kill(from_ms: u64, gone_ms: u64) -> Kill {
        Kill { from_ms, gone_ms }
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
    fn a_promise_is_kept_in_its_slot_and_lost_where_its_slot_has_a_block_without_it() {
        let s = seen(None);
        let end = |slot, tx, kills: &[Kill]| s.end(&held(slot, tx), &slots_of(&[held(slot, tx)]), kills);
        assert_eq!(end(9, 1, &[]), End::Kept);
        assert!(matches!(end(11, 2, &[]), End::Lost(_)));
        assert!(matches!(end(9, 2, &[kill(0, u64::MAX)]), End::Lost(_)), "a kill is no excuse for a block");
    }

    #[test]
    fn an_early_one_was_owed_where_it_is_or_is_in_a_block_that_did_not_come_from_the_host() {
        // Transaction 1 is promised for slot 11 and lies in slot 9. Slot 8 was missed, slot 7 was not.
        let end = |chosen: Option<Chosen>, others: &[(u64, u8)]| {
            let mut s = seen(None);
            s.blocks.insert(7, 1);
            s.decisions.extend(chosen.map(|c| (9, decided(c, None))));
            let others = others.iter().map(|(slot, tx)| held(*slot, *tx));
            let all: Vec<Held> = others.chain([held(11, 1)]).collect();
            s.end(&held(11, 1), &slots_of(&all), &[])
        };
        for (chosen, others) in [
            (Some(Builder), &[(9, 1)][..]),
            (None, &[(9, 1)]),
            (Some(Builder), &[(8, 1)]),
            (Some(Local), &[]),
            (Some(Local), &[(9, 2)]),
        ] {
            assert_eq!(end(chosen, others), End::Early, "{chosen:?} {others:?}");
        }
        for (chosen, others) in [
            (Some(Builder), &[][..]),
            (Some(Builder), &[(9, 2)]),
            (Some(Builder), &[(7, 1)]),
            (Some(Builder), &[(10, 1)]),
            (None, &[]),
            (Some(Nothing), &[]),
        ] {
            assert!(matches!(end(chosen, others), End::Lost(_)), "{chosen:?} {others:?}");
        }
    }

    #[test]
    fn a_missed_slot_excuses_only_if_a_kill_came_between_header_and_blinded_block_and_there_was_no_answer() {
        let between = vec![kill(100_200, 100_210)];
        let end = |decision, kills: &Kills| seen(decision).end(&held(10, 2), &Slots::new(), kills);
        let edges = [vec![kill(99_990, 100_000)], vec![kill(100_500, 100_510)]];
        for kills in [between.clone(), vec![kill(1, 2), kill(100_400, 100_401)]].into_iter().chain(edges) {
            assert_eq!(end(Some(decided(Builder, Some(0))), &kills), End::Excused, "{kills:?}");
        }
        let mut without_times = decided(Builder, Some(0));
        without_times.blinded_ms = None;
        for (decision, kills) in [
            (None, between.clone()),
            (Some(without_times), between.clone()),
            (Some(decided(Builder, None)), between.clone()),
            (Some(decided(Builder, Some(202))), between.clone()),
            (Some(decided(Builder, Some(400))), between.clone()),
            (Some(decided(Builder, Some(500))), between.clone()),
            (Some(decided(Builder, Some(502))), between.clone()),
            (Some(decided(Builder, Some(0))), Vec::new()),
            (Some(decided(Builder, Some(0))), vec![kill(90_000, 90_010), kill(100_501, 100_510)]),
            (Some(decided(Local, None)), between.clone()),
            (Some(decided(Nothing, None)), between),
        ] {
            assert!(matches!(end(decision.clone(), &kills), End::Lost(_)), "{decision:?} {kills:?}");
        }
    }

    #[test]
    fn a_host_that_was_killed_before_it_gave_the_header_has_to_publish_however_long_it_was_not_ready() {
        // It was killed 200 ms before, answered the header as it started, and was ready only after the wait.
        let last = seen(Some(decided(Builder, Some(0)))).end(&held(10, 2), &Slots::new(), &[kill(99_790, 99_800)]);
        let End::Lost(why) = last else { panic!("{last:?}") };
        assert!(why.contains("99790") && why.contains("was not killed"), "{why}");
    }

    #[test]
    fn a_refusal_behind_a_nonce_in_no_block_is_untrue_where_the_chain_has_all_before_it() {
        let clock = SlotClock::real(1_000, 12);
        let in_slot = |n| clock.start_ms(Slot::new(n)) + 6_000;
        // Transaction 1 is in slot 9; transaction 2 is in no block.
        let s = seen(None);
        let before = |nonce, tx| Held { asked: asked(1, nonce, 9, tx), ..held(9, tx) };
        let untrue =
            |nonce, slot, held: &[Held]| s.untrue(&[(asked(1, nonce, 12, 3), in_slot(slot))], held, &clock).len();
        assert_eq!(untrue(1, 10, &[before(0, 1)]), 1, "it was kept in its slot");
        assert_eq!(untrue(1, 9, &[before(0, 1)]), 0, "its slot still ran");
        assert_eq!(untrue(1, 10, &[before(0, 2)]), 0, "it is in no block");
        assert_eq!(untrue(2, 10, &[before(0, 1), before(1, 2)]), 0, "one of them is in none");
        assert_eq!(untrue(1, 10, &[before(0, 1), before(1, 2)]), 1, "the other one does not come before it");
        let others = Held { asked: asked(2, 0, 9, 2), ..held(9, 2) };
        assert_eq!(untrue(1, 10, &[before(0, 1), others]), 1, "another sender's");
    }

    #[test]
    fn excuses_alone_or_too_many_of_them_are_not_enough() {
        let all = |n: u64, excused: u64| {
            let held: Vec<Held> = (0..n).map(|slot| held(slot, 1)).collect();
            Ends::judge(&held, |h| if h.asked.slot < excused { End::Excused } else { End::Kept }, |_| true)
        };
        let ok = |ends: &Ends| {
            let mut r = Report::default();
            ends.rows(&mut r, false);
            r.checks().iter().map(|c| c.ok).take(2).collect::<Vec<_>>()
        };
        assert_eq!(ok(&all(10, 2)), [true, true]);
        assert_eq!(ok(&all(10, 3)), [true, false]);
        assert_eq!(ok(&all(1, 1)), [false, true], "nothing was kept");
        assert_eq!(ok(&Ends::default()), [false, true]);
        let first = |h: &Held| if h.asked.slot == 1 { End::Kept } else { End::Lost("x".into()) };
        let lost = Ends::judge(&[held(1, 1), held(2, 1)], first, |_| true);
        assert_eq!(ok(&lost), [false, true]);
    }

    #[test]
    fn of_some_promised_blobs_a_whole_run_needs_one_that_was_promised_before_a_kill_and_kept_after_it() {
        let with = |blobs| Held { asked: Asked { blobs, ..asked(1, 0, 9, 1) }, ..held(9, 1) };
        let ok = |h: Held, end: End, kills: Kills, whole| {
            let held = vec![h; SOME_BLOBS];
            let ends = Ends::judge(&held, |_| end.clone(), |h| was_killed(h, 5_000, &kills));
            let mut r = Report::default();
            ends.rows(&mut r, whole);
            r.checks().iter().find(|c| c.name.contains("blobs")).unwrap().ok
        };
        let between = vec![kill(500, 600), kill(4_999, 6_000)];
        assert!(ok(with(1), End::Kept, between.clone(), true));
        assert!(ok(with(0), End::Kept, between.clone(), true), "none was promised");
        assert!(!ok(with(1), End::Excused, between.clone(), true) && ok(with(1), End::Excused, between, false));
        assert!(!ok(with(1), End::Kept, vec![kill(999, 1_500), kill(5_000, 5_001)], true), "before it, or in its slot");
    }
}
