//! Who this is.

use super::{Rpc, answer::quick};
use alloy_primitives::{U64, keccak256};
use jsonrpsee::core::{RegisterMethodError, server::RpcModule};
use serde_json::json;

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
    quick(m, "admin_peers", |_, _| Ok(json!([])))
}

/// The client's name, which says that the chain is simulated.
fn client_version() -> String {
    format!("tandem-devnet/v{}/rust (simulated chain)", env!("CARGO_PKG_VERSION"))
}
