//! The demo's closing table: each row is judged by what the chain shows, or by what was seen from outside.

use super::outcome::{Maker, Outcome};
use crate::report::Report;
use alloy_primitives::U256;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// "In milliseconds": generous, since everything runs on one small machine.
const MOST_P50: Duration = Duration::from_millis(100);
/// The same for the slowest of a hundred.
const MOST_P99: Duration = Duration::from_millis(1_000);

/// The relays, by their place in the configuration.
const CONSTRAINTS: usize = 1;
const CENSOR: usize = 2;

/// The name of a relay, as `tandem init` numbers them.
fn relay_name(index: usize) -> String {
    format!("relay-{}", index + 1)
}

/// How the promises ended, by the chain alone.
#[derive(Debug, Default)]
struct Ends {
    kept: usize,
    early: usize,
    early_by_own: usize,
    excused: usize,
    broken: Vec<String>,
    /// Slots of excused promises that no trouble of the demo's own can have taken the block from.
    unexplained: BTreeSet<u64>,
    /// Slots in which all that was due is there.
    whole: BTreeSet<u64>,
    due: BTreeSet<u64>,
}

impl Ends {
    fn of(o: &Outcome) -> Self {
        let mut ends = Self { due: o.promises.iter().map(|p| p.slot).collect(), ..Self::default() };
        let mut torn = BTreeSet::new();
        for p in &o.promises {
            let block = o.blocks.get(&p.slot);
            match p.included {
                Some(at) if at.slot == p.slot => {
                    ends.kept += 1;
                    continue;
                }
                Some(at) if at.slot < p.slot => {
                    ends.early += 1;
                    let own = o.blocks.get(&at.slot).is_none_or(|b| b.proposer == p.host);
                    ends.early_by_own += usize::from(own);
                }
                // One that came later is a courtesy: its slot must have no block all the same.
                _ if block.is_none() => {
                    ends.excused += 1;
                    ends.unexplained.extend(Some(p.slot).filter(|_| !o.lost_by_kill(p)));
                }
                later => {
                    let seen = later.map_or_else(|| "nowhere".into(), |at| format!("in slot {}", at.slot));
                    ends.broken.push(format!("slot {} has a block without it; it is {seen}", p.slot));
                }
            }
            torn.insert(p.slot);
        }
        ends.whole = ends.due.difference(&torn).copied().collect();
        ends
    }
}

/// The rows.
pub fn judge(o: &Outcome, report: &mut Report) {
    let ends = Ends::of(o);
    promises(o, report);
    latencies(o, report);
    fates(o, &ends, report);
    trouble(o, report);
    censorship(o, &ends, report);
    constraints(o, &ends, report);
    blocks(o, report);
    money(o, report);
    hosts(o, report);
    let (ok, said) = match &o.verified {
        Ok(said) => (true, said.clone()),
        Err(why) => (false, why.clone()),
    };
    report.add("promises checked offline", ok, f64::from(u8::from(ok)), "", said);
}

fn promises(o: &Outcome, report: &mut Report) {
    let by: BTreeSet<usize> = o.promises.iter().map(|p| p.host).collect();
    let all = !o.promises.is_empty() && by.len() == o.hosts.len();
    report.add("promises made", all, o.promises.len() as f64, "", format!("by {} hosts", by.len()));
}

fn latencies(o: &Outcome, report: &mut Report) {
    let all = &o.latencies;
    let at = |p: usize| all.get((all.len() * p / 100).min(all.len().saturating_sub(1))).copied();
    let ms = |d: Option<Duration>| d.unwrap_or_default().as_secs_f64() * 1000.0;
    let (p50, p99) = (at(50), at(99));
    let within = |d: Option<Duration>, most| d.is_some_and(|d| d <= most);
    let what = "over HTTP, signed and durable";
    report.add("request to promise, p50", within(p50, MOST_P50), ms(p50), "ms", what);
    report.add("request to promise, p99", within(p99, MOST_P99), ms(p99), "ms", "");
}

fn fates(o: &Outcome, ends: &Ends, report: &mut Report) {
    let all = o.promises.len();
    let told: u64 = o.hosts.iter().map(|h| h.fates.kept).sum();
    let agree = told == ends.kept as u64;
    let kept = ends.kept > 0 && ends.kept + ends.early + ends.excused == all && agree;
    let say = if agree { "looked up on the chain".to_owned() } else { format!("of {all}; the hosts count {told}") };
    report.add("kept in exactly their slot", kept, ends.kept as f64, "", say);
    let say = match ends.early_by_own {
        0 => "by another proposer, before their slot".to_owned(),
        n => format!("{n} of them by the proposer that promised another slot"),
    };
    report.add("included early", ends.early_by_own == 0, ends.early as f64, "", say);
    excused(o, ends, report);
    let told: u64 = o.hosts.iter().map(|h| h.fates.broken).sum();
    let say = match ends.broken.first() {
        Some(first) => first.clone(),
        None if told > 0 => format!("the hosts count {told}"),
        None => String::new(),
    };
    report.add("broken", ends.broken.is_empty() && told == 0, ends.broken.len() as f64, "", say);
}

/// The chain and the hosts agree, and the kill explains each: else a run in which every slot is missed would pass.
fn excused(o: &Outcome, ends: &Ends, report: &mut Report) {
    let told: u64 = o.hosts.iter().map(|h| h.fates.excused).sum();
    let agree = told == ends.excused as u64;
    let say = match (agree, ends.unexplained.first()) {
        (false, _) => format!("the chain excuses {}, the hosts {told}", ends.excused),
        (true, Some(slot)) => {
            let slots = ends.unexplained.len();
            format!("in {slots} slots without a block, the first {slot}, though no host was killed in them")
        }
        (true, None) => format!("at most what {} owed in the slot in which it was killed", o.killed.name),
    };
    report.add("excused", agree && ends.unexplained.is_empty(), ends.excused as f64, "", say);
}

fn trouble(o: &Outcome, report: &mut Report) {
    let faults = &o.contradictions;
    let first = faults.first().cloned().unwrap_or_default();
    report.add("contradictions", faults.is_empty(), faults.len() as f64, "", first);
    let d = o.doubles;
    let say = match d.promised {
        0 => "second transactions for a promised nonce".to_owned(),
        n => format!("{n} second transactions for a promised nonce were promised too"),
    };
    report.add("double spends refused", d.refused > 0 && d.promised == 0, d.refused as f64, "", say);
    let k = &o.killed;
    let say = format!("of {} of host {}, the same bytes; back after {} ms", k.held, k.name, k.back.as_millis());
    report.add("promises after SIGKILL", k.held > 0 && k.same == k.held, k.same as f64, "", say);
}

fn censorship(o: &Outcome, ends: &Ends, report: &mut Report) {
    let censor = &o.relays[CENSOR];
    let name = relay_name(CENSOR);
    let tried: BTreeSet<u64> = censor.bid.intersection(&ends.due).copied().collect();
    let taken = censor.taken.intersection(&ends.due).count();
    // The host itself names who it refused, in a slot where that relay did bid and something was due.
    let refused = |slot: &&u64| o.hosts.iter().any(|h| h.refused.get(slot) == Some(&name));
    let refused = tried.iter().filter(refused).count();
    report.add(
        "censoring bids refused",
        !tried.is_empty() && refused > 0 && taken == 0,
        refused as f64,
        "blocks",
        format!(
            "it bid {} ETH in {} slots where a promise was due; {taken} of its blocks were taken there",
            super::relays::BRIBE_ETH,
            tried.len()
        ),
    );
}

fn constraints(o: &Outcome, ends: &Ends, report: &mut Report) {
    let relay = &o.relays[CONSTRAINTS];
    let taken: BTreeSet<u64> = relay.taken.intersection(&ends.due).copied().collect();
    let whole = taken.intersection(&ends.whole).count();
    report.add(
        "constraints honoured",
        relay.constraints > 0 && whole > 0 && whole == taken.len(),
        whole as f64,
        "slots",
        format!("blocks of the relay that speaks the API, with all that was due; it took {}", relay.constraints),
    );
}

fn blocks(o: &Outcome, report: &mut Report) {
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    for b in o.blocks.values() {
        let who = match b.made_by {
            Maker::Host => "own",
            Maker::Relay(_) => "relay",
            Maker::Beacon => "local",
        };
        *by.entry(who).or_default() += 1;
    }
    let own = by.get("own").copied().unwrap_or(0);
    let claims = o.hosts.iter().enumerate().flat_map(|(i, h)| h.origins.iter().map(move |c| (i, c)));
    let wrong = claims.filter(|(i, (slot, origin))| {
        let truth = o.blocks.get(slot).filter(|b| b.proposer == *i).map(|b| match b.made_by {
            Maker::Host => "own".to_owned(),
            Maker::Relay(n) => relay_name(n),
            Maker::Beacon => "local".to_owned(),
        });
        truth.is_some_and(|t| t != **origin)
    });
    let wrong = wrong.count();
    let mut detail: Vec<String> = by.iter().map(|(who, n)| format!("{n} {who}")).collect();
    if wrong > 0 {
        detail.push(format!("of {wrong} the hosts claim another origin"));
    }
    report.add("blocks built by hosts", own > 0 && wrong == 0, own as f64, "", detail.join(", "));
}

fn money(o: &Outcome, report: &mut Report) {
    let sum = |of: fn(&super::outcome::HostSays) -> U256| o.hosts.iter().map(of).fold(U256::ZERO, U256::saturating_add);
    let (received, charged) = (sum(|h| h.received), sum(|h| h.charged));
    let own = |slot: u64| o.blocks.get(&slot).is_some_and(|b| b.made_by == Maker::Host);
    let in_own = o.promises.iter().filter_map(|p| p.included.filter(|at| at.slot == p.slot && own(at.slot)));
    let due = in_own.map(|at| at.tip).fold(U256::ZERO, U256::saturating_add);
    let eth = |w: U256| w.to_string().parse::<f64>().unwrap_or(0.0) / 1e18;
    let ok = received > U256::ZERO && received == due;
    let say = if ok {
        format!("as the receipts in own blocks sum to; prices asked {:.9} ETH; simulated money", eth(charged))
    } else {
        format!("the receipts of promised transactions in own blocks sum to {due} wei, the ledgers say {received}")
    };
    report.add("operators' tips", ok, eth(received), "ETH", say);
}

fn hosts(o: &Outcome, report: &mut Report) {
    let quiet: Vec<String> =
        o.hosts.iter().filter_map(|h| h.quiet.as_ref().map(|why| format!("{}: {why}", h.name))).collect();
    let still = o.hosts.len() - quiet.len();
    let ok = quiet.is_empty() && !o.hosts.is_empty();
    let say = if ok { format!("of {}", o.hosts.len()) } else { quiet.join("; ") };
    report.add("hosts still promising", ok, still as f64, "", say);
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
