//! The command line and a plain wallet against a running host.

use crate::world::{PATIENCE, Plan, VALIDATORS, World, said, tandem, tries, until};
use serde_json::{Value, json};
use std::path::Path;
use tandem_demo::{
    ask, http,
    wallet::{Fees, SignedTx},
};

async fn ok(args: &[&str]) -> String {
    let out = tandem(args).await;
    assert!(out.status.success(), "tandem {}: {}", args.join(" "), said(&out));
    said(&out)
}

async fn refused(args: &[&str]) -> String {
    let out = tandem(args).await;
    assert!(!out.status.success(), "tandem {} went well: {}", args.join(" "), said(&out));
    said(&out)
}

fn transfer(world: &World, sender: u32, nonce: u64) -> SignedTx {
    ask::ask(&world.wallet(sender), sender, nonce, 1, 1, Fees::default()).unwrap().1
}

/// Writes a promise with one thing changed.
fn doctored(path: &Path, at: &str, to: Value) -> String {
    let mut v: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    *v.pointer_mut(at).unwrap_or_else(|| panic!("no {at}")) = to;
    let other = path.with_extension("doctored.json");
    std::fs::write(&other, v.to_string()).unwrap();
    other.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_asks_follows_and_verifies_a_promise() {
    let world = World::start(1_500, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let gateway = world.hosts[0].gateway.clone();
    let file = world.hosts[0].dir.join("promise.json");
    let path = file.display().to_string();
    let tx = transfer(&world, 1, 0);
    let (raw, hash) = (tx.raw.to_string(), tx.hash.to_string());

    let told = ok(&["preconf", "send", &raw, "--rpc", &gateway, "--wait", "--out", &path]).await;
    assert!(told.contains("promised in") && told.contains("kept"), "{told}");
    let told = ok(&["preconf", "status", &hash, "--rpc", &gateway]).await;
    assert!(told.contains("\"kept\""), "{told}");
    let told = ok(&["preconf", "verify", &path]).await;
    assert!(told.contains("the committer signed") && told.contains("not checked: whether it was kept"), "{told}");
    let (execution, beacon) = (world.rig.execution(), world.rig.beacon());
    let told = ok(&["preconf", "verify", &path, "--execution", execution, "--beacon", beacon]).await;
    assert!(told.contains("kept: it is in the block of slot") && told.contains("is the slot's proposer"), "{told}");
    let told = ok(&["preconf", "verify", &path, "--execution", execution]).await;
    assert!(told.contains("kept: it is in the block of slot") && told.contains("own word"), "{told}");

    // A clock that is three slots off shows another slot, and a signature that was touched shows at once.
    let seconds = 12;
    let genesis: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let genesis = genesis["genesis_time"].as_u64().unwrap();
    let late = doctored(&file, "/genesis_time", json!(genesis - 3 * seconds));
    let told = refused(&["preconf", "verify", &late, "--execution", execution]).await;
    assert!(told.contains("NOT in its slot"), "{told}");
    let forged = doctored(&file, "/commitment/signature", json!(format!("0x{}", "11".repeat(65))));
    assert!(refused(&["preconf", "verify", &forged]).await.contains("committer's signature"));
    assert!(refused(&["preconf", "verify", "/nowhere/promise.json"]).await.contains("/nowhere/promise.json"));

    // Once more the same is asked: the same promise. Another transaction with its nonce is refused.
    let (_, rival) = world.richer(1, 0);
    let told = refused(&["preconf", "send", &rival.to_string(), "--rpc", &gateway]).await;
    assert!(told.contains("refused ("), "{told}");

    let told = ok(&["status", "--url", &gateway]).await;
    assert!(told.contains("simulated devnet") && told.contains("module preconf"), "{told}");
    let told = ok(&["ledger", "--url", &gateway]).await;
    assert!(told.contains("preconf"), "{told}");
    let config = world.hosts[0].dir.join("tandem.toml").display().to_string();
    let told = refused(&["check", "--config", &config]).await;
    assert!(told.contains("32 validator keys") && told.contains("a simulated devnet"), "{told}");
    assert!(told.contains("[gateway.listen]") && told.contains("is in use"), "the host runs: {told}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promise_that_is_asked_for_one_slot_is_shown_and_written_as_that_slots() {
    let world = World::start(2_000, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let gateway = world.hosts[0].gateway.clone();
    let path = world.hosts[0].dir.join("promise.json");
    let raw = transfer(&world, 1, 0).raw.to_string();
    let sooner = world.open_slot(0, 4).await;
    for slot in [sooner + 1, sooner] {
        let (n, out) = (slot.to_string(), path.display().to_string());
        let told = ok(&["preconf", "send", &raw, "--rpc", &gateway, "--slot", &n, "--out", &out]).await;
        assert!(told.contains(&format!("will be in slot {slot}")), "{told}");
        let written: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(written["slot"], json!(slot), "{written}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_promise_is_kept_and_is_in_no_pool_after_the_seal() {
    let world = World::start(2_000, vec![Plan::new("host", 0..VALIDATORS, "lighthouse")]).await;
    let gateway = world.hosts[0].gateway.clone();
    let send = async |slot: u64, tx: &SignedTx, private: bool| {
        let n = slot.to_string();
        let raw = tx.raw.to_string();
        let mut args = vec!["preconf", "send", &raw, "--rpc", &gateway, "--slot", &n];
        args.extend(private.then_some("--private"));
        ok(&args).await
    };
    let seen = async |tx: &SignedTx| world.execution("eth_getTransactionByHash", json!([tx.hash])).await;
    tries("a look at the pool between the seal and the slot's block", async |n| {
        let slot = world.open_slot(0, 3).await;
        let (secret, open) = (transfer(&world, 10 * n + 1, 0), transfer(&world, 10 * n + 2, 0));
        send(slot, &secret, true).await;
        send(slot, &open, false).await;
        // So that there is time to look.
        let late = json!({ "slot": slot.to_string(), "permille": 400 });
        if world.rig.slot_now() < slot {
            world.rig.admin("late", &late).await.unwrap();
        }
        // Between the seal and the slot's block: the one that is not private is in the pool.
        until("the public one to be in the pool", async || (!seen(&open).await.is_null()).then_some(())).await;
        let hidden = seen(&secret).await;
        let told = http::rpc(&gateway, "tandem_promise", json!([secret.hash]), PATIENCE).await.unwrap();
        let in_time = seen(&open).await["blockNumber"].is_null();
        if in_time {
            assert!(hidden.is_null(), "the private one is in the pool: {hidden}");
            assert!(told.get("request_hash").is_none(), "shown to anybody: {told}");
        }
        world.block_of(slot).await;
        for tx in [&secret, &open] {
            let found = until("its block", async || world.slot_of(tx.hash).await);
            assert_eq!(found.await, slot);
        }
        in_time
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallets_transaction_is_neither_kept_nor_passed_on_where_no_slot_is_served() {
    // Nobody registered: no slot is served.
    let world = World::unconnected(1_500, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let tx = transfer(&world, 1, 0);
    let gateway = &world.hosts[0].gateway;
    let refused =
        http::rpc(gateway, "eth_sendRawTransaction", json!([tx.raw]), PATIENCE).await.unwrap_err().to_string();
    assert!(refused.contains("register") || refused.contains("served"), "{refused}");
    // The next slot that could be asked for: all proposers are ours, so that it is a coming one.
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [tx.raw] });
    let before = world.rig.slot_now();
    let answer = http::post(gateway, &body, None, PATIENCE).await.unwrap().json().unwrap();
    let next = answer["error"]["data"]["accept"]["next_slot"].clone();
    let next = next.as_u64().or_else(|| next.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
    assert!(next > before && next <= before + 3, "slot {before}: {answer}");
    for url in [world.rig.execution(), gateway.as_str()] {
        let known = http::rpc(url, "eth_getTransactionByHash", json!([tx.hash]), PATIENCE).await.unwrap();
        assert!(known.is_null(), "{url} knows it: {known}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallets_transaction_is_promised_and_its_receipt_comes_by_the_same_address() {
    let world = World::start(1_500, vec![Plan::new("host", 0..VALIDATORS, "lighthouse")]).await;
    let tx = transfer(&world, 1, 0);
    let gateway = world.hosts[0].gateway.clone();
    let hash = http::rpc(&gateway, "eth_sendRawTransaction", json!([tx.raw]), PATIENCE).await.unwrap();
    assert_eq!(hash, json!(tx.hash));
    let promise = http::rpc(&gateway, "tandem_promise", json!([tx.hash]), PATIENCE).await.unwrap();
    let slot = promise["slot"].as_u64().unwrap();
    world.block_of(slot).await;
    let receipt = http::rpc(&gateway, "eth_getTransactionReceipt", json!([tx.hash]), PATIENCE).await.unwrap();
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(world.slot_of(tx.hash).await, Some(slot));
    world.stop().await;
}

#[tokio::test]
async fn completions_and_json_logs_are_what_they_say() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(ok(&["completions", shell]).await.contains("preconf"), "{shell}");
    }
    let out = tandem(&["--log-json", "check", "--config", "/nowhere/tandem.toml"]).await;
    assert!(!out.status.success());
    let line = String::from_utf8_lossy(&out.stderr).lines().last().unwrap().to_owned();
    let v: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
    assert_eq!(v["level"], "ERROR");
    assert!(v["fields"]["message"].as_str().unwrap().contains("Remedy"), "{line}");
}
