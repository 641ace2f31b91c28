//! geth's words for what is wrong with a transaction: tools look for them.

use alloy_primitives::Address;
use revm::context_interface::result::InvalidTransaction as E;

/// What a transaction offers, and what the block asks, in wei per gas.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fees {
    /// Its fee cap.
    pub max_fee: u128,
    /// Its tip cap.
    pub tip: u128,
    /// The block's base fee.
    pub base_fee: u64,
}

/// The sentence that geth answers with.
pub fn invalid_transaction_text(error: &E, from: Address, fees: Fees) -> String {
    let Fees { max_fee, tip, base_fee } = fees;
    match error {
        E::NonceTooLow { tx, state } => format!("nonce too low: address {from}, tx: {tx} state: {state}"),
        E::NonceTooHigh { tx, state } => format!("nonce too high: address {from}, tx: {tx} state: {state}"),
        E::LackOfFundForMaxFee { fee, balance } => {
            format!("insufficient funds for gas * price + value: address {from} have {balance} want {fee}")
        }
        E::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}")
        }
        E::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
            format!("insufficient gas for floor data gas cost: have {gas_limit}, want {gas_floor}")
        }
        E::GasPriceLessThanBasefee => format!(
            "max fee per gas less than block base fee: address {from}, maxFeePerGas: {max_fee}, baseFee: {base_fee}"
        ),
        E::PriorityFeeGreaterThanMaxFee => format!(
            "max priority fee per gas higher than max fee per gas: address {from}, maxPriorityFeePerGas: {tip}, \
             maxFeePerGas: {max_fee}"
        ),
        E::TxGasLimitGreaterThanCap { gas_limit, cap } => {
            format!("transaction gas limit too high (cap: {cap}, tx: {gas_limit})")
        }
        E::CallerGasLimitMoreThanBlock => "gas limit reached".to_owned(),
        E::RejectCallerWithCode => format!("sender not an eoa: address {from}"),
        E::NonceOverflowInTransaction => format!("nonce has max value: address {from}"),
        E::CreateInitCodeSizeLimit => "max initcode size exceeded".to_owned(),
        E::BlobGasPriceGreaterThanMax { block_blob_gas_price, tx_max_fee_per_blob_gas } => format!(
            "max fee per blob gas less than block blob gas fee: address {from} blobGasFeeCap: \
             {tx_max_fee_per_blob_gas}, blobBaseFee: {block_blob_gas_price}"
        ),
        E::InvalidChainId => "invalid chain id for signer".to_owned(),
        E::EmptyAuthorizationList => "EIP-7702 transaction with empty auth list".to_owned(),
        other => other.to_string(),
    }
}
