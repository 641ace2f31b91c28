//! The gateway: how requesters, operators and people reach a host over HTTP.
//!
//! - [`rpc`]: JSON-RPC 2.0 at `POST /`: the modules' methods, and a bounded list of `eth_` methods
//!   that the operator's own node answers, so that a plain wallet can use the host as its RPC
//! - [`rest`]: the same methods as Fabric's REST endpoints under `/commitments/v0/gateway/`
//! - [`api`]: `/healthz`, `/readyz`, `/metrics`, `/api/v1/…` and the operator's orders
//! - [`sse`], [`events`]: `/events`, everything that happens, as server-sent events
//! - [`page`]: the dashboard, embedded
//! - [`view`]: what is shown, as plain structs; [`backend`]: the trait behind which the house lives
//! - [`json`], [`rates`], [`caller`], [`serve`]: what keeps bad input, floods and slow clients out
//!
//! # Guarantees
//! - Every request has a size cap that is checked while it streams, a deadline, and a place in a
//!   bounded number of requests; so has every connection. What does not fit is refused with a stable
//!   code in one shape, [`error::ErrorBody`]: also a head that is no HTTP, a connection too many, and
//!   a handler that panics.
//! - A request is taken out of its caller's rate before its body is read, so that a bad one costs as much
//!   as a good one; a batch costs as much as its requests.
//! - Answers on their way out take bounded memory together, and a reader who does not read is given up.
//! - Before its slot is sealed, a promise shows nothing but its hash, slot and times to whoever does
//!   not hold the admin token. This crate takes the details out itself ([`view::Promise::redacted`]).
//! - Orders need the admin token, which is compared in constant time and never printed.
//! - No transaction leaves for the operator's node by this door: `eth_send…` is no forwarded method,
//!   whatever the configuration says.
//!
//! # Not guaranteed
//! - No TLS: it is meant for loopback, or for a proxy in front of it. Behind a proxy on this machine
//!   all callers come from loopback: give them API keys, or set loopback's rate.
//! - Rates by address are a courtesy among honest callers. Whoever holds many addresses gets many
//!   rates; the number of requests under way stays bounded all the same.
//!
//! # Example
//! ```
//! use tandem_gateway::{Config, json};
//!
//! // Two readers could take different ones of these two: nobody gets to read it.
//! let fault = json::check(br#"{"method":"fee","method":"slots"}"#, 32).unwrap_err();
//! assert_eq!(fault.reason(), "duplicate-key");
//! // No configuration passes on what acts.
//! let config = Config { node_methods: vec!["eth_sendRawTransaction".into()], ..Config::default() };
//! assert!(config.validate().is_err());
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod api;
pub mod backend;
pub mod caller;
pub mod config;
mod crowd;
mod dispatch;
pub mod error;
pub mod events;
mod faults;
pub mod gateway;
mod intake;
pub mod metrics;
pub mod page;
pub mod rates;
pub mod rest;
pub mod rpc;
pub mod secret;
pub mod serve;
pub mod sse;
pub mod view;
mod weigh;

pub use backend::{Backend, NodeError, Order};
pub use config::{Config, ConfigError};
pub use error::ErrorBody;
pub use events::Events;
pub use gateway::Gateway;
pub use metrics::Metrics;
pub use secret::AdminToken;
pub use serve::{Running, ServeError};
pub use tandem_serve::json;
