//! Each row of the table fails where it has to.

use super::{super::outcome::*, judge};
use crate::{report::Report, run::load::Doubles};
use alloy_primitives::U256;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const TIP: u64 = 42;

/// Four slots, two hosts: the host's own block, the constraints relay's, one without promises that the
/// censor won, and the beacon node's.
fn good() -> Outcome {
    let kept = |slot, host| Promised { slot, host, included: Some(Included { slot, tip: U256::from(TIP) }) };
    let block = |proposer, made_by| Block { proposer, made_by };
    let host = |name: &str, kept: u64, received: u64| HostSays {
        name: name.into(),
        quiet: None,
        fates: Fates { promises: kept, kept, ..Fates::default() },
        received: U256::from(received),
        charged: U256::from(1),
        refused: BTreeMap::new(),
        origins: BTreeMap::new(),
    };
    let (mut a, mut b) = (host("a", 2, 2 * TIP), host("b", 1, 0));
    a.origins = BTreeMap::from([(10, "own".into())]);
    b.origins = BTreeMap::from([(11, "relay-2".into()), (12, "relay-3".into())]);
    b.refused = BTreeMap::from([(11, "relay-3".into())]);
    let deeds = |bid: &[u64], taken: &[u64], constraints| RelayDeeds {
        bid: bid.iter().copied().collect(),
        taken: taken.iter().copied().collect(),
        constraints,
    };
    Outcome {
        promises: vec![kept(10, 0), kept(10, 0), kept(11, 1)],
        blocks: BTreeMap::from([
            (10, block(0, Maker::Host)),
            (11, block(1, Maker::Relay(1))),
            (12, block(1, Maker::Relay(2))),
            (13, block(0, Maker::Beacon)),
        ]),
        latencies: vec![Duration::from_millis(2); 100],
        contradictions: Vec::new(),
        doubles: Doubles { refused: 1, promised: 0 },
        killed: Killed { name: "b".into(), slot: 11, held: 3, same: 3, back: Duration::from_millis(90) },
        relays: [deeds(&[11, 12], &[], 0), deeds(&[11, 12], &[11], 1), deeds(&[11, 12], &[12], 1)],
        hosts: vec![a, b],
        verified: Ok("it holds".into()),
    }
}

fn failed(o: &Outcome) -> BTreeSet<String> {
    let mut report = Report::default();
    judge(o, &mut report);
    report.checks().iter().filter(|c| !c.ok).map(|c| c.name.clone()).collect()
}

/// Exactly these rows fail once the outcome is changed so.
fn fails(rows: &[&str], change: impl FnOnce(&mut Outcome)) {
    let mut o = good();
    change(&mut o);
    assert_eq!(failed(&o), rows.iter().map(|r| (*r).to_owned()).collect(), "{o:#?}");
}

#[test]
fn a_good_outcome_passes_in_every_row() {
    assert_eq!(failed(&good()), BTreeSet::new());
}

#[test]
fn a_host_that_promised_nothing_is_seen() {
    fails(&["promises made"], |o| o.promises[2].host = 0);
}

#[test]
fn slow_promises_are_seen() {
    fails(&["request to promise, p50", "request to promise, p99"], |o| {
        o.latencies = vec![Duration::from_millis(1_001); 100];
    });
    fails(&["request to promise, p99"], |o| o.latencies[99] = Duration::from_millis(1_001));
    fails(&["request to promise, p50", "request to promise, p99"], |o| o.latencies.clear());
}

#[test]
fn a_promise_that_is_nowhere_is_broken_and_not_kept() {
    let rows = ["kept in exactly their slot", "broken", "operators' tips"];
    fails(&rows, |o| o.promises[1].included = None);
    // A block later is none of the promised one.
    fails(&rows, |o| o.promises[1].included = Some(Included { slot: 11, tip: U256::from(TIP) }));
}

#[test]
fn hosts_that_count_otherwise_than_the_chain_are_seen() {
    fails(&["kept in exactly their slot"], |o| o.hosts[0].fates.kept = 1);
    fails(&["excused"], |o| o.hosts[0].fates.excused = 1);
    fails(&["broken"], |o| o.hosts[0].fates.broken = 1);
}

#[test]
fn an_early_one_counts_only_from_another_proposer() {
    let early = |o: &mut Outcome, slot| {
        o.promises[2].included = Some(Included { slot, tip: U256::from(TIP) });
        o.hosts[1].fates.kept = 0;
    };
    // Slot 10 is the other host's: fulfilled. The relay's block of slot 11 then has not all that was due.
    fails(&["constraints honoured"], |o| early(o, 10));
    fails(&["included early", "constraints honoured"], |o| {
        early(o, 10);
        o.promises[2].host = 0;
        o.promises[0].host = 1;
    });
}

/// What the host of slot 11 owed is not in a block, and excused.
fn excused(o: &mut Outcome) {
    o.promises[2].included = None;
    (o.hosts[1].fates.kept, o.hosts[1].fates.excused) = (0, 1);
    o.relays[1].taken = BTreeSet::new();
    o.hosts[1].origins.remove(&11);
}

#[test]
fn only_a_slot_without_a_block_excuses() {
    fails(&["constraints honoured"], |o| {
        excused(o);
        o.blocks.remove(&11);
    });
    fails(&["constraints honoured", "kept in exactly their slot", "excused", "broken"], excused);
}

#[test]
fn only_what_the_killed_host_owed_in_the_slot_of_its_kill_may_be_excused() {
    let excused = |o: &mut Outcome| {
        excused(o);
        o.blocks.remove(&11);
    };
    fails(&["constraints honoured"], excused);
    fails(&["constraints honoured", "excused"], |o| {
        excused(o);
        o.killed.slot = 10;
    });
    fails(&["constraints honoured", "excused"], |o| {
        excused(o);
        o.killed.name = "a".into();
    });
    let mut o = good();
    excused(&mut o);
    o.killed.slot = 12;
    let mut report = Report::default();
    judge(&o, &mut report);
    let row = report.checks().iter().find(|c| c.name == "excused").unwrap();
    assert!(row.detail.contains("1 slots") && row.detail.contains("11"), "{}", row.detail);
}

#[test]
fn contradictions_and_double_spends_are_seen() {
    fails(&["contradictions"], |o| o.contradictions.push("two values".into()));
    fails(&["double spends refused"], |o| o.doubles.promised = 1);
    fails(&["double spends refused"], |o| o.doubles.refused = 0);
}

#[test]
fn a_promise_that_a_kill_lost_is_seen() {
    fails(&["promises after SIGKILL"], |o| o.killed.same = 2);
    fails(&["promises after SIGKILL"], |o| (o.killed.held, o.killed.same) = (0, 0));
}

#[test]
fn the_censor_must_have_tried_been_named_and_lost() {
    fails(&["censoring bids refused"], |o| o.relays[2].bid = BTreeSet::from([12]));
    fails(&["censoring bids refused"], |o| o.hosts[1].refused = BTreeMap::from([(11, "relay-1".into())]));
    fails(&["censoring bids refused"], |o| o.hosts[1].refused = BTreeMap::from([(12, "relay-3".into())]));
    // Its block in a slot where something was due, though nothing of that is in it.
    fails(&["censoring bids refused"], |o| o.relays[2].taken.extend([11]));
}

#[test]
fn constraints_count_only_with_a_block_that_has_all() {
    fails(&["constraints honoured"], |o| o.relays[1].constraints = 0);
    fails(&["constraints honoured"], |o| o.relays[1].taken = BTreeSet::new());
}

#[test]
fn an_own_block_must_be_there_and_origins_true() {
    fails(&["blocks built by hosts"], |o| o.hosts[1].origins = BTreeMap::from([(11, "own".into())]));
    fails(&["blocks built by hosts"], |o| o.hosts[0].origins = BTreeMap::from([(13, "own".into())]));
    fails(&["blocks built by hosts", "operators' tips"], |o| {
        o.blocks.insert(10, Block { proposer: 0, made_by: Maker::Beacon });
        o.hosts[0].origins.clear();
    });
}

#[test]
fn tips_are_exactly_the_receipts() {
    fails(&["operators' tips"], |o| o.hosts[0].received += U256::from(1));
    fails(&["operators' tips"], |o| o.hosts[0].received = U256::ZERO);
    // What a relay's block pays is part of its bid.
    fails(&["operators' tips"], |o| o.hosts[1].received = U256::from(TIP));
}

#[test]
fn a_host_that_fell_silent_and_a_promise_that_does_not_verify_are_seen() {
    fails(&["hosts still promising"], |o| o.hosts[1].quiet = Some("[]".into()));
    fails(&["promises checked offline"], |o| o.verified = Err("bad signature".into()));
}
