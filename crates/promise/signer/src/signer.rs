//! The signing service.

use crate::{Offers, SignError};
use alloy_primitives::{Address, B256, Bytes};
use lru::LruCache;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tandem_journal::{Journal, Recorded};
use tandem_keys::{BlsSecretKey, EcdsaSecretKey, HostSecret};
use tandem_types::{BlsPublicKey, Body, Signed, SignerRef, SlotKey, body::Delegation};

/// Slots whose keys are kept: four look-aheads of 64 slots. Deriving a slot's keys again costs about
/// 0.2 ms.
const SLOTS: NonZeroUsize = match NonZeroUsize::new(256) {
    Some(n) => n,
    None => NonZeroUsize::MIN,
};

/// Signatures that are kept: a promise is signed for its requester and, moments later, for the modules
/// that are told of it. At 5,000 a second this is what was signed within the last second or two.
const SIGNED: NonZeroUsize = match NonZeroUsize::new(8_192) {
    Some(n) => n,
    None => NonZeroUsize::MIN,
};

/// A signature that one signs while others wait for it.
type Once = Arc<Mutex<Option<Bytes>>>;

/// The keys of one slot, derived from the host secret.
struct SlotKeys {
    delegate: BlsSecretKey,
    committer: EcdsaSecretKey,
    /// The slot's recorded delegation names these keys. Once true it stays so: a delegation never changes.
    delegated: AtomicBool,
}

impl SlotKeys {
    fn are_named_by(&self, delegation: &Delegation) -> bool {
        let delegate = delegation.delegate.compressed() == self.delegate.public_key();
        delegate && delegation.committer == self.committer.address()
    }
}

/// Signs what is recorded, and nothing else: no method takes a root.
///
/// ```
/// async fn signature(signer: &tandem_signer::Signer, recorded: tandem_journal::Recorded) {
///     let _ = signer.sign(recorded).await;
/// }
/// ```
/// ```compile_fail,E0308
/// // The twin that has a root and no record.
/// async fn signature(signer: &tandem_signer::Signer, root: tandem_types::SigningRoot) {
///     let _ = signer.sign(root).await;
/// }
/// ```
/// ```compile_fail,E0308
/// // Nor is a draft that was checked, and not recorded, enough.
/// async fn signature(signer: &tandem_signer::Signer, checked: tandem_journal::Checked) {
///     let _ = signer.sign(checked).await;
/// }
/// ```
pub struct Signer {
    validators: HashMap<BlsPublicKey, BlsSecretKey>,
    secret: HostSecret,
    slots: Mutex<LruCache<SlotKey, Arc<SlotKeys>>>,
    /// Signatures by the record's number and what was signed: the same record always gives the same. Who
    /// asked and who is told of a record ask for it in the same moment: the second waits for the first.
    signed: Mutex<LruCache<(u64, B256), Once>>,
    journal: Journal,
    /// Shared by all doors, which hold this signer.
    pub(crate) offers: OnceLock<Arc<dyn Offers>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("validators", &self.validators.len()).finish_non_exhaustive()
    }
}

impl Signer {
    /// Takes the validators' keys, and the host secret that the slots' keys derive from. When the
    /// journal halts, nothing more is signed.
    pub fn new(validators: impl IntoIterator<Item = BlsSecretKey>, secret: HostSecret, journal: Journal) -> Self {
        let validators = validators.into_iter().map(|k| (k.public_key(), k)).collect();
        let (slots, signed) = (Mutex::new(LruCache::new(SLOTS)), Mutex::new(LruCache::new(SIGNED)));
        Self { validators, secret, slots, signed, journal, offers: OnceLock::new() }
    }

    /// Signs a record. The same record always gives the same bytes: a slot's keys sign only where the
    /// slot's recorded delegation names them, so that a host with another secret refuses. It takes some
    /// 30 µs for ECDSA and 0.3 ms for BLS, and waits for nothing but another one who signs the same.
    ///
    /// # Errors
    /// See [`SignError`].
    pub async fn sign(&self, recorded: Recorded) -> Result<Signed, SignError> {
        if let Some(why) = self.journal.halted() {
            return Err(SignError::Halted(why));
        }
        let name = (recorded.seq(), recorded.signing_root().get());
        let place = self.signed.lock().get_or_insert(name, Once::default).clone();
        let signature = {
            let mut known = place.lock();
            match &*known {
                Some(signature) => signature.clone(),
                None => known.insert(self.signature(&recorded)?).clone(),
            }
        };
        Ok(Signed {
            seq: recorded.seq(),
            recorded_ms: recorded.recorded_ms(),
            body: recorded.body().clone(),
            signer: *recorded.signer(),
            object_root: recorded.object_root(),
            signing_id: recorded.signing_id(),
            nonce: recorded.nonce(),
            signing_root: recorded.signing_root(),
            signature,
        })
    }

    fn signature(&self, recorded: &Recorded) -> Result<Bytes, SignError> {
        let root: B256 = recorded.signing_root().get();
        Ok(match recorded.signer() {
            SignerRef::Validator(key) => {
                let secret = self.validators.get(key).ok_or(SignError::NoKey(*key))?;
                Bytes::copy_from_slice(secret.sign(root).as_bytes())
            }
            SignerRef::Delegate(key) => Bytes::copy_from_slice(self.delegated(key)?.delegate.sign(root).as_bytes()),
            SignerRef::Committer(key) => Bytes::copy_from_slice(&self.delegated(key)?.committer.sign(root)),
            SignerRef::Nobody => return Err(SignError::NotSigned(recorded.seq())),
        })
    }

    fn slot(&self, key: &SlotKey) -> Result<Arc<SlotKeys>, SignError> {
        if let Some(known) = self.slots.lock().get(key) {
            return Ok(known.clone());
        }
        // Derived outside the lock: two at once derive the same.
        let (delegate, committer) = (self.secret.delegate(key)?, self.secret.committer(key)?);
        let keys = Arc::new(SlotKeys { delegate, committer, delegated: AtomicBool::new(false) });
        self.slots.lock().put(*key, keys.clone());
        Ok(keys)
    }

    /// A slot's keys, if its recorded delegation names them.
    fn delegated(&self, key: &SlotKey) -> Result<Arc<SlotKeys>, SignError> {
        let keys = self.slot(key)?;
        if keys.delegated.load(Ordering::Relaxed) {
            return Ok(keys);
        }
        let recorded = self.journal.delegation(key).ok_or(SignError::NotDelegated(*key))?;
        match recorded.body() {
            Body::Delegation(d) if keys.are_named_by(d) => {
                keys.delegated.store(true, Ordering::Relaxed);
                Ok(keys)
            }
            Body::Delegation(_) => Err(SignError::OtherKeys(*key)),
            _ => Err(SignError::NotDelegated(*key)),
        }
    }

    /// Whether what this signer says could be signed here now.
    ///
    /// # Errors
    /// [`SignError::NoKey`], [`SignError::NotDelegated`], [`SignError::OtherKeys`] or
    /// [`SignError::Derive`].
    pub fn can_sign(&self, signer: &SignerRef) -> Result<(), SignError> {
        match signer {
            SignerRef::Validator(key) if !self.serves(key) => Err(SignError::NoKey(*key)),
            SignerRef::Delegate(key) | SignerRef::Committer(key) => self.delegated(key).map(drop),
            SignerRef::Validator(_) | SignerRef::Nobody => Ok(()),
        }
    }

    /// The delegate's public key of a slot.
    ///
    /// # Errors
    /// [`SignError::Derive`].
    pub fn delegate(&self, key: &SlotKey) -> Result<BlsPublicKey, SignError> {
        self.slot(key).map(|k| k.delegate.public_key())
    }

    /// The committer's address of a slot.
    ///
    /// # Errors
    /// [`SignError::Derive`].
    pub fn committer(&self, key: &SlotKey) -> Result<Address, SignError> {
        self.slot(key).map(|k| k.committer.address())
    }

    /// Whether the keys that a recorded delegation names are the ones that are derived here. A slot
    /// for which this does not hold must not be offered: what is promised in it could not be signed.
    ///
    /// # Errors
    /// [`SignError::Derive`].
    pub fn derives(&self, delegation: &Delegation) -> Result<bool, SignError> {
        let key = SlotKey {
            chain_id: delegation.chain_id,
            proposer: delegation.proposer.compressed(),
            slot: delegation.slot,
        };
        Ok(self.slot(&key)?.are_named_by(delegation))
    }

    /// Whether this validator's key is loaded.
    pub fn serves(&self, validator: &BlsPublicKey) -> bool {
        self.validators.contains_key(validator)
    }

    /// The validators whose keys are loaded, in order.
    pub fn validators(&self) -> Vec<BlsPublicKey> {
        let mut keys: Vec<BlsPublicKey> = self.validators.keys().copied().collect();
        keys.sort_unstable();
        keys
    }
}
