//! The consensus layer. It is **simulated**: real containers, keys, signatures, roots and look-ahead,
//! a transition of its own (see [`transition`]), and finality by a lag.

pub mod chain;
pub mod epoch;
pub mod error;
pub mod events;
pub mod finality;
pub mod genesis;
pub mod head;
pub mod registry;
pub mod requests;
pub mod shuffle;
pub mod signatures;
pub mod spec;
pub mod store;
pub mod transition;
pub mod validators;
pub mod withdrawals;

pub use chain::{BroadcastValidation, Chain, Imported, Lateness};
pub use error::ConsensusError;
pub use events::{Attributes, BeaconEvent};
pub use finality::{Finality, FinalityConfig};
pub use spec::Churn;
pub use store::{Known, Store};
pub use transition::Rules;
pub use validators::{ValidatorKey, Validators, key_seed, validator_key};
