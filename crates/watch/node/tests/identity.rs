//! Learning a chain, and knowing it again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::B256;
use axum::{
    Router,
    routing::{get, post},
};
use common::{limits, serve};
use serde_json::{Value, json};
use tandem_node::{BeaconNode, ExecutionNode, NodeError, identify, identify_again};
use tandem_types::SlotClock;

#[derive(Clone)]
struct Chain {
    genesis_time: u64,
    seconds: Value,
    devnet: Option<SlotClock>,
    validators_root: B256,
    extra: &'static [u8],
}

const CHAIN: Chain =
    Chain { genesis_time: 1000, seconds: Value::Null, devnet: None, validators_root: B256::ZERO, extra: b"a" };

async fn pair(c: Chain) -> (ExecutionNode, BeaconNode) {
    let header = alloy_consensus::Header { extra_data: c.extra.into(), ..Default::default() };
    let mut block = serde_json::to_value(&header).unwrap();
    block["hash"] = json!(header.hash_slow());
    let rpc = move |body: String| async move {
        let r: Value = serde_json::from_str(&body).unwrap();
        let result = if r["method"] == "eth_chainId" { json!("0x7") } else { block };
        json!({"jsonrpc": "2.0", "id": r["id"], "result": result}).to_string()
    };
    let genesis = json!({"data": {"genesis_time": c.genesis_time.to_string(),
        "genesis_validators_root": c.validators_root, "genesis_fork_version": "0x00000001"}});
    let spec = json!({"data": {"SECONDS_PER_SLOT": c.seconds, "DEPOSIT_CHAIN_ID": "7", "BLOB_SCHEDULE": []}});
    let forks = json!({"data": [
        {"previous_version": "0x00000001", "current_version": "0x00000001", "epoch": "0"},
        {"previous_version": "0x00000001", "current_version": "0x00000002", "epoch": "2"},
        {"previous_version": "0x00000002", "current_version": "0x00000003", "epoch": "18446744073709551615"},
    ]});
    let text = |v: Value| get(move || std::future::ready(v.to_string()));
    let mut app = Router::new()
        .route("/", post(rpc))
        .route("/eth/v1/beacon/genesis", text(genesis))
        .route("/eth/v1/config/spec", text(spec))
        .route("/eth/v1/config/fork_schedule", text(forks));
    if let Some(clock) = c.devnet {
        app = app.route("/tandem/v1/devnet", text(json!({"data": {"devnet": true, "clock": clock}})));
    }
    let url = serve(app).await;
    (ExecutionNode::new(&url, limits(20_000)).unwrap(), BeaconNode::new(&url, limits(20_000)).unwrap())
}

#[tokio::test]
async fn a_chain_is_learned_with_the_fork_that_runs_now() {
    let c = Chain { seconds: json!("12"), ..CHAIN };
    let (e, b) = pair(c).await;
    let epoch_2 = (1000 + 64 * 12) * 1000;
    for (now, version) in [(epoch_2 - 1, [0, 0, 0, 1]), (epoch_2, [0, 0, 0, 2])] {
        let spec = identify(&e, &b, now).await.unwrap();
        assert_eq!((spec.chain_id, spec.fork_version, spec.genesis_fork_version), (7, version, [0, 0, 0, 1]));
        assert_eq!((spec.clock, spec.devnet), (SlotClock::real(1000, 12), false));
        e.check_chain(&spec).await.unwrap();
        b.check_chain(&spec).await.unwrap();
    }
}

#[tokio::test]
async fn another_chain_is_known_by_each_part_of_its_identity() {
    let c = Chain { seconds: json!("12"), ..CHAIN };
    let (e, b) = pair(c.clone()).await;
    let spec = identify(&e, &b, 0).await.unwrap();
    let (other, _) = pair(Chain { extra: b"b", ..c.clone() }).await;
    assert!(matches!(other.check_chain(&spec).await, Err(NodeError::WrongChain { what: "genesis hash", .. })));
    let wrong_id = tandem_types::ChainSpec { chain_id: 8, ..spec };
    assert!(matches!(e.check_chain(&wrong_id).await, Err(NodeError::WrongChain { what: "chain id", .. })));
    let (_, other) = pair(Chain { validators_root: B256::repeat_byte(1), ..c.clone() }).await;
    let error = other.check_chain(&spec).await.unwrap_err();
    assert!(matches!(error, NodeError::WrongChain { what: "genesis validators root", .. }));
    let (_, other) = pair(Chain { genesis_time: 1001, ..c }).await;
    assert!(matches!(other.check_chain(&spec).await, Err(NodeError::WrongChain { what: "genesis time", .. })));
}

#[tokio::test]
async fn the_devnets_pace_is_taken_and_its_timestamps_must_be_the_chains() {
    let clock = SlotClock { genesis_time: 1000, slot_seconds: 1, wall_genesis_ms: 5, wall_slot_ms: 200 };
    let c = Chain { seconds: json!("1"), devnet: Some(clock), ..CHAIN };
    let (e, b) = pair(c.clone()).await;
    let spec = identify(&e, &b, 10).await.unwrap();
    assert_eq!((spec.clock, spec.devnet), (clock, true));
    for wrong in [
        SlotClock { slot_seconds: 2, ..clock },
        SlotClock { genesis_time: 999, ..clock },
        SlotClock { wall_slot_ms: 0, ..clock },
    ] {
        let (e, b) = pair(Chain { devnet: Some(wrong), ..c.clone() }).await;
        assert!(matches!(identify(&e, &b, 10).await, Err(NodeError::Untrue { .. })), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_known_chains_fork_and_pace_are_told_by_a_beacon_node_alone_and_no_more_than_these() {
    let c = Chain { seconds: json!("12"), ..CHAIN };
    let (e, b) = pair(c.clone()).await;
    let epoch_2 = (1000 + 64 * 12) * 1000;
    let known = identify(&e, &b, 0).await.unwrap();
    let told = identify_again(&known, &b, epoch_2).await.unwrap();
    assert_eq!(told, tandem_types::ChainSpec { fork_version: [0, 0, 0, 2], ..known });
    let (_, other) = pair(Chain { validators_root: B256::repeat_byte(1), ..c }).await;
    assert!(matches!(identify_again(&known, &other, 0).await, Err(NodeError::WrongChain { .. })));
    // A devnet's pace is one of the devnet's only.
    let clock = SlotClock { genesis_time: 1000, slot_seconds: 1, wall_genesis_ms: 5, wall_slot_ms: 200 };
    let (e, b) = pair(Chain { seconds: json!("1"), devnet: Some(clock), ..CHAIN }).await;
    let devnet = identify(&e, &b, 10).await.unwrap();
    let slower = SlotClock { wall_slot_ms: 400, ..clock };
    let was = tandem_types::ChainSpec { clock: slower, ..devnet };
    assert_eq!(identify_again(&was, &b, 10).await.unwrap().clock, clock);
    let real = tandem_types::ChainSpec { devnet: false, ..devnet };
    let error = identify_again(&real, &b, 10).await.unwrap_err();
    assert!(matches!(error, NodeError::WrongChain { what: "being a devnet", .. }), "{error}");
}

#[tokio::test]
async fn a_chain_without_a_usable_slot_length_is_refused() {
    for seconds in [Value::Null, json!("0"), json!("-12"), json!("twelve"), json!(12)] {
        let (e, b) = pair(Chain { seconds: seconds.clone(), ..CHAIN }).await;
        assert!(matches!(identify(&e, &b, 0).await, Err(NodeError::Malformed { .. })), "{seconds}");
    }
}
