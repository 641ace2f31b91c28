//! How many of something each caller has: connections, places at `/events`.

use crate::rates::CallerKey;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// Counts by caller, as many entries as there are seats at most.
#[derive(Default)]
pub(crate) struct Crowd(Mutex<HashMap<CallerKey, usize>>);

/// One among those of its caller, given back when it ends.
pub(crate) struct Seat {
    crowd: Arc<Crowd>,
    key: CallerKey,
}

impl Crowd {
    /// A seat, unless the caller has `most` of them.
    pub(crate) fn enter(self: &Arc<Self>, key: CallerKey, most: usize) -> Option<Seat> {
        let mut crowd = self.0.lock();
        let here = crowd.get(&key).copied().unwrap_or_default();
        if here >= most {
            return None;
        }
        crowd.insert(key, here + 1);
        Some(Seat { crowd: self.clone(), key })
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut crowd = self.crowd.0.lock();
        if let Some(here) = crowd.get_mut(&self.key) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                crowd.remove(&self.key);
            }
        }
    }
}
