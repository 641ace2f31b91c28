//! Execution requests: EIP-7685's byte form, its hash, and the three kinds that Electra knows.

use crate::{BeaconError, container::container};
use alloy_eips::eip7685::Requests;
use alloy_primitives::{Address, B256, Bytes};
use ssz::{Decode, Encode};
use ssz_types::{VariableList, typenum};
use tandem_types::{BlsPublicKey, BlsSignature, Gwei, units::quoted};

/// EIP-6110, EIP-7002 and EIP-7251 request types, in the order in which they are hashed.
pub const REQUEST_TYPES: [u8; 3] = [0x00, 0x01, 0x02];

container!(/// A deposit as the deposit contract logged it (EIP-6110).
#[derive(Default)]
DepositRequest {
    /// The validator's key.
    pubkey: BlsPublicKey,
    /// Its withdrawal credentials.
    withdrawal_credentials: B256,
    /// Gwei.
    amount: Gwei,
    /// Proof of possession.
    signature: BlsSignature,
    /// Running number in the contract.
    #[serde(with = "quoted")]
    index: u64,
});
container!(/// An exit or a partial withdrawal, asked for by the withdrawal address (EIP-7002).
#[derive(Default)]
WithdrawalRequest {
    /// Who asks.
    source_address: Address,
    /// For which validator.
    validator_pubkey: BlsPublicKey,
    /// Gwei; 0 asks for the exit.
    amount: Gwei,
});
container!(/// A consolidation of two validators (EIP-7251).
#[derive(Default)]
ConsolidationRequest {
    /// Who asks.
    source_address: Address,
    /// Which goes.
    source_pubkey: BlsPublicKey,
    /// Which stays.
    target_pubkey: BlsPublicKey,
});
container!(/// A block's execution requests.
#[derive(Default)]
ExecutionRequests {
    /// Deposits.
    deposits: VariableList<DepositRequest, typenum::U8192>,
    /// Exits and partial withdrawals.
    withdrawals: VariableList<WithdrawalRequest, typenum::U16>,
    /// Consolidations.
    consolidations: VariableList<ConsolidationRequest, typenum::U2>,
});

impl ExecutionRequests {
    /// EIP-7685's entries, `type ‖ ssz(list)`, ascending, empty lists left out.
    pub fn to_eip7685(&self) -> Requests {
        let lists = [self.deposits.as_ssz_bytes(), self.withdrawals.as_ssz_bytes(), self.consolidations.as_ssz_bytes()];
        let entry = |(kind, list): (u8, Vec<u8>)| Bytes::from([&[kind][..], &list].concat());
        Requests::new(REQUEST_TYPES.into_iter().zip(lists).filter(|(_, l)| !l.is_empty()).map(entry).collect())
    }

    /// What the execution header's `requests_hash` must be.
    pub fn requests_hash(&self) -> B256 {
        self.to_eip7685().requests_hash()
    }

    /// Parses entries as `engine_getPayload` gives them: known types, strictly ascending, none empty.
    ///
    /// # Errors
    /// [`BeaconError::Request`] names the entry.
    pub fn from_eip7685<B: AsRef<[u8]>>(entries: &[B]) -> Result<Self, BeaconError> {
        let mut out = Self::default();
        let mut last = None;
        for (index, entry) in entries.iter().enumerate() {
            let bad = |why| BeaconError::Request { index, why };
            let (kind, list) = entry.as_ref().split_first().ok_or_else(|| bad("empty"))?;
            if list.is_empty() {
                return Err(bad("a type without requests"));
            }
            if last.is_some_and(|l| l >= *kind) {
                return Err(bad("types must ascend"));
            }
            last = Some(*kind);
            let ssz = |_| bad("not the SSZ of its type");
            match kind {
                0x00 => out.deposits = VariableList::from_ssz_bytes(list).map_err(ssz)?,
                0x01 => out.withdrawals = VariableList::from_ssz_bytes(list).map_err(ssz)?,
                0x02 => out.consolidations = VariableList::from_ssz_bytes(list).map_err(ssz)?,
                _ => return Err(bad("unknown type")),
            }
        }
        Ok(out)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.deposits.is_empty() && self.withdrawals.is_empty() && self.consolidations.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::b256;

    #[test]
    fn no_requests_hash_to_sha256_of_nothing() {
        // EIP-7685: sha256 of the empty string.
        let empty = b256!("0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(ExecutionRequests::default().requests_hash(), empty);
    }

    #[test]
    fn entries_are_parsed_back_and_malformed_ones_refused() {
        let one = WithdrawalRequest { amount: Gwei::new(7), ..Default::default() };
        let r = ExecutionRequests {
            withdrawals: vec![one].try_into().unwrap(),
            consolidations: vec![ConsolidationRequest::default()].try_into().unwrap(),
            ..Default::default()
        };
        let entries: Vec<Bytes> = r.to_eip7685().take();
        assert_eq!((entries[0][0], entries[0].len()), (1, 77));
        assert_eq!(ExecutionRequests::from_eip7685(&entries).unwrap(), r);
        let reversed: Vec<_> = entries.iter().rev().collect();
        assert!(ExecutionRequests::from_eip7685(&reversed).is_err());
        let twice = [&entries[0], &entries[0]];
        assert!(ExecutionRequests::from_eip7685(&twice).is_err());
        for bad in [vec![], vec![1], vec![3, 0], vec![1; 10], [vec![2], vec![0; 116 * 3]].concat()] {
            assert!(ExecutionRequests::from_eip7685(&[bad]).is_err());
        }
    }
}
