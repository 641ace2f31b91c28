//! Blocks of the devnet's execution layer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::{eip2718::Encodable2718, eip4895::Withdrawal};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rpc_types_engine::{ExecutionPayloadV3, PayloadAttributes};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use tandem_devnet::execution::{DEV_ACCOUNTS, Execution, Fill, GenesisConfig};

fn transfer(from: usize, nonce: u64, to: Address, wei: u64) -> Bytes {
    let signer = PrivateKeySigner::from_bytes(&DEV_ACCOUNTS[from].key).unwrap();
    let tx = TxEip1559 {
        chain_id: 32_382,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(to),
        value: U256::from(wei),
        ..TxEip1559::default()
    };
    let signature = signer.sign_hash_sync(&tx.signature_hash()).unwrap();
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

fn attributes(timestamp: u64) -> PayloadAttributes {
    PayloadAttributes {
        timestamp,
        prev_randao: B256::repeat_byte(7),
        suggested_fee_recipient: Address::repeat_byte(0xfe),
        withdrawals: Some(vec![]),
        parent_beacon_block_root: Some(B256::repeat_byte(3)),
        ..PayloadAttributes::default()
    }
}

/// Builds on the head, imports and moves the head; gives the block's hash.
fn advance(execution: &Execution, fill: Fill) -> B256 {
    let head = execution.head();
    let built = execution.build(head.hash, &attributes(head.header().timestamp + 12), &fill, Bytes::new()).unwrap();
    let status = execution.import(&built.payload(), B256::repeat_byte(3), &built.block.requests);
    assert!(status.is_valid(), "{status:?}");
    execution.set_head(built.block.hash, B256::ZERO, B256::ZERO).unwrap();
    built.block.hash
}

#[test]
fn the_development_keys_belong_to_their_addresses() {
    for account in DEV_ACCOUNTS {
        assert_eq!(PrivateKeySigner::from_bytes(&account.key).unwrap().address(), account.address);
    }
}

#[test]
fn a_transfer_moves_money_and_pays_the_fee_recipient() {
    let execution = Execution::new(&GenesisConfig::default()).unwrap();
    let to = Address::repeat_byte(0xaa);
    advance(&execution, Fill::Exactly(vec![transfer(0, 0, to, 5)]));
    let head = execution.head();
    assert_eq!(head.number(), 1);
    assert_eq!(head.header().gas_used, 21_000);
    let state = head.state().unwrap();
    assert_eq!(state.account(to).unwrap().unwrap().balance, U256::from(5));
    let paid = state.account(Address::repeat_byte(0xfe)).unwrap().unwrap().balance;
    assert_eq!(paid, U256::from(21_000u64 * 1_000_000_000));
    assert_eq!(head.value, paid);
}

#[test]
fn another_node_imports_what_this_one_built_and_refuses_a_changed_one() {
    let one = Execution::new(&GenesisConfig::default()).unwrap();
    let other = Execution::new(&GenesisConfig::default()).unwrap();
    assert_eq!(one.genesis().hash, other.genesis().hash);
    let head = one.head();
    let txs =
        Fill::Exactly(vec![transfer(0, 0, Address::repeat_byte(1), 1), transfer(1, 0, Address::repeat_byte(2), 2)]);
    let built = one.build(head.hash, &attributes(head.header().timestamp + 12), &txs, Bytes::new()).unwrap();
    assert!(other.import(&built.payload(), B256::repeat_byte(3), &built.block.requests).is_valid());
    let mut forged = built.payload();
    forged.payload_inner.payload_inner.state_root = B256::repeat_byte(9);
    let forged = ConsensusRehash(forged).rehashed(&built);
    let status =
        Execution::new(&GenesisConfig::default()).unwrap().import(&forged, B256::repeat_byte(3), &built.block.requests);
    assert!(format!("{status:?}").contains("invalid merkle root"), "{status:?}");
}

/// A payload with a changed field and the hash that belongs to it.
struct ConsensusRehash(alloy_rpc_types_engine::ExecutionPayloadV3);

impl ConsensusRehash {
    fn rehashed(self, built: &tandem_devnet::execution::Built) -> alloy_rpc_types_engine::ExecutionPayloadV3 {
        let mut header = built.block.header().clone();
        header.state_root = self.0.payload_inner.payload_inner.state_root;
        let mut payload = self.0;
        payload.payload_inner.payload_inner.block_hash = header.hash_slow();
        payload
    }
}

#[test]
fn pooled_transactions_are_included_and_return_upon_a_reorg() {
    let execution = Execution::new(&GenesisConfig::default()).unwrap();
    let hash = execution.add_transaction(&transfer(0, 0, Address::repeat_byte(1), 1)).unwrap();
    let genesis = execution.genesis().hash;
    advance(&execution, Fill::FromPool { first: vec![] });
    assert!(execution.transaction(&hash).is_some());
    assert!(execution.pool().is_empty());
    let side = execution
        .build(genesis, &attributes(execution.genesis().header().timestamp + 24), &Fill::Exactly(vec![]), Bytes::new())
        .unwrap();
    assert!(execution.import(&side.payload(), B256::repeat_byte(3), &side.block.requests).is_valid());
    let change = execution.set_head(side.block.hash, B256::ZERO, B256::ZERO).unwrap();
    assert_eq!((change.removed.len(), change.added.len()), (1, 1));
    assert!(execution.transaction(&hash).is_none());
    assert!(execution.pool().get(&hash).is_some());
}

#[test]
fn a_bad_transaction_fails_the_whole_build_with_geths_words() {
    let execution = Execution::new(&GenesisConfig::default()).unwrap();
    let head = execution.head();
    let fill = Fill::Exactly(vec![transfer(0, 5, Address::ZERO, 1)]);
    let error = execution.build(head.hash, &attributes(head.header().timestamp + 12), &fill, Bytes::new()).unwrap_err();
    assert!(error.to_string().contains("nonce too high"), "{error}");
}

/// Whoever built a block remembers it and does not run it again: the checks are another node's.
#[test]
fn a_wrong_field_of_a_header_is_refused_and_named_and_so_for_each_field() {
    let new = || Execution::new(&GenesisConfig::default()).unwrap();
    let builder = new();
    let paid = Withdrawal { index: 1, validator_index: 2, address: Address::repeat_byte(0x88), amount: 77 };
    let txs = vec![el::deploy(0, 0, el::LOGGER), transfer(1, 0, Address::repeat_byte(7), 5), el::deposit(2, 0).0];
    let at = el::after(&builder, 12, vec![paid]);
    let built = builder.build(builder.head().hash, &at, &Fill::Exactly(txs), Bytes::new()).unwrap();
    for (in_payload, (what, damage, words)) in el::damage::ALL {
        let damaged = el::damage::apply(&built.block, *damage);
        for (who, node) in [("another node", new()), ("the builder", builder.clone())] {
            let status = node.import_rlp(&alloy_rlp::encode(&damaged));
            let text = format!("{status:?}");
            assert!(status.status.is_invalid() && text.contains(words), "{what}: {who} says {text}");
        }
        if *in_payload {
            let root = damaged.header.parent_beacon_block_root.unwrap();
            let payload = ExecutionPayloadV3::from_block_unchecked(damaged.header.hash_slow(), &damaged);
            let status = new().import(&payload, root, &built.block.requests);
            assert!(status.status.is_invalid(), "{what}: {status:?}");
        }
    }
    let mut orphan = built.block.inner.clone();
    orphan.header.parent_hash = B256::repeat_byte(1);
    assert!(new().import_rlp(&alloy_rlp::encode(&orphan)).is_syncing());
    // The control: undamaged, another node takes it, and knows it afterwards.
    let other = new();
    assert!(other.import_rlp(&alloy_rlp::encode(&built.block.inner)).is_valid());
    assert_eq!(other.block_by_hash(built.block.hash).unwrap().receipts.len(), 3);
}
