//! Starting and stopping the whole devnet.

use crate::{
    beacon_api,
    config::{Config, ConfigError},
    consensus::{
        Chain, ConsensusError, Finality, Lateness, Rules, Validators, genesis,
        spec::{FULU_FORK_VERSION, GENESIS_FORK_VERSION},
    },
    execution::{Execution, GenesisConfig, dev_account},
    node::{Node, now_ms},
    proposer::{Decisions, Nodes},
    rpc::{self, RpcConfig, RpcError, RpcServer},
    trouble::Trouble,
};
use alloy_genesis::GenesisAccount;
use std::{net::SocketAddr, time::Duration};
use tandem_beacon::ExecutionPayload;
use tandem_types::{ChainSpec, SlotClock};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How long servers may take to let go of their connections when the devnet stops.
const GRACE: Duration = Duration::from_secs(2);

/// Why a devnet did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The execution layer.
    #[error(transparent)]
    Execution(#[from] crate::execution::ExecError),
    /// The consensus layer.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    /// The JSON-RPC server.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// A port.
    #[error("{what} on {at}: {source}")]
    Bind {
        /// Which server.
        what: &'static str,
        /// Where it was to listen.
        at: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The HTTP client.
    #[error("HTTP client: {0}")]
    Http(String),
}

/// A running devnet. It stops when it is dropped; [`Devnet::stop`] waits until it has.
pub struct Devnet {
    /// Everything inside, for tests in the same process.
    pub node: Node,
    rpc: RpcServer,
    beacon_at: Vec<SocketAddr>,
    cancel: CancellationToken,
    /// Dropping it aborts what still runs.
    tasks: JoinSet<()>,
}

impl Devnet {
    /// Starts a devnet: servers first, then the slots.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.validate()?;
        // Beside the rest: the first blob transaction would wait for it, and its block with it.
        tokio::task::spawn_blocking(tandem_crypto::kzg::warm_up);
        let made = config.clone();
        let built = tokio::task::spawn_blocking(move || make(&made)).await;
        let node = built.map_err(|e| StartError::Http(e.to_string()))??;
        let execution_at = SocketAddr::new(config.host, config.execution_port);
        let rpc_config = RpcConfig { listen: execution_at, ..RpcConfig::default() };
        let rpc = rpc::serve(node.chain.execution().clone(), rpc_config).await?;
        // Set once, here: it can not be there already.
        let _ = node.execution_url.set(rpc.http_url());
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut beacon_at = Vec::new();
        for port in [config.beacon_port].into_iter().chain(config.more_beacon_ports) {
            let (listener, at) = bind("beacon API", SocketAddr::new(config.host, port)).await?;
            beacon_at.push(at);
            tasks.spawn(beacon_api::serve(listener, node.clone(), cancel.clone()));
        }
        for run in [true, false] {
            let (node, stop) = (node.clone(), cancel.clone());
            tasks.spawn(async move {
                let work = async move { if run { node.run().await } else { node.follow_heads().await } };
                tokio::select! { () = work => {}, () = stop.cancelled() => {} }
            });
        }
        tracing::info!(execution = %rpc.address(), beacon = ?beacon_at, "devnet started (simulated chain)");
        Ok(Self { node, rpc, beacon_at, cancel, tasks })
    }

    /// JSON-RPC over HTTP.
    pub fn execution_url(&self) -> String {
        self.rpc.http_url()
    }
    /// JSON-RPC over WebSocket.
    pub fn execution_ws(&self) -> String {
        self.rpc.ws_url()
    }
    /// The beacon API, and the devnet's own under `/tandem/v1/devnet`.
    pub fn beacon_url(&self) -> String {
        self.beacon_urls().into_iter().next().unwrap_or_default()
    }
    /// The beacon API on all its ports: two of them stand for two beacon nodes that are always of one
    /// mind.
    pub fn beacon_urls(&self) -> Vec<String> {
        self.beacon_at.iter().map(|at| format!("http://{at}")).collect()
    }
    /// Identity and clock.
    pub fn spec(&self) -> ChainSpec {
        *self.node.chain.spec()
    }
    /// Stops everything, and waits until it has.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        let (tasks, rpc) = (&mut self.tasks, self.rpc);
        let all = async {
            while tasks.join_next().await.is_some() {}
            rpc.stop().await;
        };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            self.tasks.abort_all();
        }
    }
}

async fn bind(what: &'static str, at: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { what, at, source };
    let listener = TcpListener::bind(at).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The clock. At the chain's own pace the wall and the chain agree; else the wall has its own start.
fn clock(config: &Config) -> SlotClock {
    let lead = config.slot_wall_ms.min(2000);
    let start = now_ms() + lead;
    let mut wall_genesis_ms = start.saturating_sub(config.slot_wall_ms);
    let real_pace = config.slot_wall_ms == config.slot_seconds * 1000;
    if real_pace {
        wall_genesis_ms = wall_genesis_ms.div_ceil(1000) * 1000;
    }
    let genesis_time = config.genesis_time.unwrap_or(wall_genesis_ms / 1000);
    SlotClock { genesis_time, slot_seconds: config.slot_seconds, wall_genesis_ms, wall_slot_ms: config.slot_wall_ms }
}

fn make(config: &Config) -> Result<Node, StartError> {
    let clock = clock(config);
    let mut exec = GenesisConfig {
        chain_id: config.chain_id,
        timestamp: clock.genesis_time,
        gas_limit: config.gas_limit,
        ..GenesisConfig::default()
    };
    let rich = exec.alloc.values().next().cloned().unwrap_or_default();
    for i in 0..config.load_accounts {
        exec.alloc.insert(address_of(dev_account(i)), rich.clone());
    }
    for i in 0..crate::admin::SPIKE_ACCOUNTS {
        exec.alloc.insert(address_of(crate::admin::spike_key(i)), rich.clone());
    }
    for (address, wei) in &config.accounts {
        exec.alloc.insert(*address, GenesisAccount::default().with_balance(wei.get()));
    }
    let max_blobs = usize::try_from(exec.blobs.max_blob_count).unwrap_or(usize::MAX);
    let execution = Execution::new(&exec)?;
    let zero = execution.genesis();
    let none: [&[u8]; 0] = [];
    let payload = ExecutionPayload::from_parts(zero.header(), &none, &[]).map_err(ConsensusError::from)?;
    let validators =
        Validators::new(config.seed, config.validators, &config.withdrawal_addresses, config.compounding_every)?;
    let genesis = genesis::genesis(clock.genesis_time, &validators, config.validator_gwei, payload.header())?;
    let spec = ChainSpec {
        chain_id: config.chain_id,
        genesis_hash: zero.hash,
        genesis_validators_root: genesis.0.genesis_validators_root,
        genesis_fork_version: GENESIS_FORK_VERSION,
        fork_version: FULU_FORK_VERSION,
        clock,
        devnet: true,
    };
    let finality = Finality::new(config.finality);
    let (shard_committee_period, churn) = (config.shard_committee_period, config.churn);
    let rules = Rules { clock, finality, shard_committee_period, churn, max_blobs };
    let lateness =
        Lateness { after_ms: config.slot_wall_ms * config.late_after_permille / 1000, reorgs: config.reorg_late_heads };
    let http = http_client()?;
    Ok(Node {
        chain: Chain::new(execution, spec, lateness, rules, genesis),
        validators,
        nodes: Nodes::new(config.proposers.clone()),
        decisions: Decisions::default(),
        trouble: Trouble::default(),
        http,
        exits: Default::default(),
        registered: Default::default(),
        announced: Default::default(),
        attributes_before_permille: config.attributes_before_permille,
        execution_url: Default::default(),
    })
}

fn http_client() -> Result<reqwest::Client, StartError> {
    // Only the first call in a process installs it; that it is there already is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(Duration::from_secs(1))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| StartError::Http(e.to_string()))
}

fn address_of(key: alloy_primitives::B256) -> alloy_primitives::Address {
    crate::admin::address_of(&key)
}
