//! Whether a promise can be made: each refusal a stable code, a sentence, and what would be accepted.

use crate::{
    ask::Ask,
    config::{PreconfConfig, SlasherConfig},
    fees::{self, Base},
    price::{Pricing, Taken, price},
};
use alloy_primitives::{Address, U256};
use serde_json::json;
use tandem_module::{Account, Context, Pledge, Refusal, ServedSlot, TxReport};
use tandem_types::{Slot, body::TxFacts};

/// Promises of one sender that another one may follow in a row: more are a queue, not a promise.
const MAX_CHAIN: u64 = 256;

/// Accounts that one promised transaction may authorize code for. Each is read, and held until it is settled.
const MAX_AUTHORITIES: usize = 16;

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

/// Refuses slashers that are not on the operator's list, before anything is looked at or priced. The entry in
/// the list, where one is named.
///
/// # Errors
/// `slasher-unknown`.
pub fn listed<'a>(
    cx: &Context,
    config: &'a PreconfConfig,
    slasher: Address,
) -> Result<Option<&'a SlasherConfig>, Refusal> {
    if slasher == Address::ZERO {
        return Ok(None);
    }
    let here = || config.slashers.iter().filter(|s| s.chain_id == cx.chain.chain_id);
    let found = here().find(|s| s.address == slasher);
    found.map(Some).ok_or_else(|| {
        let allowed: Vec<_> = here().map(|s| s.address).collect();
        let why = format!("{slasher} is not a slasher that this operator accepts");
        Refusal::new("slasher-unknown", why).accepting(json!({ "slasher": allowed, "unbacked": Address::ZERO }))
    })
}

/// Refuses slashers whose code is not what the operator listed.
///
/// # Errors
/// `slasher-unknown`, `slasher-changed`.
pub async fn slasher(cx: &Context, config: &PreconfConfig, slasher: Address) -> Result<(), Refusal> {
    let Some(entry) = listed(cx, config, slasher)? else { return Ok(()) };
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
    let found = cx.slots.open_slot(slot).ok_or_else(|| cx.slots.why_closed(Some(slot)))?;
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
    let from = slot.saturating_sub(base.slots);
    let blob_fee = base.worst_blob_fee(|n| cx.state.blob_params(cx.chain.clock.timestamp(from.saturating_add(n))));
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

/// Which pool has no top for a sender any more: a slot has one, and some have it for senders with a deposit
/// only.
fn no_top(slot: &ServedSlot, deposited: bool) -> Option<&'static str> {
    match &slot.room {
        r if r.top == 0 => Some("top"),
        r if r.unsecured_top == 0 && !deposited => Some("unsecured-top"),
        _ => None,
    }
}

/// Whether the slot's one place at the very top is to be had, if the transaction must stand there (EIP-7702).
///
/// # Errors
/// `exhausted`, as the door says it.
pub fn top(slot: &ServedSlot, f: &TxFacts, has_code: bool, deposited: bool) -> Result<(), Refusal> {
    let Some(pool) = no_top(slot, deposited).filter(|_| has_code || !f.authorities.is_empty()) else { return Ok(()) };
    let taken = if pool == "top" { "promised" } else { "kept for senders with a deposit, as in every second slot" };
    let why = format!(
        "slot {}: its one place at the very top, where a sender with code and a transaction with authorizations \
         must stand (EIP-7702), is {taken}; ask for another slot",
        slot.key.slot
    );
    Err(Refusal::new("exhausted", why).accepting(json!({ "pool": pool, "left": 0 })))
}

/// The same, where the sender's account was not read yet: it is only where the answer depends on it.
///
/// # Errors
/// `exhausted`, and what the ports refuse.
pub async fn top_unread(cx: &Context, slot: &ServedSlot, f: &TxFacts, deposited: bool) -> Result<(), Refusal> {
    let is_read = no_top(slot, deposited).is_some() && f.authorities.is_empty();
    let has_code = is_read && cx.state.account(f.sender).await?.has_code;
    top(slot, f, has_code, deposited)
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

/// The price of a transaction in a slot now, whether or not its sender has a deposit.
///
/// # Errors
/// `slot-full`.
pub fn priced(
    curve: &dyn Pricing,
    slot: &ServedSlot,
    tx: &TxReport,
    w: &Worst,
    min_tip: u64,
    deposited: bool,
) -> Result<U256, Refusal> {
    let gas = tx.facts.gas_limit;
    let taken = Taken { gas, bytes: tx.facts.size as u64, deposited };
    price(curve, &slot.room, w.block_gas, &slot.opening, &taken, min_tip).ok_or_else(|| {
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

/// Whether nonce and balance hold with the sender's earlier promises counted, and the EIP-7702 rule. A promise
/// for a slot that is over when `now` runs costs, and nothing may follow its nonce: it may never be in a block.
///
/// # Errors
/// `nonce-too-low`, `nonce-gap`, `nonce-taken`, `chain-too-long`, `balance-short`, `sender-alone`.
pub fn sender(slot: Slot, now: Slot, f: &TxFacts, at: &Account, pledges: &[Pledge]) -> Result<(), Refusal> {
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
    let before = |n: u64| live.iter().any(|p| p.nonce == n && (now..=slot).contains(&p.key.slot));
    let last = at.nonce.saturating_add(MAX_CHAIN);
    if let Some(gap) = (at.nonce..f.nonce.min(last)).find(|n| !before(*n)) {
        let over = live.iter().filter(|p| p.nonce == gap && p.key.slot < now).map(|p| p.key.slot).max();
        let why = match over {
            Some(over) => format!(
                "nonce {gap} of this sender was promised for slot {over}, which is over, and is in no block yet: \
                 until it is, or is promised again up to slot {slot}, nonce {} can not be",
                f.nonce
            ),
            None => format!(
                "nonce {gap} of this sender is not promised up to slot {slot}, so that nonce {} can not be",
                f.nonce
            ),
        };
        return Err(Refusal::new("nonce-gap", why).accepting(json!({ "nonce": gap })));
    }
    if f.nonce > last {
        let least = f.nonce - MAX_CHAIN;
        let why = format!(
            "a promise may follow at most {MAX_CHAIN} of its sender's that are in no block yet; nonce {} can be promised once blocks have taken those below {least}",
            f.nonce
        );
        return Err(Refusal::new("chain-too-long", why).accepting(json!({ "most": MAX_CHAIN, "state_nonce": least })));
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

/// Whether the accounts that a transaction authorizes code for (EIP-7702) may be involved: each is held over
/// all slots until the promise is settled. A promise of one of them would be voided by its authorization, which
/// takes the authority's nonce; and one whose nonce is used can never act, so that anybody could hold an account
/// with what it once signed.
///
/// # Errors
/// `too-many-authorizations`, `authority-promised`, `authorization-void`.
pub async fn authorities(cx: &Context, f: &TxFacts) -> Result<(), Refusal> {
    if f.authorities.len() > MAX_AUTHORITIES {
        let why = format!("a promised transaction authorizes code for at most {MAX_AUTHORITIES} accounts");
        return Err(Refusal::new("too-many-authorizations", why).accepting(json!({ "most": MAX_AUTHORITIES })));
    }
    for (authority, nonce) in f.authorities.iter().filter(|(a, _)| *a != f.sender) {
        if cx.slots.pledged(*authority).iter().any(|p| p.tx_hash != f.hash) {
            let why = format!("{authority} authorizes code in this transaction and has another promise");
            return Err(Refusal::new("authority-promised", why));
        }
        let used = cx.state.account(*authority).await?.nonce;
        if *nonce < used {
            let why = format!("the authorization of {authority} has nonce {nonce}, which is used: it can never act");
            return Err(Refusal::new("authorization-void", why).accepting(json!({ "nonce": used })));
        }
    }
    Ok(())
}

/// What all state-free checks of one request gave.
#[derive(Clone)]
pub struct Candidate {
    /// The request.
    pub ask: Ask,
    /// The transaction.
    pub tx: TxReport,
}
