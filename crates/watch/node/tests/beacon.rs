//! The beacon API, as a real Prysm answered it, and as it must not be answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::{B256, b256};
use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use common::{json_vector, limits, serve, vector};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tandem_node::{
    At, BeaconBlockId, BeaconNode, BroadcastValidation, ExecutionNode, NodeError, Publication, identify,
};
use tandem_types::{Epoch, Slot, SlotClock};

const ROOT_94: B256 = b256!("0x45e56a62e9350457aa28dc529af549c7d530b3470264f41e70b8f133959954ee");

fn file(name: &str) -> impl Fn() -> std::future::Ready<Vec<u8>> + Clone + Send + Sync + 'static {
    let bytes = vector(&format!("devnet-fulu/{name}"));
    move || std::future::ready(bytes.clone())
}

async fn beacon(app: Router) -> BeaconNode {
    BeaconNode::new(&serve(app).await, limits(20_000)).unwrap()
}

async fn prysm() -> BeaconNode {
    let block = |headers: HeaderMap| async move {
        let wants_ssz = headers[header::ACCEPT].to_str().unwrap().starts_with("application/octet-stream");
        assert!(wants_ssz);
        let head = [(header::CONTENT_TYPE.as_str(), "application/octet-stream"), ("eth-consensus-version", "fulu")];
        (head, vector("devnet-fulu/block-94.ssz"))
    };
    let app = Router::new()
        .route("/eth/v1/beacon/genesis", get(file("genesis.json")))
        .route("/eth/v1/config/spec", get(file("spec.json")))
        .route("/eth/v1/beacon/states/head/validators", get(file("validators.json")))
        .route("/eth/v1/validator/duties/proposer/{epoch}", get(file("proposer-duties-1.json")))
        .route("/eth/v1/beacon/headers/{id}", get(file("header-94.json")))
        .route("/eth/v2/beacon/blocks/{id}", get(block));
    beacon(app).await
}

#[tokio::test]
async fn a_real_nodes_answers_are_read() {
    let node = prysm().await;
    let genesis = node.genesis().await.unwrap();
    assert_eq!((genesis.genesis_time, genesis.genesis_fork_version), (1_795_350_100, [0x20, 0, 0, 0x89]));
    let spec = node.spec().await.unwrap();
    assert_eq!((spec.number("SECONDS_PER_SLOT"), spec.number("DEPOSIT_CHAIN_ID")), (Some(2), Some(32_382)));
    let keys: Vec<_> = json_vector("devnet-fulu/validators.json")["data"].as_array().unwrap()[..3]
        .iter()
        .map(|v| v["validator"]["pubkey"].as_str().unwrap().parse().unwrap())
        .collect();
    let validators = node.validators(&keys).await.unwrap();
    assert_eq!(validators.len(), 3, "only those that were asked for, whatever the node sends");
    assert!(validators.iter().all(|v| v.is_active() && v.balance.get() == 32_000_000_000));
    let duties = node.proposer_duties(Epoch::new(1)).await.unwrap();
    assert_eq!((duties.duties.len(), duties.optimistic), (32, false));
    assert!(matches!(node.proposer_duties(Epoch::new(2)).await, Err(NodeError::Untrue { .. })));
}

#[tokio::test]
async fn a_real_block_gives_its_payload_and_its_root_is_computed_here() {
    let node = prysm().await;
    let header = node.header(BeaconBlockId::Slot(Slot::new(94))).await.unwrap();
    assert_eq!((header.root, header.optimistic), (ROOT_94, false));
    let id = node.payload_id(BeaconBlockId::Head).await.unwrap();
    assert_eq!((id.root, id.slot, id.block.number), (ROOT_94, Slot::new(94), 94));
    assert_eq!(id.block.hash, b256!("0x95b1fed0e95b26a6c8978e1667f9d0c0e11b1449a5eec3bbe9ca1c790c65875c"));
    assert!(!id.optimistic);
    assert!(node.payload_of(ROOT_94).await.unwrap().optimistic, "SSZ does not say that it is validated");
    assert!(matches!(node.payload_of(B256::ZERO).await, Err(NodeError::Untrue { .. })));
    assert!(matches!(node.header(BeaconBlockId::Root(B256::ZERO)).await, Err(NodeError::Untrue { .. })));
    assert!(matches!(node.header(BeaconBlockId::Slot(Slot::new(95))).await, Err(NodeError::Untrue { .. })));
}

#[tokio::test]
async fn what_a_node_does_not_say_is_not_assumed_in_its_favour() {
    let syncing = |v: Value| async move {
        let app = Router::new().route("/eth/v1/node/syncing", get(move || std::future::ready(v.to_string())));
        beacon(app).await.syncing().await.unwrap().is_ready()
    };
    let data = |more: Value| {
        let mut d = json!({"head_slot": "5", "sync_distance": "0", "is_syncing": false});
        d.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "data": d })
    };
    assert!(syncing(data(json!({"is_optimistic": false, "el_offline": false}))).await);
    for bad in [
        json!({}),
        json!({"is_optimistic": false}),
        json!({"is_optimistic": true, "el_offline": false}),
        json!({"is_optimistic": false, "el_offline": true}),
        json!({"is_optimistic": false, "el_offline": false, "is_syncing": true}),
    ] {
        assert!(!syncing(data(bad.clone())).await, "{bad}");
    }
    let mut header = json_vector("devnet-fulu/header-94.json");
    header.as_object_mut().unwrap().remove("execution_optimistic");
    let app = Router::new().route("/eth/v1/beacon/headers/{id}", get(move || std::future::ready(header.to_string())));
    assert!(beacon(app).await.header(BeaconBlockId::Head).await.unwrap().optimistic);
}

#[tokio::test]
async fn only_200_publishes_and_a_known_block_must_be_shown_by_its_root() {
    // Status, text, whether the node shows the root → whether it counts.
    for (status, text, shows, counts) in [
        (200, "", false, true),
        (202, "", true, false),
        (400, "block is equivocated", true, true),
        (400, "block is equivocated", false, false),
        (500, "block already known", true, true),
        (500, "block already known", false, false),
        (500, "invalid state root", true, false),
        (400, "bad version", false, false),
        (204, "", true, false),
    ] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let s = seen.clone();
        let publish = move |uri: axum::http::Uri, headers: HeaderMap, body: axum::body::Bytes| async move {
            s.lock().unwrap().push((uri.query().unwrap().to_owned(), headers["eth-consensus-version"].clone(), body));
            (StatusCode::from_u16(status).unwrap(), text)
        };
        let header = move || async move {
            if shows {
                vector("devnet-fulu/header-94.json").into_response()
            } else {
                StatusCode::NOT_FOUND.into_response()
            }
        };
        let app = Router::new()
            .route("/eth/v2/beacon/blocks", post(publish))
            .route("/eth/v1/beacon/headers/{id}", get(header));
        let bytes = vector("own-block/fulu-ssz-21/signed-block-contents.ssz");
        let node = beacon(app).await;
        let (yes, how) =
            node.publish_and_confirm(bytes.clone().into(), ROOT_94, BroadcastValidation::Gossip).await.unwrap();
        assert_eq!(yes, counts, "{status} {text:?} {shows}: {how:?}");
        assert_eq!(how == Publication::Accepted, status == 200);
        let (query, version, body) = seen.lock().unwrap()[0].clone();
        assert_eq!((query.as_str(), version.to_str().unwrap()), ("broadcast_validation=gossip", "fulu"));
        assert_eq!(body, bytes);
    }
}

/// Both nodes of the recorded chain, with the changes that a test makes.
async fn pair(chain_id: &'static str, spec: fn(&mut Value), devnet: Option<Value>) -> (ExecutionNode, BeaconNode) {
    let block0 = json_vector("devnet-fulu/eth_getBlockByNumber-94.json")["result"].take();
    let rpc = move |body: String| async move {
        let r: Value = serde_json::from_str(&body).unwrap();
        let result = match r["method"].as_str().unwrap() {
            "eth_chainId" => json!(chain_id),
            // Any block does as block 0 here, but its number must be.
            _ => json!(block0),
        };
        json!({"jsonrpc": "2.0", "id": r["id"], "result": result}).to_string()
    };
    let mut constants = json_vector("devnet-fulu/spec.json");
    spec(&mut constants["data"]);
    let forks = json!({"data": [
        {"previous_version": "0x20000089", "current_version": "0x20000089", "epoch": "0"},
        {"previous_version": "0x20000089", "current_version": "0x20000095", "epoch": "10"},
        {"previous_version": "0x20000095", "current_version": "0x20000099", "epoch": "18446744073709551615"},
    ]});
    let mut app = Router::new()
        .route("/", post(rpc))
        .route("/eth/v1/beacon/genesis", get(file("genesis.json")))
        .route("/eth/v1/config/spec", get(move || std::future::ready(constants.to_string())))
        .route("/eth/v1/config/fork_schedule", get(move || std::future::ready(forks.to_string())));
    if let Some(devnet) = devnet {
        app = app.route("/tandem/v1/devnet", get(move || std::future::ready(json!({ "data": devnet }).to_string())));
    }
    let url = serve(app).await;
    (ExecutionNode::new(&url, limits(20_000)).unwrap(), BeaconNode::new(&url, limits(20_000)).unwrap())
}

#[tokio::test]
async fn two_nodes_that_do_not_belong_together_are_told_apart() {
    let (execution, node) = pair("0x1", |_| (), None).await;
    let error = identify(&execution, &node, 0).await.unwrap_err();
    assert!(matches!(error, NodeError::WrongChain { what: "chain id", .. }), "{error}");
    assert!(!error.is_retryable());
    // The vector's block is not block 0: a node that answers another block is found out.
    let (execution, node) = pair("0x7e7e", |_| (), None).await;
    assert!(matches!(execution.header(At::Number(0)).await, Err(NodeError::Untrue { .. })));
    assert!(matches!(identify(&execution, &node, 0).await, Err(NodeError::Untrue { .. })));
}

#[tokio::test]
async fn a_scaled_clock_is_taken_only_from_a_node_that_says_it_is_the_devnet() {
    let clock = SlotClock { genesis_time: 5, slot_seconds: 12, wall_genesis_ms: 9, wall_slot_ms: 500 };
    let (_, real) = pair("0x7e7e", |_| (), None).await;
    assert_eq!(real.devnet_clock().await.unwrap(), None);
    let (_, other) = pair("0x7e7e", |_| (), Some(json!({"devnet": false, "clock": clock}))).await;
    assert_eq!(other.devnet_clock().await.unwrap(), None);
    let more = json!({"devnet": true, "clock": clock, "version": "x", "pace": 24.0});
    let (_, devnet) = pair("0x7e7e", |_| (), Some(more)).await;
    assert_eq!(devnet.devnet_clock().await.unwrap(), Some(clock));
}
