//! Whom we serve: registrations as they came, and the proposers of the look-ahead. Pure but for the
//! file that registrations are kept in.

use crate::{desk::Complaint, error::BlocksError, own_block::Wishes, ports::ProposerDuty, store::write_atomic};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};
use tandem_beacon::{SignedValidatorRegistration, ValidatorRegistration};
use tandem_crypto::{bls, domains};
use tandem_types::{BlsPublicKey, Epoch, Slot, ValidatorIndex};

const FILE: &str = "registrations.json";
/// Seconds that a registration's timestamp may lie ahead (builder-specs: `MAX_REGISTRATION_LOOKAHEAD`).
const AHEAD: u64 = 10;

/// A validator's registration, and when it came last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    /// What it wants.
    pub fee_recipient: alloy_primitives::Address,
    /// The gas limit to move towards.
    pub gas_limit: u64,
    /// The registration's own time, in unix seconds.
    pub timestamp: u64,
    /// In which epoch it came last, repeated ones too.
    pub epoch: Epoch,
}

impl Registered {
    /// What blocks are built for.
    pub const fn wishes(&self) -> Wishes {
        Wishes { fee_recipient: self.fee_recipient, gas_limit: self.gas_limit }
    }
}

/// Registrations of our validators, kept in a file: a host that restarts inside a slot still knows
/// what its blocks must pay to.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    by_key: HashMap<BlsPublicKey, Registered>,
}

impl Registry {
    /// Reads the file back. One that does not read is told and left: registrations come again.
    pub fn load(dir: &Path) -> Self {
        let Ok(raw) = std::fs::read(dir.join(FILE)) else { return Self::default() };
        let parsed: Result<Vec<(BlsPublicKey, Registered)>, _> = serde_json::from_slice(&raw);
        match parsed {
            Ok(list) => Self { by_key: list.into_iter().collect() },
            Err(error) => {
                tracing::warn!(%error, "kept registrations do not read; they will come again");
                Self::default()
            }
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`BlocksError::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), BlocksError> {
        let list: Vec<_> = self.by_key.iter().collect();
        let raw = serde_json::to_vec(&list).unwrap_or_default();
        write_atomic(dir, FILE, &raw).map_err(|source| BlocksError::Io { what: "write", path: dir.join(FILE), source })
    }

    /// Takes a registration of one of ours, already verified. An older one than is known only counts
    /// as a sign of life if it is the same; else it is refused.
    ///
    /// # Errors
    /// 400.
    pub fn put(&mut self, r: &ValidatorRegistration, epoch: Epoch) -> Result<(), Complaint> {
        if let Some(have) = self.by_key.get(&r.pubkey)
            && have.timestamp > r.timestamp
        {
            return Err(Complaint::bad("a later registration of this validator is known"));
        }
        let new = Registered { fee_recipient: r.fee_recipient, gas_limit: r.gas_limit, timestamp: r.timestamp, epoch };
        self.by_key.insert(r.pubkey, new);
        Ok(())
    }

    /// A validator's registration.
    pub fn get(&self, key: &BlsPublicKey) -> Option<Registered> {
        self.by_key.get(key).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

/// Verifies a registration's time and signature.
///
/// # Errors
/// 400.
pub fn verify(
    r: &SignedValidatorRegistration,
    genesis_fork_version: [u8; 4],
    unix_seconds: u64,
) -> Result<(), Complaint> {
    if r.message.timestamp > unix_seconds.saturating_add(AHEAD) {
        return Err(Complaint::bad("the registration's timestamp lies more than 10 s ahead"));
    }
    let message = domains::registration(genesis_fork_version, &r.message);
    bls::verify(&r.message.pubkey, message.as_slice(), &r.signature).map_err(|e| Complaint::bad(e.to_string()))
}

/// The proposers of the running epoch and the next, of which ours are served.
#[derive(Clone, Debug, Default)]
pub struct LookAhead {
    by_slot: BTreeMap<Slot, ProposerDuty>,
    /// Our own validators' places in the registry, once a duty told them: they never change.
    places: HashMap<BlsPublicKey, ValidatorIndex>,
}

/// Epochs of duties that are kept behind the running one: fates are judged up to finality.
const KEEP_EPOCHS: u64 = 4;

impl LookAhead {
    /// Takes an epoch's duties in, whole: what was known of the epoch before is dropped. An empty list is
    /// no node's right answer, and changes nothing.
    pub fn put(&mut self, epoch: Epoch, duties: &[ProposerDuty]) {
        let of_epoch = |d: &&ProposerDuty| d.slot.epoch() == epoch;
        if !duties.iter().any(|d| of_epoch(&d)) {
            return;
        }
        self.by_slot.retain(|s, _| s.epoch() != epoch && s.epoch().saturating_add(KEEP_EPOCHS) >= epoch);
        self.by_slot.extend(duties.iter().filter(of_epoch).map(|d| (d.slot, *d)));
    }
    /// Remembers the place of one of our own validators, also for slots that are another's later.
    pub fn learn(&mut self, own: &ProposerDuty) {
        self.places.insert(own.pubkey, own.index);
    }
    /// Whether a place in the registry can be that of one of our own validators: it is known to be, or
    /// nobody's that is known.
    pub fn may_propose(&self, own: &BlsPublicKey, place: ValidatorIndex) -> bool {
        match self.places.get(own) {
            Some(known) => *known == place,
            None => {
                let others = self.by_slot.values().map(|d| (&d.pubkey, &d.index)).chain(&self.places);
                !others.into_iter().any(|(key, index)| *index == place && key != own)
            }
        }
    }
    /// A slot's proposer.
    pub fn get(&self, slot: Slot) -> Option<ProposerDuty> {
        self.by_slot.get(&slot).copied()
    }
    /// The proposers from a slot on, soonest first.
    pub fn from(&self, slot: Slot) -> impl Iterator<Item = &ProposerDuty> {
        self.by_slot.range(slot..).map(|(_, d)| d)
    }
    /// Whether an epoch's duties are known.
    pub fn has(&self, epoch: Epoch) -> bool {
        self.by_slot.range(epoch.start()..).next().is_some_and(|(s, _)| s.epoch() == epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(timestamp: u64) -> ValidatorRegistration {
        ValidatorRegistration { timestamp, gas_limit: timestamp, ..Default::default() }
    }

    #[test]
    fn a_later_registration_replaces_an_earlier_one_and_never_the_other_way() {
        let mut r = Registry::default();
        r.put(&registration(5), Epoch::new(1)).unwrap();
        r.put(&registration(5), Epoch::new(2)).unwrap();
        assert!(r.put(&registration(4), Epoch::new(3)).is_err());
        let have = r.get(&BlsPublicKey::default()).unwrap();
        assert_eq!((have.gas_limit, have.epoch), (5, Epoch::new(2)));
    }

    #[test]
    fn registrations_are_known_again_after_a_restart_and_rubbish_is_no_reason_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let mut r = Registry::load(dir.path());
        r.put(&registration(5), Epoch::new(1)).unwrap();
        r.save(dir.path()).unwrap();
        assert_eq!(Registry::load(dir.path()).get(&BlsPublicKey::default()), r.get(&BlsPublicKey::default()));
        std::fs::write(dir.path().join(FILE), b"{").unwrap();
        assert!(Registry::load(dir.path()).is_empty());
    }

    #[test]
    fn a_signature_by_another_key_and_a_time_far_ahead_are_refused() {
        let r = SignedValidatorRegistration { message: registration(100), ..Default::default() };
        assert!(verify(&r, [0; 4], 100).is_err());
        assert!(verify(&r, [0; 4], 50).unwrap_err().message.contains("ahead"));
    }

    #[test]
    fn an_epochs_duties_are_replaced_whole() {
        let duty = |slot| ProposerDuty {
            slot: Slot::new(slot),
            pubkey: BlsPublicKey::default(),
            index: ValidatorIndex::new(slot),
        };
        let mut l = LookAhead::default();
        l.put(Epoch::new(1), &[duty(32), duty(40)]);
        l.put(Epoch::new(1), &[duty(33), duty(99)]);
        assert!(l.get(Slot::new(32)).is_none() && l.get(Slot::new(99)).is_none());
        assert_eq!(l.from(Slot::new(0)).count(), 1);
        assert!(l.has(Epoch::new(1)) && !l.has(Epoch::new(2)) && !l.has(Epoch::new(0)));
        for nothing in [&[][..], &[duty(99)]] {
            l.put(Epoch::new(1), nothing);
            assert!(l.get(Slot::new(33)).is_some(), "a list without duties of the epoch changes nothing");
        }
    }

    #[test]
    fn a_validators_place_is_the_known_one_or_one_that_nobody_else_is_known_to_have() {
        let key = |n| BlsPublicKey::new([n; 48]);
        let duty =
            |slot, n, index| ProposerDuty { slot: Slot::new(slot), pubkey: key(n), index: ValidatorIndex::new(index) };
        let mut l = LookAhead::default();
        l.put(Epoch::new(1), &[duty(33, 2, 5)]);
        let may = |l: &LookAhead, index| l.may_propose(&key(1), ValidatorIndex::new(index));
        assert!(may(&l, 6) && !may(&l, 5), "5 is another's");
        l.learn(&duty(34, 1, 7));
        assert!(may(&l, 7) && !may(&l, 6));
    }
}
