//! A devnet with one relay that all its proposers ask.

use super::*;
use alloy_primitives::{Address, U256};
use std::sync::atomic::{AtomicU64, Ordering};
use tandem_devnet::{Personality, ProposerConfig, consensus::spec::GENESIS_FORK_VERSION, proposer::Breaker};
use tandem_testkit::{Behaviour, Relay, RelayConfig, Wallet};
use tandem_types::Wei;

/// A devnet whose slots leave a relay time to build.
pub fn paced() -> Config {
    Config { slot_wall_ms: 900, ..fast() }
}

/// A devnet, a relay, and somebody who always has a transaction waiting.
pub struct Rig {
    pub net: Devnet,
    pub relay: Relay,
    nonce: Arc<AtomicU64>,
}

/// A bid that beats any local block here.
pub fn generous() -> Behaviour {
    Behaviour { claim: Some(Wei::from_eth(1)), ..Behaviour::default() }
}

/// A circuit breaker that never opens.
pub const NEVER: Breaker =
    Breaker { consecutive: 1000, of_last_32: 1000, epochs_since_finality: None, open_at_slot_32: false };

impl Rig {
    pub async fn start(personality: Personality, config: Config) -> Self {
        Self::start_after(personality, config, |_| ()).await
    }

    /// The same, with orders before slot 1.
    pub async fn start_after(personality: Personality, config: Config, orders: impl FnOnce(&Devnet)) -> Self {
        let net = start(config).await;
        orders(&net);
        let relay = Relay::start(RelayConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            execution: net.execution_url(),
            beacon: net.beacon_url(),
            genesis_fork_version: GENESIS_FORK_VERSION,
            chain_id: net.spec().chain_id,
            seed: 5,
            constraints: false,
            behaviour: generous(),
        })
        .await
        .unwrap();
        let node = ProposerConfig {
            name: "tested".into(),
            builder: Some(relay.address().parse().unwrap()),
            personality,
            // Refusals and missed slots are ordered in a row here: the breaker has tests of its own.
            breaker: Some(NEVER),
            ..ProposerConfig::default()
        };
        order(&net, "nodes", serde_json::to_value(&node).unwrap()).await;
        // At once, or with the next slot where the relay was slow to take them.
        let count = || Some(relay.counts().registrations).filter(|n| *n >= 64);
        let registrations = wait_for("registration of the node that was attached", count).await;
        assert_eq!(registrations % 64, 0, "all of its validators");
        let rig = Self { net, relay, nonce: Arc::default() };
        rig.keep_busy();
        rig
    }

    /// Keeps a transaction in the pool, so that no block is empty.
    fn keep_busy(&self) {
        let wallet = Wallet::dev(0, self.net.spec().chain_id).unwrap();
        let (execution, nonce) = (self.net.node.chain.execution().clone(), self.nonce.clone());
        tokio::spawn(async move {
            loop {
                if execution.pool().count().0 < 3 {
                    let n = nonce.load(Ordering::Relaxed);
                    let tx = wallet.transfer(n, Address::repeat_byte(0x77), U256::from(1)).unwrap();
                    if execution.add_transaction(&tx.network).is_ok() {
                        nonce.store(n + 1, Ordering::Relaxed);
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
    }

    /// Behaves so from the slot after the next on, and gives the first decision from then that fits.
    pub async fn decide(&self, behaviour: Behaviour, fits: impl Fn(&Decision) -> bool) -> Decision {
        let from = next_slot(&self.net).saturating_add(1);
        self.relay.behave(behaviour);
        decision_from(&self.net, from, fits).await
    }

    /// Attaches the tested node anew, with its personality's own circuit breaker.
    pub async fn with_real_breaker(&self, personality: Personality) {
        let real = ProposerConfig {
            name: "tested".into(),
            builder: Some(self.relay.address().parse().unwrap()),
            personality,
            ..ProposerConfig::default()
        };
        order(&self.net, "nodes", serde_json::to_value(&real).unwrap()).await;
    }

    /// The decision of exactly this slot.
    pub async fn of(&self, slot: Slot) -> Decision {
        decision_from(&self.net, slot, move |d| d.slot == slot).await
    }

    pub fn is_canonical(&self, d: &Decision) -> bool {
        let root = d.block_root.expect("a block was signed");
        self.net.node.chain.read(|s: &Store| s.get(&root).is_some_and(|b| s.is_canonical(&b)))
    }
}
