//! Wallets of development accounts that sign every kind of transaction. Everybody knows these keys:
//! for devnets only.

use alloy_consensus::{
    SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip4844WithSidecar, TxEip7702, TxLegacy,
    transaction::RlpEcdsaEncodableTx,
};
use alloy_eips::{
    eip4844::builder::{SidecarBuilder, SimpleCoder},
    eip7594::BlobTransactionSidecarEip7594,
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, b256};
use anyhow::{Context, Result};
use tandem_keys::EcdsaSecretKey;

/// The keys of the ten accounts that every development tool knows ("test test … junk").
const DEV_KEYS: [B256; 10] = [
    b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    b256!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    b256!("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    b256!("47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    b256!("8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    b256!("92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    b256!("4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    b256!("dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    b256!("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
];

/// A signed transaction in its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTx {
    /// Its hash.
    pub hash: B256,
    /// Canonical EIP-2718 bytes, as blocks carry it: without a sidecar.
    pub canonical: Bytes,
    /// As `eth_sendRawTransaction` takes it: a blob transaction with its sidecar.
    pub network: Bytes,
}

/// What every kind of transaction says.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Nonce.
    pub nonce: u64,
    /// To whom; nothing creates a contract (types 3 and 4 always need an address).
    pub to: Option<Address>,
    /// Wei.
    pub value: U256,
    /// Gas limit.
    pub gas_limit: u64,
    /// Most wei per gas; the gas price of types 0 and 1.
    pub max_fee_per_gas: u128,
    /// Most tip per gas.
    pub max_priority_fee_per_gas: u128,
    /// Input.
    pub input: Bytes,
}

impl Ask {
    /// A plain transfer that pays a tip of 2 gwei and bears a base fee of up to 100.
    pub fn transfer(nonce: u64, to: Address, value: U256) -> Self {
        let gwei = 1_000_000_000;
        Self {
            nonce,
            to: Some(to),
            value,
            gas_limit: 21_000,
            max_fee_per_gas: 100 * gwei,
            max_priority_fee_per_gas: 2 * gwei,
            input: Bytes::new(),
        }
    }

    fn kind(&self) -> TxKind {
        self.to.map_or(TxKind::Create, TxKind::Call)
    }

    fn address(&self) -> Result<Address> {
        self.to.context("this kind of transaction can create no contract")
    }
}

/// Data in blobs, with their cell proofs: these take a while, and any number of transactions may carry
/// the same.
#[derive(Clone, Debug)]
pub struct Blobs(BlobTransactionSidecarEip7594);

impl Blobs {
    /// `data` in as many blobs as it needs.
    ///
    /// # Errors
    /// If the proofs can not be made.
    pub fn of(data: &[u8]) -> Result<Self> {
        SidecarBuilder::<SimpleCoder>::from_slice(data).build_7594().context("cell proofs").map(Self)
    }
}

/// An account that signs for one chain.
#[derive(Debug)]
pub struct Wallet {
    key: EcdsaSecretKey,
    chain_id: u64,
}

impl Wallet {
    /// The account of a key.
    ///
    /// # Errors
    /// If the bytes are no key.
    pub fn new(key: B256, chain_id: u64) -> Result<Self> {
        Ok(Self { key: EcdsaSecretKey::from_bytes(&key.0).context("not a secp256k1 key")?, chain_id })
    }

    /// One of the ten funded development accounts; the index wraps.
    ///
    /// # Errors
    /// Never: the keys are constants.
    pub fn dev(index: usize, chain_id: u64) -> Result<Self> {
        Self::new(DEV_KEYS[index % DEV_KEYS.len()], chain_id)
    }

    /// Its address.
    pub const fn address(&self) -> Address {
        self.key.address()
    }

    fn signature(&self, hash: B256) -> Result<Signature> {
        Signature::from_raw_array(&self.key.sign(hash)).context("a signature of our own")
    }

    fn finish<T: SignableTransaction<Signature> + RlpEcdsaEncodableTx>(&self, tx: T) -> Result<SignedTx> {
        let signature = self.signature(tx.signature_hash())?;
        let signed = tx.into_signed(signature);
        let mut out = Vec::new();
        signed.eip2718_encode(&mut out);
        let bytes = Bytes::from(out);
        Ok(SignedTx { hash: *signed.hash(), canonical: bytes.clone(), network: bytes })
    }

    /// A transaction of type 0, with replay protection.
    ///
    /// # Errors
    /// Never for a valid key.
    pub fn legacy(&self, a: &Ask) -> Result<SignedTx> {
        self.finish(TxLegacy {
            chain_id: Some(self.chain_id),
            nonce: a.nonce,
            gas_price: a.max_fee_per_gas,
            gas_limit: a.gas_limit,
            to: a.kind(),
            value: a.value,
            input: a.input.clone(),
        })
    }

    /// A transaction of type 1, with an empty access list.
    ///
    /// # Errors
    /// Never for a valid key.
    pub fn access_list(&self, a: &Ask) -> Result<SignedTx> {
        self.finish(TxEip2930 {
            chain_id: self.chain_id,
            nonce: a.nonce,
            gas_price: a.max_fee_per_gas,
            gas_limit: a.gas_limit,
            to: a.kind(),
            value: a.value,
            access_list: Default::default(),
            input: a.input.clone(),
        })
    }

    /// A transaction of type 2.
    ///
    /// # Errors
    /// Never for a valid key.
    pub fn dynamic(&self, a: &Ask) -> Result<SignedTx> {
        self.finish(TxEip1559 {
            chain_id: self.chain_id,
            nonce: a.nonce,
            gas_limit: a.gas_limit,
            max_fee_per_gas: a.max_fee_per_gas,
            max_priority_fee_per_gas: a.max_priority_fee_per_gas,
            to: a.kind(),
            value: a.value,
            access_list: Default::default(),
            input: a.input.clone(),
        })
    }

    /// A plain transfer of type 2 with [`Ask::transfer`]'s fees.
    ///
    /// # Errors
    /// Never for a valid key.
    pub fn transfer(&self, nonce: u64, to: Address, value: U256) -> Result<SignedTx> {
        self.dynamic(&Ask::transfer(nonce, to, value))
    }

    /// A transaction of type 3: `data` in as many blobs as it needs, with cell proofs.
    ///
    /// # Errors
    /// Without an address, or if the proofs can not be made.
    pub fn blobs(&self, a: &Ask, data: &[u8], max_fee_per_blob_gas: u128) -> Result<SignedTx> {
        self.carrying(a, Blobs::of(data)?, max_fee_per_blob_gas)
    }

    /// A transaction of type 3 with blobs that are made already.
    ///
    /// # Errors
    /// Without an address.
    pub fn carrying(&self, a: &Ask, Blobs(sidecar): Blobs, max_fee_per_blob_gas: u128) -> Result<SignedTx> {
        let tx = TxEip4844 {
            chain_id: self.chain_id,
            nonce: a.nonce,
            gas_limit: a.gas_limit,
            max_fee_per_gas: a.max_fee_per_gas,
            max_priority_fee_per_gas: a.max_priority_fee_per_gas,
            to: a.address()?,
            value: a.value,
            access_list: Default::default(),
            blob_versioned_hashes: sidecar.versioned_hashes().collect(),
            max_fee_per_blob_gas,
            input: a.input.clone(),
        };
        let mut signed = self.finish(tx.clone())?;
        let signature = self.signature(tx.signature_hash())?;
        let mut network = Vec::new();
        TxEip4844WithSidecar { tx, sidecar }.into_signed(signature).eip2718_encode(&mut network);
        signed.network = network.into();
        Ok(signed)
    }

    /// An authorization that sets this account's code to `to`'s (EIP-7702).
    ///
    /// # Errors
    /// Never for a valid key.
    pub fn authorize(&self, to: Address, nonce: u64) -> Result<SignedAuthorization> {
        let auth = Authorization { chain_id: U256::from(self.chain_id), address: to, nonce };
        let signature = self.signature(auth.signature_hash())?;
        Ok(auth.into_signed(signature))
    }

    /// A transaction of type 4.
    ///
    /// # Errors
    /// Without an address.
    pub fn set_code(&self, a: &Ask, authorization_list: Vec<SignedAuthorization>) -> Result<SignedTx> {
        self.finish(TxEip7702 {
            chain_id: self.chain_id,
            nonce: a.nonce,
            gas_limit: a.gas_limit,
            max_fee_per_gas: a.max_fee_per_gas,
            max_priority_fee_per_gas: a.max_priority_fee_per_gas,
            to: a.address()?,
            value: a.value,
            access_list: Default::default(),
            authorization_list,
            input: a.input.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_crypto::tx;

    #[test]
    fn all_kinds_decode_strictly_to_their_sender() {
        let w = Wallet::dev(0, 32_382).unwrap();
        let other = Wallet::dev(1, 32_382).unwrap();
        let a = Ask { gas_limit: 100_000, ..Ask::transfer(3, other.address(), U256::from(5)) };
        let auth = other.authorize(w.address(), 0).unwrap();
        let all = [
            w.legacy(&a).unwrap(),
            w.access_list(&a).unwrap(),
            w.dynamic(&a).unwrap(),
            w.blobs(&a, b"blob", 1).unwrap(),
            w.set_code(&a, vec![auth]).unwrap(),
        ];
        for (kind, signed) in (0u8..).zip(&all) {
            let f = tx::decode(&signed.canonical).unwrap().facts;
            assert_eq!((f.tx_type, f.sender, f.nonce, f.hash), (kind, w.address(), 3, signed.hash));
            assert_eq!(kind == 3, signed.canonical != signed.network);
        }
    }
}
