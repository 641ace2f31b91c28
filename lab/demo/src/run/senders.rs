//! The accounts that the demo's users send from. Each has one transaction under way at a time; once that
//! one's slot is over, the account is used again with the nonce that the chain shows.

use crate::{http, rig::Rig, wallet::Wallet};
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Slots after its own in which a promise may still change the account: the block is late, or replaced.
const SETTLES_IN: u64 = 2;

/// Accounts, by whether they can be used now.
#[derive(Debug)]
pub struct Senders {
    fresh: std::ops::Range<u32>,
    free: VecDeque<u32>,
    busy: BTreeMap<u64, Vec<u32>>,
}

impl Senders {
    /// As many accounts, none of which sent anything so far.
    pub fn new(accounts: u32) -> Self {
        Self { fresh: 0..accounts, free: VecDeque::new(), busy: BTreeMap::new() }
    }

    /// An account, and whether it may have sent before. `None` while all are under way.
    pub fn take(&mut self, now: u64) -> Option<(u32, bool)> {
        let open = self.busy.split_off(&now.saturating_sub(SETTLES_IN));
        let settled = std::mem::replace(&mut self.busy, open);
        self.free.extend(settled.into_values().flatten());
        if let Some(new) = self.fresh.next() {
            return Some((new, false));
        }
        self.free.pop_front().map(|index| (index, true))
    }

    /// A transaction of the account is, or may be, promised for a slot.
    pub fn sent(&mut self, index: u32, slot: u64) {
        self.busy.entry(slot).or_default().push(index);
    }
}

/// The next nonce of an account, by the chain.
///
/// # Errors
/// If the execution node does not answer.
pub async fn next_nonce(rig: &Rig, wallet: &Wallet) -> Result<u64> {
    let params = json!([wallet.address(), "latest"]);
    let said = http::rpc(rig.execution(), "eth_getTransactionCount", params, Duration::from_secs(5)).await?;
    crate::rig::hex_number(&said).context("eth_getTransactionCount")
}

#[cfg(test)]
mod tests {
    use super::Senders;

    #[test]
    fn an_account_comes_back_only_after_the_slot_of_its_promise_has_settled() {
        let mut s = Senders::new(2);
        assert_eq!(s.take(10), Some((0, false)));
        s.sent(0, 12);
        assert_eq!(s.take(10), Some((1, false)));
        s.sent(1, 11);
        for now in [10, 12, 13] {
            assert_eq!(s.take(now), None, "in slot {now}");
        }
        assert_eq!(s.take(14), Some((1, true)));
        assert_eq!(s.take(14), None);
        assert_eq!(s.take(15), Some((0, true)));
    }

    #[test]
    fn a_few_accounts_are_enough_for_any_time() {
        let mut s = Senders::new(200);
        let mut sent = 0;
        // Twelve a slot and more, for an hour of two-second slots.
        for slot in 0..1_800 {
            for _ in 0..20 {
                let (index, _) = s.take(slot).unwrap();
                s.sent(index, slot + 6);
                sent += 1;
            }
        }
        assert_eq!(sent, 36_000);
    }
}
