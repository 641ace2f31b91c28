use crate::{both_ways, hash, json, read, ssz_both_ways};
use alloy_rpc_types_engine::ExecutionPayloadEnvelopeV5;
use tandem_beacon::{
    BeaconError, BlobsBundle, ExecutionPayload, ExecutionRequests, SignedBeaconBlock, SignedBeaconBlockContents,
    SignedBlindedBeaconBlock, SignedBuilderBid, SignedValidatorRegistration, builder::decode_registrations,
};
use tree_hash::TreeHash;

const SLOTS: [&str; 3] = ["fulu-ssz-21", "fulu-ssz-24", "fulu-json-74"];

fn at(slot: &str, file: &str) -> String {
    format!("own-block/{slot}/{file}")
}
fn bid(slot: &str) -> SignedBuilderBid {
    let from_json = both_ways::<SignedBuilderBid>(&json(&at(slot, "bid.json"))["data"]);
    assert_eq!(ssz_both_ways::<SignedBuilderBid>(&read(&at(slot, "bid.ssz"))), from_json);
    from_json
}
fn blinded(slot: &str) -> SignedBlindedBeaconBlock {
    if slot.contains("json") {
        both_ways(&json(&at(slot, "blinded-request.json")))
    } else {
        ssz_both_ways(&read(&at(slot, "blinded-request.ssz")))
    }
}
fn envelope(slot: &str) -> (ExecutionPayload, BlobsBundle, ExecutionRequests) {
    let e: ExecutionPayloadEnvelopeV5 = serde_json::from_slice(&read(&at(slot, "payload-envelope.json"))).unwrap();
    let payload = ExecutionPayload::from_engine(&e.execution_payload).unwrap();
    assert_eq!(payload.to_engine(), e.execution_payload);
    let requests = ExecutionRequests::from_eip7685(&e.execution_requests.iter().collect::<Vec<_>>()).unwrap();
    (payload, BlobsBundle::from_engine(&e.blobs_bundle).unwrap(), requests)
}

#[test]
fn a_bid_is_the_header_of_the_payload_that_geth_built() {
    for slot in SLOTS {
        let (payload, bundle, requests) = envelope(slot);
        let bid = bid(slot).message;
        assert_eq!(bid.header, payload.header());
        assert_eq!(bid.blob_kzg_commitments, bundle.commitments);
        assert_eq!(bid.execution_requests, requests);
        assert_eq!(bid.value, alloy_primitives::U256::from(10).pow(alloy_primitives::U256::from(21)));
    }
}

#[test]
fn a_blinded_block_and_the_payload_make_the_block_that_became_canonical() {
    for slot in SLOTS {
        let (payload, bundle, requests) = envelope(slot);
        let blinded = blinded(slot);
        let canonical: SignedBeaconBlock = ssz_both_ways(&read(&at(slot, "beacon-block.ssz")));
        assert_eq!(both_ways::<SignedBeaconBlock>(&json(&at(slot, "beacon-block.json"))["data"]), canonical);
        let header = json(&at(slot, "beacon-header.json"));
        let root = hash(&header, "/data/root");
        assert_eq!((blinded.message.tree_hash_root(), canonical.message.tree_hash_root()), (root, root));
        assert_eq!(canonical.header().message.body_root, hash(&header, "/data/header/message/body_root"));
        assert_eq!(blinded.clone().unblind(payload.clone()).unwrap(), canonical);
        assert_eq!(canonical.blind(), blinded);
        assert_eq!(blinded.message.body.execution_requests, requests);

        let contents = blinded.clone().unblind_contents(payload.clone(), bundle.clone()).unwrap();
        let published: SignedBeaconBlockContents = both_ways(&json(&at(slot, "signed-block-contents.json")));
        assert_eq!(contents, published);
        assert_eq!(contents.bundle(), bundle);
        if slot.contains("ssz") {
            assert_eq!(
                ssz_both_ways::<SignedBeaconBlockContents>(&read(&at(slot, "signed-block-contents.ssz"))),
                published
            );
        }
        let parent = json(&at(slot, "parent-beacon-header.json"));
        assert_eq!(canonical.message.parent_root, hash(&parent, "/data/root"));
    }
}

#[test]
fn the_execution_block_is_the_payloads_and_its_hash_the_headers() {
    for slot in SLOTS {
        let (payload, _, requests) = envelope(slot);
        let canonical: SignedBeaconBlock = ssz_both_ways(&read(&at(slot, "beacon-block.ssz")));
        let text = String::from_utf8(read(&at(slot, "execution-block.rlp"))).unwrap();
        let raw = hex::decode(text.trim().trim_matches('"').trim_start_matches("0x")).unwrap();
        let (from_rlp, header) = ExecutionPayload::from_block_rlp(&raw).unwrap();
        assert_eq!(from_rlp, payload);
        assert_eq!(header.parent_beacon_block_root, Some(canonical.message.parent_root));
        assert_eq!(payload.to_block_rlp(canonical.message.parent_root, requests.requests_hash()).unwrap(), raw);
        let promised = hash(&json(&at(slot, "result.json")), "/promised_tx");
        assert_eq!(alloy_primitives::keccak256(&payload.transactions[0][..]), promised);
    }
}

#[test]
fn a_payload_or_blobs_of_another_block_are_refused() {
    let (payload, bundle, _) = envelope("fulu-ssz-24");
    let other = blinded("fulu-ssz-21");
    assert!(matches!(other.clone().unblind(payload.clone()), Err(BeaconError::Mismatch { .. })));
    assert!(matches!(other.unblind_contents(payload.clone(), bundle.clone()), Err(BeaconError::Mismatch { .. })));
    let mut short = bundle.clone();
    short.proofs = short.proofs[1..].to_vec().try_into().unwrap();
    assert!(matches!(blinded("fulu-ssz-24").unblind_contents(payload.clone(), short), Err(BeaconError::Proof(_))));
    let mut none = bundle;
    none.blobs = Default::default();
    assert!(matches!(blinded("fulu-ssz-24").unblind_contents(payload, none), Err(BeaconError::Proof(_))));
}

#[test]
fn registrations_are_read_as_prysm_sends_them() {
    let ssz = decode_registrations(&read("own-block/registrations-fulu-ssz.ssz"), 64).unwrap();
    let v = json("own-block/registrations-fulu-json.json");
    let from_json: Vec<SignedValidatorRegistration> = both_ways(&v);
    assert_eq!((ssz.len(), from_json.len()), (64, 64));
    assert!(
        ssz.iter()
            .zip(&from_json)
            .all(|(a, b)| a.message.pubkey != Default::default() && a.message.gas_limit == b.message.gas_limit)
    );
    let raw = read("own-block/registrations-fulu-ssz.ssz");
    assert!(decode_registrations(&raw, 63).is_err());
    assert!(decode_registrations(&raw[..raw.len() - 1], 64).is_err());
    let one: SignedValidatorRegistration = ssz_both_ways(&read("own-block/fulu-ssz-21/registration.ssz"));
    assert!(ssz.contains(&one));
    let one: SignedValidatorRegistration = both_ways(&json("own-block/fulu-json-74/registration.json"));
    assert!(from_json.contains(&one));
}
