//! How an HTTP/1.1 connection is taken, held and parted from. What is said on it is its server's.
//!
//! - [`serve`]: as many connections at once as are allowed; with [`accept`], [`turn_away`] for who counts himself
//! - [`connection`]: one connection, within its [`Times`], until it [`Ended`] or speaks another protocol
//! - [`whole`]: a body within its time and size, or its [`BodyFault`]
//! - [`json`]: whether a body is JSON that can be read in one way only
//! - [`HeadFault`]: why a head could not be read, for the server to say
//! - [`answer`]: a whole answer in bytes, for where hyper writes no more
//!
//! # Guarantees
//! - Who sends a byte at a time or does not read is given up within the [`Times`].
//! - hyper answers a head that it can not read with a bare status. That is swallowed, and nothing else.
//! - A caller who still sends gets to read the last answer: it is not lost in a reset.
//! - A caller who ends its side within a body is heard out: the handler's body fails, and its answer is sent.
//!
//! # Not guaranteed
//! - How many connections [`accept`] takes, and how long a handler takes: whoever calls it counts and bounds them.
//! - An answer to a caller who ends its side after a whole request and before the answer: that is taken for
//!   hanging up, so that nobody works for callers who left.
//!
//! # Example
//! ```
//! let busy = tandem_serve::answer(http::StatusCode::SERVICE_UNAVAILABLE, &[], r#"{"reason":"busy"}"#);
//! assert!(busy.starts_with(b"HTTP/1.1 503 Service Unavailable\r\n"));
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod body;
mod connection;
pub mod json;
mod listener;
mod turn;
mod wire;

pub use body::{BodyFault, whole};
pub use connection::{Ended, HEAD_BYTES, HEADERS, HeadFault, answer, connection};
pub use listener::{accept, serve, turn_away};
pub use wire::Times;
