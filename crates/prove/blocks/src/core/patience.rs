//! How long each relay is waited for: one that never answers must not delay every header of the validator.

use crate::ports::Relay;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// Silences in a row after which a relay is waited for a short time only.
const SILENCES: u32 = 3;
/// Of so many silences in a row one is given the whole time: a relay that was down, and is slow by habit, would
/// otherwise never be heard again.
const WHOLE_EVERY: u32 = 8;

/// How often each relay was silent in a row.
pub(crate) struct Patience(HashMap<String, AtomicU32>);

impl Patience {
    pub(crate) fn new(relays: &[Arc<dyn Relay>]) -> Self {
        Self(relays.iter().map(|r| (r.name().to_owned(), AtomicU32::new(0))).collect())
    }
    /// Whether this relay gets the short time only.
    pub(crate) fn is_short(&self, relay: &str) -> bool {
        let silences = self.0.get(relay).map_or(0, |n| n.load(Ordering::Relaxed));
        silences >= SILENCES && !silences.is_multiple_of(WHOLE_EVERY)
    }
    /// It answered, whatever it said.
    pub(crate) fn answered(&self, relay: &str) {
        if let Some(n) = self.0.get(relay) {
            n.store(0, Ordering::Relaxed);
        }
    }
    /// It was waited for in vain; whether that ended the patience.
    pub(crate) fn silent(&self, relay: &str) -> bool {
        self.0.get(relay).is_some_and(|n| n.fetch_add(1, Ordering::Relaxed) + 1 == SILENCES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_with_the_third_silence_in_a_row_and_returns_with_an_answer_and_for_every_eighth() {
        let patience = Patience(HashMap::from([("r".to_owned(), AtomicU32::new(0))]));
        assert_eq!([patience.silent("r"), patience.silent("r")], [false, false]);
        assert!(!patience.is_short("r"));
        patience.answered("r");
        assert_eq!([0; 3].map(|_| patience.silent("r")), [false, false, true]);
        let short: Vec<bool> = (3..=9)
            .map(|_| {
                let short = patience.is_short("r");
                assert!(!patience.silent("r"), "it is told once");
                short
            })
            .collect();
        assert_eq!(short, [true, true, true, true, true, false, true]);
        patience.answered("r");
        assert!(!patience.is_short("r") && !patience.is_short("another"));
    }
}
