//! The event stream.

use super::error::ApiError;
use crate::node::Node;
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, StreamExt};
use std::convert::Infallible;
use tokio_stream::wrappers::BroadcastStream;

const TOPICS: [&str; 5] = ["head", "block", "chain_reorg", "finalized_checkpoint", "payload_attributes"];

/// The topics of a query, which may be given once with commas or several times.
fn topics(query: Option<String>) -> Result<Vec<&'static str>, ApiError> {
    let query = query.unwrap_or_default();
    let mut out = Vec::new();
    for value in query.split('&').filter_map(|p| p.strip_prefix("topics=")) {
        for name in value.split([',']).flat_map(|v| v.split("%2C")) {
            let known = TOPICS.into_iter().find(|t| *t == name);
            out.push(known.ok_or_else(|| ApiError::bad(format!("topic {name:?} is not served")))?);
        }
    }
    if out.is_empty() { Err(ApiError::bad("at least one topic is needed")) } else { Ok(out) }
}

/// `GET /eth/v1/events?topics=…`. A listener that falls too far behind is cut off, so that it notices.
pub async fn events(
    State(node): State<Node>,
    RawQuery(query): RawQuery,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let wanted = topics(query)?;
    let receiver = node.chain.events();
    // The channel itself counts as a listener of the devnet's own, so the bound is on what is above it.
    if node.chain.listeners() > super::MAX_LISTENERS {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too many listeners"));
    }
    let stream =
        BroadcastStream::new(receiver).take_while(|e| futures::future::ready(e.is_ok())).filter_map(move |e| {
            let told = e.ok().filter(|e| wanted.contains(&e.topic));
            futures::future::ready(told.map(|e| Ok(Event::default().event(e.topic).data(e.data))))
        });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_come_with_commas_or_repeated_and_unknown_ones_are_refused() {
        let of = |q: &str| topics(Some(q.into())).ok();
        assert_eq!(of("topics=head,block"), Some(vec!["head", "block"]));
        assert_eq!(of("topics=head&topics=chain_reorg"), Some(vec!["head", "chain_reorg"]));
        assert_eq!(of("topics=head%2Cblock"), Some(vec!["head", "block"]));
        assert_eq!((of("topics=attestation"), of("")), (None, None));
    }
}
