//! Decoders met with bytes that nobody meant: they never panic, and what they accept encodes to the
//! same bytes. Real containers are damaged, since random bytes hardly get past the first offset.
//!
//! Each target runs for a time, not for a number of inputs: `BOLERO_RANDOM_TEST_TIME_MS`, one second
//! where it is not set. A failure prints its `BOLERO_RANDOM_SEED`, by which it comes again.

use crate::{read, read_gz};
use bolero::check;
use std::{
    fmt::Debug,
    panic::RefUnwindSafe,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use tandem_beacon::*;

/// What is done to a real container: in turn one byte overwritten, many, the end cut, a tail added, or
/// all of it replaced.
type Damage = (u8, Vec<(u16, u8)>, u16, Vec<u8>);

fn damaged(original: &[u8], (how, writes, cut, tail): &Damage) -> Vec<u8> {
    let mut out = original.to_vec();
    let n = out.len();
    let some = if how % 5 == 0 { &writes[..writes.len().min(1)] } else { writes };
    match how % 5 {
        0 | 1 => some.iter().for_each(|(at, byte)| out[usize::from(*at) % n] = *byte),
        2 => out.truncate(usize::from(*cut) % (n + 1)),
        3 => out.extend_from_slice(tail),
        _ => out.clone_from(tail),
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

/// How often damaged bytes were accepted, and how often refused.
#[derive(Default)]
struct Outcomes {
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

impl Outcomes {
    fn count(&self, accepted: bool) {
        let counter = if accepted { &self.accepted } else { &self.refused };
        counter.fetch_add(1, Relaxed);
    }

    /// Both ways must have been met, or nothing was tested.
    fn were_both(self) {
        let (accepted, refused) = (self.accepted.into_inner(), self.refused.into_inner());
        assert!(accepted > 0 && refused > 0, "{accepted} accepted, {refused} refused");
    }
}

fn fuzz<T: ssz::Encode + ssz::Decode + Debug>(original: Vec<u8>)
where
    Vec<u8>: RefUnwindSafe,
{
    assert!(never_lies::<T>(&original), "the undamaged one decodes");
    let outcomes = Outcomes::default();
    check!().with_type::<Damage>().for_each(|d| {
        let bytes = damaged(&original, d);
        // Damage may leave it as it was: that says nothing.
        if bytes != original {
            outcomes.count(never_lies::<T>(&bytes));
        }
    });
    outcomes.were_both();
}

#[test]
fn damaged_blocks_do_not_panic_and_encode_back() {
    fuzz::<SignedBeaconBlock>(read("devnet-fulu/block-94.ssz"));
}

#[test]
fn damaged_blinded_blocks_do_not_panic_and_encode_back() {
    fuzz::<SignedBlindedBeaconBlock>(read("own-block/fulu-ssz-24/blinded-request.ssz"));
}

#[test]
fn damaged_contents_do_not_panic_and_encode_back() {
    fuzz::<SignedBeaconBlockContents>(read("own-block/fulu-ssz-24/signed-block-contents.ssz"));
}

#[test]
fn damaged_bids_do_not_panic_and_encode_back() {
    fuzz::<SignedBuilderBid>(read("own-block/fulu-ssz-24/bid.ssz"));
}

#[test]
fn damaged_registrations_do_not_panic_and_encode_back() {
    fuzz::<SignedValidatorRegistration>(read("own-block/fulu-ssz-21/registration.ssz"));
    fuzz::<Vec<SignedValidatorRegistration>>(read("devnet-fulu/registrations.ssz"));
}

#[test]
fn damaged_payloads_do_not_panic_and_encode_back() {
    let block: SignedBeaconBlock = decode(&read("devnet-fulu/block-94.ssz"), MAX_BLOCK_BYTES).unwrap();
    let payload = block.message.body.execution_payload;
    fuzz::<ExecutionPayloadHeader>(encode(&payload.header()));
    fuzz::<ExecutionPayload>(encode(&payload));
    let requests = ExecutionRequests {
        deposits: vec![Default::default()].try_into().unwrap(),
        withdrawals: vec![Default::default(); 2].try_into().unwrap(),
        consolidations: vec![Default::default()].try_into().unwrap(),
    };
    fuzz::<ExecutionRequests>(encode(&requests));
}

/// Where a state's fixed part has the offsets of its lists: `historical_roots`, `eth1_data_votes`,
/// `validators`, `balances`, both participations, `inactivity_scores`, the payload header,
/// `historical_summaries`, and the three pending queues.
const OFFSETS: [usize; 12] = [
    524_464, 524_540, 524_552, 524_556, 2_687_248, 2_687_252, 2_687_377, 2_736_629, 2_736_649, 2_736_701, 2_736_705,
    2_736_709,
];
/// Its end, with the look-ahead behind the last offset.
const FIXED: usize = 2_736_713 + 64 * 8;

/// What is done to a state: in turn one byte of its fixed part overwritten, one of an offset, many of either,
/// the end cut, or a tail added.
fn damaged_state(original: &[u8], (how, writes, cut, tail): &(u8, Vec<(u32, u8)>, u32, Vec<u8>)) -> Vec<u8> {
    let mut out = original.to_vec();
    let anywhere = |at: u32| at as usize % FIXED;
    let in_offset = |at: u32| OFFSETS[at as usize / 4 % OFFSETS.len()] + at as usize % 4;
    match how % 5 {
        0 => writes.iter().take(1).for_each(|(at, byte)| out[anywhere(*at)] = *byte),
        1 => writes.iter().take(1).for_each(|(at, byte)| out[in_offset(*at)] = *byte),
        2 => writes.iter().for_each(|(at, byte)| {
            let at = if at % 2 == 0 { in_offset(at / 2) } else { anywhere(*at) };
            out[at] = *byte;
        }),
        3 => out.truncate(*cut as usize % (original.len() + 1)),
        _ => out.extend_from_slice(tail),
    }
    out
}

#[test]
fn damaged_states_do_not_panic_and_encode_back() {
    let original = read_gz("devnet-fulu/state-94.ssz.gz");
    let offsets = OFFSETS.map(|at| u32::from_le_bytes(original[at..at + 4].try_into().unwrap()) as usize);
    assert!(offsets[0] == FIXED && offsets.is_sorted() && offsets[11] <= original.len(), "{offsets:?}");
    let accepts = |bytes: &[u8]| {
        let state = BeaconState::from_ssz(bytes);
        state.inspect(|s| assert!(encode(s) == bytes)).is_ok()
    };
    assert!(accepts(&original), "the undamaged one decodes");
    let outcomes = Outcomes::default();
    check!().with_type().for_each(|d| {
        let bytes = damaged_state(&original, d);
        if bytes != original {
            outcomes.count(accepts(&bytes));
        }
    });
    outcomes.were_both();
}

#[test]
fn damaged_execution_blocks_do_not_panic_and_encode_back() {
    let v = crate::json("devnet-fulu/debug_getRawBlock-94.json");
    let original = crate::bytes(&v, "/result");
    let outcomes = Outcomes::default();
    check!().with_type::<Damage>().for_each(|d| {
        let bytes = damaged(&original, d);
        if bytes == original {
            return;
        }
        let read = ExecutionPayload::from_block_rlp(&bytes);
        if let Ok((payload, h)) = &read {
            let roots = (h.parent_beacon_block_root.unwrap(), h.requests_hash.unwrap());
            assert_eq!(payload.to_block_rlp(roots.0, roots.1).unwrap(), bytes);
        }
        outcomes.count(read.is_ok());
    });
    outcomes.were_both();
}

#[test]
fn damaged_json_does_not_panic() {
    let original = read("devnet-fulu/block-5.json");
    let outcomes = Outcomes::default();
    check!().with_type::<Damage>().for_each(|(how, writes, cut, tail)| {
        // Half of the time with digits: any byte hardly leaves JSON in which something else stands.
        let digit = |byte: u8| if how & 0x80 == 0 { b"0123456789abcdef"[usize::from(byte) % 16] } else { byte };
        let writes = writes.iter().map(|(at, byte)| (*at, digit(*byte))).collect();
        let bytes = damaged(&original, &(*how, writes, *cut, tail.clone()));
        if bytes == original {
            return;
        }
        let read = serde_json::from_slice::<Versioned<SignedBeaconBlock>>(&bytes);
        if let Ok(v) = &read {
            let again: Versioned<SignedBeaconBlock> = serde_json::from_slice(&serde_json::to_vec(v).unwrap()).unwrap();
            assert_eq!(again, *v);
        }
        outcomes.count(read.is_ok());
    });
    outcomes.were_both();
}
