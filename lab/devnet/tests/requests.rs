//! What blocks tell the consensus layer: deposits, withdrawal and consolidation requests, withdrawals,
//! and the contracts that blocks call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_eips::{eip2935, eip4788, eip4895::Withdrawal, eip7002, eip7251};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, sol};
use el::{address, attributes, call};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tandem_devnet::execution::{Block, DEPOSIT_CONTRACT, Execution, Fill, GenesisConfig, PayloadAttributes};

sol! {
    function deposit(bytes pubkey, bytes withdrawal_credentials, bytes signature, bytes32 deposit_data_root);
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

fn block(execution: &Execution, txs: Vec<Bytes>, withdrawals: Vec<Withdrawal>) -> Arc<Block> {
    let head = execution.head();
    let at = PayloadAttributes {
        withdrawals: Some(withdrawals),
        ..serde_json::from_value(attributes(head.header().timestamp + 12)).unwrap()
    };
    let built = execution.build(head.hash, &at, &Fill::Exactly(txs), Bytes::new()).unwrap();
    let status = execution.import(&built.payload(), B256::repeat_byte(3), &built.block.requests);
    assert!(status.is_valid(), "{status:?}");
    execution.set_head(built.block.hash, B256::ZERO, B256::ZERO).unwrap();
    built.block
}

#[test]
fn a_deposit_becomes_a_request_with_its_bytes() {
    let execution = Execution::new(&GenesisConfig::default()).unwrap();
    let (pubkey, credentials, signature) = (vec![0xa1; 48], [2u8; 32], vec![0xb2; 96]);
    let gwei: u64 = 32_000_000_000;
    let pubkey_root = hash(&[&pubkey, &[0; 16]]);
    let signature_root = hash(&[&hash(&[&signature[..64]]), &hash(&[&signature[64..], &[0; 32]])]);
    let amount = [gwei.to_le_bytes().as_slice(), &[0; 24]].concat();
    let root = hash(&[&hash(&[&pubkey_root, &credentials]), &hash(&[&amount, &signature_root])]);
    let input = depositCall {
        pubkey: pubkey.clone().into(),
        withdrawal_credentials: credentials.into(),
        signature: signature.clone().into(),
        deposit_data_root: root.into(),
    }
    .abi_encode();
    let tx = alloy_consensus::TxEip1559 {
        value: U256::from(gwei) * U256::from(1_000_000_000u64),
        to: alloy_primitives::TxKind::Call(DEPOSIT_CONTRACT),
        input: input.into(),
        gas_limit: 500_000,
        ..el::template(0)
    };
    let made = block(&execution, vec![el::raw(0, tx)], vec![]);
    let expected = [&[0u8][..], &pubkey, &credentials, &gwei.to_le_bytes(), &signature, &0u64.to_le_bytes()].concat();
    assert_eq!(made.requests.iter().map(|r| r.to_vec()).collect::<Vec<_>>(), [expected]);
    assert_eq!(made.header().requests_hash, Some(made.requests.requests_hash()));
}

#[test]
fn withdrawal_and_consolidation_requests_come_from_their_contracts() {
    let execution = Execution::new(&GenesisConfig::default()).unwrap();
    let exit = [vec![0xc3; 48], 5u64.to_be_bytes().to_vec()].concat();
    let merge = vec![0xd4; 96];
    let made = block(
        &execution,
        vec![
            call(0, 0, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, exit, 1),
            call(1, 0, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, merge.clone(), 1),
        ],
        vec![],
    );
    let exit = [&[1u8][..], address(0).as_slice(), &[0xc3; 48], &5u64.to_le_bytes()].concat();
    let merge = [&[2u8][..], address(1).as_slice(), &merge].concat();
    assert_eq!(made.requests.iter().map(|r| r.to_vec()).collect::<Vec<_>>(), [exit, merge]);
    assert!(block(&execution, vec![], vec![]).requests.is_empty(), "each is told once");
}

#[test]
fn withdrawals_are_paid_and_the_history_contracts_are_called() {
    let execution = Execution::new(&GenesisConfig::default()).unwrap();
    let to = Address::repeat_byte(0x66);
    let genesis = execution.genesis().hash;
    let made = block(&execution, vec![], vec![Withdrawal { index: 0, validator_index: 1, address: to, amount: 3 }]);
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
