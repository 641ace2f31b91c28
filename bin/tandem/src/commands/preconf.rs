//! `tandem preconf`: ask for a promise, follow it, and verify it.

use super::verify::verify;
use crate::cli::{Preconf, SendArgs};
use alloy_primitives::{Address, B256, Bytes, hex};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tandem_node::{ExecutionNode, Limits};
use tandem_types::fabric;

/// How long `--wait` follows a promise: the whole look-ahead of 64 slots, and its finality's first half.
const FOLLOW: Duration = Duration::from_secs(45 * 60);

/// Runs one of the subcommands.
///
/// # Errors
/// With the refusal's code and sentence, or with what does not hold.
pub async fn run(args: Preconf) -> Result<()> {
    match args {
        Preconf::Send(args) => send(&args).await,
        Preconf::Status { hash, rpc } => {
            let p = call(&rpc, "tandem_promise", json!([asked_hash(&hash)?])).await?;
            println!("{}", serde_json::to_string_pretty(&p)?);
            Ok(())
        }
        Preconf::Verify { promise, execution, beacon } => {
            verify(&promise, execution.as_deref(), beacon.as_deref()).await
        }
    }
}

/// The hash that a promise is asked about by: the transaction's or the request's.
fn asked_hash(text: &str) -> Result<B256> {
    text.parse::<B256>().ok().with_context(|| {
        format!("{text:?} is no transaction hash or request hash: a 32-byte hash is expected, 0x and 64 hex digits")
    })
}

pub(super) async fn call(rpc: &str, method: &'static str, params: Value) -> Result<Value> {
    let node = ExecutionNode::new(rpc, Limits::default())?;
    node.call(method, params).await.map_err(|e| match e {
        tandem_node::NodeError::Rpc { error, .. } => {
            let data = error.data.unwrap_or(Value::Null);
            let code = data["reason"].as_str().map(str::to_owned).unwrap_or_else(|| error.code.to_string());
            let accept = data.get("accept").cloned().unwrap_or_default();
            anyhow::Error::new(Refused { code, message: error.message, accept })
        }
        other => anyhow::Error::new(other).context("is the host running? `tandem run` starts it"),
    })
}

/// What a module or the gateway refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: String,
    message: String,
    /// What would be accepted, or null.
    pub(super) accept: Value,
}

impl std::error::Error for Refused {}
impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused ({}): {}", self.code, self.message)?;
        if self.accept.is_null() { Ok(()) } else { write!(f, " It would accept: {}", self.accept) }
    }
}

/// A transaction that is to be sent.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) hash: B256,
    pub(super) raw: Bytes,
}

/// The one that was given.
fn given(tx: &str) -> Result<Signed> {
    let text = if tx == "-" { std::io::read_to_string(std::io::stdin())? } else { tx.to_owned() };
    let raw = hex::decode(text.trim()).context("the transaction is no hex")?;
    let decoded = tandem_crypto::tx::decode(&raw).context("the transaction")?;
    Ok(Signed { hash: decoded.facts.hash, raw: raw.into() })
}

/// One that was promised.
#[derive(Debug)]
pub(super) struct Promised {
    tx: Signed,
    /// The request's hash, where the slot was named.
    asked: Option<B256>,
    took: Duration,
}

/// Asks for the promise, of a slot or of the next one.
pub(super) async fn request(args: &SendArgs, tx: Signed) -> Result<Promised> {
    let begin = Instant::now();
    let Some(slot) = args.slot else {
        call(&args.rpc, "eth_sendRawTransaction", json!([tx.raw])).await?;
        return Ok(Promised { tx, asked: None, took: begin.elapsed() });
    };
    let payload = fabric::inclusion_payload(slot, &tx.raw);
    let mut request = json!({ "commitment_type": fabric::INCLUSION, "payload": payload, "slasher": Address::ZERO });
    if args.private {
        request["private"] = json!(true);
    }
    call(&args.rpc, "commitmentRequest", json!([request])).await?;
    let took = begin.elapsed();
    Ok(Promised { asked: Some(request_hash(slot, &tx.raw)), tx, took })
}

async fn send(args: &SendArgs) -> Result<()> {
    let (rpc, out) = (args.rpc.as_str(), args.out.as_deref());
    let Promised { tx: Signed { hash, raw: sent }, asked, took } = promised(args).await?;
    // A transaction may be promised for several slots, and its own hash gives the latest one's: the request
    // is what was asked for. And before the seal a promise is shown whole only to whoever knows that.
    let mut by = asked.unwrap_or(hash);
    let mut promise = call(rpc, "tandem_promise", json!([by])).await?;
    if let (None, true, Some(slot)) = (asked, promise["commitment"].is_null(), promise["slot"].as_u64()) {
        by = request_hash(slot, &sent);
        promise = call(rpc, "tandem_promise", json!([by])).await?;
    }
    println!("promised in {:.1} ms: {hash} will be in slot {}", took.as_secs_f64() * 1000.0, promise["slot"]);
    if let Some(path) = out {
        std::fs::write(path, serde_json::to_vec_pretty(&promise)?).with_context(|| path.display().to_string())?;
        println!("wrote {}; check it with: tandem preconf verify {}", path.display(), path.display());
    }
    if args.wait { follow(rpc, hash, by).await } else { Ok(()) }
}

/// Asks for what was given, or for what is signed here.
async fn promised(args: &SendArgs) -> Result<Promised> {
    #[cfg(feature = "lab")]
    if let (Some(account), Some(to)) = (args.devnet_account, args.to) {
        return super::devnet_account::promised(args, account, to).await;
    }
    request(args, given(args.transaction.as_deref().context("no transaction is given")?)?).await
}

/// The hash of the request that a transaction be in a slot.
fn request_hash(slot: u64, tx: &Bytes) -> B256 {
    fabric::request_hash(fabric::INCLUSION, &fabric::inclusion_payload(slot, tx), Address::ZERO)
}

/// Follows the promise of a transaction, asked about `by` a hash, to its fate. Only an inclusion is success.
async fn follow(rpc: &str, hash: B256, by: B256) -> Result<()> {
    let begin = Instant::now();
    loop {
        let p = call(rpc, "tandem_promise", json!([by])).await?;
        if let Some(fate) = p["fate"]["fate"].as_str() {
            println!("{fate}: {}", p["fate"]);
            return match fate {
                "kept" | "early" => Ok(()),
                other => bail!("{hash} was not included in slot {}: {other}", p["slot"]),
            };
        }
        if begin.elapsed() > FOLLOW {
            bail!(
                "no fate of {hash} is known after {} minutes; ask again with `preconf status`",
                FOLLOW.as_secs() / 60
            );
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_that_is_none_is_refused_here_with_what_is_expected() {
        let hash = B256::repeat_byte(0xab);
        assert_eq!(asked_hash(&hash.to_string()).unwrap(), hash);
        let long = format!("{hash}00");
        let no_hex = hash.to_string().replace("ab", "xy");
        for text in ["", "0x", "0x12", "latest", long.as_str(), no_hex.as_str()] {
            let why = format!("{:#}", asked_hash(text).unwrap_err());
            assert!(why.contains(&format!("{text:?}")) && why.contains("32-byte hash"), "{why}");
            assert!(why.contains("0x and 64 hex digits"), "{why}");
        }
    }
}
