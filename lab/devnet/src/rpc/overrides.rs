//! Overrides of calls and simulations, read as geth reads them: names that it does not know are passed over,
//! those that it knows are taken in any case.

use super::fail::Fail;
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256, U64, U256};
use alloy_rpc_types_eth::state::{AccountOverride, StateOverride};
use revm::{context::BlockEnv, context_interface::block::BlobExcessGasAndPrice};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// What geth calls the members of an object.
pub(super) trait Members {
    const NAMES: &'static [&'static str];
}

/// An object of which only the members that geth knows are read. One that is given in two cases is refused:
/// which of the two counts would be a guess.
#[derive(Clone, Debug, Default)]
pub(super) struct Known<T>(pub(super) T);

impl<'de, T: Members + DeserializeOwned> Deserialize<'de> for Known<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut known = Map::new();
        for (name, value) in Map::<String, Value>::deserialize(from)? {
            let Some(meant) = T::NAMES.iter().find(|n| n.eq_ignore_ascii_case(&name)) else { continue };
            if known.insert((*meant).to_owned(), value).is_some() {
                return Err(D::Error::custom(format!("{meant} is given twice")));
            }
        }
        serde_json::from_value(Value::Object(known)).map(Self).map_err(D::Error::custom)
    }
}

/// Overrides of accounts. One that is null overrides nothing of its account.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts(pub(super) StateOverride);

impl Members for AccountOverride {
    const NAMES: &'static [&'static str] =
        &["nonce", "code", "balance", "state", "stateDiff", "movePrecompileToAddress"];
}

impl<'de> Deserialize<'de> for Accounts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let all = HashMap::<Address, Option<Known<AccountOverride>>>::deserialize(from)?;
        Ok(Self(all.into_iter().map(|(address, account)| (address, account.unwrap_or_default().0)).collect()))
    }
}

/// What of the block's environment is given (alloy's lack withdrawals).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Overrides {
    pub(super) number: Option<U256>,
    pub(super) difficulty: Option<U256>,
    pub(super) time: Option<U64>,
    pub(super) gas_limit: Option<U64>,
    pub(super) fee_recipient: Option<Address>,
    pub(super) prev_randao: Option<B256>,
    pub(super) base_fee_per_gas: Option<U256>,
    pub(super) blob_base_fee: Option<U256>,
    pub(super) beacon_root: Option<B256>,
    pub(super) withdrawals: Option<Vec<Withdrawal>>,
}

impl Members for Overrides {
    const NAMES: &'static [&'static str] = &[
        "number",
        "difficulty",
        "time",
        "gasLimit",
        "feeRecipient",
        "prevRandao",
        "baseFeePerGas",
        "blobBaseFee",
        "beaconRoot",
        "withdrawals",
    ];
}

impl Overrides {
    /// Changes the environment of a call, which has neither a beacon root nor withdrawals.
    ///
    /// # Errors
    /// geth's words for these two.
    pub(super) fn apply(self, env: &mut BlockEnv) -> Result<(), Fail> {
        for (given, name) in [(self.beacon_root.is_some(), "beaconRoot"), (self.withdrawals.is_some(), "withdrawals")] {
            if given {
                let text = format!("block override \"{name}\" is not supported for this RPC method");
                return Err(Fail::new(text));
            }
        }
        env.number = self.number.unwrap_or(env.number);
        env.difficulty = self.difficulty.unwrap_or(env.difficulty);
        env.timestamp = self.time.map_or(env.timestamp, |t| U256::from(t.to::<u64>()));
        env.gas_limit = self.gas_limit.map_or(env.gas_limit, |g| g.to());
        env.beneficiary = self.fee_recipient.unwrap_or(env.beneficiary);
        env.prevrandao = self.prev_randao.or(env.prevrandao);
        env.basefee = self.base_fee_per_gas.map_or(env.basefee, |f| f.saturating_to());
        if let Some(price) = self.blob_base_fee {
            let excess_blob_gas = env.blob_excess_gas_and_price.map_or(0, |b| b.excess_blob_gas);
            let blob_gasprice = price.saturating_to();
            env.blob_excess_gas_and_price = Some(BlobExcessGasAndPrice { excess_blob_gas, blob_gasprice });
        }
        Ok(())
    }
}

/// A member that may be missing or null.
pub(super) fn known<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Members + DeserializeOwned,
{
    Ok(Option::<Known<T>>::deserialize(from)?.map(|known| known.0))
}

/// The same of accounts.
pub(super) fn accounts<'de, D: Deserializer<'de>>(from: D) -> Result<Option<StateOverride>, D::Error> {
    Ok(Option::<Accounts>::deserialize(from)?.map(|accounts| accounts.0))
}
