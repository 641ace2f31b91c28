//! Building blocks by RPC, and keeping them until they are asked for.

use super::{Behaviour, State, claimed, faults, salt};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_engine::ExecutionPayloadEnvelopeV5;
use anyhow::{Context, Result, anyhow};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tandem_beacon::{
    BlobsBundle, BuilderBid, ExecutionPayload, ExecutionRequests, SignedBuilderBid, builder::KzgCommitments,
};
use tandem_crypto::BidSigner;
use tandem_types::{BlsPublicKey, Slot};

/// Payloads kept.
const KEPT: usize = 64;
/// How long a block may take to build.
const BUILD: Duration = Duration::from_secs(3);

/// A block that was offered.
#[derive(Clone)]
pub(super) struct Offered {
    pub payload: ExecutionPayload,
    pub bundle: BlobsBundle,
    /// The proposer that asked for it.
    pub key: BlsPublicKey,
}

/// Offered blocks by hash, the oldest forgotten.
#[derive(Default)]
pub(super) struct Payloads {
    by_hash: Mutex<(HashMap<B256, Offered>, VecDeque<B256>)>,
    built: AtomicU64,
}

impl Payloads {
    pub fn get(&self, hash: B256) -> Option<Offered> {
        self.by_hash.lock().0.get(&hash).cloned()
    }
    fn put(&self, offered: Offered) {
        let hash = offered.payload.block_hash;
        let mut kept = self.by_hash.lock();
        if kept.0.insert(hash, offered).is_none() {
            kept.1.push_back(hash);
        }
        while kept.1.len() > KEPT {
            if let Some(old) = kept.1.pop_front() {
                kept.0.remove(&old);
            }
        }
    }
}

/// Builds a block and signs a bid for it. `None` where no attributes are known.
pub(super) async fn bid(
    state: &State,
    slot: Slot,
    parent: B256,
    key: &BlsPublicKey,
    first: &[Bytes],
) -> Result<Option<SignedBuilderBid>> {
    let behaviour = state.behaviour();
    let known = state.attributes.get(slot, parent);
    let known = if behaviour.reckless { known.or(state.attributes.guess(slot)) } else { known };
    let Some(mut attributes) = known else { return Ok(None) };
    faults::spoil_attributes(behaviour.fault, &mut attributes);
    let n = state.payloads.built.fetch_add(1, Ordering::Relaxed);
    let extra = if behaviour.equivocate { salt(parent, n) } else { "simulated relay".to_owned() };
    // A censoring relay leaves out just what the slot's constraints demand.
    let without = if behaviour.censor { super::constraints::demanded(state, slot)? } else { Vec::new() };
    let cut = Cut { demanded: &without, behaviour: &behaviour };
    let built = build(state, parent, &attributes, (first, &cut), extra.into_bytes().into()).await?;
    let payload = ExecutionPayload::from_engine(&built.execution_payload)?;
    let bundle = BlobsBundle::from_engine(&built.blobs_bundle)?;
    let requests: Vec<Bytes> = built.execution_requests.iter().cloned().collect();
    let mut message = BuilderBid {
        header: payload.header(),
        blob_kzg_commitments: KzgCommitments::new(bundle.commitments.to_vec()).map_err(|e| anyhow!("{e:?}"))?,
        execution_requests: ExecutionRequests::from_eip7685(&requests)?,
        value: claimed(&behaviour, built.block_value),
        pubkey: state.key.public_key(),
    };
    faults::spoil_bid(behaviour.fault, &mut message);
    state.payloads.put(Offered { payload, bundle, key: *key });
    state.count(|c| c.bids += 1);
    Ok(Some(sign(state, &behaviour, message)))
}

/// What a censoring relay leaves out.
struct Cut<'a> {
    demanded: &'a [Bytes],
    behaviour: &'a Behaviour,
}

impl Cut<'_> {
    fn is_empty(&self) -> bool {
        let b = self.behaviour;
        self.demanded.is_empty() && b.leave_out.is_empty() && b.leave_out_senders.is_empty()
    }

    /// What is left of a block's transactions. Whoever lost one loses the later ones too: their nonces
    /// would have a gap.
    fn rest<'t>(&self, txs: &'t [Bytes]) -> Vec<&'t Bytes> {
        let mut cut: HashSet<Address> = self.behaviour.leave_out_senders.iter().copied().collect();
        let mut stays = |tx: &Bytes| {
            let Ok(decoded) = tandem_crypto::tx::decode(tx) else { return !self.demanded.contains(tx) };
            let facts = decoded.facts;
            if self.demanded.contains(tx) || self.behaviour.leave_out.contains(&facts.hash) {
                cut.insert(facts.sender);
            }
            !cut.contains(&facts.sender)
        };
        txs.iter().filter(|tx| stays(tx)).collect()
    }
}

/// Builds: what is demanded first, then the pool's best as the client chose it, but for what is cut.
async fn build(
    state: &State,
    parent: B256,
    attributes: &Value,
    (first, cut): (&[Bytes], &Cut<'_>),
    extra: Bytes,
) -> Result<ExecutionPayloadEnvelopeV5> {
    let call = async |transactions: Value| {
        let transactions = faults::spoil_transactions(cut.behaviour.fault, transactions);
        let params = json!([parent, attributes, transactions, extra]);
        let built = crate::http::rpc(&state.config.execution, "testing_buildBlockV1", params, BUILD).await?;
        serde_json::from_value::<ExecutionPayloadEnvelopeV5>(built).context("the built payload")
    };
    // Nothing demanded and nothing cut: the client takes the pool's best itself.
    let from_pool = call(Value::Null).await?;
    if first.is_empty() && cut.is_empty() {
        return Ok(from_pool);
    }
    let pool = &from_pool.execution_payload.payload_inner.payload_inner.transactions;
    let rest = cut.rest(pool).into_iter().filter(|tx| !first.contains(tx));
    let all: Vec<&Bytes> = first.iter().chain(rest).collect();
    match call(json!(all)).await {
        Ok(built) => Ok(built),
        // A pool transaction may not fit behind what is demanded: then the demanded ones alone.
        Err(_) => call(json!(first)).await,
    }
}

fn sign(state: &State, behaviour: &Behaviour, message: BuilderBid) -> SignedBuilderBid {
    let key = if behaviour.wrong_key { &state.other_key } else { &state.key };
    let signature = key.sign_bid(&message);
    SignedBuilderBid { message, signature }
}

/// A bid of zero wei is none for a beacon node.
pub(super) fn is_worthless(bid: &SignedBuilderBid) -> bool {
    bid.message.value == U256::ZERO
}
