//! The listener: bounded connections, each with its timeouts.

use crate::{
    caller::Peer,
    crowd::{Crowd, Seat},
    error::GatewayError,
    faults,
    gateway::Shared,
    rates::CallerKey,
};
use axum::Router;
use hyper::{body::Incoming, service::service_fn};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tandem_serve::Times;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};
use tower::Service;

/// How long open connections may finish when the host stops.
const GRACE: Duration = Duration::from_secs(2);
/// What must pass within the limit while a reader is waited for, unless it is all there is. At 20 s
/// these are 3 KiB a second: slower than a modem.
const LEAST: usize = 64 << 10;

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

/// A seat, unless the address has as many as it may. Loopback may have any number.
fn seat(crowd: &Arc<Crowd>, address: IpAddr, most: usize) -> Option<Seat> {
    let most = if address.to_canonical().is_loopback() { usize::MAX } else { most };
    crowd.enter(CallerKey::of(address), most)
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
        let seat = seat(crowd, peer.ip(), shared.config.limits.connections_per_address)?;
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
    let taking = tandem_serve::accept(&listener, "gateway", &shared.stop, |stream, peer| {
        match Place::take(&shared, &crowd, &places, peer) {
            Some(place) => drop(tokio::spawn(connection(stream, peer, place, router.clone()))),
            None => turn_away(&shared, stream),
        }
    });
    taking.await;
    drop(listener);
    let all = shared.config.limits.connections as u32;
    let _ = tokio::time::timeout(GRACE, places.acquire_many(all)).await;
}

fn turn_away(shared: &Shared, stream: TcpStream) {
    shared.metrics.connections_refused.inc();
    tandem_serve::turn_away(stream, &faults::on_the_wire(&GatewayError::Busy));
}

async fn connection(stream: TcpStream, peer: SocketAddr, place: Place, router: Router) {
    let Shared { config, metrics, stop, .. } = &*place.shared;
    let times = Times {
        // From the end of an answer to the end of the next head.
        idle: Duration::from_millis(config.limits.head_ms),
        head: None,
        // Events go on for as long as somebody reads them.
        whole: None,
        write: Duration::from_millis(config.limits.write_ms),
        least: LEAST,
        grace: Some(GRACE),
    };
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().call(request)
    });
    if let Some(ended) = tandem_serve::connection(stream, peer, times, service, stop).await {
        let last = ended.head_fault().map(|fault| faults::of_head(fault, config.limits.head_ms));
        if let Some(error) = &last {
            metrics.errors.get_or_create(&error.reason().into()).inc();
        }
        ended.part(last.as_ref().map(faults::on_the_wire)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_gets_their_seats_back() {
        let crowd = Arc::new(Crowd::default());
        let of = |s: &str| seat(&crowd, s.parse().unwrap(), 2);
        let (first, second) = (of("10.0.0.1"), of("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(of("10.0.0.1").is_none());
        assert!(of("10.0.0.2").is_some(), "another address has its own");
        drop(first);
        assert!(of("10.0.0.1").is_some());
        drop(second);
        assert!(crowd.is_empty(), "nothing is remembered of who left");
        let many: Vec<_> = (0..9).map(|_| of("127.0.0.1")).collect();
        assert!(many.iter().all(Option::is_some), "loopback is the operator's");
    }
}
