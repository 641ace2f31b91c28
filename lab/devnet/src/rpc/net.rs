//! Who this is.

use super::{Rpc, answer::quick};
use alloy_eips::{eip2124::ForkHash, eip2935, eip4788, eip7002, eip7251};
use alloy_primitives::{Address, Bytes, U64, U256, keccak256};
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use serde_json::{Map, Value, json};

pub(super) fn register(m: &mut RpcModule<Rpc>) -> Result<(), RegisterMethodError> {
    quick(m, "eth_chainId", |rpc, _| Ok(U64::from(rpc.execution.spec().chain_id)))?;
    quick(m, "net_version", |rpc, _| Ok(rpc.execution.spec().chain_id.to_string()))?;
    quick(m, "net_listening", |_, _| Ok(false))?;
    quick(m, "net_peerCount", |_, _| Ok(U64::ZERO))?;
    quick(m, "web3_clientVersion", |_, _| Ok(client_version()))?;
    quick(m, "web3_sha3", |_, args| {
        let bytes: alloy_primitives::Bytes = args.next()?;
        Ok(keccak256(bytes))
    })?;
    quick(m, "eth_syncing", |_, _| Ok(false))?;
    quick(m, "rpc_modules", |_, _| {
        Ok(
            json!({"admin": "1.0", "debug": "1.0", "eth": "1.0", "net": "1.0", "testing": "1.0", "txpool": "1.0", "web3": "1.0"}),
        )
    })?;
    quick(m, "admin_nodeInfo", |rpc, _| {
        let head = rpc.execution.head();
        Ok(json!({
            "name": client_version(),
            "protocols": { "eth": {
                "network": rpc.execution.spec().chain_id,
                "genesis": rpc.execution.genesis().hash,
                "head": head.hash,
                "config": rpc.execution.genesis_json().config,
            }},
        }))
    })?;
    quick(m, "admin_peers", |_, _| Ok(json!([])))?;
    quick(m, "eth_config", |rpc, args| {
        args.end()?;
        Ok(config(rpc))
    })
}

/// The names of EIP-7910, in the order of the addresses 1 to 17.
const PRECOMPILES: [&str; 17] = [
    "ECREC",
    "SHA256",
    "RIPEMD160",
    "ID",
    "MODEXP",
    "BN254_ADD",
    "BN254_MUL",
    "BN254_PAIRING",
    "BLAKE2F",
    "KZG_POINT_EVALUATION",
    "BLS12_G1ADD",
    "BLS12_G1MSM",
    "BLS12_G2ADD",
    "BLS12_G2MSM",
    "BLS12_PAIRING_CHECK",
    "BLS12_MAP_FP_TO_G1",
    "BLS12_MAP_FP2_TO_G2",
];

/// EIP-7910. All forks are at genesis, so there is no next one, and the fork's id is the genesis' alone.
fn config(rpc: &Rpc) -> Value {
    let spec = rpc.execution.spec();
    let numbered = (1u8..).zip(PRECOMPILES).map(|(n, name)| (name.to_owned(), json!(Address::with_last_byte(n))));
    let mut precompiles: Map<String, Value> = numbered.collect();
    precompiles.insert("P256VERIFY".to_owned(), json!(Address::from_word(U256::from(0x100).into())));
    let mut contracts = Map::from_iter([
        ("BEACON_ROOTS_ADDRESS".to_owned(), json!(eip4788::BEACON_ROOTS_ADDRESS)),
        ("CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS".to_owned(), json!(eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS)),
        ("HISTORY_STORAGE_ADDRESS".to_owned(), json!(eip2935::HISTORY_STORAGE_ADDRESS)),
        ("WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS".to_owned(), json!(eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS)),
    ]);
    if let Some(deposit) = spec.deposit_contract {
        contracts.insert("DEPOSIT_CONTRACT_ADDRESS".to_owned(), json!(deposit));
    }
    json!({
        "current": {
            "activationTime": 0,
            "blobSchedule": {
                "target": spec.blobs.target_blob_count,
                "max": spec.blobs.max_blob_count,
                "baseFeeUpdateFraction": u64::try_from(spec.blobs.update_fraction).unwrap_or(u64::MAX),
            },
            "chainId": U64::from(spec.chain_id),
            "forkId": Bytes::from(ForkHash::from(rpc.execution.genesis().hash).0),
            "precompiles": precompiles,
            "systemContracts": contracts,
        },
        "next": null,
        "last": null,
    })
}

/// The client's name, which says that the chain is simulated.
fn client_version() -> String {
    format!("tandem-devnet/v{}/rust (simulated chain)", env!("CARGO_PKG_VERSION"))
}
