//! Relays of every temper.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use alloy_primitives::B256;
use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::{get, post},
};
use common::{limits, serve, vector};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tandem_beacon::{SignedBlindedBeaconBlock, SignedBuilderBid, Versioned};
use tandem_node::{NodeError, Relay, relay::BidWithProofs, relay::HeaderRequest};
use tandem_types::BlsPublicKey;

const KEY: &str = "0xa99a76ed7796f7be22d5b7e85deeb7c5677e88e511e0b337618f8c4eb61349b4bf2d153f649f7b53359fe8b94a38e44c";

async fn relay(app: Router) -> Relay {
    let url = serve(app).await.replace("http://", &format!("http://{KEY}@"));
    Relay::new(&url, limits(20_000)).unwrap()
}
fn request() -> HeaderRequest {
    HeaderRequest { slot: 21.into(), parent_hash: B256::repeat_byte(1), pubkey: KEY.parse().unwrap() }
}
fn bid() -> SignedBuilderBid {
    tandem_beacon::decode(&vector("own-block/fulu-ssz-21/bid.ssz"), 1 << 20).unwrap()
}
fn block() -> SignedBlindedBeaconBlock {
    tandem_beacon::decode(&vector("own-block/fulu-ssz-21/blinded-request.ssz"), 1 << 20).unwrap()
}

#[tokio::test]
async fn a_header_call_tells_the_relay_the_time_and_reads_both_forms() {
    for ssz in [true, false] {
        let seen = Arc::new(Mutex::new(HeaderMap::new()));
        let s = seen.clone();
        let handler = move |headers: HeaderMap| async move {
            *s.lock().unwrap() = headers;
            match ssz {
                true => {
                    let head = [("content-type", "application/octet-stream"), ("eth-consensus-version", "Fulu")];
                    (head, tandem_beacon::encode(&bid())).into_response()
                }
                false => axum::Json(Versioned::fulu(bid())).into_response(),
            }
        };
        let r = relay(Router::new().route("/eth/v1/builder/header/{slot}/{parent}/{key}", get(handler))).await;
        let got = r.header(request(), Duration::from_millis(20_321)).await.unwrap().unwrap();
        assert_eq!(got.data, bid());
        let headers = seen.lock().unwrap().clone();
        assert_eq!(headers["x-timeout-ms"], "20321");
        assert!(headers["date-milliseconds"].to_str().unwrap().parse::<u64>().unwrap() > 1_600_000_000_000);
        assert!(headers["user-agent"].to_str().unwrap().starts_with("tandem/"));
        assert!(!headers.contains_key("authorization"), "the relay's own key is not sent as a user name");
    }
}

#[tokio::test]
async fn no_bid_is_204_and_nothing_else() {
    for (status, want) in [(204, true), (200, false), (404, false), (500, false), (302, false)] {
        let app = Router::new().route(
            "/eth/v1/builder/header/{slot}/{parent}/{key}",
            get(move || async move { StatusCode::from_u16(status).unwrap() }),
        );
        let got = relay(app).await.header(request(), Duration::from_secs(20)).await;
        assert_eq!(matches!(got, Ok(None)), want, "{status}: {got:?}");
        assert_eq!(got.is_err(), !want);
    }
}

#[tokio::test]
async fn a_slow_or_endless_relay_costs_no_more_than_its_time() {
    let slow = || async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        "late"
    };
    let endless = || async {
        axum::body::Body::from_stream(futures::stream::repeat(Ok::<_, std::convert::Infallible>(vec![0u8; 65536])))
    };
    let r = relay(Router::new().route("/eth/v1/builder/header/{slot}/{parent}/{key}", get(slow))).await;
    let error = r.header(request(), Duration::from_millis(80)).await.unwrap_err();
    assert!(matches!(error, NodeError::Timeout { after, .. } if after == Duration::from_millis(80)), "{error}");
    let r = relay(Router::new().route("/eth/v1/builder/header/{slot}/{parent}/{key}", get(endless))).await;
    let error = r.header(request(), Duration::from_secs(20)).await.unwrap_err();
    assert!(matches!(error, NodeError::TooLarge { limit, .. } if limit == tandem_beacon::MAX_BID_BYTES), "{error}");
}

#[tokio::test]
async fn a_submission_goes_in_ssz_and_again_in_json_only_where_ssz_is_not_taken() {
    for (first, calls, ok) in [
        (202, 1, true),
        (415, 2, true),
        (406, 2, true),
        (400, 1, false),
        (404, 1, false),
        (200, 1, false),
        (500, 1, false),
    ] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let s = seen.clone();
        let handler = move |headers: HeaderMap, body: axum::body::Bytes| async move {
            let mut seen = s.lock().unwrap();
            let form = headers["content-type"].to_str().unwrap().to_owned();
            assert_eq!(headers["eth-consensus-version"], "fulu");
            seen.push((form.clone(), body));
            StatusCode::from_u16(if form == "application/json" { 202 } else { first }).unwrap()
        };
        // A v1 endpoint is there: it must never be tried.
        let app = Router::new()
            .route("/eth/v2/builder/blinded_blocks", post(handler))
            .route("/eth/v1/builder/blinded_blocks", post(|| async { StatusCode::OK }));
        let result = relay(app).await.submit_v2(&block()).await;
        assert_eq!((result.is_ok(), seen.lock().unwrap().len()), (ok, calls), "{first}: {result:?}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen[0].1, tandem_beacon::encode(&block()));
        if calls == 2 {
            assert_eq!(serde_json::from_slice::<SignedBlindedBeaconBlock>(&seen[1].1).unwrap(), block());
        }
    }
}

#[tokio::test]
async fn bids_with_proofs_and_capabilities_are_read() {
    let SignedBuilderBid { message, signature } = bid();
    let with = BidWithProofs { message, proofs: Default::default(), signature };
    let answer = serde_json::to_string(&Versioned::fulu(with.clone())).unwrap();
    let app = Router::new()
        .route(
            "/constraints/v0/builder/header_with_proofs/{slot}/{parent}/{key}",
            get(move || std::future::ready(answer.clone())),
        )
        .route("/constraints/v0/builder/capabilities", get(|| async { r#"{"constraint_types":[1]}"# }));
    let r = relay(app).await;
    let got = r.header_with_proofs(request(), Duration::from_secs(20)).await.unwrap().unwrap();
    assert_eq!(got.data.clone().split().0, bid());
    assert_eq!(r.capabilities().await.unwrap().unwrap().constraint_types, [1]);
    assert_eq!(relay(Router::new()).await.capabilities().await.unwrap(), None, "a relay without that API");
}

#[test]
fn a_relays_address_carries_its_key_and_does_not_show_it_as_a_secret_would_be() {
    let r = Relay::new(&format!("https://{KEY}@relay.example"), limits(1)).unwrap();
    assert_eq!(r.key(), KEY.parse::<BlsPublicKey>().unwrap());
    assert_eq!(r.node(), "https://relay.example");
    for bad in ["https://relay.example", "https://0x12@relay.example", "relay.example"] {
        assert!(matches!(Relay::new(bad, limits(1)), Err(NodeError::Address { .. })), "{bad}");
    }
}
