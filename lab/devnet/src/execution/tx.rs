//! Reading transactions.

use super::{PoolError, Tx};
use alloy_consensus::{
    EthereumTxEnvelope, TxEip4844, TxEip4844WithSidecar, TxEnvelope,
    transaction::{SignerRecoverable, TxHashRef},
};
use alloy_eips::{
    eip2718::{Decodable2718, Encodable2718},
    eip4844::BlobTransactionSidecar,
    eip7594::{BlobTransactionSidecarEip7594, BlobTransactionSidecarVariant, MAX_BLOBS_PER_TX_FUSAKA},
};
use alloy_primitives::{B256, Bytes};
use std::sync::Arc;

/// A transaction as it came, its sidecar apart.
#[derive(Clone, Debug)]
pub struct DecodedTx {
    /// The transaction, with its sender.
    pub tx: Tx,
    /// Its blobs with their cell proofs.
    pub sidecar: Option<Arc<BlobTransactionSidecarEip7594>>,
}

impl DecodedTx {
    /// Its hash.
    pub fn hash(&self) -> B256 {
        *self.tx.tx_hash()
    }
}

/// Reads a transaction in network form (a blob transaction with its sidecar) or in canonical form.
///
/// # Errors
/// [`PoolError::Decode`] for anything that is not exactly one transaction, [`PoolError::TooManyBlobs`] for
/// more blobs with old proofs than a transaction may have, [`PoolError::InvalidSender`] for a signature by nobody.
pub fn decode_network(raw: &[u8]) -> Result<DecodedTx, PoolError> {
    if raw.is_empty() {
        return Err(PoolError::Decode("typed transaction too short".to_owned()));
    }
    let mut rest = raw;
    let (tx, sidecar) =
        if raw.first() == Some(&3) { decode_blob(&mut rest)? } else { (decode_plain(&mut rest)?, None) };
    if !rest.is_empty() {
        return Err(PoolError::Decode("rlp: input contains more than one value".to_owned()));
    }
    let signer = tx.recover_signer().map_err(|_| PoolError::InvalidSender)?;
    Ok(DecodedTx { tx: Tx::new_unchecked(tx, signer), sidecar })
}

type Pooled = EthereumTxEnvelope<TxEip4844WithSidecar<BlobTransactionSidecarVariant>>;
type Plain = EthereumTxEnvelope<TxEip4844>;

fn decode_plain(raw: &mut &[u8]) -> Result<TxEnvelope, PoolError> {
    Plain::decode_2718(raw).map(Into::into).map_err(|e| PoolError::Decode(decode_text(&e)))
}

fn decode_blob(raw: &mut &[u8]) -> Result<(TxEnvelope, Option<Arc<BlobTransactionSidecarEip7594>>), PoolError> {
    let whole = *raw;
    let Ok(Pooled::Eip4844(tx)) = Pooled::decode_2718(raw) else {
        *raw = whole;
        return Ok((decode_plain(raw)?, None));
    };
    let (tx, signature, hash) = tx.into_parts();
    let sidecar = match tx.sidecar {
        BlobTransactionSidecarVariant::Eip7594(sidecar) => sidecar,
        BlobTransactionSidecarVariant::Eip4844(old) => with_cell_proofs(old)?,
    };
    let plain = Plain::Eip4844(alloy_consensus::Signed::new_unchecked(tx.tx, signature, hash));
    Ok((plain.into(), Some(Arc::new(sidecar))))
}

/// A sidecar of before Osaka gets its cell proofs here, as in geth. They take a fifth of a second a blob:
/// no more are made than a transaction may carry.
fn with_cell_proofs(old: BlobTransactionSidecar) -> Result<BlobTransactionSidecarEip7594, PoolError> {
    let (have, max) = (old.blobs.len(), MAX_BLOBS_PER_TX_FUSAKA);
    if have as u64 > max {
        return Err(PoolError::TooManyBlobs { have, max });
    }
    let failed = |e: &dyn std::fmt::Display| PoolError::SidecarConversion(e.to_string());
    let made = BlobTransactionSidecarEip7594::try_from_blobs(old.blobs).map_err(|e| failed(&e))?;
    if made.commitments != old.commitments {
        return Err(failed(&"the commitments are not the blobs'"));
    }
    Ok(made)
}

fn decode_text(error: &alloy_eips::eip2718::Eip2718Error) -> String {
    match error {
        alloy_eips::eip2718::Eip2718Error::UnexpectedType(_) => "transaction type not supported".to_owned(),
        other => format!("rlp: {other}"),
    }
}

/// The canonical bytes.
pub(crate) fn canonical(tx: &TxEnvelope) -> Bytes {
    tx.encoded_2718().into()
}

/// Reads a transaction of a block: canonical form only.
pub(crate) fn decode_canonical(raw: &[u8]) -> Result<Tx, PoolError> {
    let mut rest = raw;
    let tx = decode_plain(&mut rest)?;
    if !rest.is_empty() {
        return Err(PoolError::Decode("rlp: input contains more than one value".to_owned()));
    }
    let signer = tx.recover_signer().map_err(|_| PoolError::InvalidSender)?;
    Ok(Tx::new_unchecked(tx, signer))
}
