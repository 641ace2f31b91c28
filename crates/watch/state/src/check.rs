//! What a transaction must be like whatever the state: decoding, and the fork's validity rules.
//!
//! The rules are revm's own functions, so that what is promised here and what is executed later are
//! judged by the same code.

use crate::{ChainState, CheckError, Forks};
use alloy_eips::eip7594::MAX_BLOBS_PER_TX_FUSAKA;
use alloy_evm::FromRecoveredTx;
use alloy_primitives::Bytes;
use revm::{
    Context, MainContext,
    context::{BlockEnv, CfgEnv, TxEnv},
    database::EmptyDB,
    handler::validation::{validate_initial_tx_gas, validate_tx_env},
    primitives::hardfork::SpecId,
};
use tandem_crypto::{DecodedTx, TxError, kzg, tx};
use tandem_types::body::TxFacts;

/// A transaction that no state-free rule forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What it says of itself.
    pub facts: TxFacts,
    /// Canonical EIP-2718 bytes, without the sidecar.
    pub canonical: Bytes,
    /// The network form with its sidecar, where it has blobs.
    pub pooled: Option<Bytes>,
    /// Gas that is certain to be used: intrinsic or calldata floor, the larger.
    pub min_gas: u64,
}

impl ChainState {
    /// Decodes a signed transaction, canonical or in network form with its sidecar, and applies the
    /// rules of the fork at `timestamp` that need no state. Cell proofs take milliseconds of a core.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub fn check(&self, raw: &[u8], timestamp: u64) -> Result<Checked, CheckError> {
        let decoded = match self.senders() {
            Some(cache) => cache.decode(raw),
            None => tx::decode(raw),
        };
        check(decoded.map_err(undecoded)?, self.chain_id(), self.forks(), timestamp)
    }
}

fn undecoded(e: TxError) -> CheckError {
    match e {
        TxError::TooLarge { len, limit } => CheckError::TooLarge { size: len, max: limit },
        TxError::OldSidecar | TxError::SidecarShape { .. } => CheckError::Sidecar(e.to_string()),
        other => CheckError::Malformed(other.to_string()),
    }
}

/// Applies the rules of the fork at `timestamp` to a decoded transaction.
///
/// # Errors
/// See [`CheckError`].
pub fn check(tx: DecodedTx, chain_id: u64, forks: &Forks, timestamp: u64) -> Result<Checked, CheckError> {
    // Also a legacy transaction must name its chain: one without replay protection can be taken
    // elsewhere, and a promise about it could be voided from there.
    if tx.facts.chain_id != Some(chain_id) {
        return Err(CheckError::WrongChain { want: chain_id, got: tx.facts.chain_id });
    }
    let min_gas = rules(&tx, chain_id, forks, timestamp)?;
    match (&tx.sidecar, tx.facts.blob_hashes.is_empty()) {
        (None, true) => {}
        (Some(sidecar), false) => {
            kzg::verify_sidecar(sidecar, &tx.facts.blob_hashes).map_err(|e| CheckError::Proof(e.to_string()))?;
        }
        (None, false) => return Err(CheckError::Sidecar("a blob transaction must come with its sidecar".into())),
        (Some(_), true) => return Err(CheckError::Sidecar("only a blob transaction may have a sidecar".into())),
    }
    Ok(Checked { facts: tx.facts, canonical: tx.canonical, pooled: tx.pooled, min_gas })
}

/// Applies revm's checks and gives the gas that is certain to be used.
fn rules(tx: &DecodedTx, chain_id: u64, forks: &Forks, timestamp: u64) -> Result<u64, CheckError> {
    let spec = forks.spec(timestamp);
    let mut cfg = CfgEnv::new_with_spec(spec).with_chain_id(chain_id);
    let in_block = forks.blob_params(timestamp).max;
    let most_blobs = if spec.is_enabled_in(SpecId::OSAKA) { in_block.min(MAX_BLOBS_PER_TX_FUSAKA) } else { in_block };
    cfg.set_max_blobs_per_tx(most_blobs);
    // Fees are judged by the boost, against the worst that the target block may ask.
    cfg.disable_base_fee = true;
    cfg.disable_block_gas_limit = true;
    let env = TxEnv::from_recovered_tx(&tx.envelope, tx.facts.sender);
    let rule = |e: revm::context::result::InvalidTransaction| CheckError::Rule(e.to_string());
    let cap = revm::context_interface::Cfg::tx_gas_limit_cap(&cfg);
    let gas = validate_initial_tx_gas(&env, spec, false, false, cap, None).map_err(rule)?;
    let block = BlockEnv { timestamp: timestamp.try_into().unwrap_or_default(), ..BlockEnv::default() };
    let mut cx = Context::mainnet().with_db(EmptyDB::new()).with_block(block).with_cfg(cfg).with_tx(env);
    validate_tx_env(&mut cx, spec).map_err(rule)?;
    Ok(gas.initial_total_gas().max(gas.floor_gas()))
}
