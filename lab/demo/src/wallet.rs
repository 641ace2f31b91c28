//! Senders for load: development accounts that sign transfers. Their keys are known to everybody.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use anyhow::Result;

/// One development account.
#[derive(Clone, Debug)]
pub struct Wallet {
    signer: PrivateKeySigner,
    chain_id: u64,
}

/// What a transfer pays.
#[derive(Clone, Copy, Debug)]
pub struct Fees {
    /// Most wei per gas.
    pub max_fee: u128,
    /// Tip in wei per gas.
    pub tip: u128,
}

impl Default for Fees {
    fn default() -> Self {
        // Far above what the lab's base fee grows to over a look-ahead of two epochs.
        Self { max_fee: 3_000_000_000_000, tip: 2_000_000_000 }
    }
}

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTx {
    /// Its EIP-2718 bytes.
    pub raw: Bytes,
    /// Its hash.
    pub hash: B256,
}

impl Wallet {
    /// The devnet's load account with this index.
    ///
    /// # Errors
    /// Never in practice: the derived key is a valid one but for one in 2¹²⁸.
    pub fn nth(index: u32, chain_id: u64) -> Result<Self> {
        Ok(Self { signer: PrivateKeySigner::from_bytes(&tandem_devnet::execution::dev_account(index))?, chain_id })
    }

    /// Its address.
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// A transfer of some wei.
    ///
    /// # Errors
    /// If signing fails.
    pub fn transfer(&self, nonce: u64, to: Address, wei: u64, fees: Fees) -> Result<SignedTx> {
        let tx = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: fees.max_fee,
            max_priority_fee_per_gas: fees.tip,
            to: TxKind::Call(to),
            value: U256::from(wei),
            ..TxEip1559::default()
        };
        let signature = self.signer.sign_hash_sync(&tx.signature_hash())?;
        let raw: Bytes = TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into();
        Ok(SignedTx { hash: keccak256(&raw), raw })
    }
}
