//! The relay's connections: as many as are allowed, each within its times. How long it takes to answer is its
//! behaviour, and has no bound here.

use super::api::fault;
use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::Response,
};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tandem_beacon::MAX_BLOCK_BYTES;
use tandem_serve::{BodyFault, HeadFault, Times};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

/// Bounds of a relay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) times: Times,
    /// How long a body may take, with the wait for a place.
    pub(super) body: Duration,
    /// Bodies at once. Most are registrations and blinded blocks, of less than a megabyte.
    pub(super) bodies: usize,
    /// Connections.
    pub(super) connections: usize,
}

impl Bounds {
    /// A relay's. A connection may be idle for longer than clients keep one.
    pub(super) const fn usual() -> Self {
        let times = Times {
            idle: Duration::from_secs(120),
            head: Some(Duration::from_secs(5)),
            whole: None,
            write: Duration::from_secs(10),
            least: 1,
            grace: Some(Duration::ZERO),
        };
        Self { times, body: Duration::from_secs(5), bodies: 32, connections: 256 }
    }
}

/// Serves until this is dropped; connections end with it.
pub(super) async fn serve(listener: TcpListener, router: Router, bounds: Bounds) {
    let bodies = (bounds, Arc::new(Semaphore::new(bounds.bodies)));
    let router = router.layer(middleware::from_fn_with_state(bodies, whole));
    let busy = on_the_wire(StatusCode::SERVICE_UNAVAILABLE, "too many connections are open");
    let serving = |stream, peer, stop| connection(stream, peer, bounds.times, router.clone(), stop);
    let (most, never) = ((bounds.connections, &busy[..]), CancellationToken::new());
    tandem_serve::serve(listener, "simulated relay", most, &never, serving).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, times: Times, router: Router, stop: CancellationToken) {
    let service = TowerToHyperService::new(router);
    if let Some(ended) = tandem_serve::connection(stream, peer, times, service, &stop).await {
        let last = ended.head_fault().map(|fault| match fault {
            HeadFault::Slow => on_the_wire(StatusCode::REQUEST_TIMEOUT, "the request's head did not come in time"),
            HeadFault::Large => {
                on_the_wire(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is too large")
            }
            HeadFault::Bad => on_the_wire(StatusCode::BAD_REQUEST, "the request's head is not HTTP/1.1"),
        });
        ended.part(last).await;
    }
}

fn on_the_wire(status: StatusCode, message: &str) -> Vec<u8> {
    tandem_serve::answer(status, &[], &json!({ "code": status.as_u16(), "message": message }).to_string())
}

/// Hands on a request once its body is whole. Who sends half of one is not waited for.
async fn whole(State((bounds, bodies)): State<(Bounds, Arc<Semaphore>)>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    match tandem_serve::whole(body, MAX_BLOCK_BYTES, bounds.body, bodies.acquire()).await {
        Ok((bytes, _place)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Err(BodyFault::Slow) => fault(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
        Err(BodyFault::Large) => fault(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
        Err(BodyFault::Broken(why)) => fault(StatusCode::BAD_REQUEST, format!("the body could not be read: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        body::Bytes,
        routing::{get, post},
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Longer than a machine stands still.
    const SHORT: Duration = Duration::from_secs(2);

    async fn start(connections: usize) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let slow = || async {
            tokio::time::sleep(3 * SHORT).await;
            "slow, as it was told"
        };
        let router = Router::new().route("/echo", post(|body: Bytes| async { body })).route("/slow", get(slow));
        let usual = Bounds::usual();
        let times = Times { idle: 4 * SHORT, head: Some(SHORT), ..usual.times };
        let bounds = Bounds { times, body: SHORT, bodies: 1, connections };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tokio::spawn(serve(listener, router, bounds)))
    }

    async fn open(address: SocketAddr, sent: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream
    }

    async fn rest(mut stream: TcpStream) -> String {
        let mut said = String::new();
        tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut said)).await.unwrap().unwrap();
        said
    }

    fn echo(length: usize, body: &str) -> String {
        format!("POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn half_a_head_or_body_is_given_up_and_a_relay_may_still_be_slow_itself() {
        let (address, task) = start(8).await;
        let slow = "GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        for (sent, status, words) in [
            ("GET /sl", 408, "head did not come"),
            ("\u{16}\u{3}\u{1}\r\n\r\n", 400, "not HTTP/1.1"),
            (&echo(9, "half"), 408, "body did not come"),
            (&echo(MAX_BLOCK_BYTES + 1, ""), 413, "too large"),
            (&echo(4, "body"), 200, "body"),
            (slow, 200, "slow, as it was told"),
        ] {
            let said = rest(open(address, sent).await).await;
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")) && said.contains(words), "{sent:.20}: {said}");
        }
        task.abort();
    }

    #[tokio::test]
    async fn one_connection_too_many_is_turned_away_and_all_end_with_the_relay() {
        let (address, task) = start(1).await;
        let first = open(address, "").await;
        tokio::time::sleep(SHORT / 6).await;
        assert!(rest(open(address, "").await).await.starts_with("HTTP/1.1 503 "));
        task.abort();
        assert_eq!(rest(first).await, "");
    }
}
