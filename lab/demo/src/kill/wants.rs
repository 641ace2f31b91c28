//! What clients want promised: transactions that use up one resource before the others.

use super::{
    oracle::{Asked, Purse},
    room,
};
use crate::{ask, wallet::SignedTx};
use alloy_primitives::{Address, Bytes, U256};
use anyhow::{Context, Result};
use tandem_devnet::execution::dev_account;
use tandem_testkit::{Ask, Blobs, Wallet};

const GWEI: u128 = 1_000_000_000;
/// Far above what the lab's base fee grows to over a look-ahead of two epochs.
const MAX_FEE: u128 = 3_000 * GWEI;
/// Covers the price of a gas limit that is twenty times what is certain to be used, in a room that is
/// nearly full.
const TIP: u128 = 300 * GWEI;
/// Gas limit of a transaction that ends the gas first.
pub const THIRSTY_GAS: u64 = 400_000;
/// Bytes of input of one that ends the bytes first.
pub const WORDS: usize = 1_200;
/// Its gas limit: above EIP-7623's ten gas for each zero byte.
const WORDY_GAS: u64 = 40_000;
const PLAIN_GAS: u64 = 21_000;

/// What a poor account has: enough for two transfers, and not for three.
pub const POOR_WEI: u128 = MAX_FEE * PLAIN_GAS as u128 * 5 / 2;

/// A kind of transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A transfer.
    Plain,
    /// With much gas, most of which it does not use.
    Thirsty,
    /// With much input.
    Wordy,
    /// With a blob.
    Blob,
    /// A transfer of an account that can pay two of them.
    Poor,
}

impl Want {
    /// What most clients want in a slot: so that each pool is the first to end in some slots.
    pub const fn of_slot(slot: u64) -> Self {
        match slot % 3 {
            0 => Self::Plain,
            1 => Self::Thirsty,
            _ => Self::Wordy,
        }
    }

    const fn gas(self) -> u64 {
        match self {
            Self::Thirsty => THIRSTY_GAS,
            Self::Wordy => WORDY_GAS,
            Self::Plain | Self::Blob | Self::Poor => PLAIN_GAS,
        }
    }
}

/// Makes requests.
pub struct Maker {
    chain_id: u64,
    /// One blob, whose proofs are made once.
    blobs: Blobs,
}

impl Maker {
    /// For a chain. Takes the time of a blob's proofs.
    ///
    /// # Errors
    /// If they can not be made.
    pub fn new(chain_id: u64) -> Result<Self> {
        Ok(Self { chain_id, blobs: Blobs::of(b"promised before it is there")? })
    }

    /// A sender's transaction of a nonce, and the request for it in a slot.
    ///
    /// # Errors
    /// Never in practice.
    pub fn request(&self, sender: u32, want: Want, nonce: u64, slot: u64, wei: u64) -> Result<(Asked, SignedTx)> {
        let wallet = Wallet::new(dev_account(sender), self.chain_id)?;
        let input = if want == Want::Wordy { Bytes::from(vec![0; WORDS]) } else { Bytes::new() };
        let terms = Ask {
            gas_limit: want.gas(),
            max_fee_per_gas: MAX_FEE,
            max_priority_fee_per_gas: TIP,
            input,
            ..Ask::transfer(nonce, Address::repeat_byte(0x77), U256::from(wei))
        };
        let signed = match want {
            Want::Blob => wallet.carrying(&terms, self.blobs.clone(), MAX_FEE)?,
            _ => wallet.dynamic(&terms)?,
        };
        let tx = SignedTx { raw: signed.network, hash: signed.hash };
        let cost = MAX_FEE * u128::from(want.gas()) + u128::from(wei);
        let asked = Asked {
            gas: want.gas(),
            size: u64::try_from(signed.canonical.len()).context("a transaction's length")?,
            blobs: u64::from(want == Want::Blob),
            purse: (want == Want::Poor).then_some(Purse { has: POOR_WEI, cost }),
            secured: room::is_secured(sender),
            ..ask::asked(&tx, sender, nonce, slot)?
        };
        Ok((asked, tx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kill::room::{ROOM, Used};

    #[test]
    fn each_kind_of_transaction_ends_its_own_pool_first() {
        let maker = Maker::new(7).unwrap();
        let pools = [
            (Want::Plain, "unsecured promises"),
            (Want::Thirsty, "unsecured gas"),
            (Want::Wordy, "unsecured bytes"),
            (Want::Blob, "unsecured blobs"),
        ];
        for (want, pool) in pools {
            let (asked, tx) = maker.request(1, want, 0, 9, 1).unwrap();
            assert_eq!((asked.tx_hash, asked.blobs), (tx.hash, u64::from(want == Want::Blob)));
            let mut used = Used::default();
            while used.full_for(&asked, &ROOM).is_none() {
                used = used.with(&asked);
            }
            assert_eq!(used.full_for(&asked, &ROOM), Some(pool), "{want:?}");
        }
        let (poor, _) = maker.request(1, Want::Poor, 0, 9, 1).unwrap();
        let Purse { has, cost } = poor.purse.unwrap();
        assert!(2 * cost <= has && has < 3 * cost);
    }
}
