//! JSON-RPC over HTTP and WebSocket on one port, answering as geth does where geth's answers are known.
//!
//! Bounds: bodies, responses, connections, subscriptions and batches are capped; heads and bodies must come
//! within 5 s each; heavy calls run on their own threads, a few at a time, each with a deadline. What is refused
//! before it is read is an error with an `id` of null and a stable code in `data.reason`.

mod answer;
mod call;
mod chain;
mod convert;
mod debug;
mod estimate;
mod fail;
mod fees;
mod filters;
mod ids;
mod logs;
mod net;
mod overrides;
mod pending;
mod precompiles;
mod pubsub;
mod send;
mod server;
mod simulate;
mod simulate_types;
mod state;
mod strict;
mod testing;
mod txpool;

use crate::execution::Execution;
use jsonrpsee::{
    core::{RegisterMethodError, server::RpcModule, traits::IdProvider},
    types::SubscriptionId,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::Semaphore};

/// Bounds of the JSON-RPC server.
#[derive(Clone, Debug)]
pub struct RpcConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Largest request body in bytes. A block of 8 MiB doubles as hex, and six blobs need 1.6 MB.
    pub max_request: u32,
    /// Largest response in bytes.
    pub max_response: u32,
    /// Open connections.
    pub max_connections: u32,
    /// Subscriptions of one connection.
    pub max_subscriptions: u32,
    /// Calls in one batch.
    pub max_batch: u32,
    /// Most gas of a call, an estimate, or one simulation: geth's `--rpc.gascap`.
    pub gas_cap: u64,
    /// Heavy calls (those that run the EVM or build blocks) at a time.
    pub heavy_calls: usize,
    /// How long a heavy call may take.
    pub deadline: Duration,
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            max_request: 24 * 1024 * 1024,
            max_response: 64 * 1024 * 1024,
            max_connections: 512,
            max_subscriptions: 64,
            max_batch: 1_000,
            gas_cap: 50_000_000,
            heavy_calls: 4,
            deadline: Duration::from_secs(20),
        }
    }
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct RpcServer {
    serving: server::Serving,
    address: SocketAddr,
}

impl RpcServer {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://…`
    pub fn http_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `ws://…`
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Stops it and waits until it has.
    pub async fn stop(self) {
        self.serving.stop().await;
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The address could not be taken.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Two methods have one name: a fault of this crate.
    #[error("cannot register a method: {0}")]
    Register(String),
}

/// What the methods share.
#[derive(Debug)]
pub(crate) struct Rpc {
    pub(crate) execution: Execution,
    pub(crate) config: RpcConfig,
    pub(crate) filters: filters::Filters,
    pub(crate) pending: pending::Pending,
    heavy: Arc<Semaphore>,
}

/// Subscription ids as Ethereum clients expect them: hex strings.
#[derive(Debug, Default)]
struct HexIds(AtomicU64);

impl IdProvider for HexIds {
    fn next_id(&self) -> SubscriptionId<'static> {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        let mixed = alloy_primitives::keccak256(n.to_be_bytes());
        SubscriptionId::Str(format!("0x{}", alloy_primitives::hex::encode(&mixed[..16])).into())
    }
}

/// Starts the server.
///
/// # Errors
/// [`RpcError`].
pub async fn serve(execution: Execution, config: RpcConfig) -> Result<RpcServer, RpcError> {
    let listen = config.listen;
    let failed = |source| RpcError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let module = module(execution, config.clone()).map_err(|e| RpcError::Register(e.to_string()))?;
    Ok(RpcServer { serving: server::start(listener, &config, module), address })
}

fn module(execution: Execution, config: RpcConfig) -> Result<RpcModule<Rpc>, RegisterMethodError> {
    let heavy = Arc::new(Semaphore::new(config.heavy_calls));
    let mut module =
        RpcModule::new(Rpc { execution, config, filters: Default::default(), pending: Default::default(), heavy });
    chain::register(&mut module)?;
    state::register(&mut module)?;
    call::register(&mut module)?;
    estimate::register(&mut module)?;
    fees::register(&mut module)?;
    logs::register(&mut module)?;
    filters::register(&mut module)?;
    pubsub::register(&mut module)?;
    send::register(&mut module)?;
    txpool::register(&mut module)?;
    debug::register(&mut module)?;
    simulate::register(&mut module)?;
    testing::register(&mut module)?;
    net::register(&mut module)?;
    Ok(module)
}
