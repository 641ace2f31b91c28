//! The host secret, and the keys of a slot that are derived from it.
//!
//! Delegate and committer keys are HKDF-SHA256 of (host secret; chain, proposer, slot, role), so that
//! a host can derive them again after a restart, and hosts that share a journal derive the same.

use crate::{BlsSecretKey, EcdsaSecretKey, KeysError};
use hkdf::Hkdf;
use sha2::Sha256;
use std::{
    fmt, fs,
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};
use tandem_types::SlotKey;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// HKDF's salt: what the derivation is for, and its version.
const SALT: &[u8] = b"tandem/slot-keys/v1";
/// A secret's length in bytes.
const LEN: usize = 32;

/// 32 random bytes from which a host's slot keys are derived. Wiped when dropped.
pub struct HostSecret(Zeroizing<[u8; LEN]>);

impl ZeroizeOnDrop for HostSecret {}
const _: () = {
    // The marker above holds because what is inside wipes itself.
    crate::wiped::<Zeroizing<[u8; LEN]>>();
    crate::wiped::<HostSecret>();
};

impl HostSecret {
    /// A new one of the system's randomness.
    ///
    /// # Errors
    /// [`KeysError::Random`].
    pub fn generate() -> Result<Self, KeysError> {
        let mut bytes = Zeroizing::new([0u8; LEN]);
        crate::error::random(&mut bytes[..])?;
        Ok(Self(bytes))
    }

    /// From known bytes, for tests and development chains.
    pub fn from_bytes(bytes: [u8; LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Writes a new secret to a file that must not exist: 64 hex digits, readable by its owner alone.
    /// The file is there with its whole content, synced with its folder, or not at all.
    ///
    /// # Errors
    /// [`KeysError::File`], also where the file exists.
    pub fn create(path: &Path) -> Result<Self, KeysError> {
        let secret = Self::generate()?;
        secret
            .write(path)
            .map_err(|e| KeysError::file(path, e, "choose a folder that can be written, and a new name"))?;
        Ok(secret)
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut suffix = [0u8; 8];
        crate::error::random(&mut suffix).map_err(std::io::Error::other)?;
        let temporary = folder.join(format!(".host-secret-{}", hex::encode(suffix)));
        let text = Zeroizing::new(hex::encode(&self.0[..]));
        let written = (|| {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // A link, unlike a rename, fails where the name is taken: an old secret is never replaced.
            fs::hard_link(&temporary, path)
        })();
        let _ = fs::remove_file(&temporary);
        written?;
        fs::File::open(folder)?.sync_all()
    }

    /// Reads a secret from its file.
    ///
    /// # Errors
    /// [`KeysError::File`] where it cannot be read, others may read it, or it is not 64 hex digits.
    pub fn load(path: &Path) -> Result<Self, KeysError> {
        let unreadable =
            |e| KeysError::file(path, e, "make it readable for this user, or create one with `tandem init`");
        let file = fs::File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            let why = format!("others may read it (mode {:o})", mode & 0o777);
            return Err(KeysError::file(path, why, "run `chmod 600` on it, and replace it if others had access"));
        }
        // Room for all of it from the start: a buffer that grows leaves copies that nobody wipes.
        let mut text = Zeroizing::new(String::with_capacity(256));
        file.take(128).read_to_string(&mut text).map_err(unreadable)?;
        let mut bytes = Zeroizing::new([0u8; LEN]);
        hex::decode_to_slice(text.trim_end(), &mut bytes[..])
            .map_err(|_| KeysError::file(path, "it is not 64 hex digits", "restore it from a copy"))?;
        Ok(Self(bytes))
    }

    /// The slot's delegate key, which signs the one constraints message.
    ///
    /// # Errors
    /// None is known; [`KeysError::BadSecret`] if the derivation failed.
    pub fn delegate(&self, key: &SlotKey) -> Result<BlsSecretKey, KeysError> {
        let ikm = self.expand::<48>(b"delegate", key, 0)?;
        BlsSecretKey::from_ikm(&ikm[..])
    }

    /// The slot's committer key, which signs the promises and the completeness root.
    ///
    /// # Errors
    /// None is known; [`KeysError::BadSecret`] if the derivation failed.
    pub fn committer(&self, key: &SlotKey) -> Result<EcdsaSecretKey, KeysError> {
        for attempt in 0..=u8::MAX {
            // One in 2¹²⁸ numbers is no key: then the next one is taken.
            if let Ok(k) = EcdsaSecretKey::from_bytes(&*self.expand::<32>(b"committer", key, attempt)?) {
                return Ok(k);
            }
        }
        Err(KeysError::BadSecret)
    }

    /// The host's bid key on a chain, of the same secret but under its own role.
    ///
    /// # Errors
    /// None is known; [`KeysError::BadSecret`] if the derivation failed.
    pub fn bid_key(&self, chain_id: u64) -> Result<BlsSecretKey, KeysError> {
        let nobody = SlotKey { chain_id, proposer: Default::default(), slot: Default::default() };
        BlsSecretKey::from_ikm(&self.expand::<48>(b"bid", &nobody, 0)?[..])
    }

    fn expand<const N: usize>(&self, role: &[u8], key: &SlotKey, attempt: u8) -> Result<Zeroizing<[u8; N]>, KeysError> {
        let chain = key.chain_id.to_be_bytes();
        let slot = key.slot.get().to_be_bytes();
        // All parts but the role have fixed lengths, and the role's length goes first.
        let info: [&[u8]; 6] = [&[role.len() as u8], role, &chain, key.proposer.as_bytes(), &slot, &[attempt]];
        let mut out = Zeroizing::new([0u8; N]);
        Hkdf::<Sha256>::new(Some(SALT), &self.0[..])
            .expand_multi_info(&info, &mut out[..])
            .map_err(|_| KeysError::BadSecret)?;
        Ok(out)
    }
}

impl fmt::Debug for HostSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_types::{BlsPublicKey, Slot};

    fn slot(chain_id: u64, proposer: u8, slot: u64) -> SlotKey {
        SlotKey { chain_id, proposer: BlsPublicKey::new([proposer; 48]), slot: Slot::new(slot) }
    }

    #[test]
    fn every_slot_proposer_chain_secret_and_role_has_its_own_keys_and_the_same_ones_again() {
        let (a, b) = (HostSecret::from_bytes([1; 32]), HostSecret::from_bytes([2; 32]));
        let base = slot(1, 1, 1);
        let mut seen = std::collections::BTreeSet::new();
        for (secret, key) in [(&a, base), (&b, base), (&a, slot(2, 1, 1)), (&a, slot(1, 2, 1)), (&a, slot(1, 1, 2))] {
            let delegate = secret.delegate(&key).unwrap().public_key();
            let committer = secret.committer(&key).unwrap().address();
            assert_eq!(delegate, secret.delegate(&key).unwrap().public_key());
            assert_eq!(committer, secret.committer(&key).unwrap().address());
            assert!(seen.insert(delegate.to_string()) && seen.insert(committer.to_string()));
        }
        assert!(seen.insert(a.bid_key(1).unwrap().public_key().to_string()));
    }

    #[test]
    fn a_created_file_is_its_owners_alone_and_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.secret");
        let made = HostSecret::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = HostSecret::load(&path).unwrap();
        let key = slot(1, 1, 1);
        assert_eq!(made.delegate(&key).unwrap().public_key(), read.delegate(&key).unwrap().public_key());
        assert!(HostSecret::create(&path).is_err());
        assert_eq!(HostSecret::load(&path).unwrap().0, made.0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the temporary file is gone");
    }

    #[test]
    fn a_file_that_others_may_read_or_that_is_no_secret_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.secret");
        HostSecret::create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let e = HostSecret::load(&path).unwrap_err().to_string();
        assert!(e.contains("host.secret") && e.contains("chmod 600"), "{e}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for bad in ["", "12", &"zz".repeat(32), &"00".repeat(33)] {
            fs::write(&path, bad).unwrap();
            assert!(HostSecret::load(&path).is_err());
        }
    }
}
