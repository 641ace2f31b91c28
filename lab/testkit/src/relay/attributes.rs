//! Payload attributes as the beacon node's event stream tells them.

use super::State;
use alloy_primitives::B256;
use anyhow::{Context, Result};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::Value;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tandem_types::Slot;

/// Attributes kept; two epochs are more than any header call goes back.
const KEPT: usize = 64;
/// Longest event that is read.
const MAX_EVENT: usize = 1 << 20;

/// The latest attributes by slot and execution parent.
#[derive(Default)]
pub(super) struct Attributes(Mutex<HashMap<(Slot, B256), Value>>);

impl Attributes {
    /// The attributes of a slot on a parent, in the Engine API's form.
    pub fn get(&self, slot: Slot, parent: B256) -> Option<Value> {
        self.0.lock().get(&(slot, parent)).cloned()
    }

    /// What the slot's attributes may be, from the newest that came: only the timestamp is moved on.
    /// The RANDAO mix is then an old one, and the withdrawals may be.
    pub fn guess(&self, slot: Slot) -> Option<Value> {
        let map = self.0.lock();
        let time = |v: &Value| u64::from_str_radix(v["timestamp"].as_str()?.strip_prefix("0x")?, 16).ok();
        let ((last, _), newest) = map.iter().max_by_key(|(k, _)| k.0)?;
        let ((before, _), older) = map.iter().filter(|(k, _)| k.0 < *last).max_by_key(|(k, _)| k.0)?;
        let per = (time(newest)? - time(older)?) / (last.get() - before.get());
        let mut guessed = newest.clone();
        guessed["timestamp"] = format!("0x{:x}", time(newest)? + (slot.get().checked_sub(last.get())?) * per).into();
        Some(guessed)
    }

    fn put(&self, event: &Value) -> Option<()> {
        let data = &event["data"];
        let slot = data["proposal_slot"].as_str()?.parse().ok()?;
        let parent = data["parent_block_hash"].as_str()?.parse().ok()?;
        let attributes = engine_form(&data["payload_attributes"])?;
        let mut map = self.0.lock();
        if map.len() >= KEPT {
            let oldest = *map.keys().min()?;
            map.remove(&oldest);
        }
        map.insert((slot, parent), attributes);
        Some(())
    }
}

/// The event has quoted decimals and snake case, the Engine API hex and camel case.
fn engine_form(a: &Value) -> Option<Value> {
    let hex = |v: &Value| v.as_str()?.parse::<u64>().ok().map(|n| format!("0x{n:x}"));
    let withdrawals: Option<Vec<Value>> = a["withdrawals"]
        .as_array()?
        .iter()
        .map(|w| {
            Some(serde_json::json!({
                "index": hex(&w["index"])?,
                "validatorIndex": hex(&w["validator_index"])?,
                "address": w["address"],
                "amount": hex(&w["amount"])?,
            }))
        })
        .collect();
    Some(serde_json::json!({
        "timestamp": hex(&a["timestamp"])?,
        "prevRandao": a["prev_randao"],
        "suggestedFeeRecipient": a["suggested_fee_recipient"],
        "withdrawals": withdrawals?,
        "parentBeaconBlockRoot": a["parent_beacon_block_root"],
    }))
}

/// Follows the stream for as long as the relay runs; it connects again when the stream ends.
pub(super) async fn follow(state: Arc<State>) {
    loop {
        if let Err(e) = stream(&state).await {
            tracing::debug!(error = %e, "simulated relay: event stream");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn stream(state: &State) -> Result<()> {
    let url = format!("{}/eth/v1/events?topics=payload_attributes", state.config.beacon);
    let mut body = crate::http::open(&url).await?;
    let mut buffer = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        buffer.extend_from_slice(&data);
        anyhow::ensure!(buffer.len() <= MAX_EVENT, "an event of more than {MAX_EVENT} bytes");
        while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if let Some(json) = line.strip_prefix(b"data:") {
                let event: Value = serde_json::from_slice(json.trim_ascii()).context("an event that is no JSON")?;
                state.attributes.put(&event);
            }
        }
    }
    Ok(())
}
