//! Units of time and value: newtypes whose fields are private, so that a slot is never an epoch and
//! gwei are never wei.

use alloy_primitives::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, num::ParseIntError, str::FromStr, time::Duration};

/// Serialises a `u64` as the beacon API writes it, a quoted decimal, and reads only that form.
pub mod quoted {
    use super::*;
    /// Writes a quoted decimal.
    pub fn serialize<S: Serializer>(v: &u64, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(v) } else { s.serialize_u64(*v) }
    }
    /// Reads a quoted decimal without sign, blanks or leading plus.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        if !d.is_human_readable() {
            return u64::deserialize(d);
        }
        let s = std::borrow::Cow::<'de, str>::deserialize(d)?;
        decimal(&s).map_err(D::Error::custom)
    }
}

fn decimal(s: &str) -> Result<u64, String> {
    if s.is_empty() || !s.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("expected a decimal integer in quotes, got {s:?}"));
    }
    s.parse().map_err(|e: ParseIntError| format!("{s:?}: {e}"))
}

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a plain number.
            pub const fn new(v: u64) -> Self { Self(v) }
            /// The plain number.
            pub const fn get(self) -> u64 { self.0 }
            /// Adds, stopping at the largest value.
            pub const fn saturating_add(self, n: u64) -> Self { Self(self.0.saturating_add(n)) }
            /// Subtracts, stopping at zero.
            pub const fn saturating_sub(self, n: u64) -> Self { Self(self.0.saturating_sub(n)) }
            /// Adds, or `None` past the largest value.
            pub const fn checked_add(self, n: u64) -> Option<Self> {
                match self.0.checked_add(n) { Some(v) => Some(Self(v)), None => None }
            }
        }
        impl From<u64> for $name { fn from(v: u64) -> Self { Self(v) } }
        impl From<$name> for u64 { fn from(v: $name) -> u64 { v.0 } }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
        impl FromStr for $name {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, String> { decimal(s).map(Self) }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { quoted::serialize(&self.0, s) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> { quoted::deserialize(d).map(Self) }
        }
        impl ssz::Encode for $name {
            fn is_ssz_fixed_len() -> bool { true }
            fn ssz_fixed_len() -> usize { 8 }
            fn ssz_bytes_len(&self) -> usize { 8 }
            fn ssz_append(&self, buf: &mut Vec<u8>) { buf.extend_from_slice(&self.0.to_le_bytes()) }
        }
        impl ssz::Decode for $name {
            fn is_ssz_fixed_len() -> bool { true }
            fn ssz_fixed_len() -> usize { 8 }
            fn from_ssz_bytes(b: &[u8]) -> Result<Self, ssz::DecodeError> { u64::from_ssz_bytes(b).map(Self) }
        }
        impl tree_hash::TreeHash for $name {
            fn tree_hash_type() -> tree_hash::TreeHashType { tree_hash::TreeHashType::Basic }
            fn tree_hash_packed_encoding(&self) -> tree_hash::PackedEncoding { self.0.tree_hash_packed_encoding() }
            fn tree_hash_packing_factor() -> usize { u64::tree_hash_packing_factor() }
            fn tree_hash_root(&self) -> tree_hash::Hash256 { self.0.tree_hash_root() }
        }
    };
}

unit!(/// A slot number, counted from genesis.
    Slot);
unit!(/// An epoch number: 32 slots under the mainnet preset.
    Epoch);
unit!(/// An amount in gwei (10⁻⁹ ETH), the consensus layer's unit.
    Gwei);
unit!(/// A validator's place in the registry.
    ValidatorIndex);

/// Slots in an epoch under the mainnet preset (consensus-specs, `SLOTS_PER_EPOCH`).
pub const SLOTS_PER_EPOCH: u64 = 32;

impl Slot {
    /// The epoch that holds this slot.
    pub const fn epoch(self) -> Epoch {
        Epoch(self.0 / SLOTS_PER_EPOCH)
    }
}

impl Epoch {
    /// The first slot of this epoch, or the last representable slot past the range.
    pub const fn start(self) -> Slot {
        Slot(self.0.saturating_mul(SLOTS_PER_EPOCH))
    }
}

/// An amount in wei (10⁻¹⁸ ETH), exact. In JSON a quoted decimal, as the builder API writes values.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wei(U256);

impl Wei {
    /// Nothing.
    pub const ZERO: Self = Self(U256::ZERO);
    /// Wraps an amount.
    pub const fn new(v: U256) -> Self {
        Self(v)
    }
    /// The amount.
    pub const fn get(self) -> U256 {
        self.0
    }
    /// From whole ether.
    pub fn from_eth(eth: u64) -> Self {
        Self(U256::from(eth) * U256::from(1_000_000_000_000_000_000u64))
    }
    /// The whole gwei in it: what Prysm compares bids by (it cuts off the rest).
    pub fn whole_gwei(self) -> U256 {
        self.0 / U256::from(1_000_000_000u64)
    }
    /// Adds, stopping at the largest value.
    pub fn saturating_add(self, o: Self) -> Self {
        Self(self.0.saturating_add(o.0))
    }
    /// Subtracts, stopping at zero.
    pub fn saturating_sub(self, o: Self) -> Self {
        Self(self.0.saturating_sub(o.0))
    }
}
impl From<u128> for Wei {
    fn from(v: u128) -> Self {
        Self(U256::from(v))
    }
}
impl From<U256> for Wei {
    fn from(v: U256) -> Self {
        Self(v)
    }
}
impl fmt::Display for Wei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Debug for Wei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wei({})", self.0)
    }
}
impl Serialize for Wei {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(&self.0) } else { self.0.serialize(s) }
    }
}
impl<'de> Deserialize<'de> for Wei {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if !d.is_human_readable() {
            return U256::deserialize(d).map(Self);
        }
        let s = std::borrow::Cow::<'de, str>::deserialize(d)?;
        if s.is_empty() || s.len() > 78 || !s.bytes().all(|b| b.is_ascii_digit()) {
            return Err(D::Error::custom("expected wei as a decimal integer in quotes"));
        }
        U256::from_str_radix(&s, 10).map(Self).map_err(D::Error::custom)
    }
}

/// Maps slots to time. `wall` is the pace of the clock on the wall; on every real chain it equals
/// the chain's own seconds per slot. Only a node that says it is the devnet may have it scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotClock {
    /// Unix time of slot 0 on the chain, in seconds: timestamps are `genesis_time + slot · slot_seconds`.
    pub genesis_time: u64,
    /// Chain seconds per slot, at least 1.
    pub slot_seconds: u64,
    /// Unix time, in milliseconds, at which slot 0 began on the wall.
    pub wall_genesis_ms: u64,
    /// Wall milliseconds per slot.
    pub wall_slot_ms: u64,
}

impl SlotClock {
    /// The clock of a real chain: the wall and the chain agree.
    pub const fn real(genesis_time: u64, slot_seconds: u64) -> Self {
        Self {
            genesis_time,
            slot_seconds,
            wall_genesis_ms: genesis_time.saturating_mul(1000),
            wall_slot_ms: slot_seconds.saturating_mul(1000),
        }
    }
    /// The slot that is running at `now_ms`; slot 0 before genesis.
    pub fn slot_at(&self, now_ms: u64) -> Slot {
        Slot(now_ms.saturating_sub(self.wall_genesis_ms) / self.wall_slot_ms.max(1))
    }
    /// When a slot starts on the wall, in unix milliseconds.
    pub fn start_ms(&self, slot: Slot) -> u64 {
        self.wall_genesis_ms.saturating_add(slot.0.saturating_mul(self.wall_slot_ms))
    }
    /// When a slot takes no more promises: one eighth of a slot before its start.
    pub fn cutoff_ms(&self, slot: Slot) -> u64 {
        self.start_ms(slot).saturating_sub(self.wall_slot_ms / 8)
    }
    /// The timestamp that a block of this slot must carry, in unix seconds.
    pub fn timestamp(&self, slot: Slot) -> u64 {
        self.genesis_time.saturating_add(slot.0.saturating_mul(self.slot_seconds))
    }
    /// The slot whose blocks carry this timestamp, if one does.
    pub fn slot_of_timestamp(&self, timestamp: u64) -> Option<Slot> {
        let since = timestamp.checked_sub(self.genesis_time)?;
        let per = self.slot_seconds.max(1);
        (since % per == 0).then(|| Slot(since / per))
    }
    /// A slot's length on the wall.
    pub fn slot_duration(&self) -> Duration {
        Duration::from_millis(self.wall_slot_ms)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    fn reads<T: DeserializeOwned>(json: &str) -> Option<T> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn whole_numbers_are_quoted_decimals_up_to_the_largest_and_nothing_else() {
        for (json, v) in [("\"0\"", 0), ("\"7\"", 7), ("\"18446744073709551615\"", u64::MAX)] {
            assert_eq!(reads::<Gwei>(json), Some(Gwei::new(v)));
            assert_eq!(reads::<Slot>(json), Some(Slot::new(v)));
            assert_eq!(serde_json::to_string(&Gwei::new(v)).unwrap(), json);
        }
        let none = ["0", "\"\"", "\" 1\"", "\"1 \"", "\"+1\"", "\"-1\"", "\"0x1\"", "\"1.0\"", "\"1e3\"", "null", "[]"];
        for json in none.into_iter().chain(["\"18446744073709551616\"", "\"99999999999999999999999999\""]) {
            assert_eq!(reads::<Gwei>(json), None, "{json}");
            assert_eq!(reads::<ValidatorIndex>(json), None, "{json}");
            assert!(json.trim_matches('"').parse::<Epoch>().is_err() || json == "0", "{json}");
        }
    }

    #[test]
    fn wei_are_quoted_decimals_of_up_to_256_bits() {
        let most = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        for (text, v) in [("0", U256::ZERO), ("1000000000000000000000", U256::from(10).pow(U256::from(21)))] {
            assert_eq!(reads::<Wei>(&format!("\"{text}\"")), Some(Wei::new(v)));
        }
        assert_eq!(reads::<Wei>(&format!("\"{most}\"")), Some(Wei::new(U256::MAX)));
        assert_eq!(serde_json::to_string(&Wei::new(U256::MAX)).unwrap(), format!("\"{most}\""));
        let one_more = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        for text in [one_more, &"9".repeat(78), &"0".repeat(79), "", "+1", "-1", "0x1", "1_0", " 1"] {
            assert_eq!(reads::<Wei>(&format!("\"{text}\"")), None, "{text}");
        }
        assert_eq!(reads::<Wei>("1"), None, "not a bare number");
    }

    #[test]
    fn amounts_stop_at_their_ends_and_gwei_are_cut_off() {
        assert_eq!(Slot::new(u64::MAX).saturating_add(1), Slot::new(u64::MAX));
        assert_eq!(Slot::new(0).saturating_sub(1), Slot::new(0));
        assert_eq!(Slot::new(u64::MAX).checked_add(1), None);
        assert_eq!(Wei::new(U256::MAX).saturating_add(Wei::from_eth(1)), Wei::new(U256::MAX));
        assert_eq!(Wei::ZERO.saturating_sub(Wei::from_eth(1)), Wei::ZERO);
        assert_eq!(Wei::from(1_999_999_999u128).whole_gwei(), U256::from(1));
        assert_eq!(Wei::from_eth(u64::MAX).get(), U256::from(u64::MAX) * U256::from(10).pow(U256::from(18)));
        assert_eq!((Slot::new(31).epoch(), Slot::new(32).epoch()), (Epoch::new(0), Epoch::new(1)));
        assert_eq!(Epoch::new(u64::MAX).start(), Slot::new(u64::MAX), "past the range");
    }

    #[test]
    fn a_clock_maps_moments_to_slots_and_back_at_every_edge() {
        let clock = SlotClock::real(1_000, 12);
        assert_eq!(clock.slot_at(0), Slot::new(0), "before genesis");
        assert_eq!(clock.slot_at(1_000_000), Slot::new(0));
        for n in [0, 1, 7, 1 << 32] {
            let slot = Slot::new(n);
            let start = clock.start_ms(slot);
            assert_eq!(clock.slot_at(start), slot);
            assert_eq!(clock.slot_at(start + 11_999), slot);
            assert_eq!(clock.slot_at(start + 12_000), slot.saturating_add(1));
            assert_eq!(clock.cutoff_ms(slot), start - 1_500, "one eighth of a slot before");
            assert_eq!(clock.slot_of_timestamp(clock.timestamp(slot)), Some(slot));
            assert_eq!(clock.slot_of_timestamp(clock.timestamp(slot) + 1), None, "no block carries it");
        }
        assert_eq!(clock.slot_of_timestamp(999), None, "before genesis");
        let end = Slot::new(u64::MAX);
        assert_eq!((clock.start_ms(end), clock.timestamp(end)), (u64::MAX, u64::MAX), "it stops at the end");
        assert_eq!(clock.slot_duration(), Duration::from_secs(12));
    }

    #[test]
    fn a_scaled_clock_keeps_the_chains_timestamps_and_one_without_length_divides_by_nothing() {
        let scaled = SlotClock { wall_slot_ms: 200, ..SlotClock::real(1_000, 12) };
        assert_eq!(scaled.start_ms(Slot::new(5)), 1_001_000);
        assert_eq!(scaled.cutoff_ms(Slot::new(5)), 1_000_975);
        assert_eq!(scaled.timestamp(Slot::new(5)), 1_060);
        let none = SlotClock { slot_seconds: 0, wall_slot_ms: 0, ..SlotClock::real(1_000, 12) };
        assert_eq!(none.slot_at(1_000_007), Slot::new(7));
        assert_eq!(none.slot_of_timestamp(1_007), Some(Slot::new(7)));
    }

    #[test]
    fn a_clock_with_a_field_that_nobody_knows_is_refused() {
        let json = serde_json::to_string(&SlotClock::real(1, 12)).unwrap();
        assert_eq!(reads::<SlotClock>(&json), Some(SlotClock::real(1, 12)));
        assert_eq!(reads::<SlotClock>(&json.replacen('{', "{\"pace\":1,", 1)), None);
    }
}
