//! `tandem preconf`: ask for a promise, follow it, and verify it.

use super::verify::verify;
use crate::cli::Preconf;
use alloy_primitives::{Address, B256, Bytes, hex};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};
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
        Preconf::Send { transaction, rpc, slot, private, wait, out } => {
            send(&transaction, &rpc, slot.map(|s| (s, private)), wait, out.as_deref()).await
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

async fn send(tx: &str, rpc: &str, slot: Option<(u64, bool)>, wait: bool, out: Option<&Path>) -> Result<()> {
    let text = if tx == "-" { std::io::read_to_string(std::io::stdin())? } else { tx.to_owned() };
    let raw = hex::decode(text.trim()).context("the transaction is no hex")?;
    let decoded = tandem_crypto::tx::decode(&raw).context("the transaction")?;
    let hash = decoded.facts.hash;
    let sent = Bytes::from(raw.clone());
    let begin = std::time::Instant::now();
    match slot {
        Some((slot, private)) => {
            let payload = fabric::inclusion_payload(slot, &Bytes::from(raw));
            let mut request =
                json!({ "commitment_type": fabric::INCLUSION, "payload": payload, "slasher": Address::ZERO });
            if private {
                request["private"] = json!(true);
            }
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

/// Follows a promise to its fate. Only an inclusion is success.
async fn follow(rpc: &str, hash: B256) -> Result<()> {
    let begin = Instant::now();
    loop {
        let p = call(rpc, "tandem_promise", json!([hash])).await?;
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
