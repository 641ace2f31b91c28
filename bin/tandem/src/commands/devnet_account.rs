//! `tandem preconf send --devnet-account`: signs with a key that everybody knows, for the devnet alone.

use super::preconf::{Promised, Refused, Signed, call, request};
use crate::cli::SendArgs;
use alloy_primitives::{Address, U256};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tandem_devnet::execution::DEV_ACCOUNTS;
use tandem_node::{Call, HttpClient, Limits};
use tandem_testkit::{Ask, Wallet};

/// Above what the devnet's base fee grows to over a look-ahead, in wei.
const MAX_FEE: u128 = 3_000_000_000_000;
/// Covers the price of a transfer in a slot that is nearly full. The money is simulated.
const TIP: u128 = 20_000_000_000;

/// Promises of one account that are looked through for the next nonce.
const MOST: u32 = 64;

/// Signs a transfer and asks for its promise. Where the account has promises that are in no block yet, it
/// takes the nonce after them.
///
/// # Errors
/// If the host's chain is not the devnet: then nothing is signed; and what the host refuses.
pub(super) async fn promised(args: &SendArgs, account: u8, to: Address) -> Result<Promised> {
    let chain_id = devnet(&args.rpc).await?;
    let known = DEV_ACCOUNTS.get(usize::from(account)).context("--devnet-account: give 0 to 9")?;
    let wallet = Wallet::new(known.key, chain_id)?;
    let count = call(&args.rpc, "eth_getTransactionCount", json!([wallet.address(), "latest"])).await?;
    let nonce = count.as_str().and_then(|s| u64::from_str_radix(s.trim_start_matches("0x"), 16).ok());
    let nonce = nonce.with_context(|| format!("the account's nonce is no number: {count}"))?;
    let value = args.value.unwrap_or(U256::ZERO);
    let sign = |nonce| {
        let fees = Ask { max_fee_per_gas: MAX_FEE, max_priority_fee_per_gas: TIP, ..Ask::transfer(nonce, to, value) };
        wallet.dynamic(&fees).map(|tx| Signed { hash: tx.hash, raw: tx.network })
    };
    let mut nonce = nonce;
    for _ in 0..MOST {
        let tx = sign(nonce)?;
        if is_promised(&args.rpc, &tx).await {
            // The same command once more is another transfer, and not the first one's promise again.
            nonce += 1;
            continue;
        }
        match request(args, tx).await.map_err(|e| (next_nonce(&e), e)) {
            Err((Some(next), _)) => nonce = next,
            Err((None, e)) => return Err(e),
            Ok(promised) => return Ok(promised),
        }
    }
    bail!("account {account} has {MOST} promises and more that are in no block yet. Remedy: take another one, or wait")
}

/// Whether this transaction is promised, and neither excused nor broken.
async fn is_promised(rpc: &str, tx: &Signed) -> bool {
    let promise = call(rpc, "tandem_promise", json!([tx.hash])).await;
    promise.is_ok_and(|p| !matches!(p["fate"]["fate"].as_str(), Some("excused" | "broken")))
}

/// The nonce that would be accepted, where another transaction of the account is promised for the one asked.
fn next_nonce(error: &anyhow::Error) -> Option<u64> {
    let refused = error.downcast_ref::<Refused>().filter(|r| r.code == "nonce-taken")?;
    refused.accept["nonce"].as_u64()
}

/// The chain's id, if the host says that its chain is the devnet.
async fn devnet(rpc: &str) -> Result<u64> {
    let http = HttpClient::new(rpc.parse()?, Limits::default())?;
    let answer = http.send(Call::get("/api/v1/status")).await;
    let answer = answer.context("is the host running? `tandem run` starts it")?;
    let status: Value = serde_json::from_slice(&answer.body).context("the host's status")?;
    chain_of(&status)
}

fn chain_of(status: &Value) -> Result<u64> {
    if status["simulated"] != true {
        bail!(
            "the host's chain is not the devnet: everybody knows the keys of --devnet-account, and nothing is signed \
             with them for chain {}. Remedy: give a transaction that your own wallet signed",
            status["chain_id"]
        );
    }
    status["chain_id"].as_u64().context("the host's status names no chain")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_signed_unless_the_host_says_that_its_chain_is_the_devnet() {
        for status in [json!({}), json!({ "chain_id": 1 }), json!({ "chain_id": 1, "simulated": false }), json!(null)] {
            let refused = chain_of(&status).unwrap_err().to_string();
            assert!(refused.contains("is not the devnet") && refused.contains("Remedy"), "{refused}");
        }
        assert_eq!(chain_of(&json!({ "chain_id": 7, "simulated": true })).unwrap(), 7);
    }
}
