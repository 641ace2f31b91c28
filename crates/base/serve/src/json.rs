//! JSON, strictly: one value, nothing after it, no key twice in one object, bounded depth, numbers
//! that fit.
//!
//! Two readers that take different ones of two equal keys, or round a number differently, have read
//! different requests. So what is ambiguous is refused before anybody reads it.

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use std::{borrow::Cow, cell::Cell, fmt};
use thiserror::Error;

/// Why a body is not acceptable JSON.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JsonFault {
    /// Not UTF-8.
    #[error("the body is not UTF-8: byte {at}")]
    NotUtf8 {
        /// The first bad byte.
        at: usize,
    },
    /// No JSON.
    #[error("the body is no JSON: line {line}, column {column}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// It ends in the middle.
    #[error("the JSON ends before it is complete")]
    Unfinished,
    /// Something follows the value.
    #[error("something follows the JSON value")]
    Trailing,
    /// Nested too deeply.
    #[error("the JSON is nested more than {most} deep")]
    TooDeep {
        /// The limit.
        most: usize,
    },
    /// A key stands twice in one object.
    #[error("a key stands twice in one object")]
    DuplicateKey,
    /// A number that 64 bits do not hold exactly.
    #[error("a number is out of range: write large ones as strings")]
    Number,
}

impl JsonFault {
    /// The stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotUtf8 { .. } => "not-utf8",
            Self::Syntax { .. } => "bad-json",
            Self::Unfinished => "unfinished-json",
            Self::Trailing => "trailing-bytes",
            Self::TooDeep { .. } => "too-deep",
            Self::DuplicateKey => "duplicate-key",
            Self::Number => "number-out-of-range",
        }
    }
}

/// Checks a whole body, and gives it back as text.
///
/// # Errors
/// The first [`JsonFault`].
pub fn check(body: &[u8], depth: usize) -> Result<&str, JsonFault> {
    let text = std::str::from_utf8(body).map_err(|e| JsonFault::NotUtf8 { at: e.valid_up_to() })?;
    let fault = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_str(text);
    let walked = Strict { left: depth, most: depth, fault: &fault }.deserialize(&mut reader);
    if let Err(e) = walked {
        return Err(fault.take().unwrap_or_else(|| of_serde(&e)));
    }
    reader.end().map_err(|_| JsonFault::Trailing)?;
    Ok(text)
}

fn of_serde(e: &serde_json::Error) -> JsonFault {
    // serde_json names the fault in words only; these have been the same since 1.0.
    if e.is_eof() {
        JsonFault::Unfinished
    } else if e.to_string().starts_with("number out of range") {
        JsonFault::Number
    } else {
        JsonFault::Syntax { line: e.line(), column: e.column() }
    }
}

/// Walks a value without keeping it.
#[derive(Clone, Copy)]
struct Strict<'f> {
    left: usize,
    most: usize,
    fault: &'f Cell<Option<JsonFault>>,
}

impl Strict<'_> {
    fn fail<E: de::Error>(&self, fault: JsonFault) -> E {
        self.fault.set(Some(fault));
        E::custom("refused")
    }
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(self.fail(JsonFault::TooDeep { most: self.most })),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();
    fn deserialize<D: de::Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<(), E> {
        // An integer that does not fit into 64 bits arrives here, rounded. Fractions (percentiles of
        // `eth_feeHistory`) are small.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if v.abs() < EXACT { Ok(()) } else { Err(self.fail(JsonFault::Number)) }
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut keys: Vec<Cow<'de, str>> = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            keys.push(key);
            map.next_value_seed(inner)?;
        }
        keys.sort_unstable();
        if keys.windows(2).any(|w| w[0] == w[1]) {
            return Err(self.fail(JsonFault::DuplicateKey));
        }
        Ok(())
    }
}

/// A key, borrowed unless it has escapes: `"\u0061"` and `"a"` are the same key.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;
    fn deserialize<D: de::Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(v))
    }
    fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(v.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(s: &[u8]) -> JsonFault {
        check(s, 4).unwrap_err()
    }

    #[test]
    fn what_is_ambiguous_is_refused_with_its_reason() {
        assert_eq!(fault(br#"{"a":1,"a":2}"#), JsonFault::DuplicateKey);
        assert_eq!(fault(br#"{"a":1,"\u0061":2}"#), JsonFault::DuplicateKey);
        assert_eq!(fault(br#"[{"b":{"a":1,"a":1}}]"#), JsonFault::DuplicateKey);
        assert_eq!(fault(b"[[[[[]]]]]"), JsonFault::TooDeep { most: 4 });
        assert_eq!(fault(b"[1] x"), JsonFault::Trailing);
        assert_eq!(fault(b"[1][2]"), JsonFault::Trailing);
        assert_eq!(fault(b"[1, "), JsonFault::Unfinished);
        assert_eq!(fault(b""), JsonFault::Unfinished);
        assert_eq!(fault(b"[\xff]"), JsonFault::NotUtf8 { at: 1 });
        assert!(matches!(fault(br#""\ud800""#), JsonFault::Syntax { .. }));
        assert!(matches!(fault(b"[01]"), JsonFault::Syntax { .. }));
        assert!(matches!(fault(b"[NaN]"), JsonFault::Syntax { .. }));
        for n in ["1e999", "18446744073709551616", "-9223372036854775809", "1e300", "99999999999999999999999"] {
            assert_eq!(fault(n.as_bytes()), JsonFault::Number, "{n}");
        }
    }

    #[test]
    fn what_is_not_ambiguous_passes() {
        for ok in [
            r#"{"a":1,"b":{"a":1}}"#,
            r#"[{"a":1},{"a":1}]"#,
            "[[[[]]]]",
            "[18446744073709551615,-9223372036854775808,25.5]",
            " null\n",
        ] {
            assert_eq!(check(ok.as_bytes(), 4), Ok(ok), "{ok}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_accepted_or_refused_as_serde_json_would_at_least(bytes: Vec<u8>) {
            if check(&bytes, 8).is_ok() {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
            }
        }
    }
}
