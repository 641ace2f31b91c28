//! `tandem preconf`: ask for a promise, follow it, and verify it.

use crate::cli::Preconf;
use alloy_primitives::{Address, B256, Bytes, hex};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use tandem_crypto::{VerifiedPromise, bls, verify_promise};
use tandem_node::{BeaconNode, ExecutionNode, Limits};
use tandem_types::{
    BlsPublicKey, BlsSignature, Slot,
    constraints_api::DelegationMessage,
    fabric::{self, abi},
    tagged,
};

/// Longest promise that is read: a transaction of the largest size in hex, and its frame.
const MAX_PROMISE: usize = 2 << 20;

/// Runs one of the subcommands.
///
/// # Errors
/// With the refusal's code and sentence, or with what does not hold.
pub async fn run(args: Preconf) -> Result<()> {
    match args {
        Preconf::Send { transaction, rpc, slot, wait, out } => {
            send(&transaction, &rpc, slot, wait, out.as_deref()).await
        }
        Preconf::Status { hash, rpc } => {
            let p = call(&rpc, "tandem_promise", json!([hash])).await?;
            println!("{}", serde_json::to_string_pretty(&p)?);
            Ok(())
        }
        Preconf::Verify { promise, execution, beacon } => {
            verify(&promise, execution.as_deref(), beacon.as_deref()).await
        }
    }
}

async fn call(rpc: &str, method: &'static str, params: Value) -> Result<Value> {
    let node = ExecutionNode::new(rpc, Limits::default())?;
    node.call(method, params).await.map_err(|e| match e {
        tandem_node::NodeError::Rpc { error, .. } => {
            let data = error.data.unwrap_or(Value::Null);
            let code = data["reason"].as_str().map(str::to_owned).unwrap_or_else(|| error.code.to_string());
            let accept = data.get("accept").filter(|a| !a.is_null()).map(|a| format!(" It would accept: {a}"));
            anyhow::anyhow!("refused ({code}): {}{}", error.message, accept.unwrap_or_default())
        }
        other => anyhow::Error::new(other).context("is the host running? `tandem run` starts it"),
    })
}

async fn send(tx: &str, rpc: &str, slot: Option<u64>, wait: bool, out: Option<&Path>) -> Result<()> {
    let text = if tx == "-" { std::io::read_to_string(std::io::stdin())? } else { tx.to_owned() };
    let raw = hex::decode(text.trim()).context("the transaction is no hex")?;
    let decoded = tandem_crypto::tx::decode(&raw).context("the transaction")?;
    let hash = decoded.facts.hash;
    let sent = Bytes::from(raw.clone());
    let begin = std::time::Instant::now();
    match slot {
        Some(slot) => {
            let payload = fabric::inclusion_payload(slot, &Bytes::from(raw));
            let request = json!({ "commitment_type": fabric::INCLUSION, "payload": payload, "slasher": Address::ZERO });
            call(rpc, "commitmentRequest", json!([request])).await?;
        }
        None => drop(call(rpc, "eth_sendRawTransaction", json!([Bytes::from(raw)])).await?),
    }
    let took = begin.elapsed();
    let mut promise = call(rpc, "tandem_promise", json!([hash])).await?;
    // Before the seal a promise is shown whole only to whoever knows the request's hash: we made it.
    if let (true, Some(slot)) = (promise["commitment"].is_null(), promise["slot"].as_u64()) {
        let payload = fabric::inclusion_payload(slot, &sent);
        let request = fabric::request_hash(fabric::INCLUSION, &payload, Address::ZERO);
        promise = call(rpc, "tandem_promise", json!([request])).await?;
    }
    println!("promised in {:.1} ms: {hash} will be in slot {}", took.as_secs_f64() * 1000.0, promise["slot"]);
    if let Some(path) = out {
        std::fs::write(path, serde_json::to_vec_pretty(&promise)?).with_context(|| path.display().to_string())?;
        println!("wrote {}; check it with: tandem preconf verify {}", path.display(), path.display());
    }
    if wait { follow(rpc, hash).await } else { Ok(()) }
}

async fn follow(rpc: &str, hash: B256) -> Result<()> {
    loop {
        let p = call(rpc, "tandem_promise", json!([hash])).await?;
        if let Some(fate) = p["fate"]["fate"].as_str() {
            println!("{fate}: {}", p["fate"]);
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[derive(Deserialize)]
struct PromiseFile {
    commitment: SignedCommitment,
    chain_id: u64,
    genesis_fork_version: String,
    proposer: BlsPublicKey,
    delegation: Option<Delegated>,
}
#[derive(Deserialize)]
struct SignedCommitment {
    commitment: Commitment,
    #[serde(deserialize_with = "number")]
    nonce: u64,
    signing_id: B256,
    signature: Bytes,
}
#[derive(Deserialize)]
struct Commitment {
    #[serde(deserialize_with = "number")]
    commitment_type: u64,
    payload: Bytes,
    request_hash: B256,
    slasher: Address,
}
#[derive(Deserialize)]
struct Delegated {
    message: DelegatedMessage,
    #[serde(deserialize_with = "number")]
    nonce: u64,
    signing_id: B256,
    signature: BlsSignature,
}
#[derive(Deserialize)]
struct DelegatedMessage {
    proposer: BlsPublicKey,
    delegate: BlsPublicKey,
    committer: Address,
    #[serde(deserialize_with = "number")]
    slot: u64,
    metadata: Bytes,
}

/// A number, plain or quoted.
fn number<'de, D: serde::Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    let v = Value::deserialize(d)?;
    let n = v.as_u64().or_else(|| v.as_str().and_then(|s| s.parse().ok()));
    n.ok_or_else(|| serde::de::Error::custom("expected a number"))
}

async fn verify(promise: &str, execution: Option<&str>, beacon: Option<&str>) -> Result<()> {
    let text =
        if promise == "-" { std::io::read_to_string(std::io::stdin())? } else { std::fs::read_to_string(promise)? };
    anyhow::ensure!(text.len() <= MAX_PROMISE, "{promise}: more than {MAX_PROMISE} bytes");
    let file: PromiseFile = serde_json::from_str(&text).with_context(|| format!("{promise} is no whole promise"))?;
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
        Some(url) => check_kept(url, beacon, &verified).await,
        None => {
            println!("not checked: whether it was kept (give --execution and --beacon)");
            Ok(())
        }
    }
}

/// What the bytes alone show: both signatures, and that they belong together.
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
    if d.message.proposer != file.proposer || verified.slot != message.slot {
        bail!(
            "the delegation is for slot {} of {}, the promise for slot {}",
            message.slot,
            d.message.proposer,
            verified.slot
        );
    }
    Ok(verified)
}

async fn check_proposer(url: &str, slot: Slot, proposer: BlsPublicKey) -> Result<()> {
    let duties = BeaconNode::new(url, Limits::default())?.proposer_duties(slot.epoch()).await?;
    let Some(duty) = duties.duties.iter().find(|d| d.slot == slot) else {
        bail!("the beacon node has no duty for slot {slot}")
    };
    if duty.pubkey != proposer {
        bail!("slot {slot} is proposed by {}, not by {proposer}", duty.pubkey);
    }
    Ok(())
}

/// Whether the transaction is in the block of its slot.
async fn check_kept(execution: &str, beacon: Option<&str>, v: &VerifiedPromise) -> Result<()> {
    let node = ExecutionNode::new(execution, Limits::default())?;
    let receipt: Value = node.call("eth_getTransactionReceipt", json!([v.tx.facts.hash])).await?;
    let Some(block) = receipt["blockHash"].as_str() else {
        println!("not included so far");
        return Ok(());
    };
    let header: Value = node.call("eth_getBlockByHash", json!([block, false])).await?;
    let number = |v: &Value| v.as_str().and_then(|s| u64::from_str_radix(s.trim_start_matches("0x"), 16).ok());
    let (time, height) = (number(&header["timestamp"]), number(&header["number"]));
    let Some(beacon) = beacon else {
        println!(
            "included in block {} ({block}); give --beacon to see whether that is slot {}",
            height.unwrap_or(0),
            v.slot
        );
        return Ok(());
    };
    let spec = tandem_node::identify(&node, &BeaconNode::new(beacon, Limits::default())?, crate::run::now_ms()).await?;
    let slot = time.and_then(|t| spec.clock.slot_of_timestamp(t)).context("a block without a slot's timestamp")?;
    match slot.cmp(&v.slot) {
        std::cmp::Ordering::Equal => println!("kept: it is in the block of slot {slot}"),
        std::cmp::Ordering::Less => println!("included early: in the block of slot {slot}"),
        std::cmp::Ordering::Greater => {
            println!("NOT in its slot: it is in the block of slot {slot}, promised was {}", v.slot)
        }
    }
    Ok(())
}
