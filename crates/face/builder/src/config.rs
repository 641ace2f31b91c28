//! The Builder API's settings.

use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Where and within which bounds the Builder API is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens. Keep it on loopback: there is no authentication in this API.
    pub listen: SocketAddr,
    /// Milliseconds for a header call, from the request to the answer's first byte. Beacon nodes give
    /// up after 1000. A caller's `X-Timeout-Ms` can only lower it.
    pub header_deadline_ms: u64,
    /// Milliseconds of it that are kept for the way back.
    pub header_reserve_ms: u64,
    /// Milliseconds for a request's head to come in whole, from its first byte; for the first one of a
    /// connection, from the connection's beginning.
    pub head_ms: u64,
    /// Milliseconds for a body to come in whole.
    pub body_ms: u64,
    /// Milliseconds that a blinded block may take, publication tried and tried again.
    pub submit_ms: u64,
    /// Milliseconds that registrations may take.
    pub register_ms: u64,
    /// Milliseconds without any progress while an answer is written, after which its reader is given up.
    pub write_ms: u64,
    /// Milliseconds that a connection may be silent between and within request heads. Long, because a
    /// beacon node that finds its idle connection closed under a blinded block loses the slot.
    pub idle_ms: u64,
    /// Milliseconds that running calls get when the server stops: a publication is worth waiting for.
    pub grace_ms: u64,
    /// Connections at once; more are closed. A beacon node uses a handful.
    pub max_connections: usize,
    /// Header calls at once. A proposer makes one a slot, some clients two.
    pub max_headers: usize,
    /// Blinded blocks at once, each up to 20 MiB.
    pub max_submissions: usize,
    /// Registration calls at once, each up to 20 MiB.
    pub max_registrations: usize,
    /// Threads of the own runtime.
    pub threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 18550)),
            header_deadline_ms: 900,
            header_reserve_ms: 20,
            head_ms: 4_000,
            body_ms: 4_000,
            submit_ms: 12_000,
            register_ms: 10_000,
            write_ms: 10_000,
            idle_ms: 120_000,
            grace_ms: 5_000,
            max_connections: 256,
            max_headers: 32,
            max_submissions: 4,
            max_registrations: 2,
            threads: 2,
        }
    }
}

impl Config {
    /// Longest time of a call, from its head's first byte to its answer's last: the sum of what its parts
    /// may take. Waiting for a place takes up to twice `body_ms`.
    pub(crate) fn whole_call(&self) -> Duration {
        let answer = self.submit_ms.max(self.register_ms).max(self.header_deadline_ms);
        let parts = [self.head_ms, self.body_ms.saturating_mul(3), answer, self.write_ms];
        Duration::from_millis(parts.into_iter().fold(0, u64::saturating_add))
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn validate(&self) -> Result<(), String> {
        let bad = [
            ("header_deadline_ms", !(50..=1_000).contains(&self.header_deadline_ms), "use 50 to 1000"),
            (
                "header_reserve_ms",
                self.header_reserve_ms.saturating_mul(2) > self.header_deadline_ms,
                "use at most 1/2 of header_deadline_ms",
            ),
            ("head_ms", self.head_ms < 50, "use at least 50"),
            ("body_ms", self.body_ms == 0, "use at least 1"),
            ("submit_ms", self.submit_ms == 0, "use at least 1"),
            ("register_ms", self.register_ms == 0, "use at least 1"),
            ("write_ms", self.write_ms < 50, "use at least 50"),
            ("idle_ms", self.idle_ms == 0, "use at least 1"),
            ("max_connections", !(1..=65_536).contains(&self.max_connections), "use 1 to 65536"),
            ("max_headers", !(1..=4_096).contains(&self.max_headers), "use 1 to 4096"),
            ("max_submissions", !(1..=64).contains(&self.max_submissions), "use 1 to 64"),
            ("max_registrations", !(1..=64).contains(&self.max_registrations), "use 1 to 64"),
            ("threads", !(1..=64).contains(&self.threads), "use 1 to 64"),
        ];
        bad.iter().find(|b| b.1).map_or(Ok(()), |b| Err(format!("{}: {}", b.0, b.2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_a_header_deadline_beyond_the_beacon_nodes_is_not() {
        assert_eq!(Config::default().validate(), Ok(()));
        let late = Config { header_deadline_ms: 1_001, ..Config::default() };
        assert!(late.validate().unwrap_err().contains("header_deadline_ms"));
    }
}
