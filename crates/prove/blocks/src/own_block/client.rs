//! Blocks that the execution client builds: `testing_buildBlockV1` with exactly the given
//! transactions, in their order, on its head.

use super::{BlockTx, Built, Job, Made, rpc::call};
use crate::error::BuildError;
use alloy_primitives::Bytes;
use alloy_rpc_types_engine::ExecutionPayloadEnvelopeV5;
use serde_json::{Value, json};
use std::time::Instant;
use tandem_beacon::{BlobsBundle, ExecutionPayload, ExecutionRequests};
use tandem_state::Rpc;

/// The method.
pub(crate) const METHOD: &str = "testing_buildBlockV1";

/// Builds and checks. A transaction that can not be executed fails the whole call.
pub(crate) async fn build(rpc: &dyn Rpc, job: &Job, txs: &[BlockTx], by: Instant) -> Result<Built, BuildError> {
    let raw: Vec<&Bytes> = txs.iter().map(|t| t.pooled.as_ref().unwrap_or(&t.canonical)).collect();
    let params = json!([job.attributes.parent.hash, attributes(job), raw, Value::Null]);
    let envelope: ExecutionPayloadEnvelopeV5 = call(rpc, METHOD, params, by).await?;
    let built = from_envelope(&envelope)?;
    let canonical: Vec<Bytes> = txs.iter().map(|t| t.canonical.clone()).collect();
    built.check(job, &canonical)?;
    Ok(built)
}

/// Whether the client has a method; `None` where it does not say. Without parameters nothing is built.
pub(crate) async fn has_method(rpc: &dyn Rpc, method: &'static str, by: Instant) -> Option<bool> {
    match call::<Value>(rpc, method, json!([]), by).await {
        Ok(_) => Some(true),
        Err(e @ BuildError::Refused { .. }) => Some(!e.is_missing()),
        Err(_) => None,
    }
}

/// The payload attributes as the engine API writes them. The fee recipient is the registration's.
pub(crate) fn attributes(job: &Job) -> Value {
    let a = &job.attributes;
    json!({
        "timestamp": format!("{:#x}", a.timestamp),
        "prevRandao": a.prev_randao,
        "suggestedFeeRecipient": job.wishes.fee_recipient,
        "withdrawals": a.withdrawals,
        "parentBeaconBlockRoot": a.parent_beacon_root,
    })
}

fn from_envelope(envelope: &ExecutionPayloadEnvelopeV5) -> Result<Built, BuildError> {
    let shape = |e: tandem_beacon::BeaconError| BuildError::Shape { method: METHOD, why: e.to_string() };
    Ok(Built {
        payload: ExecutionPayload::from_engine(&envelope.execution_payload).map_err(shape)?,
        bundle: BlobsBundle::from_engine(&envelope.blobs_bundle).map_err(shape)?,
        requests: ExecutionRequests::from_eip7685(&envelope.execution_requests).map_err(shape)?,
        value: envelope.block_value,
        made: Made::Client,
        unconfirmed: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attributes::Attributes,
        own_block::{ParentHeader, Wishes},
    };
    use alloy_primitives::{Address, B256};
    use async_trait::async_trait;
    use std::{path::PathBuf, time::Duration};
    use tandem_state::Call;
    use tandem_types::{BlockId, Slot, ValidatorIndex};

    fn vector(folder: &str, file: &str) -> Value {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../lab/vectors/own-block").join(folder);
        serde_json::from_slice(&std::fs::read(path.join(file)).unwrap()).unwrap()
    }
    fn number(v: &Value) -> u64 {
        u64::from_str_radix(v.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }
    fn get<T: serde::de::DeserializeOwned>(v: &Value, key: &str) -> T {
        serde_json::from_value(v[key].clone()).unwrap()
    }

    /// Answers with a recorded envelope, after checking what it was asked.
    struct Recorded(Value, Value);
    #[async_trait]
    impl Rpc for Recorded {
        async fn batch(&self, calls: Vec<Call>) -> Result<Vec<Result<Value, String>>, String> {
            assert_eq!(calls[0].method, METHOD);
            assert_eq!(calls[0].params[1], self.1, "the attributes as geth was given them");
            Ok(vec![Ok(self.0.clone())])
        }
    }

    fn job(folder: &str) -> Job {
        let (a, p) = (vector(folder, "build-attributes.json"), vector(folder, "parent-execution-block.json"));
        Job {
            attributes: Attributes {
                slot: Slot::new(1),
                proposer_index: ValidatorIndex::new(0),
                parent: BlockId { number: number(&p["number"]), hash: get(&p, "hash") },
                timestamp: number(&a["timestamp"]),
                prev_randao: get(&a, "prevRandao"),
                suggested_fee_recipient: Address::ZERO,
                withdrawals: get(&a, "withdrawals"),
                parent_beacon_root: get(&a, "parentBeaconBlockRoot"),
            },
            wishes: Wishes { fee_recipient: get(&a, "suggestedFeeRecipient"), gas_limit: 60_000_000 },
            parent: ParentHeader {
                gas_limit: number(&p["gasLimit"]),
                gas_used: number(&p["gasUsed"]),
                base_fee: number(&p["baseFeePerGas"]),
            },
        }
    }

    async fn run(folder: &str, job: &Job) -> Result<Built, BuildError> {
        let envelope = vector(folder, "payload-envelope.json");
        let txs: Vec<Bytes> = get(&envelope["executionPayload"], "transactions");
        let rpc = Recorded(envelope, vector(folder, "build-attributes.json"));
        let txs: Vec<BlockTx> = txs.into_iter().map(|canonical| BlockTx { canonical, ..Default::default() }).collect();
        build(&rpc, job, &txs, Instant::now() + Duration::from_secs(60)).await
    }

    #[tokio::test]
    async fn geths_recorded_payloads_pass_every_check_blobs_included() {
        for folder in ["fulu-ssz-21", "fulu-ssz-24", "fulu-json-74"] {
            let built = run(folder, &job(folder)).await.unwrap();
            assert!(built.value > alloy_primitives::U256::ZERO);
        }
    }

    #[tokio::test]
    async fn a_payload_with_any_other_attribute_is_refused_by_its_field() {
        let folder = "fulu-ssz-21";
        let field = |r: Result<Built, BuildError>| match r {
            Err(BuildError::Differs { field }) => field,
            other => panic!("{other:?}"),
        };
        let mut j = job(folder);
        j.wishes.gas_limit = 30_000_000;
        assert_eq!(field(run(folder, &j).await), "gas_limit");
        let mut built = run(folder, &job(folder)).await.unwrap();
        let txs: Vec<Bytes> = built.payload.transactions.iter().map(|t| Bytes::copy_from_slice(t)).collect();
        let check = |j: &Job, built: &Built| field(built.check(j, &txs).map(|()| built.clone()));
        let mut j = job(folder);
        j.attributes.parent_beacon_root = B256::ZERO;
        assert_eq!(check(&j, &built), "block_hash", "neither root is in the header that the beacon node sees");
        let mut j = job(folder);
        j.attributes.prev_randao = B256::ZERO;
        assert_eq!(check(&j, &built), "prev_randao");
        let mut j = job(folder);
        j.attributes.withdrawals.pop();
        assert_eq!(check(&j, &built), "withdrawals");
        built.requests.withdrawals = vec![Default::default()].try_into().unwrap();
        assert_eq!(check(&job(folder), &built), "block_hash");
    }
}
