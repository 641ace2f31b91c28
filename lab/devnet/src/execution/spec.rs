//! What Osaka allows.

use alloy_consensus::Header;
use alloy_eips::{eip7594::MAX_BLOBS_PER_TX_FUSAKA, eip7840::BlobParams};
use alloy_evm::{EvmEnv, eth::spec::EthExecutorSpec};
use alloy_genesis::Genesis;
use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::{Address, U256};

/// Largest RLP of a block: 10 MiB less a margin of 2 MiB for the beacon block (EIP-7934).
pub const MAX_BLOCK_RLP: usize = 8 * 1024 * 1024;

/// Osaka from the first block on, with one blob schedule that does not change.
///
/// The devnet's own schedule is the one that mainnet has since BPO2: target 14 and at most 21 blobs a
/// block, update fraction 11,684,671, at most 6 a transaction (EIP-7594), with the reserve price of
/// EIP-7918. A chain made from a genesis file has that file's schedule for Osaka.
#[derive(Clone, Debug)]
pub struct OsakaSpec {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Whose logs are deposit requests (EIP-6110).
    pub deposit_contract: Option<Address>,
    /// The blob schedule.
    pub blobs: BlobParams,
}

impl OsakaSpec {
    /// The rules that a genesis file states, for its newest blob schedule at the genesis time.
    pub fn from_genesis(genesis: &Genesis) -> Self {
        let config = &genesis.config;
        let active = |time: Option<u64>| time.is_some_and(|t| t <= genesis.timestamp);
        let bpos = [(config.bpo2_time, "bpo2", BlobParams::bpo2()), (config.bpo1_time, "bpo1", BlobParams::bpo1())];
        let named = |name: &str| config.blob_schedule.get(name).copied();
        let blobs = bpos
            .into_iter()
            .find(|(time, ..)| active(*time))
            .map(|(_, name, default)| named(name).unwrap_or(default))
            .or_else(|| named("osaka"))
            .unwrap_or(BlobParams::osaka());
        let blobs = blobs
            .with_max_blobs_per_tx(MAX_BLOBS_PER_TX_FUSAKA)
            .with_blob_base_cost(BlobParams::osaka().blob_base_cost);
        let deposit_contract = config.deposit_contract_address.filter(|a| !a.is_zero());
        Self { chain_id: config.chain_id, deposit_contract, blobs }
    }

    /// The environment in which a block with this header runs.
    pub fn env(&self, header: &Header) -> EvmEnv {
        EvmEnv::for_eth_block(header, self, self.chain_id, Some(self.blobs))
    }

    /// The base fee of a child (EIP-1559).
    pub fn next_base_fee(&self, parent: &Header) -> u64 {
        parent.next_block_base_fee(alloy_eips::eip1559::BaseFeeParams::ethereum()).unwrap_or_default()
    }

    /// The excess blob gas of a child (EIP-4844, EIP-7918).
    pub fn next_excess_blob_gas(&self, parent: &Header) -> u64 {
        self.blobs.next_block_excess_blob_gas_osaka(
            parent.excess_blob_gas.unwrap_or_default(),
            parent.blob_gas_used.unwrap_or_default(),
            parent.base_fee_per_gas.unwrap_or_default(),
        )
    }

    /// Wei per blob gas in a block.
    pub fn blob_fee(&self, header: &Header) -> u128 {
        self.blobs.calc_blob_fee(header.excess_blob_gas.unwrap_or_default())
    }
}

impl EthereumHardforks for OsakaSpec {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        match fork {
            EthereumHardfork::Dao => ForkCondition::Never,
            f if f > EthereumHardfork::Osaka => ForkCondition::Never,
            EthereumHardfork::Paris => {
                ForkCondition::TTD { activation_block_number: 0, fork_block: Some(0), total_difficulty: U256::ZERO }
            }
            f if f < EthereumHardfork::Paris => ForkCondition::Block(0),
            _ => ForkCondition::Timestamp(0),
        }
    }
}

impl EthExecutorSpec for OsakaSpec {
    fn deposit_contract_address(&self) -> Option<Address> {
        self.deposit_contract
    }
}
