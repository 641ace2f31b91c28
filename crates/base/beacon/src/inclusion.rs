//! Inclusion proofs as the constraints API carries them: an SSZ multiproof of transactions against a
//! payload header's `transactions_root` (Bolt's constraints API, version 1).

use crate::{
    BeaconError,
    payload::{Transaction, Transactions},
    proof::{helper_indices, multiproof_root},
};
use alloy_primitives::{B256, keccak256};
use serde::{Deserialize, Serialize};
use ssz_types::VariableList;
use std::collections::BTreeMap;
use tree_hash::{Hash256, TreeHash};

/// Generalised index of a list's first transaction: `List[Transaction, 2²⁰]`, below the length node.
const FIRST: u64 = 2 << 20;
/// Most transactions that one proof may be of.
pub const MAX_PROVEN: usize = 1024;

/// A multiproof that transactions are in a block of which only the header is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionProofs {
    /// Hashes of the transactions, in the order of `generalized_indexes`.
    pub transaction_hashes: Vec<B256>,
    /// Where their roots stand below `transactions_root`.
    #[serde(alias = "generalized_indeces")]
    pub generalized_indexes: Vec<u64>,
    /// The other nodes, deepest and rightmost first.
    pub merkle_hashes: Vec<B256>,
}

impl InclusionProofs {
    /// Proves the transactions at these places of a payload.
    ///
    /// # Errors
    /// [`BeaconError::OutOfRange`] past the list, [`BeaconError::TooMany`] above [`MAX_PROVEN`],
    /// [`BeaconError::Proof`] where a place is named twice or none is.
    pub fn prove(transactions: &Transactions, places: &[usize]) -> Result<Self, BeaconError> {
        if places.len() > MAX_PROVEN {
            return Err(BeaconError::TooMany { what: "transactions to prove", limit: MAX_PROVEN });
        }
        let mut seen = std::collections::BTreeSet::new();
        if places.is_empty() || !places.iter().all(|p| seen.insert(*p)) {
            return Err(BeaconError::Proof("name each transaction once, and at least one"));
        }
        let len = transactions.len();
        let hash_at = |&index: &usize| {
            let tx = transactions.get(index).ok_or(BeaconError::OutOfRange { what: "transactions", index, len })?;
            Ok(keccak256(&tx[..]))
        };
        let transaction_hashes = places.iter().map(hash_at).collect::<Result<_, BeaconError>>()?;
        let generalized_indexes: Vec<u64> = places.iter().map(|p| FIRST + *p as u64).collect();
        let nodes = Nodes::of(transactions);
        let merkle_hashes = helper_indices(&generalized_indexes).into_iter().map(|g| nodes.get(g)).collect();
        Ok(Self { transaction_hashes, generalized_indexes, merkle_hashes })
    }

    /// That the transactions in `due` (hash and canonical bytes) are all in the block whose header
    /// has `transactions_root`. The proof must be of exactly these, in any order.
    ///
    /// # Errors
    /// [`BeaconError::Proof`], [`BeaconError::Mismatch`], and [`BeaconError::TooMany`] for a transaction of
    /// above 2³⁰ bytes.
    pub fn verify<B: AsRef<[u8]>>(&self, transactions_root: B256, due: &[(B256, B)]) -> Result<(), BeaconError> {
        let root_of = |(hash, tx): &(B256, B)| Ok((*hash, transaction_root(tx.as_ref())?));
        let roots: Vec<(B256, B256)> = due.iter().map(root_of).collect::<Result<_, BeaconError>>()?;
        self.verify_roots(transactions_root, &roots)
    }

    /// As [`Self::verify`], where the roots of the transactions ([`transaction_root`]) are known: each takes
    /// some thirty hashes, which is most of the work.
    ///
    /// # Errors
    /// [`BeaconError::Proof`] or [`BeaconError::Mismatch`].
    pub fn verify_roots(&self, transactions_root: B256, due: &[(B256, B256)]) -> Result<(), BeaconError> {
        let n = self.transaction_hashes.len();
        if n > MAX_PROVEN || n != self.generalized_indexes.len() || n != due.len() {
            return Err(BeaconError::Proof("it is not of exactly the transactions that are due"));
        }
        if !self.generalized_indexes.iter().all(|g| (FIRST..FIRST + (1 << 20)).contains(g)) {
            return Err(BeaconError::Proof("an index is not that of a transaction"));
        }
        let roots: BTreeMap<B256, B256> = due.iter().copied().collect();
        if roots.len() != n {
            return Err(BeaconError::Proof("a transaction is due twice"));
        }
        let mut leaves = Vec::with_capacity(n);
        let mut proven = std::collections::BTreeSet::new();
        for (hash, g) in self.transaction_hashes.iter().zip(&self.generalized_indexes) {
            let root = roots.get(hash).ok_or(BeaconError::Proof("a transaction that is not due"))?;
            if !proven.insert(hash) {
                return Err(BeaconError::Proof("a transaction is proven twice"));
            }
            leaves.push((*g, *root));
        }
        let got = multiproof_root(&leaves, &self.merkle_hashes)?;
        if got != transactions_root {
            return Err(BeaconError::Mismatch { what: "transactions roots", want: transactions_root, got });
        }
        Ok(())
    }
}

/// The SSZ root of one transaction.
///
/// # Errors
/// [`BeaconError::TooMany`] above 2³⁰ bytes.
pub fn transaction_root(tx: &[u8]) -> Result<B256, BeaconError> {
    let tx = Transaction::new(tx.to_vec())
        .map_err(|_| BeaconError::TooMany { what: "bytes of a transaction", limit: 1 << 30 })?;
    Ok(tx.tree_hash_root())
}

/// The inner nodes of a transactions list that are not roots of empty subtrees.
struct Nodes {
    /// Level by level, the roots of the transactions first.
    levels: Vec<Vec<B256>>,
    length: u64,
}

impl Nodes {
    fn of(transactions: &Transactions) -> Self {
        let mut levels: Vec<Vec<B256>> = vec![transactions.iter().map(VariableList::tree_hash_root).collect()];
        for level in 0..20 {
            let zero = zero_hash(level);
            let up = |c: &[B256]| crate::proof::hash(&c[0], c.get(1).unwrap_or(&zero));
            let next = levels.last().map(|l| l.chunks(2).map(up).collect()).unwrap_or_default();
            levels.push(next);
        }
        Self { levels, length: transactions.len() as u64 }
    }

    /// The node at an index below the list's root: 3 is the length, the rest stands below 2.
    fn get(&self, gindex: u64) -> B256 {
        if gindex == 3 {
            let mut le = [0u8; 32];
            le[..8].copy_from_slice(&self.length.to_le_bytes());
            return B256::new(le);
        }
        let up = crate::proof::depth(gindex);
        let level = 21 - up.min(21);
        let at = gindex - (1 << up);
        self.levels.get(level).and_then(|l| l.get(at as usize)).copied().unwrap_or_else(|| zero_hash(level))
    }
}

fn zero_hash(level: usize) -> Hash256 {
    ethereum_hashing::ZERO_HASHES.get(level).map(B256::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;

    fn block(n: u8) -> (Transactions, B256) {
        let txs = payload::transactions((0..n).map(|i| vec![i; 40 + i as usize])).unwrap();
        let root = txs.tree_hash_root();
        (txs, root)
    }
    fn due(txs: &Transactions, places: &[usize]) -> Vec<(B256, Vec<u8>)> {
        places.iter().map(|p| (keccak256(&txs[*p][..]), txs[*p].to_vec())).collect()
    }

    #[test]
    fn every_choice_of_transactions_is_proven_to_the_root() {
        for n in 1..=9 {
            let (txs, root) = block(n);
            for places in [vec![0], vec![n as usize - 1], (0..n as usize).rev().collect::<Vec<_>>()] {
                let p = InclusionProofs::prove(&txs, &places).unwrap();
                p.verify(root, &due(&txs, &places)).unwrap();
            }
        }
    }

    #[test]
    fn a_proof_of_other_transactions_or_to_another_root_is_refused() {
        let (txs, root) = block(7);
        let p = InclusionProofs::prove(&txs, &[1, 4]).unwrap();
        p.verify(root, &due(&txs, &[4, 1])).unwrap();
        assert!(p.verify(B256::ZERO, &due(&txs, &[1, 4])).is_err());
        assert!(p.verify(root, &due(&txs, &[1])).is_err());
        assert!(p.verify(root, &due(&txs, &[1, 5])).is_err());
        assert!(p.verify(root, &due(&txs, &[1, 4, 5])).is_err());
        for i in 0..p.merkle_hashes.len() {
            let mut forged = p.clone();
            forged.merkle_hashes[i].0[0] ^= 1;
            assert!(forged.verify(root, &due(&txs, &[1, 4])).is_err());
        }
        let mut moved = p.clone();
        moved.generalized_indexes[0] = 2;
        assert!(moved.verify(root, &due(&txs, &[1, 4])).is_err());
        let mut twice = p.clone();
        twice.transaction_hashes[1] = twice.transaction_hashes[0];
        twice.generalized_indexes[1] = twice.generalized_indexes[0];
        assert!(twice.verify(root, &due(&txs, &[1, 4])).is_err());
        assert!(InclusionProofs::prove(&txs, &[7]).is_err());
        assert!(InclusionProofs::prove(&txs, &[1, 1]).is_err());
        assert!(InclusionProofs::prove(&txs, &[]).is_err());
    }
}
