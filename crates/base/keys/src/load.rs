//! Key files as operators have them on disk. A key that cannot be loaded is an error that names its
//! file: a host never starts with fewer keys than its operator meant.

use crate::{BlsSecretKey, KeysError, Keystore};
use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Most bytes of a keystore or password file that are read.
const MAX_FILE_BYTES: usize = 64 << 10;

fn read(path: &Path, remedy: &'static str) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    let failed = |e: std::io::Error| KeysError::file(path, e, remedy);
    // Room for all of it from the start: a buffer that grows leaves copies that nobody wipes.
    let mut out = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES + 64));
    fs::File::open(path).map_err(failed)?.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut out).map_err(failed)?;
    if out.len() > MAX_FILE_BYTES {
        return Err(KeysError::file(path, "longer than 64 KiB", "give a keystore and a password file"));
    }
    Ok(out)
}

/// Loads one keystore with its password file.
///
/// # Errors
/// [`KeysError::File`] names the file that is at fault.
pub fn single(keystore: &Path, password: &Path) -> Result<BlsSecretKey, KeysError> {
    let json = read(keystore, "give the path of an EIP-2335 keystore that this user may read")?;
    let bytes = read(password, "put the keystore's password there, readable for this user")?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| KeysError::file(password, "not UTF-8", "write the password as UTF-8 text"))?;
    let opened = Keystore::parse(&json).and_then(|k| k.decrypt(text));
    opened.map_err(|e| match e {
        KeysError::WrongPassword => KeysError::file(
            keystore,
            format!("the password in {} does not open it", password.display()),
            "put the right password there",
        ),
        other => KeysError::file(keystore, other, "replace the keystore, or take it out of the folder"),
    })
}

/// Loads a folder as Lighthouse has it: `validators/0x…/voting-keystore.json`, with the password in
/// `secrets/0x…`. Other entries than folders named by a key are passed over.
///
/// # Errors
/// [`KeysError::File`] for the first key that cannot be loaded, for a folder whose name is another
/// key, for a key that is there twice, and for a folder without any.
pub fn lighthouse(validators: &Path, secrets: &Path) -> Result<Vec<BlsSecretKey>, KeysError> {
    let mut keys = Vec::new();
    let mut seen = BTreeSet::new();
    for (folder, name) in key_folders(validators)? {
        let keystore = folder.join("voting-keystore.json");
        let key = single(&keystore, &secrets.join(&name))?;
        let has = key.public_key().to_string();
        if !name.eq_ignore_ascii_case(&has) {
            let why = format!("the folder is named for another key than the keystore's, {has}");
            return Err(KeysError::file(keystore, why, "move the keystore to the folder of its key"));
        }
        if !seen.insert(has) {
            return Err(KeysError::file(keystore, "this key is there twice", "take one of the two folders away"));
        }
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(KeysError::file(validators, "no folder named 0x… is in it", "give the folder that holds the keys"));
    }
    Ok(keys)
}

/// The folders named by a public key, in order of their names.
fn key_folders(validators: &Path) -> Result<Vec<(PathBuf, String)>, KeysError> {
    let failed = |e: std::io::Error| KeysError::file(validators, e, "give a folder that this user may read");
    let mut out = Vec::new();
    for entry in fs::read_dir(validators).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() && name.starts_with("0x") && name.len() == 98 {
            out.push((path, name));
        }
    }
    out.sort();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kdf, derive};

    fn folder(keys: &[BlsSecretKey]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("secrets")).unwrap();
        for key in keys {
            let name = key.public_key().to_string();
            let at = dir.path().join("validators").join(&name);
            fs::create_dir_all(&at).unwrap();
            let ks = Keystore::encrypt(key, "secret word", "", &Kdf::weak_for_development().unwrap()).unwrap();
            fs::write(at.join("voting-keystore.json"), ks.to_json().unwrap()).unwrap();
            fs::write(dir.path().join("secrets").join(&name), "secret word\n").unwrap();
        }
        dir
    }
    fn load(dir: &tempfile::TempDir) -> Result<Vec<BlsSecretKey>, KeysError> {
        lighthouse(&dir.path().join("validators"), &dir.path().join("secrets"))
    }

    #[test]
    fn all_keys_of_a_lighthouse_folder_are_loaded() {
        let made: Vec<_> = (0..3).map(|i| derive::interop(i).unwrap()).collect();
        let dir = folder(&made);
        fs::write(dir.path().join("validators/validator_definitions.yml"), "---").unwrap();
        let got: BTreeSet<_> = load(&dir).unwrap().iter().map(BlsSecretKey::public_key).collect();
        assert_eq!(got, made.iter().map(BlsSecretKey::public_key).collect());
    }

    #[test]
    fn a_key_that_cannot_be_loaded_is_an_error_that_names_its_file() {
        let made: Vec<_> = (0..2).map(|i| derive::interop(i).unwrap()).collect();
        let name = made[1].public_key().to_string();
        type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
        let damages: [Damage<'_>; 4] = [
            ("password", &|d| fs::write(d.join("secrets").join(&name), "wrong").unwrap()),
            ("secrets", &|d| fs::remove_file(d.join("secrets").join(&name)).unwrap()),
            ("voting-keystore.json", &|d| {
                fs::remove_file(d.join("validators").join(&name).join("voting-keystore.json")).unwrap()
            }),
            ("voting-keystore.json", &|d| {
                fs::write(d.join("validators").join(&name).join("voting-keystore.json"), "{}").unwrap()
            }),
        ];
        for (word, damage) in damages {
            let dir = folder(&made);
            damage(dir.path());
            let e = load(&dir).unwrap_err().to_string();
            assert!(e.contains(word) && e.contains(&name), "{e}");
        }
    }

    #[test]
    fn a_folder_named_for_another_key_and_an_empty_one_are_refused() {
        let dir = folder(&[derive::interop(0).unwrap()]);
        let other = derive::interop(1).unwrap().public_key().to_string();
        let name = derive::interop(0).unwrap().public_key().to_string();
        fs::rename(dir.path().join("validators").join(&name), dir.path().join("validators").join(&other)).unwrap();
        fs::rename(dir.path().join("secrets").join(&name), dir.path().join("secrets").join(&other)).unwrap();
        assert!(load(&dir).unwrap_err().to_string().contains("another key"));
        fs::remove_dir_all(dir.path().join("validators").join(&other)).unwrap();
        assert!(load(&dir).is_err());
    }
}
