//! `tandem preconf verify`: a promise from its bytes alone, and what the chain shows of it.

use alloy_primitives::{Address, B256, Bytes, hex};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::cmp::Ordering;
use tandem_crypto::{
    VerifiedPromise, bls,
    promise::{check_signing_id, commitment_roots},
    verify_promise,
};
use tandem_node::{BeaconNode, ExecutionNode, Limits};
use tandem_types::{
    BlsPublicKey, BlsSignature, Slot, SlotClock, constraints_api::DelegationMessage, fabric::abi, tagged,
};

/// Longest promise that is read: a transaction of the largest size in hex, and its frame.
const MAX_PROMISE: u64 = 2 << 20;

/// The clocks of public chains, (chain id, unix seconds of slot 0), each with slots of 12 seconds: for
/// these nobody's word is needed.
const PUBLIC: [(u64, u64); 4] = [
    (1, 1_606_824_023),          // mainnet
    (17_000, 1_695_902_400),     // holesky
    (560_048, 1_742_213_400),    // hoodi
    (11_155_111, 1_655_733_600), // sepolia
];

#[derive(Deserialize)]
struct PromiseFile {
    commitment: SignedCommitment,
    chain_id: u64,
    /// Unix seconds of slot 0, as the host says; needed only to tell a block's slot.
    genesis_time: Option<u64>,
    /// Seconds of a slot, as the host says.
    slot_seconds: Option<u64>,
    genesis_fork_version: String,
    proposer: BlsPublicKey,
    delegation: Option<Delegated>,
    /// What follows from the rest, written out for those who read it: where it is there, it must be true.
    #[serde(flatten)]
    written_out: WrittenOut,
}
#[derive(Deserialize)]
struct WrittenOut {
    #[serde(default, deserialize_with = "quoted_or_plain_if_any")]
    slot: Option<u64>,
    tx_hash: Option<B256>,
    request_hash: Option<B256>,
    object_root: Option<B256>,
    signing_root: Option<B256>,
}
#[derive(Deserialize)]
struct SignedCommitment {
    commitment: Commitment,
    #[serde(deserialize_with = "quoted_or_plain")]
    nonce: u64,
    signing_id: B256,
    signature: Bytes,
}
#[derive(Deserialize)]
struct Commitment {
    #[serde(deserialize_with = "quoted_or_plain")]
    commitment_type: u64,
    payload: Bytes,
    request_hash: B256,
    slasher: Address,
}
#[derive(Deserialize)]
struct Delegated {
    message: DelegatedMessage,
    #[serde(deserialize_with = "quoted_or_plain")]
    nonce: u64,
    signing_id: B256,
    signing_root: Option<B256>,
    signature: BlsSignature,
}
#[derive(Deserialize)]
struct DelegatedMessage {
    proposer: BlsPublicKey,
    delegate: BlsPublicKey,
    committer: Address,
    #[serde(deserialize_with = "quoted_or_plain")]
    slot: u64,
    metadata: Bytes,
}

/// A number, plain or quoted.
fn quoted_or_plain<'de, D: serde::Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    let v = Value::deserialize(d)?;
    let n = v.as_u64().or_else(|| v.as_str().and_then(|s| s.parse().ok()));
    n.ok_or_else(|| serde::de::Error::custom("expected a number"))
}

/// The same, where it may be missing.
fn quoted_or_plain_if_any<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    quoted_or_plain(d).map(Some)
}

/// Checks a promise and prints what holds.
///
/// # Errors
/// With what does not hold: a signature, a delegation, or a promise that was not kept.
pub async fn verify(promise: &str, execution: Option<&str>, beacon: Option<&str>) -> Result<()> {
    let text = read(promise)?;
    let file: PromiseFile = serde_json::from_str(&text).with_context(|| {
        format!("{promise} is no whole promise: before its slot is sealed, `tandem_promise` shows one whole only by its request hash")
    })?;
    let verified = check_offline(&file)?;
    println!("the committer signed: {} will be in slot {}", verified.tx.facts.hash, verified.slot);
    println!("the proposer {} delegated slot {} to that committer", file.proposer.short(), verified.slot);
    if !verified.request_is_payload {
        println!(
            "note: the request was in another form than the commitment (a blob sidecar, or eth_sendRawTransaction)"
        );
    }
    if let Some(url) = beacon {
        check_proposer(url, verified.slot, file.proposer).await?;
        println!("the beacon node says that it is the slot's proposer");
    }
    match execution {
        Some(url) => check_kept(url, beacon, &file, &verified).await,
        None => {
            println!("not checked: whether it was kept (give --execution)");
            Ok(())
        }
    }
}

fn read(promise: &str) -> Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let input: Box<dyn Read> = match promise {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(std::fs::File::open(path).with_context(|| path.to_owned())?),
    };
    input.take(MAX_PROMISE + 1).read_to_string(&mut text).with_context(|| promise.to_owned())?;
    ensure!(text.len() as u64 <= MAX_PROMISE, "{promise}: more than {MAX_PROMISE} bytes");
    Ok(text)
}

/// What the bytes alone show: both signatures, each under the id of its kind, and that they belong together.
fn check_offline(file: &PromiseFile) -> Result<VerifiedPromise> {
    let version: [u8; 4] = hex::decode(&file.genesis_fork_version)?
        .try_into()
        .map_err(|_| anyhow::anyhow!("genesis_fork_version must have four bytes"))?;
    let d = file
        .delegation
        .as_ref()
        .context("the promise carries no delegation: nothing shows that the proposer is bound")?;
    let message = DelegationMessage {
        proposer: d.message.proposer,
        delegate: d.message.delegate,
        committer: d.message.committer,
        slot: Slot::new(d.message.slot),
        metadata: d.message.metadata.clone(),
    };
    let body = message.body(file.chain_id).context("a key in the delegation is no point of the curve")?;
    let root = tagged::signing_root(body.object_root(), d.signing_id, d.nonce, file.chain_id, version);
    bls::verify(&d.message.proposer, root.get().as_slice(), &d.signature).context("the proposer's delegation")?;
    check_signing_id(body.kind(), d.signing_id).context("the proposer's delegation")?;
    is_signed("delegation.signing_root", d.signing_root, root.get())?;
    let signed = abi::SignedCommitment {
        commitment: abi::Commitment {
            commitmentType: file.commitment.commitment.commitment_type,
            payload: file.commitment.commitment.payload.clone(),
            requestHash: file.commitment.commitment.request_hash,
            slasher: file.commitment.commitment.slasher,
        },
        nonce: file.commitment.nonce,
        signingId: file.commitment.signing_id,
        signature: file.commitment.signature.clone(),
    };
    let verified = verify_promise(&signed, d.message.committer, file.chain_id, version)?;
    if d.message.proposer != file.proposer {
        let (signed, said) = apart(d.message.proposer, file.proposer);
        bail!("the delegation is of the proposer {signed}, the promise names {said}");
    }
    ensure!(
        verified.slot == message.slot,
        "the delegation is for slot {}, the promise for slot {}",
        message.slot,
        verified.slot
    );
    let (object_root, _) = commitment_roots(&signed, file.chain_id, version);
    let said = &file.written_out;
    is_signed("slot", said.slot, verified.slot.get())?;
    is_signed("tx_hash", said.tx_hash, verified.tx.facts.hash)?;
    is_signed("request_hash", said.request_hash, verified.request_hash)?;
    is_signed("object_root", said.object_root, object_root)?;
    is_signed("signing_root", said.signing_root, verified.signing_root.get())?;
    Ok(verified)
}

/// What the file writes out beside what is signed must be the same.
fn is_signed<T: PartialEq + std::fmt::Display>(field: &str, said: Option<T>, signed: T) -> Result<()> {
    match said {
        Some(said) if said != signed => bail!("{field} is {said} in the file, and {signed} in what is signed"),
        _ => Ok(()),
    }
}

/// Two keys that differ, short where that shows it: a key with the same first bytes is easily made.
fn apart(a: BlsPublicKey, b: BlsPublicKey) -> (String, String) {
    if a.short() == b.short() { (a.to_string(), b.to_string()) } else { (a.short(), b.short()) }
}

async fn check_proposer(url: &str, slot: Slot, proposer: BlsPublicKey) -> Result<()> {
    let duties = BeaconNode::new(url, Limits::default())?.proposer_duties(slot.epoch()).await?;
    let Some(duty) = duties.duties.iter().find(|d| d.slot == slot) else {
        bail!("the beacon node has no duty for slot {slot}")
    };
    if duty.pubkey != proposer {
        let (duty, said) = apart(duty.pubkey, proposer);
        bail!("slot {slot} is proposed by {duty}, as the beacon node says; the promise names {said}");
    }
    Ok(())
}

/// What the chain shows of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Kept,
    Early(Slot),
    /// Its slot is not over, and it is not included.
    Pending,
    /// Included after its slot.
    Late(Slot),
    /// Its slot is over, and it is not included.
    Missing,
}

/// Judges a promise for a slot by the slot of the block that has it, if one has, at a running slot.
fn judge(promised: Slot, found: Option<Slot>, running: Slot) -> Verdict {
    match found.map(|s| (s, s.cmp(&promised))) {
        Some((_, Ordering::Equal)) => Verdict::Kept,
        Some((slot, Ordering::Less)) => Verdict::Early(slot),
        Some((slot, Ordering::Greater)) => Verdict::Late(slot),
        None if running <= promised => Verdict::Pending,
        None => Verdict::Missing,
    }
}

/// Whether the transaction is in the block of its slot. Only an inclusion by then is success.
async fn check_kept(execution: &str, beacon: Option<&str>, file: &PromiseFile, v: &VerifiedPromise) -> Result<()> {
    let node = ExecutionNode::new(execution, Limits::default())?;
    let chain_id = node.chain_id().await?;
    ensure!(
        chain_id == file.chain_id,
        "the promise is for chain {}, {execution} is of chain {chain_id}; name a node of the promise's chain",
        file.chain_id
    );
    let clock = match beacon {
        Some(url) => {
            tandem_node::identify(&node, &BeaconNode::new(url, Limits::default())?, crate::run::now_ms()).await?.clock
        }
        None => clock(file)?,
    };
    let found = block_time(&node, v.tx.facts.hash).await?;
    let slot_of = |t| clock.slot_of_timestamp(t).context("the block's timestamp is no slot's");
    let found = found.map(slot_of).transpose()?;
    let head = node.call::<Value>("eth_getBlockByNumber", json!(["latest", false])).await?;
    let running = slot_of(number(&head["timestamp"]).context("the node's head has no timestamp")?)?;
    let verdict = judge(v.slot, found, running);
    if matches!(verdict, Verdict::Late(_) | Verdict::Missing) && has_no_block(&node, &clock, v.slot, &head).await {
        bail!("{}", without_block(v.slot, found));
    }
    match verdict {
        Verdict::Kept => println!("kept: it is in the block of slot {}", v.slot),
        Verdict::Early(slot) => println!("included early: in the block of slot {slot}"),
        Verdict::Pending => {
            println!("not included so far; its slot {} is still to come (the head is of slot {running})", v.slot)
        }
        Verdict::Late(slot) => bail!("NOT in its slot: it is in the block of slot {slot}, promised was {}", v.slot),
        Verdict::Missing => bail!(
            "NOT included, and the chain is past its slot {} (the head is of slot {running}); `preconf status` tells \
             what excuses it, if something does",
            v.slot
        ),
    }
    Ok(())
}

/// What is told where the promised slot has no block: nothing could be in it.
fn without_block(promised: Slot, found: Option<Slot>) -> String {
    let what = match found {
        Some(slot) => format!("NOT in its slot (it is in the block of slot {slot})"),
        None => "NOT included".to_owned(),
    };
    format!("{what}: slot {promised} has no block; `tandem preconf status` tells whether it is excused")
}

/// Whether the chain to this head passed a slot without a block. What the node does not tell is no such slot.
async fn has_no_block(node: &ExecutionNode, clock: &SlotClock, slot: Slot, head: &Value) -> bool {
    let slot_of = |block: &Value| clock.slot_of_timestamp(number(&block["timestamp"])?);
    let slot_at = async |n: u64| -> Option<Slot> {
        let block: Value = node.call("eth_getBlockByNumber", json!([format!("{n:#x}"), false])).await.ok()?;
        slot_of(&block)
    };
    match number(&head["number"]).zip(slot_of(head)) {
        Some(head) => next_block_slot(slot, head, slot_at).await.is_some_and(|next| next != slot),
        None => false,
    }
}

/// The slot of the first block that is not before `slot`, on a chain whose head is the block `head.0` of slot
/// `head.1`; `None` where the head is before it or a block is not known.
async fn next_block_slot(slot: Slot, head: (u64, Slot), slot_at: impl AsyncFn(u64) -> Option<Slot>) -> Option<Slot> {
    let mut high = head.0;
    // Each block has a slot of its own: the block of this number is not after `slot`.
    let mut low = high.saturating_sub(head.1.get().checked_sub(slot.get())?);
    while low < high {
        let middle = low + (high - low) / 2;
        if slot_at(middle).await? < slot {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    slot_at(low).await
}

/// The timestamp of the canonical block that has a transaction.
async fn block_time(node: &ExecutionNode, hash: B256) -> Result<Option<u64>> {
    let receipt: Value = node.call("eth_getTransactionReceipt", json!([hash])).await?;
    let Some(block) = receipt["blockHash"].as_str() else { return Ok(None) };
    let header: Value = node.call("eth_getBlockByHash", json!([block, false])).await?;
    Ok(Some(number(&header["timestamp"]).context("the node does not know the block that it named")?))
}

fn number(v: &Value) -> Option<u64> {
    u64::from_str_radix(v.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// The chain's clock without a beacon node: known for public chains, else by the host's word.
fn clock(file: &PromiseFile) -> Result<SlotClock> {
    let said = file.genesis_time.zip(file.slot_seconds);
    let known = PUBLIC.iter().find(|(id, _)| *id == file.chain_id).map(|(_, genesis)| (*genesis, 12));
    match (known, said) {
        (Some(known), Some(said)) if known != said => {
            bail!(
                "the promise says that slot 0 was at {} with {} s a slot; chain {}'s was not",
                said.0,
                said.1,
                file.chain_id
            )
        }
        (Some((genesis, seconds)), _) => Ok(SlotClock::real(genesis, seconds)),
        (None, Some((genesis, seconds))) if seconds > 0 => {
            println!(
                "note: which slot a block is of is told by the host's own word of the chain's clock; --beacon checks it"
            );
            Ok(SlotClock::real(genesis, seconds))
        }
        _ => bail!("which slot a block is of is not known for chain {}: give --beacon", file.chain_id),
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
