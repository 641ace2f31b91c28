//! The mainnet preset's constants that the transition uses (consensus-specs, phase 0 to Fulu), and the
//! devnet's own fork versions.

use serde::{Deserialize, Serialize};
use tandem_types::Epoch;

/// How fast validators come, go and merge. Mainnet's values are [`Churn::MAINNET`]; with them a chain of
/// less than about 16.8 million ETH has no churn for consolidations at all, so the devnet's are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Churn {
    /// Smallest churn an epoch, in gwei (`MIN_PER_EPOCH_CHURN_LIMIT_ELECTRA`). DEFAULT: 256 ETH.
    pub min_per_epoch: u64,
    /// Most of it that activations and exits use, in gwei (`MAX_PER_EPOCH_ACTIVATION_EXIT_CHURN_LIMIT`);
    /// the rest is for consolidations. DEFAULT: 128 ETH.
    pub max_activation_exit: u64,
    /// The total balance is divided by this for the churn (`CHURN_LIMIT_QUOTIENT`). DEFAULT: 65,536, as
    /// mainnet.
    pub quotient: u64,
    /// Epochs from exit to withdrawability (`MIN_VALIDATOR_WITHDRAWABILITY_DELAY`). DEFAULT: 256, as
    /// mainnet.
    pub withdrawability_delay: u64,
}

impl Churn {
    /// Mainnet's.
    pub const MAINNET: Self = Self {
        min_per_epoch: 128_000_000_000,
        max_activation_exit: 256_000_000_000,
        quotient: 65_536,
        withdrawability_delay: 256,
    };
}

impl Default for Churn {
    fn default() -> Self {
        Self { min_per_epoch: 256_000_000_000, max_activation_exit: 128_000_000_000, ..Self::MAINNET }
    }
}

/// Slots in the ring of block and state roots (`SLOTS_PER_HISTORICAL_ROOT`): 27 hours of mainnet.
pub const SLOTS_PER_HISTORICAL_ROOT: u64 = 8192;
/// Epochs in the ring of RANDAO mixes.
pub const EPOCHS_PER_HISTORICAL_VECTOR: u64 = 65_536;
/// A seed is taken this many epochs before it is used.
pub const MIN_SEED_LOOKAHEAD: u64 = 1;
/// Entering and leaving the active set take this many epochs more.
pub const MAX_SEED_LOOKAHEAD: u64 = 4;
/// Rounds of the shuffle.
pub const SHUFFLE_ROUND_COUNT: u8 = 90;
/// Gwei steps of an effective balance.
pub const EFFECTIVE_BALANCE_INCREMENT: u64 = 1_000_000_000;
/// Gwei that activate a validator, and the effective balance's cap under 0x01 credentials.
pub const MIN_ACTIVATION_BALANCE: u64 = 32_000_000_000;
/// The effective balance's cap under 0x02 credentials, in gwei.
pub const MAX_EFFECTIVE_BALANCE_ELECTRA: u64 = 2_048_000_000_000;
/// Effective gwei at which a validator is ejected.
pub const EJECTION_BALANCE: u64 = 16_000_000_000;
/// Withdrawals a payload.
pub const MAX_WITHDRAWALS_PER_PAYLOAD: usize = 16;
/// Queued partial withdrawals that one payload takes.
pub const MAX_PENDING_PARTIALS_PER_SWEEP: usize = 8;
/// Validators that one sweep looks at.
pub const MAX_VALIDATORS_PER_SWEEP: u64 = 16_384;
/// Deposits an epoch.
pub const MAX_PENDING_DEPOSITS_PER_EPOCH: usize = 16;
/// Length of the queue of partial withdrawals.
pub const PENDING_PARTIAL_WITHDRAWALS_LIMIT: usize = 1 << 27;
/// Length of the queue of consolidations.
pub const PENDING_CONSOLIDATIONS_LIMIT: usize = 1 << 18;
/// `deposit_requests_start_index` before the first request.
pub const UNSET_DEPOSIT_REQUESTS_START_INDEX: u64 = u64::MAX;

/// Domain of block signatures.
pub const DOMAIN_BEACON_PROPOSER: [u8; 4] = [0, 0, 0, 0];
/// Domain of RANDAO reveals.
pub const DOMAIN_RANDAO: [u8; 4] = [2, 0, 0, 0];
/// Domain of deposits, over the genesis fork version and a zero root.
pub const DOMAIN_DEPOSIT: [u8; 4] = [3, 0, 0, 0];
/// Domain of voluntary exits, over Capella's version for ever (EIP-7044).
pub const DOMAIN_VOLUNTARY_EXIT: [u8; 4] = [4, 0, 0, 0];

/// Fork versions of the devnet, phase 0 to Fulu; all forks are at epoch 0. The first bytes spell "tdm".
pub const FORK_VERSIONS: [[u8; 4]; 7] =
    [*b"tdm\x00", *b"tdm\x01", *b"tdm\x02", *b"tdm\x03", *b"tdm\x04", *b"tdm\x05", *b"tdm\x06"];
/// Names of the forks of [`FORK_VERSIONS`].
pub const FORK_NAMES: [&str; 7] = ["GENESIS", "ALTAIR", "BELLATRIX", "CAPELLA", "DENEB", "ELECTRA", "FULU"];
/// The genesis fork version: it goes into the builder and the Commit-Boost domain.
pub const GENESIS_FORK_VERSION: [u8; 4] = FORK_VERSIONS[0];
/// Capella's: voluntary exits are signed under it.
pub const CAPELLA_FORK_VERSION: [u8; 4] = FORK_VERSIONS[3];
/// Electra's: the state's previous version.
pub const ELECTRA_FORK_VERSION: [u8; 4] = FORK_VERSIONS[5];
/// Fulu's: blocks are signed under it.
pub const FULU_FORK_VERSION: [u8; 4] = FORK_VERSIONS[6];

/// When something takes effect that is decided in `epoch` (`compute_activation_exit_epoch`).
pub const fn activation_exit_epoch(epoch: Epoch) -> Epoch {
    epoch.saturating_add(1 + MAX_SEED_LOOKAHEAD)
}
