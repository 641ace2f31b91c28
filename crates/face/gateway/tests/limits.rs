//! Too big, too slow, too many: what keeps one caller from everybody else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};
use support::{Answer, Lab, TOKEN, call, lab, read, secret};
use tandem_gateway::config::ApiKey;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const HEAD: &str = "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n";

#[tokio::test]
async fn a_body_that_is_announced_or_grows_too_large_is_refused() {
    let lab = lab(|c| c.limits.body_bytes = 2_000).await;
    // Announced: refused before a byte of it came.
    let announced = lab.raw(format!("{HEAD}content-length: 2001\r\n\r\n").as_bytes()).await;
    assert_eq!(announced.error(), (413, -32010, "body-too-large".into()));
    let endless = lab.raw(format!("{HEAD}content-length: 99999999999999999999\r\n\r\n").as_bytes()).await;
    assert_eq!(endless.status, 400);
    // Not announced: refused when it has grown.
    let chunk = format!("3e8\r\n{}\r\n", " ".repeat(1_000));
    let mut grown = format!("{HEAD}transfer-encoding: chunked\r\n\r\n");
    grown.push_str(&chunk.repeat(3));
    assert_eq!(lab.raw(grown.as_bytes()).await.error(), (413, -32010, "body-too-large".into()));
    // At the limit it passes.
    let padded = format!("{:<2000}", call("slots"));
    assert_eq!(lab.rpc(padded).await.status, 200);
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_refused_and_the_connection_closed() {
    let lab = lab(|c| c.limits.body_ms = 150).await;
    let mut stream = lab.connect().await;
    stream.write_all(format!("{HEAD}content-length: 100\r\n\r\n{{").as_bytes()).await.unwrap();
    assert_eq!(read(&mut stream).await.error(), (408, -32011, "body-too-slow".into()));
    // A loris drips; each drop is in time, the whole is not.
    let mut loris = lab.connect().await;
    loris.write_all(format!("{HEAD}content-length: 1000\r\n\r\n").as_bytes()).await.unwrap();
    let (mut reader, mut writer) = loris.split();
    let mut seen = Vec::new();
    let drip = async {
        while writer.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = reader.read_to_end(&mut seen) => {}
        () = drip => {}
    }
    assert!(String::from_utf8_lossy(&seen).starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_and_an_idle_connection_are_closed() {
    let lab = lab(|c| c.limits.head_ms = 1_000).await;
    // Whoever asked nothing is told nothing.
    for (sent, status) in [("", 0), ("GET /healthz HTTP/1.1\r\nhost: 127.0", 408)] {
        let mut stream = lab.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answer = read(&mut stream).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    // Kept alive after an answer, then idle.
    let mut stream = lab.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut stream).await.status, 200);
}

#[tokio::test]
async fn half_a_body_asks_nothing_and_whoever_still_listens_is_told() {
    let lab = lab(|_| {}).await;
    let whole = call("slots");
    let half = &whole[..20];
    for path in ["/", "/commitments/v0/gateway/commitment"] {
        for (what, sent) in [
            ("none of it", format!("content-length: {}\r\n\r\n", whole.len())),
            ("half of it", format!("content-length: {}\r\n\r\n{half}", whole.len())),
            ("half a chunk", format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{half}", whole.len())),
            ("no last chunk", format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{whole}\r\n", whole.len())),
        ] {
            let head = HEAD.replacen("/", path, 1);
            let mut stream = lab.connect().await;
            stream.write_all(format!("{head}{sent}").as_bytes()).await.unwrap();
            // It sends no more, and reads on.
            stream.shutdown().await.unwrap();
            let answer = read(&mut stream).await;
            assert_eq!(answer.error(), (400, -32011, "body-broken".into()), "{what} at {path}");
            // Whoever closes at once can not be told.
            let mut gone = lab.connect().await;
            gone.write_all(format!("{head}{sent}").as_bytes()).await.unwrap();
        }
    }
    assert!(lab.house.asked.lock().is_empty());
    assert_eq!(lab.rpc(whole).await.status, 200);
}

#[tokio::test]
async fn a_huge_head_and_no_http_at_all_are_refused() {
    let lab = lab(|_| {}).await;
    let huge = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: {}\r\n\r\n", "y".repeat(40_000));
    let mut stream = lab.connect().await;
    // The gateway may close while this is being written.
    let _ = stream.write_all(huge.as_bytes()).await;
    let mut seen = Vec::new();
    let _ = stream.read_to_end(&mut seen).await;
    assert!(seen.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&seen));
    let many = format!("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert_eq!(lab.raw(many.as_bytes()).await.status, 431);
    assert_eq!(lab.raw(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").await.status, 400);
    assert_eq!(lab.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn bodies_together_take_bounded_memory() {
    let lab = lab(|c| {
        c.limits.body_bytes = 8 << 10;
        c.limits.bodies_bytes = 16 << 10;
    })
    .await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = lab.connect().await;
        stream.write_all(format!("{HEAD}content-length: 8192\r\n\r\n ").as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    // Until an answer has this status, for at most twenty seconds.
    let comes = async |status: u16| {
        let begun = Instant::now();
        loop {
            let answer = lab.rpc(call("slots")).await;
            if answer.status == status || begun.elapsed() > Duration::from_secs(20) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert_eq!(comes(503).await.error(), (503, -32030, "busy".into()));
    drop(waiting);
    let last = comes(200).await;
    assert_eq!(last.status, 200, "what was held is not given back: {last:?}");
}

/// A call that takes a place among the requests until it is dropped.
async fn hanging(lab: &Lab) -> TcpStream {
    let mut stream = lab.connect().await;
    let body = call("hang");
    stream.write_all(format!("{HEAD}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    while lab.house.asked.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream
}

#[tokio::test]
async fn too_many_connections_and_requests_are_turned_away_at_once() {
    let lab = lab(|c| {
        c.limits.connections = 3;
        c.limits.requests = 1;
        c.limits.answer_ms = 60_000;
    })
    .await;
    let _hanging = hanging(&lab).await;
    let busy = lab.rpc(call("slots")).await;
    assert_eq!(busy.error(), (503, -32030, "busy".into()));
    assert!(busy.head.contains("retry-after: 1"));
    assert_eq!(lab.get("/healthz").await.status, 200, "an operator still sees how it is");
    // Those that were answered may still have their places.
    let begun = Instant::now();
    while lab.metrics.connections.get() != 1 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} connections", lab.metrics.connections.get());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let _second = lab.connect().await;
    let _third = lab.connect().await;
    let mut fourth = lab.connect().await;
    let mut seen = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), fourth.read_to_end(&mut seen)).await.expect("closed at once");
    let said = String::from_utf8(seen).unwrap();
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("\"reason\":\"busy\""), "{said}");
    assert_eq!(lab.metrics.connections_refused.get(), 1);
}

/// Asks until the rate ends it: how often it was let through before, and the refusal.
async fn until_limited(ask: impl AsyncFn() -> Answer) -> (u64, Answer) {
    for passed in 0..100 {
        let answer = ask().await;
        if answer.status == 429 {
            return (passed, answer);
        }
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    panic!("there is no rate");
}

/// What a rate of one a second has given since then, besides what it began with.
fn given_since(begun: Instant) -> u64 {
    begun.elapsed().as_secs()
}

#[tokio::test]
async fn a_key_has_its_own_rate_and_loopback_has_none_unless_it_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let (key, another) = ("a-key-of-16-chars-or-more", "another-key-of-16-chars-or-more");
    let lab = lab(|c| {
        let slow = |name: &str, key: &str| {
            let key_file = Some(secret(&dir, name, key));
            ApiKey { name: name.into(), key_file, key_env: None, per_second: 1, burst: 2 }
        };
        c.api_keys = vec![slow("slow", key), slow("batches", another)];
    })
    .await;
    let begun = Instant::now();
    let (passed, limited) = until_limited(async || lab.rpc_as(key, &call("slots")).await).await;
    assert!((2..=2 + given_since(begun)).contains(&passed), "{passed} passed");
    assert_eq!(limited.error(), (429, -32029, "rate-limited".into()));
    assert!(limited.head.contains("retry-after: 1"));
    assert_eq!(lab.house.asked.lock().last().unwrap().caller, "slow");
    for _ in 0..300 {
        assert_eq!(lab.rpc(call("slots")).await.status, 200);
    }
    let batch = format!("[{0},{0}]", call("slots"));
    let begun = Instant::now();
    let (passed, _) = until_limited(async || lab.rpc_as(another, &batch).await).await;
    assert!(
        passed >= 1 && 2 * passed <= 2 + given_since(begun),
        "a batch costs as much as its requests: {passed} passed"
    );
}

#[tokio::test]
async fn loopback_with_a_rate_is_held_to_it() {
    let lab = lab(|c| {
        c.rates.loopback_per_second = 1;
        c.rates.loopback_burst = 3;
    })
    .await;
    let begun = Instant::now();
    let (passed, limited) = until_limited(async || lab.get("/api/v1/slots").await).await;
    assert_eq!(limited.error(), (429, -32029, "rate-limited".into()));
    let (calls, _) = until_limited(async || lab.rpc(call("slots")).await).await;
    assert!(passed >= 3 && passed + calls <= 3 + given_since(begun), "{passed} and {calls} passed");
    // Strangers whom a proxy here passes on do not hide from the operator how it is; nor do the views cost them.
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/status", "/api/v1/modules"] {
        for _ in 0..5 {
            assert_eq!(lab.get(path).await.status, 200, "{path}");
        }
    }
    // Only to look is free.
    let mut last = lab.ask("POST", "/api/v1/status", &[], b"").await;
    for _ in 0..30 {
        if last.status == 429 {
            return;
        }
        last = lab.ask("POST", "/api/v1/status", &[], b"").await;
    }
    panic!("{last:?}");
}

#[tokio::test]
async fn the_operators_views_have_no_rate_and_the_status_still_takes_its_place_among_the_requests() {
    let lab = lab(|c| {
        c.rates.loopback_per_second = 1;
        c.rates.loopback_burst = 3;
        c.limits.requests = 1;
        c.limits.answer_ms = 60_000;
    })
    .await;
    let _hanging = hanging(&lab).await;
    for _ in 0..5 {
        assert_eq!(lab.get("/api/v1/status").await.error(), (503, -32030, "busy".into()));
        assert_eq!(lab.get("/healthz").await.status, 200);
    }
}

/// Milliseconds in which a body comes on any machine.
const PATIENT: u64 = 20_000;

/// A gateway that gives loopback four requests, and one more a second, and a body so many milliseconds.
async fn four_at_once(body_ms: u64) -> Lab {
    lab(|c| {
        c.rates.loopback_per_second = 1;
        c.rates.loopback_burst = 4;
        c.limits.body_bytes = 2_000;
        c.limits.body_ms = body_ms;
        c.limits.batch = 5;
    })
    .await
}

#[tokio::test]
async fn what_is_no_request_costs_as_much_as_one() {
    let post = |rest: &str| format!("{HEAD}{rest}").into_bytes();
    let sized = |body: &str| post(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    let many = format!("[{}]", ["1"; 6].join(","));
    for (what, bytes, reason) in [
        ("no JSON", sized("nonsense"), "bad-json"),
        ("no request", sized("7"), "invalid-request"),
        ("an empty batch", sized("[]"), "invalid-request"),
        ("a batch with too many", sized(&many), "batch-too-large"),
        ("a body that is announced too large", post("content-length: 2001\r\n\r\n"), "body-too-large"),
        ("a body that does not come", post("content-length: 10\r\n\r\n{"), "body-too-slow"),
        ("no content type", b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n".into(), "content-type"),
    ] {
        // Only what does not come is to be given up soon.
        let lab = four_at_once(if reason == "body-too-slow" { 100 } else { PATIENT }).await;
        assert_eq!(ends(&lab, &bytes).await, reason, "{what}");
        // Four in a second are allowed: far more tries than that end at the rate, however slow this machine is.
        let mut last = String::new();
        for _ in 0..30 {
            last = ends(&lab, &bytes).await;
            if last != reason {
                break;
            }
        }
        assert_eq!(last, "rate-limited", "{what} costs nothing");
    }
    // Half a body, whose end is told.
    let lab = four_at_once(PATIENT).await;
    let mut told = Vec::new();
    while told.len() < 30 && told.last().is_none_or(|t| t != "rate-limited") {
        let mut stream = lab.connect().await;
        stream.write_all(&post("content-length: 10\r\n\r\n{")).await.unwrap();
        stream.shutdown().await.unwrap();
        told.push(read(&mut stream).await.error().2);
    }
    assert_eq!((told[0].as_str(), told.last().unwrap().as_str()), ("body-broken", "rate-limited"));
    assert!(lab.house.asked.lock().is_empty());
}

/// The reason with which a gateway refuses bytes whose sender waits for it.
async fn ends(lab: &Lab, bytes: &[u8]) -> String {
    let mut stream = lab.connect().await;
    stream.write_all(bytes).await.unwrap();
    let mut seen = Vec::new();
    // What is refused before its body was read may leave the connection open.
    while !seen.ends_with(b"}}}") {
        let mut piece = [0; 1_024];
        let n = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(n > 0, "no whole answer: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..n]);
    }
    let text = String::from_utf8(seen).unwrap();
    let body: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    body["error"]["data"]["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_call_costs_one_and_a_batch_its_number() {
    let (lab, begun) = (four_at_once(PATIENT).await, Instant::now());
    let (passed, limited) = until_limited(async || lab.rpc(call("slots")).await).await;
    assert_eq!(limited.error().2, "rate-limited");
    assert!((4..=4 + given_since(begun)).contains(&passed), "one each: {passed} passed");
    let batch = |n| format!("[{}]", vec![call("slots"); n].join(","));
    let (lab, begun) = (four_at_once(PATIENT).await, Instant::now());
    assert_eq!(lab.rpc(batch(4)).await.status, 200, "four");
    let (passed, limited) = until_limited(async || lab.rpc(call("slots")).await).await;
    assert_eq!(limited.error().2, "rate-limited");
    assert!(passed <= given_since(begun), "all four are gone: {passed} passed");
    let lab = four_at_once(PATIENT).await;
    assert_eq!(lab.rpc(batch(5)).await.error(), (429, -32029, "rate-limited".into()), "more than there ever are");
    assert!(lab.house.asked.lock().is_empty());
}

#[tokio::test]
async fn an_unknown_token_is_refused_and_so_is_a_second_one() {
    let lab = lab(|_| {}).await;
    assert_eq!(lab.rpc_as("who-is-this", &call("slots")).await.error(), (401, -32040, "unauthorized".into()));
    let two = [("content-type", "application/json"), ("x-api-key", "a"), ("x-api-key", "b")];
    assert_eq!(lab.ask("POST", "/", &two, call("slots").as_bytes()).await.status, 401);
    assert!(lab.house.asked.lock().is_empty());
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_by_its_host_name_and_by_cors() {
    let lab = lab(|c| {
        c.hosts = vec!["node.example".into()];
        c.cors_origins = vec!["https://app.example".into()];
    })
    .await;
    assert_eq!(
        lab.ask("GET", "/api/v1/status", &[("host", "rebound.example")], b"").await.error(),
        (403, -32041, "foreign-host".into())
    );
    assert_eq!(lab.ask("GET", "/api/v1/status", &[("host", "node.example")], b"").await.status, 200);
    let ours = lab.ask("GET", "/api/v1/status", &[("origin", "https://app.example")], b"").await;
    assert!(ours.head.contains("access-control-allow-origin: https://app.example"));
    let other = lab.ask("GET", "/api/v1/status", &[("origin", "https://evil.example")], b"").await;
    assert!(!other.head.contains("access-control-allow-origin"));
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let preflight = lab.ask("OPTIONS", "/", &preflight, b"").await;
    assert!(!preflight.head.contains("authorization"), "no page of another origin gives orders: {}", preflight.head);
}

#[tokio::test]
async fn without_configured_origins_there_is_no_cors() {
    let lab = lab(|_| {}).await;
    let answer = lab.ask("GET", "/api/v1/status", &[("origin", "https://app.example")], b"").await;
    assert!(!answer.head.contains("access-control"));
}

#[tokio::test]
async fn the_token_is_in_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let file = secret(&dir, "admin", TOKEN);
    let lab = lab(|c| c.admin_token_file = Some(file)).await;
    let wrong = format!("{TOKEN}x");
    for path in ["/", "/metrics", "/api/v1/status", "/healthz", "/nowhere"] {
        for token in [TOKEN, wrong.as_str()] {
            let answer = lab.ask("GET", path, &[("authorization", &format!("Bearer {token}"))], b"").await;
            assert!(!answer.body.contains(TOKEN) && !answer.head.contains(TOKEN), "{path}");
        }
    }
}
