//! When a kill may come.

use std::time::Duration;
use tandem_types::{Slot, SlotClock};

/// The last returns that tell how slow the machine is now.
const LAST: usize = 10;

/// For how long a kill is put off. Where a return takes longer than the time between a slot's cut-off and its
/// header call, a kill shortly before the cut-off takes all of that time: only a host that is down knows the
/// slot's promises then, and the proposer's own block lacks them. No host could keep them, and the loop would
/// show how slow the machine is and nothing else. Where returns are quick, no moment is spared.
pub fn spared(clock: &SlotClock, now_ms: u64, returns: &[Duration]) -> Duration {
    let slowest = returns.iter().rev().take(LAST).max().copied().unwrap_or_default();
    let slowest = u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX);
    // How long it may be down, and how long it then needs to seal and to hand over what it promised.
    let (down, publishes) = (slowest.saturating_add(slowest / 4), slowest / 4);
    let next = Slot::new(clock.slot_at(now_ms).get().saturating_add(1));
    let cutoff = clock.cutoff_ms(next);
    if down.saturating_add(publishes) <= clock.start_ms(next).saturating_sub(cutoff) {
        return Duration::ZERO;
    }
    let until = cutoff.saturating_add(publishes);
    let reaches = now_ms.saturating_add(down) > cutoff;
    Duration::from_millis(if reaches { until.saturating_sub(now_ms) } else { 0 })
}

/// When the kills came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    /// Between a slot's cut-off and its begin, when its header is asked for.
    at_the_door: u32,
    /// Put off by [`spared`].
    put_off: u32,
}

impl Moments {
    /// A kill comes now, after it was put off for this long.
    pub fn note(&mut self, clock: &SlotClock, now_ms: u64, spared: Duration) {
        let next = Slot::new(clock.slot_at(now_ms).get().saturating_add(1));
        self.at_the_door += u32::from(now_ms >= clock.cutoff_ms(next));
        self.put_off += u32::from(!spared.is_zero());
    }

    /// In a whole run some came there: a start then seals what is overdue before it listens.
    pub fn row(&self, whole: bool) -> (bool, f64, String) {
        let detail = match self.put_off {
            0 => "no kill was put off".into(),
            n => format!("{n} kills before a cut-off were put off behind it: this machine is slow to start a host"),
        };
        (self.at_the_door > 0 || !whole, f64::from(self.at_the_door), detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: SlotClock =
        SlotClock { genesis_time: 1_000, slot_seconds: 12, wall_genesis_ms: 1_000_000, wall_slot_ms: 12_000 };

    #[test]
    fn only_a_slow_machine_is_spared_and_only_where_it_could_not_keep_the_slot() {
        // The cut-off of slot 2 is at 22,500 ms, a second and a half before it.
        let at = |ms: u64, returns: &[u64]| {
            let returns: Vec<Duration> = returns.iter().copied().map(Duration::from_millis).collect();
            spared(&CLOCK, 1_000_000 + ms, &returns).as_millis()
        };
        for ms in (12_000..24_000).step_by(50) {
            assert_eq!((at(ms, &[]), at(ms, &[900, 1_000])), (0, 0), "{ms}");
        }
        let slow = [900, 2_000, 1_000];
        assert_eq!((at(12_000, &slow), at(20_000, &slow)), (0, 0), "it is back before the cut-off");
        assert_eq!((at(20_001, &slow), at(22_999, &slow)), (2_999, 1));
        assert_eq!((at(23_000, &slow), at(23_999, &slow)), (0, 0), "what is due is handed over");
        let mut moments = Moments::default();
        assert!(!moments.row(true).0 && moments.row(false).0);
        for (ms, put_off) in [(22_499, 0), (22_500, 1), (23_999, 0), (24_000, 0)] {
            moments.note(&CLOCK, 1_000_000 + ms, Duration::from_millis(put_off));
        }
        assert_eq!((moments.row(true).0, moments.row(true).1, moments.put_off), (true, 2.0, 1));
        let long_ago = [&[2_000][..], &[800; LAST]].concat();
        assert_eq!(at(22_000, &long_ago), 0);
    }
}
