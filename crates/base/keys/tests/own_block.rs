//! Signatures that a real beacon node and its mock builder made (see `lab/vectors/SOURCES.md`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy_primitives::{B256, U256};
use serde_json::Value;
use std::{io::Read, path::PathBuf};
use tandem_beacon::{
    BeaconState, MAX_BLOCK_BYTES, SignedBeaconBlock, SignedBeaconBlockContents, SignedBlindedBeaconBlock,
    SignedBuilderBid, SignedValidatorRegistration, builder::decode_registrations, decode,
};
use tandem_crypto::{
    BidSigner, BlsError, bls,
    domains::{self, SigningFork},
    kzg,
};
use tandem_keys::{BidKey, BlsSecretKey, derive};
use tandem_types::BlsPublicKey;

const GENESIS_FORK: [u8; 4] = [0x20, 0x00, 0x00, 0x89];
const FULU_FORK: [u8; 4] = [0x20, 0x00, 0x00, 0x95];
const SLOTS: [&str; 3] = ["fulu-ssz-21", "fulu-ssz-24", "fulu-json-74"];

fn read(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../lab/vectors").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("the vector {} is needed and missing: {e}", path.display()))
}
fn json(name: &str) -> Value {
    serde_json::from_slice(&read(name)).unwrap()
}
fn own(slot: &str, file: &str) -> Vec<u8> {
    read(&format!("own-block/{slot}/{file}"))
}
fn fork(genesis: &str) -> SigningFork {
    let v = json(genesis);
    assert_eq!(v["data"]["genesis_fork_version"], "0x20000089");
    let root = v["data"]["genesis_validators_root"].as_str().unwrap().parse().unwrap();
    SigningFork { fork_version: FULU_FORK, genesis_validators_root: root }
}
fn own_fork(slot: &str) -> SigningFork {
    fork(if slot.contains("json") { "own-block/genesis-fulu-json.json" } else { "own-block/genesis-fulu-ssz.json" })
}
fn interop_key(index: u64) -> BlsPublicKey {
    derive::interop(index).unwrap().public_key()
}
fn secret_42() -> BlsSecretKey {
    let mut bytes = [0u8; 32];
    bytes[31] = 42;
    BlsSecretKey::from_bytes(&bytes).unwrap()
}

#[test]
fn the_devnets_validators_have_the_interop_keys() {
    let list = json("devnet-fulu/validators.json");
    let mut raw = Vec::new();
    flate2::read::GzDecoder::new(&read("devnet-fulu/state-94.ssz.gz")[..]).read_to_end(&mut raw).unwrap();
    let state = BeaconState::from_ssz(&raw).unwrap();
    for (i, v) in state.validators.iter().enumerate() {
        assert_eq!(v.pubkey, interop_key(i as u64));
    }
    for v in list["data"].as_array().unwrap() {
        let index = v["index"].as_str().unwrap().parse().unwrap();
        assert_eq!(v["validator"]["pubkey"], interop_key(index).to_string());
    }
}

#[test]
fn all_registrations_that_prysm_sent_are_signed_in_the_builder_domain() {
    for file in ["devnet-fulu/registrations.ssz", "own-block/registrations-fulu-ssz.ssz"] {
        check_registrations(&decode_registrations(&read(file), 64).unwrap());
    }
    let from_json = serde_json::from_slice::<Vec<_>>(&read("own-block/registrations-fulu-json.json")).unwrap();
    check_registrations(&from_json);
}

fn check_registrations(list: &[SignedValidatorRegistration]) {
    assert_eq!(list.len(), 64);
    let roots: Vec<B256> = list.iter().map(|r| domains::registration(GENESIS_FORK, &r.message)).collect();
    for (r, root) in list.iter().zip(&roots) {
        assert_eq!(bls::verify(&r.message.pubkey, root.as_slice(), &r.signature), Ok(()));
        // Another chain's domain, and another validator's key.
        let other = domains::registration([0; 4], &r.message);
        assert_eq!(bls::verify(&r.message.pubkey, other.as_slice(), &r.signature), Err(BlsError::Mismatch));
    }
    let keys: Vec<_> = list.iter().map(|r| r.message.pubkey).collect();
    let mut signatures: Vec<_> = list.iter().map(|r| r.signature).collect();
    let messages: Vec<&[u8]> = roots.iter().map(|r| r.as_slice()).collect();
    assert_eq!(bls::batch_verify(&keys, &messages, &signatures), Ok(()));
    // Two swapped signatures add up to the same sum, and are still found.
    signatures.swap(0, 1);
    assert_eq!(bls::batch_verify(&keys, &messages, &signatures), Err(BlsError::Mismatch));
}

#[test]
fn a_bid_key_makes_the_bids_that_prysm_accepted() {
    let key = BidKey::new(secret_42(), GENESIS_FORK);
    for slot in SLOTS {
        let bid: SignedBuilderBid = decode(&own(slot, "bid.ssz"), MAX_BLOCK_BYTES).unwrap();
        assert_eq!(bid.message.pubkey, key.public_key());
        let root = domains::bid(GENESIS_FORK, &bid.message);
        assert_eq!(bls::verify(&bid.message.pubkey, root.as_slice(), &bid.signature), Ok(()));
        let mut unsigned = bid.message.clone();
        unsigned.pubkey = Default::default();
        assert_eq!(key.seal_bid(unsigned), bid);
        let mut richer = bid.message.clone();
        richer.value += U256::from(1);
        assert_ne!(key.sign_bid(&richer), bid.signature);
    }
}

#[test]
fn proposers_signed_blinded_and_full_blocks_alike() {
    for slot in SLOTS {
        let blinded: SignedBlindedBeaconBlock = if slot.contains("json") {
            serde_json::from_slice(&own(slot, "blinded-request.json")).unwrap()
        } else {
            decode(&own(slot, "blinded-request.ssz"), MAX_BLOCK_BYTES).unwrap()
        };
        let full: SignedBeaconBlock = decode(&own(slot, "beacon-block.ssz"), MAX_BLOCK_BYTES).unwrap();
        let proposer = interop_key(full.message.proposer_index.get());
        for header in [blinded.header(), full.header()] {
            let root = own_fork(slot).block(&header.message);
            assert_eq!(bls::verify(&proposer, root.as_slice(), &header.signature), Ok(()));
            let genesis = SigningFork { fork_version: GENESIS_FORK, ..own_fork(slot) }.block(&header.message);
            assert_eq!(bls::verify(&proposer, genesis.as_slice(), &header.signature), Err(BlsError::Mismatch));
        }
        let epoch = full.message.slot.epoch();
        let reveal = &full.message.body.randao_reveal;
        assert_eq!(bls::verify(&proposer, own_fork(slot).randao(epoch).as_slice(), reveal), Ok(()));
        // Signing again gives the same bytes: BLS signatures are deterministic.
        let secret = derive::interop(full.message.proposer_index.get()).unwrap();
        assert_eq!(secret.sign(own_fork(slot).block(&full.header().message)), full.signature);
    }
    for n in [5, 94] {
        let block: SignedBeaconBlock = decode(&read(&format!("devnet-fulu/block-{n}.ssz")), MAX_BLOCK_BYTES).unwrap();
        let root = fork("devnet-fulu/genesis.json").block(&block.header().message);
        let proposer = interop_key(block.message.proposer_index.get());
        assert_eq!(bls::verify(&proposer, root.as_slice(), &block.signature), Ok(()));
    }
}

#[test]
fn published_blobs_verify_and_damaged_ones_do_not() {
    let contents: SignedBeaconBlockContents =
        decode(&own("fulu-ssz-24", "signed-block-contents.ssz"), MAX_BLOCK_BYTES).unwrap();
    let good = contents.bundle();
    assert_eq!((good.commitments.len(), good.blobs.len(), good.proofs.len()), (1, 1, 128));
    assert_eq!(kzg::verify_bundle(&good), Ok(()));
    let mut proof = good.clone();
    proof.proofs[7] = proof.proofs[8];
    assert!(matches!(kzg::verify_bundle(&proof), Err(kzg::KzgError::Invalid(_))));
    let mut blob = good.clone();
    blob.blobs[0][40] ^= 1;
    assert!(matches!(kzg::verify_bundle(&blob), Err(kzg::KzgError::Invalid(_))));
    let mut short = good.clone();
    short.proofs = short.proofs[1..].to_vec().try_into().unwrap();
    assert!(matches!(kzg::verify_bundle(&short), Err(kzg::KzgError::Shape(_))));
    // The blob's transaction names the commitment by its versioned hash.
    let tx = tandem_crypto::tx::decode(&contents.signed_block.message.body.execution_payload.transactions[0]).unwrap();
    assert_eq!(tx.facts.blob_hashes, good.versioned_hashes());
    assert_eq!(kzg::verify_sidecar(&good.to_sidecar(), &tx.facts.blob_hashes), Ok(()));
    assert!(kzg::verify_sidecar(&good.to_sidecar(), &[B256::ZERO]).is_err());
}

#[test]
fn the_header_request_names_the_bids_slot_parent_and_proposer() {
    for slot in SLOTS {
        let head = String::from_utf8(own(slot, "header-request.head.txt")).unwrap();
        let path = head.lines().next().unwrap().split(' ').nth(1).unwrap();
        let parts: Vec<&str> = path.trim_start_matches("/eth/v1/builder/header/").split('/').collect();
        let bid: SignedBuilderBid = decode(&own(slot, "bid.ssz"), MAX_BLOCK_BYTES).unwrap();
        let block: SignedBeaconBlock = decode(&own(slot, "beacon-block.ssz"), MAX_BLOCK_BYTES).unwrap();
        assert_eq!(parts[0].parse::<tandem_types::Slot>().unwrap(), block.message.slot);
        assert_eq!(parts[1].parse::<B256>().unwrap(), bid.message.header.parent_hash);
        assert_eq!(parts[2].parse::<BlsPublicKey>().unwrap(), interop_key(block.message.proposer_index.get()));
    }
}
