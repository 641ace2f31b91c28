//! What is wrong with a transaction whatever the state is.

use super::TxPool;
use crate::execution::{DecodedTx, OsakaSpec, PoolError};
use alloy_consensus::Transaction;
use alloy_eips::{eip2718::Encodable2718, eip7825::MAX_TX_GAS_LIMIT_OSAKA};
use alloy_evm::IntoTxEnv;
use revm::{
    context::TxEnv,
    primitives::{eip3860::MAX_INITCODE_SIZE, hardfork::SpecId},
};
use tandem_crypto::kzg;

/// Largest transaction without its blobs, as geth's pool has it.
const MAX_TX_SIZE: usize = 128 * 1024;

impl TxPool {
    /// Checks a blob transaction's sidecar: cell proofs for each blob, and the hashes that it names.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn check_sidecar(decoded: &DecodedTx, spec: &OsakaSpec) -> Result<(), PoolError> {
        let Some(hashes) = decoded.tx.blob_versioned_hashes() else { return Ok(()) };
        let have = hashes.len();
        if have == 0 {
            return Err(PoolError::NoBlobs);
        }
        let max = spec.blobs.max_blobs_per_tx;
        if have as u64 > max {
            return Err(PoolError::TooManyBlobs { have, max });
        }
        let sidecar = decoded.sidecar.as_ref().ok_or(PoolError::MissingSidecar)?;
        kzg::verify_sidecar(sidecar, hashes).map_err(|e| PoolError::Sidecar(e.to_string()))
    }

    pub(super) fn check_stateless(&self, decoded: &DecodedTx) -> Result<(), PoolError> {
        let tx = &decoded.tx;
        let size = tx.encode_2718_len();
        if size > MAX_TX_SIZE {
            return Err(PoolError::Oversized { size, limit: MAX_TX_SIZE });
        }
        if tx.is_create() && tx.input().len() > MAX_INITCODE_SIZE {
            return Err(PoolError::InitCode { size: tx.input().len(), limit: MAX_INITCODE_SIZE });
        }
        match tx.chain_id() {
            None => return Err(PoolError::Unprotected),
            Some(have) if have != self.spec.chain_id => {
                return Err(PoolError::ChainId { have, want: self.spec.chain_id });
            }
            Some(_) => {}
        }
        if tx.nonce() == u64::MAX {
            return Err(PoolError::NonceMax(tx.nonce()));
        }
        if tx.is_eip4844() && decoded.sidecar.is_none() {
            return Err(PoolError::MissingSidecar);
        }
        if tx.authorization_list().is_some_and(<[_]>::is_empty) {
            return Err(PoolError::NoAuthorizations);
        }
        self.check_gas(decoded)?;
        self.check_fees(decoded)
    }

    fn check_gas(&self, decoded: &DecodedTx) -> Result<(), PoolError> {
        let gas = decoded.tx.gas_limit();
        if gas > MAX_TX_GAS_LIMIT_OSAKA {
            return Err(PoolError::TxGasCap { gas, cap: MAX_TX_GAS_LIMIT_OSAKA });
        }
        if gas > self.head.gas_limit {
            return Err(PoolError::BlockGasLimit);
        }
        let env: TxEnv = decoded.tx.clone().into_tx_env();
        let least = revm::interpreter::gas::calculate_initial_tx_gas_for_tx(&env, SpecId::OSAKA, None);
        let (needed, floor) = (least.initial_total_gas(), least.floor_gas());
        if gas < needed {
            return Err(PoolError::IntrinsicGas { gas, needed });
        }
        if gas < floor {
            return Err(PoolError::FloorGas { gas, needed: floor });
        }
        Ok(())
    }

    fn check_fees(&self, decoded: &DecodedTx) -> Result<(), PoolError> {
        let tx = &decoded.tx;
        let fee = tx.max_fee_per_gas();
        let tip = tx.max_priority_fee_per_gas().unwrap_or(fee);
        if tip > fee {
            return Err(PoolError::TipAboveFee { tip, fee });
        }
        if tip < self.config.min_tip {
            return Err(PoolError::Underpriced { what: "gas tip cap", have: tip, needed: self.config.min_tip });
        }
        if let Some(have) = tx.max_fee_per_blob_gas()
            && have < self.spec.blobs.min_blob_fee
        {
            return Err(PoolError::Underpriced { what: "blob fee cap", have, needed: self.spec.blobs.min_blob_fee });
        }
        Ok(())
    }
}
