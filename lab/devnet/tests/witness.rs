//! Block 94 of a real Prysm and geth devnet, executed again from its witness alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use alloy_consensus::{Block, Header, TxEnvelope, proofs, transaction::SignerRecoverable};
use alloy_eips::eip2718::Encodable2718;
use alloy_genesis::Genesis;
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_rlp::Decodable;
use alloy_rpc_types_trace::geth::{GethDebugBuiltInTracerType, GethDebugTracerType, GethDebugTracingOptions};
use revm::state::Bytecode;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use tandem_devnet::execution::{
    Ancestors, Codes, ExecError, Executed, Executor, OsakaSpec, StateView, Tx, trace_block,
};
use tandem_trie::{NodeSet, State, TrieError};

fn vector(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../vectors/devnet-fulu").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let value: Value = serde_json::from_str(&text).unwrap();
    value.get("result").cloned().unwrap_or(value)
}

struct Case {
    spec: OsakaSpec,
    block: Block<TxEnvelope>,
    txs: Vec<Tx>,
    parent: Header,
    nodes: Vec<Bytes>,
    codes: Vec<Bytes>,
}

impl Case {
    fn load() -> Self {
        let genesis: Genesis = serde_json::from_value(vector("execution-genesis.json")).unwrap();
        let raw: Bytes = serde_json::from_value(vector("debug_getRawBlock-94.json")).unwrap();
        let block = Block::<TxEnvelope>::decode(&mut raw.as_ref()).unwrap();
        let witness = vector("debug_executionWitness-94.json");
        let parent: alloy_rpc_types_eth::Header = serde_json::from_value(witness["headers"][0].clone()).unwrap();
        let parent = parent.into_consensus();
        assert_eq!(parent.hash_slow(), block.header.parent_hash, "the witness brings the parent");
        let bytes = |key: &str| serde_json::from_value::<Vec<Bytes>>(witness[key].clone()).unwrap();
        let txs = block.body.transactions.iter();
        let txs = txs.map(|tx| Tx::new_unchecked(tx.clone(), tx.recover_signer().unwrap())).collect();
        let (nodes, codes) = (bytes("state"), bytes("codes"));
        Self { spec: OsakaSpec::from_genesis(&genesis), block, txs, parent, nodes, codes }
    }

    fn view(&self) -> StateView {
        let set: NodeSet = self.nodes.iter().cloned().collect();
        let state = State::from_witness(self.parent.state_root, &set).unwrap();
        let codes = Codes::default();
        self.codes.iter().for_each(|c| codes.insert(keccak256(c), Bytecode::new_raw(c.clone())));
        let ancestors =
            Ancestors::Listed(Arc::new(BTreeMap::from([(self.parent.number, self.block.header.parent_hash)])));
        StateView::new(state, Arc::new(codes), ancestors)
    }

    fn run(&self) -> Result<Executed, ExecError> {
        let withdrawals = self.block.body.withdrawals.clone().unwrap().into_inner();
        let mut run = Executor::start(&self.spec, self.view(), &self.block.header, withdrawals)?;
        for tx in &self.txs {
            run.transact(tx).map_err(|e| ExecError::Internal(e.text(tx)))?;
        }
        run.finish()
    }
}

#[test]
fn the_witness_alone_leads_to_geths_state_root_and_receipts() {
    let case = Case::load();
    let run = case.run().unwrap();
    let header = &case.block.header;
    assert_eq!(run.state.root(), header.state_root);
    assert_eq!(proofs::calculate_receipt_root(&run.receipts), header.receipts_root);
    assert_eq!((run.gas_used, Some(run.blob_gas_used)), (header.gas_used, header.blob_gas_used));
    assert_eq!(Some(run.requests.requests_hash()), header.requests_hash);
    let receipts: Vec<Bytes> = serde_json::from_value(vector("debug_getRawReceipts-94.json")).unwrap();
    let ours: Vec<Bytes> = run.receipts.iter().map(|r| r.encoded_2718().into()).collect();
    assert_eq!(ours, receipts);
}

/// Where the least witness of a node set would need it: each node is either not needed at all, or its
/// absence is an error. Never is it a wrong root.
#[test]
fn a_node_left_out_is_an_error_or_was_not_needed_but_never_a_wrong_root() {
    let mut needed = 0;
    for left_out in 0..Case::load().nodes.len() {
        let mut case = Case::load();
        case.nodes.remove(left_out);
        match case.run() {
            Ok(run) => assert_eq!(run.state.root(), case.block.header.state_root),
            Err(ExecError::Internal(why)) => {
                assert!(why.contains("is not in the witness"), "{why}");
                needed += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(needed > 0, "leaving out nodes must matter");
}

#[test]
fn a_witness_of_our_own_execution_holds_what_geths_holds() {
    let case = Case::load();
    let run = case.run().unwrap();
    let set: NodeSet = case.nodes.iter().cloned().collect();
    let before = State::from_witness(case.parent.state_root, &set).unwrap();
    let ours = before.witness(&run.touches).unwrap();
    // Over our nodes alone the same block leads to the same root.
    let again = Case { nodes: ours.into_sorted(), ..Case::load() };
    assert_eq!(again.run().unwrap().state.root(), case.block.header.state_root);
}

#[test]
fn the_prestate_tracer_in_diff_mode_answers_as_geth_does() {
    let case = Case::load();
    let options = GethDebugTracingOptions::new_tracer(GethDebugTracerType::BuiltInTracer(
        GethDebugBuiltInTracerType::PreStateTracer,
    ))
    .with_config_diff();
    let hash = case.block.header.hash_slow();
    let traces = trace_block(&case.spec, case.view(), (&case.block.header, hash), &case.txs, &options, None).unwrap();
    let ours: Vec<Value> = traces.iter().map(|(hash, trace)| json!({ "txHash": hash, "result": trace })).collect();
    assert_eq!(Value::Array(ours), vector("debug_traceBlockByNumber-94.json"));
}

trait Diff {
    fn with_config_diff(self) -> Self;
}

impl Diff for GethDebugTracingOptions {
    fn with_config_diff(mut self) -> Self {
        self.tracer_config = alloy_rpc_types_trace::geth::GethDebugTracerConfig(json!({ "diffMode": true }));
        self
    }
}

#[test]
fn a_blinded_path_names_itself() {
    let state = State::from_witness(B256::repeat_byte(1), &NodeSet::default()).unwrap();
    let error = state.account(alloy_primitives::Address::ZERO).unwrap_err();
    assert!(matches!(error, TrieError::Blinded { hash, .. } if hash == B256::repeat_byte(1)));
}
