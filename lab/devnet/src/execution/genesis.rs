//! Block 0.

use super::{Codes, ExecError, OsakaSpec};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header};
use alloy_eips::{
    eip1559::INITIAL_BASE_FEE, eip2935, eip4788, eip7002, eip7251, eip7685::EMPTY_REQUESTS_HASH, eip7840::BlobParams,
};
use alloy_genesis::{ChainConfig, Genesis, GenesisAccount};
use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use revm::state::Bytecode;
use serde::Deserialize;
use std::collections::BTreeMap;
use tandem_trie::{KECCAK_EMPTY, State};

/// Where the deposit contract is.
pub const DEPOSIT_CONTRACT: Address = address!("4242424242424242424242424242424242424242");

/// The deposit contract's code and the hashes of empty subtrees that its constructor stored, as in the
/// genesis of the Holesky testnet.
const DEPOSIT_CONTRACT_JSON: &str = include_str!("deposit-contract.json");

#[derive(Deserialize)]
struct Predeploy {
    code: Bytes,
    storage: BTreeMap<B256, B256>,
}

/// What a devnet's block 0 is made from.
#[derive(Clone, Debug)]
pub struct GenesisConfig {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Unix seconds of block 0.
    pub timestamp: u64,
    /// Gas limit of block 0, and the target until another is set.
    pub gas_limit: u64,
    /// Accounts beside the system contracts.
    pub alloc: BTreeMap<Address, GenesisAccount>,
    /// The blob schedule.
    pub blobs: BlobParams,
}

impl Default for GenesisConfig {
    fn default() -> Self {
        let rich =
            GenesisAccount::default().with_balance(U256::from(10_000_000u64) * U256::from(10u64).pow(U256::from(18)));
        Self {
            chain_id: 32_382,
            timestamp: 1_700_000_000,
            gas_limit: 60_000_000,
            alloc: super::DEV_ACCOUNTS.iter().map(|a| (a.address, rich.clone())).collect(),
            blobs: BlobParams::bpo2(),
        }
    }
}

impl GenesisConfig {
    /// The genesis file that starts another client on the same chain.
    ///
    /// # Errors
    /// [`ExecError::Genesis`] if a system contract is also in `alloc`.
    pub fn genesis(&self) -> Result<Genesis, ExecError> {
        let mut alloc = self.alloc.clone();
        for (address, account) in system_contracts()? {
            if alloc.insert(address, account).is_some() {
                return Err(ExecError::Genesis(format!("{address} is a system contract")));
            }
        }
        let osaka = BlobParams::osaka();
        let schedule = [("cancun", BlobParams::cancun()), ("prague", BlobParams::prague()), ("osaka", osaka)];
        let mut blob_schedule: BTreeMap<String, BlobParams> = schedule.map(|(n, p)| (n.to_owned(), p)).into();
        let after_osaka = self.blobs.max_blob_count != osaka.max_blob_count
            || self.blobs.target_blob_count != osaka.target_blob_count
            || self.blobs.update_fraction != osaka.update_fraction;
        let bpo_time = after_osaka.then_some(0);
        if after_osaka {
            // Both at genesis: the second one is in force from the first block on.
            blob_schedule.insert("bpo1".to_owned(), BlobParams::bpo1());
            blob_schedule.insert("bpo2".to_owned(), self.blobs);
        }
        let config = ChainConfig {
            chain_id: self.chain_id,
            homestead_block: Some(0),
            eip150_block: Some(0),
            eip155_block: Some(0),
            eip158_block: Some(0),
            byzantium_block: Some(0),
            constantinople_block: Some(0),
            petersburg_block: Some(0),
            istanbul_block: Some(0),
            berlin_block: Some(0),
            london_block: Some(0),
            merge_netsplit_block: Some(0),
            shanghai_time: Some(0),
            cancun_time: Some(0),
            prague_time: Some(0),
            osaka_time: Some(0),
            bpo1_time: bpo_time,
            bpo2_time: bpo_time,
            terminal_total_difficulty: Some(U256::ZERO),
            terminal_total_difficulty_passed: true,
            deposit_contract_address: Some(DEPOSIT_CONTRACT),
            blob_schedule,
            ..ChainConfig::default()
        };
        Ok(Genesis {
            config,
            timestamp: self.timestamp,
            gas_limit: self.gas_limit,
            difficulty: U256::ZERO,
            base_fee_per_gas: Some(u128::from(INITIAL_BASE_FEE)),
            excess_blob_gas: Some(0),
            blob_gas_used: Some(0),
            alloc,
            ..Genesis::default()
        })
    }
}

/// The contracts that blocks call, and the deposit contract.
fn system_contracts() -> Result<BTreeMap<Address, GenesisAccount>, ExecError> {
    let deposit: Predeploy =
        serde_json::from_str(DEPOSIT_CONTRACT_JSON).map_err(|e| ExecError::Genesis(e.to_string()))?;
    let system = |code: &Bytes| GenesisAccount::default().with_nonce(Some(1)).with_code(Some(code.clone()));
    Ok(BTreeMap::from([
        (eip4788::BEACON_ROOTS_ADDRESS, system(&eip4788::BEACON_ROOTS_CODE)),
        (eip2935::HISTORY_STORAGE_ADDRESS, system(&eip2935::HISTORY_STORAGE_CODE)),
        (eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, system(&eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE)),
        (eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, system(&eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE)),
        (DEPOSIT_CONTRACT, GenesisAccount::default().with_code(Some(deposit.code)).with_storage(Some(deposit.storage))),
    ]))
}

/// The header and state of a genesis file.
///
/// # Errors
/// [`ExecError`] if the trie fails, which a full one does not.
pub(crate) fn block_zero(genesis: &Genesis, codes: &Codes) -> Result<(Header, State), ExecError> {
    let mut state = State::default();
    for (address, from) in &genesis.alloc {
        let code_hash = from.code.as_ref().filter(|c| !c.is_empty()).map_or(KECCAK_EMPTY, |code| {
            let hash = keccak256(code);
            codes.insert(hash, Bytecode::new_raw(code.clone()));
            hash
        });
        let slots: Vec<_> = from.storage.iter().flatten().map(|(k, v)| (*k, U256::from_be_bytes(v.0))).collect();
        let mut account = tandem_trie::Account::default();
        (account.nonce, account.balance, account.code_hash) = (from.nonce.unwrap_or_default(), from.balance, code_hash);
        account.set_slots(slots).map_err(|e| ExecError::Genesis(e.to_string()))?;
        state.put(*address, account).map_err(|e| ExecError::Genesis(e.to_string()))?;
    }
    let header = Header {
        parent_hash: genesis.parent_hash.unwrap_or_default(),
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: genesis.coinbase,
        state_root: state.root(),
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        difficulty: genesis.difficulty,
        number: genesis.number.unwrap_or_default(),
        gas_limit: genesis.gas_limit,
        timestamp: genesis.timestamp,
        extra_data: genesis.extra_data.clone(),
        mix_hash: genesis.mix_hash,
        nonce: genesis.nonce.into(),
        base_fee_per_gas: Some(genesis.base_fee_per_gas.and_then(|f| f.try_into().ok()).unwrap_or(INITIAL_BASE_FEE)),
        withdrawals_root: Some(EMPTY_ROOT_HASH),
        blob_gas_used: Some(genesis.blob_gas_used.unwrap_or_default()),
        excess_blob_gas: Some(genesis.excess_blob_gas.unwrap_or_default()),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    };
    Ok((header, state))
}

/// The rules of a genesis file, which must have Osaka at its start and no change of rules after it.
///
/// # Errors
/// [`ExecError::Genesis`] that names the fork.
pub(crate) fn rules(genesis: &Genesis) -> Result<OsakaSpec, ExecError> {
    let of = &genesis.config;
    let at_start = |time: Option<u64>| time.is_some_and(|t| t <= genesis.timestamp);
    if !at_start(of.osaka_time) {
        return Err(ExecError::Genesis("osakaTime: Osaka must be active at block 0".to_owned()));
    }
    // What the devnet does not do it must not silently leave out either: its blocks would be refused by a
    // client that keeps to the file.
    for (name, time) in [("bpo1Time", of.bpo1_time), ("bpo2Time", of.bpo2_time)] {
        if time.is_some() && !at_start(time) {
            return Err(ExecError::Genesis(format!(
                "{name}: the devnet's blob schedule does not change after block 0"
            )));
        }
    }
    let later = [
        ("bpo3Time", of.bpo3_time),
        ("bpo4Time", of.bpo4_time),
        ("bpo5Time", of.bpo5_time),
        ("amsterdamTime", of.amsterdam_time),
        ("bogotaTime", of.bogota_time),
    ];
    if let Some((name, _)) = later.iter().find(|(_, time)| time.is_some()) {
        return Err(ExecError::Genesis(format!("{name}: the devnet knows no fork after BPO2")));
    }
    Ok(OsakaSpec::from_genesis(genesis))
}
