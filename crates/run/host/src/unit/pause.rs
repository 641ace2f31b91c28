//! How long a module rests after a failure.

/// Milliseconds after the nth failure in a row: `first`, then twice as long each time, and never more than `most`.
pub(super) fn ms(nth: u32, first: u64, most: u64) -> u64 {
    let doubled = first.saturating_mul(1 << nth.saturating_sub(1).min(20));
    doubled.min(most)
}

#[cfg(test)]
mod tests {
    use super::ms;

    #[test]
    fn a_pause_begins_with_the_first_doubles_with_each_failure_and_stops_at_the_longest() {
        let pauses: Vec<u64> = (1..=8).map(|nth| ms(nth, 500, 10_000)).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
    }

    #[test]
    fn no_count_and_no_setting_makes_it_overflow_or_exceed_the_longest() {
        // Before any failure there is no shorter one than the first.
        assert_eq!(ms(0, 500, 10_000), 500);
        assert_eq!(ms(u32::MAX, 500, 10_000), 10_000);
        // It stops doubling after twenty times.
        assert_eq!((ms(21, 1, u64::MAX), ms(22, 1, u64::MAX), ms(u32::MAX, 1, u64::MAX)), (1 << 20, 1 << 20, 1 << 20));
        assert_eq!(ms(2, u64::MAX, u64::MAX), u64::MAX);
        // The longest counts also where the first is longer than it.
        assert_eq!(ms(1, 500, 100), 100);
        assert_eq!(ms(7, 0, 100), 0);
    }
}
