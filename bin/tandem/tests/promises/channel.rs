//! What listeners at `/events` hear: of the house, and of a module's own channel.

use crate::world::{PATIENCE, Plan, VALIDATORS, World};
use serde_json::{Value, json};
use std::time::Duration;
use tandem_demo::http;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A listener at `/events`.
struct Listener {
    stream: TcpStream,
    seen: String,
}

impl Listener {
    async fn to(world: &World, path: &str) -> Self {
        let at = world.hosts[0].gateway.trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(&at).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\naccept: text/event-stream\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut listener = Self { stream, seen: String::new() };
        listener.until("event: hello").await;
        listener
    }

    /// Reads until a text comes, and the event that it stands in is whole; all that came so far.
    async fn until(&mut self, what: &str) -> &str {
        let is_whole = |seen: &str| seen.find(what).is_some_and(|at| seen[at..].contains("\n\n"));
        let found = async {
            let mut buf = [0u8; 4096];
            while !is_whole(&self.seen) {
                let n = self.stream.read(&mut buf).await.unwrap();
                assert!(n > 0, "the stream ended: {}", self.seen);
                self.seen.push_str(&String::from_utf8_lossy(&buf[..n]));
            }
        };
        if tokio::time::timeout(Duration::from_secs(60), found).await.is_err() {
            panic!("{what} never came: {}", self.seen);
        }
        &self.seen
    }

    /// Reads until there is such an event.
    async fn until_heard(&mut self, is: impl Fn(&str, &Value) -> bool) {
        let by = tokio::time::Instant::now() + Duration::from_secs(60);
        while !self.heard().iter().any(|(name, v)| is(name, v)) {
            let mut buf = [0; 4_096];
            let Ok(read) = tokio::time::timeout_at(by, self.stream.read(&mut buf)).await else {
                panic!("it never came: {}", self.seen);
            };
            let n = read.unwrap();
            assert!(n > 0, "the stream ended: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&buf[..n]));
        }
    }

    /// What was heard, in order: the name of each whole event, and its data.
    fn heard(&self) -> Vec<(&str, Value)> {
        let whole = self.seen.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
        let events = whole.split("event: ").skip(1).filter_map(|e| {
            let data = e.lines().find_map(|l| l.strip_prefix("data: "))?;
            Some((e.lines().next()?.trim(), serde_json::from_str(data).ok()?))
        });
        events.collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promise_comes_to_the_subscribers_of_its_modules_channel_with_hashes_alone() {
    let world = World::start(1_500, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let mut own = Listener::to(&world, "/events?channel=preconf/promises").await;
    let mut all = Listener::to(&world, "/events").await;
    // Nobody could ever publish there.
    for unknown in ["stranger/promises", &format!("preconf/{}", "x".repeat(65))] {
        let url = format!("{}/events?channel={unknown}", world.hosts[0].gateway);
        let refused = http::get(&url, PATIENCE).await.unwrap().json().unwrap();
        assert_eq!(refused["data"]["reason"], "unknown-channel", "{refused}");
    }

    let slot = world.open_slot(0, 5).await;
    let held = world.promise(0, 1, 0, slot).await;
    own.until(&held.hash.to_string()).await;
    assert!(world.rig.slot_now() < slot, "it is heard before the seal");
    let told = |seen: &str| {
        let data = seen.lines().filter_map(|l| l.trim_end().strip_prefix("data: "));
        data.filter_map(|d| serde_json::from_str::<Value>(d).ok()).find(|v| v["data"]["tx_hash"] == json!(held.hash))
    };
    let told = told(&own.seen).unwrap_or_else(|| panic!("no whole event: {}", own.seen));
    assert_eq!((&told["module"], &told["channel"]), (&json!("preconf"), &json!("promises")));
    assert_eq!(told["data"]["slot"], json!(slot.to_string()), "{told}");
    let mut keys: Vec<&str> = told["data"].as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["recorded_ms", "seq", "slot", "tx_hash"], "nothing of the transaction before the seal");
    let raw = held.raw.to_string();
    assert!(!own.seen.contains(raw.trim_start_matches("0x")));
    assert!(!own.seen.contains("event: promise"), "a channel is told its own only");
    let everything = all.until(&held.hash.to_string()).await;
    assert!(!everything.contains("event: channel"), "and nobody else is told of it: {everything}");

    // Whoever does not read holds nobody up.
    let deaf = Listener::to(&world, "/events?channel=preconf/promises").await;
    for sender in 2..6 {
        let more = world.promise(0, sender, 0, slot).await;
        own.until(&more.hash.to_string()).await;
    }
    drop(deaf);
    world.assert_kept(0, &held).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_are_told_when_a_slot_opens_and_when_it_is_sealed_with_what_is_in_it() {
    let world = World::unconnected(1_500, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let mut all = Listener::to(&world, "/events").await;
    world.rig.connect(&world.hosts[0]).await.unwrap();
    all.until("\"state\":\"open\"").await;
    let slot = world.open_slot(0, 3).await;
    let held = world.promise(0, 1, 0, slot).await;
    world.assert_kept(0, &held).await;
    all.until("event: fate").await;
    // The fate may be told a moment before its block is.
    all.until_heard(|name, v| name == "block" && v["slot"] == json!(slot.to_string())).await;

    let heard = all.heard();
    let at = |what: &str, is: &dyn Fn(&str, &Value) -> bool| {
        heard.iter().position(|(name, v)| is(name, v)).unwrap_or_else(|| panic!("not told {what}: {}", all.seen))
    };
    let of_slot = |v: &Value, state: &str| v["slot"] == json!(slot.to_string()) && v["state"] == state;
    let ours = |v: &Value| v["tx_hash"] == json!(held.hash);
    let promised = at("of the promise", &|name, v| name == "promise" && ours(v));
    assert_eq!((&heard[promised].1["sealed"], &heard[promised].1["detail"]), (&json!(false), &Value::Null));
    let sealed = at("of the seal", &|name, v| name == "slot" && of_slot(v, "sealed"));
    let shown = at("what was sealed", &|name, v| name == "promise" && ours(v) && v["sealed"] == true);
    let sender = world.wallet(1).address();
    assert_eq!(heard[shown].1["detail"]["sender"], json!(sender), "now everybody may see it");
    let block = at("of the block", &|name, v| name == "block" && v["slot"] == json!(slot.to_string()));
    assert!(promised < sealed && sealed < shown && shown < block, "{promised} {sealed} {shown} {block}");
    world.stop().await;
}
