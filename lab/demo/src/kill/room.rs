//! What a slot has to promise in this rig, and what clients hold of it.

use super::oracle::Asked;
use crate::{bench::set, rig::Rig, wallet::Wallet};
use alloy_primitives::Address;
use anyhow::Result;
use std::path::Path;
use tandem_journal::RoomLimits;
use tandem_types::Pool;

/// Of the first senders every so many-th has a deposit, and so may use what is left beside the half of
/// the senders without one.
const DEPOSIT_EVERY: u32 = 8;
/// How many have one. The list is searched at each request.
const DEPOSITS: u32 = 1_200;

/// The rig's room: so little that it is used up within a slot's time. Senders without a deposit have half
/// of each pool, of which the count ends first, at 215 transfers; those with one go on to the whole.
pub const ROOM: RoomLimits = RoomLimits { gas: 16_800_000, unsecured_percent: 50, blobs: 6, bytes: 51_000, count: 430 };

/// Whether a sender has a deposit.
pub const fn is_secured(sender: u32) -> bool {
    sender.is_multiple_of(DEPOSIT_EVERY) && sender < DEPOSIT_EVERY * DEPOSITS
}

/// Writes the room and the deposits into a host's configuration.
///
/// # Errors
/// If it has no such settings.
pub fn narrow(file: &Path, rig: &Rig) -> Result<()> {
    let deposits: Vec<Address> =
        (0..DEPOSITS).map(|n| Ok(Wallet::nth(n * DEPOSIT_EVERY, rig.chain_id())?.address())).collect::<Result<_>>()?;
    let mut text = std::fs::read_to_string(file)?;
    for (section, key, value) in [
        ("journal.room", "gas", ROOM.gas.to_string()),
        ("journal.room", "unsecured_percent", ROOM.unsecured_percent.to_string()),
        ("journal.room", "bytes", ROOM.bytes.to_string()),
        ("journal.room", "count", ROOM.count.to_string()),
        ("run.modules.preconf.config", "deposits", serde_json::to_string(&deposits)?),
    ] {
        text = set(&text, section, key, &value)?;
    }
    std::fs::write(file, text)?;
    Ok(())
}

/// What promises of one slot take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Promises.
    pub count: u64,
    /// Gas, by gas limit.
    pub gas: u64,
    /// Of it, gas of senders without a deposit.
    pub unsecured: u64,
    /// Promises to senders without a deposit.
    pub unsecured_count: u64,
    /// Bytes of transactions of senders without a deposit.
    pub unsecured_bytes: u64,
    /// Bytes of transactions.
    pub bytes: u64,
}

impl Used {
    /// One more.
    #[must_use]
    pub fn with(self, a: &Asked) -> Self {
        let loose = |amount: u64| if a.secured { 0 } else { amount };
        Self {
            count: self.count + 1,
            gas: self.gas + a.gas,
            unsecured: self.unsecured + loose(a.gas),
            unsecured_count: self.unsecured_count + loose(1),
            unsecured_bytes: self.unsecured_bytes + loose(a.size),
            bytes: self.bytes + a.size,
        }
    }

    /// Each pool with what is used of it and its limit.
    pub fn pools(&self, room: &RoomLimits) -> [(&'static str, u64, u64); 6] {
        [
            ("promises", self.count, room.of(Pool::Count)),
            ("gas", self.gas, room.of(Pool::Gas)),
            ("unsecured gas", self.unsecured, room.of(Pool::UnsecuredGas)),
            ("bytes", self.bytes, room.of(Pool::Bytes)),
            ("unsecured promises", self.unsecured_count, room.of(Pool::UnsecuredCount)),
            ("unsecured bytes", self.unsecured_bytes, room.of(Pool::UnsecuredBytes)),
        ]
    }

    /// The pools of which more is used than there is.
    pub fn over(&self, room: &RoomLimits) -> Vec<String> {
        let over = self.pools(room).into_iter().filter(|(_, used, limit)| used > limit);
        over.map(|(name, used, limit)| format!("{used} {name} are promised, the room is {limit}")).collect()
    }

    /// The pool that has no room for one more like this, if there is one.
    pub fn full_for(&self, a: &Asked, room: &RoomLimits) -> Option<&'static str> {
        self.with(a).pools(room).into_iter().find(|(_, used, limit)| used > limit).map(|p| p.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kill::oracle::tests::asked;

    #[test]
    fn each_pool_has_its_own_limit_and_the_unsecured_half_counts_senders_without_a_deposit_only() {
        let a = asked(1, 0, 9, 1);
        let room = RoomLimits { gas: 100_000, unsecured_percent: 50, blobs: 0, bytes: 1_000, count: 4 };
        let two = Used::default().with(&a).with(&a);
        assert_eq!((two.over(&room), two.full_for(&a, &room)), (Vec::new(), Some("unsecured gas")));
        assert_eq!(two.with(&a).over(&room).len(), 2, "gas and count");
        let small = Asked { gas: 1, size: 250, ..a.clone() };
        let small = Used::default().with(&small).with(&small);
        assert_eq!((small.over(&room), small.full_for(&a, &room)), (Vec::new(), Some("unsecured promises")));
        let long = Asked { gas: 1, size: 401, ..a.clone() };
        assert_eq!(Used::default().with(&a).full_for(&long, &room), Some("unsecured bytes"));
        let secured = Asked { secured: true, ..a };
        let four = two.with(&secured).with(&secured);
        assert_eq!((four.over(&room), four.full_for(&secured, &room)), (Vec::new(), Some("promises")));
        assert!(four.with(&secured).over(&room)[0].contains("5 promises"));
        let big = Asked { size: 900, ..secured.clone() };
        assert_eq!(two.full_for(&big, &room), Some("bytes"));
        let thirsty = Asked { gas: 60_000, ..secured };
        assert_eq!(two.full_for(&thirsty, &room), Some("gas"));
    }

    #[test]
    fn the_rigs_room_is_one_that_a_host_takes_and_can_be_filled_by_transfers() {
        assert!(ROOM.validate().is_ok());
        assert_eq!((ROOM.of(Pool::UnsecuredGas) / 21_000, ROOM.of(Pool::UnsecuredCount)), (400, 215));
        assert!(ROOM.count * 21_000 < ROOM.gas && is_secured(0) && !is_secured(1));
    }
}
