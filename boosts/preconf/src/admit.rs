//! Whether a promise can be made: each refusal a stable code, a sentence, and what would be accepted.

use crate::{
    ask::Ask,
    config::PreconfConfig,
    fees::{self, Base},
    price::{Pricing, price},
};
use alloy_primitives::{Address, U256};
use serde_json::json;
use tandem_module::{Account, Context, Pledge, Refusal, ServedSlot, TxReport};
use tandem_types::{Slot, body::TxFacts};

/// Nonces of one sender that may wait in a row: more are a queue, not a promise.
const MAX_CHAIN: u64 = 256;

/// The worst that the target block may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worst {
    /// Base fee in wei per gas.
    pub base_fee: u128,
    /// Blob base fee in wei per blob gas.
    pub blob_fee: u128,
    /// The head's gas limit.
    pub block_gas: u64,
}

/// What a transaction is priced at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priced {
    /// The price in wei.
    pub price: U256,
    /// The tip in wei per gas that covers it, over the gas that is certain to be used.
    pub tip_per_gas: U256,
}

/// Refuses slashers that are not on the operator's list, before anything is priced.
///
/// # Errors
/// `slasher-unknown`, `slasher-changed`.
pub async fn slasher(cx: &Context, config: &PreconfConfig, slasher: Address) -> Result<(), Refusal> {
    if slasher == Address::ZERO {
        return Ok(());
    }
    let listed: Vec<_> = config.slashers.iter().filter(|s| s.chain_id == cx.chain.chain_id).collect();
    let allowed: Vec<_> = listed.iter().map(|s| s.address).collect();
    let Some(entry) = listed.iter().find(|s| s.address == slasher) else {
        let why = format!("{slasher} is not a slasher that this operator accepts");
        return Err(
            Refusal::new("slasher-unknown", why).accepting(json!({ "slasher": allowed, "unbacked": Address::ZERO }))
        );
    };
    if cx.state.code_hash(slasher).await? != entry.code_hash {
        return Err(Refusal::new(
            "slasher-changed",
            format!("{slasher} does not have the code that this operator accepted"),
        ));
    }
    Ok(())
}

/// The served slot, if a promise can still be made for it.
///
/// # Errors
/// What the house says about a slot that is not open; `slot-closing` within the margin.
pub fn open_slot(cx: &Context, config: &PreconfConfig, slot: Slot) -> Result<ServedSlot, Refusal> {
    let found =
        cx.slots.open().into_iter().find(|s| s.key.slot == slot).ok_or_else(|| cx.slots.why_closed(Some(slot)))?;
    if is_closing(&found, config, cx.clock.now_ms()) {
        let why = format!("slot {slot} takes no more promises: its cut-off is too near");
        let next = cx.slots.open().into_iter().find(|s| s.key.slot > slot).map(|s| s.key.slot.get());
        return Err(Refusal::new("slot-closing", why).accepting(json!({ "slot": next })));
    }
    Ok(found)
}

/// Whether a slot's cut-off is too near.
pub fn is_closing(slot: &ServedSlot, config: &PreconfConfig, now_ms: u64) -> bool {
    now_ms.saturating_add(config.cutoff_margin_ms) >= slot.cutoff_ms
}

/// The worst fees of a slot.
///
/// # Errors
/// `not-synced`, `slot-past`.
pub async fn worst(cx: &Context, slot: Slot) -> Result<Worst, Refusal> {
    let headers = cx.state.headers().await?;
    let base: Base = fees::base(&headers, &cx.chain.clock, slot)?;
    let at = |t| cx.state.blob_params(t);
    let blob_fee = base.worst_blob_fee(at(base.header.timestamp), at(cx.chain.clock.timestamp(slot)));
    let block_gas = headers.first().map_or(0, |h| h.gas_limit);
    Ok(Worst { base_fee: base.worst_base_fee(), blob_fee, block_gas })
}

/// Whether the slot has room for a transaction.
///
/// # Errors
/// `slot-full`, with what is left.
pub fn room(slot: &ServedSlot, f: &TxFacts, deposited: bool) -> Result<(), Refusal> {
    let r = &slot.room;
    let left = |what: &str, have: u64, want: u64| {
        let why = format!("slot {} has {have} {what} left, the transaction takes {want}", slot.key.slot);
        Err(Refusal::new("slot-full", why).accepting(json!({ what: have })))
    };
    let (size, blobs) = (f.size as u64, f.blob_hashes.len() as u64);
    // Whichever pool ends first ends the slot, so that senders without a deposit have their share of each.
    let all = [
        ("promises", r.count, r.unsecured_count, 1),
        ("gas", r.gas, r.unsecured_gas, f.gas_limit),
        ("blobs", r.blobs, r.unsecured_blobs, blobs),
        ("bytes", r.bytes, r.unsecured_bytes, size),
    ];
    for (what, have, unsecured, want) in all {
        if want > have {
            return left(what, have, want);
        }
        if !deposited && want > unsecured {
            return left(&format!("{what} for senders without a deposit"), unsecured, want);
        }
    }
    Ok(())
}

/// Whether the fee caps hold in the worst case.
///
/// # Errors
/// `fee-too-low`, `blob-fee-too-low`.
pub fn fees(slot: Slot, f: &TxFacts, w: &Worst) -> Result<(), Refusal> {
    if f.max_fee_per_gas < w.base_fee {
        let why = format!(
            "the base fee may grow to {} wei until slot {slot}, the transaction pays at most {}",
            w.base_fee, f.max_fee_per_gas
        );
        return Err(Refusal::new("fee-too-low", why).accepting(json!({ "max_fee_per_gas": w.base_fee.to_string() })));
    }
    if !f.blob_hashes.is_empty() && f.max_fee_per_blob_gas < w.blob_fee {
        let why = format!(
            "the blob base fee may grow to {} wei until slot {slot}, the transaction pays at most {}",
            w.blob_fee, f.max_fee_per_blob_gas
        );
        return Err(
            Refusal::new("blob-fee-too-low", why).accepting(json!({ "max_fee_per_blob_gas": w.blob_fee.to_string() }))
        );
    }
    Ok(())
}

/// The price of a transaction in a slot now.
///
/// # Errors
/// `slot-full`.
pub fn priced(curve: &dyn Pricing, slot: &ServedSlot, tx: &TxReport, w: &Worst, min_tip: u64) -> Result<U256, Refusal> {
    let gas = tx.facts.gas_limit;
    price(curve, &slot.room, w.block_gas, &slot.opening, gas, min_tip).ok_or_else(|| {
        let why = format!("slot {} has {} gas left, the transaction takes {gas}", slot.key.slot, slot.room.gas);
        Refusal::new("slot-full", why).accepting(json!({ "gas": slot.room.gas }))
    })
}

/// The tip per gas that covers a price by the gas that is certain to be used.
pub fn tip_for(price: U256, tx: &TxReport) -> U256 {
    price.div_ceil(U256::from(tx.min_gas.max(1)))
}

/// Whether the tip that is left in the worst case covers the price.
///
/// # Errors
/// `tip-too-low`, with the tip and the fee cap that would do.
pub fn tip(price: U256, tx: &TxReport, w: &Worst) -> Result<(), Refusal> {
    let f = &tx.facts;
    let tip = f.max_priority_fee_per_gas.min(f.max_fee_per_gas.saturating_sub(w.base_fee));
    if U256::from(tip).saturating_mul(U256::from(tx.min_gas)) >= price {
        return Ok(());
    }
    let need = tip_for(price, tx);
    let cap = need.saturating_add(U256::from(w.base_fee));
    let why = format!(
        "the price is {price} wei: a tip of {need} wei for each of the {} gas that are certain to be used, and {tip} are left of the fee cap in the worst case",
        tx.min_gas
    );
    let accept = json!({
        "max_priority_fee_per_gas": need.to_string(),
        "max_fee_per_gas": cap.to_string(),
        "price_wei": price.to_string(),
    });
    Err(Refusal::new("tip-too-low", why).accepting(accept))
}

/// Whether nonce and balance hold with the sender's earlier promises counted, and the EIP-7702 rule.
///
/// # Errors
/// `nonce-too-low`, `nonce-gap`, `nonce-taken`, `balance-short`, `sender-alone`.
pub fn sender(slot: Slot, f: &TxFacts, at: &Account, pledges: &[Pledge]) -> Result<(), Refusal> {
    // Those below the state's nonce are in a block already, or void.
    let live: Vec<&Pledge> = pledges.iter().filter(|p| p.nonce >= at.nonce).collect();
    if f.nonce < at.nonce {
        let why = format!("the sender's nonce is {} already, the transaction has {}", at.nonce, f.nonce);
        return Err(Refusal::new("nonce-too-low", why).accepting(json!({ "nonce": at.nonce })));
    }
    if live.iter().any(|p| p.nonce == f.nonce && p.tx_hash != f.hash) {
        let why = format!("another transaction of this sender with nonce {} is promised", f.nonce);
        let next = live.iter().map(|p| p.nonce + 1).max();
        return Err(Refusal::new("nonce-taken", why).accepting(json!({ "nonce": next })));
    }
    let before = |n: u64| live.iter().any(|p| p.nonce == n && p.key.slot <= slot);
    let end = f.nonce.min(at.nonce.saturating_add(MAX_CHAIN));
    if let Some(gap) = (at.nonce..end).find(|n| !before(*n)).or_else(|| (end < f.nonce).then_some(end)) {
        let why = format!(
            "nonce {gap} of this sender is not promised up to slot {slot}, so that nonce {} can not be",
            f.nonce
        );
        return Err(Refusal::new("nonce-gap", why).accepting(json!({ "nonce": gap })));
    }
    let is_alone = at.has_code || f.authorities.iter().any(|(a, _)| *a == f.sender);
    if is_alone && (f.nonce != at.nonce || live.iter().any(|p| p.tx_hash != f.hash)) {
        let why = "a sender with code (EIP-7702) gets one promise at a time, at exactly its nonce";
        return Err(Refusal::new("sender-alone", why).accepting(json!({ "nonce": at.nonce })));
    }
    balance(f, at, &live)
}

fn balance(f: &TxFacts, at: &Account, live: &[&Pledge]) -> Result<(), Refusal> {
    // One transaction may be promised for several slots, and is paid for once.
    let mut seen: Vec<u64> = vec![f.nonce];
    let mut promised = U256::ZERO;
    for p in live {
        if !seen.contains(&p.nonce) {
            seen.push(p.nonce);
            promised = promised.saturating_add(p.cost);
        }
    }
    let needed = promised.saturating_add(f.cost);
    if needed <= at.balance {
        return Ok(());
    }
    let why =
        format!("the sender has {} wei, its promises may cost {promised} and this transaction {}", at.balance, f.cost);
    let left = at.balance.saturating_sub(promised);
    Err(Refusal::new("balance-short", why).accepting(json!({ "cost": left.to_string() })))
}

/// Whether the authorities of a transaction have no promise of their own: each would be voided by the
/// authorization, which takes the authority's nonce.
///
/// # Errors
/// `authority-promised`.
pub fn authorities(cx: &Context, f: &TxFacts) -> Result<(), Refusal> {
    for (authority, _) in f.authorities.iter().filter(|(a, _)| *a != f.sender) {
        if cx.slots.pledged(*authority).iter().any(|p| p.tx_hash != f.hash) {
            let why = format!("{authority} authorizes code in this transaction and has another promise");
            return Err(Refusal::new("authority-promised", why));
        }
    }
    Ok(())
}

/// What all state-free checks of one request gave.
pub struct Candidate {
    /// The request.
    pub ask: Ask,
    /// The transaction.
    pub tx: TxReport,
}
