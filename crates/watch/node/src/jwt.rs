//! The Engine API's bearer token (execution-apis, `engine/authentication.md`).

use crate::NodeError;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::{
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};
use zeroize::Zeroizing;

/// The 32-byte secret that host and execution client share. Zeroed when dropped, never shown.
#[derive(Clone)]
pub struct JwtSecret(Zeroizing<[u8; 32]>);

impl JwtSecret {
    /// Reads the file that the execution client was given with its `--authrpc.jwtsecret`.
    ///
    /// # Errors
    /// [`NodeError::Address`] where it can not be read or is not 32 bytes in hex.
    pub fn read(path: &std::path::Path) -> Result<Self, NodeError> {
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let why = |e| NodeError::Address { why: format!("the JWT secret in {}: {e}", path.display()) };
        text.map_err(why)?.parse()
    }
    /// `Bearer` and a token for now: HS256 over `{"iat":seconds}`.
    pub(crate) fn bearer(&self) -> String {
        let iat = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        format!("Bearer {}", self.token(iat))
    }

    fn token(&self, iat: u64) -> String {
        let head = base64url(br#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{head}.{}", base64url(format!("{{\"iat\":{iat}}}").as_bytes()));
        // HMAC takes keys of any length, so that this can not fail; an empty token would be refused.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_slice()) else { return String::new() };
        mac.update(signed.as_bytes());
        format!("{signed}.{}", base64url(&mac.finalize().into_bytes()))
    }
}

impl FromStr for JwtSecret {
    type Err = NodeError;
    fn from_str(s: &str) -> Result<Self, NodeError> {
        let mut key = Zeroizing::new([0u8; 32]);
        let digits = s.trim().trim_start_matches("0x");
        hex::decode_to_slice(digits, key.as_mut_slice())
            .map_err(|_| NodeError::Address { why: "a JWT secret is 32 bytes in hex".into() })?;
        Ok(Self(key))
    }
}
impl fmt::Debug for JwtSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSecret(…)")
    }
}

/// Base64 with the URL alphabet, without padding (RFC 4648, section 5).
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..=chunk.len() {
            let six = (word >> (18 - 6 * i)) & 63;
            out.push(char::from(ALPHABET[six as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_equals_rfc_4648s_examples() {
        for (plain, coded) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!(base64url(plain.as_bytes()), coded);
        }
        assert_eq!(base64url(&[0xfb, 0xff, 0xbf]), "-_-_");
    }

    #[test]
    fn the_secret_is_not_shown_and_wrong_ones_are_not_repeated() {
        let s: JwtSecret = "aa".repeat(32).parse().unwrap();
        assert!(!format!("{s:?}").contains("aa"));
        assert!(!"hunter2".parse::<JwtSecret>().unwrap_err().to_string().contains("hunter2"));
    }
}
