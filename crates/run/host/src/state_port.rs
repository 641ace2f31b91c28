//! The State port over `watch/state`.

use alloy_primitives::{Address, B256};
use async_trait::async_trait;
use std::sync::Arc;
use tandem_module::{Account, BlobParams, HeaderInfo, Refusal, State, TxReport};
use tandem_state::{ChainState, Header, StateError};
use tandem_types::BlockId;
use tokio::sync::Semaphore;

/// Blob transactions checked at once: their cell proofs take milliseconds of a core each, and further
/// ones must not take the cores from everything else.
const BLOB_CHECKS: usize = 1;

/// Bytes of a transaction with authorizations (EIP-7702) up to which its check is no more work than another's:
/// each takes some hundred bytes, and a signature to be recovered from.
const FEW_AUTHORIZATIONS: usize = 1_024;

/// Whether a check of it costs so much that each module has a share of them only, and not the module's own
/// thread: it is a blob transaction, or has many authorizations.
pub(crate) fn is_costly(raw: &[u8]) -> bool {
    match raw.first() {
        Some(3) => true,
        Some(4) => raw.len() > FEW_AUTHORIZATIONS,
        _ => false,
    }
}

/// Gives modules what the operator's node says. How many blob transactions may wait to be checked is
/// bounded at each module's gate.
pub struct StatePort {
    chain: Arc<ChainState>,
    blob_checks: Arc<Semaphore>,
}

impl StatePort {
    /// A port over a reader.
    pub fn new(chain: Arc<ChainState>) -> Self {
        Self { chain, blob_checks: Arc::new(Semaphore::new(BLOB_CHECKS)) }
    }
}

fn info(h: &Header) -> HeaderInfo {
    HeaderInfo {
        id: h.id,
        parent: h.parent,
        timestamp: h.timestamp,
        gas_limit: h.gas_limit,
        gas_used: h.gas_used,
        base_fee: h.base_fee,
        excess_blob_gas: h.excess_blob_gas,
        blob_gas_used: h.blob_gas_used,
        state_root: h.state_root,
    }
}

fn refusal(e: &StateError) -> Refusal {
    let code = match e {
        StateError::NoHead => "not-synced",
        StateError::Busy { .. } => "busy",
        StateError::Node(_) | StateError::Stopped => "node-unavailable",
        StateError::Refused { .. } | StateError::Shape { .. } => "node-error",
    };
    // The node's own words stay in the log: they may name addresses and credentials of the operator.
    tracing::debug!(error = %e, "a state read failed");
    Refusal::new(
        code,
        match e {
            StateError::NoHead => "the host does not know the chain's head yet; try again in a slot",
            StateError::Busy { .. } => "too many account reads wait already; try again",
            _ => "the operator's node did not answer the read; try again",
        },
    )
}

#[async_trait]
impl State for StatePort {
    async fn headers(&self) -> Result<Vec<HeaderInfo>, Refusal> {
        let headers = self.chain.headers();
        if headers.is_empty() {
            return Err(refusal(&StateError::NoHead));
        }
        Ok(headers.iter().map(info).collect())
    }
    async fn account(&self, address: Address) -> Result<Account, Refusal> {
        let a = self.chain.account(address).await.map_err(|e| refusal(&e))?;
        Ok(Account { at: a.at, nonce: a.nonce, balance: a.balance, has_code: a.has_code })
    }
    async fn code_hash(&self, address: Address) -> Result<B256, Refusal> {
        self.chain.code_hash(address).await.map_err(|e| refusal(&e))
    }
    async fn check(&self, raw: alloy_primitives::Bytes, timestamp: u64) -> Result<TxReport, Refusal> {
        let bad = |e: tandem_state::CheckError| Refusal::new(e.code(), e.to_string());
        let report = if is_costly(&raw) {
            let closed = |_| Refusal::new("busy", "the host is shutting down");
            let place = self.blob_checks.clone().acquire_owned().await.map_err(closed)?;
            let chain = self.chain.clone();
            // The place goes along, so that a caller who left does not let another in beside it.
            let checking = tokio::task::spawn_blocking(move || {
                let _place = place;
                chain.check(&raw, timestamp)
            });
            checking.await.map_err(|_| Refusal::new("internal", "the check did not end"))?.map_err(bad)?
        } else {
            self.chain.check(&raw, timestamp).map_err(bad)?
        };
        Ok(TxReport {
            facts: report.facts,
            canonical: report.canonical,
            pooled: report.pooled,
            min_gas: report.min_gas,
        })
    }
    fn blob_params(&self, timestamp: u64) -> BlobParams {
        let p = self.chain.blob_params(timestamp);
        BlobParams { target: p.target, max: p.max, update_fraction: p.update_fraction }
    }
    async fn included(&self, tx_hash: B256) -> Option<BlockId> {
        self.chain.included(&tx_hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_and_many_authorizations_are_checked_beside_the_modules_thread_and_the_rest_on_it() {
        let of = |kind: u8, len: usize| is_costly(&[&[kind][..], &vec![0; len - 1]].concat());
        assert!(of(3, 200) && of(4, 100_000) && of(4, FEW_AUTHORIZATIONS + 1));
        assert!(!of(4, 300) && !of(2, 100_000) && !of(0xf8, 100_000) && !is_costly(&[]));
    }
}
