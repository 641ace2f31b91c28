//! What is shown, to whom, and the operator's orders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;
use support::{House, Lab, TOKEN, call, lab, lab_of, promise, secret};
use tandem_gateway::{Order, view};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn with_admin(change: impl FnOnce(&mut tandem_gateway::Config)) -> (tempfile::TempDir, Lab) {
    let dir = tempfile::tempdir().unwrap();
    let file = secret(&dir, "admin", TOKEN);
    let lab = lab(|c| {
        c.admin_token_file = Some(file);
        change(c);
    })
    .await;
    (dir, lab)
}

async fn order(lab: &Lab, path: &str, token: Option<&str>) -> (u16, String) {
    let bearer = token.map(|t| format!("Bearer {t}"));
    let headers: Vec<_> = bearer.iter().map(|b| ("authorization", b.as_str())).collect();
    let answer = lab.ask("POST", path, &headers, b"").await;
    let reason = if answer.status == 204 { String::new() } else { answer.error().2 };
    (answer.status, reason)
}

#[tokio::test]
async fn orders_need_the_admin_token() {
    let (_dir, lab) = with_admin(|_| {}).await;
    let path = "/api/v1/modules/preconf/disable";
    assert_eq!(order(&lab, path, None).await, (401, "unauthorized".into()));
    assert_eq!(order(&lab, path, Some("another-token-of-more-than-32-chars")).await, (401, "unauthorized".into()));
    assert!(lab.house.orders.lock().is_empty());
    for path in [
        "modules/preconf/disable",
        "modules/preconf/enable",
        "modules/preconf/reload",
        "promising/stop",
        "promising/resume",
    ] {
        assert_eq!(order(&lab, &format!("/api/v1/{path}"), Some(TOKEN)).await.0, 204, "{path}");
    }
    let id = || "preconf".parse().unwrap();
    assert_eq!(
        *lab.house.orders.lock(),
        [
            Order::DisableModule(id()),
            Order::EnableModule(id()),
            Order::ReloadModule(id()),
            Order::StopPromising,
            Order::ResumePromising
        ]
    );
    assert_eq!(order(&lab, "/api/v1/modules/preconf/explode", Some(TOKEN)).await.0, 404);
    assert_eq!(order(&lab, "/api/v1/modules/NO%20NAME/enable", Some(TOKEN)).await.0, 404);
    assert_eq!(lab.ask("GET", path, &[("authorization", &format!("Bearer {TOKEN}"))], b"").await.status, 405);
}

#[tokio::test]
async fn without_an_admin_token_nobody_gives_orders() {
    let lab = lab(|_| {}).await;
    assert_eq!(order(&lab, "/api/v1/promising/resume", None).await, (403, "no-admin-token".into()));
    assert_eq!(order(&lab, "/api/v1/promising/resume", Some(TOKEN)).await, (401, "unauthorized".into()));
    assert!(lab.house.orders.lock().is_empty());
}

#[tokio::test]
async fn before_the_seal_only_the_operator_sees_more_than_a_hash() {
    let (_dir, lab) = with_admin(|_| {}).await;
    *lab.house.promises.lock() = vec![promise(false, false)];
    let details = ["5e5e5e5e", "bbbbbbbb", "21000"];
    let stranger = lab.get("/api/v1/promises").await;
    assert!(stranger.body.contains("aaaaaaaa"), "the hash is shown");
    assert!(details.iter().all(|d| !stranger.body.contains(d)), "{}", stranger.body);
    let bearer = format!("Bearer {TOKEN}");
    let operator = lab.ask("GET", "/api/v1/promises", &[("authorization", &bearer)], b"").await;
    assert!(details.iter().all(|d| operator.body.contains(d)), "{}", operator.body);
    *lab.house.promises.lock() = vec![promise(true, false)];
    let sealed = lab.get("/api/v1/promises").await;
    assert!(details.iter().all(|d| sealed.body.contains(d)), "after the seal everybody sees it");
}

#[test]
fn a_private_transaction_stays_hidden_until_it_has_a_fate() {
    assert!(promise(false, false).redacted().detail.is_none());
    assert!(promise(true, false).redacted().detail.is_some());
    assert!(promise(true, true).redacted().detail.is_none());
    let mut done = promise(true, true);
    done.fate = Some(view::FateView { name: "kept".into(), cause: None, block: None, is_final: false });
    assert!(done.redacted().detail.is_some());
}

async fn listen(lab: &Lab, path: &str, token: Option<&str>) -> TcpStream {
    let mut stream = lab.connect().await;
    let auth = token.map(|t| format!("authorization: Bearer {t}\r\n")).unwrap_or_default();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{auth}\r\n").as_bytes()).await.unwrap();
    until(&mut stream, "event: hello").await;
    stream
}

async fn until(stream: &mut TcpStream, what: &str) -> String {
    let mut seen = String::new();
    let mut buf = [0u8; 4096];
    let found = async {
        while !seen.contains(what) {
            let n = stream.read(&mut buf).await.unwrap();
            assert!(n > 0, "the stream ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buf[..n]));
        }
        seen
    };
    tokio::time::timeout(Duration::from_secs(10), found).await.unwrap_or_else(|_| panic!("{what} never came"))
}

#[tokio::test]
async fn events_before_the_seal_carry_the_hash_alone_but_to_the_operator() {
    let (_dir, lab) = with_admin(|_| {}).await;
    let mut stranger = listen(&lab, "/events", None).await;
    let mut operator = listen(&lab, "/events", Some(TOKEN)).await;
    lab.events.publish(&view::Happening::Promise(promise(false, false)));
    let marker = view::FateChange {
        seq: 777,
        slot: 9.into(),
        tx_hash: Default::default(),
        module: "preconf".parse().unwrap(),
        fate: view::FateView { name: "kept".into(), cause: None, block: None, is_final: true },
    };
    lab.events.publish(&view::Happening::Fate(marker));
    let (seen, full) = (until(&mut stranger, "777").await, until(&mut operator, "777").await);
    assert!(seen.contains("event: promise") && seen.contains("aaaaaaaa"));
    assert!(!seen.contains("5e5e5e5e") && !seen.contains("21000"), "{seen}");
    assert!(full.contains("5e5e5e5e"));
}

#[tokio::test]
async fn a_modules_channel_goes_to_its_subscribers_only() {
    let lab = lab(|_| {}).await;
    let mut all = listen(&lab, "/events", None).await;
    let mut one = listen(&lab, "/events?channel=m/prices", None).await;
    let port = lab.events.publisher("m".parse().unwrap());
    port.publish("prices", bytes::Bytes::from_static(b"{\"p\":\n1}"));
    port.publish("prices", bytes::Bytes::from_static(b"x\n\nevent: promise\ndata: forged"));
    port.publish("other", bytes::Bytes::from_static(b"[]"));
    lab.events.publish(&view::Happening::Promise(promise(false, false)));
    let seen = until(&mut one, "forged").await;
    let told = serde_json::json!({ "channel": "prices", "data": { "p": 1 }, "module": "m" });
    let data = seen.lines().filter_map(|l| l.strip_prefix("data: "));
    assert!(data.filter_map(|d| serde_json::from_str(d).ok()).any(|v: serde_json::Value| v == told), "{seen}");
    assert!(!seen.contains("\nevent: promise"), "a module can not forge an event: {seen}");
    assert!(!until(&mut all, "event: promise").await.contains("prices"));
}

#[tokio::test]
async fn a_listener_that_lags_is_told_and_one_that_never_reads_is_given_up() {
    let lab = lab(|c| {
        c.limits.events = 16;
        c.limits.write_ms = 200;
        c.limits.listeners = 1;
    })
    .await;
    let mut stream = listen(&lab, "/events", None).await;
    assert_eq!(lab.get("/events").await.error(), (503, -32030, "busy".into()), "listeners are bounded");
    // Published without a pause, the hub's 16 places overflow before the listener's task runs.
    (0..100).for_each(|_| lab.events.publish(&view::Happening::Promise(promise(false, false))));
    until(&mut stream, "event: lagged\ndata: {\"missed\":84}").await;
    drop(stream);
    let mut deaf = loop {
        // The place of the first listener is free as soon as its end was noticed.
        lab.events.publish(&view::Happening::Promise(promise(false, false)));
        let mut s = lab.connect().await;
        s.write_all(b"GET /events?channel=m/big HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
        let mut first = [0u8; 12];
        s.read_exact(&mut first).await.unwrap();
        if &first == b"HTTP/1.1 200" {
            break s;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let text = bytes::Bytes::from(serde_json::to_vec(&"x".repeat(1 << 20)).unwrap());
    let port = lab.events.publisher("m".parse().unwrap());
    for _ in 0..500 {
        port.publish("big", text.clone());
        if lab.metrics.listeners.get() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(lab.metrics.listeners.get(), 0, "it was given up");
    let _ = deaf.shutdown().await;
}

#[tokio::test]
async fn health_and_readiness_have_their_codes_and_reasons() {
    let well = lab(|_| {}).await;
    assert_eq!((well.get("/healthz").await.status, well.get("/readyz").await.status), (200, 200));
    let ill = lab_of(House { unwell: true, ..House::default() }, |_| {}).await;
    let answer = ill.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["reasons"][0]["code"], "journal-halted");
}

#[tokio::test]
async fn metrics_have_their_help_and_count_by_known_names_only() {
    let lab = lab(|_| {}).await;
    lab.rpc(call("slots")).await;
    lab.rpc(call("made_up_by_a_caller")).await;
    lab.rpc("{").await;
    lab.events.publish(&view::Happening::Promise(promise(false, false)));
    let text = lab.get("/metrics").await.body;
    for want in [
        "# HELP tandem_gateway_requests JSON-RPC and REST requests, by method.",
        "tandem_gateway_requests_total{method=\"slots\"} 1",
        "tandem_gateway_requests_total{method=\"unknown\"} 1",
        "tandem_gateway_errors_total{reason=\"unfinished-json\"} 1",
        "tandem_promises_total{module=\"preconf\"} 1",
        "tandem_promise_seconds_count 1",
        "tandem_validators 3",
        "tandem_ready 1",
        "# EOF",
    ] {
        assert!(text.contains(want), "{want} is not in\n{text}");
    }
    assert!(!text.contains("made_up"));
}

#[tokio::test]
async fn the_pages_hold_no_inline_script_or_style_and_load_nothing_from_elsewhere() {
    let lab = lab(|_| {}).await;
    let page = lab.get("/").await;
    assert!(page.head.contains("content-type: text/html"));
    assert!(page.head.contains("content-security-policy: default-src 'none'; script-src 'self'"));
    assert!(page.head.contains("x-content-type-options: nosniff"));
    let html = page.body.to_ascii_lowercase();
    assert!(html.contains("<script") && html.contains("</html>"));
    for bad in ["<script>", " style=", "onclick", "onload", "javascript:", "http://", "https://", "<style"] {
        assert!(!html.contains(bad), "{bad}");
    }
    // Every script that the page reaches, and nothing in any of them that makes markup of data.
    let mut reached = vec!["app.js".to_owned()];
    let mut next = 0;
    while let Some(name) = reached.get(next).cloned() {
        next += 1;
        let script = lab.get(&format!("/js/{name}")).await;
        assert!(script.status == 200 && script.head.contains("text/javascript"), "{name}");
        for bad in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "https://"]
        {
            assert!(!script.body.contains(bad), "{bad} in {name}");
        }
        let imports = script.body.split(" from \"./").skip(1).filter_map(|rest| rest.split('"').next());
        imports.for_each(|i| {
            if !reached.iter().any(|r| r == i) {
                reached.push(i.to_owned())
            }
        });
    }
    assert_eq!(reached.len(), 7, "{reached:?}");
    assert_eq!(lab.get("/js/..%2findex.html").await.status, 404);
    for (path, kind) in [("/app.css", "text/css"), ("/icon.svg", "image/svg+xml")] {
        let answer = lab.get(path).await;
        assert!(answer.status == 200 && answer.head.contains(kind), "{path}");
    }
}

#[tokio::test]
async fn queries_are_checked_and_bounded() {
    let lab = lab(|_| {}).await;
    *lab.house.promises.lock() = vec![promise(true, false); 600];
    assert_eq!(lab.get("/api/v1/promises").await.json().as_array().unwrap().len(), 100);
    assert_eq!(lab.get("/api/v1/promises?limit=99999").await.json().as_array().unwrap().len(), 500);
    for bad in [
        "promises?limit=-1",
        "promises?limit=x",
        "promises?lim=1",
        "blocks?slot=1e9",
        "ledger?days=99999999999999999999",
        "completeness/abc",
    ] {
        assert_eq!(lab.get(&format!("/api/v1/{bad}")).await.error(), (400, -32600, "invalid-request".into()), "{bad}");
    }
    assert_eq!(lab.get("/api/v1/completeness/5").await.error(), (404, -32044, "not-found".into()));
    for path in ["status", "slots", "blocks", "modules", "ledger"] {
        assert_eq!(lab.get(&format!("/api/v1/{path}")).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_stopped_ends_its_streams_and_closes() {
    let lab = lab(|_| {}).await;
    let mut stream = listen(&lab, "/events", None).await;
    let addr = lab.addr();
    tokio::time::timeout(Duration::from_secs(10), lab.running.stop()).await.expect("it stops");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(TcpStream::connect(addr).await.is_err());
}
