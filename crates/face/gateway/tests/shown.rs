//! What is shown, to whom, and the operator's orders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;
use support::{House, Lab, TOKEN, call, lab, lab_of, promise, secret};
use tandem_gateway::{Order, config::ApiKey, view};
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
async fn a_caller_learns_whether_it_is_the_operator_and_a_key_makes_nobody_one() {
    let key = "a-key-of-16-chars-or-more";
    let keys = tempfile::tempdir().unwrap();
    let file = secret(&keys, "key", key);
    let (_dir, lab) = with_admin(|c| {
        let unlimited = ApiKey { name: "user".into(), key_file: Some(file), key_env: None, per_second: 0, burst: 1 };
        c.api_keys = vec![unlimited];
    })
    .await;
    for (token, admin, ordered) in [(Some(TOKEN), true, 204), (Some(key), false, 401), (None, false, 401)] {
        let bearer = token.map(|t| format!("Bearer {t}"));
        let headers: Vec<_> = bearer.iter().map(|b| ("authorization", b.as_str())).collect();
        let status = lab.ask("GET", "/api/v1/status", &headers, b"").await;
        assert_eq!((status.status, &status.json()["admin"]), (200, &admin.into()), "{token:?}");
        assert_eq!(status.json()["validators"], 3, "and the status itself");
        assert_eq!(order(&lab, "/api/v1/promising/stop", token).await.0, ordered, "{token:?}");
    }
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
fn a_private_transaction_stays_hidden_until_a_block_has_it() {
    assert!(promise(false, false).redacted().detail.is_none());
    assert!(promise(true, false).redacted().detail.is_some());
    assert!(promise(true, true).redacted().detail.is_none());
    let mut done = promise(true, true);
    let mut shown = |name: &str| {
        done.fate = Some(view::FateView { name: name.into(), cause: None, block: None, is_final: true });
        done.redacted().detail.is_some()
    };
    assert!(shown("kept") && shown("early"));
    assert!(!shown("excused") && !shown("broken"), "it may be promised again");
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
async fn what_is_critical_is_told_in_words_to_the_operator_alone() {
    use tandem_gateway::Backend;
    let (_dir, lab) = with_admin(|_| {}).await;
    let message = "promise 7 of 0x5e5e5e5e: balance 12, in /var/lib/tandem".to_owned();
    *lab.house.critical.lock() =
        vec![view::Critical { at_ms: 4_711, slot: Some(9.into()), code: "promise-broken".into(), message }];
    let bearer = format!("Bearer {TOKEN}");
    let (mut stranger, mut operator) =
        (listen(&lab, "/events", None).await, listen(&lab, "/events", Some(TOKEN)).await);
    lab.events.publish(&view::Happening::Status(Box::new(lab.house.status())));
    let asked = lab.get("/api/v1/status").await;
    let told = &asked.json()["critical"][0];
    assert_eq!((&told["code"], &told["at_ms"]), (&"promise-broken".into(), &4_711.into()), "that there is something");
    assert!(!told["slot"].is_null() && told.get("message").is_none(), "{told}");
    let heard = until(&mut stranger, "promise-broken").await;
    for seen in [&asked.body, &heard] {
        assert!(!seen.contains("5e5e5e5e") && !seen.contains("/var/lib"), "{seen}");
    }
    let full = lab.ask("GET", "/api/v1/status", &[("authorization", &bearer)], b"").await;
    for seen in [&full.body, &until(&mut operator, "promise-broken").await] {
        assert!(seen.contains("balance 12, in /var/lib/tandem"), "{seen}");
    }
}

#[tokio::test]
async fn a_modules_channel_goes_to_its_subscribers_only() {
    let lab = lab(|_| {}).await;
    let mut all = listen(&lab, "/events", None).await;
    let mut one = listen(&lab, "/events?channel=m/prices", None).await;
    let publish = |channel: &str, data: &'static [u8]| {
        let (module, channel, data) = ("m".parse().unwrap(), channel.into(), bytes::Bytes::from_static(data));
        lab.events.publish(&view::Happening::Channel { module, channel, data });
    };
    publish("prices", b"{\"p\":\n1}");
    publish("prices", b"x\n\nevent: promise\ndata: forged");
    publish("other", b"[]");
    lab.events.publish(&view::Happening::Promise(promise(false, false)));
    let seen = until(&mut one, "forged").await;
    let told = serde_json::json!({ "channel": "prices", "data": { "p": 1 }, "module": "m" });
    let data = seen.lines().filter_map(|l| l.strip_prefix("data: "));
    assert!(data.filter_map(|d| serde_json::from_str(d).ok()).any(|v: serde_json::Value| v == told), "{seen}");
    assert!(!seen.contains("\nevent: promise"), "a module can not forge an event: {seen}");
    assert!(!until(&mut all, "event: promise").await.contains("prices"));
}

#[tokio::test]
async fn a_channel_that_no_module_can_have_is_refused_and_a_gap_in_all_channels_is_told_to_their_listeners() {
    let lab = lab(|_| {}).await;
    assert_eq!(lab.get("/events?channel=stranger/prices").await.error().2, "unknown-channel");
    for malformed in ["prices", "m", "NO%20NAME/prices"] {
        let (status, _, reason) = lab.get(&format!("/events?channel={malformed}")).await.error();
        assert_eq!((status, reason.as_str()), (400, "invalid-request"), "{malformed}");
    }
    let mut all = listen(&lab, "/events", None).await;
    let mut one = listen(&lab, "/events?channel=m/prices", None).await;
    lab.events.missed(7);
    assert!(until(&mut one, "\"missed\":7").await.contains("event: lagged"));
    assert_eq!(lab.metrics.events_missed.get(), 7);
    lab.events.publish(&view::Happening::Promise(promise(false, false)));
    assert!(!until(&mut all, "event: promise").await.contains("lagged"), "nobody else missed anything");
}

#[tokio::test]
async fn what_nobody_listens_to_pushes_nothing_out() {
    let lab = lab(|c| c.limits.events = 16).await;
    let mut all = listen(&lab, "/events", None).await;
    lab.events.publish(&view::Happening::Promise(promise(false, false)));
    // Without a pause, so that nobody reads in between.
    for _ in 0..100 {
        let (module, channel) = ("m".parse().unwrap(), "prices".into());
        lab.events.publish(&view::Happening::Channel { module, channel, data: bytes::Bytes::from_static(b"1") });
    }
    let seen = until(&mut all, "event: promise").await;
    assert!(!seen.contains("lagged"), "{seen}");
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
    for _ in 0..500 {
        let (module, channel) = ("m".parse().unwrap(), "big".into());
        lab.events.publish(&view::Happening::Channel { module, channel, data: text.clone() });
        if lab.metrics.listeners.get() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(lab.metrics.listeners.get(), 0, "it was given up");
    let _ = deaf.shutdown().await;
}

#[tokio::test]
async fn one_caller_has_a_quarter_of_the_listeners_and_the_operator_is_heard_when_all_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<String> = (0..4).map(|n| format!("the-key-of-caller-number-{n}")).collect();
    let (_admin, lab) = with_admin(|c| {
        c.limits.listeners = 20;
        let of = |key: &String| ApiKey {
            name: key.clone(),
            key_file: Some(secret(&dir, key, key)),
            key_env: None,
            per_second: 0,
            burst: 1,
        };
        c.api_keys = keys.iter().map(of).collect();
    })
    .await;
    let bearer = |token: &str| format!("Bearer {token}");
    let refused = async |token: &str| lab.ask("GET", "/events", &[("authorization", &bearer(token))], b"").await;
    let too_many = (429, -32029, "too-many-listeners".to_owned());
    let mut open = Vec::new();
    for caller in [None, Some(&keys[0]), Some(&keys[1])] {
        for _ in 0..5 {
            open.push(listen(&lab, "/events", caller.map(String::as_str)).await);
        }
    }
    assert_eq!(lab.get("/events").await.error(), too_many, "an address has a quarter");
    assert_eq!(refused(&keys[0]).await.error(), too_many, "and a key has one");
    // Others still have theirs. The operator has any number, at first of the same places.
    open.push(listen(&lab, "/events", Some(&keys[2])).await);
    for _ in 0..4 + 4 {
        open.push(listen(&lab, "/events", Some(TOKEN)).await);
    }
    assert_eq!(lab.metrics.listeners.get(), 24);
    let busy = (503, -32030, "busy".to_owned());
    assert_eq!((refused(&keys[3]).await.error(), refused(TOKEN).await.error()), (busy.clone(), busy));
    // Whoever ends one gets it back, as soon as its end was noticed.
    drop(open.remove(0));
    tokio::time::timeout(Duration::from_secs(10), async {
        while lab.metrics.listeners.get() > 23 {
            lab.events.publish(&view::Happening::Promise(promise(false, false)));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    open.push(listen(&lab, "/events", None).await);
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
        "ledger?days=18446744073709551615",
        "ledger?days=367",
        "ledger?days=0",
        "ledger?days=-1",
        "completeness/abc",
    ] {
        assert_eq!(lab.get(&format!("/api/v1/{bad}")).await.error(), (400, -32600, "invalid-request".into()), "{bad}");
    }
    assert_eq!(lab.get("/api/v1/completeness/5").await.error(), (404, -32000, "no-completeness-root".into()));
    for path in ["status", "slots", "blocks", "modules", "ledger", "ledger?days=1", "ledger?days=366"] {
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
