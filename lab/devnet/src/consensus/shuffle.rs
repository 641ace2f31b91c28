//! The swap-or-not shuffle and the choice of proposers, as consensus-specs write them.

use super::spec::{MAX_EFFECTIVE_BALANCE_ELECTRA, SHUFFLE_ROUND_COUNT};
use alloy_primitives::B256;
use ethereum_hashing::hash;
use std::collections::HashMap;

/// One seed's shuffle of `count` places. It keeps the hashes that it has made, since the search for
/// a proposer asks for about 64 places of one shuffle.
pub struct Shuffle {
    seed: B256,
    count: u64,
    pivots: Vec<u64>,
    sources: HashMap<(u8, u32), [u8; 32]>,
}

fn le64(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |acc, b| (acc << 8) | u64::from(*b))
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    B256::from_slice(&hash(&parts.concat())).0
}

impl Shuffle {
    /// A shuffle of `count` places, at least one.
    pub fn new(seed: B256, count: u64) -> Self {
        let count = count.max(1);
        let pivots = (0..SHUFFLE_ROUND_COUNT).map(|r| le64(&digest(&[seed.as_slice(), &[r]])) % count).collect();
        Self { seed, count, pivots, sources: HashMap::new() }
    }

    /// Where place `index` goes (`compute_shuffled_index`).
    pub fn index(&mut self, index: u64) -> u64 {
        let mut index = index % self.count;
        for round in 0..SHUFFLE_ROUND_COUNT {
            let pivot = self.pivots.get(usize::from(round)).copied().unwrap_or_default();
            let flip = (pivot + self.count - index) % self.count;
            let position = index.max(flip);
            let seed = self.seed;
            // Positions fit 32 bits in the specification too: the registry has at most 2⁴⁰ entries,
            // of which the position over 256 is hashed as four bytes.
            let chunk = (position / 256) as u32;
            let source = self
                .sources
                .entry((round, chunk))
                .or_insert_with(|| digest(&[seed.as_slice(), &[round], &chunk.to_le_bytes()]));
            let byte = source[(position % 256 / 8) as usize];
            if (byte >> (position % 8)) & 1 == 1 {
                index = flip;
            }
        }
        index
    }
}

/// The proposer of one slot: candidates in shuffled order, each accepted in proportion to its
/// effective balance (`compute_proposer_index` of Electra). `candidates` are (validator index,
/// effective balance in gwei). `None` if there are none.
pub fn proposer(candidates: &[(u64, u64)], seed: B256) -> Option<u64> {
    let total = candidates.len() as u64;
    if total == 0 || candidates.iter().all(|(_, b)| *b == 0) {
        return None;
    }
    let mut shuffle = Shuffle::new(seed, total);
    let mut random = [0u8; 32];
    for i in 0u64.. {
        if i % 16 == 0 {
            random = digest(&[seed.as_slice(), &(i / 16).to_le_bytes()]);
        }
        let (index, balance) = *candidates.get(shuffle.index(i % total) as usize)?;
        let at = (i % 16 * 2) as usize;
        let value = u64::from(u16::from_le_bytes([random[at], random[at + 1]]));
        if u128::from(balance) * 0xffff >= u128::from(MAX_EFFECTIVE_BALANCE_ELECTRA) * u128::from(value) {
            return Some(index);
        }
    }
    None
}

/// The proposers of an epoch's 32 slots (`compute_proposer_indices`).
pub fn proposers(candidates: &[(u64, u64)], epoch_seed: B256, first_slot: u64, slots: u64) -> Vec<u64> {
    (first_slot..first_slot + slots)
        .filter_map(|slot| proposer(candidates, B256::from(digest(&[epoch_seed.as_slice(), &slot.to_le_bytes()]))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_a_permutation_and_differs_by_seed() {
        for count in [1, 2, 64, 300] {
            let mut s = Shuffle::new(B256::repeat_byte(7), count);
            let mut all: Vec<u64> = (0..count).map(|i| s.index(i)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
        let order = |b| (0..64).map(|i| Shuffle::new(B256::repeat_byte(b), 64).index(i)).collect::<Vec<_>>();
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn nobody_with_a_balance_is_no_proposer() {
        assert_eq!(proposer(&[], B256::ZERO), None);
        assert_eq!(proposer(&[(0, 0)], B256::ZERO), None);
        assert_eq!(proposer(&[(0, 0), (5, 32_000_000_000)], B256::ZERO), Some(5));
    }
}
