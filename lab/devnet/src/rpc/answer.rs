//! How methods are registered.

use super::{
    Rpc,
    fail::{Args, Fail},
};
use jsonrpsee::{
    core::{RegisterMethodError, server::RpcModule},
    types::ErrorObjectOwned,
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;

type Answer = Result<Box<RawValue>, ErrorObjectOwned>;

fn answer<R: Serialize>(result: Result<R, Fail>) -> Answer {
    let value = result.map_err(ErrorObjectOwned::from)?;
    serde_json::value::to_raw_value(&value).map_err(|e| Fail::coded(-32603, e.to_string()).into())
}

/// A method that reads a few things and answers at once.
pub(crate) fn quick<R: Serialize + 'static>(
    module: &mut RpcModule<Rpc>,
    name: &'static str,
    method: impl Fn(&Rpc, &mut Args) -> Result<R, Fail> + Send + Sync + 'static,
) -> Result<(), RegisterMethodError> {
    module
        .register_method(name, move |params, rpc, _| -> Answer {
            answer(Args::parse(params.as_str()).and_then(|mut args| method(rpc, &mut args)))
        })
        .map(drop)
}

/// A method that runs the EVM, builds or walks: on a thread of its own, a few at a time, with a
/// deadline. What is past its deadline still ends by itself, since gas and sizes are capped.
pub(crate) fn heavy<R: Serialize + Send + 'static>(
    module: &mut RpcModule<Rpc>,
    name: &'static str,
    method: impl Fn(&Rpc, &mut Args) -> Result<R, Fail> + Clone + Send + Sync + 'static,
) -> Result<(), RegisterMethodError> {
    module
        .register_async_method(name, move |params, rpc, _| {
            let method = method.clone();
            async move { in_time(rpc, params.as_str().map(str::to_owned), method).await }
        })
        .map(drop)
}

/// A quick method that is a heavy one where it is asked about the pending block, which is made first.
pub(crate) fn pendable<R: Serialize + Send + 'static>(
    module: &mut RpcModule<Rpc>,
    name: &'static str,
    method: impl Fn(&Rpc, &mut Args) -> Result<R, Fail> + Clone + Send + Sync + 'static,
) -> Result<(), RegisterMethodError> {
    module
        .register_async_method(name, move |params, rpc, _| {
            let method = method.clone();
            async move {
                match params.as_str() {
                    Some(raw) if raw.contains("\"pending\"") => in_time(rpc, Some(raw.to_owned()), method).await,
                    raw => answer(Args::parse(raw).and_then(|mut args| method(&rpc, &mut args))),
                }
            }
        })
        .map(drop)
}

async fn in_time<R: Serialize + Send + 'static>(
    rpc: Arc<Rpc>,
    params: Option<String>,
    method: impl Fn(&Rpc, &mut Args) -> Result<R, Fail> + Send + 'static,
) -> Answer {
    let late = || Fail::coded(-32002, "request timed out").into();
    let deadline = rpc.config.deadline;
    tokio::time::timeout(deadline, run(rpc, params, method)).await.unwrap_or_else(|_| Err(late()))
}

async fn run<R: Serialize + Send + 'static>(
    rpc: Arc<Rpc>,
    params: Option<String>,
    method: impl Fn(&Rpc, &mut Args) -> Result<R, Fail> + Send + 'static,
) -> Answer {
    let broken = || ErrorObjectOwned::from(Fail::coded(-32603, "internal error"));
    let permit = rpc.heavy.clone().acquire_owned().await.map_err(|_| broken())?;
    let work = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        answer(Args::parse(params.as_deref()).and_then(|mut args| method(&rpc, &mut args)))
    });
    work.await.map_err(|_| broken())?
}
