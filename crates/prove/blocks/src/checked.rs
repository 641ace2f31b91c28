//! Blocks from the operator's node that are what they say. What becomes of promises is settled by them
//! after a start and where the feed has a gap, and what is settled is so for ever.

use crate::{chain::ChainBlock, own_block::ParentHeader, ports::BlockReader};
use alloy_consensus::proofs::calculate_transaction_root;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, keccak256};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::HashSet, sync::Arc};
use tandem_node::TxEnvelope;
use tandem_state::{Call, Rpc};
use tandem_types::{BlockId, SlotClock};

/// Reads blocks with all their transactions, and takes nothing of them on the node's word: the header
/// hashes to the block's hash, and the transactions, hashed here, give the header's root.
pub struct CheckedBlocks {
    rpc: Arc<dyn Rpc>,
    clock: SlotClock,
}

type RpcTx = alloy_rpc_types_eth::Transaction<TxEnvelope>;

impl CheckedBlocks {
    /// Over the operator's client.
    pub fn new(rpc: Arc<dyn Rpc>, clock: SlotClock) -> Self {
        Self { rpc, clock }
    }

    async fn read(
        &self,
        method: &'static str,
        params: Value,
        want: Option<B256>,
    ) -> Result<Option<ChainBlock>, String> {
        let mut answers = self.rpc.batch(vec![Call { method, params }]).await?;
        let answer = answers.pop().ok_or("an empty batch")??;
        if answer.is_null() {
            return Ok(None);
        }
        let clock = self.clock;
        // A full block takes milliseconds of pure computation.
        let checked = tokio::task::spawn_blocking(move || check(&answer, want, &clock));
        checked.await.map_err(|e| e.to_string())?.map(Some)
    }
}

#[async_trait]
impl BlockReader for CheckedBlocks {
    async fn block(&self, hash: B256) -> Result<Option<ChainBlock>, String> {
        self.read("eth_getBlockByHash", json!([hash, true]), Some(hash)).await
    }
    async fn head(&self) -> Result<Option<ChainBlock>, String> {
        self.read("eth_getBlockByNumber", json!(["latest", true]), None).await
    }
}

fn check(block: &Value, want: Option<B256>, clock: &SlotClock) -> Result<ChainBlock, String> {
    let header: alloy_rpc_types_eth::Header =
        Deserialize::deserialize(block).map_err(|e| format!("not a header: {e}"))?;
    let hash = header.inner.hash_slow();
    if hash != header.hash || want.is_some_and(|want| want != hash) {
        return Err(format!("a header that hashes to {hash} came as {}", want.unwrap_or(header.hash)));
    }
    let h = header.inner;
    let listed = block.get("transactions").unwrap_or(&Value::Null);
    let listed = Vec::<RpcTx>::deserialize(listed).map_err(|e| format!("block {hash}: not its transactions: {e}"))?;
    let txs: Vec<TxEnvelope> = listed.into_iter().map(|t| t.inner.into_inner()).collect();
    let root = calculate_transaction_root(&txs);
    if root != h.transactions_root {
        return Err(format!("the transactions of block {hash} give the root {root}"));
    }
    let txs: HashSet<B256> = txs.iter().map(|t| keccak256(t.encoded_2718())).collect();
    Ok(ChainBlock {
        id: BlockId { number: h.number, hash },
        parent: h.parent_hash,
        // Block 0 is older than the first slot.
        slot: clock.slot_of_timestamp(h.timestamp).unwrap_or_default(),
        header: ParentHeader {
            gas_limit: h.gas_limit,
            gas_used: h.gas_used,
            base_fee: h.base_fee_per_gas.unwrap_or_default(),
        },
        txs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::{Header, SignableTransaction, TxEip1559};
    use alloy_primitives::{Address, Signature, U256};
    use tandem_types::Slot;

    const CLOCK: SlotClock = SlotClock::real(1_700_000_000, 12);

    fn tx(nonce: u64) -> TxEnvelope {
        let tx = TxEip1559 { nonce, gas_limit: 21_000, max_fee_per_gas: 9, ..Default::default() };
        tx.into_signed(Signature::new(U256::from(nonce + 1), U256::from(1), false)).into()
    }
    fn listed(txs: &[TxEnvelope]) -> Value {
        let one = |tx: &TxEnvelope| {
            let mut v = serde_json::to_value(tx).unwrap();
            v["from"] = json!(Address::ZERO);
            v
        };
        txs.iter().map(one).collect()
    }
    fn block(txs: &[TxEnvelope]) -> (B256, Value) {
        let header = Header {
            number: 7,
            parent_hash: B256::repeat_byte(6),
            timestamp: CLOCK.timestamp(Slot::new(9)),
            gas_limit: 60_000_000,
            base_fee_per_gas: Some(9),
            transactions_root: calculate_transaction_root(txs),
            ..Default::default()
        };
        let hash = header.hash_slow();
        let mut v = serde_json::to_value(alloy_rpc_types_eth::Header::new(header)).unwrap();
        v["transactions"] = listed(txs);
        (hash, v)
    }

    /// A node that tells what it likes.
    struct Node(Value);
    #[async_trait]
    impl Rpc for Node {
        async fn batch(&self, _: Vec<Call>) -> Result<Vec<Result<Value, String>>, String> {
            Ok(vec![Ok(self.0.clone())])
        }
    }
    async fn told(hash: B256, v: &Value) -> Result<Option<ChainBlock>, String> {
        CheckedBlocks::new(Arc::new(Node(v.clone())), CLOCK).block(hash).await
    }

    #[tokio::test]
    async fn a_block_is_read_with_the_hashes_of_its_transactions_as_they_are_computed_here() {
        let txs = [tx(0), tx(1)];
        let (hash, v) = block(&txs);
        let found = told(hash, &v).await.unwrap().unwrap();
        assert_eq!(
            (found.id, found.parent, found.slot),
            (BlockId { number: 7, hash }, B256::repeat_byte(6), Slot::new(9))
        );
        assert_eq!(found.txs, txs.iter().map(|t| *t.tx_hash()).collect());
        let reader = CheckedBlocks::new(Arc::new(Node(v)), CLOCK);
        assert_eq!(reader.head().await.unwrap(), Some(found));
        assert_eq!(told(hash, &Value::Null).await, Ok(None));
    }

    #[tokio::test]
    async fn a_node_that_lies_about_hash_parent_time_or_transactions_is_not_believed() {
        let (hash, good) = block(&[tx(0), tx(1)]);
        let lies: [fn(&mut Value); 6] = [
            |v| v["hash"] = json!(B256::repeat_byte(1)),
            |v| v["parentHash"] = json!(B256::repeat_byte(1)),
            |v| v["timestamp"] = json!("0x1"),
            // A promise that was kept is left out, or one that was not is put in.
            |v| v["transactions"] = listed(&[tx(0)]),
            |v| v["transactions"] = listed(&[tx(0), tx(1), tx(2)]),
            |v| v["transactions"] = json!([tx(0).tx_hash(), tx(1).tx_hash()]),
        ];
        for (n, lie) in lies.into_iter().enumerate() {
            let mut v = good.clone();
            lie(&mut v);
            assert!(told(hash, &v).await.is_err(), "lie {n}");
        }
        // Another block, true in itself, for the one that was asked for.
        let (_, another) = block(&[tx(5)]);
        assert!(told(hash, &another).await.is_err());
        // What a transaction says of its own hash counts for nothing: the root is of its content.
        let mut v = good.clone();
        v["transactions"][0]["nonce"] = json!("0x9");
        assert!(told(hash, &v).await.is_err());
    }
}
