//! The demo's relays.

use super::outcome::RelayDeeds;
use crate::rig::Rig;
use anyhow::Result;
use std::net::{Ipv4Addr, SocketAddr};
use tandem_testkit::relay::{Behaviour, Relay, RelayConfig};
use tandem_types::Wei;

/// What the censoring relay claims to pay, whatever its block pays.
pub const BRIBE_ETH: u64 = 50;

/// An honest relay, one that speaks the constraints API, and one that leaves promised transactions out.
pub struct Relays {
    honest: Relay,
    constraints: Relay,
    censor: Relay,
}

impl Relays {
    /// Starts them.
    ///
    /// # Errors
    /// If one can not listen.
    pub async fn start(rig: &Rig) -> Result<Self> {
        let start = async |seed: u64, constraints: bool, behaviour: Behaviour| {
            Relay::start(RelayConfig {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, crate::process::free_port()?)),
                execution: rig.execution().to_owned(),
                beacon: rig.beacon().to_owned(),
                genesis_fork_version: rig.genesis_fork_version(),
                chain_id: rig.chain_id(),
                seed,
                constraints,
                behaviour,
            })
            .await
        };
        let bribe = Behaviour { censor: true, claim: Some(Wei::from_eth(BRIBE_ETH)), ..Behaviour::default() };
        Ok(Self {
            honest: start(1, false, Behaviour::default()).await?,
            constraints: start(2, true, Behaviour { claim: Some(Wei::from_eth(1)), ..Behaviour::default() }).await?,
            censor: start(3, true, bribe).await?,
        })
    }

    /// Their addresses as `tandem init --relay` takes them.
    pub fn urls(&self) -> Vec<String> {
        vec![
            self.honest.url(),
            format!("{}+constraints", self.constraints.url()),
            format!("{}+constraints", self.censor.url()),
        ]
    }

    /// What each did, in the order in which they are configured.
    pub fn deeds(&self) -> [RelayDeeds; 3] {
        [&self.honest, &self.constraints, &self.censor].map(|relay| {
            let slots = relay.slots();
            RelayDeeds {
                bid: slots.bid.iter().map(|s| s.get()).collect(),
                taken: slots.taken.iter().map(|s| s.get()).collect(),
                constraints: relay.counts().constraints,
            }
        })
    }
}
