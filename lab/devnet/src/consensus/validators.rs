//! The devnet's validators: BLS keys from a seed by EIP-2333, at EIP-2334's paths.

use super::{error::ConsensusError, genesis::credentials, signatures, spec::GENESIS_FORK_VERSION};
use alloy_primitives::{Address, B256, keccak256};
use std::{collections::HashMap, sync::Arc};
use tandem_beacon::{
    SignedValidatorRegistration, ValidatorRegistration,
    operations::{DepositData, DepositMessage, SignedVoluntaryExit, VoluntaryExit},
};
use tandem_crypto::domains;
use tandem_keys::{BlsSecretKey, KeysError, derive};
use tandem_types::{BlsPublicKey, BlsSignature, Epoch, Gwei, ValidatorIndex};

/// The seed of the key tree that a devnet's number stands for. Everybody knows it: for devnets only.
pub fn key_seed(seed: u64) -> B256 {
    keccak256([&b"tandem devnet validators "[..], &seed.to_be_bytes()].concat())
}

/// The key of validator `index`, `m/12381/3600/{index}/0/0` under [`key_seed`].
///
/// # Errors
/// [`KeysError`] never happens for a seed of 32 bytes.
pub fn validator_key(seed: u64, index: u32) -> Result<BlsSecretKey, KeysError> {
    derive::validator(key_seed(seed).as_slice(), index)
}

/// A validator of the devnet, with its key.
#[derive(Debug)]
pub struct ValidatorKey {
    /// Its index.
    pub index: ValidatorIndex,
    /// Its withdrawal credentials.
    pub withdrawal_credentials: B256,
    key: BlsSecretKey,
}

impl ValidatorKey {
    /// Its public key.
    pub const fn public_key(&self) -> BlsPublicKey {
        self.key.public_key()
    }
    /// A deposit of it, with its proof of possession.
    ///
    /// # Errors
    /// None so far; a remote signer could fail.
    pub fn deposit(&self, amount: Gwei) -> Result<DepositData, ConsensusError> {
        let (pubkey, withdrawal_credentials) = (self.public_key(), self.withdrawal_credentials);
        let message = DepositMessage { pubkey, withdrawal_credentials, amount };
        let signature = self.key.sign(domains::deposit(GENESIS_FORK_VERSION, &message));
        Ok(DepositData { pubkey, withdrawal_credentials, amount, signature })
    }
    /// Its RANDAO reveal.
    pub fn reveal(&self, validators_root: B256, epoch: Epoch) -> BlsSignature {
        self.key.sign(signatures::fulu(validators_root).randao(epoch))
    }
    /// Its signature under a block.
    pub fn sign_block(&self, validators_root: B256, block_root: B256) -> BlsSignature {
        self.key.sign(signatures::fulu(validators_root).block_root(block_root))
    }
    /// Its registration with a builder.
    pub fn register(&self, fee_recipient: Address, gas_limit: u64, timestamp: u64) -> SignedValidatorRegistration {
        let message = ValidatorRegistration { fee_recipient, gas_limit, timestamp, pubkey: self.public_key() };
        let signature = self.key.sign(domains::registration(GENESIS_FORK_VERSION, &message));
        SignedValidatorRegistration { message, signature }
    }
    /// Its exit.
    pub fn exit(&self, validators_root: B256, epoch: Epoch) -> SignedVoluntaryExit {
        let message = VoluntaryExit { epoch, validator_index: self.index };
        let signature = self.key.sign(signatures::capella(validators_root).voluntary_exit(&message));
        SignedVoluntaryExit { message, signature }
    }
}

/// All validators that the devnet's nodes can sign for.
#[derive(Clone, Debug)]
pub struct Validators(Arc<Vec<ValidatorKey>>, Arc<HashMap<BlsPublicKey, usize>>);

impl Validators {
    /// `count` validators of a seed. Withdrawals go to `addresses` in turn; every
    /// `compounding_every`-th one compounds, none if it is 0.
    ///
    /// # Errors
    /// [`ConsensusError::Key`] if there is no withdrawal address.
    pub fn new(seed: u64, count: u32, addresses: &[Address], compounding_every: u32) -> Result<Self, ConsensusError> {
        let key = |e: KeysError| ConsensusError::Key(e.to_string());
        // The tree's upper part is the same for all of them.
        let mut upper = derive::master(key_seed(seed).as_slice()).map_err(key)?;
        for i in [12381, 3600] {
            upper = derive::child(&upper, i);
        }
        let mut all = Vec::with_capacity(count as usize);
        for (i, address) in (0..count).zip(addresses.iter().cycle()) {
            let compounding = compounding_every > 0 && i % compounding_every == compounding_every - 1;
            all.push(ValidatorKey {
                index: ValidatorIndex::new(u64::from(i)),
                withdrawal_credentials: credentials(*address, compounding),
                key: derive::child(&derive::child(&derive::child(&upper, i), 0), 0),
            });
        }
        if all.is_empty() {
            return Err(ConsensusError::Key("at least one validator and one withdrawal address are needed".into()));
        }
        let by_key = all.iter().enumerate().map(|(i, v)| (v.public_key(), i)).collect();
        Ok(Self(Arc::new(all), Arc::new(by_key)))
    }
    /// One by its index.
    pub fn get(&self, index: ValidatorIndex) -> Option<&ValidatorKey> {
        self.0.get(index.get() as usize)
    }
    /// One by its key.
    pub fn by_key(&self, key: &BlsPublicKey) -> Option<&ValidatorKey> {
        self.1.get(key).and_then(|i| self.0.get(*i))
    }
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ValidatorKey> {
        self.0.iter()
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there is none, which never happens.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_from_the_seed_and_the_path() {
        let v = Validators::new(7, 3, &[Address::ZERO], 2).unwrap();
        for i in 0..3 {
            let index = ValidatorIndex::new(u64::from(i));
            assert_eq!(v.get(index).unwrap().public_key(), validator_key(7, i).unwrap().public_key());
        }
        assert_ne!(validator_key(7, 0).unwrap().public_key(), validator_key(8, 0).unwrap().public_key());
        let kinds: Vec<u8> = v.iter().map(|v| v.withdrawal_credentials[0]).collect();
        assert_eq!(kinds, [1, 2, 1]);
    }
}
