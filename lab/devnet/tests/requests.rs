//! What blocks tell the consensus layer: deposits, withdrawal and consolidation requests, withdrawals,
//! and the contracts that blocks call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_eips::{eip2935, eip4788, eip4895::Withdrawal, eip7002, eip7251};
use alloy_primitives::{Address, B256, Bytes, U256};
use el::{address, after, attributes, call};
use std::sync::Arc;
use tandem_devnet::execution::{Block, Execution, Fill, GenesisConfig};

/// A node that builds, and one that checks every block from scratch.
struct Two {
    execution: Execution,
    replica: Execution,
}

impl Two {
    fn new() -> Self {
        let new = || Execution::new(&GenesisConfig::default()).unwrap();
        Self { execution: new(), replica: new() }
    }

    fn block(&self, txs: Vec<Bytes>, withdrawals: Vec<Withdrawal>) -> Arc<Block> {
        el::advance(&self.execution, &self.replica, &after(&self.execution, 12, withdrawals), &Fill::Exactly(txs))
    }
}

#[test]
fn a_deposit_becomes_a_request_with_its_bytes() {
    let (tx, expected) = el::deposit(0, 0);
    let made = Two::new().block(vec![tx], vec![]);
    assert_eq!(made.requests.iter().map(|r| r.to_vec()).collect::<Vec<_>>(), [expected]);
    assert_eq!(made.header().requests_hash, Some(made.requests.requests_hash()));
}

#[test]
fn withdrawal_and_consolidation_requests_come_from_their_contracts() {
    let two = Two::new();
    let exit = [vec![0xc3; 48], 5u64.to_be_bytes().to_vec()].concat();
    let merge = vec![0xd4; 96];
    let made = two.block(
        vec![
            call(0, 0, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, exit, 1),
            call(1, 0, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, merge.clone(), 1),
        ],
        vec![],
    );
    let exit = [&[1u8][..], address(0).as_slice(), &[0xc3; 48], &5u64.to_le_bytes()].concat();
    let merge = [&[2u8][..], address(1).as_slice(), &merge].concat();
    assert_eq!(made.requests.iter().map(|r| r.to_vec()).collect::<Vec<_>>(), [exit, merge]);
    assert!(two.block(vec![], vec![]).requests.is_empty(), "each is told once");
}

#[test]
fn withdrawals_are_paid_and_the_history_contracts_are_called() {
    let two = Two::new();
    let to = Address::repeat_byte(0x66);
    let genesis = two.execution.genesis().hash;
    let made = two.block(vec![], vec![Withdrawal { index: 0, validator_index: 1, address: to, amount: 3 }]);
    let state = made.state().unwrap();
    assert_eq!(state.account(to).unwrap().unwrap().balance, U256::from(3_000_000_000u64));
    let parent = state.slot(eip2935::HISTORY_STORAGE_ADDRESS, B256::ZERO).unwrap();
    assert_eq!(B256::from(parent), genesis);
    let ring = made.header().timestamp % 8191;
    let root = state.slot(eip4788::BEACON_ROOTS_ADDRESS, B256::from(U256::from(ring + 8191))).unwrap();
    assert_eq!(B256::from(root), B256::repeat_byte(3));
}

#[test]
fn osakas_caps_hold_gas_of_a_transaction_and_blobs_of_a_block() {
    let execution = Execution::new(&GenesisConfig::default()).unwrap();
    let head = execution.head();
    let at = serde_json::from_value(attributes(head.header().timestamp + 12)).unwrap();
    let over = alloy_consensus::TxEip1559 { gas_limit: 16_777_217, ..el::template(0) };
    let error =
        execution.build(head.hash, &at, &Fill::Exactly(vec![el::raw(0, over.clone())]), Bytes::new()).unwrap_err();
    assert!(error.to_string().contains("transaction gas limit too high (cap: 16777216, tx: 16777217)"), "{error}");
    let refused = execution.add_transaction(&el::raw(0, over)).unwrap_err();
    assert!(refused.to_string().starts_with("transaction gas limit too high"), "{refused}");
    let most = execution.spec().blobs.max_blob_count as usize;
    let six: Vec<Bytes> = (0..most / 6 + 1).map(|n| el::blob(n, 0, 6).0).collect();
    let error = execution.build(head.hash, &at, &Fill::Exactly(six), Bytes::new()).unwrap_err();
    assert!(error.to_string().contains("blob gas limit reached"), "{error}");
    let refused = execution.add_transaction(&el::blob(5, 0, 7).0).unwrap_err();
    assert_eq!(refused.to_string(), "too many blobs in transaction: have 7, permitted 6");
}

#[test]
fn a_genesis_file_makes_the_same_chain_again() {
    let one = Execution::new(&GenesisConfig::default()).unwrap();
    let text = serde_json::to_string(one.genesis_json()).unwrap();
    let file = serde_json::from_str(&text).unwrap();
    let other = Execution::from_genesis(file, Default::default(), Default::default()).unwrap();
    assert_eq!(one.genesis().hash, other.genesis().hash);
    assert_eq!(format!("{:?}", one.spec()), format!("{:?}", other.spec()));
}
