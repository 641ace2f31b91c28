//! EIP-2335 keystores, version 4: scrypt or PBKDF2, SHA-256 checksum, AES-128-CTR.

use crate::{BlsSecretKey, Kdf, KeysError};
use aes::{
    Aes128,
    cipher::{KeyIvInit, StreamCipher},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

type Cipher = ctr::Ctr128BE<Aes128>;

/// The cipher wipes its key schedule and what is left of its key stream.
const _: () = crate::wiped::<Cipher>();

/// A keystore's JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Keystore {
    crypto: Crypto,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Hex without prefix; may be missing in files of others.
    #[serde(default)]
    pubkey: Option<String>,
    #[serde(default)]
    path: String,
    uuid: String,
    version: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Crypto {
    kdf: Part<Value>,
    checksum: Part<Value>,
    cipher: Part<CipherParams>,
}

/// A function with its parameters and what came out of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part<P> {
    pub(crate) function: String,
    pub(crate) params: P,
    pub(crate) message: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

pub(crate) fn malformed(why: impl ToString) -> KeysError {
    KeysError::Keystore(why.to_string())
}

/// What is wrong with JSON, by place only: a file that was given by mistake may hold a secret, which
/// the parser's own message would quote.
pub(crate) fn bad_json(e: serde_json::Error) -> KeysError {
    match e.line() {
        0 => malformed("a key derivation parameter is missing or of the wrong type"),
        line => malformed(format!("line {line}, column {}: not the JSON of one", e.column())),
    }
}

pub(crate) fn unhex(what: &'static str, s: &str, most: usize) -> Result<Vec<u8>, KeysError> {
    if s.len() > 2 * most {
        return Err(malformed(format!("{what} is longer than {most} bytes")));
    }
    hex::decode(s).map_err(|_| malformed(format!("{what} is not hex")))
}

fn checksum(dk: &[u8; 32], message: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(&dk[16..]).chain_update(message).finalize().into()
}

fn crypt(dk: &[u8; 32], iv: &[u8; 16], data: &mut [u8]) -> Result<(), KeysError> {
    let mut key = Zeroizing::new([0u8; 16]);
    key.copy_from_slice(&dk[..16]);
    Cipher::new((&*key).into(), iv.into()).try_apply_keystream(data).map_err(|_| malformed("the secret is too long"))
}

impl Keystore {
    /// Parses a keystore's JSON of at most 64 KiB.
    ///
    /// # Errors
    /// [`KeysError::Keystore`].
    pub fn parse(json: &[u8]) -> Result<Self, KeysError> {
        if json.len() > 64 << 10 {
            return Err(malformed("longer than 64 KiB"));
        }
        let out: Self = serde_json::from_slice(json).map_err(bad_json)?;
        if out.version != 4 {
            return Err(malformed(format!("version {} is not 4", out.version)));
        }
        Ok(out)
    }

    /// The JSON.
    ///
    /// # Errors
    /// [`KeysError::Keystore`], which a keystore made here never gives.
    pub fn to_json(&self) -> Result<String, KeysError> {
        serde_json::to_string_pretty(self).map_err(malformed)
    }

    /// The public key that the keystore says it is of, as hex without prefix.
    pub fn pubkey(&self) -> Option<String> {
        self.pubkey.as_ref().map(|k| k.trim_start_matches("0x").to_lowercase())
    }

    /// The derivation path, empty where there is none.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Encrypts a key.
    ///
    /// # Errors
    /// [`KeysError::Random`], or [`KeysError::Parameter`] for parameters that could not be read again.
    pub fn encrypt(key: &BlsSecretKey, password: &str, path: &str, kdf: &Kdf) -> Result<Self, KeysError> {
        let mut iv = [0u8; 16];
        crate::error::random(&mut iv)?;
        Self::encrypt_with(key, password, path, kdf, &iv)
    }

    fn encrypt_with(
        key: &BlsSecretKey,
        password: &str,
        path: &str,
        kdf: &Kdf,
        iv: &[u8; 16],
    ) -> Result<Self, KeysError> {
        let kdf_part = kdf.write()?;
        Kdf::read(&kdf_part)?;
        let dk = kdf.derive(password)?;
        // The secret until it is encrypted in place; if that fails, it must not stay behind.
        let mut message = key.to_bytes();
        crypt(&dk, iv, &mut message[..])?;
        let cipher = Part {
            function: "aes-128-ctr".into(),
            params: CipherParams { iv: hex::encode(iv) },
            message: hex::encode(&message[..]),
        };
        let sum = hex::encode(checksum(&dk, &message[..]));
        let checksum = Part { function: "sha256".into(), params: Value::Object(Default::default()), message: sum };
        Ok(Self {
            crypto: Crypto { kdf: kdf_part, checksum, cipher },
            description: None,
            pubkey: Some(hex::encode(key.public_key().as_bytes())),
            path: path.to_owned(),
            uuid: uuid::Uuid::new_v4().to_string(),
            version: 4,
        })
    }

    /// Decrypts the key, and checks that it is the one that the keystore says.
    ///
    /// # Errors
    /// [`KeysError::WrongPassword`], [`KeysError::WrongPublicKey`], [`KeysError::Parameter`],
    /// [`KeysError::Keystore`] or [`KeysError::BadSecret`].
    pub fn decrypt(&self, password: &str) -> Result<BlsSecretKey, KeysError> {
        let c = &self.crypto;
        if c.cipher.function != "aes-128-ctr" || c.checksum.function != "sha256" {
            return Err(malformed("only aes-128-ctr and sha256 are known"));
        }
        let message = unhex("the encrypted secret", &c.cipher.message, 32)?;
        let iv: [u8; 16] =
            unhex("the iv", &c.cipher.params.iv, 16)?.try_into().map_err(|_| malformed("the iv must have 16 bytes"))?;
        let mut secret: Zeroizing<[u8; 32]> =
            Zeroizing::new(message.as_slice().try_into().map_err(|_| malformed("the secret must have 32 bytes"))?);
        let sum = unhex("the checksum", &c.checksum.message, 32)?;
        let dk = Kdf::read(&c.kdf)?.derive(password)?;
        if checksum(&dk, &message)[..] != sum {
            return Err(KeysError::WrongPassword);
        }
        crypt(&dk, &iv, &mut secret[..])?;
        let key = BlsSecretKey::from_bytes(&secret)?;
        let has = hex::encode(key.public_key().as_bytes());
        match self.pubkey() {
            Some(said) if said != has => Err(KeysError::WrongPublicKey { said, has }),
            _ => Ok(key),
        }
    }
}

#[cfg(test)]
#[path = "keystore_tests.rs"]
mod tests;
