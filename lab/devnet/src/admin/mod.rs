//! The devnet's own API, `/tandem/v1/devnet`: what it is, and trouble on demand. **All of it is
//! simulated trouble**: no real node has these calls. Whoever reaches the port may use them, so the
//! devnet binds to loopback unless it is told otherwise.
//!
//! | call | body | does |
//! |---|---|---|
//! | `GET /` | | the chain's identity and clock ([`tandem_types::ChainSpec`]), that it is simulated, and these calls with an example each |
//! | `GET /decisions` | | what the proposers' nodes decided, oldest first |
//! | `GET /nodes`, `POST /nodes`, `DELETE /nodes/{name}` | a proposer node | lists, attaches, detaches |
//! | `POST /reorg` | `{"depth": n}` | a block of the first slot that can orphans `n` blocks |
//! | `POST /miss` | `{"slot"?, "count"?}` | slots without a block; the next one where none is named |
//! | `POST /late` | `{"slot"?, "permille" or "seconds"}` | the slot's proposer starts late |
//! | `POST /spike` | `{"slots": n, "tip_gwei"?}` | the pool is filled each slot, so that the base fee rises |
//! | `POST /stall`, `POST /resume` | | finality stands still, or follows again |
//! | `POST /gas-limit` | `{"gas_limit": n}` | the execution client's target |
//! | `POST /override` | `{"on": bool}` | execution clients say `should_override_builder` |
//! | `POST /faucet` | `{"to", "wei"}` | a transfer from the devnet's own account |
//!
//! An order that can not be taken is answered with `{"code", "message", "reason"}`: the status, a sentence
//! that says what would be accepted, and a stable code.

mod calls;
mod spike;
mod wallet;

pub use calls::{Call, ROOT, listed, router};
pub(crate) use spike::keep_spiking;
pub use wallet::{SPIKE_ACCOUNTS, address_of, spike_key};

use crate::{
    beacon_api::{
        bounds::off_thread,
        config::VERSION,
        error::ApiError,
        extract::{Json as Sent, Path},
        negotiate,
    },
    node::{Node, now_ms},
    proposer::{Decision, ProposerConfig},
};
use alloy_primitives::{Address, B256};
use axum::{Json, extract::State, response::Response};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tandem_types::{ChainSpec, Slot, SlotClock, Wei};

/// Most blocks that one order may reorg: as many states as are surely kept.
const MAX_REORG: u64 = 256;
/// Most slots that one order may miss or fill.
const MAX_SLOTS: u64 = 1024;
/// How many slots ahead one may be named: 27 hours of mainnet. Orders are kept until their slot.
const MAX_AHEAD: u64 = 8192;

/// What `GET /tandem/v1/devnet` answers, in `data`. A host takes a scaled clock only from a node that
/// says this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Always true: this is the devnet, and its chain is simulated.
    pub devnet: bool,
    /// Name and version.
    pub version: String,
    /// The execution layer's JSON-RPC.
    pub execution: String,
    /// The clock, with the wall's pace.
    pub clock: SlotClock,
    /// Identity, and the clock again.
    pub spec: ChainSpec,
    /// The running slot.
    pub slot: Slot,
    /// Chain seconds in a second of the wall: 12 where a slot of 12 s takes 1 s.
    pub pace: f64,
    /// All calls of this API, with a body each that can be sent as it is.
    pub calls: Vec<Call>,
}

type Answer = Result<Json<Value>, ApiError>;

fn done(mut what: Value) -> Json<Value> {
    if let Some(o) = what.as_object_mut() {
        o.insert("simulated".into(), json!(true));
    }
    Json(what)
}

async fn about(State(node): State<Node>) -> Response {
    let spec = *node.chain.spec();
    let clock = spec.clock;
    negotiate::plain(About {
        devnet: true,
        version: VERSION.into(),
        execution: node.execution_url.get().cloned().unwrap_or_default(),
        clock,
        spec,
        slot: clock.slot_at(now_ms()),
        pace: clock.slot_seconds as f64 * 1000.0 / clock.wall_slot_ms as f64,
        calls: listed(),
    })
}

async fn decisions(State(node): State<Node>) -> Json<Vec<Decision>> {
    Json(node.decisions.all())
}

async fn nodes(State(node): State<Node>) -> Json<Vec<ProposerConfig>> {
    Json(node.nodes.all().iter().map(|n| (**n).clone()).collect())
}

async fn attach(State(node): State<Node>, Sent(config): Sent<ProposerConfig>) -> Answer {
    if config.name.is_empty() || config.name.len() > 64 {
        return Err(ApiError::bad("name: must have 1 to 64 characters").because("name-invalid"));
    }
    let config = node.nodes.attach(config);
    tracing::info!(name = config.name, "proposer node attached");
    node.register(&config).await;
    Ok(done(json!({ "attached": config.name })))
}

async fn detach(State(node): State<Node>, Path(name): Path<String>) -> Answer {
    if node.nodes.detach(&name) {
        return Ok(done(json!({ "detached": name })));
    }
    let names: Vec<String> = node.nodes.all().iter().map(|n| n.name.clone()).collect();
    if names.contains(&name) {
        return Err(ApiError::bad(format!("{name:?} is the only node: attach another one first")).because("last-node"));
    }
    Err(ApiError::not_found(format!("there is no node {name:?}, only {names:?}")).because("unknown-node"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reorg {
    depth: u64,
}

async fn reorg(State(node): State<Node>, Sent(r): Sent<Reorg>) -> Answer {
    let head = node.chain.head();
    if r.depth == 0 || r.depth > MAX_REORG || r.depth > head.height {
        let why = match head.height.min(MAX_REORG) {
            0 => "depth: there is no block to orphan yet".to_owned(),
            most => format!("depth: must be from 1 to {most} now"),
        };
        return Err(ApiError::bad(why).because("depth-out-of-range"));
    }
    node.trouble.reorg(r.depth);
    Ok(done(json!({ "ordered": "reorg", "depth": r.depth, "head_slot": head.slot() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Miss {
    #[serde(default, deserialize_with = "quoted_or_plain")]
    slot: Option<Slot>,
    count: Option<u64>,
}

/// A slot in quotes, as the beacon API and the answers here write it, or as a plain number, like the other fields.
fn quoted_or_plain<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Slot>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a slot is a decimal integer, in quotes or plain")]
    enum Either {
        Plain(u64),
        Quoted(Slot),
    }
    let read = Option::<Either>::deserialize(d)?;
    Ok(read.map(|either| match either {
        Either::Plain(number) => Slot::new(number),
        Either::Quoted(slot) => slot,
    }))
}

/// The slot that was named, if it is still to come and not too far ahead; else the next one.
fn to_come(node: &Node, slot: Option<Slot>) -> Result<Slot, ApiError> {
    let next = node.chain.spec().clock.slot_at(now_ms()).saturating_add(1);
    match slot {
        Some(s) if s < next => {
            Err(ApiError::bad(format!("slot: {s} has begun; the next one is {next}")).because("slot-has-begun"))
        }
        Some(s) if s > next.saturating_add(MAX_AHEAD) => {
            let why = format!("slot: {s} is more than {MAX_AHEAD} slots after the next one, which is {next}");
            Err(ApiError::bad(why).because("slot-too-far"))
        }
        Some(s) => Ok(s),
        None => Ok(next),
    }
}

async fn miss(State(node): State<Node>, Sent(m): Sent<Miss>) -> Answer {
    let (first, count) = (to_come(&node, m.slot)?, m.count.unwrap_or(1));
    if count == 0 || count > MAX_SLOTS {
        return Err(ApiError::bad(format!("count: must be from 1 to {MAX_SLOTS}")).because("count-out-of-range"));
    }
    (0..count).for_each(|i| node.trouble.miss(first.saturating_add(i)));
    Ok(done(json!({ "ordered": "miss", "slot": first, "count": count })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Late {
    #[serde(default, deserialize_with = "quoted_or_plain")]
    slot: Option<Slot>,
    permille: Option<u64>,
    seconds: Option<f64>,
}

async fn late(State(node): State<Node>, Sent(l): Sent<Late>) -> Answer {
    let clock = node.chain.spec().clock;
    let permille = match (l.permille, l.seconds) {
        (Some(p), None) => p,
        (None, Some(s)) if s.is_finite() && s >= 0.0 => (s * 1000.0 / clock.slot_seconds as f64) as u64,
        _ => {
            let why = "give either permille of a slot, or chain seconds from 0 on";
            return Err(ApiError::bad(why).because("lateness-missing"));
        }
    };
    if permille > 2000 {
        let why = "a block may be at most two slots late: 2000 permille";
        return Err(ApiError::bad(why).because("lateness-out-of-range"));
    }
    let slot = to_come(&node, l.slot)?;
    let wall_ms = clock.wall_slot_ms * permille / 1000;
    node.trouble.delay(slot, wall_ms);
    Ok(done(json!({ "ordered": "late", "slot": slot, "wall_ms": wall_ms })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spike {
    slots: u64,
    tip_gwei: Option<u64>,
}

async fn spike_call(State(node): State<Node>, Sent(s): Sent<Spike>) -> Answer {
    if s.slots == 0 || s.slots > MAX_SLOTS {
        return Err(ApiError::bad(format!("slots: must be from 1 to {MAX_SLOTS}")).because("slots-out-of-range"));
    }
    let tip = s.tip_gwei.unwrap_or(spike::TIP_GWEI);
    if tip == 0 || tip > spike::MAX_TIP_GWEI {
        let why = format!("tip_gwei: must be from 1 to {}", spike::MAX_TIP_GWEI);
        return Err(ApiError::bad(why).because("tip-out-of-range"));
    }
    let until = node.chain.spec().clock.slot_at(now_ms()).saturating_add(s.slots);
    node.trouble.spike(until, tip);
    let at = node.clone();
    tokio::task::spawn_blocking(move || keep_spiking(&at));
    Ok(done(json!({ "ordered": "spike", "until": until })))
}

async fn stall(State(node): State<Node>) -> Answer {
    let from = to_come(&node, None)?.saturating_add(1);
    node.chain.change_rules(|r| r.finality.stall(from));
    Ok(done(json!({ "ordered": "stall", "from": from })))
}

async fn resume(State(node): State<Node>) -> Answer {
    let at = to_come(&node, None)?.saturating_add(1);
    node.chain.change_rules(|r| r.finality.resume(at));
    Ok(done(json!({ "ordered": "resume", "at": at })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GasLimit {
    gas_limit: u64,
}

async fn gas_limit(State(node): State<Node>, Sent(g): Sent<GasLimit>) -> Answer {
    if g.gas_limit < 5_000_000 {
        return Err(ApiError::bad("gas_limit: must be at least 5,000,000").because("gas-limit-too-low"));
    }
    node.chain.execution().set_gas_target(g.gas_limit);
    Ok(done(json!({ "ordered": "gas-limit", "gas_limit": g.gas_limit })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Override {
    on: bool,
}

async fn override_builder(State(node): State<Node>, Sent(o): Sent<Override>) -> Answer {
    node.chain.execution().set_override_builder(o.on);
    Ok(done(json!({ "ordered": "override", "on": o.on })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Faucet {
    to: Address,
    wei: Wei,
}

async fn faucet(State(node): State<Node>, Sent(f): Sent<Faucet>) -> Answer {
    let refused = |e: String| ApiError::bad(e).because("transfer-refused");
    let hash: B256 = off_thread(move || wallet::transfer(&node, f.to, f.wei.get()).map_err(refused)).await?;
    Ok(done(json!({ "transaction": hash })))
}

#[cfg(test)]
mod tests {
    use super::{Late, Miss};
    use serde_json::{Value, json};
    use tandem_types::Slot;

    #[test]
    fn a_slot_is_read_in_quotes_or_plain_and_nothing_else_is_one() {
        let miss = |slot: Value| serde_json::from_value::<Miss>(json!({ "slot": slot })).map(|m| m.slot);
        let late = |slot: Value| serde_json::from_value::<Late>(json!({ "slot": slot, "permille": 1 })).map(|l| l.slot);
        let most = Slot::new(u64::MAX);
        for (sent, read) in [
            (json!("7"), Some(Slot::new(7))),
            (json!(7), Some(Slot::new(7))),
            (json!(u64::MAX), Some(most)),
            (json!(u64::MAX.to_string()), Some(most)),
            (Value::Null, None),
        ] {
            assert_eq!((miss(sent.clone()).ok(), late(sent.clone()).ok()), (Some(read), Some(read)), "{sent}");
        }
        for bad in [json!(-1), json!("-1"), json!(1.5), json!("0x7"), json!(""), json!(true), json!([7])] {
            for said in [miss(bad.clone()), late(bad.clone())] {
                assert!(said.is_err_and(|e| e.to_string().contains("in quotes or plain")), "{bad}");
            }
        }
        assert!(serde_json::from_value::<Miss>(json!({})).is_ok_and(|m| m.slot.is_none()));
    }
}
