//! Slots that are final: what the host tells of their promises must be what the chain shows.

use super::{
    oracle::{Held, Kind, Oracle},
    verdict::Ends,
};
use crate::{http, rig::Rig};
use anyhow::Result;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// Promises of a slot whose fate is asked for.
const EACH: usize = 4;
/// How long the host may take to hear that a slot is final, and to settle it.
const HEARS: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks for the fates of some promises of each final slot; gives how many slots are settled.
///
/// # Errors
/// If the chain does not say what is final.
pub async fn check(rig: &Rig, gateway: &str, oracle: &Mutex<Oracle>, ends: &Ends) -> Result<usize> {
    let Some(last) = oracle.lock().await.final_slot() else { return Ok(0) };
    let mut slots: BTreeMap<u64, Vec<Held>> = BTreeMap::new();
    for h in oracle.lock().await.held().iter().filter(|h| h.asked.slot <= last) {
        slots.entry(h.asked.slot).or_default().push(h.clone());
    }
    let mut settled = 0;
    for (slot, held) in slots {
        let step = held.len().div_ceil(EACH);
        let mut right = true;
        for h in held.iter().step_by(step) {
            let shown = ends.of(h).unwrap_or("unknown");
            let told = until_final(gateway, h).await;
            if let Err(what) = agrees(&told, shown) {
                right = false;
                let what = format!("slot {slot} tx {}: {what}", h.asked.tx_hash);
                oracle.lock().await.fault(Kind::Fate, what);
            }
        }
        settled += usize::from(right);
    }
    tracing::debug!(settled, now = rig.slot_now(), "final slots were asked for");
    Ok(settled)
}

/// What `tandem_promise` tells, once that is final or the time is over.
async fn until_final(gateway: &str, h: &Held) -> Value {
    let begin = Instant::now();
    loop {
        let params = json!([{ "request_hash": h.asked.request_hash }]);
        let told = http::rpc(gateway, "tandem_promise", params, PATIENCE).await;
        match told {
            Ok(v) if v["final"] == true || begin.elapsed() > HEARS => return v,
            Err(e) if begin.elapsed() > HEARS => return json!(format!("{e:#}")),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Whether a final fate is what the chain shows.
fn agrees(told: &Value, shown: &str) -> Result<(), String> {
    if told["final"] != true {
        return Err(format!("its slot is final, and the host tells {told}"));
    }
    if told["fate"]["fate"] != shown {
        return Err(format!("it is {shown}, and the host tells {}", told["fate"]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fate_that_is_not_final_or_not_what_the_chain_shows_is_found() {
        let told = json!({ "final": true, "fate": { "fate": "kept" } });
        assert_eq!(agrees(&told, "kept"), Ok(()));
        assert!(agrees(&told, "excused").unwrap_err().contains("excused"));
        assert!(agrees(&json!({ "final": false, "fate": { "fate": "kept" } }), "kept").is_err());
        assert!(agrees(&json!({ "final": true, "fate": null }), "kept").is_err());
        assert!(agrees(&Value::Null, "kept").is_err());
    }
}
