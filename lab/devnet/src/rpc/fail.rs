//! Errors and arguments, with geth's codes and words.

use crate::execution::{BuildError, ExecError, PoolError};
use alloy_primitives::Bytes;
use jsonrpsee::types::ErrorObjectOwned;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// What a call answers instead of a result.
#[derive(Clone, Debug)]
pub(crate) struct Fail {
    pub(crate) code: i32,
    pub(crate) message: String,
    pub(crate) data: Option<Bytes>,
}

impl Fail {
    /// The code that geth gives whatever has no other.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: -32000, message: message.into(), data: None }
    }

    pub(crate) fn coded(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(crate) fn params(message: impl Into<String>) -> Self {
        Self::coded(-32602, message)
    }

    /// A call that reverted: code 3, the reason in words where it has some, the bytes as data.
    pub(crate) fn reverted(output: &Bytes) -> Self {
        let reason = revert_reason(output).map(|r| format!(": {r}")).unwrap_or_default();
        Self { code: 3, message: format!("execution reverted{reason}"), data: Some(output.clone()) }
    }
}

/// The words of `Error(string)` or `Panic(uint256)`.
fn revert_reason(output: &[u8]) -> Option<String> {
    use alloy_primitives::U256;
    const ERROR: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
    const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];
    let (selector, rest) = output.split_first_chunk::<4>()?;
    match *selector {
        ERROR => {
            let length: usize = U256::from_be_slice(rest.get(32..64)?).try_into().ok()?;
            let end = 64usize.checked_add(length)?;
            Some(String::from_utf8_lossy(rest.get(64..end)?).into_owned())
        }
        PANIC => {
            let code: u64 = U256::from_be_slice(rest.get(..32)?).try_into().ok()?;
            let words = match code {
                0x00 => "generic panic",
                0x01 => "assert(false)",
                0x11 => "arithmetic underflow or overflow",
                0x12 => "division or modulo by zero",
                0x21 => "enum overflow",
                0x22 => "invalid encoded storage byte array accessed",
                0x31 => "out-of-bounds array access; popping on an empty array",
                0x32 => "out-of-bounds access of an array or bytesN",
                0x41 => "out of memory",
                0x51 => "uninitialized function",
                other => return Some(format!("unknown panic code: {other:#x}")),
            };
            Some(words.to_owned())
        }
        _ => None,
    }
}

impl From<Fail> for ErrorObjectOwned {
    fn from(fail: Fail) -> Self {
        Self::owned(fail.code, fail.message, fail.data)
    }
}

impl From<ExecError> for Fail {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::UnknownBlock(_) => Self::new("header not found"),
            ExecError::NoState(hash) => Self::new(format!("missing trie node: the state of {hash} is not available")),
            other => Self::new(other.to_string()),
        }
    }
}

impl From<BuildError> for Fail {
    fn from(error: BuildError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<PoolError> for Fail {
    fn from(error: PoolError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<tandem_trie::TrieError> for Fail {
    fn from(error: tandem_trie::TrieError) -> Self {
        Self::new(error.to_string())
    }
}

/// Positional arguments.
#[derive(Debug)]
pub(crate) struct Args {
    all: Vec<Box<RawValue>>,
    at: usize,
}

impl Args {
    pub(crate) fn parse(raw: Option<&str>) -> Result<Self, Fail> {
        let all = match raw {
            None => Vec::new(),
            Some(raw) => serde_json::from_str(raw).map_err(|_| Fail::params("non-array args"))?,
        };
        Ok(Self { all, at: 0 })
    }

    /// The next one, or nothing if it is missing or null.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Fail> {
        let index = self.at;
        self.at += 1;
        match self.all.get(index) {
            None => Ok(None),
            Some(raw) => {
                serde_json::from_str(raw.get()).map_err(|e| Fail::params(format!("invalid argument {index}: {e}")))
            }
        }
    }

    /// The next one.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<T, Fail> {
        let index = self.at;
        let missing = || Fail::params(format!("missing value for required argument {index}"));
        // A null is missing, as in geth.
        let raw = self.all.get(index).filter(|raw| raw.get() != "null").ok_or_else(missing)?;
        self.at += 1;
        serde_json::from_str(raw.get()).map_err(|e| Fail::params(format!("invalid argument {index}: {e}")))
    }

    /// There are no more.
    pub(crate) fn end(&self) -> Result<(), Fail> {
        if self.all.len() > self.at {
            return Err(Fail::params(format!("too many arguments, want at most {}", self.at)));
        }
        Ok(())
    }
}
