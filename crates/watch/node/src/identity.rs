//! Which chain a node is on: asked once to learn it, and again at every connection.

use crate::{At, BeaconNode, ExecutionNode, NodeError};
use tandem_types::{ChainSpec, SlotClock};

/// Learns the chain from a pair of nodes.
///
/// The clock is the chain's own, unless the node says that it is the devnet: then its scaled clock is
/// taken, and its genesis time and slot length must still be the chain's.
///
/// # Errors
/// [`NodeError::WrongChain`] when the two nodes do not belong together; all of the calls' own errors.
pub async fn identify(execution: &ExecutionNode, beacon: &BeaconNode, now_ms: u64) -> Result<ChainSpec, NodeError> {
    let genesis = beacon.genesis().await?;
    let spec = beacon.spec().await?;
    let malformed = |why: &str| beacon.http().malformed("spec", why);
    let slot_seconds = match (spec.number("SECONDS_PER_SLOT"), spec.number("SLOT_DURATION_MS")) {
        (Some(s), _) if s > 0 => s,
        (None, Some(ms)) if ms >= 1000 && ms % 1000 == 0 => ms / 1000,
        _ => return Err(malformed("no usable SECONDS_PER_SLOT")),
    };
    let chain_id = execution.chain_id().await?;
    if let Some(deposits) = spec.number("DEPOSIT_CHAIN_ID").filter(|d| *d != chain_id) {
        return Err(wrong(&execution.node(), "chain id", deposits, chain_id));
    }
    let (genesis_hash, _) = execution.header(At::Number(0)).await?;
    let real = SlotClock::real(genesis.genesis_time, slot_seconds);
    let scaled = beacon.devnet_clock().await?;
    let clock = match scaled {
        Some(c) if (c.genesis_time, c.slot_seconds) != (real.genesis_time, real.slot_seconds) => {
            return Err(beacon.http().untrue("devnet clock", "genesis time or slot length differ from the chain's"));
        }
        Some(c) if c.wall_slot_ms == 0 => return Err(beacon.http().untrue("devnet clock", "slots have no length")),
        Some(c) => c,
        None => real,
    };
    let epoch = clock.slot_at(now_ms).epoch();
    let forks = beacon.fork_schedule().await?;
    let running = forks.iter().filter(|f| f.epoch <= epoch).max_by_key(|f| f.epoch);
    Ok(ChainSpec {
        chain_id,
        genesis_hash,
        genesis_validators_root: genesis.genesis_validators_root,
        genesis_fork_version: genesis.genesis_fork_version,
        fork_version: running.ok_or_else(|| malformed("no fork has begun"))?.current_version,
        clock,
        devnet: scaled.is_some(),
    })
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
        let g = self.genesis().await?;
        if g.genesis_validators_root != want.genesis_validators_root {
            let what = "genesis validators root";
            return Err(wrong(&self.node(), what, want.genesis_validators_root, g.genesis_validators_root));
        }
        if g.genesis_time != want.clock.genesis_time {
            return Err(wrong(&self.node(), "genesis time", want.clock.genesis_time, g.genesis_time));
        }
        if g.genesis_fork_version != want.genesis_fork_version {
            let (want, have) = (hex::encode(want.genesis_fork_version), hex::encode(g.genesis_fork_version));
            return Err(wrong(&self.node(), "genesis fork version", want, have));
        }
        Ok(())
    }
}

fn wrong(node: &str, what: &'static str, want: impl ToString, have: impl ToString) -> NodeError {
    NodeError::WrongChain { node: node.into(), what, want: want.to_string(), have: have.to_string() }
}
