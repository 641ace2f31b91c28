//! The listener: bounded connections, each with its timeouts.

use crate::{caller::Peer, gateway::Shared, io::Impatient, rates::CallerKey};
use axum::{Router, body::Body};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};
use tower::Service;

/// How long open connections may finish when the host stops.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after an accept that failed, as it does while the process has no file descriptors left.
const AFTER_FAULT: Duration = Duration::from_millis(50);
/// Most bytes of a request's head, and headers in it.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;

/// Why the gateway does not listen.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address can not be had.
    #[error("gateway.listen: {addr} can not be had: {source}")]
    Bind {
        /// Which address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A gateway that listens, until it is stopped or dropped.
pub struct Running {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more connections, ends the event streams, and waits up to two seconds for requests
    /// that are under way.
    pub async fn stop(mut self) {
        self.shared.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the gateway's listener ended badly");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

pub(crate) async fn serve(shared: Arc<Shared>, router: Router) -> Result<Running, ServeError> {
    let listen = shared.config.listen;
    let bind = |source| ServeError::Bind { addr: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(bind)?;
    let addr = listener.local_addr().map_err(bind)?;
    let task = tokio::spawn(accept(listener, shared.clone(), router));
    Ok(Running { addr, shared, task })
}

/// Connections by address, as many entries as there are connections at most.
#[derive(Default)]
struct Crowd(Mutex<HashMap<CallerKey, usize>>);

/// One connection among those of its address, given back when it ends.
struct Seat {
    crowd: Arc<Crowd>,
    key: CallerKey,
}

impl Crowd {
    /// A seat, unless the address has as many as it may. Loopback may have any number.
    fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Seat> {
        let key = CallerKey::of(address);
        let mut crowd = self.0.lock();
        let here = crowd.get(&key).copied().unwrap_or_default();
        if here >= most && !address.to_canonical().is_loopback() {
            return None;
        }
        crowd.insert(key, here + 1);
        Some(Seat { crowd: self.clone(), key })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut crowd = self.crowd.0.lock();
        if let Some(here) = crowd.get_mut(&self.key) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                crowd.remove(&self.key);
            }
        }
    }
}

/// A connection's place.
struct Place {
    shared: Arc<Shared>,
    _seat: Seat,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn take(shared: &Arc<Shared>, crowd: &Arc<Crowd>, places: &Arc<Semaphore>, peer: SocketAddr) -> Option<Self> {
        let permit = places.clone().try_acquire_owned().ok()?;
        let seat = crowd.enter(peer.ip(), shared.config.limits.connections_per_address)?;
        shared.metrics.connections.inc();
        Some(Self { shared: shared.clone(), _seat: seat, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.metrics.connections.dec();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, router: Router) {
    let places = Arc::new(Semaphore::new(shared.config.limits.connections));
    let crowd = Arc::new(Crowd::default());
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match Place::take(&shared, &crowd, &places, peer) {
                Some(place) => drop(tokio::spawn(connection(stream, peer, place, router.clone()))),
                // Closed at once: a caller that waits would not know what for.
                None => drop(shared.metrics.connections_refused.inc()),
            },
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(AFTER_FAULT).await;
            }
        }
    }
    drop(listener);
    let all = shared.config.limits.connections as u32;
    let _ = tokio::time::timeout(GRACE, places.acquire_many(all)).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, place: Place, router: Router) {
    let limits = &place.shared.config.limits;
    // Small answers leave at once.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Impatient::new(stream, Duration::from_millis(limits.write_ms)));
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().call(request.map(Body::new))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_ms))
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(io, service);
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = place.shared.stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, served).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_gets_their_seats_back() {
        let crowd = Arc::new(Crowd::default());
        let of = |s: &str| crowd.enter(s.parse().unwrap(), 2);
        let (first, second) = (of("10.0.0.1"), of("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(of("10.0.0.1").is_none());
        assert!(of("10.0.0.2").is_some(), "another address has its own");
        drop(first);
        assert!(of("10.0.0.1").is_some());
        drop(second);
        assert!(crowd.0.lock().is_empty(), "nothing is remembered of who left");
        let many: Vec<_> = (0..9).map(|_| of("127.0.0.1")).collect();
        assert!(many.iter().all(Option::is_some), "loopback is the operator's");
    }
}
