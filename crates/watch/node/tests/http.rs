//! Deadlines, caps, bounds and silence about credentials.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use axum::{
    Router,
    body::Body,
    http::StatusCode,
    response::{IntoResponse, Redirect},
    routing::get,
};
use common::{limits, serve};
use futures::{StreamExt, stream};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tandem_node::{BeaconNode, Call, HttpClient, Limits, NodeError};

fn client(url: &str, limits: Limits) -> HttpClient {
    HttpClient::new(url.parse().unwrap(), limits).unwrap()
}

/// Sends a kilobyte every 20 ms, for ever, without announcing a length.
async fn endless() -> impl IntoResponse {
    let pieces = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok::<_, Infallible>(vec![b'x'; 1024]), ()))
    });
    Body::from_stream(pieces)
}

#[tokio::test]
async fn the_deadline_covers_the_last_byte_and_not_only_the_first() {
    let url = serve(Router::new().route("/", get(endless))).await;
    let error = client(&url, limits(200)).send(Call::get("/")).await.unwrap_err();
    assert!(matches!(error, NodeError::Timeout { after, .. } if after == Duration::from_millis(200)), "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn an_answer_is_cut_off_at_the_cap_while_it_streams_and_by_its_announced_length() {
    let app = Router::new().route("/", get(endless)).route("/announced", get(|| async { vec![0u8; 5000] }));
    let url = serve(app).await;
    let small = client(&url, Limits { max_answer_bytes: 4096, ..Limits::default() });
    for path in ["/", "/announced"] {
        let error = small.send(Call::get(path)).await.unwrap_err();
        assert_eq!(error, NodeError::TooLarge { node: small.node(), limit: 4096 }, "{path}");
        assert!(!error.is_retryable());
    }
    assert_eq!(small.capped(5000).send(Call::get("/announced")).await.unwrap().body.len(), 5000);
}

#[tokio::test]
async fn no_more_calls_run_at_once_than_the_bound() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (n, m) = (now.clone(), most.clone());
    let slow = move || async move {
        m.fetch_max(n.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        n.fetch_sub(1, Ordering::SeqCst);
    };
    let url = serve(Router::new().route("/", get(slow))).await;
    let http = client(&url, Limits { max_concurrent: 3, ..Limits::default() });
    let calls: Vec<_> = (0..20).map(|_| http.send(Call::get("/"))).collect();
    let answers = stream::iter(calls).buffer_unordered(20).collect::<Vec<_>>().await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_redirect_is_an_answer_that_nobody_follows() {
    let reached = Arc::new(AtomicUsize::new(0));
    let r = reached.clone();
    let app = Router::new()
        .route("/eth/v1/beacon/genesis", get(|| async { Redirect::temporary("/elsewhere") }))
        .route("/elsewhere", get(move || async move { r.fetch_add(1, Ordering::SeqCst) }.into_future_ok()));
    let node = BeaconNode::new(&serve(app).await, Limits::default()).unwrap();
    let error = node.genesis().await.unwrap_err();
    assert!(matches!(error, NodeError::Status { status: 307, .. }), "{error}");
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

trait IntoFutureOk: Sized {
    async fn into_future_ok(self) -> StatusCode;
}
impl<F: Future<Output = usize>> IntoFutureOk for F {
    async fn into_future_ok(self) -> StatusCode {
        self.await;
        StatusCode::OK
    }
}

#[tokio::test]
async fn credentials_are_in_no_error_and_in_no_debug_text() {
    // A port that nobody listens on: bound, then released.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let http = client(&format!("http://me:hunter2@127.0.0.1:{port}/secret-key"), limits(20_000));
    let error = http.send(Call::get("/x?token=t0k")).await.unwrap_err();
    assert!(matches!(error, NodeError::Connect { .. }), "{error}");
    for shown in [error.to_string(), format!("{error:?}"), format!("{http:?}")] {
        for secret in ["me:", "hunter2", "secret-key", "t0k"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_password_in_the_address_is_sent_all_the_same() {
    let app = Router::new().route(
        "/key/eth/v1/node/version",
        get(|headers: axum::http::HeaderMap| async move {
            let auth = headers["authorization"].to_str().unwrap().to_owned();
            serde_json::json!({"data": {"version": auth}}).to_string()
        }),
    );
    let url = serve(app).await.replace("http://", "http://me:hunter2@") + "/key";
    let node = BeaconNode::new(&url, Limits::default()).unwrap();
    assert_eq!(node.version().await.unwrap(), "Basic bWU6aHVudGVyMg==");
}
