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

/// The rig's room: so little of each pool that it is used up within a slot's time by the transactions that
/// clients want most in such a slot ([`super::wants`]). Senders without a deposit have half of each pool;
/// those with one go on to the whole.
pub const ROOM: RoomLimits = RoomLimits { gas: 16_800_000, unsecured_percent: 50, blobs: 4, bytes: 60_000, count: 320 };
/// Bytes after which the host begins a new segment: some twenty promises.
const SEGMENT_BYTES: u64 = 16 << 10;
/// The same in its first life: nine delegations. It records those of two epochs before anything else, and a
/// segment goes when the slots of all its delegations are over: with these the first goes within two hundred
/// rounds.
const FIRST_SEGMENT_BYTES: u64 = 4 << 10;
/// Slots for which the host knows promises below its floor.
const REMEMBER_SLOTS: u64 = 2;

/// Whether a sender has a deposit.
pub const fn is_secured(sender: u32) -> bool {
    sender.is_multiple_of(DEPOSIT_EVERY) && sender < DEPOSIT_EVERY * DEPOSITS
}

/// Writes the room and the deposits into a host's configuration, and where `quick` a journal of small
/// segments that forgets soon.
///
/// # Errors
/// If it has no such settings.
pub fn narrow(file: &Path, rig: &Rig, quick: bool) -> Result<()> {
    let deposits: Vec<Address> =
        (0..DEPOSITS).map(|n| Ok(Wallet::nth(n * DEPOSIT_EVERY, rig.chain_id())?.address())).collect::<Result<_>>()?;
    let mut settings = vec![
        ("journal.room", "gas", ROOM.gas.to_string()),
        ("journal.room", "unsecured_percent", ROOM.unsecured_percent.to_string()),
        ("journal.room", "blobs", ROOM.blobs.to_string()),
        ("journal.room", "bytes", ROOM.bytes.to_string()),
        ("journal.room", "count", ROOM.count.to_string()),
        ("run.modules.preconf.config", "deposits", serde_json::to_string(&deposits)?),
    ];
    if quick {
        settings.push(("journal", "segment_bytes", FIRST_SEGMENT_BYTES.to_string()));
        settings.push(("journal", "remember_slots", REMEMBER_SLOTS.to_string()));
    }
    change(file, &settings)
}

/// From its next life on the host begins segments as seldom as one does that has promised for a while.
///
/// # Errors
/// If it has no such setting.
pub fn widen_segments(file: &Path) -> Result<()> {
    change(file, &[("journal", "segment_bytes", SEGMENT_BYTES.to_string())])
}

fn change(file: &Path, settings: &[(&str, &str, String)]) -> Result<()> {
    let mut text = std::fs::read_to_string(file)?;
    for (section, key, value) in settings {
        text = set(&text, section, key, value)?;
    }
    std::fs::write(file, text)?;
    Ok(())
}

/// What promises of one slot take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// By all senders.
    all: Amounts,
    /// Of it, by senders without a deposit.
    unsecured: Amounts,
}

/// An amount of each counted resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amounts {
    count: u64,
    /// By gas limit.
    gas: u64,
    blobs: u64,
    /// Of transactions in canonical form.
    bytes: u64,
}

impl Amounts {
    const fn with(self, a: &Asked) -> Self {
        Self { count: self.count + 1, gas: self.gas + a.gas, blobs: self.blobs + a.blobs, bytes: self.bytes + a.size }
    }
}

impl Used {
    /// One more.
    #[must_use]
    pub const fn with(self, a: &Asked) -> Self {
        let unsecured = if a.secured { self.unsecured } else { self.unsecured.with(a) };
        Self { all: self.all.with(a), unsecured }
    }

    /// Each pool with what is used of it and its limit.
    pub fn pools(&self, room: &RoomLimits) -> [(&'static str, u64, u64); 8] {
        let (all, loose) = (&self.all, &self.unsecured);
        [
            ("promises", all.count, room.of(Pool::Count)),
            ("gas", all.gas, room.of(Pool::Gas)),
            ("blobs", all.blobs, room.of(Pool::Blobs)),
            ("bytes", all.bytes, room.of(Pool::Bytes)),
            ("unsecured promises", loose.count, room.of(Pool::UnsecuredCount)),
            ("unsecured gas", loose.gas, room.of(Pool::UnsecuredGas)),
            ("unsecured blobs", loose.blobs, room.of(Pool::UnsecuredBlobs)),
            ("unsecured bytes", loose.bytes, room.of(Pool::UnsecuredBytes)),
        ]
    }

    /// The pools of which more is used than there is.
    pub fn over(&self, room: &RoomLimits) -> Vec<String> {
        let over = self.pools(room).into_iter().filter(|(_, used, limit)| used > limit);
        over.map(|(name, used, limit)| format!("{used} {name} are promised, the room is {limit}")).collect()
    }

    /// The pool that has no room for one more like this, if there is one. A pool of which this takes
    /// nothing keeps nobody out.
    pub fn full_for(&self, a: &Asked, room: &RoomLimits) -> Option<&'static str> {
        let before = self.pools(room);
        let after = self.with(a).pools(room);
        let full = after.into_iter().zip(before).find(|(after, before)| after.1 > after.2 && after.1 > before.1);
        full.map(|(after, _)| after.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kill::{oracle::tests::asked, wants};

    #[test]
    fn each_pool_has_its_own_limit_and_the_unsecured_half_counts_senders_without_a_deposit_only() {
        let a = asked(1, 0, 9, 1);
        let room = RoomLimits { gas: 100_000, unsecured_percent: 50, blobs: 2, bytes: 1_000, count: 4 };
        let two = Used::default().with(&a).with(&a);
        assert_eq!((two.over(&room), two.full_for(&a, &room)), (Vec::new(), Some("unsecured promises")));
        assert_eq!(two.with(&a).over(&room).len(), 2, "unsecured promises and gas");
        let small = Asked { gas: 1, size: 250, ..a.clone() };
        let small = Used::default().with(&small).with(&small);
        assert_eq!((small.over(&room), small.full_for(&a, &room)), (Vec::new(), Some("unsecured promises")));
        let one = Used::default().with(&a);
        let long = Asked { gas: 1, size: 401, ..a.clone() };
        assert_eq!(one.full_for(&long, &room), Some("unsecured bytes"));
        let thirsty = Asked { gas: 30_000, ..a.clone() };
        assert_eq!(one.full_for(&thirsty, &room), Some("unsecured gas"));
        let blob = Asked { blobs: 1, ..a.clone() };
        let blobs = Used::default().with(&blob);
        assert_eq!((blobs.full_for(&blob, &room), blobs.full_for(&a, &room)), (Some("unsecured blobs"), None));
        let secured = Asked { secured: true, ..a };
        let four = two.with(&secured).with(&secured);
        assert_eq!((four.over(&room), four.full_for(&secured, &room)), (Vec::new(), Some("promises")));
        assert!(four.with(&secured).over(&room)[0].contains("5 promises"));
        let big = Asked { size: 900, ..secured.clone() };
        assert_eq!(two.full_for(&big, &room), Some("bytes"));
        let thirsty = Asked { gas: 60_000, ..secured.clone() };
        assert_eq!(two.full_for(&thirsty, &room), Some("gas"));
        let blob = Asked { blobs: 3, ..secured };
        assert_eq!(two.full_for(&blob, &room), Some("blobs"));
        assert!(two.with(&blob).over(&room)[0].contains("3 blobs"));
    }

    #[test]
    fn the_rigs_room_is_one_that_a_host_takes_and_each_of_its_pools_is_filled_by_a_few_dozen_or_hundred() {
        assert!(ROOM.validate().is_ok());
        let half = |pool, amount: u64| ROOM.of(pool) / amount;
        assert_eq!(half(Pool::UnsecuredGas, wants::THIRSTY_GAS), 21);
        assert_eq!(half(Pool::UnsecuredBytes, wants::WORDS as u64), 25);
        assert_eq!((ROOM.of(Pool::UnsecuredBlobs), ROOM.of(Pool::UnsecuredCount)), (2, 160));
        // Plain transfers end the count first.
        const { assert!(ROOM.count * 21_000 < ROOM.gas && ROOM.count * 180 < ROOM.bytes) };
        assert!(is_secured(0) && !is_secured(1));
    }
}
