//! Fee spikes: transactions that burn all their gas, offered each slot, so that blocks are full
//! whoever builds them and the base fee rises by an eighth a block.

use super::wallet::{self, Ask, SPIKE_ACCOUNTS};
use crate::node::Node;
use alloy_primitives::{Bytes, TxKind, U256};

/// The tip that gas burners pay: above what most pay, so that they are taken first.
pub(super) const TIP_GWEI: u64 = 20;
/// The most that may be asked for: what an account burns in a block is then 1,700 ETH, and it has ten
/// million. The pool takes nothing that pays no tip.
pub(super) const MAX_TIP_GWEI: u64 = 100_000;
/// Most gas of a transaction (EIP-7825).
const MAX_TX_GAS: u64 = 1 << 24;
/// A creation that loops until its gas is used up: JUMPDEST, PUSH1 0, JUMP.
const LOOP: [u8; 4] = [0x5b, 0x60, 0x00, 0x56];

/// Offers the next block's fill, if a spike was ordered for it.
pub(crate) fn keep_spiking(node: &Node) {
    let next = node.chain.head().slot().saturating_add(1);
    let Some(tip_gwei) = node.trouble.spikes(next) else { return };
    let mut left = node.chain.execution().head().header().gas_limit;
    for account in 0..SPIKE_ACCOUNTS - 1 {
        let gas_limit = left.min(MAX_TX_GAS);
        if gas_limit < 100_000 {
            break;
        }
        left -= gas_limit;
        let ask = Ask {
            account,
            to: TxKind::Create,
            value: U256::ZERO,
            gas_limit,
            input: Bytes::from_static(&LOOP),
            tip: u128::from(tip_gwei) * 1_000_000_000,
        };
        if let Err(e) = wallet::send(node, ask) {
            tracing::warn!(account, error = e, "a fee spike's transaction was not taken");
        }
    }
}
