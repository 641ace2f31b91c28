//! Senders for load: development accounts that sign transfers. Their keys are known to everybody.

use alloy_primitives::{Address, B256, Bytes, U256};
use anyhow::Result;
use tandem_testkit::Ask;

/// One development account.
#[derive(Debug)]
pub struct Wallet(tandem_testkit::Wallet);

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
        Ok(Self(tandem_testkit::Wallet::new(tandem_devnet::execution::dev_account(index), chain_id)?))
    }

    /// Its address.
    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// A transfer of some wei.
    ///
    /// # Errors
    /// If signing fails.
    pub fn transfer(&self, nonce: u64, to: Address, wei: u64, fees: Fees) -> Result<SignedTx> {
        let terms = Ask {
            max_fee_per_gas: fees.max_fee,
            max_priority_fee_per_gas: fees.tip,
            ..Ask::transfer(nonce, to, U256::from(wei))
        };
        let signed = self.0.dynamic(&terms)?;
        Ok(SignedTx { hash: signed.hash, raw: signed.network })
    }
}
