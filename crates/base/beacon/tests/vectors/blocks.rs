use crate::{both_ways, bytes, hash, json, read, ssz_both_ways};
use alloy_consensus::transaction::SignerRecoverable;
use tandem_beacon::{
    BeaconError, ExecutionPayload, InclusionProofs, SignedBeaconBlock, SignedBeaconBlockHeader, Versioned, decode,
};
use tree_hash::TreeHash;

pub fn block(n: u64) -> SignedBeaconBlock {
    ssz_both_ways(&read(&format!("devnet-fulu/block-{n}.ssz")))
}

#[test]
fn blocks_5_and_94_are_the_same_in_ssz_and_json_and_have_their_headers_roots() {
    for n in [5, 94] {
        let from_ssz = block(n);
        let v = json(&format!("devnet-fulu/block-{n}.json"));
        assert_eq!(both_ways::<SignedBeaconBlock>(&v["data"]), from_ssz);
        let enveloped: Versioned<SignedBeaconBlock> = serde_json::from_str(&v.to_string()).unwrap();
        assert_eq!(enveloped.data, from_ssz);
        let h = json(&format!("devnet-fulu/header-{n}.json"));
        let header: SignedBeaconBlockHeader = both_ways(&h["data"]["header"]);
        assert_eq!(from_ssz.header(), header);
        assert_eq!(from_ssz.message.tree_hash_root(), hash(&h, "/data/root"));
        assert_eq!(header.message.tree_hash_root(), hash(&h, "/data/root"));
        // Blinding changes no root.
        let blinded = from_ssz.blind();
        assert_eq!(blinded.message.tree_hash_root(), hash(&h, "/data/root"));
        assert_eq!(blinded.unblind(from_ssz.message.body.execution_payload.clone()).unwrap(), from_ssz);
    }
}

#[test]
fn geths_rlp_of_a_block_gives_its_payload_and_back() {
    for n in [5, 94] {
        let beacon = block(n).message;
        let raw = bytes(&json(&format!("devnet-fulu/debug_getRawBlock-{n}.json")), "/result");
        let (payload, header) = ExecutionPayload::from_block_rlp(&raw).unwrap();
        assert_eq!(payload, beacon.body.execution_payload);
        assert_eq!(header.hash_slow(), payload.block_hash);
        let requests = beacon.body.execution_requests.requests_hash();
        assert_eq!(payload.to_block_rlp(beacon.parent_root, requests).unwrap(), raw);
        payload.check_block_hash(beacon.parent_root, requests).unwrap();
        assert!(matches!(payload.check_block_hash(beacon.state_root, requests), Err(BeaconError::Mismatch { .. })));
        let executed = payload.to_block(beacon.parent_root, requests).unwrap();
        assert_eq!(executed.header, header);
        assert_eq!(ExecutionPayload::from_block(&executed).unwrap(), payload);
        let mut other = executed.clone();
        other.header.gas_used += 1;
        // The header hashes to something else then, which is a block of its own with these lists.
        assert_ne!(ExecutionPayload::from_block(&other).unwrap().block_hash, payload.block_hash);
        other.header.transactions_root = Default::default();
        assert!(ExecutionPayload::from_block(&other).is_err());
        assert_eq!(executed.body.transactions.len(), payload.transactions.len());
        assert!(executed.body.transactions.iter().all(|t| t.recover_signer().is_ok()));
        for cut in [0, 1, raw.len() / 2, raw.len() - 1] {
            assert!(ExecutionPayload::from_block_rlp(&raw[..cut]).is_err());
        }
        assert!(ExecutionPayload::from_block_rlp(&[&raw[..], &[0]].concat()).is_err());
    }
}

#[test]
fn transactions_of_block_94_are_proven_against_its_headers_root() {
    let payload = block(94).message.body.execution_payload;
    let root = payload.header().transactions_root;
    let due = |places: &[usize]| -> Vec<_> {
        places
            .iter()
            .map(|p| (alloy_primitives::keccak256(&payload.transactions[*p][..]), payload.transactions[*p].to_vec()))
            .collect()
    };
    for places in [vec![0], vec![4], vec![1, 3], vec![4, 0, 2], vec![0, 1, 2, 3, 4]] {
        let p = InclusionProofs::prove(&payload.transactions, &places).unwrap();
        p.verify(root, &due(&places)).unwrap();
        let again: InclusionProofs = serde_json::from_str(&serde_json::to_string(&p).unwrap()).unwrap();
        again.verify(root, &due(&places)).unwrap();
        assert!(p.verify(root, &due(&[0, 1, 2, 3])).is_err());
    }
}

#[test]
fn another_forks_json_and_longer_or_shorter_ssz_are_refused() {
    let mut v = json("devnet-fulu/block-5.json");
    v["data"]["message"]["body"]["execution_payload"]["new_field"] = "0".into();
    assert!(serde_json::from_str::<SignedBeaconBlock>(&v["data"].to_string()).is_err());
    let mut v = json("devnet-fulu/block-5.json");
    v["version"] = "gloas".into();
    assert!(serde_json::from_str::<Versioned<SignedBeaconBlock>>(&v.to_string()).is_err());
    for bad in [serde_json::json!(5), "-5".into(), "+5".into(), " 5".into(), "18446744073709551616".into(), "".into()] {
        let mut v = json("devnet-fulu/block-5.json");
        v["data"]["message"]["slot"] = bad.clone();
        assert!(serde_json::from_str::<SignedBeaconBlock>(&v["data"].to_string()).is_err(), "{bad}");
        let mut v = json("devnet-fulu/block-5.json");
        v["data"]["message"]["body"]["execution_payload"]["gas_limit"] = bad.clone();
        assert!(serde_json::from_str::<SignedBeaconBlock>(&v["data"].to_string()).is_err(), "{bad}");
    }
    let raw = read("devnet-fulu/block-5.ssz");
    assert!(decode::<SignedBeaconBlock>(&raw[..raw.len() - 1], raw.len()).is_err());
    assert!(decode::<SignedBeaconBlock>(&[&raw[..], &[0]].concat(), raw.len() + 1).is_err());
    assert!(matches!(decode::<SignedBeaconBlock>(&raw, raw.len() - 1), Err(BeaconError::TooLong { .. })));
}
