//! Connections: as many as are allowed, each within its times. Streams have none but that their reader reads.

use super::error::ApiError;
use axum::{Router, http::StatusCode};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use tandem_serve::{HEAD_BYTES, HEADERS, HeadFault, Times};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Most connections of a listener. Hosts, relays and proposers of a large lab have a few dozen each.
pub(super) const MAX_CONNECTIONS: usize = 512;

/// Serves until it is stopped or dropped; connections end with it.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    (times, most): (Times, usize),
    stop: CancellationToken,
) {
    let why = format!("{most} connections are open: close some");
    let busy = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why).because("busy").on_the_wire();
    let serving = |stream, peer, stop| connection(stream, peer, times, router.clone(), stop);
    tandem_serve::serve(listener, "beacon API", (most, &busy), &stop, serving).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, times: Times, router: Router, stop: CancellationToken) {
    let service = TowerToHyperService::new(router);
    if let Some(ended) = tandem_serve::connection(stream, peer, times, service, &stop).await {
        let last = ended.head_fault().map(|fault| of_head(fault, times).on_the_wire());
        ended.part(last).await;
    }
}

/// What is said to a caller whose head could not be read.
fn of_head(fault: HeadFault, times: Times) -> ApiError {
    let slow = times.head.unwrap_or(times.idle);
    match fault {
        HeadFault::Slow => {
            let why = format!("the request's head did not come within {slow:?}: send it in one go");
            ApiError::new(StatusCode::REQUEST_TIMEOUT, why).because("slow-head")
        }
        HeadFault::Large => {
            let why = format!("the request's head has more than {HEAD_BYTES} bytes or {HEADERS} headers: send fewer");
            ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, why).because("head-too-large")
        }
        HeadFault::Bad => ApiError::bad("the request's head is not HTTP/1.1 as RFC 9112 has it").because("bad-head"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beacon_api::bounds::Bounds;
    use axum::{
        body::{Body, Bytes},
        response::Response,
        routing::{get, post},
    };
    use serde_json::{Value, json};
    use std::{sync::Arc, time::Duration};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Semaphore,
    };

    /// Longer than a machine stands still.
    const SHORT: Duration = Duration::from_secs(2);

    /// A server with short times, one place for a body and one to run, and two for connections.
    async fn start() -> (SocketAddr, CancellationToken) {
        let one = || Arc::new(Semaphore::new(1));
        let bounds = Bounds { most: 100, body: SHORT, deadline: SHORT, bodies: one(), running: one() };
        let ticks = || async {
            let tick = |n: u32| async move {
                tokio::time::sleep(SHORT / 2).await;
                (n < 6).then(|| (Ok::<_, std::io::Error>(format!("{n}")), n + 1))
            };
            Response::new(Body::from_stream(futures::stream::unfold(0, tick)))
        };
        let routes = Router::new()
            .route("/echo", post(|body: Bytes| async { body }))
            .route("/here", get(|| async { "here" }))
            .route("/never", get(|| async { std::future::pending::<&str>().await }))
            .route("/broken", get(|| async { if true { panic!("as the test wants") } else { "" } }));
        let router = super::super::within(Router::new().route("/ticks", get(ticks)), [(routes, bounds)]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let times = Times { idle: 4 * SHORT, head: Some(SHORT), write: SHORT, ..crate::TIMES };
        tokio::spawn(serve(listener, router, (times, 2), stop.clone()));
        (address, stop)
    }

    async fn open(address: SocketAddr, sent: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream
    }

    /// All that comes until the server closes.
    async fn rest(mut stream: TcpStream) -> String {
        let mut said = String::new();
        tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut said)).await.unwrap().unwrap();
        said
    }

    fn reason(said: &str) -> (u16, Value) {
        let status = said.get(9..12).unwrap_or_else(|| panic!("{said:?}")).parse().unwrap();
        let body: Value = serde_json::from_str(said.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body["code"], json!(status));
        (status, body["reason"].clone())
    }

    async fn asked(address: SocketAddr, sent: &str) -> (u16, Value) {
        reason(&rest(open(address, sent).await).await)
    }

    fn get_of(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
    }

    fn post_of(length: usize, body: &str) -> String {
        format!("POST /echo HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn who_is_slow_or_sends_too_much_gets_an_error_of_the_one_shape_with_its_code() {
        let (address, stop) = start().await;
        let large = format!("GET /here HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(40_000));
        for (sent, status, code) in [
            ("GET /he".to_owned(), 408, "slow-head"),
            (large, 431, "head-too-large"),
            ("\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), 400, "bad-head"),
            (post_of(9, "half"), 408, "slow-body"),
            (post_of(101, ""), 413, "too-large"),
            (get_of("/never"), 504, "late"),
            (get_of("/broken"), 500, "internal"),
            (get_of("/nothing"), 404, "unknown-route"),
        ] {
            assert_eq!(asked(address, &sent).await, (status, json!(code)), "{sent:.20}");
        }
        assert!(rest(open(address, &post_of(4, "body")).await).await.ends_with("body"));
        stop.cancel();
    }

    #[tokio::test]
    async fn half_a_body_keeps_nobody_else_waiting_and_a_stream_outlasts_all_times() {
        let (address, stop) = start().await;
        let half = tokio::spawn(rest(open(address, &post_of(9, "half")).await));
        tokio::time::sleep(SHORT / 10).await;
        let said = rest(open(address, &get_of("/here")).await).await;
        assert!(said.ends_with("here") && !half.is_finished(), "{said}");
        assert_eq!(reason(&half.await.unwrap()), (408, json!("slow-body")));
        let begin = tokio::time::Instant::now();
        let said = rest(open(address, &get_of("/ticks")).await).await;
        assert!(begin.elapsed() > 2 * SHORT, "it took {:?}", begin.elapsed());
        assert!(["0", "3", "5"].iter().all(|n| said.contains(&format!("1\r\n{n}\r\n"))), "{said}");
        stop.cancel();
    }

    #[tokio::test]
    async fn one_connection_too_many_is_turned_away_and_a_stop_ends_those_that_are_open() {
        let (address, stop) = start().await;
        let (first, second) = (open(address, "").await, open(address, "").await);
        tokio::time::sleep(SHORT / 6).await;
        assert_eq!(asked(address, "").await, (503, json!("busy")));
        drop(first);
        let begin = tokio::time::Instant::now();
        loop {
            // Who is turned away with a call that nobody read may find the connection reset.
            let (mut stream, mut said) = (TcpStream::connect(address).await.unwrap(), String::new());
            let _ = stream.write_all(get_of("/here").as_bytes()).await;
            let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut said)).await;
            if said.ends_with("here") {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "no place is free again: {said}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        assert_eq!(rest(second).await, "");
    }
}
