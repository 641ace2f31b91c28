//! The operator's nodes, and which chain they are on.
//!
//! They are asked side by side: a block may be signed, and wait for a restart to publish it. So no start whose chain
//! is pinned waits for them, not even where none answers: it goes on with the chain that it knows. What they say later
//! counts all the same. Nothing new is promised before: the feed follows no node whose chain it has not seen.

use super::now_ms;
use crate::config::{Config, NodeConfig};
use anyhow::{Context, Result, anyhow, bail};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::{path::Path, time::Duration};
use tandem_node::{BeaconNode, ExecutionNode, JwtSecret, NodeError, identify, identify_again};
use tandem_types::ChainSpec;
use tokio::time::Instant;

/// The file in the data folder that pins the chain: a node that is swapped for one of another chain is
/// found before anything is signed.
const PIN: &str = "chain.json";

/// How long a start whose chain is pinned waits for the nodes' words on it.
const AT_ONCE: Duration = Duration::from_secs(1);
/// And for the other nodes' words once a beacon node answered.
const THE_REST: Duration = Duration::from_millis(200);
/// Between two questions to a node that did not answer, at first and at most.
const APART: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The nodes, all on one chain, as far as they said which.
pub struct Chain {
    /// The chain.
    pub spec: ChainSpec,
    /// Execution clients, the first asked first. What keeps promises has its own.
    pub execution: Vec<ExecutionNode>,
    /// Nodes that did not say yet which chain they are on.
    pub unheard: Unheard,
}

impl Chain {
    /// The chain that the data folder is pinned to, or else what the first nodes to answer say, which it is pinned to
    /// from here on. A node of another chain that a pinned start hears of is in [`Unheard::found`]: it may owe a block.
    ///
    /// # Errors
    /// For nodes of different chains at the first start, and for an address or secret that makes no sense.
    pub async fn find(config: &Config) -> Result<Self> {
        let mut pairs = Vec::new();
        for (i, node) in config.nodes.iter().enumerate() {
            pairs.push(connect(config, node).with_context(|| format!("nodes[{i}]"))?);
        }
        let file = config.paths.data.join(PIN);
        let (spec, unheard) = match read_pin(&file)? {
            Some(pinned) => {
                let (spec, unheard) = go_on(&pairs, pinned, &file).await;
                forks_fit(config, &spec)?;
                (spec, unheard)
            }
            None => {
                let spec = learn(&pairs).await?;
                forks_fit(config, &spec)?;
                let mut unheard = Unheard::new(spec, &pairs);
                unheard.once().await?;
                pin(&file, &spec)?;
                (spec, unheard)
            }
        };
        Ok(Self { spec, execution: pairs.into_iter().map(|(e, _)| e).collect(), unheard })
    }
}

/// Goes on with a chain that is known. Its fork, and a devnet's clock, are taken from a beacon node that answers at
/// once; without one they are those of the last start.
async fn go_on(pairs: &[Pair], known: ChainSpec, file: &Path) -> (ChainSpec, Unheard) {
    let mut unheard = Unheard::new(known, pairs);
    match unheard.at_once().await {
        Ok(true) => {}
        Ok(false) => tracing::warn!("a node did not say at once which chain it is on; it is asked beside the rest"),
        Err(wrong) => unheard.found = Some(wrong),
    }
    let spec = unheard.told.unwrap_or(known);
    // For the next start. It costs nobody a promise if it can not be written.
    if spec != known
        && let Err(error) = write_pin(file, &spec)
    {
        tracing::warn!(%error, file = %file.display(), "the chain's fork is not noted for the next start");
    }
    (spec, unheard)
}

enum Node {
    Execution(ExecutionNode),
    Beacon(BeaconNode),
}

/// A node, how long it was waited before it was asked, and what it said: a beacon node tells the fork, too.
type Heard = (Node, Duration, Result<Option<ChainSpec>, NodeError>);

/// Nodes that did not say yet which chain they are on. Each is asked until it does.
pub struct Unheard {
    spec: ChainSpec,
    asked: FuturesUnordered<BoxFuture<'static, Heard>>,
    /// The chain as a beacon node told it first.
    told: Option<ChainSpec>,
    found: Option<NodeError>,
}

impl Unheard {
    fn new(spec: ChainSpec, pairs: &[Pair]) -> Self {
        let unheard = Self { spec, asked: FuturesUnordered::new(), told: None, found: None };
        for (execution, beacon) in pairs {
            unheard.ask(Node::Execution(execution.clone()), Duration::ZERO);
            unheard.ask(Node::Beacon(beacon.clone()), Duration::ZERO);
        }
        unheard
    }

    /// The node of another chain that the start heard of already.
    pub fn found(&mut self) -> Option<NodeError> {
        self.found.take()
    }

    fn ask(&self, node: Node, after: Duration) {
        let spec = self.spec;
        self.asked.push(Box::pin(async move {
            tokio::time::sleep(after).await;
            let said = match &node {
                Node::Execution(n) => n.check_chain(&spec).await.map(|()| None),
                Node::Beacon(n) => identify_again(&spec, n, now_ms()).await.map(Some),
            };
            (node, after, said)
        }));
    }

    /// Who gave no answer is asked again.
    fn hear(&mut self, (node, after, said): Heard) -> Result<(), NodeError> {
        match said {
            Err(wrong @ NodeError::WrongChain { .. }) => return Err(wrong),
            Err(error) => {
                if after.is_zero() {
                    tracing::warn!(%error, "a node does not answer yet");
                }
                self.ask(node, (after * 2).clamp(APART.0, APART.1));
            }
            Ok(told) => self.told = self.told.or(told),
        }
        Ok(())
    }

    /// Waits until each answered once, or failed to.
    async fn once(&mut self) -> Result<(), NodeError> {
        let mut open = self.asked.len();
        while open > 0
            && let Some(heard) = self.asked.next().await
        {
            open -= usize::from(heard.1.is_zero());
            self.hear(heard)?;
        }
        Ok(())
    }

    /// Waits until each answered once, but for [`AT_ONCE`] at most, and for [`THE_REST`] once a beacon node did: it
    /// told all that a start can use, and a signed block may wait. Whether all answered.
    async fn at_once(&mut self) -> Result<bool, NodeError> {
        let mut open = self.asked.len();
        let mut until = Instant::now() + AT_ONCE;
        while open > 0 {
            match tokio::time::timeout_at(until, self.asked.next()).await {
                Ok(Some(heard)) => {
                    open -= usize::from(heard.1.is_zero());
                    self.hear(heard)?;
                }
                Ok(None) => break,
                Err(_) => return Ok(false),
            }
            if self.told.is_some() {
                until = until.min(Instant::now() + THE_REST);
            }
        }
        Ok(true)
    }

    /// Goes on asking; ends with the first node that turns out to be on another chain.
    pub async fn wrong(&mut self) -> NodeError {
        if let Some(wrong) = self.found() {
            return wrong;
        }
        while let Some(heard) = self.asked.next().await {
            if let Err(wrong) = self.hear(heard) {
                return wrong;
            }
        }
        std::future::pending().await
    }
}

/// Clients of one pair of nodes, with connections and bounds of their own.
///
/// # Errors
/// For addresses or secrets that make no sense.
pub fn connect(config: &Config, node: &NodeConfig) -> Result<(ExecutionNode, BeaconNode)> {
    let mut execution = ExecutionNode::at(node.execution.clone(), config.limits)?;
    if let (Some(path), None) = (&node.jwt, &node.engine) {
        execution = execution.with_jwt(JwtSecret::read(path)?);
    }
    Ok((execution, BeaconNode::at(node.beacon.clone(), config.limits)?))
}

/// Transactions are judged under the forks of the configuration. Its default is mainnet's schedule, and
/// on another public chain that would be silently wrong.
///
/// # Errors
/// For a chain that is neither mainnet nor the devnet, without `state.forks`.
pub fn forks_fit(config: &Config, spec: &ChainSpec) -> Result<()> {
    let mainnets = config.state.forks == tandem_state::Forks::mainnet();
    if mainnets && !spec.devnet && spec.chain_id != 1 {
        bail!(
            "chain {} is not mainnet, and mainnet's fork times would be used. Remedy: give [state.forks] with this \
             chain's own times and blob schedule (`eth_config` of the execution client tells them)",
            spec.chain_id
        );
    }
    Ok(())
}

/// A client of the Engine API, where there is one: a port of its own, or `execution` itself.
///
/// # Errors
/// For addresses or secrets that make no sense.
pub fn engine(config: &Config, node: &NodeConfig) -> Result<Option<ExecutionNode>> {
    let at = match (&node.engine, &node.jwt) {
        (Some(engine), _) => engine,
        (None, Some(_)) => &node.execution,
        (None, None) => return Ok(None),
    };
    let client = ExecutionNode::at(at.clone(), config.limits)?;
    Ok(Some(match &node.jwt {
        Some(path) => client.with_jwt(JwtSecret::read(path)?),
        None => client,
    }))
}

/// Whichever pair of nodes answers first: a start need not wait for one that is down. What is wrong with one counts
/// when all were heard, and none of them knows.
async fn learn(pairs: &[Pair]) -> Result<ChainSpec> {
    let mut asked: FuturesUnordered<_> = pairs.iter().map(|pair| told(pair, Duration::ZERO)).collect();
    let (mut open, mut fatal) = (pairs.len(), None);
    while let Some((pair, after, answer)) = asked.next().await {
        open -= usize::from(after.is_zero());
        match answer {
            Ok(spec) => return Ok(spec),
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "the nodes do not answer yet; asking again");
                asked.push(told(pair, (after * 2).clamp(Duration::from_millis(50), Duration::from_secs(5))));
            }
            Err(error) => fatal = fatal.or(Some(error)),
        }
        if open == 0
            && let Some(error) = fatal.take()
        {
            return Err(error.into());
        }
    }
    bail!("no node is configured")
}

type Pair = (ExecutionNode, BeaconNode);

async fn told(pair: &Pair, after: Duration) -> (&Pair, Duration, Result<ChainSpec, NodeError>) {
    tokio::time::sleep(after).await;
    (pair, after, identify(&pair.0, &pair.1, now_ms()).await)
}

/// What is to be done about a node of another chain.
pub fn other_chain(wrong: NodeError) -> anyhow::Error {
    anyhow!("{wrong}. Remedy: point `nodes` at the right node, or `paths.data` at another folder")
}

/// The chain that this data folder belongs to must be the node's, and it is from here on. Only the fork may
/// move on.
fn pin(path: &Path, spec: &ChainSpec) -> Result<()> {
    if is_pinned(path, spec)? { Ok(()) } else { write_pin(path, spec) }
}

fn write_pin(path: &Path, spec: &ChainSpec) -> Result<()> {
    write_once(path, &serde_json::to_vec_pretty(spec)?).with_context(|| path.display().to_string())
}

/// Whether a data folder belongs to a chain, and to this one.
///
/// # Errors
/// If it belongs to another chain.
pub fn pinned(data: &Path, spec: &ChainSpec) -> Result<bool> {
    is_pinned(&data.join(PIN), spec)
}

fn is_pinned(path: &Path, spec: &ChainSpec) -> Result<bool> {
    let Some(pinned) = read_pin(path)? else { return Ok(false) };
    let same = ChainSpec { fork_version: spec.fork_version, clock: spec.clock, ..pinned } == *spec;
    if !same {
        bail!(
            "the node is on chain {} with genesis {}, this data folder belongs to chain {} with genesis {}. Remedy: point \
             `nodes` at the right node, or `paths.data` at another folder",
            spec.chain_id,
            spec.genesis_hash,
            pinned.chain_id,
            pinned.genesis_hash
        );
    }
    Ok(true)
}

fn read_pin(path: &Path) -> Result<Option<ChainSpec>> {
    match std::fs::read(path) {
        Ok(raw) => Ok(Some(serde_json::from_slice(&raw).with_context(|| path.display().to_string())?)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// Writes a file whole and durable, or not at all: a start that is cut off leaves none behind that the
/// next one could not read.
fn write_once(path: &Path, data: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let half = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = std::fs::File::create(&half)?;
    file.write_all(data)?;
    file.sync_all()?;
    std::fs::rename(&half, path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
