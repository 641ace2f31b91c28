//! A gateway over a fake house, and a client that sends exactly the bytes it is given.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy_primitives::{Address, B256};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_gateway::{
    Backend, Config, Events, Gateway, Metrics, NodeError, Order, Running,
    backend::Newest,
    view::{self, Health, Reason},
};
use tandem_ledger::{Report, Totals};
use tandem_module::{Refusal, Reply, Request};
use tandem_types::{ModuleId, Slot, SlotClock};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub const TOKEN: &str = "an-admin-token-of-more-than-32-characters";

/// What the method `huge` answers.
pub const HUGE: usize = 400 << 10;

/// A house that remembers what it was asked.
#[derive(Default)]
pub struct House {
    pub asked: Mutex<Vec<Request>>,
    pub node_asked: Mutex<Vec<(String, String)>>,
    pub orders: Mutex<Vec<Order>>,
    pub promises: Mutex<Vec<view::Promise>>,
    pub critical: Mutex<Vec<view::Critical>>,
    pub no_modules: bool,
    pub unwell: bool,
}

#[async_trait]
impl Backend for House {
    fn serves(&self, method: &str) -> bool {
        let served = [
            "commitmentRequest",
            "commitmentResult",
            "slots",
            "fee",
            "eth_sendRawTransaction",
            "hang",
            "nonsense",
            "refuse",
            "follow",
            "panic",
            "huge",
        ];
        !self.no_modules && served.contains(&method)
    }
    fn publishes(&self, module: &ModuleId, _: &str) -> bool {
        module.as_str() == "m"
    }
    async fn request(&self, request: Request) -> Result<Reply, Refusal> {
        let method = request.method.clone();
        let params = request.params.clone();
        self.asked.lock().push(request);
        match method.as_str() {
            "hang" => std::future::pending().await,
            "panic" => panic!("the house was told to panic"),
            "huge" => Ok(Reply::Json(format!("\"{}\"", "x".repeat(HUGE)).into())),
            "nonsense" => Ok(Reply::Json(Bytes::from_static(b"1},{\"injected\":true"))),
            "follow" => Ok(Reply::Subscribe("preconf/fills".into())),
            "refuse" => {
                Err(Refusal::new("fee-too-low", "the fee is too low").accepting(serde_json::json!({"tip": "7"})))
            }
            "fee" => Err(Refusal::new("bad-payload", "the payload does not decode")),
            _ => Ok(Reply::Json(params)),
        }
    }
    async fn node(&self, _: &str, method: &str, params: Bytes, _: Instant) -> Result<Bytes, NodeError> {
        self.node_asked.lock().push((method.into(), String::from_utf8(params.to_vec()).unwrap()));
        match method {
            "eth_call" => {
                Err(NodeError::Rpc { code: 3, message: "execution reverted".into(), data: Some("0x08c379a0".into()) })
            }
            "eth_getTransactionReceipt" => {
                let message = "missing value for required argument 0".into();
                Err(NodeError::Rpc { code: -32602, message, data: None })
            }
            "eth_getBlockByNumber" => {
                let (message, data) = ("header not found".into(), Some(serde_json::json!({ "number": 7 })));
                Err(NodeError::Rpc { code: -32000, message, data })
            }
            "eth_gasPrice" => Err(NodeError::Unavailable("connection refused".into())),
            _ => Ok(Bytes::from_static(b"\"0x1\"")),
        }
    }
    fn health(&self) -> Health {
        Health::from_reasons(if self.unwell { vec![Reason::new("journal-halted", "a sync failed")] } else { vec![] })
    }
    fn ready(&self) -> Health {
        self.health()
    }
    fn status(&self) -> view::Status {
        view::Status {
            version: "0.0.0".into(),
            chain_id: 1,
            simulated: true,
            clock: SlotClock::real(0, 12),
            now_ms: 0,
            head: None,
            finalized: None,
            health: self.health(),
            ready: self.ready(),
            promising: self.ready(),
            validators: 3,
            uptime_ms: 0,
            totals: Totals::default(),
            journal_records: 0,
            critical: self.critical.lock().clone(),
        }
    }
    fn slots(&self) -> Vec<view::SlotView> {
        Vec::new()
    }
    fn promises(&self, which: Newest) -> Vec<view::Promise> {
        self.promises.lock().iter().take(which.limit).cloned().collect()
    }
    fn blocks(&self, _: Newest) -> Vec<view::BlockView> {
        Vec::new()
    }
    fn modules(&self) -> Vec<view::ModuleView> {
        Vec::new()
    }
    fn completeness(&self, _: Slot) -> Option<view::Completeness> {
        None
    }
    async fn ledger(&self, _: u64) -> Result<Report, Refusal> {
        Ok(Report::default())
    }
    async fn order(&self, order: Order) -> Result<(), Refusal> {
        self.orders.lock().push(order);
        Ok(())
    }
}

pub fn promise(sealed: bool, private: bool) -> view::Promise {
    view::Promise {
        seq: 1,
        slot: Slot::new(9),
        tx_hash: B256::repeat_byte(0xaa),
        module: "preconf".parse().unwrap(),
        recorded_ms: 5,
        latency_us: Some(900),
        sealed,
        fate: None,
        detail: Some(view::PromiseDetail {
            sender: Address::repeat_byte(0x5e),
            nonce: 3,
            gas_limit: 21_000,
            cost: 1u128.into(),
            price: 2u128.into(),
            request_hash: B256::repeat_byte(0xbb),
            private,
        }),
    }
}

pub struct Lab {
    pub house: Arc<House>,
    pub events: Events,
    pub metrics: Arc<Metrics>,
    pub running: Running,
}

pub async fn lab(change: impl FnOnce(&mut Config)) -> Lab {
    lab_of(House::default(), change).await
}

pub async fn lab_of(house: House, change: impl FnOnce(&mut Config)) -> Lab {
    let mut config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
    change(&mut config);
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let events = Events::new(config.limits.events, metrics.clone());
    let house = Arc::new(house);
    let gateway =
        Gateway::new(config, house.clone(), events.clone(), metrics.clone(), Arc::new(RwLock::new(registry))).unwrap();
    let running = gateway.serve().await.unwrap();
    Lab { house, events, metrics, running }
}

/// A file with a secret; it lives as long as the folder.
pub fn secret(dir: &tempfile::TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, format!("{text}\n")).unwrap();
    path
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
    /// (HTTP status, code, reason), of JSON-RPC and REST errors alike.
    pub fn error(&self) -> (u16, i64, String) {
        let json = self.json();
        let e = json.get("error").unwrap_or(&json);
        assert!(e["message"].as_str().is_some_and(|m| !m.is_empty()), "{json}");
        (self.status, e["code"].as_i64().unwrap(), e["data"]["reason"].as_str().unwrap_or_default().into())
    }
}

impl Lab {
    pub fn addr(&self) -> SocketAddr {
        self.running.addr()
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr()).await.unwrap()
    }

    /// Sends bytes and reads until the gateway closes.
    pub async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read(&mut stream).await
    }

    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(k, _)| *k == "host") {
            head.push_str("host: 127.0.0.1\r\n");
        }
        for (k, v) in headers {
            head.push_str(&format!("{k}: {v}\r\n"));
        }
        self.raw(&[head.as_bytes(), b"\r\n", body].concat()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"").await
    }

    pub async fn rpc(&self, body: impl AsRef<[u8]>) -> Answer {
        self.ask("POST", "/", &[("content-type", "application/json")], body.as_ref()).await
    }

    pub async fn rpc_as(&self, token: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.ask("POST", "/", &[("content-type", "application/json"), ("authorization", &bearer)], body.as_bytes())
            .await
    }
}

pub async fn read(stream: &mut TcpStream) -> Answer {
    let mut all = Vec::new();
    let done = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await;
    done.expect("the gateway neither answers nor closes").unwrap();
    let text = String::from_utf8(all).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Answer { status: 0, head: text, body: String::new() };
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.into() }
}

pub fn call(method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[]}}"#)
}
