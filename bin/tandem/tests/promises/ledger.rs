//! The books against the chain: what was received is what the receipts of promised transactions show.

use crate::world::{Held, Plan, VALIDATORS, World, until};
use alloy_primitives::U256;
use serde_json::{Value, json};
use std::process::Command;
use tandem_demo::rig::hex_number;
use tandem_ledger::query::ether;
use tandem_types::Wei;

/// What `tandem ledger` prints about a host.
async fn printed(world: &World, json: bool) -> Option<String> {
    let url = world.hosts[0].gateway.clone();
    let ask = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.args(["ledger", "--url", &url]);
        if json {
            command.arg("--json");
        }
        command.output().unwrap()
    };
    let out = tokio::task::spawn_blocking(ask).await.unwrap();
    out.status.success().then(|| String::from_utf8(out.stdout).unwrap())
}

/// Provisional and settled sums of all modules together.
pub async fn sum(world: &World, what: &str) -> Option<U256> {
    let report: Value = serde_json::from_str(&printed(world, true).await?).unwrap();
    let part = |side: &str| {
        let v = &report["total"][side][what];
        let text = v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        U256::from_str_radix(&text, 10).unwrap_or_else(|e| panic!("{what}: {e}: {report}"))
    };
    Some(part("provisional") + part("settled"))
}

/// Effective tip times gas used, by the transaction's receipt and its block.
async fn tip(world: &World, held: &Held) -> U256 {
    let receipt = world.execution("eth_getTransactionReceipt", json!([held.hash])).await;
    let number = receipt["blockNumber"].as_str().unwrap_or_else(|| panic!("no receipt of {}", held.hash)).to_owned();
    let block = world.execution("eth_getBlockByNumber", json!([number, false])).await;
    let n = |v: &Value| U256::from(hex_number(v).unwrap());
    (n(&receipt["effectiveGasPrice"]) - n(&block["baseFeePerGas"])) * n(&receipt["gasUsed"])
}

async fn until_booked(world: &World, kept: usize, received: U256) {
    until(&format!("{kept} kept and {received} received in the ledger"), async || {
        (sum(world, "kept").await? == U256::from(kept) && sum(world, "received").await? == received).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_receives_exactly_the_tips_of_promised_transactions_and_a_sigkill_takes_none_and_doubles_none() {
    let mut world = World::start(1_500, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let mut held = Vec::new();
    for first in [1, 4] {
        let slot = world.open_slot(0, 2).await;
        for sender in first..first + 3 {
            held.push(world.promise(0, sender, 0, slot).await);
        }
        world.block_of(slot).await;
    }
    let mut want = U256::ZERO;
    for h in &held {
        world.assert_kept(0, h).await;
        want += tip(&world, h).await;
    }
    assert!(!want.is_zero());
    until_booked(&world, held.len(), want).await;
    let text = printed(&world, false).await.unwrap();
    assert!(text.contains(&ether(Wei::new(want))), "{want} is not in\n{text}");

    let host = &mut world.hosts[0];
    host.kill().unwrap();
    host.start().unwrap();
    host.ready(std::time::Duration::from_secs(60)).await.unwrap();
    until_booked(&world, held.len(), want).await;
    assert_eq!(sum(&world, "promises").await, Some(U256::from(held.len())));
    world.stop().await;
}
