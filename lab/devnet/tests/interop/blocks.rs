//! geth imports what the devnet builds, and the devnet what geth builds; a damaged block is refused by
//! both.

use crate::{
    common,
    el::{
        COUNTER, LOGGER, access_list, address, advance, after, blob, call, damage, deploy, deposit, legacy, set_code,
        transfer, vanish,
    },
    geth::{Geth, Payload},
};
use alloy_eips::{eip4895::Withdrawal, eip7002, eip7251};
use alloy_primitives::{Address, B256, Bytes};
use serde_json::json;
use tandem_devnet::{
    Config,
    execution::{Execution, Fill, GenesisConfig},
};

/// Blocks of all types of transactions and requests; seconds between them that are not a mainnet slot's.
pub fn kinds() -> Vec<(u64, Vec<Bytes>, Vec<Withdrawal>)> {
    let (logger, counter) = (address(0).create(0), address(1).create(0));
    let paid = Withdrawal { index: 1, validator_index: 2, address: Address::repeat_byte(0x88), amount: 77 };
    let exit = [vec![0xc3; 48], 5u64.to_be_bytes().to_vec()].concat();
    vec![
        (12, vec![], vec![]),
        (5, vec![deploy(0, 0, LOGGER), deploy(1, 0, COUNTER)], vec![paid]),
        // Types 0 to 4 in one block.
        (
            1,
            vec![
                legacy(2, 0, Address::repeat_byte(4)),
                access_list(2, 1, counter, vec![B256::ZERO]),
                call(0, 1, logger, [], 0),
                blob(3, 0, 1).0,
                set_code(4, 0, 5, 0, counter),
            ],
            vec![paid, Withdrawal { index: 2, ..paid }],
        ),
        // More blobs than the target of 14; the next block's excess is not zero then.
        (24, vec![blob(3, 1, 6).0, blob(6, 0, 6).0, blob(8, 0, 6).0], vec![]),
        (2, vec![blob(3, 2, 6).0, blob(6, 1, 6).0, blob(8, 1, 6).0, blob(9, 0, 3).0], vec![]),
        // A deposit, a withdrawal request and a consolidation request; a call to a delegated account; a
        // contract that is created and destroyed in one transaction.
        (
            7,
            vec![
                deposit(7, 0).0,
                call(1, 1, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, exit, 1),
                call(1, 2, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, vec![0xd4; 96], 1),
                call(2, 2, address(5), [], 0),
                vanish(0, 2),
            ],
            vec![paid],
        ),
        (12, vec![], vec![]),
    ]
}

/// All follow [`kinds`].
pub fn follow_kinds(execution: &Execution, replica: &Execution, geth: &mut Geth) {
    for (seconds, txs, withdrawals) in kinds() {
        let block = advance(execution, replica, &after(execution, seconds, withdrawals), &Fill::Exactly(txs));
        geth.follow(&block);
    }
}

#[test]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
fn geth_imports_all_types_of_transactions_blobs_requests_and_withdrawals() {
    let execution = Execution::new(&GenesisConfig::default()).unwrap();
    let mut geth = Geth::start(&execution);
    follow_kinds(&execution, &Execution::new(&GenesisConfig::default()).unwrap(), &mut geth);
    let head = execution.head();
    let theirs = geth.ask("eth_getBlockByNumber", &json!(["latest", false]));
    assert_eq!(theirs["hash"], json!(head.hash));
    assert_eq!(theirs["stateRoot"], json!(head.header().state_root));
    let kinds: Vec<u8> =
        execution.block_by_number(3).unwrap().transactions().iter().map(|t| t.tx_type().into()).collect();
    assert_eq!(kinds, [0, 1, 2, 3, 4]);
    let blobs = |n| execution.block_by_number(n).unwrap().header().blob_gas_used.unwrap() / 131_072;
    assert_eq!((blobs(4), blobs(5)), (18, 21));
    assert_ne!(execution.block_by_number(5).unwrap().header().excess_blob_gas, Some(0), "EIP-7918 with an excess");
    assert_eq!(execution.block_by_number(6).unwrap().requests.len(), 3);
}

/// From an excess at which a blob costs more than the reserve price of EIP-7918, and from one at which it
/// costs less, with a schedule of the file's own.
#[test]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
fn geth_agrees_on_the_blob_fee_on_both_sides_of_the_reserve_price() {
    for (excess, max) in [(240_000_000u64, 21u64), (100_000_000, 21), (50_000_000, 12)] {
        let mut file = serde_json::to_value(GenesisConfig::default().genesis().unwrap()).unwrap();
        file["excessBlobGas"] = json!(format!("{excess:#x}"));
        file["config"]["blobSchedule"]["bpo2"]["max"] = json!(max);
        file["config"]["blobSchedule"]["bpo2"]["target"] = json!(max * 2 / 3);
        let genesis: alloy_genesis::Genesis = serde_json::from_value(file).unwrap();
        let new = || Execution::from_genesis(genesis.clone(), Default::default(), Default::default()).unwrap();
        let (execution, replica) = (new(), new());
        let mut geth = Geth::start(&execution);
        for txs in [vec![blob(0, 0, 6).0, blob(1, 0, 6).0], vec![], vec![blob(0, 1, 1).0]] {
            let block = advance(&execution, &replica, &after(&execution, 12, vec![]), &Fill::Exactly(txs));
            geth.follow(&block);
        }
        assert!(execution.spec().blob_fee(execution.head().header()) > 1);
        let theirs = geth.ask("eth_blobBaseFee", &json!([]));
        assert_eq!(theirs, json!(alloy_primitives::U256::from(execution.spec().blob_fee(execution.head().header()))));
    }
}

#[test]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
fn a_damaged_block_is_refused_by_geth_and_by_the_devnet_alike() {
    let execution = Execution::new(&GenesisConfig::default()).unwrap();
    let mut geth = Geth::start(&execution);
    let head = execution.head();
    let paid = Withdrawal { index: 1, validator_index: 2, address: Address::repeat_byte(0x88), amount: 77 };
    let txs = vec![deploy(0, 0, LOGGER), transfer(1, 0, Address::repeat_byte(7), 5), deposit(2, 0).0];
    let built =
        execution.build(head.hash, &after(&execution, 5, vec![paid]), &Fill::Exactly(txs), Bytes::new()).unwrap();
    let fresh = || Execution::new(&GenesisConfig::default()).unwrap();
    let mut refuse = |what: &str, bad: Payload| {
        let ours = fresh().import(&bad.payload, bad.root, &alloy_eips::eip7685::Requests::new(bad.requests.clone()));
        assert!(ours.status.is_invalid(), "{what}: the devnet says {ours:?}");
        let theirs = geth.import(&bad);
        assert_eq!(theirs["status"], "INVALID", "{what}: geth says {theirs}");
    };
    for (_, (what, damage, _)) in damage::ALL.iter().filter(|(said, _)| *said) {
        refuse(what, Payload::of_parts(&built.block, &damage::apply(&built.block, *damage)));
    }
    let mut body = built.block.inner.clone();
    body.body.transactions.swap(0, 1);
    refuse("transactions swapped", Payload::of_parts(&built.block, &body));
    let mut other = Payload::of(&built.block);
    other.payload.payload_inner.payload_inner.block_hash = B256::repeat_byte(1);
    refuse("block hash", other);
    let mut other = Payload::of(&built.block);
    other.requests.clear();
    refuse("requests left out", other);
    // The control: undamaged, both take it.
    assert_eq!(geth.import(&Payload::of(&built.block))["status"], "VALID");
    assert!(fresh().import(&built.payload(), B256::repeat_byte(3), &built.block.requests).is_valid());
}

#[test]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
fn the_devnet_imports_what_geth_builds_which_is_what_it_builds_itself() {
    let execution = Execution::new(&GenesisConfig::default()).unwrap();
    let mut geth = Geth::start(&execution);
    let other = Execution::new(&GenesisConfig::default()).unwrap();
    for (seconds, txs, withdrawals) in kinds() {
        let head = execution.head();
        let at = after(&execution, seconds, withdrawals);
        // In network form: without their sidecars geth's build fails on blobs.
        let fill = Fill::Exactly(txs.clone());
        let built = execution.build(head.hash, &at, &fill, Bytes::from_static(b"ta")).unwrap();
        let theirs = geth.ask("testing_buildBlockV1", &json!([head.hash, at, txs, "0x7461"]));
        let (ours, theirs_payload) = (serde_json::to_value(built.payload()).unwrap(), &theirs["executionPayload"]);
        assert_eq!(ours, *theirs_payload, "{theirs}");
        assert_eq!(theirs["executionRequests"], json!(built.block.requests.iter().collect::<Vec<_>>()));
        assert_eq!(theirs["blockValue"], json!(built.value_wei()));
        // Only what geth said goes into the node that imports it.
        let payload = serde_json::from_value(theirs_payload.clone()).unwrap();
        let requests: Vec<Bytes> = serde_json::from_value(theirs["executionRequests"].clone()).unwrap();
        let status = other.import(&payload, B256::repeat_byte(3), &alloy_eips::eip7685::Requests::new(requests));
        assert!(status.is_valid(), "{status:?}");
        assert!(execution.import(&built.payload(), B256::repeat_byte(3), &built.block.requests).is_valid());
        execution.set_head(built.block.hash, B256::ZERO, B256::ZERO).unwrap();
        geth.follow(&built.block);
    }
}

#[tokio::test]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
async fn geth_imports_what_a_running_devnet_proposed() {
    let config = Config { slot_seconds: 3, ..common::fast() };
    let net = common::start(config).await;
    let execution = net.node.chain.execution().clone();
    let exit = [vec![0xc3; 48], 5u64.to_be_bytes().to_vec()].concat();
    for raw in [
        blob(0, 0, 2).0,
        deposit(1, 0).0,
        call(2, 0, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, exit, 1),
        access_list(3, 0, Address::repeat_byte(4), vec![]),
        set_code(4, 0, 5, 0, Address::repeat_byte(4)),
    ] {
        execution.add_transaction(&raw).unwrap();
    }
    let head = common::wait_for_slot(&net, 8).await;
    assert!(execution.pool().is_empty() && head.slot().get() >= 8);
    let last = execution.head().number();
    let blocks: Vec<_> = (1..=last).map(|n| execution.block_by_number(n).unwrap()).collect();
    net.stop().await;
    let geth = tokio::task::spawn_blocking(move || {
        let mut geth = Geth::start(&execution);
        blocks.iter().for_each(|b| geth.follow(b));
        let paid: usize = blocks.iter().map(|b| b.inner.body.withdrawals.as_ref().unwrap().len()).sum();
        let told: usize = blocks.iter().map(|b| b.requests.len()).sum();
        assert!(paid > 0 && told == 2, "{paid} withdrawals, {told} requests");
        assert!(blocks.windows(2).all(|b| (b[1].header().timestamp - b[0].header().timestamp) % 3 == 0));
    });
    geth.await.unwrap();
}
