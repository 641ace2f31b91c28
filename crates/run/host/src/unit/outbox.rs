//! Drives drafts of the outbox through the door until each has its outcome.

use std::{sync::Arc, time::Duration};
use tandem_module::{Commit, Refusal};
use tandem_types::{Draft, Signed};
use tokio::sync::mpsc;

/// The door may wait for a sync of a busy disk, but not for ever.
const DEADLINE: Duration = Duration::from_secs(10);
/// First and longest pause before a draft is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// A draft with its outcome.
pub(super) struct Outcome {
    pub id: u64,
    pub draft: Draft,
    pub result: Result<Box<Signed>, Refusal>,
}

/// Codes that say nothing about the draft itself: it is tried again.
fn is_passing(code: &str) -> bool {
    matches!(code, "rate-limited" | "busy" | "late" | "halted" | "not-synced" | "unavailable" | "node-unavailable")
}

/// Takes drafts in order and gives their outcomes in the same order. A draft that only has to wait
/// holds back those behind it: they may build on it.
pub(super) async fn drive(
    commit: Arc<dyn Commit>,
    mut drafts: mpsc::Receiver<(u64, Draft)>,
    out: mpsc::Sender<Outcome>,
) {
    while let Some((id, draft)) = drafts.recv().await {
        let mut pause = PAUSES.0;
        let result = loop {
            let asked = tokio::time::timeout(DEADLINE, commit.commit(draft.clone())).await;
            match asked {
                Ok(Ok(signed)) => break Ok(Box::new(signed)),
                Ok(Err(refusal)) if !is_passing(&refusal.code) => break Err(refusal),
                // The same draft gets the same answer, so asking again after a lost one is safe.
                Ok(Err(_)) | Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(PAUSES.1);
        };
        if out.send(Outcome { id, draft, result }).await.is_err() {
            return;
        }
    }
}
