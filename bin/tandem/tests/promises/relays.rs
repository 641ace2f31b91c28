//! Relays that misbehave, at a real host: what they can cost, and what the host shows of it.

use crate::world::{Held, Plan, TRIES, VALIDATORS, World};
use serde_json::{Value, json};
use tandem_testkit::{Behaviour, relay::Counts};
use tandem_types::Wei;

/// Long enough that a header gets all of the second that a node waits for it at most.
const SLOT_MS: u64 = 2_000;

/// The relay without the constraints API, and the one with it.
const PLAIN: usize = 0;
const CONSTRAINTS: usize = 1;

fn claims(eth: u64) -> Behaviour {
    Behaviour { claim: Some(Wei::from_eth(eth)), ..Behaviour::default() }
}

fn silent() -> Behaviour {
    Behaviour { silent: true, ..Behaviour::default() }
}

/// What became of a promise while one relay behaved so in its slot.
struct Outcome {
    held: Held,
    /// The block as the host shows it; nothing where the slot has none.
    block: Value,
    decided: Value,
    counts: Counts,
}

impl Outcome {
    /// Whether the relay's bid came in time: it was refused with its value, or taken.
    fn is_bid_seen(&self) -> bool {
        self.block.is_null() || !self.block["best_refused"].is_null() || self.block["origin"]["from"] == "relay"
    }
}

/// Promises a transaction and lets one relay behave so in its slot alone. On a loaded machine a bid or a header may come
/// too late for what is to be shown: then what was promised is kept all the same, and it is done in another slot.
async fn slot_with(world: &World, sender: u32, relay: usize, behaviour: impl Fn(&Held) -> Behaviour) -> Outcome {
    let mut last = None;
    for n in 0..TRIES {
        if let Some(Outcome { held, .. }) = &last {
            world.assert_kept(0, held).await;
        }
        let outcome = one_slot_with(world, 10 * sender + n, relay, &behaviour).await;
        let bids = !behaviour(&outcome.held).silent && behaviour(&outcome.held).delay_ms == 0;
        let went_well = outcome.decided["chosen"] == "builder" && (!bids || outcome.is_bid_seen());
        last = Some(outcome);
        if went_well {
            break;
        }
    }
    last.unwrap()
}

async fn one_slot_with(world: &World, sender: u32, relay: usize, behaviour: impl Fn(&Held) -> Behaviour) -> Outcome {
    let slot = world.open_slot(0, 2).await;
    let held = world.promise(0, sender, 0, slot).await;
    world.block_of(slot - 1).await;
    let before = world.relays[relay].counts();
    world.relays[relay].behave(behaviour(&held));
    world.rig.wait_for_slot(slot).await.unwrap();
    // It was asked then, and the next slot's call, which may come before we look again, finds it silent. What it does
    // with a block that it offered stays as it was.
    let decided = world.decision(slot).await;
    world.relays[relay].behave(Behaviour { silent: true, ..behaviour(&held) });
    world.rig.wait_for_slot(slot + 1).await.unwrap();
    world.relays[relay].behave(silent());
    let after = world.relays[relay].counts();
    let counts = Counts {
        bids: after.bids - before.bids,
        blinded: after.blinded - before.blinded,
        published: after.published - before.published,
        ..after
    };
    let mut block = Value::Null;
    if world.rig.block_root_at(slot).await.unwrap().is_some() {
        block = world.shown(0, slot).await;
    }
    Outcome { held, block, decided, counts }
}

fn wei(eth: u64) -> Value {
    json!(Wei::from_eth(eth))
}

/// What a relay only claims makes the next slots dearer than these transfers pay: here by less.
fn cheap_to_open(text: String) -> String {
    let lone = "lone_claim = \"10000000000000000\"";
    assert!(text.contains(lone), "the example names it");
    text.replace(lone, "lone_claim = \"1000000000000000\"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_are_kept_with_relays_that_lie_are_slow_censor_equivocate_or_withhold() {
    let plan = Plan { relays: &[false, true], edit: cheap_to_open, ..Plan::new("host", 0..VALIDATORS, "prysm") };
    let world = World::start(SLOT_MS, vec![plan]).await;

    // A relay that proves nothing is refused whatever it claims, and the operator sees what it claimed.
    // (Whether its block pays what it says nobody can tell from a bid.)
    let lying = slot_with(&world, 1, PLAIN, |_| claims(9_000)).await;
    world.assert_kept(0, &lying.held).await;
    assert_eq!((lying.counts.bids, lying.counts.blinded), (1, 0), "it was asked, and not taken");
    assert_eq!((&lying.block["origin"]["from"], &lying.block["best_refused"]), (&json!("own"), &wei(9_000)));

    let withholding = slot_with(&world, 2, PLAIN, |_| Behaviour { withhold: true, ..claims(10) }).await;
    world.assert_kept(0, &withholding.held).await;
    assert_eq!((withholding.counts.bids, withholding.counts.blinded), (1, 0));
    assert_eq!(withholding.block["origin"]["from"], "own");

    // One that leaves the promised transaction out, with and without pretending to prove it.
    let leaving = slot_with(&world, 3, PLAIN, |h| Behaviour { leave_out: vec![h.hash], ..claims(20) }).await;
    world.assert_kept(0, &leaving.held).await;
    assert_eq!((&leaving.block["origin"]["from"], &leaving.block["best_refused"]), (&json!("own"), &wei(20)));
    let censoring = slot_with(&world, 4, CONSTRAINTS, |_| Behaviour { censor: true, ..claims(50) }).await;
    world.assert_kept(0, &censoring.held).await;
    assert_eq!((&censoring.block["origin"]["from"], &censoring.block["best_refused"]), (&json!("own"), &wei(50)));

    // A slow one gets no more time than the beacon node gives the host.
    let slow = slot_with(&world, 5, CONSTRAINTS, |_| Behaviour { delay_ms: 5_000, ..claims(30) }).await;
    world.assert_kept(0, &slow.held).await;
    assert_eq!((&slow.block["origin"]["from"], &slow.decided["chosen"]), (&json!("own"), &json!("builder")));
    assert_eq!(slow.block["best_refused"], Value::Null, "nothing came that could be refused");

    // One that bids another block at each call, and proves each: what was served is what is unblinded.
    let equivocating = slot_with(&world, 6, CONSTRAINTS, |_| Behaviour { equivocate: true, ..claims(2) }).await;
    world.assert_kept(0, &equivocating.held).await;
    assert_eq!(equivocating.block["origin"]["from"], "relay", "{}", equivocating.block);
    assert_eq!(equivocating.counts.published, 1);

    // The control: an honest relay with proofs is taken.
    let honest = slot_with(&world, 7, CONSTRAINTS, |_| claims(2)).await;
    world.assert_kept(0, &honest.held).await;
    assert_eq!(honest.block["origin"]["from"], "relay", "{}", honest.block);
    assert_eq!(honest.decided["chosen"], "builder");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_proves_what_is_due_and_then_withholds_costs_the_slot_and_the_promise_is_excused() {
    let plan = Plan { relays: &[false, true], ..Plan::new("host", 0..VALIDATORS, "lighthouse") };
    let world = World::start(SLOT_MS, vec![plan]).await;
    let lost = slot_with(&world, 1, CONSTRAINTS, |_| Behaviour { withhold: true, ..claims(3) }).await;
    assert_eq!((lost.counts.blinded, lost.counts.published), (1, 0));
    assert_eq!(lost.block, Value::Null, "the slot has no block");
    let fate = world.fate(0, &lost.held, "excused").await;
    // Our proposer signed a block, and the chain does not have it.
    assert_eq!(fate["cause"], "orphaned", "{fate}");
    // It is no foreign block: promising goes on, and without the relay the next promise is kept.
    let next = slot_with(&world, 2, PLAIN, |_| silent()).await;
    world.assert_kept(0, &next.held).await;
    world.stop().await;
}
