//! What the host tells of a promise that a client has.

use super::{audit::LIMIT, clients::PATIENCE};
use crate::http;
use alloy_primitives::B256;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a host that runs may say that it knows nothing of a promise that a client has.
pub(super) const DENIAL: Duration = Duration::from_secs(10);

/// What the host says of a promise that a client has.
pub(super) enum Told {
    /// This.
    Known(Value),
    /// That it knows of no such promise.
    Denied(String),
}

impl Told {
    pub(super) fn known(self) -> Option<Value> {
        match self {
            Self::Known(v) => Some(v),
            Self::Denied(_) => None,
        }
    }
}

/// What the host tells of a promise, by its request's hash. It is asked again for as long as `denial` while it
/// knows nothing of it, and as long as it has no answer at all.
///
/// # Errors
/// If there is no answer in time.
pub(super) async fn told(gateway: String, request_hash: B256, denial: Duration) -> Result<Told> {
    let begin = Instant::now();
    loop {
        let params = json!([{ "request_hash": request_hash }]);
        let e = match http::rpc(&gateway, "tandem_promise", params, PATIENCE).await {
            Ok(v) => return Ok(Told::Known(v)),
            Err(e) => e,
        };
        let denied = e.downcast_ref::<http::RpcError>().is_some_and(|e| e.data["reason"] == "unknown-promise");
        if denied && begin.elapsed() >= denial {
            return Ok(Told::Denied(format!("{e:#}")));
        }
        if begin.elapsed() > LIMIT {
            bail!("tandem_promise {request_hash}: {e:#}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
