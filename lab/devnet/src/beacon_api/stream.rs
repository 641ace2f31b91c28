//! The event stream.

use super::{error::ApiError, extract::listed};
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

/// The topics of a query.
fn topics(query: Option<&str>) -> Result<Vec<&'static str>, ApiError> {
    let names = listed(query, "topics").ok_or_else(|| ApiError::bad("at least one topic is needed"))?;
    let known = |name: &String| {
        let known = TOPICS.into_iter().find(|t| t == name);
        known.ok_or_else(|| ApiError::bad(format!("topic {name:?} is not served")))
    };
    names.iter().map(known).collect()
}

/// `GET /eth/v1/events?topics=…`. A listener that falls too far behind is cut off, so that it notices.
pub async fn events(
    State(node): State<Node>,
    RawQuery(query): RawQuery,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let wanted = topics(query.as_deref())?;
    let receiver = node.chain.events();
    // The channel itself counts as a listener of the devnet's own, so the bound is on what is above it.
    if node.chain.listeners() > super::MAX_LISTENERS {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too many listeners").because("busy"));
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
        let of = |q: &str| topics(Some(q)).ok();
        assert_eq!(of("topics=head,block"), Some(vec!["head", "block"]));
        assert_eq!(of("topics=head&topics=chain_reorg"), Some(vec!["head", "chain_reorg"]));
        assert_eq!(of("topics=head%2Cblock"), Some(vec!["head", "block"]));
        assert_eq!((of("topics=attestation"), of("")), (None, None));
    }
}
