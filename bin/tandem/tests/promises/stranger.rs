//! What somebody does who never saw the program: a folder for a host, and a first promise without a wallet.

use crate::world::{GWEI, PATIENCE, Plan, VALIDATORS, World, said, tandem, until};
use alloy_primitives::Address;
use serde_json::{Value, json};
use std::path::Path;
use tandem_demo::{http, wallet::Fees};

/// Account 1 of those that every development tool knows.
const TO: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
/// An account that has nothing; the funded ones get the validators' withdrawals.
const NOBODY: &str = "0x00000000000000000000000000000000000ddeed";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_init_that_fails_leaves_no_folder_and_the_corrected_command_goes_well() {
    let world = World::unconnected(1_000, vec![]).await;
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("host");
    let init = async |validators: &str, beacon: &str| {
        tandem(&["init", "--dir", dir.to_str().unwrap(), "--devnet", beacon, "--validators", validators]).await
    };
    let beacon = world.rig.beacon().to_owned();
    let wrong = format!("{}-{}", VALIDATORS - 4, VALIDATORS + 6);
    for (validators, beacon, words) in [
        (wrong.as_str(), beacon.as_str(), "Remedy"),
        ("9-3", &beacon, "FIRST-LAST"),
        ("0-3", "http://127.0.0.1:9", "devnet"),
        ("0-3", world.rig.execution(), "prints beside `beacon`"),
    ] {
        let out = init(validators, beacon).await;
        assert!(!out.status.success() && said(&out).contains(words), "{validators}: {}", said(&out));
        assert!(!dir.exists(), "{validators}: something is left of it");
    }
    let out = init("0-3", &beacon).await;
    assert!(out.status.success(), "{}", said(&out));
    let files = |folder: &Path| std::fs::read_dir(folder).unwrap().count();
    assert_eq!([files(&dir.join("keys")), files(&dir.join("passwords"))], [4, 4]);
    assert!(dir.join("tandem.toml").exists() && dir.join("host-secret").exists());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_a_promise_with_an_account_that_the_devnet_funds() {
    let world = World::start(1_500, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let gateway = world.hosts[0].gateway.clone();
    let send = async |account: &str, more: &[&str]| {
        let given = ["preconf", "send", "--devnet-account", account, "--to", NOBODY, "--value", "5", "--rpc", &gateway];
        tandem(&[&given, more].concat()).await
    };
    let before = world.execution("eth_getBalance", serde_json::json!([NOBODY, "latest"])).await;
    // Two in a row: the second takes the next nonce, though the first is in no block yet.
    let first = send("0", &[]).await;
    let second = send("0", &["--wait"]).await;
    for out in [&first, &second] {
        assert!(out.status.success() && said(out).contains("promised in"), "{}", said(out));
    }
    assert!(said(&second).contains("kept"), "{}", said(&second));
    let wei = |v: &serde_json::Value| u128::from_str_radix(v.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    until("both transfers to arrive", async || {
        let now = world.execution("eth_getBalance", serde_json::json!([NOBODY, "latest"])).await;
        (wei(&now) == wei(&before) + 10).then_some(())
    })
    .await;

    // Not without a destination, nor beside a transaction, nor for an account that is none.
    for wrong in [
        vec!["--devnet-account", "0"],
        vec!["--to", NOBODY],
        vec!["--devnet-account", "10", "--to", NOBODY],
        vec!["0x02", "--devnet-account", "0", "--to", NOBODY],
        vec![],
    ] {
        let out = tandem(&[&["preconf", "send", "--rpc", &gateway], wrong.as_slice()].concat()).await;
        assert_eq!(out.status.code(), Some(2), "{wrong:?}: {}", said(&out));
    }
    world.stop().await;
}

/// Lets the base fee rise until it matters beside the price of a promise, and waits until it falls again: then the
/// head's grandparent, which the worst is judged from, is above the head.
async fn spike(world: &World) {
    const MATTERS: u128 = GWEI;
    let base =
        async || number(&world.execution("eth_getBlockByNumber", json!(["latest", false])).await["baseFeePerGas"]);
    world.rig.admin("spike", &json!({ "slots": 200, "tip_gwei": 1 })).await.unwrap();
    until("a base fee that matters", async || (base().await >= MATTERS).then_some(())).await;
    world.rig.admin("spike", &json!({ "slots": 1, "tip_gwei": 1 })).await.unwrap();
    let top = std::cell::Cell::new(0);
    until("it to fall", async || {
        let now = base().await;
        let is_below = now * 5 < top.get() * 4;
        top.set(top.get().max(now));
        is_below.then_some(())
    })
    .await;
}

/// What a plain wallet does with the gateway as its only node, and nothing set by hand: sends in a row, of which the
/// first finds its tip as viem does, the second as alloy and cast do, the third as ethers and web3.py do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_wallet_is_promised_transfers_in_a_row_by_the_nonce_and_the_fees_that_the_gateway_tells() {
    let world = World::start(2_000, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let gateway = world.hosts[0].gateway.clone();
    let ask = async |method: &str, params: Value| {
        http::rpc(&gateway, method, params, PATIENCE).await.unwrap_or_else(|e| panic!("{method}: {e:#}"))
    };
    let wallet = world.wallet(1);
    world.open_slot(0, 2).await;
    spike(&world).await;
    let mut sent = Vec::new();
    for n in 0..3 {
        if n != 1 {
            // Right after a head, so that none comes, and no slot closes, between what is asked and what is sent.
            let head = async || number(&ask("eth_blockNumber", json!([])).await);
            let before = head().await;
            until("a new head", async || (head().await > before).then_some(())).await;
        }
        let nonce = ask("eth_getTransactionCount", json!([wallet.address(), "pending"])).await;
        assert_eq!(number(&nonce), n, "what was promised here counts before any pool has it");
        let latest = number(&ask("eth_getBlockByNumber", json!(["latest", false])).await["baseFeePerGas"]);
        assert!(latest > GWEI / 4, "a base fee that matters: {latest}");
        let history = ask("eth_feeHistory", json!(["0x5", "latest", [20.0]])).await;
        let rewards = history["reward"].as_array().unwrap().iter().map(|of| number(&of[0]));
        let next = number(history["baseFeePerGas"].as_array().unwrap().last().unwrap());
        let asked = number(&ask("eth_maxPriorityFeePerGas", json!([])).await);
        let fees = match n {
            0 => Fees { tip: asked, max_fee: latest * 12 / 10 + asked },
            1 => rewards.min().map(|tip| Fees { tip, max_fee: 2 * next + tip }).unwrap(),
            _ => Fees { tip: asked, max_fee: 2 * latest + asked },
        };
        let tx = wallet.transfer(n as u64, Address::repeat_byte(0x77), 5, fees).unwrap();
        assert_eq!(ask("eth_sendRawTransaction", json!([tx.raw])).await, json!(tx.hash));
        let promise = ask("tandem_promise", json!([tx.hash])).await;
        assert!(promise["slot"].is_u64(), "{promise}");
        sent.push(tx.hash);
    }
    for hash in sent {
        let receipt = until("its receipt", async || {
            let receipt = ask("eth_getTransactionReceipt", json!([hash])).await;
            (!receipt.is_null()).then_some(receipt)
        });
        assert_eq!(receipt.await["status"], "0x1");
    }
    world.stop().await;
}

fn number(v: &Value) -> u128 {
    u128::from_str_radix(v.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

#[tokio::test]
async fn the_help_of_the_devnet_and_of_send_name_the_accounts_that_everybody_knows() {
    let help = said(&tandem(&["devnet", "--help"]).await);
    assert!(help.contains(TO) && help.contains("EVERYBODY KNOWS THESE KEYS"), "{help}");
    assert!(help.contains("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"), "{help}");
    let help = said(&tandem(&["preconf", "send", "--help"]).await);
    assert!(help.contains("tandem preconf send --devnet-account 0 --to 0x"), "{help}");
}

#[tokio::test]
async fn days_of_the_ledger_are_one_to_a_year() {
    for days in ["0", "367", "-1", "99999999999999999999"] {
        let out = tandem(&["ledger", "--days", days]).await;
        assert_eq!(out.status.code(), Some(2), "{days}: {}", said(&out));
    }
}
