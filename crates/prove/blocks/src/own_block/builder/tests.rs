//! Which way a block is built, how far it is filled, and whose word it needs.

use super::*;
use crate::{
    core::tests::fakes::{BASE_FEE, FakeNode, block_json},
    own_block::{
        ParentHeader,
        simulate::tests::{Geth, Says, block_tx, job as simulated_job, sign},
    },
};
use alloy_consensus::{TxEip1559, TxEnvelope};
use alloy_primitives::{Address, U256};
use async_trait::async_trait;
use serde_json::Value;
use std::time::Duration;
use tandem_state::Call;
use tandem_types::Slot;

/// Builds like the fake node, and simulates like geth.
#[derive(Default)]
struct Client {
    node: FakeNode,
}

#[async_trait]
impl Rpc for Client {
    async fn batch(&self, calls: Vec<Call>) -> Result<Vec<Result<Value, String>>, String> {
        match calls[0].method {
            "eth_simulateV1" => Geth(|_| {}).batch(calls).await,
            _ => self.node.batch(calls).await,
        }
    }
}

fn job(slot: u64) -> Job {
    let mut job = simulated_job();
    job.attributes.slot = Slot::new(slot);
    job.parent = ParentHeader { base_fee: BASE_FEE, ..job.parent };
    job
}

/// The same signer has all nonces; to the pool each is another sender's.
fn tx(nonce: u64, gas_limit: u64) -> TxEnvelope {
    let tx = TxEip1559 {
        chain_id: 1,
        nonce,
        gas_limit,
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 3,
        ..Default::default()
    };
    sign(tx).into()
}

/// A pool of so many senders with one transaction each.
fn pool(n: u8, gas_limit: u64) -> Value {
    let mut pending = serde_json::Map::new();
    for sender in 1..=n {
        let from = Address::repeat_byte(sender);
        let mut entry = serde_json::to_value(tx(u64::from(sender), gas_limit)).unwrap();
        entry["from"] = json!(from);
        pending.insert(from.to_string(), json!({ sender.to_string(): entry }));
    }
    json!({ "pending": pending })
}

fn client() -> Arc<Client> {
    let client = Client::default();
    let parent = job(9).attributes.parent;
    client.node.blocks.lock().insert(parent.hash, block_json(parent, B256::ZERO, 988, &[]));
    Arc::new(client)
}

fn builder(client: &Arc<Client>, gas_cap: u64, says: Option<Result<bool, String>>) -> BlockBuilder {
    let validator = says.map(|s| Arc::new(Says(s)) as Arc<dyn Validator>);
    BlockBuilder::new(client.clone(), validator, gas_cap)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn due() -> Vec<BlockTx> {
    vec![BlockTx { gas_limit: 21_000, ..block_tx(tx(0, 21_000)) }]
}

/// The client takes no parent but its head, and this is another.
fn on_another_parent(client: &Client) {
    client.node.unready.store(u64::MAX, Ordering::SeqCst);
}

#[tokio::test]
async fn a_client_that_lacked_the_method_is_asked_again_in_the_next_epoch_and_not_before() {
    let client = client();
    let builder = builder(&client, 50_000_000, Some(Ok(true)));
    let made = |slot| {
        let (builder, job) = (&builder, job(slot));
        async move { builder.promised(&job, &due(), soon()).await.unwrap().built.made }
    };
    client.node.plain.store(true, Ordering::SeqCst);
    assert_eq!(made(9).await, Made::Simulated);
    client.node.plain.store(false, Ordering::SeqCst);
    assert_eq!(made(31).await, Made::Simulated, "it was asked in this epoch");
    assert_eq!(client.node.builds.load(Ordering::SeqCst), 0);
    assert_eq!(made(32).await, Made::Client);
}

#[tokio::test]
async fn a_block_is_filled_up_to_what_the_way_that_builds_it_can_hold() {
    let client = client();
    *client.node.pool.lock() = pool(8, 2_000_000);
    // Of ten million four are left for the calls that ask for requests.
    let builder = builder(&client, 10_000_000, Some(Ok(true)));
    let job = job(9);
    let fuller = |way| {
        let (builder, job) = (&builder, &job);
        async move { builder.fuller(job, &due(), way, soon()).await.map(|b| (b.made, b.payload.transactions.len())) }
    };
    assert_eq!(fuller(Made::Client).await.unwrap(), (Made::Client, 9));
    on_another_parent(&client);
    let way = builder.promised(&job, &due(), soon()).await.unwrap().built.made;
    assert_eq!(way, Made::Simulated);
    assert_eq!(fuller(way).await.unwrap(), (Made::Simulated, 3));
    assert_eq!(fuller(Made::Client).await.unwrap(), (Made::Simulated, 3), "the head moved on between the two");
}

#[tokio::test]
async fn a_silent_engine_is_no_yes_but_for_the_promises_alone_in_a_block_of_the_clients_own() {
    let client = client();
    *client.node.pool.lock() = pool(1, 21_000);
    let job = job(9);
    let told = |builder: BlockBuilder| {
        let job = &job;
        async move {
            let outcome = builder.promised(job, &due(), soon()).await.unwrap();
            let fuller = builder.fuller(job, &due(), outcome.built.made, soon()).await;
            (outcome.built.made, outcome.built.unconfirmed, fuller.map(|b| b.unconfirmed).map_err(|e| e.to_string()))
        }
    };
    let silent = || Some(Err("silent".to_owned()));
    let (made, unconfirmed, fuller) = told(builder(&client, 50_000_000, silent())).await;
    assert_eq!((made, unconfirmed), (Made::Client, true));
    assert!(fuller.unwrap_err().contains("no VALID"));
    // The controls: a client that answers, and one that can not be asked.
    assert_eq!(told(builder(&client, 50_000_000, Some(Ok(true)))).await, (Made::Client, false, Ok(false)));
    assert_eq!(told(builder(&client, 50_000_000, None)).await, (Made::Client, false, Ok(false)));
    on_another_parent(&client);
    let simulated = builder(&client, 50_000_000, silent()).promised(&job, &due(), soon()).await;
    assert!(simulated.is_err(), "{simulated:?}");
}

/// Never answers.
struct Hangs;
#[async_trait]
impl Validator for Hangs {
    async fn is_valid(&self, _: &Built, _: B256) -> Result<bool, String> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn an_engine_that_hangs_leaves_half_of_the_time() {
    let builder = BlockBuilder::new(client(), Some(Arc::new(Hangs)), 50_000_000);
    let begun = Instant::now();
    let outcome = builder.promised(&job(9), &due(), begun + Duration::from_secs(10)).await.unwrap();
    assert!(outcome.built.unconfirmed && begun.elapsed() < Duration::from_millis(9_500), "{:?}", begun.elapsed());
    assert_eq!(outcome.built.value, U256::from(3 * 21_000));
}

/// A client with these methods, asked for nothing.
struct Has(&'static [&'static str]);

#[async_trait]
impl Rpc for Has {
    async fn batch(&self, calls: Vec<Call>) -> Result<Vec<Result<Value, String>>, String> {
        let method = calls[0].method;
        Ok(vec![Err(match self.0.contains(&method) {
            true => "error -32602: missing value for required argument 0".into(),
            false => format!("error -32601: the method {method} does not exist/is not available"),
        })])
    }
}

#[tokio::test]
async fn there_is_a_way_to_build_by_the_client_itself_or_with_an_engine_by_a_simulation() {
    for (methods, engine, unable) in [
        (&[][..], true, true),
        (&[], false, true),
        (&["eth_simulateV1"], true, false),
        (&["eth_simulateV1"], false, true),
        (&["testing_buildBlockV1"], true, false),
        (&["testing_buildBlockV1"], false, false),
    ] {
        let says = engine.then(|| Arc::new(Says(Ok(true))) as Arc<dyn Validator>);
        let builder = BlockBuilder::new(Arc::new(Has(methods)), says, 50_000_000);
        builder.probe(soon(), None).await;
        assert_eq!(builder.is_unable(), unable, "{methods:?}, engine: {engine}");
    }
}
