//! `POST /eth/v1/builder/validators`.

use crate::{
    body::{self, Held},
    negotiate::{Form, content_form},
    reply::{Problem, Reason},
    routes::{Api, complaint, off_thread, wait_for_place},
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use std::{sync::Arc, time::Duration};
use tandem_beacon::{MAX_REGISTRATION_BYTES, SignedValidatorRegistration, builder::decode_registrations};
use tandem_blocks::{Complaint, ProposerDesk};
use tandem_types::BlsPublicKey;

/// Most registrations in a call: what fits into the size cap.
const MAX_REGISTERED: usize = MAX_REGISTRATION_BYTES / 180;
/// Registrations that the desk verifies in one piece, and pieces at once: a piece takes half a second.
const PIECE: usize = 512;
const PIECES_AT_ONCE: usize = 2;

pub(crate) async fn validators(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    let call = async {
        let form = content_form(&headers)?;
        let body_time = Duration::from_millis(api.config.body_ms);
        let raw = body::read(body, MAX_REGISTRATION_BYTES, body_time, &api.registration_bytes).await?;
        let place = wait_for_place(&api.registrations, body_time * 2).await?;
        let all = parse_registrations(form, raw).await?;
        let given = all.len();
        let ours: Vec<_> = all.into_iter().filter(|r| (api.served)(&r.message.pubkey)).collect();
        api.stats.strangers(given - ours.len());
        if ours.is_empty() && given > 0 {
            let message = format!("none of the {given} validators is served here");
            return Err(Problem::new(Reason::Strangers, message));
        }
        let (desk, within) = (api.desk.clone(), Duration::from_millis(api.config.register_ms));
        match api.ask(place, within, register(desk, ours)).await? {
            None => Err(Problem::new(Reason::Late, "the registrations were not all taken in time")),
            Some(Some(problem)) => Err(problem),
            Some(None) => Ok((StatusCode::OK.into_response(), "ok")),
        }
    };
    api.answer("validators", call).await
}

/// Registers in pieces, two at once, and gives the first complaint. The others were taken all the same.
async fn register(desk: Arc<dyn ProposerDesk>, list: Vec<SignedValidatorRegistration>) -> Option<Problem> {
    let pieces: Vec<Vec<_>> = list.chunks(PIECE).map(<[_]>::to_vec).collect();
    let results: Vec<Vec<(BlsPublicKey, Result<(), Complaint>)>> = stream::iter(pieces)
        .map(|piece| {
            let desk = desk.clone();
            async move {
                let keys: Vec<_> = piece.iter().map(|r| r.message.pubkey).collect();
                keys.into_iter().zip(desk.register(piece).await).collect()
            }
        })
        .buffered(PIECES_AT_ONCE)
        .collect()
        .await;
    let bad: Vec<_> = results.into_iter().flatten().filter_map(|(k, r)| r.err().map(|c| (k, c))).collect();
    let (key, first) = bad.first()?;
    let problem = complaint(first.clone());
    let more = if bad.len() > 1 { format!(", and {} more", bad.len() - 1) } else { String::new() };
    Some(Problem { message: format!("validator {}: {}{more}", key.short(), problem.message), ..problem })
}

async fn parse_registrations(form: Form, raw: Held) -> Result<Vec<SignedValidatorRegistration>, Problem> {
    off_thread(move || match form {
        Form::Ssz => decode_registrations(&raw.bytes, MAX_REGISTERED).map_err(|e| e.to_string()),
        Form::Json => serde_json::from_slice(&raw.bytes).map_err(|e| e.to_string()),
    })
    .await
}
