//! The room that is configured, beside what a block of this chain can hold. Promises are held to both; a
//! configuration that names more says something that will never be.

use super::Found;
use crate::{
    config::{Config, NodeConfig, Rejection},
    run::{chain, now_ms},
};
use serde_json::{Value, json};
use tandem_blocks::limits;
use tandem_journal::RoomLimits;

/// The room beside the head's block, as the first node tells it.
pub(super) async fn check(config: &Config, node: &NodeConfig) -> Vec<Found> {
    let fault = |why: String| vec![Err(Rejection::new("nodes[0].execution", why, "look at the execution client"))];
    let (execution, _) = match chain::connect(config, node) {
        Ok(pair) => pair,
        Err(e) => return fault(format!("{e:#}")),
    };
    let head: Value = match execution.call("eth_getBlockByNumber", json!(["latest", false])).await {
        Ok(head) => head,
        Err(e) => return fault(e.to_string()),
    };
    let limit = head.get("gasLimit").and_then(Value::as_str).and_then(|s| s.strip_prefix("0x"));
    let Some(limit) = limit.and_then(|s| u64::from_str_radix(s, 16).ok()) else {
        return fault("the head's gas limit is not told".into());
    };
    let blobs = config.state.forks.blob_params(now_ms() / 1_000).max;
    fits(&config.journal.room, config.blocks.simulate_gas_cap, limit, blobs)
}

/// What of the room could never be promised.
fn fits(room: &RoomLimits, gas_cap: u64, gas_limit: u64, blobs: u64) -> Vec<Found> {
    // The next slot's block: those that are farther away hold less.
    let most = limits::of_block(gas_limit, 1, gas_cap, blobs);
    let gas_remedy = format!("write at most {}; it follows from the gas limit and `blocks.simulate_gas_cap`", most.gas);
    let least = |n: u64| format!("write at most {n}");
    let rows = [
        ("gas", room.gas, most.gas, gas_remedy),
        ("blobs", room.blobs, most.blobs, least(most.blobs)),
        ("bytes", room.bytes, most.bytes, least(most.bytes)),
    ];
    let mut found: Vec<Found> = Vec::new();
    for (key, have, most, remedy) in rows {
        if have > most {
            let why = format!("{have} is more than a block of this chain can hold for promises, {most}");
            found.push(Err(Rejection::new(format!("journal.room.{key}"), why, remedy)));
        }
    }
    if found.is_empty() {
        found.push(Ok(format!(
            "a slot's room of {} gas, {} blobs and {} bytes fits into a block",
            room.gas, room.blobs, room.bytes
        )));
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn faults(room: RoomLimits, cap: u64, limit: u64, blobs: u64) -> Vec<String> {
        let found = fits(&room, cap, limit, blobs);
        found.into_iter().filter_map(Result::err).map(|f| format!("{}: {}; {}", f.key, f.message, f.remedy)).collect()
    }

    #[test]
    fn a_room_that_no_block_can_hold_is_a_fault_with_what_would_fit() {
        let room = RoomLimits::default();
        assert!(faults(room, 50_000_000, 60_000_000, 9).is_empty(), "the default");
        let wide = RoomLimits { gas: 200_000_000, blobs: 50, bytes: 9 << 20, ..room };
        let all = faults(wide, 50_000_000, 60_000_000, 9);
        for (fault, key) in all.iter().zip(["gas: 200000000", "blobs: 50", "bytes: 9437184"]) {
            assert!(fault.starts_with(&format!("journal.room.{key} is more than a block")), "{fault}");
        }
        assert!(all.len() == 3 && all[0].contains("at most 46000000") && all[1].contains("at most 9"), "{all:?}");
        assert_eq!(faults(room, 50_000_000, 15_000_000, 3).len(), 2, "a chain with small blocks");
        assert_eq!(faults(room, 20_000_000, 60_000_000, 9).len(), 1, "a client that simulates little");
    }
}
