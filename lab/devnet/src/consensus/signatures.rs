//! Checks of consensus signatures under the devnet's fork versions.

use super::spec::{CAPELLA_FORK_VERSION, FULU_FORK_VERSION, GENESIS_FORK_VERSION};
use alloy_primitives::B256;
use tandem_beacon::operations::{DepositMessage, SignedVoluntaryExit};
use tandem_crypto::{bls, domains, domains::SigningFork};
use tandem_types::{BlsPublicKey, BlsSignature, Epoch, Gwei};

/// What blocks and RANDAO reveals are signed under.
pub const fn fulu(genesis_validators_root: B256) -> SigningFork {
    SigningFork { fork_version: FULU_FORK_VERSION, genesis_validators_root }
}

/// What exits are signed under (EIP-7044).
pub const fn capella(genesis_validators_root: B256) -> SigningFork {
    SigningFork { fork_version: CAPELLA_FORK_VERSION, genesis_validators_root }
}

/// Whether a RANDAO reveal is the proposer's.
pub fn randao_is_valid(validators_root: B256, epoch: Epoch, key: &BlsPublicKey, reveal: &BlsSignature) -> bool {
    bls::verify(key, fulu(validators_root).randao(epoch).as_slice(), reveal).is_ok()
}

/// Whether a block's signature is the proposer's.
pub fn block_is_valid(validators_root: B256, block_root: B256, key: &BlsPublicKey, signature: &BlsSignature) -> bool {
    bls::verify(key, fulu(validators_root).block_root(block_root).as_slice(), signature).is_ok()
}

/// Whether a voluntary exit is the validator's.
pub fn exit_is_valid(validators_root: B256, key: &BlsPublicKey, exit: &SignedVoluntaryExit) -> bool {
    bls::verify(key, capella(validators_root).voluntary_exit(&exit.message).as_slice(), &exit.signature).is_ok()
}

/// Whether a deposit's proof of possession holds.
pub fn deposit_is_valid(
    pubkey: &BlsPublicKey,
    withdrawal_credentials: B256,
    amount: Gwei,
    signature: &BlsSignature,
) -> bool {
    let message = DepositMessage { pubkey: *pubkey, withdrawal_credentials, amount };
    bls::verify(pubkey, domains::deposit(GENESIS_FORK_VERSION, &message).as_slice(), signature).is_ok()
}
