//! Each fault of a bid is found by its check, and nothing else is.

use super::*;
use crate::due::{Promised, Standing, tests::promised};
use alloy_primitives::{Address, Bytes, keccak256};
use tandem_beacon::payload;
use tandem_keys::BlsSecretKey;
use tandem_types::{BlockId, BlsSignature};

const FORK: [u8; 4] = [0x10, 0, 0, 0x38];

fn key(n: u8) -> BlsSecretKey {
    BlsSecretKey::from_ikm(&[n; 32]).unwrap()
}

fn attributes() -> Attributes {
    Attributes {
        slot: 9.into(),
        proposer_index: 3.into(),
        parent: BlockId { number: 41, hash: B256::repeat_byte(4) },
        timestamp: 1_108,
        prev_randao: B256::repeat_byte(5),
        suggested_fee_recipient: Address::repeat_byte(6),
        withdrawals: Vec::new(),
        parent_beacon_root: B256::repeat_byte(7),
    }
}

/// A bid with nothing wrong, but not signed yet.
fn unsigned() -> SignedBuilderBid {
    let (mut bid, a) = (SignedBuilderBid::default(), attributes());
    let m = &mut bid.message;
    m.header.block_hash = B256::repeat_byte(8);
    m.header.parent_hash = a.parent.hash;
    m.header.transactions_root = B256::repeat_byte(9);
    m.header.timestamp = a.timestamp;
    m.header.prev_randao = a.prev_randao;
    m.header.withdrawals_root = withdrawals_root(&a);
    (m.header.gas_limit, m.header.block_number) = (60_000_000, 42);
    m.value = U256::from(1_000);
    m.pubkey = key(1).public_key();
    bid
}

fn signed(mut bid: SignedBuilderBid, by: &BlsSecretKey) -> SignedBuilderBid {
    bid.signature = by.sign(domains::bid(FORK, &bid.message));
    bid
}

/// What the check says where the bid was signed by the relay after it was changed.
fn of(change: impl FnOnce(&mut SignedBuilderBid)) -> Result<(), BidFault> {
    let mut bid = unsigned();
    change(&mut bid);
    told(&signed(bid, &key(1)))
}

fn told(bid: &SignedBuilderBid) -> Result<(), BidFault> {
    let (relay, a) = (key(1).public_key(), attributes());
    let point = bls::PublicKey::new(&relay).unwrap();
    let want = Expected {
        attributes: &a,
        relay,
        relay_point: Ok(&point),
        genesis_fork_version: FORK,
        min_bid: Wei::new(U256::from(1_000)),
    };
    check(bid, &want)
}

#[test]
fn a_bid_with_one_thing_wrong_is_refused_for_that_and_one_with_nothing_wrong_is_not() {
    let (other, value) = (B256::repeat_byte(0xee), |n: u64| U256::from(n));
    assert_eq!(of(|_| {}), Ok(()));
    assert_eq!(of(|b| b.message.header.block_hash = B256::ZERO), Err(BidFault::ZeroHash));
    assert_eq!(of(|b| b.message.header.parent_hash = other), Err(BidFault::Parent(other)));
    assert_eq!(of(|b| b.message.header.transactions_root = EMPTY_TRANSACTIONS_ROOT), Err(BidFault::Empty));
    for low in [0, 999] {
        assert_eq!(of(|b| b.message.value = value(low)), Err(BidFault::Value(value(low))));
    }
    let most = Wei::from_eth(MOST_ETH).get();
    assert_eq!(of(|b| b.message.value = most), Ok(()));
    assert_eq!(of(|b| b.message.value = most + value(1)), Err(BidFault::Absurd(most + value(1))));
    for time in [1_107, 1_109] {
        assert_eq!(of(|b| b.message.header.timestamp = time), Err(BidFault::Timestamp(time)));
    }
    assert_eq!(of(|b| b.message.header.prev_randao = other), Err(BidFault::Randao(other)));
    assert_eq!(of(|b| b.message.header.withdrawals_root = other), Err(BidFault::Withdrawals(other)));
    assert_eq!(of(|b| b.message.pubkey = key(2).public_key()), Err(BidFault::Key));
}

#[test]
fn only_the_relays_own_signature_of_this_very_bid_in_this_chains_domain_counts() {
    let is_signature = |bid: &SignedBuilderBid| matches!(told(bid), Err(BidFault::Signature(_)));
    assert!(!is_signature(&signed(unsigned(), &key(1))));
    assert!(is_signature(&signed(unsigned(), &key(2))), "another's");
    assert!(is_signature(&unsigned()), "none");
    let mut changed = signed(unsigned(), &key(1));
    changed.message.value += U256::from(1);
    assert!(is_signature(&changed), "of a bid that pays less");
    let mut elsewhere = unsigned();
    elsewhere.signature = key(1).sign(domains::bid([0; 4], &elsewhere.message));
    assert!(is_signature(&elsewhere), "for another chain");
    let mut infinity = unsigned();
    infinity.signature = BlsSignature::new(std::array::from_fn(|i| if i == 0 { 0xc0 } else { 0 }));
    assert!(is_signature(&infinity), "the point at infinity");
}

#[test]
fn a_relay_whose_key_is_no_point_signs_nothing_that_is_taken() {
    let (a, relay) = (attributes(), key(1).public_key());
    let want = Expected {
        attributes: &a,
        relay,
        relay_point: Err(BlsError::BadKey),
        genesis_fork_version: FORK,
        min_bid: Wei::ZERO,
    };
    assert_eq!(check(&signed(unsigned(), &key(1)), &want), Err(BidFault::Signature(BlsError::BadKey)));
}

#[test]
fn gas_limit_and_number_are_those_that_follow_from_the_parent() {
    let (bid, a) = (unsigned(), attributes());
    assert_eq!(check_parent(&bid, &a, 60_000_000), Ok(()));
    assert_eq!(check_parent(&bid, &a, 60_000_001), Err(BidFault::GasLimit(60_000_000)));
    for number in [41, 43] {
        let mut bid = unsigned();
        bid.message.header.block_number = number;
        assert_eq!(check_parent(&bid, &a, 60_000_000), Err(BidFault::Number(number)));
    }
}

/// A block's transactions with their root, and promises of those at some places, the top one first if there is one.
struct Block {
    txs: payload::Transactions,
    root: B256,
}

impl Block {
    fn new() -> Self {
        let txs = payload::transactions((0..6u8).map(|i| vec![i; 50 + usize::from(i)])).unwrap();
        let root = payload::transactions_root(&txs);
        Self { txs, root }
    }

    fn promise(&self, at: usize, place: Place) -> Promised {
        let tx = Bytes::copy_from_slice(&self.txs[at]);
        let mut p = promised(at as u64, at as u8 + 1, 0, 1);
        (p.tx_hash, p.tx, p.place) = (keccak256(&tx), tx, place);
        p
    }

    fn due(&self, places: &[(usize, Place)]) -> DueSet {
        let one = |(at, place): &(usize, Place)| (self.promise(*at, *place), Standing::Due);
        DueSet { parent: BlockId::default(), items: places.iter().map(one).collect() }
    }

    fn proofs(&self, places: &[usize]) -> InclusionProofs {
        InclusionProofs::prove(&self.txs, places).unwrap()
    }
}

#[test]
fn all_that_is_due_must_be_proven_to_the_bids_own_root() {
    let block = Block::new();
    let due = block.due(&[(1, Place::Anywhere), (4, Place::Anywhere)]);
    let proofs = block.proofs(&[4, 1]);
    assert_eq!(check_due(block.root, Some(&proofs), &due), Ok(()));
    assert_eq!(check_due(block.root, None, &due), Err(BidFault::NoProofs));
    assert_eq!(check_due(B256::ZERO, None, &DueSet::default()), Ok(()), "where nothing is due nothing is proven");

    let left_out = due.items[0].0.tx_hash;
    assert_eq!(check_due(block.root, Some(&block.proofs(&[4])), &due), Err(BidFault::Unproven(left_out)));
    let fails =
        |root, proofs: &InclusionProofs| matches!(check_due(root, Some(proofs), &due), Err(BidFault::Proofs(_)));
    assert!(fails(B256::repeat_byte(1), &proofs), "of another block");
    assert!(fails(block.root, &block.proofs(&[4, 1, 5])), "of what nobody promised, too");
    for at in 0..proofs.merkle_hashes.len() {
        let mut forged = proofs.clone();
        forged.merkle_hashes[at].0[31] ^= 1;
        assert!(fails(block.root, &forged), "with branch {at} changed");
    }
    let mut long = proofs.clone();
    long.transaction_hashes.resize(MAX_PROVEN + 1, B256::ZERO);
    long.generalized_indexes.resize(MAX_PROVEN + 1, 0);
    assert!(fails(block.root, &long), "of more than there may be");
    let mut short = proofs.clone();
    short.generalized_indexes.pop();
    assert!(fails(block.root, &short), "with a place for one only");
    // It names what is due, and proves another transaction.
    let mut named = block.proofs(&[4, 2]);
    let at = named.transaction_hashes.iter().position(|h| *h == keccak256(&block.txs[2][..])).unwrap();
    named.transaction_hashes[at] = left_out;
    assert!(fails(block.root, &named));
}

#[test]
fn a_proof_may_be_of_more_of_the_seal_than_is_due() {
    let block = Block::new();
    let mut due = block.due(&[(1, Place::Anywhere), (4, Place::Anywhere)]);
    due.items[1].1 = Standing::Early(BlockId::default());
    assert_eq!(check_due(block.root, Some(&block.proofs(&[1, 4])), &due), Ok(()));
    assert_eq!(check_due(block.root, Some(&block.proofs(&[1])), &due), Ok(()));
    assert!(check_due(block.root, Some(&block.proofs(&[4])), &due).is_err());
}

#[test]
fn what_must_stand_at_the_top_is_proven_there_and_not_behind_another() {
    let block = Block::new();
    let with_top = |at| block.due(&[(at, Place::Top), (5, Place::Anywhere)]);
    assert_eq!(check_due(block.root, Some(&block.proofs(&[0, 5])), &with_top(0)), Ok(()));
    for at in [1, 4] {
        let due = with_top(at);
        let hash = due.items[0].0.tx_hash;
        assert_eq!(check_due(block.root, Some(&block.proofs(&[at, 5])), &due), Err(BidFault::NotAtTop(hash)));
    }
}
