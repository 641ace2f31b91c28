//! `tandem_fees`: what a plain transfer must offer to be promised, for wallets that ask an Ethereum node for
//! fees and know nothing of promises. The gateway puts it into what such wallets ask for.

use crate::{
    admit, ask,
    config::PreconfConfig,
    price::{Pricing, Taken, price},
};
use alloy_primitives::U256;
use serde_json::json;
use tandem_module::{Context, Refusal, Reply, Room};

/// A plain transfer of whoever has no deposit. It is shorter than this, with the longest numbers there are.
const TRANSFER: Taken = Taken { gas: 21_000, bytes: 128, deposited: false };

/// Slots that are looked at: the first may close before the wallet has signed.
const SLOTS: usize = 2;

/// Whether a slot has room for it.
const fn fits(r: &Room) -> bool {
    r.gas >= TRANSFER.gas
        && r.unsecured_gas >= TRANSFER.gas
        && r.bytes >= TRANSFER.bytes
        && r.unsecured_bytes >= TRANSFER.bytes
        && r.count >= 1
        && r.unsecured_count >= 1
}

/// What a tip must be more than the price's, so that the least cap that wallets make by themselves holds in the
/// worst case: viem's is 1.2 times the head's base fee and the tip. Nothing where the worst is more than 2.5 times
/// the head's: such a wallet would pay far more than the price, for the whole of a tip is paid where the base fee
/// does not grow.
const fn shortfall(head: u128, worst: u128) -> u128 {
    let made_up = head.saturating_mul(2).saturating_add(head / 2);
    if worst > made_up { 0 } else { worst.saturating_sub(head.saturating_add(head / 5)) }
}

/// The tip and the fee cap with which a plain transfer is promised in either of the next two open slots that
/// have room. An eighth is added to the tip, since others are promised while the wallet signs; and for the first
/// of the slots what a wallet's own cap would lack.
///
/// # Errors
/// Why no slot is open, `slot-full` where none has room, and what the ports refuse.
pub(crate) async fn fees(cx: &Context, config: &PreconfConfig, curve: &dyn Pricing) -> Result<Reply, Refusal> {
    let now = cx.clock.now_ms();
    let open: Vec<_> = cx.slots.open().into_iter().filter(|s| !admit::is_closing(s, config, now)).collect();
    if open.is_empty() {
        return Err(cx.slots.why_closed(None));
    }
    let head = cx.state.headers().await?.first().map_or(0, |h| u128::from(h.base_fee));
    let (mut slot, mut tip, mut made_up, mut base) = (None, U256::ZERO, U256::ZERO, 0);
    for served in open.iter().filter(|s| fits(&s.room)).take(SLOTS) {
        let worst = admit::worst(cx, served.key.slot).await?;
        let asked = price(curve, &served.room, worst.block_gas, &served.opening, &TRANSFER, config.min_tip);
        let Some(asked) = asked else { continue };
        let asked = asked.div_ceil(U256::from(TRANSFER.gas));
        let asked = asked.saturating_add(asked.div_ceil(U256::from(8)));
        if slot.is_none() {
            slot = Some(served.key.slot.get());
            made_up = asked.saturating_add(U256::from(shortfall(head, worst.base_fee)));
        }
        tip = tip.max(asked);
        base = base.max(worst.base_fee);
    }
    let slot = slot.ok_or_else(|| Refusal::new("slot-full", "no open slot has room for a plain transfer"))?;
    // Who takes the cap from here needs no more of a tip than the price.
    let cap = tip.saturating_add(U256::from(base));
    ask::json(&json!({
        "slot": slot,
        "max_priority_fee_per_gas": tip.max(made_up).to_string(),
        "max_fee_per_gas": cap.to_string(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tip_makes_up_for_what_a_wallets_cap_lacks_unless_the_slot_is_far() {
        assert_eq!(shortfall(1_000, 1_100), 0, "1.2 times the head's base fee is enough");
        assert_eq!((shortfall(1_000, 1_201), shortfall(1_000, 2_500)), (1, 1_300));
        assert_eq!(shortfall(1_000, 2_501), 0);
        // viem rounds its own down, too.
        assert_eq!(shortfall(7, 9), 1);
        assert_eq!((shortfall(0, 2), shortfall(u128::MAX, u128::MAX)), (0, 0));
    }
}
