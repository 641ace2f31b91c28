//! What a block carries besides its payload (consensus-specs, phase 0 to Electra).

use crate::{block::SignedBeaconBlockHeader, container::container};
use alloy_primitives::{Address, B256};
use ssz_types::{BitList, BitVector, FixedVector, VariableList, typenum};
use tandem_types::{BlsPublicKey, BlsSignature, Epoch, Gwei, Slot, ValidatorIndex, units::quoted};

container!(/// A state's fork: the versions before and after `epoch`.
#[derive(Default)]
Fork {
    /// Version before `epoch`.
    previous_version: alloy_primitives::FixedBytes<4>,
    /// Version from `epoch` on.
    current_version: alloy_primitives::FixedBytes<4>,
    /// When it changed.
    epoch: Epoch,
});
container!(/// An epoch's first block.
#[derive(Copy, Default)]
Checkpoint {
    /// The epoch.
    epoch: Epoch,
    /// Root of the block that starts it.
    root: B256,
});
container!(/// A vote on the deposit contract.
#[derive(Default)]
Eth1Data {
    /// Root of the deposit tree.
    deposit_root: B256,
    /// Deposits in it.
    #[serde(with = "quoted")]
    deposit_count: u64,
    /// Execution block.
    block_hash: B256,
});
container!(/// What an attestation says.
#[derive(Default)]
AttestationData {
    /// When.
    slot: Slot,
    /// Always 0 since Electra.
    #[serde(with = "quoted")]
    index: u64,
    /// The head that was seen.
    beacon_block_root: B256,
    /// Justified source.
    source: Checkpoint,
    /// Target.
    target: Checkpoint,
});
container!(/// An attestation over several committees (EIP-7549).
Attestation {
    /// Who of the committees attested.
    aggregation_bits: BitList<typenum::U131072>,
    /// What they say.
    data: AttestationData,
    /// Their aggregate signature.
    signature: BlsSignature,
    /// Which committees.
    committee_bits: BitVector<typenum::U64>,
});
container!(/// An attestation by validator index.
IndexedAttestation {
    /// Who.
    attesting_indices: VariableList<ValidatorIndex, typenum::U131072>,
    /// What they say.
    data: AttestationData,
    /// Their aggregate signature.
    signature: BlsSignature,
});
container!(/// Two headers that one proposer signed for one slot.
ProposerSlashing {
    /// One.
    signed_header_1: SignedBeaconBlockHeader,
    /// The other.
    signed_header_2: SignedBeaconBlockHeader,
});
container!(/// Two attestations that may not both be made.
AttesterSlashing {
    /// One.
    attestation_1: IndexedAttestation,
    /// The other.
    attestation_2: IndexedAttestation,
});
container!(/// What a deposit's signature is over.
#[derive(Default)]
DepositMessage {
    /// The validator's key.
    pubkey: BlsPublicKey,
    /// Its withdrawal credentials.
    withdrawal_credentials: B256,
    /// Gwei.
    amount: Gwei,
});
container!(/// A deposit with its proof of possession.
#[derive(Default)]
DepositData {
    /// The validator's key.
    pubkey: BlsPublicKey,
    /// Its withdrawal credentials.
    withdrawal_credentials: B256,
    /// Gwei.
    amount: Gwei,
    /// Over [`DepositMessage`], in the deposit domain.
    signature: BlsSignature,
});
container!(/// A deposit with its branch to the deposit root.
Deposit {
    /// 32 levels and the count.
    proof: FixedVector<B256, typenum::U33>,
    /// The deposit.
    data: DepositData,
});
container!(/// A validator leaves.
#[derive(Default)]
VoluntaryExit {
    /// Not before.
    epoch: Epoch,
    /// Who.
    validator_index: ValidatorIndex,
});
container!(/// A signed exit.
#[derive(Default)]
SignedVoluntaryExit {
    /// The exit.
    message: VoluntaryExit,
    /// The validator's signature.
    signature: BlsSignature,
});
container!(/// Credentials move from a BLS key to an execution address.
#[derive(Default)]
BlsToExecutionChange {
    /// Whose.
    validator_index: ValidatorIndex,
    /// The withdrawal key until now.
    from_bls_pubkey: BlsPublicKey,
    /// The address from now on.
    to_execution_address: Address,
});
container!(/// A signed change of credentials.
#[derive(Default)]
SignedBlsToExecutionChange {
    /// The change.
    message: BlsToExecutionChange,
    /// The withdrawal key's signature.
    signature: BlsSignature,
});
container!(/// The sync committee's vote on the parent.
#[derive(Default)]
SyncAggregate {
    /// Who of the 512.
    sync_committee_bits: BitVector<typenum::U512>,
    /// Their aggregate signature, infinity where nobody voted.
    sync_committee_signature: BlsSignature,
});

impl DepositData {
    /// What its signature is over.
    pub fn message(&self) -> DepositMessage {
        DepositMessage { pubkey: self.pubkey, withdrawal_credentials: self.withdrawal_credentials, amount: self.amount }
    }
}

impl SyncAggregate {
    /// The aggregate of nobody: no bit, and the point at infinity.
    pub fn empty() -> Self {
        let mut infinity = [0u8; 96];
        infinity[0] = 0xc0;
        Self { sync_committee_bits: BitVector::new(), sync_committee_signature: BlsSignature::new(infinity) }
    }
}
