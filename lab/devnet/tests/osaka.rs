//! Osaka's rules at their edges: blob fees and their schedules, the size of a block, a transaction's gas.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_consensus::{Header, TxEip1559};
use alloy_genesis::Genesis;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_rpc_types_engine::ExecutionPayloadV3;
use el::{GWEI, after, raw, template};
use serde_json::{Value, json};
use tandem_devnet::execution::{Execution, Fill, GenesisConfig, MAX_BLOCK_RLP, OsakaSpec};

const BLOB: u64 = 131_072;

fn genesis(change: impl FnOnce(&mut Value)) -> Genesis {
    let mut file = serde_json::to_value(GenesisConfig::default().genesis().unwrap()).unwrap();
    change(&mut file);
    serde_json::from_value(file).unwrap()
}

fn chain(genesis: Genesis) -> Result<Execution, String> {
    Execution::from_genesis(genesis, Default::default(), Default::default()).map_err(|e| e.to_string())
}

fn schedule(target: u64, max: u64, fraction: u64) -> OsakaSpec {
    let blobs = json!({ "target": target, "max": max, "baseFeeUpdateFraction": fraction });
    chain(genesis(|g| g["config"]["blobSchedule"]["bpo2"] = blobs)).unwrap().spec().clone()
}

/// Numbers from the formulas of EIP-4844 and EIP-7918, worked out apart from this code.
#[test]
fn blob_fees_follow_eip_7918_below_the_reserve_price_and_eip_4844_above_it() {
    // (target, max, fraction), excess and blobs of the parent, its base fee, its blob fee, the next excess
    for (of, excess, blobs, base_fee, fee, next) in [
        ((14, 21, 11_684_671), 0, 21, 1_000_000_000, 1, 917_504),
        ((14, 21, 11_684_671), 0, 13, 1_000_000_000, 1, 0),
        ((14, 21, 11_684_671), 50_000_000, 6, 1_000_000_000, 72, 50_262_144),
        ((14, 21, 11_684_671), 240_000_000, 21, 1_000_000_000, 832_322_938, 240_917_504),
        ((14, 21, 11_684_671), 240_000_000, 0, 1_000_000_000, 832_322_938, 238_164_992),
        ((14, 21, 11_684_671), 1_835_008, 0, 7, 1, 0),
        ((10, 15, 8_346_193), 0, 13, 1_000_000_000, 1, 567_978),
        ((10, 15, 8_346_193), 50_000_000, 6, 1_000_000_000, 399, 50_262_144),
        ((10, 15, 8_346_193), 240_000_000, 0, 1_000_000_000, 3_078_998_411_299, 238_689_280),
        ((6, 9, 5_007_716), 1_835_008, 0, 7, 1, 1_048_576),
    ] {
        let spec = schedule(of.0, of.1, of.2);
        let parent = Header {
            excess_blob_gas: Some(excess),
            blob_gas_used: Some(blobs * BLOB),
            base_fee_per_gas: Some(base_fee),
            ..Header::default()
        };
        assert_eq!(
            (spec.blob_fee(&parent), spec.next_excess_blob_gas(&parent)),
            (fee, next),
            "{of:?} {excess} {blobs}"
        );
    }
}

#[test]
fn a_blob_fee_above_one_wei_is_paid_burnt_and_must_be_covered() {
    let start = |excess: u64| {
        let file = genesis(|g| g["excessBlobGas"] = json!(format!("{excess:#x}")));
        (chain(file.clone()).unwrap(), chain(file).unwrap())
    };
    let (execution, replica) = start(240_000_000);
    let before = execution.head().state().unwrap().account(el::address(0)).unwrap().unwrap().balance;
    let block =
        el::advance(&execution, &replica, &after(&execution, 12, vec![]), &Fill::Exactly(vec![el::blob(0, 0, 2).0]));
    let after_it = block.state().unwrap().account(el::address(0)).unwrap().unwrap().balance;
    let blob_fee = execution.spec().blob_fee(block.header());
    assert!(blob_fee > 700_000_000, "{blob_fee}");
    let base_fee = u128::from(block.header().base_fee_per_gas.unwrap());
    let gas = 21_000 * (base_fee + GWEI);
    assert_eq!(before - after_it, U256::from(gas + 2 * u128::from(BLOB) * blob_fee));
    assert_eq!(block.value, U256::from(21_000 * GWEI), "the blobs' fee goes to nobody");
    // e^(270/11.68) is above the gwei that it offers.
    let (execution, _) = start(270_000_000);
    let fill = Fill::Exactly(vec![el::blob(0, 0, 1).0]);
    let refused = execution.build(execution.head().hash, &after(&execution, 12, vec![]), &fill, Bytes::new());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("max fee per blob gas less than block blob gas fee"), "{refused}");
}

#[test]
fn a_genesis_file_may_state_its_blob_schedule_and_one_that_states_a_later_fork_is_refused() {
    let osaka = json!({ "target": 6, "max": 9, "baseFeeUpdateFraction": 5_007_716 });
    let bpo1 = json!({ "target": 10, "max": 15, "baseFeeUpdateFraction": 8_346_193 });
    let plain = genesis(|g| {
        let config = g["config"].as_object_mut().unwrap();
        config.remove("bpo1Time");
        config.remove("bpo2Time");
        config["blobSchedule"] = json!({ "osaka": osaka });
    });
    assert_eq!(chain(plain).unwrap().spec().blobs.max_blob_count, 9);
    let one = genesis(|g| {
        g["config"].as_object_mut().unwrap().remove("bpo2Time");
        g["config"]["blobSchedule"] = json!({ "osaka": osaka, "bpo1": bpo1 });
    });
    let execution = chain(one).unwrap();
    let blobs = execution.spec().blobs;
    assert_eq!((blobs.target_blob_count, blobs.max_blob_count, blobs.update_fraction), (10, 15, 8_346_193));
    // 15 blobs fit then, and 18 do not.
    let build = |counts: &[usize]| {
        let txs = counts.iter().enumerate().map(|(from, blobs)| el::blob(from, 0, *blobs).0).collect();
        let at = after(&execution, 12, vec![]);
        execution.build(execution.head().hash, &at, &Fill::Exactly(txs), Bytes::new()).map_err(|e| e.to_string())
    };
    assert!(build(&[6, 6, 3]).is_ok());
    assert!(build(&[6, 6, 6]).unwrap_err().contains("blob gas limit reached"));
    for (fork, time) in [
        ("bpo3Time", 0),
        ("bpo4Time", 9_000_000_000u64),
        ("bpo5Time", 0),
        ("amsterdamTime", 9_000_000_000),
        ("bogotaTime", 0),
        ("bpo2Time", 9_000_000_000),
        ("osakaTime", 9_000_000_000),
    ] {
        let refused = chain(genesis(|g| g["config"][fork] = json!(time))).unwrap_err();
        assert!(refused.starts_with(&format!("bad genesis: {fork}: ")), "{refused}");
    }
}

/// So many zero bytes of calldata: 10 gas each by EIP-7623.
fn filler(from: usize, bytes: usize) -> Bytes {
    let gas_limit = 21_000 + 10 * bytes as u64;
    raw(from, TxEip1559 { input: vec![0; bytes].into(), gas_limit, to: TxKind::Call(Address::ZERO), ..template(0) })
}

#[test]
fn a_block_of_the_largest_size_is_built_and_imported_and_one_byte_more_is_not() {
    let new = || Execution::new(&GenesisConfig { gas_limit: 200_000_000, ..GenesisConfig::default() }).unwrap();
    let execution = new();
    let at = after(&execution, 12, vec![]);
    let build = |last: usize| {
        let mut txs: Vec<Bytes> = (0..5).map(|from| filler(from, 1_600_000)).collect();
        txs.push(filler(5, last));
        execution.build(execution.head().hash, &at, &Fill::Exactly(txs), Bytes::new())
    };
    let guess = 380_000;
    let size = build(guess).unwrap().block.size;
    let fits = guess + (MAX_BLOCK_RLP - size);
    let built = build(fits).unwrap();
    assert_eq!(built.block.size, MAX_BLOCK_RLP, "not a byte is left");
    let status = new().import(&built.payload(), at.parent_beacon_block_root.unwrap(), &built.block.requests);
    assert!(status.is_valid(), "{status:?}");
    let refused = build(fits + 1).unwrap_err().to_string();
    assert_eq!(refused, format!("the block has {} bytes, more than fit in a block", MAX_BLOCK_RLP + 1));
    // Nor is it taken from another: the same block with one byte more of calldata.
    let mut larger = built.block.inner.clone();
    larger.body.transactions[5] =
        tandem_devnet::execution::decode_network(&filler(5, fits + 1)).unwrap().tx.into_inner();
    larger.header.transactions_root = alloy_consensus::proofs::calculate_transaction_root(&larger.body.transactions);
    let status = new().import_rlp(&alloy_rlp::encode(&larger));
    assert!(format!("{status:?}").contains("block RLP-encoded size exceeds maximum"), "{status:?}");
}

#[test]
fn a_block_with_a_transaction_above_the_gas_cap_is_refused() {
    let new = || Execution::new(&GenesisConfig::default()).unwrap();
    let execution = new();
    let at = after(&execution, 12, vec![]);
    let with = |gas_limit: u64| raw(0, TxEip1559 { gas_limit, ..template(0) });
    let fill = Fill::Exactly(vec![with(16_777_216)]);
    let built = execution.build(execution.head().hash, &at, &fill, Bytes::new()).unwrap();
    let root = at.parent_beacon_block_root.unwrap();
    assert!(new().import(&built.payload(), root, &built.block.requests).is_valid(), "at the cap");
    let mut over = built.block.inner.clone();
    over.body.transactions[0] = tandem_devnet::execution::decode_network(&with(16_777_217)).unwrap().tx.into_inner();
    over.header.transactions_root = alloy_consensus::proofs::calculate_transaction_root(&over.body.transactions);
    let payload = ExecutionPayloadV3::from_block_unchecked(over.header.hash_slow(), &over);
    let status = format!("{:?}", new().import(&payload, root, &built.block.requests));
    assert!(status.contains("transaction gas limit too high (cap: 16777216, tx: 16777217)"), "{status}");
}
