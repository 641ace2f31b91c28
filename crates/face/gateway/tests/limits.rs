//! Too big, too slow, too many: what keeps one caller from everybody else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;
use support::{TOKEN, call, lab, read, secret};
use tandem_gateway::config::ApiKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
    let lab = lab(|c| c.limits.head_ms = 150).await;
    for sent in ["", "GET /healthz HTTP/1.1\r\nhost: 127.0"] {
        let mut stream = lab.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answer = read(&mut stream).await;
        assert!(answer.status == 0 || answer.status == 408, "{answer:?}");
    }
    // Kept alive after an answer, then idle.
    let mut stream = lab.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut stream).await.status, 200);
}

#[tokio::test]
async fn half_a_body_and_a_closed_connection_ask_nothing() {
    let lab = lab(|_| {}).await;
    let whole = call("slots");
    let mut stream = lab.connect().await;
    stream
        .write_all(format!("{HEAD}content-length: {}\r\n\r\n{}", whole.len(), &whole[..20]).as_bytes())
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let answer = read(&mut stream).await;
    assert!(answer.status == 0 || answer.error().2 == "body-broken", "{answer:?}");
    drop(stream);
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
    assert!(!String::from_utf8_lossy(&seen).starts_with("HTTP/1.1 200"));
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
    let mut last = lab.rpc(call("slots")).await;
    for _ in 0..100 {
        if last.status == 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        last = lab.rpc(call("slots")).await;
    }
    assert_eq!(last.error(), (503, -32030, "busy".into()));
    drop(waiting);
    for _ in 0..100 {
        last = lab.rpc(call("slots")).await;
        if last.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("what was held is not given back: {last:?}");
}

#[tokio::test]
async fn too_many_connections_and_requests_are_turned_away_at_once() {
    let lab = lab(|c| {
        c.limits.connections = 3;
        c.limits.requests = 1;
        c.limits.answer_ms = 60_000;
    })
    .await;
    let mut hanging = lab.connect().await;
    let body = call("hang");
    hanging.write_all(format!("{HEAD}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    while lab.house.asked.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let busy = lab.rpc(call("slots")).await;
    assert_eq!(busy.error(), (503, -32030, "busy".into()));
    assert!(busy.head.contains("retry-after: 1"));
    assert_eq!(lab.get("/healthz").await.status, 200, "an operator still sees how it is");
    let _second = lab.connect().await;
    let _third = lab.connect().await;
    let mut fourth = lab.connect().await;
    let mut seen = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), fourth.read_to_end(&mut seen)).await.expect("closed at once");
    assert!(seen.is_empty());
    assert_eq!(lab.metrics.connections_refused.get(), 1);
}

#[tokio::test]
async fn a_key_has_its_own_rate_and_loopback_has_none_unless_it_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let file = secret(&dir, "key", "a-key-of-16-chars-or-more");
    let lab = lab(|c| {
        c.api_keys = vec![ApiKey { name: "slow".into(), key_file: Some(file), key_env: None, per_second: 1, burst: 2 }];
    })
    .await;
    let key = "a-key-of-16-chars-or-more";
    for _ in 0..2 {
        assert_eq!(lab.rpc_as(key, &call("slots")).await.status, 200);
    }
    let limited = lab.rpc_as(key, &call("slots")).await;
    assert_eq!(limited.error(), (429, -32029, "rate-limited".into()));
    assert!(limited.head.contains("retry-after: 1"));
    assert_eq!(lab.house.asked.lock().last().unwrap().caller, "slow");
    for _ in 0..300 {
        assert_eq!(lab.rpc(call("slots")).await.status, 200);
    }
    let batch = format!("[{0},{0}]", call("slots"));
    assert_eq!(lab.rpc_as(key, &batch).await.status, 429, "a batch costs as much as its requests");
}

#[tokio::test]
async fn loopback_with_a_rate_is_held_to_it() {
    let lab = lab(|c| {
        c.rates.loopback_per_second = 1;
        c.rates.loopback_burst = 3;
    })
    .await;
    for _ in 0..3 {
        assert_eq!(lab.get("/api/v1/status").await.status, 200);
    }
    assert_eq!(lab.get("/api/v1/status").await.error(), (429, -32029, "rate-limited".into()));
    assert_eq!(lab.rpc(call("slots")).await.status, 429);
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
