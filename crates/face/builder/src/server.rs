//! The listener, its thread, and its end.

use crate::{Config, Stats, routes};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tandem_blocks::ProposerDesk;
use tandem_types::BlsPublicKey;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Whether a validator is served here. Registrations of others are neither verified nor passed on.
pub type Served = Arc<dyn Fn(&BlsPublicKey) -> bool + Send + Sync>;

/// Bytes of a request's head. The longest regular one has 400.
const MAX_HEAD: usize = 16 << 10;

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
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, mostly: it passes, and spinning does not help.
                    tracing::warn!(%error, "the builder API could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let place = places.clone().try_acquire_owned();
        stats.connection(place.is_ok());
        // Without a place the connection is closed here, by dropping it.
        let Ok(place) = place else { continue };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(config.idle_ms))
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let stop = stop.clone();
        tasks.spawn(async move {
            let _place = place;
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => return log_end(ended),
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            log_end(connection.await);
        });
    }
    tasks.close();
    if tokio::time::timeout(Duration::from_millis(config.grace_ms), tasks.wait()).await.is_err() {
        tracing::warn!("the builder API stops with calls still running");
    }
}

fn log_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "builder API connection");
    }
}
