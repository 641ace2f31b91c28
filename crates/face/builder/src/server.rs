//! The listener, its thread, and its end.

use crate::{
    Config, Stats,
    reply::{Problem, Reason},
    routes,
};
use axum::Router;
use hyper_util::service::TowerToHyperService;
use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tandem_blocks::ProposerDesk;
use tandem_serve::{HEAD_BYTES, HEADERS, HeadFault, Times};
use tandem_types::BlsPublicKey;
use thiserror::Error;
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Whether a validator is served here. Registrations of others are neither verified nor passed on.
pub type Served = Arc<dyn Fn(&BlsPublicKey) -> bool + Send + Sync>;

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting is out of range.
    #[error("builder API: {0}")]
    Config(String),
    /// The address can not be listened on.
    #[error("builder API: can not listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The thread or its runtime could not be made.
    #[error("builder API: no thread: {0}")]
    Thread(io::Error),
}

/// The running Builder API. Dropping it stops it and waits for running calls, for the time of grace.
pub struct BuilderServer {
    addr: SocketAddr,
    stats: Stats,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for BuilderServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuilderServer").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl BuilderServer {
    /// Listens, and serves from a thread with a runtime of its own. It may be called from anywhere,
    /// inside another runtime too.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(config: Config, desk: Arc<dyn ProposerDesk>, served: Served) -> Result<Self, StartError> {
        config.validate().map_err(StartError::Config)?;
        let listening = |source| StartError::Listen { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).map_err(listening)?;
        listener.set_nonblocking(true).map_err(listening)?;
        let addr = listener.local_addr().map_err(listening)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads)
            .thread_name("builder-api")
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let (stats, stop) = (Stats::default(), CancellationToken::new());
        let tasks = TaskTracker::new();
        let router = routes::router(&config, desk, served, stats.clone(), tasks.clone());
        let (own_stats, own_stop) = (stats.clone(), stop.clone());
        let serve = move || {
            runtime.block_on(accept(listener, config, router, own_stats, own_stop, tasks));
            // Calls had their time; what still runs is given up.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("builder-api".into()).spawn(serve).map_err(StartError::Thread)?;
        Ok(Self { addr, stats, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }
    /// Its counters.
    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }
    /// Stops taking connections, lets running calls end within the time of grace, and joins the thread.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the builder API's thread panicked");
        }
    }
}
impl Drop for BuilderServer {
    fn drop(&mut self) {
        self.join();
    }
}

async fn accept(
    listener: TcpListener,
    config: Config,
    router: Router,
    stats: Stats,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(l) => l,
        Err(error) => return tracing::error!(%error, "the builder API can not listen"),
    };
    let places = Arc::new(Semaphore::new(config.max_connections));
    let taking = tandem_serve::accept(&listener, "builder API", &stop, |stream, peer| {
        let place = places.clone().try_acquire_owned();
        stats.connection(place.is_ok());
        let Ok(place) = place else { return turn_away(stream) };
        let serving = serve(stream, peer, config.clone(), router.clone(), stop.clone());
        tasks.spawn(async move {
            serving.await;
            drop(place);
        });
    });
    taking.await;
    tasks.close();
    if tokio::time::timeout(Duration::from_millis(config.grace_ms), tasks.wait()).await.is_err() {
        tracing::warn!("the builder API stops with calls still running");
    }
}

fn turn_away(stream: TcpStream) {
    let busy =
        Problem::new(Reason::Busy, "too many connections are open; close some, or raise builder.max_connections");
    tandem_serve::turn_away(stream, &busy.on_the_wire());
}

async fn serve(stream: TcpStream, peer: SocketAddr, config: Config, router: Router, stop: CancellationToken) {
    let ms = Duration::from_millis;
    let times = Times {
        idle: ms(config.idle_ms),
        head: Some(ms(config.head_ms)),
        whole: Some(config.whole_call()),
        write: ms(config.write_ms),
        least: 1,
        // The runtime has one for everything, publications that outlive their caller included.
        grace: None,
    };
    let service = TowerToHyperService::new(router);
    if let Some(ended) = tandem_serve::connection(stream, peer, times, service, &stop).await {
        let last = ended.head_fault().map(|fault| of_head(fault, config.head_ms).on_the_wire());
        ended.part(last).await;
    }
}

/// What is said to a caller whose head could not be read.
fn of_head(fault: HeadFault, head_ms: u64) -> Problem {
    match fault {
        HeadFault::Slow => Problem::new(
            Reason::SlowHead,
            format!("the request's head did not come within {head_ms} ms: send it in one go"),
        ),
        HeadFault::Large => Problem::new(
            Reason::HeadTooLarge,
            format!("the request's head has more than {HEAD_BYTES} bytes or {HEADERS} headers: send fewer"),
        ),
        HeadFault::Bad => Problem::new(Reason::BadHead, "the request's head is not HTTP/1.1 as RFC 9112 has it"),
    }
}
