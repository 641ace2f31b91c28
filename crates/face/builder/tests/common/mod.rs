//! A desk that does what the test says, and raw sockets.
#![allow(dead_code)]

use alloy_primitives::B256;
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tandem_beacon::{SignedBlindedBeaconBlock, SignedBuilderBid, SignedValidatorRegistration, Versioned};
use tandem_blocks::{
    Complaint, DeskStatus, EncodedBid, HeaderAnswer, NoBid, ProposerDesk, SubmitAnswer, SubmitVersion,
};
use tandem_builder::{BuilderServer, Config};
use tandem_types::{BlsPublicKey, Slot};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Normal,
    Hang,
    Panic,
    Refuse,
}

#[derive(Default)]
pub struct FakeDesk {
    pub mood: Mutex<Mood>,
    pub bid: Mutex<Option<Arc<EncodedBid>>>,
    pub payload: Mutex<Option<(Bytes, Bytes)>>,
    pub delay: Mutex<Duration>,
    /// Calls that have come to it, whether they are answered or not.
    pub calls: AtomicU64,
    pub registered: Mutex<Vec<SignedValidatorRegistration>>,
    pub headers: Mutex<Vec<(Slot, B256, BlsPublicKey, Duration)>>,
    pub blocks: Mutex<Vec<(SignedBlindedBeaconBlock, SubmitVersion)>>,
    /// Bids' answers, and whether each left.
    pub left: Mutex<Vec<(B256, bool)>>,
}

impl FakeDesk {
    async fn mood(&self) -> Mood {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (mood, delay) = (*self.mood.lock().unwrap(), *self.delay.lock().unwrap());
        tokio::time::sleep(delay).await;
        match mood {
            Mood::Hang => std::future::pending().await,
            Mood::Panic => panic!("the desk was told to panic"),
            other => other,
        }
    }
}

#[async_trait]
impl ProposerDesk for FakeDesk {
    async fn status(&self) -> DeskStatus {
        match self.mood().await {
            Mood::Refuse => DeskStatus::NotReady("the node is syncing".into()),
            _ => DeskStatus::Ready,
        }
    }
    async fn register(&self, list: Vec<SignedValidatorRegistration>) -> Vec<Result<(), Complaint>> {
        let refuse = self.mood().await == Mood::Refuse;
        let results = list.iter().enumerate().map(|(i, _)| match refuse && i == 1 {
            true => Err(Complaint::bad("the signature is wrong")),
            false => Ok(()),
        });
        let results = results.collect();
        self.registered.lock().unwrap().extend(list);
        results
    }
    async fn header(&self, slot: Slot, parent: B256, key: BlsPublicKey, deadline: Instant) -> HeaderAnswer {
        let left = deadline.saturating_duration_since(Instant::now());
        self.headers.lock().unwrap().push((slot, parent, key, left));
        if self.mood().await == Mood::Refuse {
            return HeaderAnswer::Bad(Complaint::bad("the slot is absurd"));
        }
        match self.bid.lock().unwrap().clone() {
            Some(bid) => HeaderAnswer::Bid(bid),
            None => HeaderAnswer::NoBid(NoBid::NoAttributes),
        }
    }
    fn header_left(&self, block_hash: B256, left: bool) {
        self.left.lock().unwrap().push((block_hash, left));
    }
    async fn submit(&self, block: SignedBlindedBeaconBlock, version: SubmitVersion) -> SubmitAnswer {
        if self.mood().await == Mood::Refuse {
            return SubmitAnswer::Refused(Complaint::failed("no beacon node took the block"));
        }
        self.blocks.lock().unwrap().push((block, version));
        match (version, self.payload.lock().unwrap().clone()) {
            (SubmitVersion::V1, Some((ssz, json))) => SubmitAnswer::Payload { ssz, json, version: "fulu" },
            _ => SubmitAnswer::Published,
        }
    }
}

pub fn recorded_bid(folder: &str) -> Arc<EncodedBid> {
    let ssz: Bytes = vector(&format!("own-block/{folder}/bid.ssz")).into();
    let bid: SignedBuilderBid = tandem_beacon::decode(&ssz, 1 << 20).unwrap();
    let block_hash = bid.message.header.block_hash;
    let json = serde_json::to_vec(&Versioned::fulu(bid)).unwrap().into();
    Arc::new(EncodedBid { block_hash, ssz, json, version: "fulu" })
}

pub struct Setup {
    pub desk: Arc<FakeDesk>,
    pub server: BuilderServer,
}

pub fn vector(path: &str) -> Vec<u8> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../lab/vectors").join(path);
    std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The validators of both recorded chains.
pub fn served() -> HashSet<BlsPublicKey> {
    let all =
        tandem_beacon::builder::decode_registrations(&vector("own-block/registrations-fulu-ssz.ssz"), 100).unwrap();
    all.iter().map(|r| r.message.pubkey).collect()
}

pub fn config() -> Config {
    Config { listen: ([127, 0, 0, 1], 0).into(), grace_ms: 1_000, ..Config::default() }
}

pub fn start(config: Config) -> Setup {
    let desk = Arc::new(FakeDesk::default());
    let keys = served();
    let server =
        BuilderServer::start(config, desk.clone(), Arc::new(move |k: &BlsPublicKey| keys.contains(k))).unwrap();
    Setup { desk, server }
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|l| {
            let (n, v) = l.split_once(':')?;
            n.eq_ignore_ascii_case(name).then_some(v.trim())
        })
    }
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
    /// The stable code of an error, whose shape is checked.
    pub fn reason(&self) -> String {
        let json = self.json();
        assert_eq!(json["code"].as_u64(), Some(u64::from(self.status)), "{json}");
        assert!(json["message"].as_str().is_some_and(|m| !m.is_empty()), "{json}");
        json["reason"].as_str().unwrap().to_owned()
    }
}

pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Writes raw bytes and reads one answer.
pub fn raw(addr: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = connect(addr);
    // The server may answer and close before everything was written.
    let _ = stream.write_all(bytes);
    read_reply(&mut stream)
}

pub fn read_reply(stream: &mut TcpStream) -> Reply {
    let mut got = Vec::new();
    let mut byte = [0u8; 1];
    while !got.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read(&mut byte).unwrap(), 0, "closed after {:?}", String::from_utf8_lossy(&got));
        got.push(byte[0]);
    }
    let head = String::from_utf8(got).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut reply = Reply { status, head, body: Vec::new() };
    let length = reply.header("content-length").map_or(0, |l| l.parse().unwrap());
    reply.body = vec![0; length];
    stream.read_exact(&mut reply.body).unwrap();
    reply
}

/// A request as it was recorded: its head, and a body.
pub fn replay(addr: SocketAddr, head: &str, body: &[u8]) -> Reply {
    let head = String::from_utf8(vector(head)).unwrap();
    let lines: Vec<&str> = head.lines().filter(|l| !l.is_empty()).collect();
    let mut bytes = lines.join("\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body);
    raw(addr, &bytes)
}

pub fn send(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: builder\r\nContent-Length: {}\r\n", body.len());
    headers.iter().for_each(|(n, v)| request.push_str(&format!("{n}: {v}\r\n")));
    request.push_str("\r\n");
    raw(addr, &[request.as_bytes(), body].concat())
}

pub const JSON: (&str, &str) = ("Content-Type", "application/json");
pub const SSZ: (&str, &str) = ("Content-Type", "application/octet-stream");
pub const FULU: (&str, &str) = ("Eth-Consensus-Version", "fulu");
pub const V1: &str = "/eth/v1/builder/blinded_blocks";
pub const V2: &str = "/eth/v2/builder/blinded_blocks";
pub const VALIDATORS: &str = "/eth/v1/builder/validators";

pub fn header_path(slot: &str, key: &str) -> String {
    format!("/eth/v1/builder/header/{slot}/{}/{key}", B256::repeat_byte(7))
}
pub fn a_key() -> String {
    served().iter().min().unwrap().to_string()
}
