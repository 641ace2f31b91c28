//! Blocks assembled from `eth_simulateV1`, where the client can not build on the wanted parent.
//!
//! Where it lies, and how each lie is met: its transactions are unsigned, so that transactions root,
//! size and hash are another block's (the real ones are put in); a type-1 transaction would become
//! type 0 (it is asked for as a type-2 one with both fees at its gas price, which runs the same, and the
//! receipts root is computed again with its true type); gas limits are clamped in silence to what is
//! left of `--rpc.gascap` (refused above it); the state root may be zero (refused); execution requests
//! are known by their hash only (see `requests`).

use super::{BlockTx, Built, Job, Made, requests, rpc::call};
use crate::error::BuildError;
use alloy_consensus::{
    Eip658Value, Header, Receipt, ReceiptEnvelope, Transaction as _, TxEnvelope, TxType, proofs::calculate_receipt_root,
};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, Bytes, Log, U256};
use alloy_rpc_types_eth::{
    TransactionRequest,
    simulate::{SimCallResult, SimulatedBlock},
};
use serde_json::{Value, json};
use std::time::Instant;
use tandem_beacon::{BlobsBundle, ExecutionPayload, ExecutionRequests};
use tandem_state::Rpc;

/// The method.
pub(crate) const METHOD: &str = "eth_simulateV1";

/// Assembles a block on any parent whose state the client has, and checks it.
pub(crate) async fn build(
    rpc: &dyn Rpc,
    job: &Job,
    txs: &[BlockTx],
    gas_cap: u64,
    by: Instant,
) -> Result<Built, BuildError> {
    let decoded = decode(txs)?;
    let gas = decoded.iter().fold(0u64, |sum, t| sum.saturating_add(t.gas_limit()));
    if gas > gas_cap {
        return Err(BuildError::NotSimulable("more gas than the client simulates without clamping"));
    }
    let calls: Vec<TransactionRequest> = decoded.iter().zip(txs).map(|(tx, t)| as_call(tx, t.sender)).collect();
    let block = ask(rpc, request(job, &calls, json!({})), by).await?;
    let header = read_header(&block.inner)?;
    let requests = requests::find(rpc, job, &header, &calls, &block.calls, gas_cap.saturating_sub(gas), by).await?;
    assemble(job, txs, &decoded, header, &block.calls, requests)
}

/// Simulates one block.
pub(super) async fn ask(rpc: &dyn Rpc, params: Value, by: Instant) -> Result<SimulatedBlock<Value>, BuildError> {
    let blocks: Vec<SimulatedBlock<Value>> = call(rpc, METHOD, params, by).await?;
    let [block] = <[_; 1]>::try_from(blocks).map_err(|b| shape(format!("{} blocks", b.len())))?;
    Ok(block)
}

/// The call that runs as the transaction does. Its sender is named here: whether the conversion recovers it
/// depends on how alloy was built, and without one a client takes the zero address and its nonce.
fn as_call(tx: &TxEnvelope, sender: Address) -> TransactionRequest {
    let mut call: TransactionRequest = tx.clone().into();
    call.from = Some(sender);
    if tx.is_eip2930() {
        // A call with a gas price becomes a type-0 transaction, whatever else it has.
        let price = call.gas_price.take();
        (call.max_fee_per_gas, call.max_priority_fee_per_gas) = (price, price);
        call.transaction_type = Some(TxType::Eip1559 as u8);
    }
    call
}

/// The type under which a client simulates a transaction.
fn simulated_type(tx: &TxEnvelope) -> TxType {
    match tx.tx_type() {
        TxType::Eip2930 => TxType::Eip1559,
        other => other,
    }
}

fn shape(why: impl Into<String>) -> BuildError {
    BuildError::Shape { method: METHOD, why: why.into() }
}

fn decode(txs: &[BlockTx]) -> Result<Vec<TxEnvelope>, BuildError> {
    let one =
        |t: &BlockTx| TxEnvelope::decode_2718_exact(&t.canonical).map_err(|e| BuildError::Transaction(e.to_string()));
    txs.iter().map(one).collect()
}

/// Every override is given: what is left out would be the client's guess.
pub(super) fn request(job: &Job, calls: &[TransactionRequest], state_overrides: Value) -> Value {
    let a = &job.attributes;
    let hex = |v: u64| format!("{v:#x}");
    json!([
        {
            "blockStateCalls": [{
                "blockOverrides": {
                    "number": hex(a.parent.number.saturating_add(1)),
                    "time": hex(a.timestamp),
                    "gasLimit": hex(job.gas_limit()),
                    "feeRecipient": job.wishes.fee_recipient,
                    "prevRandao": a.prev_randao,
                    "baseFeePerGas": hex(job.base_fee()),
                    "withdrawals": a.withdrawals,
                    "beaconRoot": a.parent_beacon_root,
                },
                "stateOverrides": state_overrides,
                "calls": calls,
            }],
            "validation": true,
            "traceTransfers": false,
            "returnFullTransactions": false,
        },
        // EIP-1898: by hash, so that it is this parent or an error.
        { "blockHash": a.parent.hash },
    ])
}

fn assemble(
    job: &Job,
    txs: &[BlockTx],
    decoded: &[TxEnvelope],
    mut header: Header,
    calls: &[SimCallResult],
    requests: ExecutionRequests,
) -> Result<Built, BuildError> {
    if calls.len() != txs.len() {
        return Err(shape("another number of calls"));
    }
    if header.state_root.is_zero() {
        return Err(BuildError::NotSimulable("the client computes no state root in a simulation"));
    }
    let raw: Vec<Bytes> = txs.iter().map(|t| t.canonical.clone()).collect();
    // The answer must fit itself, in the types that were simulated, before it gets the true ones.
    if calculate_receipt_root(&receipts(decoded, calls, simulated_type)) != header.receipts_root {
        return Err(BuildError::Differs { field: "receipts_root" });
    }
    header.receipts_root = calculate_receipt_root(&receipts(decoded, calls, TxEnvelope::tx_type));
    header.transactions_root =
        alloy_trie::root::ordered_trie_root_with_encoder(&raw, |tx, out| out.extend_from_slice(tx));
    let payload =
        ExecutionPayload::from_parts(&header, &raw, &job.attributes.withdrawals).map_err(|e| shape(e.to_string()))?;
    let value = tips(decoded, calls, job.base_fee());
    let built = Built { payload, bundle: sidecars(txs)?, requests, value, made: Made::Simulated, unconfirmed: false };
    built.check(job, &raw)?;
    Ok(built)
}

/// The header's fields, out of whatever else the client tells of the block.
fn read_header(block: &Value) -> Result<Header, BuildError> {
    let header: alloy_rpc_types_eth::Header =
        serde_json::from_value(block.clone()).map_err(|e| shape(e.to_string()))?;
    Ok(header.inner)
}

fn receipts(
    txs: &[TxEnvelope],
    calls: &[SimCallResult],
    type_of: fn(&TxEnvelope) -> TxType,
) -> Vec<ReceiptEnvelope<Log>> {
    let mut cumulative = 0u64;
    txs.iter()
        .zip(calls)
        .map(|(tx, call)| {
            cumulative = cumulative.saturating_add(call.gas_used);
            let receipt = Receipt {
                status: Eip658Value::Eip658(call.status),
                cumulative_gas_used: cumulative,
                logs: call.logs.iter().map(|l| l.inner.clone()).collect(),
            };
            ReceiptEnvelope::from_typed(type_of(tx), receipt.with_bloom())
        })
        .collect()
}

fn tips(txs: &[TxEnvelope], calls: &[SimCallResult], base_fee: u64) -> U256 {
    let tip = |t: &TxEnvelope| t.effective_tip_per_gas(base_fee).unwrap_or_default();
    txs.iter().zip(calls).map(|(t, c)| U256::from(tip(t)).saturating_mul(U256::from(c.gas_used))).sum()
}

/// The blobs of the block's transactions, from their retained sidecars.
fn sidecars(txs: &[BlockTx]) -> Result<BlobsBundle, BuildError> {
    let mut list = Vec::new();
    for pooled in txs.iter().filter_map(|t| t.pooled.as_ref()) {
        let tx = alloy_consensus::transaction::PooledTransaction::decode_2718_exact(pooled)
            .map_err(|e| BuildError::Transaction(e.to_string()))?;
        if let Some(blobs) = tx.as_eip4844() {
            list.push(blobs.tx().sidecar.clone());
        }
    }
    BlobsBundle::from_sidecars(&list).map_err(|e| BuildError::Transaction(e.to_string()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        attributes::Attributes,
        own_block::{ParentHeader, Wishes},
    };
    use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930};
    use alloy_eips::eip2718::Encodable2718;
    use alloy_primitives::{B256, Signature, TxKind};
    use async_trait::async_trait;
    use std::time::Duration;
    use tandem_keys::EcdsaSecretKey;
    use tandem_state::Call;
    use tandem_types::{BlockId, Slot, ValidatorIndex};

    pub(crate) fn block_tx(tx: TxEnvelope) -> BlockTx {
        BlockTx { canonical: tx.encoded_2718().into(), sender: SENDER, ..Default::default() }
    }
    pub(crate) const SENDER: Address = Address::repeat_byte(0x5e);
    pub(crate) fn sign<T: SignableTransaction<Signature>>(tx: T) -> alloy_consensus::Signed<T> {
        let key = EcdsaSecretKey::from_bytes(&[7; 32]).unwrap();
        let signature = Signature::from_raw(&key.sign(tx.signature_hash())).unwrap();
        tx.into_signed(signature)
    }
    fn transfer(nonce: u64) -> BlockTx {
        block_tx(
            sign(TxEip1559 {
                chain_id: 1,
                nonce,
                gas_limit: 21_000,
                max_fee_per_gas: 100_000_000_000,
                max_priority_fee_per_gas: 3,
                to: TxKind::Call(Address::ZERO),
                ..Default::default()
            })
            .into(),
        )
    }
    pub(crate) fn job() -> Job {
        Job {
            attributes: Attributes {
                slot: Slot::new(9),
                proposer_index: ValidatorIndex::new(0),
                parent: BlockId { number: 7, hash: B256::repeat_byte(7) },
                timestamp: 1_000,
                prev_randao: B256::repeat_byte(2),
                suggested_fee_recipient: Address::ZERO,
                withdrawals: Vec::new(),
                parent_beacon_root: B256::repeat_byte(3),
            },
            wishes: Wishes { fee_recipient: Address::repeat_byte(4), gas_limit: 60_000_000 },
            parent: ParentHeader { gas_limit: 60_000_000, gas_used: 30_000_000, base_fee: 9 },
        }
    }

    /// Answers as geth does: the roots of the real block, with transactions root, hash and size of one
    /// whose transactions are unsigned. `lie` changes the answer.
    pub(crate) struct Geth(pub(crate) fn(&mut Value));
    #[async_trait]
    impl Rpc for Geth {
        async fn batch(&self, calls: Vec<Call>) -> Result<Vec<Result<Value, String>>, String> {
            let p = &calls[0].params;
            assert_eq!(calls[0].method, METHOD);
            assert_eq!(p[1], json!({ "blockHash": B256::repeat_byte(7) }));
            let o = &p[0]["blockStateCalls"][0]["blockOverrides"];
            let n = p[0]["blockStateCalls"][0]["calls"].as_array().unwrap().len();
            let calls = p[0]["blockStateCalls"][0]["calls"].as_array().unwrap();
            assert!(calls.iter().all(|c| c.get("gasPrice").is_none()), "it would become a type-0 transaction");
            // A second simulation reads the requests as the system does.
            let sent = calls.iter().filter(|c| c["to"] == json!(Address::ZERO));
            sent.for_each(|c| assert_eq!(c["from"], json!(SENDER), "it would be the zero address's"));
            let receipt = |i: usize| {
                let r = Receipt {
                    status: Eip658Value::Eip658(true),
                    cumulative_gas_used: 21_000 * (i as u64 + 1),
                    logs: Vec::<Log>::new(),
                };
                ReceiptEnvelope::from_typed(alloy_consensus::TxType::Eip1559, r.with_bloom())
            };
            let receipts: Vec<_> = (0..n).map(receipt).collect();
            let header = Header {
                parent_hash: B256::repeat_byte(7),
                number: 8,
                gas_limit: number(&o["gasLimit"]),
                gas_used: 21_000 * n as u64,
                timestamp: number(&o["time"]),
                beneficiary: serde_json::from_value(o["feeRecipient"].clone()).unwrap(),
                mix_hash: serde_json::from_value(o["prevRandao"].clone()).unwrap(),
                base_fee_per_gas: Some(number(&o["baseFeePerGas"])),
                parent_beacon_block_root: Some(serde_json::from_value(o["beaconRoot"].clone()).unwrap()),
                state_root: B256::repeat_byte(5),
                receipts_root: calculate_receipt_root(&receipts),
                withdrawals_root: Some(alloy_trie::EMPTY_ROOT_HASH),
                requests_hash: Some(ExecutionRequests::default().requests_hash()),
                blob_gas_used: Some(0),
                excess_blob_gas: Some(0),
                transactions_root: B256::repeat_byte(0xee),
                ..Default::default()
            };
            let mut block = serde_json::to_value(alloy_rpc_types_eth::Header::new(header)).unwrap();
            block["transactions"] = json!([]);
            let call = json!({ "returnData": "0x", "logs": [], "gasUsed": "0x5208", "status": "0x1" });
            block["calls"] = Value::Array(vec![call; n]);
            (self.0)(&mut block);
            Ok(vec![Ok(json!([block]))])
        }
    }
    fn number(v: &Value) -> u64 {
        u64::from_str_radix(v.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }
    async fn run(txs: &[BlockTx], cap: u64, lie: fn(&mut Value)) -> Result<Built, BuildError> {
        build(&Geth(lie), &job(), txs, cap, Instant::now() + Duration::from_secs(60)).await
    }

    #[tokio::test]
    async fn the_real_transactions_are_put_into_the_simulated_header() {
        let built = run(&[transfer(0), transfer(1)], 50_000_000, |_| {}).await.unwrap();
        assert_eq!((built.made, built.value), (Made::Simulated, U256::from(2 * 3 * 21_000)));
        let header = built.payload.execution_header(B256::repeat_byte(3), built.requests.requests_hash()).unwrap();
        assert_eq!(header.hash_slow(), built.payload.block_hash);
        assert_ne!(header.transactions_root, B256::repeat_byte(0xee));
    }

    /// The same, without `testing_buildBlockV1`.
    struct Plain;
    #[async_trait]
    impl Rpc for Plain {
        async fn batch(&self, calls: Vec<Call>) -> Result<Vec<Result<Value, String>>, String> {
            match calls[0].method {
                METHOD => Geth(|_| {}).batch(calls).await,
                other => Ok(vec![Err(format!("error -32601: the method {other} does not exist/is not available"))]),
            }
        }
    }
    pub(crate) struct Says(pub(crate) Result<bool, String>);
    #[async_trait]
    impl crate::own_block::Validator for Says {
        async fn is_valid(&self, _: &Built, _: B256) -> Result<bool, String> {
            self.0.clone()
        }
    }

    #[tokio::test]
    async fn a_simulated_block_is_handed_out_after_the_clients_valid_only() {
        let build = |says: Option<Result<bool, String>>| async move {
            let validator = says.map(|s| std::sync::Arc::new(Says(s)) as _);
            let builder = crate::own_block::BlockBuilder::new(std::sync::Arc::new(Plain), validator, 50_000_000);
            let outcome = builder.promised(&job(), &[transfer(0)], Instant::now() + Duration::from_secs(60)).await;
            outcome.map(|o| (o.built.made, o.dropped.len()))
        };
        assert!(matches!(build(Some(Ok(true))).await, Ok((Made::Simulated, 0))));
        assert!(matches!(build(None).await, Err(BuildError::Unchecked)));
        assert!(matches!(build(Some(Ok(false))).await, Err(BuildError::Invalid)));
        assert!(matches!(build(Some(Err("silent".into()))).await, Err(BuildError::Node { .. })));
    }

    #[tokio::test]
    async fn a_type_one_transaction_runs_as_type_two_and_gets_its_own_receipt() {
        let access_list = TxEip2930 { chain_id: 1, gas_limit: 21_000, gas_price: 99, ..Default::default() };
        let type_one = block_tx(sign(access_list).into());
        let built = run(std::slice::from_ref(&type_one), 50_000_000, |_| {}).await.unwrap();
        let receipt =
            Receipt { status: Eip658Value::Eip658(true), cumulative_gas_used: 21_000, logs: Vec::<Log>::new() };
        let own = ReceiptEnvelope::from_typed(TxType::Eip2930, receipt.with_bloom());
        assert_eq!(built.payload.receipts_root, calculate_receipt_root(&[own]));
        assert_eq!(built.payload.transactions[0][..], type_one.canonical[..]);
        assert_eq!(built.value, U256::from((99 - job().base_fee()) * 21_000));
    }

    #[tokio::test]
    async fn what_would_get_wrong_roots_is_not_simulated() {
        let clamped = run(&[transfer(0), transfer(1)], 41_999, |_| {}).await;
        assert!(matches!(clamped, Err(BuildError::NotSimulable(_))), "gas limits above the cap are clamped");
        let no_root = run(&[transfer(0)], 50_000_000, |b| b["stateRoot"] = json!(B256::ZERO)).await;
        assert!(matches!(no_root, Err(BuildError::NotSimulable(_))), "{no_root:?}");
    }

    /// A withdrawal request as the queue gives it out.
    const REQUEST: [u8; 76] = [5; 76];

    #[tokio::test]
    async fn execution_requests_come_from_a_second_simulation_and_must_hash_to_the_firsts() {
        let lie: fn(&mut Value) = |b| {
            let found = ExecutionRequests::from_eip7685(&[[&[1][..], &REQUEST].concat()]).unwrap();
            b["requestsHash"] = json!(found.requests_hash());
            if let [.., withdrawals, _] = b["calls"].as_array_mut().unwrap().as_mut_slice() {
                withdrawals["returnData"] = json!(Bytes::from(REQUEST));
            }
        };
        let built = run(&[transfer(0)], 50_000_000, lie).await.unwrap();
        assert_eq!(built.requests.withdrawals.len(), 1);
        assert_eq!(built.payload.transactions.len(), 1, "the system calls are not in the block");
        let little = run(&[transfer(0)], 1_000_000, lie).await;
        assert!(matches!(little, Err(BuildError::NotSimulable(_))), "{little:?}");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_fit_itself_is_refused() {
        let gas: fn(&mut Value) = |b| b["calls"][0]["gasUsed"] = json!("0x5209");
        let status: fn(&mut Value) = |b| b["calls"][0]["status"] = json!("0x0");
        for lie in [gas, status] {
            let got = run(&[transfer(0)], 50_000_000, lie).await;
            assert!(matches!(got, Err(BuildError::Differs { field: "receipts_root" })), "{got:?}");
        }
        let limit = run(&[transfer(0)], 50_000_000, |b| b["gasLimit"] = json!("0x1c9c380")).await;
        assert!(matches!(limit, Err(BuildError::Differs { field: "gas_limit" })), "{limit:?}");
        let requests = run(&[transfer(0)], 50_000_000, |b| b["requestsHash"] = json!(B256::repeat_byte(1))).await;
        assert!(matches!(requests, Err(BuildError::NotSimulable(_))), "requests that are not found");
        let fewer = run(&[transfer(0)], 50_000_000, |b| b["calls"] = json!([])).await;
        assert!(matches!(fewer, Err(BuildError::Shape { .. })));
    }
}
