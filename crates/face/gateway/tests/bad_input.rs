//! Whatever is wrong with what comes over the socket, and whoever notices it, hyper, axum or the gateway:
//! one shape, JSON by its content type, a stable code and a sentence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};
use support::{Answer, HUGE, Lab, TOKEN, call, lab, read, secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Status, code and reason, after a look at the shape.
fn refused(what: &str, answer: &Answer, want: (u16, i64, &str)) {
    assert!(answer.status != 0, "{what}: nothing was said: {answer:?}");
    assert!(answer.head.contains("content-type: application/json"), "{what}: {answer:?}");
    let json = answer.json();
    let error = json.get("error").unwrap_or(&json);
    assert!(error["message"].as_str().is_some_and(|m| m.contains(' ')), "{what}: no sentence in {json}");
    let (status, code, reason) = answer.error();
    assert_eq!((status, code, reason.as_str()), want, "{what}: {json}");
}

/// The same, and that the next good request is answered.
async fn refuses(lab: &Lab, what: &str, bytes: &[u8], want: (u16, i64, &str)) {
    refused(what, &lab.raw(bytes).await, want);
    assert_eq!(lab.rpc(call("slots")).await.status, 200, "after {what}");
}

#[tokio::test]
async fn heads_that_are_no_http_or_ambiguous_are_told_so() {
    let lab = lab(|_| {}).await;
    let get = |rest: &str| format!("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n{rest}\r\n");
    let post = |rest: &str| {
        format!("POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{rest}\r\n{}", call("slots"))
    };
    let cases: Vec<(&str, String)> = vec![
        ("no HTTP at all", "\u{16}\u{3}\u{1}\u{2}\r\n\r\n".into()),
        ("no target", "GET\r\n\r\n".into()),
        ("an unknown version", "GET / HTTP/9.9\r\n\r\n".into()),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        ("a header without a colon", get("nonsense\r\n")),
        ("a header's name with a blank", get("a b: c\r\n")),
        ("a header with a zero byte", get("a: \0\r\n")),
        ("two lengths", post("content-length: 45\r\ncontent-length: 46\r\n")),
        ("a negative length", post("content-length: -1\r\n")),
        ("a length with a sign", post("content-length: +45\r\n")),
        ("an overflowing length", post("content-length: 18446744073709551616\r\n")),
        ("a length in words", post("content-length: many\r\n")),
        ("an unknown transfer encoding", post("transfer-encoding: gzip\r\n")),
    ];
    let number = cases.len();
    for (what, bytes) in cases {
        refuses(&lab, what, bytes.as_bytes(), (400, -32013, "bad-head")).await;
    }
    // A length and chunks: the chunks count, as RFC 9112 has it, and this body has none.
    let both = lab.raw(post("content-length: 45\r\ntransfer-encoding: chunked\r\n").as_bytes()).await;
    refused("a length and chunks", &both, (400, -32011, "body-broken"));
    assert!(both.head.contains("connection: close"), "{}", both.head);
    assert_eq!(lab.house.asked.lock().len(), number, "the good ones reached a module, and nothing else");
}

#[tokio::test]
async fn heads_without_end_are_told_so_and_read_no_further() {
    let lab = lab(|_| {}).await;
    let long = |n| "y".repeat(n);
    let too_large = (431, -32013, "head-too-large");
    let name = format!("GET /{} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", long(1 << 20));
    refuses(&lab, "an endless target", name.as_bytes(), too_large).await;
    let value = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", long(1 << 20));
    refuses(&lab, "an endless header", value.as_bytes(), too_large).await;
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
    refuses(&lab, "too many headers", many.as_bytes(), too_large).await;
}

#[tokio::test]
async fn a_head_that_drips_or_breaks_off_is_told_so_and_an_idle_connection_is_closed_in_silence() {
    let lab = lab(|c| c.limits.head_ms = 600).await;
    let mut drips = lab.connect().await;
    let begun = Instant::now();
    let (mut reader, mut writer) = drips.split();
    let drip = async {
        for byte in "GET /healthz HTTP/1.1\r\nx: ".bytes().chain(std::iter::repeat(b'x')) {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut said = [0; 12];
    tokio::select! { r = reader.read_exact(&mut said) => drop(r.unwrap()), () = drip => {} }
    assert_eq!(&said, b"HTTP/1.1 408");
    assert!(begun.elapsed() >= Duration::from_millis(600));

    let mut half = lab.connect().await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127").await.unwrap();
    refused("half a head", &read(&mut half).await, (408, -32013, "head-too-slow"));
    let mut closed = lab.connect().await;
    closed.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127").await.unwrap();
    closed.shutdown().await.unwrap();
    refused("half a head and an end", &read(&mut closed).await, (400, -32013, "bad-head"));
    let idle = read(&mut lab.connect().await).await;
    assert_eq!((idle.status, idle.head.as_str()), (0, ""), "whoever asked nothing is told nothing");
}

#[tokio::test]
async fn a_kept_connection_is_told_of_its_second_head_too() {
    let lab = lab(|_| {}).await;
    let good = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    let mut stream = lab.connect().await;
    for _ in 0..3 {
        stream.write_all(good).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"}") {
            seen.push(stream.read_u8().await.unwrap());
        }
        assert!(seen.starts_with(b"HTTP/1.1 200"));
    }
    stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
    refused("a second head", &read(&mut stream).await, (400, -32013, "bad-head"));
    // Sent along with the first one: that one is answered whole, whatever follows it.
    let both = lab.raw(&[good.as_slice(), b"nonsense\r\n\r\n"].concat()).await;
    assert_eq!(both.status, 200);
    assert!(both.body.contains("HTTP/1.1 400 "), "{both:?}");
}

#[tokio::test]
async fn paths_and_queries_that_do_not_read_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = secret(&dir, "admin", TOKEN);
    let lab = lab(|c| c.admin_token_file = Some(file)).await;
    let bearer = format!("Bearer {TOKEN}");
    let invalid = (400, -32600, "invalid-request");
    for (method, path, want) in [
        ("GET", "/commitments/v0/gateway/commitment/%ff", invalid),
        ("GET", "/commitments/v0/gateway/commitment/0x", (400, -32602, "bad-request-hash")),
        ("GET", "/js/%ff.js", invalid),
        ("GET", "/api/v1/completeness/%ff", invalid),
        ("GET", "/api/v1/completeness/-1", invalid),
        ("GET", "/api/v1/completeness/18446744073709551616", invalid),
        ("POST", "/api/v1/modules/%ff/enable", invalid),
        ("POST", "/api/v1/promising/%ff", invalid),
        ("POST", "/api/v1/promising/dance", (404, -32044, "not-found")),
        ("GET", "/api/v1/promises?limit=-1", invalid),
        ("GET", "/api/v1/promises?limit=1&limit=2", invalid),
        ("GET", "/api/v1/promises?slot=18446744073709551616", invalid),
        ("GET", "/api/v1/blocks?depth=3", invalid),
        ("GET", "/api/v1/ledger?days=some", invalid),
        ("GET", "/events?chanel=m/prices", invalid),
        ("GET", "/nothing", (404, -32044, "not-found")),
        ("GET", "/api/v1/nothing", (404, -32044, "not-found")),
        ("GET", "//", (404, -32044, "not-found")),
        ("OPTIONS", "*", (404, -32044, "not-found")),
        ("PUT", "/", (405, -32044, "method-not-allowed")),
        ("DELETE", "/api/v1/status", (405, -32044, "method-not-allowed")),
        ("BREW", "/metrics", (405, -32044, "method-not-allowed")),
    ] {
        let answer = lab.ask(method, path, &[("authorization", &bearer)], b"").await;
        refused(&format!("{method} {path}"), &answer, want);
    }
    let other = lab.ask("DELETE", "/api/v1/status", &[], b"").await;
    assert!(other.head.contains("allow: get"), "it says what would do: {}", other.head);
    assert!(lab.house.orders.lock().is_empty());
}

#[tokio::test]
async fn bodies_are_refused_alike_wherever_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = secret(&dir, "admin", TOKEN);
    let lab = lab(|c| {
        c.admin_token_file = Some(file);
        c.limits.body_bytes = 4_096;
        c.limits.body_ms = 400;
    })
    .await;
    let head = |path: &str, rest: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n{rest}"
        )
    };
    let json = "content-type: application/json\r\n";
    let deep = "[".repeat(4_000);
    for path in ["/", "/commitments/v0/gateway/commitment", "/commitments/v0/gateway/fee", "/api/v1/promising/stop"] {
        for (what, body, reason) in [
            ("a key twice", br#"{"a":1,"a":2}"#.as_slice(), "duplicate-key"),
            ("a key twice, once escaped", br#"{"a":{"b":1,"\u0062":2}}"#, "duplicate-key"),
            ("deep nesting", deep.as_bytes(), "too-deep"),
            ("trailing bytes", b"{} x", "trailing-bytes"),
            ("half of it", b"{\"a\":", "unfinished-json"),
            ("no UTF-8", b"{\"a\":\"\xff\"}", "not-utf8"),
            ("an overflowing number", b"{\"a\":18446744073709551616}", "number-out-of-range"),
            ("an underflowing number", b"{\"a\":-9223372036854775809}", "number-out-of-range"),
            ("no JSON", b"a=b", "bad-json"),
        ] {
            let head = head(path, &format!("{json}content-length: {}\r\n\r\n", body.len()));
            let answer = lab.raw(&[head.as_bytes(), body].concat()).await;
            refused(&format!("{what} at {path}"), &answer, (400, -32700, reason));
        }
        let form = head(path, "content-type: application/x-www-form-urlencoded\r\ncontent-length: 3\r\n\r\na=b");
        refuses(&lab, path, form.as_bytes(), (415, -32012, "content-type")).await;
        let two = head(path, &format!("{json}content-type: text/plain\r\ncontent-length: 2\r\n\r\n{{}}"));
        refuses(&lab, path, two.as_bytes(), (415, -32012, "content-type")).await;
        let large = head(path, &format!("{json}content-length: 4097\r\n\r\n"));
        refuses(&lab, path, large.as_bytes(), (413, -32010, "body-too-large")).await;
        let chunks = head(path, &format!("{json}transfer-encoding: chunked\r\n\r\nzz\r\n"));
        refuses(&lab, path, chunks.as_bytes(), (400, -32011, "body-broken")).await;
        let slow = head(path, &format!("{json}content-length: 100\r\n\r\n{{"));
        refuses(&lab, path, slow.as_bytes(), (408, -32011, "body-too-slow")).await;
    }
    assert!(lab.house.orders.lock().is_empty());
}

#[tokio::test]
async fn who_sends_far_too_much_still_gets_to_read_why_it_is_refused() {
    let lab = lab(|c| c.limits.body_bytes = 4_096).await;
    let head =
        "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 8388608\r\n\r\n";
    // Writing it must succeed to the last byte, or the answer is lost in a reset.
    let answer = lab.raw(&[head.as_bytes(), &vec![b' '; 8 << 20]].concat()).await;
    refused("too much", &answer, (413, -32010, "body-too-large"));
}

#[tokio::test]
async fn a_handler_that_panics_is_told_of_and_leaves_nothing_taken() {
    let lab = lab(|c| c.limits.requests = 1).await;
    for _ in 0..3 {
        let answer = lab.rpc(call("panic")).await;
        refused("a panic", &answer, (500, -32603, "internal"));
        assert_eq!(answer.json()["jsonrpc"], "2.0");
    }
    assert_eq!(lab.rpc(call("slots")).await.status, 200);
}

#[tokio::test]
async fn a_refused_json_rpc_request_is_answered_as_json_rpc() {
    let lab = lab(|c| c.limits.requests = 1).await;
    let json = ("content-type", "application/json");
    let foreign = lab.ask("POST", "/", &[json, ("host", "evil.example")], call("slots").as_bytes()).await;
    refused("a foreign host", &foreign, (403, -32041, "foreign-host"));
    let twice = lab.ask("POST", "/", &[json, ("host", "localhost"), ("host", "localhost")], b"{}").await;
    refused("two hosts", &twice, (403, -32041, "foreign-host"));
    let absolute = lab.ask("POST", "http://evil.example/", &[json], call("slots").as_bytes()).await;
    refused("an address of another host", &absolute, (403, -32041, "foreign-host"));
    let stranger = lab.rpc_as("who-is-this", &call("slots")).await;
    refused("an unknown token", &stranger, (401, -32040, "unauthorized"));
    for answer in [foreign, twice, absolute, stranger] {
        assert_eq!((&answer.json()["jsonrpc"], &answer.json()["id"]), (&"2.0".into(), &serde_json::Value::Null));
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused_and_what_was_promised_beside_it_is_told() {
    let lab = lab(|c| c.limits.answer_bytes = HUGE - 1).await;
    refused("one answer", &lab.rpc(call("huge")).await, (200, -32014, "answer-too-large"));
    let lab = self::lab(|c| c.limits.answer_bytes = 2 * HUGE + 1_024).await;
    assert_eq!(lab.rpc(call("huge")).await.json()["result"].as_str().map(str::len), Some(HUGE));
    let batch = [call("huge"), call("huge"), call("huge"), call("slots")].join(",");
    let answers = lab.rpc(format!("[{batch}]")).await.json();
    assert!(answers[0]["result"].is_string() && answers[1]["result"].is_string());
    assert_eq!(answers[2]["error"]["data"]["reason"], "answer-too-large");
    assert_eq!(answers[3]["result"], serde_json::json!([]));
}

/// Asks for a huge answer and reads only its beginning.
async fn asks_and_does_not_read(lab: &Lab) -> tokio::net::TcpStream {
    // The least that the system's buffers may take, so that the answer stays with the gateway.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(lab.addr()).await.unwrap();
    let body = format!("[{}]", vec![call("huge"); 20].join(","));
    let head = "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n";
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    stream
}

/// Waits for what must come about, for as long as given.
async fn within(limit: Duration, mut f: impl AsyncFnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    while !f().await {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

#[tokio::test]
async fn answers_that_are_not_read_take_bounded_memory_and_give_it_back() {
    let lab = lab(|c| {
        // Five of these answers fill the store.
        c.limits.answer_bytes = 20 << 20;
        c.limits.answers_bytes = 40 << 20;
        c.limits.write_ms = 60_000;
    })
    .await;
    let heavy = format!("[{}]", vec![call("huge"); 20].join(","));
    let mut deaf = Vec::new();
    for _ in 0..5 {
        deaf.push(asks_and_does_not_read(&lab).await);
    }
    let is_busy = async || lab.rpc(&heavy).await.body.contains("\"reason\":\"busy\"");
    assert!(is_busy().await, "a sixth has no room");
    assert_eq!(lab.rpc(call("slots")).await.status, 200, "what is light is answered all the same");
    assert_eq!(lab.get("/healthz").await.status, 200);
    drop(deaf);
    assert!(within(Duration::from_secs(20), async || !is_busy().await).await, "what was held is given back");
}

/// The place of a reader who does not read is free again after its time. Without the deadline it is not: so
/// it is the deadline that frees it.
#[tokio::test]
async fn a_reader_who_does_not_read_holds_its_place_for_its_time_only() {
    for (write_ms, wait, given_up) in [(300, 20_000, true), (60_000, 1_500, false)] {
        let lab = lab(|c| {
            c.limits.answer_bytes = 20 << 20;
            c.limits.write_ms = write_ms;
        })
        .await;
        let deaf = asks_and_does_not_read(&lab).await;
        let freed = within(Duration::from_millis(wait), async || lab.metrics.connections.get() == 0).await;
        assert_eq!(freed, given_up, "{write_ms} ms");
        drop(deaf);
    }
}
