//! A simulated relay: the Builder API, and where it is told so the constraints API, over any execution
//! client that builds with `testing_buildBlockV1`. How it misbehaves is switched while it runs.

mod api;
mod attributes;
mod build;
mod constraints;
mod faults;
mod server;

use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, Result};
use build::Payloads;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};
use tandem_beacon::SignedValidatorRegistration;
use tandem_crypto::{BidSigner, domains::SigningFork};
use tandem_keys::{BidKey, BlsSecretKey};
use tandem_types::{
    BlsPublicKey, Slot, Wei,
    constraints_api::{SignedConstraints, SignedDelegation},
};
use tokio::{sync::OnceCell, task::JoinHandle};

/// How a relay behaves; each fault by itself, so that they can be combined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// Takes constraints and pretends to honour them, and builds without what they demand. (A relay
    /// without the constraints API knows of none: see [`Behaviour::leave_out`].)
    pub censor: bool,
    /// Transactions that its blocks leave out, by hash, with what their senders sent after them.
    pub leave_out: Vec<B256>,
    /// Senders all of whose transactions its blocks leave out.
    pub leave_out_senders: Vec<Address>,
    /// Answers each header call with another block.
    pub equivocate: bool,
    /// Says 202 to a blinded block and publishes nothing.
    pub withhold: bool,
    /// Publishes what it was handed, and answers a blinded block with this status all the same.
    pub blinded_status: Option<u16>,
    /// Milliseconds before each answer to a header call.
    pub delay_ms: u64,
    /// The value it claims, whatever the block pays; the block's own where nothing is given.
    pub claim: Option<Wei>,
    /// Signs with another key than its own.
    pub wrong_key: bool,
    /// Answers header calls with 204.
    pub silent: bool,
    /// Bids on any parent, also where no `payload_attributes` came for it: it takes the rest from the
    /// head. On a late head that is the bid that costs a Prysm proposer its slot.
    pub reckless: bool,
    /// What is wrong with its bids, or with how it takes blinded blocks.
    pub fault: Option<BidFault>,
}

/// One thing that is wrong with a bid. Beacon nodes refuse most of these; those that they do not
/// notice cost the proposer its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BidFault {
    /// The header states another gas limit.
    GasLimit,
    /// The header states another parent.
    Parent,
    /// The header states another timestamp.
    Timestamp,
    /// The header states another withdrawals root.
    Withdrawals,
    /// The header states another block number.
    Number,
    /// The block is empty.
    Empty,
    /// The bid pays nothing. (An honest relay answers 204 then.)
    ZeroValue,
    /// SSZ without `Eth-Consensus-Version`.
    NoVersion,
    /// A valid block with another `prev_randao`.
    PrevRandao,
    /// A valid block on another parent beacon root.
    BeaconRoot,
    /// Execution requests that are not the block's.
    Requests,
    /// A valid block that pays somebody else than the proposer registered.
    FeeRecipient,
    /// Blinded blocks are answered with 404.
    NotFound,
}

impl BidFault {
    /// Each of them.
    pub const ALL: [Self; 13] = [
        Self::GasLimit,
        Self::Parent,
        Self::Timestamp,
        Self::Withdrawals,
        Self::Number,
        Self::Empty,
        Self::ZeroValue,
        Self::NoVersion,
        Self::PrevRandao,
        Self::BeaconRoot,
        Self::Requests,
        Self::FeeRecipient,
        Self::NotFound,
    ];
}

/// What to start.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// An execution client that builds with `testing_buildBlockV1`.
    pub execution: String,
    /// A beacon node, for payload attributes and publication.
    pub beacon: String,
    /// Genesis fork version, for the builder domain.
    pub genesis_fork_version: [u8; 4],
    /// EIP-155 chain id, for constraints.
    pub chain_id: u64,
    /// Seed of its key.
    pub seed: u64,
    /// Whether it speaks the constraints API.
    pub constraints: bool,
    /// How it behaves at first.
    pub behaviour: Behaviour,
}

/// What a relay did, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Registrations taken.
    pub registrations: u64,
    /// Header calls answered with a bid.
    pub bids: u64,
    /// Constraints messages taken.
    pub constraints: u64,
    /// Blinded blocks received.
    pub blinded: u64,
    /// Blocks published.
    pub published: u64,
}

/// In which slots a relay bid, and in which its block was signed: the newest that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelaySlots {
    /// It answered a header call with a bid.
    pub bid: BTreeSet<Slot>,
    /// The proposer signed its block.
    pub taken: BTreeSet<Slot>,
    /// It took a constraints message, once or again.
    pub constrained: BTreeSet<Slot>,
    /// It was given another delegation or constraints message than the one it had.
    pub contradicted: BTreeSet<Slot>,
}

/// Slots of either kind that are kept.
const KEPT_SLOTS: usize = 4_096;

pub(crate) struct State {
    config: RelayConfig,
    key: BidKey,
    other_key: BidKey,
    behaviour: Mutex<Behaviour>,
    attributes: attributes::Attributes,
    registrations: Mutex<HashMap<BlsPublicKey, SignedValidatorRegistration>>,
    delegations: Mutex<HashMap<(Slot, BlsPublicKey), SignedDelegation>>,
    constraints: Mutex<HashMap<Slot, SignedConstraints>>,
    payloads: Payloads,
    fork: OnceCell<SigningFork>,
    counts: Mutex<Counts>,
    slots: Mutex<RelaySlots>,
}

/// A running relay; it ends when this is dropped.
pub struct Relay {
    state: Arc<State>,
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay.
    ///
    /// # Errors
    /// If it can not listen.
    pub async fn start(config: RelayConfig) -> Result<Self> {
        let key = |label: u8| -> Result<BidKey> {
            let mut ikm = [label; 40];
            ikm[..8].copy_from_slice(&config.seed.to_be_bytes());
            Ok(BidKey::new(BlsSecretKey::from_ikm(&ikm)?, config.genesis_fork_version))
        };
        let listener = tokio::net::TcpListener::bind(config.listen).await.context("the relay's port")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            key: key(1)?,
            other_key: key(2)?,
            behaviour: Mutex::new(config.behaviour.clone()),
            attributes: attributes::Attributes::default(),
            registrations: Mutex::default(),
            delegations: Mutex::default(),
            constraints: Mutex::default(),
            payloads: Payloads::default(),
            fork: OnceCell::new(),
            counts: Mutex::default(),
            slots: Mutex::default(),
            config,
        });
        let app = api::router(Arc::clone(&state));
        let serve = tokio::spawn(server::serve(listener, app, server::Bounds::usual()));
        let follow = tokio::spawn(attributes::follow(Arc::clone(&state)));
        Ok(Self { state, address, tasks: vec![serve, follow] })
    }

    /// Its address with its key, as mev-boost writes relays.
    pub fn url(&self) -> String {
        format!("http://{}@{}", self.state.key.public_key(), self.address)
    }
    /// Its plain address.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }
    /// Its key.
    pub fn public_key(&self) -> BlsPublicKey {
        self.state.key.public_key()
    }
    /// Behaves otherwise from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock() = behaviour;
    }
    /// What it did so far.
    pub fn counts(&self) -> Counts {
        *self.state.counts.lock()
    }
    /// In which slots.
    pub fn slots(&self) -> RelaySlots {
        self.state.slots.lock().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl State {
    fn behaviour(&self) -> Behaviour {
        self.behaviour.lock().clone()
    }
    fn count(&self, f: impl FnOnce(&mut Counts)) {
        f(&mut self.counts.lock());
    }
    fn note(&self, slot: Slot, which: impl FnOnce(&mut RelaySlots) -> &mut BTreeSet<Slot>) {
        let mut slots = self.slots.lock();
        let of = which(&mut slots);
        of.insert(slot);
        while of.len() > KEPT_SLOTS {
            of.pop_first();
        }
    }
}

/// A block's claimed value: what it was told to claim, else what the block pays.
fn claimed(behaviour: &Behaviour, paid: U256) -> U256 {
    behaviour.claim.map_or(paid, Wei::get)
}

/// A number that makes two blocks of an equivocating relay differ.
fn salt(parent: B256, n: u64) -> String {
    format!("relay {n} {}", &parent.to_string()[2..8])
}
