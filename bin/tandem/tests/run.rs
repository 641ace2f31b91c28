//! Ctrl-C and SIGTERM to the real program, at several moments: it ends in time, tells why, and leaves no
//! process, no folder and no port behind.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "run/family.rs"]
mod family;
#[path = "run/host.rs"]
mod host;
#[path = "run/lab.rs"]
mod lab;
#[path = "run/open.rs"]
mod open;
#[path = "run/stop.rs"]
mod stop;
