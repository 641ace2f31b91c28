//! Slow callers of the beacon API and of the JSON-RPC: each is given up with a code, and meanwhile everybody
//! else is served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use http_body_util::BodyExt;
use jsonrpsee::{
    core::client::{Subscription, SubscriptionClientT},
    rpc_params,
    ws_client::WsClientBuilder,
};
use serde_json::{Value, json};
use std::time::Duration;
use tandem_devnet::{
    execution::{Execution, GenesisConfig},
    rpc::{RpcConfig, serve},
};
use tandem_testkit::http;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

/// More than there are places for requests.
const HALVES: usize = 300;

async fn open(url: &str, sent: &str) -> TcpStream {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    stream
}

/// Status and body of what a caller is told before the connection is closed.
async fn said(mut stream: TcpStream) -> (u16, Value) {
    let mut said = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut said)).await.expect("an answer in time").unwrap();
    let body = serde_json::from_str(said.split("\r\n\r\n").nth(1).unwrap_or_default());
    (said[9..12].parse().unwrap(), body.unwrap_or_else(|e| panic!("{e}: {said}")))
}

/// Status and reason of what a caller of the beacon API is told.
async fn told(stream: TcpStream) -> (u16, Value) {
    let (status, body) = said(stream).await;
    assert_eq!(body["code"], json!(status), "{body}");
    (status, body["reason"].clone())
}

/// The same of a caller of the JSON-RPC.
async fn rpc_told(stream: TcpStream) -> (u16, Value) {
    let (status, body) = said(stream).await;
    assert_eq!((&body["jsonrpc"], &body["id"]), (&json!("2.0"), &Value::Null), "{body}");
    assert!(body["error"]["code"].is_i64() && body["error"]["message"].is_string(), "{body}");
    (status, body["error"]["data"]["reason"].clone())
}

/// A call of the JSON-RPC whose body has so many bytes, and begins like this.
fn call(length: usize, body: &str) -> String {
    let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {length}\r\n\r\n{body}")
}

const CHAIN_ID: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;

fn good_call() -> String {
    call(CHAIN_ID.len(), CHAIN_ID)
}

/// Makes the calls beside half a head and then many half bodies, and gives those when the calls were answered before
/// the half head, the first of them all, was given up. A loaded machine may take too long for it: it is set up anew.
async fn served_before_the_first_is_given_up(
    set_up: impl AsyncFn() -> (TcpStream, Vec<TcpStream>),
    calls: impl AsyncFn(),
) -> (TcpStream, Vec<TcpStream>) {
    for _ in 0..TRIES {
        let (head, halves) = set_up().await;
        calls().await;
        // There is nothing to read of it yet.
        if tokio::time::timeout(Duration::from_millis(1), head.peek(&mut [0])).await.is_err() {
            return (head, halves);
        }
    }
    panic!("the calls waited for others");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_heads_and_half_bodies_hold_up_neither_calls_nor_blocks_nor_event_streams() {
    let net = start(fast()).await;
    let mut events = http::open(&format!("{}/eth/v1/events?topics=head", net.beacon_url())).await.unwrap();
    let set_up = async || {
        let head = open(&net.beacon_url(), "GET /eth/v1/node/ver").await;
        let mut halves = Vec::new();
        for path in ["/tandem/v1/devnet/miss", "/eth/v2/beacon/blocks"].into_iter().cycle().take(HALVES) {
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
            halves.push(open(&net.beacon_url(), &format!("{head}content-length: 900\r\n\r\n{{\"slot\":")).await);
        }
        (head, halves)
    };
    let calls = async || {
        for path in ["/eth/v1/node/version", "/eth/v1/beacon/states/head/fork", "/tandem/v1/devnet"] {
            get(&net, path).await;
        }
    };
    let (head, halves) = served_before_the_first_is_given_up(set_up, calls).await;
    // The chain goes on, and whoever listens hears of it, for longer than any request may take.
    let first = net.node.chain.head().slot().get();
    let mut heard = String::new();
    let until = Instant::now() + Duration::from_secs(11);
    while Instant::now() < until {
        let frame = tokio::time::timeout(PATIENCE, events.frame()).await.unwrap().expect("the stream goes on");
        heard.push_str(&String::from_utf8_lossy(frame.unwrap().data_ref().unwrap()));
    }
    let heads = heard.matches("event: head").count();
    assert!(heads > 10 && net.node.chain.head().slot().get() > first + 10, "{heads} heads");
    assert_eq!(told(head).await, (408, json!("slow-head")));
    for half in halves {
        assert_eq!(told(half).await, (408, json!("slow-body")));
    }
    order(&net, "miss", json!({})).await;
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_heads_and_half_bodies_hold_up_neither_calls_nor_subscriptions_of_the_execution_layer() {
    let net = start(fast()).await;
    let url = net.execution_url();
    let client = WsClientBuilder::default().build(net.execution_ws()).await.unwrap();
    let mut heads: Subscription<Value> =
        client.subscribe("eth_subscribe", rpc_params!["newHeads"], "eth_unsubscribe").await.unwrap();
    let set_up = async || {
        let head = open(&url, "POST / HT").await;
        let mut halves = Vec::new();
        for _ in 0..HALVES {
            halves.push(open(&url, &call(100, "{\"json")).await);
        }
        (head, halves)
    };
    let calls = async || assert_eq!(said(open(&url, &good_call()).await).await.1["result"], json!("0x7e7e"));
    let begin = Instant::now();
    let (head, halves) = served_before_the_first_is_given_up(set_up, calls).await;
    assert_eq!(rpc_told(head).await, (408, json!("slow-head")));
    for half in halves {
        assert_eq!(rpc_told(half).await, (408, json!("slow-body")));
    }
    // A subscription is told for longer than any head or body may take.
    let until = begin + Duration::from_secs(11);
    while Instant::now() < until {
        let told = tokio::time::timeout(PATIENCE, heads.next()).await.expect("a head in time");
        told.expect("the subscription goes on").unwrap();
    }
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_half_bodies_than_connections_are_told_and_then_calls_are_served_again() {
    const PLACES: usize = 4;
    let execution = Execution::new(&GenesisConfig::default()).unwrap();
    let config = RpcConfig { max_connections: PLACES as u32, ..RpcConfig::default() };
    let server = serve(execution, config).await.unwrap();
    let url = server.http_url();
    let client = WsClientBuilder::default().build(server.ws_url()).await.unwrap();
    let heads: Subscription<Value> =
        client.subscribe("eth_subscribe", rpc_params!["newHeads"], "eth_unsubscribe").await.unwrap();
    let mut halves = Vec::new();
    for _ in 1..PLACES {
        halves.push(open(&url, &call(100, "{\"json")).await);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Who says nothing surely reads it: what is unread resets the connection.
    assert_eq!(rpc_told(open(&url, "").await).await, (503, json!("busy")));
    for half in halves {
        assert_eq!(rpc_told(half).await, (408, json!("slow-body")));
    }
    // How many of so many are served at once.
    let served = async |count: usize| {
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(open(&url, "").await);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut served = 0;
        for mut stream in streams {
            // Who was turned away may find the connection closed.
            let _ = stream.write_all(good_call().as_bytes()).await;
            let mut first = [0; 12];
            let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap();
            served += usize::from(read.is_ok() && first.ends_with(b"200"));
        }
        served
    };
    let until_served = async |count: usize| {
        let end = Instant::now() + PATIENCE;
        while served(count).await < count {
            assert!(Instant::now() < end, "{count} at once are never served again");
        }
    };
    until_served(PLACES - 1).await;
    // The silent subscription has its place still, as long as it is there: all others are served, once whoever was
    // answered before has let go, and one is turned away.
    let end = Instant::now() + PATIENCE;
    loop {
        let served = served(PLACES).await;
        assert!(served < PLACES, "the subscription has lost its place");
        if served + 1 == PLACES {
            break;
        }
        assert!(Instant::now() < end, "only {served} are served");
    }
    drop((client, heads));
    until_served(PLACES).await;
    server.stop().await;
}
