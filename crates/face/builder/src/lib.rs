//! The Builder API for the beacon node: own listener, own runtime thread.
//!
//! - [`BuilderServer`]: starts it, stops it, tells what it did
//! - [`Config`]: address, deadlines and bounds
//! - [`Reason`]: the stable code of every refusal
//!
//! | call | answers |
//! |---|---|
//! | `GET /eth/v1/builder/status` | 200, 502 |
//! | `POST /eth/v1/builder/validators` | 200, 400, 413, 415, 502 |
//! | `GET /eth/v1/builder/header/{slot}/{parent_hash}/{pubkey}` | 200, 204 (no bid), 400, 406 |
//! | `POST /eth/v1/builder/blinded_blocks` | 200 with the payload, 400, 406, 413, 415, 502 |
//! | `POST /eth/v2/builder/blinded_blocks` | 202 without a body, 400, 413, 415, 502 |
//!
//! All of them: 400 and 431 for heads that are no HTTP or too large, 404 and 405 for unknown routes and
//! methods, 408 for a head or a body that does not come, 503 when a bound is reached. Errors are JSON: `{"code": status, "message": sentence, "reason": code}`.
//!
//! # Guarantees
//! - The header call is answered within its deadline whatever the desk does: late means 204.
//! - It runs on threads of its own. Modules, the gateway and their floods do not share them.
//! - A blinded block that was read is carried through even if the caller hangs up.
//! - Bodies are read up to a cap, within a time, in bounded memory together; connections are bounded.
//! - A head, a body, an answer and a call as a whole have their times: who sends a byte at a time or does
//!   not read is given up, and holds no place of another kind of call meanwhile.
//! - What is malformed is refused with a [`Reason`]; nothing is guessed, nothing panics.
//!
//! # Not guaranteed
//! Nothing is decided here: bids, publication and signatures are the [`ProposerDesk`]'s. There is no
//! authentication: the listener belongs on loopback or on a network of its own.
//!
//! [`ProposerDesk`]: tandem_blocks::ProposerDesk

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod body;
mod config;
mod leaving;
mod negotiate;
mod registrations;
mod reply;
mod routes;
mod server;
mod stats;

pub use config::Config;
pub use reply::Reason;
pub use server::{BuilderServer, Served, StartError};
pub use stats::{CallStats, Stats};
