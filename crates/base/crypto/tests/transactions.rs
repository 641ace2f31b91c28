//! Transactions as geth and Prysm had them, and what must be refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use bolero::check;
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use tandem_beacon::{MAX_BLOCK_BYTES, SignedBeaconBlock, SignedBeaconBlockContents, decode as ssz};
use tandem_crypto::{
    SenderCache, TxError,
    tx::{self, decode},
};

fn read(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../lab/vectors").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("the vector {} is needed and missing: {e}", path.display()))
}
fn transactions() -> Vec<Vec<u8>> {
    let block: SignedBeaconBlock = ssz(&read("devnet-fulu/block-94.ssz"), MAX_BLOCK_BYTES).unwrap();
    block.message.body.execution_payload.transactions.iter().map(|t| t.to_vec()).collect()
}
fn blob_contents() -> SignedBeaconBlockContents {
    ssz(&read("own-block/fulu-ssz-24/signed-block-contents.ssz"), MAX_BLOCK_BYTES).unwrap()
}
fn number(v: &Value) -> U256 {
    v.as_str().map(|s| s.parse().unwrap()).unwrap_or_default()
}
/// The blob transaction of the own-block flow: canonical, and in network form.
fn blob_transaction() -> (Vec<u8>, Bytes) {
    let c = blob_contents();
    let canonical = c.signed_block.message.body.execution_payload.transactions[0].to_vec();
    let envelope = decode(&canonical).unwrap().envelope;
    let pooled = tx::with_sidecar(&envelope, c.bundle().to_sidecar()).unwrap();
    (canonical, pooled)
}

#[test]
fn the_facts_of_every_type_are_what_geth_answers() {
    let block: Value = serde_json::from_slice(&read("devnet-fulu/eth_getBlockByNumber-94.json")).unwrap();
    let answers = block["result"]["transactions"].as_array().unwrap();
    let raw = transactions();
    assert_eq!(raw.len(), answers.len());
    let mut types = Vec::new();
    for (raw, a) in raw.iter().zip(answers) {
        let d = decode(raw).unwrap();
        let f = &d.facts;
        assert_eq!(d.canonical, *raw);
        assert_eq!((d.pooled.is_none(), d.sidecar.is_none(), d.sidecar_hash()), (true, true, None));
        assert_eq!(f.hash, a["hash"].as_str().unwrap().parse::<B256>().unwrap());
        assert_eq!(f.sender, a["from"].as_str().unwrap().parse::<Address>().unwrap());
        assert_eq!(U256::from(f.nonce), number(&a["nonce"]));
        assert_eq!(U256::from(f.gas_limit), number(&a["gas"]));
        assert_eq!(U256::from(f.chain_id.unwrap()), number(&a["chainId"]));
        assert_eq!(U256::from(f.tx_type), number(&a["type"]));
        let price = if f.tx_type < 2 { &a["gasPrice"] } else { &a["maxFeePerGas"] };
        let tip = if f.tx_type < 2 { &a["gasPrice"] } else { &a["maxPriorityFeePerGas"] };
        assert_eq!(U256::from(f.max_fee_per_gas), number(price));
        assert_eq!(U256::from(f.max_priority_fee_per_gas), number(tip));
        assert_eq!(f.cost, number(price) * number(&a["gas"]) + number(&a["value"]));
        assert_eq!((f.size, f.max_fee_per_blob_gas, f.blob_hashes.len()), (raw.len(), 0, 0));
        types.push(f.tx_type);
    }
    assert_eq!(types, [0, 1, 2, 2, 4]);
}

#[test]
fn the_authority_is_the_account_that_got_code() {
    let raw = transactions();
    let d = decode(&raw[4]).unwrap();
    let trace: Value = serde_json::from_slice(&read("devnet-fulu/debug_traceBlockByNumber-94.json")).unwrap();
    let post = trace["result"][4]["result"]["post"].as_object().unwrap();
    let got_code: Vec<Address> = post
        .iter()
        .filter(|(_, v)| v["code"].as_str().is_some_and(|c| c.starts_with("0xef0100")))
        .map(|(k, _)| k.parse().unwrap())
        .collect();
    let authorities: Vec<Address> = d.facts.authorities.iter().map(|a| a.0).collect();
    assert_eq!(authorities, got_code);
    assert_eq!(authorities.len(), 1);
}

#[test]
fn a_blob_transaction_is_the_same_with_and_without_its_sidecar() {
    let (canonical, pooled) = blob_transaction();
    let (plain, full) = (decode(&canonical).unwrap(), decode(&pooled).unwrap());
    assert_eq!(full.facts, plain.facts);
    assert_eq!(full.canonical, plain.canonical);
    assert_eq!(full.pooled.as_ref(), Some(&pooled));
    assert_eq!(full.sidecar_hash(), Some(keccak256(&pooled)));
    assert_eq!((plain.facts.tx_type, plain.facts.blob_hashes.len(), plain.sidecar), (3, 1, None));
    let sidecar = full.sidecar.unwrap();
    assert_eq!(*sidecar, blob_contents().bundle().to_sidecar());
    assert!(full.facts.cost > U256::from(full.facts.gas_limit) * U256::from(full.facts.max_fee_per_gas));
    let result: Value = serde_json::from_slice(&read("own-block/fulu-ssz-24/result.json")).unwrap();
    assert_eq!(plain.facts.hash, result["promised_tx"].as_str().unwrap().parse::<B256>().unwrap());
}

#[test]
fn a_sidecar_that_lacks_a_blob_or_a_proof_is_refused() {
    let (canonical, _) = blob_transaction();
    let envelope = decode(&canonical).unwrap().envelope;
    let good = blob_contents().bundle().to_sidecar();
    let mut no_blob = good.clone();
    no_blob.blobs.clear();
    let mut proof_short = good.clone();
    proof_short.cell_proofs.pop();
    let mut twice = good.clone();
    twice.commitments.push(good.commitments[0]);
    for bad in [no_blob, proof_short, twice] {
        let raw = tx::with_sidecar(&envelope, bad).unwrap();
        assert_eq!(decode(&raw), Err(TxError::SidecarShape { hashes: 1 }));
    }
}

/// An RLP list of these items.
fn rlp_list(items: &[&[u8]]) -> Vec<u8> {
    let payload = items.concat();
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend_from_slice(&payload);
    out
}
/// Splits a typed transaction into its items.
fn items(raw: &[u8]) -> Vec<Vec<u8>> {
    let mut body = &raw[1..];
    let alloy_rlp::PayloadView::List(items) = alloy_rlp::Header::decode_raw(&mut body).unwrap() else {
        panic!("a list")
    };
    items.into_iter().map(<[u8]>::to_vec).collect()
}
fn joined(kind: u8, items: &[Vec<u8>]) -> Vec<u8> {
    let refs: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
    [vec![kind], rlp_list(&refs)].concat()
}

#[test]
fn a_sidecar_of_the_old_form_is_named() {
    let (_, pooled) = blob_transaction();
    let mut parts = items(&pooled);
    assert_eq!((parts.len(), &parts[1][..]), (5, &[1u8][..]));
    parts.remove(1);
    assert_eq!(decode(&joined(3, &parts)), Err(TxError::OldSidecar));
}

#[test]
fn one_transaction_has_one_form() {
    let raw = &transactions()[2];
    let parts = items(raw);
    assert_eq!(joined(2, &parts), *raw, "rebuilt as it was");
    // The nonce with a leading zero, as a long string, and as a list.
    for nonce in [vec![0x82, 0, 1], vec![0x81, 1], vec![0xb8, 1, 1], vec![0], vec![0xc1, 1]] {
        let mut bad = parts.clone();
        bad[1] = nonce.clone();
        assert!(matches!(decode(&joined(2, &bad)), Err(TxError::Decode(_) | TxError::NotCanonical)), "{nonce:02x?}");
    }
    // A parity that is neither 0 nor 1.
    let mut bad = parts.clone();
    bad[9] = vec![2];
    assert!(decode(&joined(2, &bad)).is_err());
    // Items missing or too many, and the length prefix longer than needed.
    assert!(decode(&joined(2, &parts[..11])).is_err());
    assert!(decode(&joined(2, &[&parts[..], &[vec![1]]].concat())).is_err());
    let mut long = vec![2, 0xf9, 0, raw.len() as u8 - 3];
    long.extend_from_slice(&raw[3..]);
    assert!(decode(&long).is_err());
    // Bytes after it, and the form with a string around it.
    for raw in transactions() {
        assert!(decode(&[&raw[..], &[0]].concat()).is_err());
        assert!(decode(&raw[..raw.len() - 1]).is_err());
        let mut wrapped = Vec::new();
        alloy_rlp::Encodable::encode(&raw[..], &mut wrapped);
        assert!(decode(&wrapped).is_err());
    }
}

#[test]
fn a_high_s_and_the_other_parity_are_other_senders_or_none() {
    let raw = &transactions()[2];
    let sender = decode(raw).unwrap().facts.sender;
    let mut parts = items(raw);
    let order = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
    let s = U256::from_be_slice(&parts[11][1..]);
    let flipped = if parts[9] == [0x80] { vec![1] } else { vec![0x80] };
    parts[9] = flipped;
    assert!(decode(&joined(2, &parts)).is_ok_and(|d| d.facts.sender != sender) || decode(&joined(2, &parts)).is_err());
    parts[11] = [vec![0xa0], (order - s).to_be_bytes_vec()].concat();
    assert!(matches!(decode(&joined(2, &parts)), Err(TxError::Sender(tandem_crypto::EcdsaError::HighS))));
}

#[test]
fn unknown_types_nothing_and_too_much_are_refused() {
    assert_eq!(decode(&[]), Err(TxError::Empty));
    for kind in [0u8, 5, 0x7f, 0x80, 0xbf] {
        assert_eq!(decode(&[kind, 0xc0]), Err(TxError::Type(kind)));
    }
    let big = vec![0xf8; tx::MAX_CANONICAL_BYTES + 1];
    assert!(matches!(decode(&big), Err(TxError::TooLarge { .. })));
}

#[test]
fn the_sender_cache_answers_as_recovery_does_and_stays_small() {
    let cache = SenderCache::new(2.try_into().unwrap());
    for _ in 0..2 {
        for raw in transactions() {
            assert_eq!(cache.decode(&raw), decode(&raw));
        }
    }
    assert_eq!(format!("{cache:?}"), "SenderCache { known: 2 }");
}

/// What was read, written again from its parts.
fn encoded(d: tx::DecodedTx) -> Vec<u8> {
    match d.sidecar {
        Some(sidecar) => tx::with_sidecar(&d.envelope, (*sidecar).clone()).unwrap().to_vec(),
        None => d.envelope.encoded_2718(),
    }
}

#[test]
fn damaged_transactions_do_not_panic_and_encode_back() {
    let mut originals = transactions();
    originals.push(blob_transaction().0);
    let (accepted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    check!().with_type::<(u8, Vec<(u16, u8)>, Option<u16>)>().for_each(|(which, writes, cut)| {
        let mut raw = originals[usize::from(*which) % originals.len()].clone();
        for (at, byte) in writes {
            let n = raw.len();
            raw[usize::from(*at) % n] = *byte;
        }
        if let Some(cut) = cut {
            raw.truncate(usize::from(*cut) % (raw.len() + 1));
        }
        let decoded = decode(&raw);
        if let Ok(d) = &decoded {
            assert_eq!(encoded(d.clone()), raw);
            assert_eq!((d.canonical.as_ref(), d.facts.hash), (&raw[..], keccak256(&raw)));
        }
        if decoded.is_ok() { &accepted } else { &refused }.fetch_add(1, Relaxed);
    });
    // Both ways must have been met, or nothing was tested.
    let counts = (accepted.into_inner(), refused.into_inner());
    assert!(counts.0 > 0 && counts.1 > 0, "{counts:?}");
}

#[test]
fn arbitrary_bytes_are_no_transaction_or_encode_back() {
    check!().with_type::<(u8, Vec<u8>)>().for_each(|(kind, rest)| {
        // A known type in front, so that more than the first byte is read.
        for raw in [rest.clone(), [&[kind % 5], &rest[..]].concat()] {
            if let Ok(d) = decode(&raw) {
                assert_eq!(encoded(d), raw);
            }
        }
    });
}

#[test]
fn a_damaged_network_form_does_not_panic_and_encodes_back() {
    let (_, pooled) = blob_transaction();
    check!().with_type::<(Vec<(u32, u8)>, Option<u32>)>().for_each(|(writes, cut)| {
        let mut raw = pooled.to_vec();
        for (at, byte) in writes {
            let n = raw.len();
            raw[*at as usize % n] = *byte;
        }
        if let Some(cut) = cut {
            raw.truncate(*cut as usize % (raw.len() + 1));
        }
        if let Ok(d) = decode(&raw) {
            assert_eq!(encoded(d), raw);
        }
    });
}
