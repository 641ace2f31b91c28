#![allow(clippy::unwrap_used)]

use super::*;
use alloy_primitives::b256;
use tandem_keys::{HostSecret, derive};
use tandem_types::{Body, SlotKey, fabric};

const CHAIN: u64 = 32_382;
const FORK: [u8; 4] = [0x20, 0, 0, 0x89];
const SLOT: u64 = 7;

/// A transfer of the recorded devnet's block 94, for chain 32382.
fn transaction() -> Bytes {
    let block: Value = serde_json::from_str(include_str!("../../../../lab/vectors/devnet-fulu/block-94.json")).unwrap();
    let all = &block["data"]["message"]["body"]["execution_payload"]["transactions"];
    all[2].as_str().unwrap().parse().unwrap()
}

/// The registered ids of a delegation and of an inclusion, as they never change.
const DELEGATION: B256 = b256!("0x18a7b98d23c72f7e16b0439737ae810a259d4c4d4687571e00868de96764a198");
const INCLUSION: B256 = b256!("0xb866942ffe4ab99662fa6b9036afe59b23b655ca6144e6b4ee9e370867870e5e");

/// A promise as the gateway shows it, whole.
fn promise() -> Value {
    signed_under(DELEGATION, INCLUSION)
}

/// One whose delegation and commitment are signed under these ids.
fn signed_under(delegation_id: B256, commitment_id: B256) -> Value {
    let validator = derive::interop(3).unwrap();
    let key = SlotKey { chain_id: CHAIN, proposer: validator.public_key(), slot: Slot::new(SLOT) };
    let secret = HostSecret::from_bytes([3; 32]);
    let committer = secret.committer(&key).unwrap();
    let message = DelegationMessage {
        proposer: key.proposer,
        delegate: secret.delegate(&key).unwrap().public_key(),
        committer: committer.address(),
        slot: key.slot,
        metadata: Bytes::new(),
    };
    let body: Body = message.body(CHAIN).unwrap();
    let root = tagged::signing_root(body.object_root(), delegation_id, 0, CHAIN, FORK);
    let delegation = json!({
        "message": message, "nonce": 0, "signing_id": delegation_id, "signature": validator.sign(root.get()),
        "signing_root": root.get(),
    });
    let payload = fabric::inclusion_payload(SLOT, &transaction());
    let mut signed = abi::SignedCommitment {
        commitment: abi::Commitment {
            commitmentType: fabric::INCLUSION,
            payload: payload.clone(),
            requestHash: fabric::request_hash(fabric::INCLUSION, &payload, Address::ZERO),
            slasher: Address::ZERO,
        },
        nonce: 0,
        signingId: commitment_id,
        signature: Bytes::new(),
    };
    let (object_root, root) = tandem_crypto::promise::commitment_roots(&signed, CHAIN, FORK);
    signed.signature = committer.sign(root.get()).to_vec().into();
    json!({
        "commitment": {
            "commitment": {
                "commitment_type": signed.commitment.commitmentType,
                "payload": signed.commitment.payload,
                "request_hash": signed.commitment.requestHash,
                "slasher": signed.commitment.slasher,
            },
            "nonce": 0,
            "signing_id": signed.signingId,
            "signature": signed.signature,
        },
        "chain_id": CHAIN,
        "genesis_time": 1_000,
        "slot_seconds": 2,
        "genesis_fork_version": hex::encode_prefixed(FORK),
        "proposer": key.proposer,
        "delegation": delegation,
        "slot": SLOT,
        "tx_hash": tandem_crypto::tx::decode(&transaction()).unwrap().facts.hash,
        "request_hash": signed.commitment.requestHash,
        "object_root": object_root,
        "signing_root": root.get(),
    })
}

fn check(v: &Value) -> Result<VerifiedPromise> {
    check_offline(&serde_json::from_value(v.clone())?)
}

#[test]
fn a_whole_promise_holds_from_its_bytes_alone() {
    let verified = check(&promise()).unwrap();
    assert_eq!((verified.slot, verified.tx.canonical), (Slot::new(SLOT), transaction()));
}

#[test]
fn a_delegation_or_a_commitment_that_is_signed_under_another_id_is_refused_for_that() {
    assert!(check(&signed_under(DELEGATION, INCLUSION)).is_ok());
    for other in [B256::ZERO, B256::repeat_byte(5), tagged::tag("tandem/seal/v1"), tagged::tag("a module")] {
        for (delegation, commitment, kind) in [
            (other, INCLUSION, "delegation"),
            (DELEGATION, other, "inclusion"),
            // Each other's.
            (INCLUSION, INCLUSION, "delegation"),
            (DELEGATION, DELEGATION, "inclusion"),
        ] {
            let got = if kind == "delegation" { delegation } else { commitment };
            let why = format!("{:#}", check(&signed_under(delegation, commitment)).unwrap_err());
            let want = format!("the signing id {got} is not the registered one of kind {kind}");
            assert!(why.contains(&want), "{why}");
        }
    }
}

#[test]
fn which_proposer_is_another_is_told_short_and_once_and_whole_where_short_ones_are_the_same() {
    let (ours, other) = (derive::interop(3).unwrap().public_key(), derive::interop(4).unwrap().public_key());
    let mut changed = promise();
    changed["proposer"] = json!(other);
    let why = format!("{:#}", check(&changed).unwrap_err());
    let want = format!("the delegation is of the proposer {}, the promise names {}", ours.short(), other.short());
    assert_eq!(why, want);
    let mut alike = [7; 48];
    let first = BlsPublicKey::new(alike);
    alike[47] = 8;
    let second = BlsPublicKey::new(alike);
    assert_eq!(apart(first, second), (first.to_string(), second.to_string()));
}

#[test]
fn the_reason_why_a_committers_signature_does_not_hold_is_told_once() {
    let mut changed = promise();
    changed["commitment"]["nonce"] = json!(1);
    let why = format!("{:#}", check(&changed).unwrap_err());
    assert_eq!(why.matches("signed by").count() + why.matches("no key recovers").count(), 1, "{why}");
}

#[test]
fn every_change_to_a_whole_promise_is_found() {
    let other_slot = fabric::inclusion_payload(SLOT + 1, &transaction());
    // 48 bytes that are no point of the curve, and one on it that is outside the subgroup.
    let off_curve = format!("0x{}", "11".repeat(48));
    let outside = "0x8123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let changes: &[(&str, Value)] = &[
        ("/commitment/commitment/payload", json!(other_slot)),
        ("/commitment/commitment/request_hash", json!(B256::ZERO)),
        ("/commitment/commitment/slasher", json!(Address::repeat_byte(1))),
        ("/commitment/nonce", json!(1)),
        ("/commitment/signing_id", json!(B256::ZERO)),
        ("/commitment/signature", json!(Bytes::from(vec![0; 65]))),
        ("/chain_id", json!(1)),
        ("/genesis_fork_version", json!("0x00000000")),
        ("/genesis_fork_version", json!("0x0000")),
        ("/proposer", json!(derive::interop(4).unwrap().public_key())),
        ("/delegation", Value::Null),
        ("/delegation/nonce", json!(1)),
        ("/delegation/message/slot", json!(SLOT + 1)),
        ("/delegation/message/committer", json!(Address::repeat_byte(1))),
        ("/delegation/message/proposer", json!(derive::interop(4).unwrap().public_key())),
        ("/delegation/message/delegate", json!(off_curve)),
        ("/delegation/message/proposer", json!(off_curve)),
        ("/delegation/message/delegate", json!(outside)),
        ("/delegation/message/metadata", json!("0x01")),
    ];
    for (at, to) in changes {
        let mut changed = promise();
        *changed.pointer_mut(at).unwrap() = to.clone();
        assert!(check(&changed).is_err(), "{at} = {to} was not found");
    }
}

#[test]
fn what_a_file_writes_out_beside_what_is_signed_is_compared_with_it_and_named() {
    for (at, to) in [
        ("slot", json!(SLOT + 1)),
        ("slot", json!("8")),
        ("tx_hash", json!(B256::ZERO)),
        ("request_hash", json!(B256::ZERO)),
        ("object_root", json!(B256::ZERO)),
        ("signing_root", json!(B256::ZERO)),
        ("delegation/signing_root", json!(B256::ZERO)),
    ] {
        let mut changed = promise();
        let field = changed.pointer_mut(&format!("/{at}")).unwrap();
        *field = to.clone();
        let why = check(&changed).unwrap_err().to_string();
        assert!(why.starts_with(&format!("{} is ", at.replace('/', "."))) && why.contains("signed"), "{at}: {why}");
        let (rest, name) = at.rsplit_once('/').unwrap_or(("", at));
        let rest = if rest.is_empty() { String::new() } else { format!("/{rest}") };
        changed.pointer_mut(&rest).unwrap().as_object_mut().unwrap().remove(name);
        assert!(check(&changed).is_ok(), "without {at} it is the same promise");
    }
    let mut quoted = promise();
    quoted["slot"] = json!(SLOT.to_string());
    assert!(check(&quoted).is_ok());
}

#[test]
fn a_promise_is_judged_by_the_slot_of_the_block_that_has_it() {
    let at = Slot::new;
    assert_eq!(judge(at(7), Some(at(7)), at(9)), Verdict::Kept);
    assert_eq!(judge(at(7), Some(at(6)), at(9)), Verdict::Early(at(6)));
    assert_eq!(judge(at(7), Some(at(8)), at(9)), Verdict::Late(at(8)));
    assert_eq!(judge(at(7), None, at(7)), Verdict::Pending);
    assert_eq!(judge(at(7), None, at(8)), Verdict::Missing);
}

#[tokio::test]
async fn a_slot_without_a_block_is_found_by_the_blocks_around_it() {
    // The slots of blocks 0 to 6: 3, 4, 7 and 8 have none.
    let chain: [u64; 7] = [0, 1, 2, 5, 6, 9, 10];
    let slot_at = async |n: u64| chain.get(usize::try_from(n).unwrap()).copied().map(Slot::new);
    for slot in 0..=10 {
        let next = *chain.iter().find(|s| **s >= slot).unwrap();
        let found = next_block_slot(Slot::new(slot), (6, Slot::new(10)), &slot_at).await;
        assert_eq!(found, Some(Slot::new(next)), "slot {slot}");
    }
    assert_eq!(next_block_slot(Slot::new(11), (6, Slot::new(10)), &slot_at).await, None, "the head is before it");
    let silent = async |_: u64| None::<Slot>;
    assert_eq!(next_block_slot(Slot::new(4), (6, Slot::new(10)), silent).await, None, "the node does not tell");
}

#[test]
fn a_promise_whose_slot_has_no_block_is_told_so_and_where_to_ask_on() {
    let missed = "slot 7 has no block; `tandem preconf status` tells whether it is excused";
    for found in [None, Some(Slot::new(8))] {
        let told = without_block(Slot::new(7), found);
        assert!(told.starts_with("NOT in") && told.ends_with(missed), "{told}");
        assert_eq!(told.contains("slot 8"), found.is_some(), "{told}");
    }
}

#[test]
fn a_public_chains_clock_is_not_taken_from_the_hosts_word() {
    let file = |chain: u64, genesis: Option<u64>| -> PromiseFile {
        let mut v = promise();
        v["chain_id"] = json!(chain);
        v["genesis_time"] = json!(genesis);
        v["slot_seconds"] = json!(genesis.map(|_| 12));
        serde_json::from_value(v).unwrap()
    };
    let mainnet = 1_606_824_023;
    assert_eq!(clock(&file(1, None)).unwrap().genesis_time, mainnet);
    assert_eq!(clock(&file(1, Some(mainnet))).unwrap().genesis_time, mainnet);
    assert!(clock(&file(1, Some(mainnet + 12))).is_err());
    assert_eq!(clock(&file(CHAIN, Some(5))).unwrap().genesis_time, 5);
    assert!(clock(&file(CHAIN, None)).is_err());
}
