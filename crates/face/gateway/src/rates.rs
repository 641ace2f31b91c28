//! Rates: a token bucket a caller, in bounded memory.

use lru::LruCache;
use parking_lot::Mutex;
use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

/// How fast a caller may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

/// Whose bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerKey {
    /// An API key, by its place in the configuration.
    Key(usize),
    /// An IPv4 address, or the first 64 bits of an IPv6 address.
    Address(u64),
}

impl CallerKey {
    /// The bucket of an address. Whoever has an IPv6 network has 2⁶⁴ addresses, and one bucket.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(a) => Self::Address(u64::from(a.to_bits())),
            IpAddr::V6(a) => Self::Address((a.to_bits() >> 64) as u64 | 1 << 63),
        }
    }
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Independent locks, so that callers on different cores rarely meet.
const SHARDS: usize = 16;

/// All buckets.
pub struct Buckets {
    shards: Vec<Mutex<LruCache<CallerKey, Bucket>>>,
    hasher: RandomState,
}

impl Buckets {
    /// For at most about `callers` callers.
    pub fn new(callers: usize) -> Self {
        let each = NonZeroUsize::new(callers.div_ceil(SHARDS)).unwrap_or(NonZeroUsize::MIN);
        // Grown as callers come, not reserved at once.
        let shard = || {
            let mut cache = LruCache::unbounded();
            cache.resize(each);
            Mutex::new(cache)
        };
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: RandomState::new() }
    }

    /// Takes `n` requests out of a caller's bucket.
    ///
    /// # Errors
    /// How long until as many are there. More than the burst never are.
    pub fn take(&self, key: CallerKey, rate: Rate, n: u32, now: Instant) -> Result<(), Duration> {
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        let Some(shard) = self.shards.get(shard) else { return Ok(()) };
        let (burst, per_second) = (f64::from(rate.burst.max(1)), f64::from(rate.per_second.max(1)));
        let mut shard = shard.lock();
        let bucket = shard.get_or_insert_mut(key, || Bucket { tokens: burst, at: now });
        let grown = now.saturating_duration_since(bucket.at).as_secs_f64() * per_second;
        bucket.tokens = (bucket.tokens + grown).min(burst);
        bucket.at = bucket.at.max(now);
        let left = bucket.tokens - f64::from(n);
        if left >= 0.0 {
            bucket.tokens = left;
            return Ok(());
        }
        Err(Duration::from_secs_f64(-left / per_second))
    }

    /// Callers that are remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().len()).sum()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 3 };

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let buckets = Buckets::new(100);
        let (key, now) = (CallerKey::Key(1), Instant::now());
        for _ in 0..3 {
            assert!(buckets.take(key, RATE, 1, now).is_ok());
        }
        let wait = buckets.take(key, RATE, 1, now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(buckets.take(CallerKey::Key(2), RATE, 1, now).is_ok(), "another caller has its own");
        assert!(buckets.take(key, RATE, 1, now + wait).is_ok());
        assert!(buckets.take(key, RATE, 1, now + wait).is_err());
    }

    #[test]
    fn a_million_callers_take_bounded_memory() {
        let buckets = Buckets::new(64);
        let now = Instant::now();
        for i in 0..1_000_000u64 {
            let _ = buckets.take(CallerKey::Address(i), RATE, 1, now);
        }
        assert!(buckets.len() <= 64);
    }

    #[test]
    fn an_ipv6_network_is_one_caller_and_a_mapped_address_is_its_ipv4() {
        let of = |s: &str| CallerKey::of(s.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
