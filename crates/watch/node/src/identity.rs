//! Which chain a node is on: asked once to learn it, and again at every connection.

use crate::{At, BeaconNode, ExecutionNode, NodeError, beacon::Genesis};
use tandem_types::{ChainSpec, SlotClock};

/// Learns the chain from a pair of nodes.
///
/// The clock is the chain's own, unless the node says that it is the devnet: then its scaled clock is
/// taken, and its genesis time and slot length must still be the chain's.
///
/// # Errors
/// [`NodeError::WrongChain`] when the two nodes do not belong together; all of the calls' own errors.
pub async fn identify(execution: &ExecutionNode, beacon: &BeaconNode, now_ms: u64) -> Result<ChainSpec, NodeError> {
    let told = told(beacon).await?;
    let chain_id = execution.chain_id().await?;
    if let Some(deposits) = told.deposit_chain_id.filter(|d| *d != chain_id) {
        return Err(wrong(&execution.node(), "chain id", deposits, chain_id));
    }
    let (genesis_hash, _) = execution.header(At::Number(0)).await?;
    let clock = told.clock(beacon)?;
    Ok(ChainSpec {
        chain_id,
        genesis_hash,
        genesis_validators_root: told.genesis.genesis_validators_root,
        genesis_fork_version: told.genesis.genesis_fork_version,
        fork_version: running_fork(beacon, &clock, now_ms).await?,
        clock,
        devnet: told.scaled.is_some(),
    })
}

/// A chain that is known as a beacon node tells it now: its fork moves on, and a devnet's clock may.
///
/// # Errors
/// [`NodeError::WrongChain`] for another chain; the calls' own errors.
pub async fn identify_again(known: &ChainSpec, beacon: &BeaconNode, now_ms: u64) -> Result<ChainSpec, NodeError> {
    let told = told(beacon).await?;
    same_genesis(beacon, known, &told.genesis)?;
    if let Some(deposits) = told.deposit_chain_id.filter(|d| *d != known.chain_id) {
        return Err(wrong(&beacon.node(), "deposit chain id", known.chain_id, deposits));
    }
    // A real chain's clock never gives way to a scaled one.
    if told.scaled.is_some() != known.devnet {
        return Err(wrong(&beacon.node(), "being a devnet", known.devnet, told.scaled.is_some()));
    }
    let clock = told.clock(beacon)?;
    Ok(ChainSpec { fork_version: running_fork(beacon, &clock, now_ms).await?, clock, ..*known })
}

/// What a beacon node tells of its chain.
struct Told {
    genesis: Genesis,
    slot_seconds: u64,
    deposit_chain_id: Option<u64>,
    scaled: Option<SlotClock>,
}

async fn told(beacon: &BeaconNode) -> Result<Told, NodeError> {
    let genesis = beacon.genesis().await?;
    let spec = beacon.spec().await?;
    let slot_seconds = match (spec.number("SECONDS_PER_SLOT"), spec.number("SLOT_DURATION_MS")) {
        (Some(s), _) if s > 0 => s,
        (None, Some(ms)) if ms >= 1000 && ms % 1000 == 0 => ms / 1000,
        _ => return Err(beacon.http().malformed("spec", "no usable SECONDS_PER_SLOT")),
    };
    let scaled = beacon.devnet_clock().await?;
    Ok(Told { genesis, slot_seconds, deposit_chain_id: spec.number("DEPOSIT_CHAIN_ID"), scaled })
}

impl Told {
    fn clock(&self, beacon: &BeaconNode) -> Result<SlotClock, NodeError> {
        let real = SlotClock::real(self.genesis.genesis_time, self.slot_seconds);
        let untrue = |why: &str| beacon.http().untrue("devnet clock", why);
        match self.scaled {
            Some(c) if (c.genesis_time, c.slot_seconds) != (real.genesis_time, real.slot_seconds) => {
                Err(untrue("genesis time or slot length differ from the chain's"))
            }
            Some(c) if c.wall_slot_ms == 0 => Err(untrue("slots have no length")),
            Some(c) => Ok(c),
            None => Ok(real),
        }
    }
}

async fn running_fork(beacon: &BeaconNode, clock: &SlotClock, now_ms: u64) -> Result<[u8; 4], NodeError> {
    let epoch = clock.slot_at(now_ms).epoch();
    let forks = beacon.fork_schedule().await?;
    let running = forks.iter().filter(|f| f.epoch <= epoch).max_by_key(|f| f.epoch);
    Ok(running.ok_or_else(|| beacon.http().malformed("spec", "no fork has begun"))?.current_version)
}

impl ExecutionNode {
    /// That the node is on this chain, by its chain id and the hash of its block 0.
    ///
    /// # Errors
    /// [`NodeError::WrongChain`]; the calls' own errors.
    pub async fn check_chain(&self, want: &ChainSpec) -> Result<(), NodeError> {
        let chain_id = self.chain_id().await?;
        if chain_id != want.chain_id {
            return Err(wrong(&self.node(), "chain id", want.chain_id, chain_id));
        }
        let (genesis, _) = self.header(At::Number(0)).await?;
        if genesis != want.genesis_hash {
            return Err(wrong(&self.node(), "genesis hash", want.genesis_hash, genesis));
        }
        Ok(())
    }
}

impl BeaconNode {
    /// That the node is on this chain, by its genesis.
    ///
    /// # Errors
    /// [`NodeError::WrongChain`]; the calls' own errors.
    pub async fn check_chain(&self, want: &ChainSpec) -> Result<(), NodeError> {
        same_genesis(self, want, &self.genesis().await?)
    }
}

fn same_genesis(beacon: &BeaconNode, want: &ChainSpec, g: &Genesis) -> Result<(), NodeError> {
    let node = beacon.node();
    if g.genesis_validators_root != want.genesis_validators_root {
        let what = "genesis validators root";
        return Err(wrong(&node, what, want.genesis_validators_root, g.genesis_validators_root));
    }
    if g.genesis_time != want.clock.genesis_time {
        return Err(wrong(&node, "genesis time", want.clock.genesis_time, g.genesis_time));
    }
    if g.genesis_fork_version != want.genesis_fork_version {
        let (want, have) = (hex::encode(want.genesis_fork_version), hex::encode(g.genesis_fork_version));
        return Err(wrong(&node, "genesis fork version", want, have));
    }
    Ok(())
}

fn wrong(node: &str, what: &'static str, want: impl ToString, have: impl ToString) -> NodeError {
    NodeError::WrongChain { node: node.into(), what, want: want.to_string(), have: have.to_string() }
}
