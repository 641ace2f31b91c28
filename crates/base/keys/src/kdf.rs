//! How a keystore's password becomes a key: scrypt or PBKDF2, within bounds.

use crate::{
    KeysError,
    keystore::{Part, bad_json, malformed, unhex},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// Length of the derived key: 16 bytes for the cipher, 16 for the checksum.
const DK_LEN: u64 = 32;
/// Most memory that scrypt may take, 128 · n · r: EIP-2335's own example takes 256 MiB.
const MAX_SCRYPT_BYTES: u64 = 256 << 20;
/// Most rounds of PBKDF2: EIP-2335's example has 2¹⁸; this many take about ten seconds.
const MAX_ROUNDS: u64 = 1 << 24;
/// Least rounds of PBKDF2: fewer protect nothing.
const MIN_ROUNDS: u64 = 1 << 10;

/// How the password becomes a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kdf {
    /// Memory-hard; n must be a power of two.
    Scrypt {
        /// Cost.
        n: u64,
        /// Block size.
        r: u32,
        /// Parallelism.
        p: u32,
        /// 32 random bytes.
        salt: Vec<u8>,
    },
    /// PBKDF2 with HMAC-SHA256.
    Pbkdf2 {
        /// Rounds.
        c: u32,
        /// 32 random bytes.
        salt: Vec<u8>,
    },
}

#[derive(Serialize, Deserialize)]
struct ScryptParams {
    dklen: u64,
    n: u64,
    p: u64,
    r: u64,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Pbkdf2Params {
    dklen: u64,
    c: u64,
    prf: String,
    salt: String,
}

impl Kdf {
    /// EIP-2335's own scrypt parameters: 256 MiB, about a second.
    ///
    /// # Errors
    /// [`KeysError::Random`].
    pub fn strong() -> Result<Self, KeysError> {
        Ok(Self::Scrypt { n: 1 << 18, r: 8, p: 1, salt: salt()? })
    }

    /// Cheap parameters, for development keys only: their password is no protection.
    ///
    /// # Errors
    /// [`KeysError::Random`].
    pub fn weak_for_development() -> Result<Self, KeysError> {
        Ok(Self::Pbkdf2 { c: MIN_ROUNDS as u32, salt: salt()? })
    }

    pub(crate) fn read(part: &Part<Value>) -> Result<Self, KeysError> {
        let fits = |what, got: u64, ok: bool, allowed| {
            if ok { Ok(()) } else { Err(KeysError::Parameter { what, got, allowed }) }
        };
        match part.function.as_str() {
            "scrypt" => {
                let p: ScryptParams = serde_json::from_value(part.params.clone()).map_err(bad_json)?;
                fits("dklen", p.dklen, p.dklen == DK_LEN, "32")?;
                fits("n", p.n, p.n.is_power_of_two() && (2..=1 << 24).contains(&p.n), "a power of two up to 2^24")?;
                fits("r", p.r, (1..=64).contains(&p.r), "1 to 64")?;
                fits("p", p.p, (1..=16).contains(&p.p), "1 to 16")?;
                let memory = 128 * p.n * p.r;
                fits("scrypt memory in bytes", memory, memory <= MAX_SCRYPT_BYTES, "256 MiB or less")?;
                let work = p.n * p.r * p.p;
                fits("scrypt work n·r·p", work, work <= 1 << 24, "2^24 or less")?;
                Ok(Self::Scrypt { n: p.n, r: p.r as u32, p: p.p as u32, salt: unhex("the salt", &p.salt, 256)? })
            }
            "pbkdf2" => {
                let p: Pbkdf2Params = serde_json::from_value(part.params.clone()).map_err(bad_json)?;
                if p.prf != "hmac-sha256" {
                    return Err(malformed("pbkdf2 needs hmac-sha256"));
                }
                fits("dklen", p.dklen, p.dklen == DK_LEN, "32")?;
                fits("c", p.c, (MIN_ROUNDS..=MAX_ROUNDS).contains(&p.c), "2^10 to 2^24 rounds")?;
                Ok(Self::Pbkdf2 { c: p.c as u32, salt: unhex("the salt", &p.salt, 256)? })
            }
            other => Err(malformed(format!("unknown key derivation {other:?}"))),
        }
    }

    pub(crate) fn write(&self) -> Result<Part<Value>, KeysError> {
        let (function, params) = match self {
            Self::Scrypt { n, r, p, salt } => {
                let salt = hex::encode(salt);
                let params = ScryptParams { dklen: DK_LEN, n: *n, p: u64::from(*p), r: u64::from(*r), salt };
                ("scrypt", serde_json::to_value(params))
            }
            Self::Pbkdf2 { c, salt } => {
                let (salt, prf) = (hex::encode(salt), "hmac-sha256".to_owned());
                ("pbkdf2", serde_json::to_value(Pbkdf2Params { dklen: DK_LEN, c: u64::from(*c), prf, salt }))
            }
        };
        Ok(Part { function: function.into(), params: params.map_err(malformed)?, message: String::new() })
    }

    pub(crate) fn derive(&self, password: &str) -> Result<Zeroizing<[u8; 32]>, KeysError> {
        let password = normalised(password);
        let mut out = Zeroizing::new([0u8; 32]);
        match self {
            Self::Scrypt { n, r, p, salt } => {
                let params = scrypt::Params::new(n.ilog2() as u8, *r, *p, 32).map_err(malformed)?;
                scrypt::scrypt(password.as_bytes(), salt, &params, &mut out[..]).map_err(malformed)?;
            }
            Self::Pbkdf2 { c, salt } => pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, *c, &mut out[..]),
        }
        Ok(out)
    }
}

fn salt() -> Result<Vec<u8>, KeysError> {
    let mut s = vec![0u8; 32];
    crate::error::random(&mut s)?;
    Ok(s)
}

/// EIP-2335's form of a password: NFKD, without control characters (so also without the newline
/// that editors put at a password file's end).
fn normalised(password: &str) -> Zeroizing<String> {
    // NFKD makes at most 18 characters of one, of at most 4 bytes each. Room for all of it from the start: a
    // buffer that grows leaves copies that nobody wipes.
    let mut out = Zeroizing::new(String::with_capacity(password.chars().count() * 18 * 4));
    out.extend(password.nfkd().filter(|c| !c.is_control()));
    out
}
