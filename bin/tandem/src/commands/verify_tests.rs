#![allow(clippy::unwrap_used)]

use super::*;
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

/// A promise as the gateway shows it, whole.
fn promise() -> Value {
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
    let signing_id = body.registered_signing_id().unwrap();
    let root = tagged::signing_root(body.object_root(), signing_id, 0, CHAIN, FORK);
    let delegation = json!({
        "message": message, "nonce": 0, "signing_id": signing_id, "signature": validator.sign(root.get()),
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
        signingId: B256::repeat_byte(5),
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
