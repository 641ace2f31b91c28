//! The beacon state of Fulu, in persistent trees.

use crate::{
    BeaconError,
    block::BeaconBlockHeader,
    container::container,
    operations::{Checkpoint, Eth1Data, Fork},
    payload::ExecutionPayloadHeader,
};
use alloy_primitives::{Address, B256};
use milhouse::{List, Vector};
use ssz_types::{BitVector, typenum};
use tandem_types::{BlsPublicKey, BlsSignature, Epoch, Gwei, Slot, ValidatorIndex};
use tree_hash::TreeHash;

/// An epoch that never comes.
pub const FAR_FUTURE_EPOCH: Epoch = Epoch::new(u64::MAX);

container!(/// A validator's record.
#[derive(Default)]
Validator {
    /// Its key.
    pubkey: BlsPublicKey,
    /// Where its balance goes.
    withdrawal_credentials: B256,
    /// The balance that counts, in gwei.
    effective_balance: Gwei,
    /// Whether it was slashed.
    slashed: bool,
    /// When it could be activated.
    activation_eligibility_epoch: Epoch,
    /// From when it attests.
    activation_epoch: Epoch,
    /// From when it no longer attests.
    exit_epoch: Epoch,
    /// From when its balance can be withdrawn.
    withdrawable_epoch: Epoch,
});
container!(/// Two roots in place of 8,192 block and state roots.
#[derive(Default)]
HistoricalSummary {
    /// Of the block roots.
    block_summary_root: B256,
    /// Of the state roots.
    state_summary_root: B256,
});
container!(/// A deposit that waits.
#[derive(Default)]
PendingDeposit {
    /// The validator's key.
    pubkey: BlsPublicKey,
    /// Its withdrawal credentials.
    withdrawal_credentials: B256,
    /// Gwei.
    amount: Gwei,
    /// Proof of possession.
    signature: BlsSignature,
    /// When it was made.
    slot: Slot,
});
container!(/// A partial withdrawal that waits.
#[derive(Default)]
PendingPartialWithdrawal {
    /// Of whom.
    validator_index: ValidatorIndex,
    /// Gwei.
    amount: Gwei,
    /// Not before.
    withdrawable_epoch: Epoch,
});
container!(/// A consolidation that waits.
#[derive(Default)]
PendingConsolidation {
    /// Which goes.
    source_index: ValidatorIndex,
    /// Which stays.
    target_index: ValidatorIndex,
});

/// The committee of a sync period.
#[derive(Clone, Debug, Default, PartialEq, ssz_derive::Encode, ssz_derive::Decode, tree_hash_derive::TreeHash)]
pub struct SyncCommittee {
    /// 512 keys, with repetition.
    pub pubkeys: Vector<BlsPublicKey, typenum::U512>,
    /// Their sum.
    pub aggregate_pubkey: BlsPublicKey,
}

/// The last 8,192 roots.
pub type Roots = Vector<B256, typenum::U8192>;
/// The registry.
pub type Validators = List<Validator, typenum::U1099511627776>;
/// Gwei by validator.
pub type Balances = List<Gwei, typenum::U1099511627776>;
/// Flags or scores by validator.
pub type PerValidator<T> = List<T, typenum::U1099511627776>;
/// A list of up to 2²⁷.
pub type Pending<T> = List<T, typenum::U134217728>;

/// Declares the state, and the list of its fields' roots in the same order.
macro_rules! state {
    ($($(#[$fmeta:meta])* $field:ident: $ty:ty,)*) => {
        /// The beacon state. Its trees are persistent: a clone is cheap and shares them, and a root
        /// hashes only what changed since the last one.
        ///
        /// Changes to a list are pending until [`BeaconState::apply`]; [`BeaconState::canonical_root`]
        /// does that itself.
        #[derive(Clone, Debug, PartialEq, ssz_derive::Encode, ssz_derive::Decode)]
        pub struct BeaconState { $($(#[$fmeta])* pub $field: $ty,)* }

        /// The state's fields in the order of the specification.
        pub const FIELDS: &[&str] = &[$(stringify!($field)),*];

        impl BeaconState {
            /// The root of each field, in order. Applies pending changes.
            ///
            /// # Errors
            /// As [`Self::apply`].
            pub fn field_roots(&mut self) -> Result<Vec<B256>, BeaconError> {
                self.apply()?;
                Ok(vec![$(self.$field.tree_hash_root()),*])
            }
        }
    };
}

state! {
    /// Unix seconds of slot 0.
    genesis_time: u64,
    /// Root of the validators at genesis.
    genesis_validators_root: B256,
    /// The slot that the state is at.
    slot: Slot,
    /// Fork versions.
    fork: Fork,
    /// The last block's header; its state root is zero until the next slot.
    latest_block_header: BeaconBlockHeader,
    /// Recent block roots.
    block_roots: Roots,
    /// Recent state roots.
    state_roots: Roots,
    /// Frozen since Capella.
    historical_roots: List<B256, typenum::U16777216>,
    /// Vote that won.
    eth1_data: Eth1Data,
    /// Votes of this period.
    eth1_data_votes: List<Eth1Data, typenum::U2048>,
    /// Deposits processed from the contract's tree.
    eth1_deposit_index: u64,
    /// The registry.
    validators: Validators,
    /// Balances.
    balances: Balances,
    /// RANDAO mixes by epoch.
    randao_mixes: Vector<B256, typenum::U65536>,
    /// Slashed balance by epoch.
    slashings: Vector<Gwei, typenum::U8192>,
    /// Participation flags of the last epoch.
    previous_epoch_participation: PerValidator<u8>,
    /// Participation flags of this epoch.
    current_epoch_participation: PerValidator<u8>,
    /// Which of the last four epochs were justified.
    justification_bits: BitVector<typenum::U4>,
    /// Justified before.
    previous_justified_checkpoint: Checkpoint,
    /// Justified now.
    current_justified_checkpoint: Checkpoint,
    /// Finalised.
    finalized_checkpoint: Checkpoint,
    /// Inactivity scores.
    inactivity_scores: PerValidator<u64>,
    /// This period's sync committee.
    current_sync_committee: SyncCommittee,
    /// The next one's.
    next_sync_committee: SyncCommittee,
    /// Header of the last execution payload.
    latest_execution_payload_header: ExecutionPayloadHeader,
    /// Running number of the next withdrawal.
    next_withdrawal_index: u64,
    /// Where the sweep goes on.
    next_withdrawal_validator_index: ValidatorIndex,
    /// Summaries since Capella.
    historical_summaries: List<HistoricalSummary, typenum::U16777216>,
    /// First deposit request's number (EIP-6110).
    deposit_requests_start_index: u64,
    /// Left over from last epoch's deposits.
    deposit_balance_to_consume: Gwei,
    /// Left over in this epoch's exits.
    exit_balance_to_consume: Gwei,
    /// Where exits are queued.
    earliest_exit_epoch: Epoch,
    /// Left over in this epoch's consolidations.
    consolidation_balance_to_consume: Gwei,
    /// Where consolidations are queued.
    earliest_consolidation_epoch: Epoch,
    /// Deposits that wait.
    pending_deposits: Pending<PendingDeposit>,
    /// Partial withdrawals that wait.
    pending_partial_withdrawals: Pending<PendingPartialWithdrawal>,
    /// Consolidations that wait.
    pending_consolidations: List<PendingConsolidation, typenum::U262144>,
    /// Proposers of this epoch and the next (EIP-7917).
    proposer_lookahead: Vector<ValidatorIndex, typenum::U64>,
}

/// Depth of the tree of the state's fields: 38 of them.
pub(crate) const FIELD_DEPTH: usize = 6;
impl BeaconState {
    /// Decodes a whole state.
    ///
    /// # Errors
    /// As [`crate::decode`].
    pub fn from_ssz(bytes: &[u8]) -> Result<Self, BeaconError> {
        crate::decode(bytes, crate::MAX_STATE_BYTES)
    }

    /// Writes pending changes of the lists into their trees.
    ///
    /// # Errors
    /// [`BeaconError::Tree`] if a tree refuses one, which only a change past a list's limit makes it do.
    pub fn apply(&mut self) -> Result<(), BeaconError> {
        fn done(r: Result<(), milhouse::Error>) -> Result<(), BeaconError> {
            r.map_err(|e| BeaconError::Tree(format!("{e:?}")))
        }
        done(self.block_roots.apply_updates())?;
        done(self.state_roots.apply_updates())?;
        done(self.historical_roots.apply_updates())?;
        done(self.eth1_data_votes.apply_updates())?;
        done(self.validators.apply_updates())?;
        done(self.balances.apply_updates())?;
        done(self.randao_mixes.apply_updates())?;
        done(self.slashings.apply_updates())?;
        done(self.previous_epoch_participation.apply_updates())?;
        done(self.current_epoch_participation.apply_updates())?;
        done(self.inactivity_scores.apply_updates())?;
        done(self.current_sync_committee.pubkeys.apply_updates())?;
        done(self.next_sync_committee.pubkeys.apply_updates())?;
        done(self.historical_summaries.apply_updates())?;
        done(self.pending_deposits.apply_updates())?;
        done(self.pending_partial_withdrawals.apply_updates())?;
        done(self.pending_consolidations.apply_updates())?;
        done(self.proposer_lookahead.apply_updates())
    }

    /// The state root.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn canonical_root(&mut self) -> Result<B256, BeaconError> {
        let roots = self.field_roots()?;
        Ok(tree_hash::merkle_root(&roots.concat(), 1 << FIELD_DEPTH))
    }
}

/// Withdrawal credentials of an execution address: `0x01` (balance above 32 ETH is swept) or `0x02`
/// (compounding).
pub fn execution_credentials(prefix: u8, address: Address) -> B256 {
    let mut c = B256::ZERO;
    c[0] = prefix;
    c[12..].copy_from_slice(address.as_slice());
    c
}
