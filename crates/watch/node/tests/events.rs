//! The event stream: typed, bounded, opened anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use axum::{Router, body::Body, extract::RawQuery, http::header, response::IntoResponse, routing::get};
use common::{limits, serve};
use futures::{StreamExt, stream};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tandem_node::{BeaconEvent, BeaconNode, EventStream, NodeError, StreamItem, Topic};
use tandem_types::Slot;

/// Each connection gets the next script: its chunks, and then it stays open or ends.
async fn node(scripts: Vec<(Vec<&'static [u8]>, bool)>) -> (BeaconNode, Arc<Mutex<Vec<String>>>) {
    let (scripts, queries) = (Arc::new(Mutex::new(scripts.into_iter())), Arc::new(Mutex::new(Vec::new())));
    let q = queries.clone();
    let handler = move |RawQuery(query): RawQuery| async move {
        q.lock().unwrap().push(query.unwrap());
        let Some((chunks, stays)) = scripts.lock().unwrap().next() else {
            return axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let chunks = stream::iter(chunks).then(|c| async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, Infallible>(c)
        });
        let body = match stays {
            true => Body::from_stream(chunks.chain(stream::pending())),
            false => Body::from_stream(chunks),
        };
        ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
    };
    let url = serve(Router::new().route("/eth/v1/events", get(handler))).await;
    (BeaconNode::new(&url, limits(20_000)).unwrap(), queries)
}

async fn next(s: &mut EventStream) -> StreamItem {
    tokio::time::timeout(Duration::from_secs(60), s.next()).await.unwrap().unwrap()
}

const ROOT: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";

fn head(slot: u64) -> &'static [u8] {
    let text =
        format!("event: head\ndata: {{\"slot\":\"{slot}\",\"block\":\"{ROOT}\",\"execution_optimistic\":false}}\n\n");
    Box::leak(text.into_bytes().into_boxed_slice())
}

#[tokio::test]
async fn events_are_typed_and_a_broken_stream_is_opened_anew_and_says_so() {
    let (first, second) = head(5).split_at(20);
    let (node, queries) = node(vec![(vec![b":keep\n\n", first, second], false), (vec![head(6)], true)]).await;
    let mut s = node.events(&[Topic::Head, Topic::PayloadAttributes], Duration::from_secs(20));
    assert_eq!(next(&mut s).await, StreamItem::Connected);
    let StreamItem::Event(BeaconEvent::Head(h)) = next(&mut s).await else { panic!() };
    assert_eq!((h.slot, h.execution_optimistic), (Slot::new(5), false));
    assert!(matches!(next(&mut s).await, StreamItem::Lost(NodeError::Connect { .. })));
    assert_eq!(next(&mut s).await, StreamItem::Connected);
    assert!(matches!(next(&mut s).await, StreamItem::Event(BeaconEvent::Head(h)) if h.slot == Slot::new(6)));
    assert_eq!(*queries.lock().unwrap(), ["topics=head,payload_attributes"; 2]);
}

#[tokio::test]
async fn silence_longer_than_the_idle_time_is_a_lost_stream() {
    let (node, _) = node(vec![(vec![b":hello\n\n"], true), (vec![head(1)], true)]).await;
    let mut s = node.events(&[Topic::Head], Duration::from_secs(2));
    assert_eq!(next(&mut s).await, StreamItem::Connected);
    assert!(matches!(next(&mut s).await, StreamItem::Lost(NodeError::Timeout { .. })));
    assert_eq!(next(&mut s).await, StreamItem::Connected);
    assert!(matches!(next(&mut s).await, StreamItem::Event(_)));
}

#[tokio::test]
async fn rubbish_and_endless_events_end_the_stream_and_not_the_reader() {
    let long: &'static [u8] = Box::leak(vec![b'x'; 2 << 20].into_boxed_slice());
    let rubbish: Vec<&'static [u8]> = vec![b"event: head\ndata: {\"slot\":-1}\n\n"];
    let (node, _) =
        node(vec![(rubbish, true), (vec![long], true), (vec![b"data: \xff\n\n"], true), (vec![head(9)], true)]).await;
    let mut s = node.events(&[Topic::Head], Duration::from_secs(20));
    for _ in 0..3 {
        assert_eq!(next(&mut s).await, StreamItem::Connected);
        let lost = next(&mut s).await;
        assert!(matches!(lost, StreamItem::Lost(NodeError::Malformed { .. })), "{lost:?}");
    }
    assert_eq!(next(&mut s).await, StreamItem::Connected);
    assert!(matches!(next(&mut s).await, StreamItem::Event(BeaconEvent::Head(h)) if h.slot == Slot::new(9)));
}

#[tokio::test]
async fn a_node_that_refuses_the_stream_is_asked_again() {
    let (node, queries) = node(vec![]).await;
    let mut s = node.events(&[Topic::Head], Duration::from_secs(20));
    for _ in 0..2 {
        assert!(matches!(next(&mut s).await, StreamItem::Lost(NodeError::Status { status: 503, .. })));
    }
    assert!(queries.lock().unwrap().len() >= 2);
}

#[tokio::test]
async fn payload_attributes_and_finality_are_read_whole() {
    let attributes = concat!(
        "event: payload_attributes\ndata: {\"version\":\"fulu\",\"data\":{\"proposer_index\":\"3\",\"proposal_slot\":\"74\",",
        "\"parent_block_number\":\"72\",\"parent_block_root\":\"0x1111111111111111111111111111111111111111111111111111111111111111\",",
        "\"parent_block_hash\":\"0x2222222222222222222222222222222222222222222222222222222222222222\",\"payload_attributes\":{",
        "\"timestamp\":\"1795355363\",\"prev_randao\":\"0x3333333333333333333333333333333333333333333333333333333333333333\",",
        "\"suggested_fee_recipient\":\"0x123463a4b065722e99115d6c222f267d9cabb524\",\"withdrawals\":[{\"index\":\"256\",",
        "\"validator_index\":\"16\",\"address\":\"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\",\"amount\":\"9744\"}],",
        "\"parent_beacon_block_root\":\"0x4444444444444444444444444444444444444444444444444444444444444444\"}}}\n\n",
        "event: finalized_checkpoint\ndata: {\"block\":\"0x1111111111111111111111111111111111111111111111111111111111111111\",",
        "\"state\":\"0x00\",\"epoch\":\"7\",\"execution_optimistic\":false}\n\n",
        "event: something_else\ndata: whatever\n\n",
    );
    let (node, _) = node(vec![(vec![attributes.as_bytes()], true)]).await;
    let mut s = node.events(&[Topic::PayloadAttributes], Duration::from_secs(20));
    assert_eq!(next(&mut s).await, StreamItem::Connected);
    let StreamItem::Event(BeaconEvent::Attributes(a)) = next(&mut s).await else { panic!() };
    assert_eq!((a.slot, a.proposer_index.get(), a.parent.number, a.timestamp), (Slot::new(74), 3, 72, 1_795_355_363));
    assert_eq!((a.withdrawals[0].validator_index, a.withdrawals[0].amount), (16, 9744));
    let StreamItem::Event(BeaconEvent::Finalized(f)) = next(&mut s).await else { panic!() };
    assert_eq!((f.epoch.get(), f.execution_optimistic), (7, false));
}

#[tokio::test]
async fn a_reader_that_leaves_closes_the_stream() {
    struct OnDrop(Arc<Mutex<bool>>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = true;
        }
    }
    let closed = Arc::new(Mutex::new(false));
    let c = closed.clone();
    let handler = move || async move {
        let guard = OnDrop(c.clone());
        let beats = stream::unfold(guard, |g| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((Ok::<_, Infallible>(b":\n\n".to_vec()), g))
        });
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(beats))
    };
    let url = serve(Router::new().route("/eth/v1/events", get(handler))).await;
    let mut s = BeaconNode::new(&url, limits(20_000)).unwrap().events(&[Topic::Head], Duration::from_secs(20));
    assert_eq!(next(&mut s).await, StreamItem::Connected);
    drop(s);
    for _ in 0..1000 {
        if *closed.lock().unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the connection stayed open");
}
