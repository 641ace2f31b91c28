//! The pool's rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod el;

use alloy_consensus::TxEip1559;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, U256};
use el::{GWEI, access_list, address, attributes, blob, legacy, raw, set_code, template, transfer};
use proptest::prelude::*;
use tandem_devnet::execution::{Block, Execution, Fill, GenesisConfig, Limits, PoolConfig, decode_network};

fn execution(pool: PoolConfig) -> Execution {
    Execution::from_genesis(GenesisConfig::default().genesis().unwrap(), pool, Limits::default()).unwrap()
}

fn priced(from: usize, nonce: u64, tip: u128, cap: u128) -> Bytes {
    raw(from, TxEip1559 { max_priority_fee_per_gas: tip, max_fee_per_gas: cap, ..template(nonce) })
}

fn block(execution: &Execution, first: Vec<Bytes>) -> Vec<Address> {
    let head = execution.head();
    let at = serde_json::from_value(attributes(head.header().timestamp + 12)).unwrap();
    let built = execution.build(head.hash, &at, &Fill::FromPool { first }, Bytes::new()).unwrap();
    checked_elsewhere(execution, &built.block);
    assert!(execution.import(&built.payload(), B256::repeat_byte(3), &built.block.requests).is_valid());
    execution.set_head(built.block.hash, B256::ZERO, B256::ZERO).unwrap();
    built.block.senders.clone()
}

/// Whoever built a block only remembers it: another node has to check it, with all that is below it.
fn checked_elsewhere(execution: &Execution, block: &Block) {
    let genesis = execution.genesis_json().clone();
    let other = Execution::from_genesis(genesis, PoolConfig::default(), Limits::default()).unwrap();
    let mut chain = vec![alloy_rlp::encode(&block.inner)];
    let mut at = block.header().parent_hash;
    while at != execution.genesis().hash {
        // Where old blocks were forgotten there is nothing to begin from.
        let Some(parent) = execution.block_by_hash(at) else { return };
        chain.push(alloy_rlp::encode(&parent.inner));
        at = parent.header().parent_hash;
    }
    for rlp in chain.iter().rev() {
        let status = other.import_rlp(rlp);
        assert!(status.is_valid(), "{status:?}");
    }
}

#[test]
fn the_best_paying_come_first_and_nonces_stay_in_order() {
    let e = execution(PoolConfig::default());
    for (from, nonce, tip) in [(0, 0, 1), (0, 1, 9), (1, 0, 5), (2, 0, 7)] {
        e.add_transaction(&priced(from, nonce, tip * GWEI, 20 * GWEI)).unwrap();
    }
    assert_eq!(block(&e, vec![]), [2, 1, 0, 0].map(address));
}

#[test]
fn what_does_not_pay_the_base_fee_waits_in_the_pool() {
    let e = execution(PoolConfig::default());
    e.add_transaction(&priced(0, 0, 1, 100)).unwrap();
    assert!(block(&e, vec![]).is_empty());
    assert_eq!(e.pool().len(), 1);
}

#[test]
fn promised_transactions_come_first_and_the_pools_best_follow_without_them() {
    let e = execution(PoolConfig::default());
    e.add_transaction(&priced(1, 0, 9 * GWEI, 20 * GWEI)).unwrap();
    e.add_transaction(&priced(0, 0, GWEI, 20 * GWEI)).unwrap();
    e.add_transaction(&priced(0, 1, 3 * GWEI, 20 * GWEI)).unwrap();
    let promised = priced(0, 0, GWEI, 20 * GWEI);
    assert_eq!(block(&e, vec![promised]), [0, 1, 0].map(address));
    assert!(e.pool().is_empty());
}

#[test]
fn a_replacement_must_pay_a_tenth_more_of_both_fees() {
    let e = execution(PoolConfig::default());
    e.add_transaction(&priced(0, 0, 10 * GWEI, 100 * GWEI)).unwrap();
    for (tip, cap) in [(10, 200), (20, 100), (10, 109)] {
        let refused = e.add_transaction(&priced(0, 0, tip * GWEI, cap * GWEI)).unwrap_err();
        assert_eq!(refused.to_string(), "replacement transaction underpriced");
    }
    e.add_transaction(&priced(0, 0, 11 * GWEI, 110 * GWEI)).unwrap();
    assert_eq!(e.pool().len(), 1);
}

#[test]
fn a_sender_cannot_promise_more_than_it_has() {
    let e = execution(PoolConfig::default());
    let half = U256::from(6_000_000u64) * U256::from(10u64).pow(U256::from(18));
    let most = |nonce| raw(0, TxEip1559 { value: half, ..template(nonce) });
    e.add_transaction(&most(0)).unwrap();
    let refused = e.add_transaction(&most(1)).unwrap_err().to_string();
    assert!(refused.starts_with("insufficient funds for gas * price + value: balance"), "{refused}");
    assert!(refused.contains("queued cost"), "{refused}");
}

#[test]
fn limits_hold_and_leave_room_again() {
    let e = execution(PoolConfig { transactions: 3, per_sender: 2, ..PoolConfig::default() });
    for nonce in 0..2 {
        e.add_transaction(&transfer(0, nonce, Address::ZERO, 1)).unwrap();
    }
    assert_eq!(
        e.add_transaction(&transfer(0, 2, Address::ZERO, 1)).unwrap_err().to_string(),
        "account limit exceeded: pooled 2 txs"
    );
    e.add_transaction(&transfer(1, 0, Address::ZERO, 1)).unwrap();
    assert_eq!(e.add_transaction(&transfer(2, 0, Address::ZERO, 1)).unwrap_err().to_string(), "txpool is full");
    assert_eq!(block(&e, vec![]).len(), 3);
    e.add_transaction(&transfer(2, 0, Address::ZERO, 1)).unwrap();
}

#[test]
fn an_account_that_delegated_has_one_transaction_at_a_time() {
    let e = execution(PoolConfig::default());
    e.add_transaction(&set_code(0, 0, 1, 0, Address::repeat_byte(9))).unwrap();
    assert_eq!(block(&e, vec![]).len(), 1);
    e.add_transaction(&transfer(1, 1, Address::ZERO, 1)).unwrap();
    let refused = e.add_transaction(&transfer(1, 2, Address::ZERO, 1)).unwrap_err();
    assert_eq!(refused.to_string(), "in-flight transaction limit reached for delegated accounts");
}

/// geth's rules about who may have how many of which kind waiting, with geth's words.
#[test]
fn an_account_waits_with_blobs_or_without_and_who_authorises_with_one_transaction() {
    let refused = |e: &Execution, raw: &[u8]| e.add_transaction(raw).unwrap_err().to_string();
    let e = execution(PoolConfig::default());
    e.add_transaction(&transfer(0, 0, Address::ZERO, 1)).unwrap();
    assert_eq!(refused(&e, &blob(0, 0, 1).0), "address already reserved");
    assert_eq!(refused(&e, &blob(0, 1, 1).0), "nonce too high: tx nonce 1, gapped nonce 0");
    e.add_transaction(&blob(1, 0, 1).0).unwrap();
    assert_eq!(refused(&e, &transfer(1, 1, Address::ZERO, 1)), "address already reserved");
    // An authority with blobs waiting, or with more than one transaction, is taken.
    assert_eq!(refused(&e, &set_code(2, 0, 1, 1, Address::ZERO)), "authority already reserved");
    e.add_transaction(&transfer(0, 1, Address::ZERO, 1)).unwrap();
    assert_eq!(refused(&e, &set_code(2, 0, 0, 2, Address::ZERO)), "authority already reserved");
    // While an authorization waits, its authority has one transaction, and none behind a gap.
    e.add_transaction(&set_code(2, 0, 3, 0, Address::ZERO)).unwrap();
    assert_eq!(refused(&e, &transfer(3, 1, Address::ZERO, 1)), "gapped-nonce tx from delegated accounts");
    e.add_transaction(&transfer(3, 0, Address::ZERO, 1)).unwrap();
    assert_eq!(
        refused(&e, &transfer(3, 1, Address::ZERO, 1)),
        "in-flight transaction limit reached for delegated accounts"
    );
    // The authorization goes first and takes the nonce of the transfer beside it.
    assert_eq!(block(&e, vec![]).len(), 4);
    assert!(e.pool().is_empty());
    e.add_transaction(&blob(0, 2, 1).0).unwrap();
}

#[test]
fn a_blob_transaction_with_old_proofs_gets_its_cell_proofs_and_is_handed_on_with_them() {
    let e = execution(PoolConfig::default());
    let hash = e.add_transaction(&el::legacy_blob(0, 0, 1)).unwrap();
    let waiting = e.pool().get(&hash).unwrap();
    assert_eq!(waiting.sidecar.as_ref().unwrap().cell_proofs.len(), 128);
    assert_eq!(waiting.network(), blob(0, 0, 1).0, "the network form, with its sidecar");
    let refused = e.add_transaction(&el::legacy_blob(1, 0, 7)).unwrap_err();
    assert_eq!(refused.to_string(), "too many blobs in transaction: have 7, permitted 6");
    assert_eq!(block(&e, vec![]).len(), 1);
}

#[test]
fn a_blob_transaction_returns_with_its_sidecar_upon_a_reorg() {
    let e = execution(PoolConfig::default());
    let hash = e.add_transaction(&blob(0, 0, 1).0).unwrap();
    let genesis = e.genesis();
    assert_eq!(block(&e, vec![]).len(), 1);
    assert!(e.pool().get(&hash).is_none());
    e.set_head(genesis.hash, B256::ZERO, B256::ZERO).unwrap();
    assert!(e.pool().get(&hash).unwrap().sidecar.is_some());
    assert_eq!(block(&e, vec![]).len(), 1, "and is included again");
}

#[test]
fn an_authority_has_its_old_nonce_again_when_its_authorization_is_reorged_away() {
    let e = execution(PoolConfig::default());
    let genesis = e.genesis().hash;
    let delegation = e.add_transaction(&set_code(0, 0, 1, 0, Address::repeat_byte(9))).unwrap();
    assert_eq!(block(&e, vec![]).len(), 1);
    e.add_transaction(&transfer(1, 1, Address::ZERO, 1)).unwrap();
    let authority = || {
        let pool = e.pool();
        (pool.next_nonce(address(1)), pool.count())
    };
    assert_eq!(authority(), (2, (1, 0)));
    let at = serde_json::from_value(attributes(e.genesis().header().timestamp + 24)).unwrap();
    let side = e.build(genesis, &at, &Fill::Exactly(vec![]), Bytes::new()).unwrap();
    assert!(e.import(&side.payload(), B256::repeat_byte(3), &side.block.requests).is_valid());
    e.set_head(side.block.hash, B256::ZERO, B256::ZERO).unwrap();
    assert!(e.pool().get(&delegation).is_some(), "the delegation waits again");
    // Before it is included the authority's own next transaction is behind a gap.
    assert_eq!(authority(), (0, (1, 1)));
    assert_eq!(block(&e, vec![])[0], address(0));
    assert_eq!(e.pool().next_nonce(address(0)), 1);
}

#[test]
fn a_finalised_block_is_not_reorged() {
    let e = execution(PoolConfig::default());
    let genesis = e.genesis().hash;
    block(&e, vec![]);
    let one = e.head().hash;
    block(&e, vec![]);
    e.set_head(e.head().hash, one, one).unwrap();
    assert!(e.set_head(genesis, B256::ZERO, B256::ZERO).is_err());
    assert_eq!(e.head().number(), 2);
}

#[test]
fn old_states_are_forgotten_and_recent_ones_kept() {
    let limits = Limits { states: 2, blocks: 4 };
    let e =
        Execution::from_genesis(GenesisConfig::default().genesis().unwrap(), PoolConfig::default(), limits).unwrap();
    for _ in 0..8 {
        block(&e, vec![]);
        let head = e.head().hash;
        e.set_head(head, head, head).unwrap();
    }
    let has = |n: u64| e.block_by_number(n).map(|b| b.state().is_some());
    assert_eq!([has(0), has(2), has(4), has(6), has(8)], [Some(true), None, Some(false), Some(true), Some(true)]);
}

/// Whether the pool takes these bytes. Where they are read as a transaction without a sidecar, it is written with
/// the very same bytes, also by the pool that took it.
fn taken_as_written(e: &Execution, bytes: &[u8]) -> Result<bool, TestCaseError> {
    if let Ok(read) = decode_network(bytes)
        && read.sidecar.is_none()
    {
        prop_assert_eq!(read.tx.encoded_2718(), bytes);
    }
    let Ok(hash) = e.add_transaction(bytes) else { return Ok(false) };
    let waiting = e.pool().get(&hash);
    prop_assert_eq!(waiting.map(|tx| tx.network().to_vec()), Some(bytes.to_vec()));
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes from anywhere: a transaction, or a refusal. What is read is what was written.
    #[test]
    fn any_bytes_are_a_transaction_or_refused(junk in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..6) {
        let e = execution(PoolConfig::default());
        for bytes in [junk.clone(), [vec![kind], junk.clone()].concat()] {
            taken_as_written(&e, &bytes)?;
        }
        let _ = e.import_rlp(&junk);
    }

    /// Of bytes from anywhere hardly any are a transaction: here many are, and pay for themselves or do not.
    #[test]
    fn a_transaction_with_a_changed_byte_is_read_as_it_is_written_or_refused(
        kind in 0usize..4, at in any::<prop::sample::Index>(), flip in 0u8..
    ) {
        let to = Address::repeat_byte(1);
        let good = match kind {
            0 => legacy(0, 0, to),
            1 => access_list(0, 0, to, vec![B256::repeat_byte(2)]),
            2 => transfer(0, 0, to, 5),
            _ => set_code(0, 0, 1, 0, to),
        };
        let mut bytes = good.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let e = execution(PoolConfig::default());
        let taken = taken_as_written(&e, &bytes)?;
        prop_assert!(taken || flip != 0, "nothing was changed, and it is refused");
    }

    #[test]
    fn a_changed_byte_never_passes_as_the_same_transaction(at in 0usize..110, flip in 1u8..) {
        let good = transfer(0, 0, Address::repeat_byte(1), 5);
        let mut bad = good.to_vec();
        let at = at % bad.len();
        bad[at] ^= flip;
        if let Ok(read) = decode_network(&bad) {
            prop_assert_ne!(read.hash(), decode_network(&good).unwrap().hash());
        }
    }
}
