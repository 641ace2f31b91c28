//! The proposers' beacon nodes: each has validators, perhaps a builder, and one client's habits.
//!
//! - [`config`], [`breaker`]: a node, its personality, its circuit breaker, and the pace of its calls
//! - [`duty`]: what a slot's proposer builds on
//! - [`propose`]: local block and bid, the choice, the signature, publication
//! - [`choice`], [`checks`]: how bids are compared and refused
//! - [`client`]: the calls to the builder
//! - [`decision`]: what was decided and why

mod assemble;
pub mod breaker;
pub mod checks;
pub mod choice;
pub mod client;
pub mod config;
pub mod decision;
pub mod duty;
pub mod propose;

pub use breaker::Breaker;
pub use config::{Personality, ProposerConfig};
pub use decision::{Chosen, Decision, Decisions, Outcome};
pub use duty::Duty;

use parking_lot::RwLock;
use std::sync::Arc;

/// All nodes. Cheap to clone; all clones are the same nodes.
#[derive(Clone, Debug, Default)]
pub struct Nodes(Arc<RwLock<Vec<Arc<ProposerConfig>>>>);

impl Nodes {
    /// These nodes.
    pub fn new(nodes: Vec<ProposerConfig>) -> Self {
        Self(Arc::new(RwLock::new(nodes.into_iter().map(Arc::new).collect())))
    }
    /// Adds a node, or replaces the one with its name.
    pub fn attach(&self, node: ProposerConfig) -> Arc<ProposerConfig> {
        let node = Arc::new(node);
        let mut all = self.0.write();
        all.retain(|n| n.name != node.name);
        all.push(node.clone());
        node
    }
    /// Removes a node. False if there is none of this name, or it is the only one.
    pub fn detach(&self, name: &str) -> bool {
        let mut all = self.0.write();
        let before = all.len();
        if before > 1 {
            all.retain(|n| n.name != name);
        }
        all.len() < before
    }
    /// The node that a validator proposes through: the last one that has it.
    pub fn of(&self, validator: u64) -> Option<Arc<ProposerConfig>> {
        self.0.read().iter().rev().find(|n| n.has(validator)).cloned()
    }
    /// All of them.
    pub fn all(&self) -> Vec<Arc<ProposerConfig>> {
        self.0.read().clone()
    }
}
