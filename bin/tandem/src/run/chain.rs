//! The operator's nodes, and which chain they are on.

use super::now_ms;
use crate::config::{Config, NodeConfig};
use anyhow::{Context, Result, bail};
use std::{path::Path, time::Duration};
use tandem_node::{BeaconNode, ExecutionNode, JwtSecret, identify};
use tandem_types::ChainSpec;

/// The file in the data folder that pins the chain: a node that is swapped for one of another chain is
/// found before anything is signed.
const PIN: &str = "chain.json";

/// The nodes, all on one chain.
pub struct Chain {
    /// The chain.
    pub spec: ChainSpec,
    /// Execution clients, the first asked first. What keeps promises has its own.
    pub execution: Vec<ExecutionNode>,
}

impl Chain {
    /// Waits until a node answers, and checks that all that do are on one chain.
    ///
    /// # Errors
    /// For a node of another chain, and for an address or secret that makes no sense.
    pub async fn find(config: &Config) -> Result<Self> {
        let (mut execution, mut beacon) = (Vec::new(), Vec::new());
        for (i, node) in config.nodes.iter().enumerate() {
            let (e, b) = connect(config, node).with_context(|| format!("nodes[{i}]"))?;
            execution.push(e);
            beacon.push(b);
        }
        let Some(first) = execution.first() else { bail!("no node is configured") };
        let spec = learn(first, &beacon).await?;
        forks_fit(config, &spec)?;
        pin(&config.paths.data.join(PIN), &spec)?;
        for (e, b) in execution.iter().zip(&beacon) {
            for r in [e.check_chain(&spec).await, b.check_chain(&spec).await] {
                match r {
                    Err(error @ tandem_node::NodeError::WrongChain { .. }) => return Err(error.into()),
                    Err(error) => tracing::warn!(%error, "a node does not answer yet"),
                    Ok(()) => {}
                }
            }
        }
        Ok(Self { spec, execution })
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

/// Whichever beacon node answers first in their order: a start need not wait for one that is down.
async fn learn(execution: &ExecutionNode, beacons: &[BeaconNode]) -> Result<ChainSpec> {
    let mut wait = Duration::from_millis(50);
    loop {
        for beacon in beacons {
            match identify(execution, beacon, now_ms()).await {
                Ok(spec) => return Ok(spec),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "the nodes do not answer yet; asking again");
                }
                Err(error) => return Err(error.into()),
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

/// The chain that this data folder belongs to must be the node's. Only the fork may move on.
fn pin(path: &Path, spec: &ChainSpec) -> Result<()> {
    match std::fs::read(path) {
        Ok(raw) => {
            let pinned: ChainSpec = serde_json::from_slice(&raw).with_context(|| path.display().to_string())?;
            let same = ChainSpec { fork_version: spec.fork_version, clock: spec.clock, ..pinned } == *spec;
            if !same {
                bail!(
                    "the node is on chain {} with genesis {}, this data folder belongs to chain {} with genesis {}. \
                     Remedy: point `nodes` at the right node, or `paths.data` at another folder",
                    spec.chain_id,
                    spec.genesis_hash,
                    pinned.chain_id,
                    pinned.genesis_hash
                );
            }
            Ok(())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            std::fs::write(path, serde_json::to_vec_pretty(spec)?).with_context(|| path.display().to_string())
        }
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tandem_types::SlotClock;

    #[test]
    fn mainnets_forks_are_taken_for_mainnet_and_the_devnet_alone() {
        let spec = |chain_id, devnet| ChainSpec {
            chain_id,
            genesis_hash: Default::default(),
            genesis_validators_root: Default::default(),
            genesis_fork_version: [0; 4],
            fork_version: [0; 4],
            clock: SlotClock::real(0, 12),
            devnet,
        };
        let mut config = Config::default();
        assert!(forks_fit(&config, &spec(1, false)).is_ok());
        assert!(forks_fit(&config, &spec(560_048, true)).is_ok());
        assert!(forks_fit(&config, &spec(560_048, false)).unwrap_err().to_string().contains("[state.forks]"));
        config.state.forks.osaka = 1;
        assert!(forks_fit(&config, &spec(560_048, false)).is_ok());
    }
}
