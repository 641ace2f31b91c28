//! Decoders met with bytes that nobody meant: they never panic, and what they accept encodes to the
//! same bytes. Real containers are damaged, since random bytes hardly get past the first offset.

use crate::{read, read_gz};
use bolero::check;
use std::{
    fmt::Debug,
    panic::RefUnwindSafe,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use tandem_beacon::*;

/// What is done to a real container: in turn one byte overwritten, many, the end cut, or a tail added.
type Damage = (u8, Vec<(u16, u8)>, u16, Vec<u8>);

fn damaged(original: &[u8], (how, writes, cut, tail): &Damage) -> Vec<u8> {
    let mut out = original.to_vec();
    let n = out.len();
    let some = if how % 4 == 0 { &writes[..writes.len().min(1)] } else { writes };
    match how % 4 {
        0 | 1 => some.iter().for_each(|(at, byte)| out[usize::from(*at) % n] = *byte),
        2 => out.truncate(usize::from(*cut) % (n + 1)),
        _ => out.extend_from_slice(tail),
    }
    out
}

/// Returns whether the bytes were accepted.
fn never_lies<T: ssz::Encode + ssz::Decode + Debug>(bytes: &[u8]) -> bool {
    let decoded = decode::<T>(bytes, MAX_BLOCK_BYTES);
    if let Ok(value) = &decoded {
        assert_eq!(encode(value), bytes, "{value:?}");
    }
    decoded.is_ok()
}

fn fuzz<T: ssz::Encode + ssz::Decode + Debug>(original: Vec<u8>, iterations: usize)
where
    Vec<u8>: RefUnwindSafe,
{
    assert!(never_lies::<T>(&original), "the undamaged one decodes");
    let (accepted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    check!().with_iterations(iterations).with_type::<Damage>().for_each(|d| {
        let counter = if never_lies::<T>(&damaged(&original, d)) { &accepted } else { &refused };
        counter.fetch_add(1, Relaxed);
    });
    // Both ways must have been met, or nothing was tested.
    assert!(refused.into_inner() > 0 && accepted.into_inner() > 0);
    check!().with_iterations(iterations / 4).with_type::<Vec<u8>>().for_each(|b| {
        never_lies::<T>(b);
    });
}

#[test]
fn damaged_blocks_do_not_panic_and_encode_back() {
    fuzz::<SignedBeaconBlock>(read("devnet-fulu/block-94.ssz"), 4000);
}

#[test]
fn damaged_blinded_blocks_do_not_panic_and_encode_back() {
    fuzz::<SignedBlindedBeaconBlock>(read("own-block/fulu-ssz-24/blinded-request.ssz"), 4000);
}

#[test]
fn damaged_contents_do_not_panic_and_encode_back() {
    fuzz::<SignedBeaconBlockContents>(read("own-block/fulu-ssz-24/signed-block-contents.ssz"), 300);
}

#[test]
fn damaged_bids_do_not_panic_and_encode_back() {
    fuzz::<SignedBuilderBid>(read("own-block/fulu-ssz-24/bid.ssz"), 4000);
}

#[test]
fn damaged_registrations_do_not_panic_and_encode_back() {
    fuzz::<SignedValidatorRegistration>(read("own-block/fulu-ssz-21/registration.ssz"), 2000);
    fuzz::<Vec<SignedValidatorRegistration>>(read("devnet-fulu/registrations.ssz"), 500);
}

#[test]
fn damaged_payloads_do_not_panic_and_encode_back() {
    let block: SignedBeaconBlock = decode(&read("devnet-fulu/block-94.ssz"), MAX_BLOCK_BYTES).unwrap();
    let payload = block.message.body.execution_payload;
    fuzz::<ExecutionPayloadHeader>(encode(&payload.header()), 2000);
    fuzz::<ExecutionPayload>(encode(&payload), 2000);
    let requests = ExecutionRequests {
        deposits: vec![Default::default()].try_into().unwrap(),
        withdrawals: vec![Default::default(); 2].try_into().unwrap(),
        consolidations: vec![Default::default()].try_into().unwrap(),
    };
    fuzz::<ExecutionRequests>(encode(&requests), 2000);
}

#[test]
fn damaged_states_do_not_panic_and_encode_back() {
    let original = read_gz("devnet-fulu/state-94.ssz.gz");
    // The fixed part holds all offsets; it ends where the first list begins, within the last 4 KiB
    // before the lists. Damage there moves every list.
    check!().with_iterations(40).with_type::<(Vec<(u32, u8)>, Option<u32>)>().for_each(|(writes, cut)| {
        let mut out = original.clone();
        for (at, byte) in writes {
            let at = *at as usize % out.len();
            out[at] = *byte;
        }
        if let Some(cut) = cut {
            out.truncate(*cut as usize % (out.len() + 1));
        }
        if let Ok(s) = BeaconState::from_ssz(&out) {
            assert!(encode(&s) == out);
        }
    });
}

#[test]
fn damaged_execution_blocks_do_not_panic_and_encode_back() {
    let v = crate::json("devnet-fulu/debug_getRawBlock-94.json");
    let original = crate::bytes(&v, "/result");
    check!().with_iterations(3000).with_type::<Damage>().for_each(|d| {
        let bytes = damaged(&original, d);
        if let Ok((payload, h)) = ExecutionPayload::from_block_rlp(&bytes) {
            let roots = (h.parent_beacon_block_root.unwrap(), h.requests_hash.unwrap());
            assert_eq!(payload.to_block_rlp(roots.0, roots.1).unwrap(), bytes);
        }
    });
}

#[test]
fn damaged_json_does_not_panic() {
    let original = read("devnet-fulu/block-5.json");
    check!().with_iterations(1500).with_type::<Damage>().for_each(|d| {
        let bytes = damaged(&original, d);
        if let Ok(v) = serde_json::from_slice::<Versioned<SignedBeaconBlock>>(&bytes) {
            let again: Versioned<SignedBeaconBlock> = serde_json::from_slice(&serde_json::to_vec(&v).unwrap()).unwrap();
            assert_eq!(again, v);
        }
    });
}
