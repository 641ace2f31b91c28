//! Witnesses, both ways: geth runs a block from the devnet's witness, and the devnet from geth's.

use crate::{
    compare::{Pair, differences},
    el::{HASHER, Net, SETTER, address, advance, after, call, deploy, set, stateless, transfer, vanish},
    geth::{Geth, Payload},
};
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, Bytes};
use alloy_rlp::{Encodable, Header as RlpHeader};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tandem_devnet::execution::Fill;

fn list(items: &[Bytes]) -> Vec<u8> {
    let mut out = Vec::new();
    items.to_vec().encode(&mut out);
    out
}

/// A witness in RLP, as geth's stateless execution takes it.
fn rlp(witness: &Value) -> Bytes {
    let bytes = |key: &str| serde_json::from_value::<Vec<Bytes>>(witness[key].clone()).unwrap();
    let headers = stateless::headers(witness);
    let mut body = Vec::new();
    headers.encode(&mut body);
    for key in ["codes", "state"] {
        body.extend(list(&bytes(key)));
    }
    body.extend(list(&[]));
    let mut out = Vec::new();
    RlpHeader { list: true, payload_length: body.len() }.encode(&mut out);
    out.extend(body);
    out.into()
}

fn set_of(witness: &Value, key: &str) -> BTreeSet<String> {
    serde_json::from_value(witness[key].clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs geth: `cargo xtask test --only interop`"]
async fn geth_runs_a_block_from_our_witness_and_we_run_it_from_geths() {
    let net = Net::start().await;
    let geth = Geth::start(&net.execution);
    let mut pair = Pair::new(net, geth);
    let (setter, hasher) = (address(0).create(0), address(0).create(1));
    let paid = Withdrawal { index: 1, validator_index: 2, address: Address::repeat_byte(0x88), amount: 77 };
    let blocks = vec![
        vec![deploy(0, 0, SETTER), deploy(0, 1, HASHER)],
        vec![call(0, 2, setter, set(1, 5), 0), call(0, 3, setter, set(2, 6), 0), call(0, 4, setter, set(9, 7), 0)],
        vec![],
        vec![],
        // A hash three blocks back, slots that go, a contract that comes and goes, one that comes and
        // stays, an account that comes.
        vec![
            call(1, 0, hasher, [], 0),
            call(0, 5, setter, set(1, 0), 0),
            call(0, 6, setter, set(9, 0), 0),
            vanish(2, 0),
            deploy(3, 0, SETTER),
            transfer(4, 0, Address::repeat_byte(0x99), 1),
        ],
    ];
    for txs in blocks {
        let (execution, replica) = (&pair.net.execution, &pair.net.replica);
        let block = advance(execution, replica, &after(execution, 7, vec![paid]), &Fill::Exactly(txs));
        pair.geth.follow(&block);
    }
    let spec = pair.net.execution.spec().clone();
    let all: Vec<_> = (1..=5).map(|n| pair.net.execution.block_by_number(n).unwrap()).collect();
    for block in all {
        let number = format!("{:#x}", block.number());
        let (theirs, ours) = pair.both("debug_executionWitness", &json!([number])).await;
        stateless::run(&spec, &block, &ours).unwrap();
        stateless::run(&spec, &block, &theirs).unwrap();
        let payload = Payload::of(&block);
        let mut params = payload.params();
        params.as_array_mut().unwrap().push(json!(rlp(&ours)));
        let ran = pair.geth.ask("engine_executeStatelessPayloadV4", &params);
        assert_eq!(ran["status"], "VALID", "block {number}: {ran}");
        assert_eq!(ran["stateRoot"], json!(block.header().state_root), "{ran}");
        assert_eq!(ran["receiptsRoot"], json!(block.header().receipts_root), "{ran}");
        // Of the codes and headers it is exactly geth's; of the nodes at least what the run needs.
        assert_eq!(set_of(&ours, "codes"), set_of(&theirs, "codes"), "block {number}");
        let mut found = Vec::new();
        differences(".headers", &theirs["headers"], &ours["headers"], &mut found);
        assert!(found.is_empty(), "block {number}: {found:?}");
        println!("block {number}: {} nodes, geth {}", set_of(&ours, "state").len(), set_of(&theirs, "state").len());
    }
    pair.net.server.stop().await;
}
