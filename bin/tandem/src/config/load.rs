//! Reads a TOML file into a typed configuration; a mistake is named by key, line and remedy.

use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Largest configuration file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Why a configuration was not taken.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can not be read.
    #[error("{}: {why}. Remedy: `tandem init` writes one, or name it with --config", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A key or value is not understood.
    #[error("{}:{line}: {message}{}", path.display(), remedy.as_ref().map(|r| format!(". Remedy: {r}")).unwrap_or_default())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong, with the key.
        message: String,
        /// What would be right.
        remedy: Option<String>,
    },
    /// Values that do not fit each other.
    #[error("{}:{line}: [{key}]: {message}. Remedy: {remedy}", path.display())]
    Rejected {
        /// Which file.
        path: PathBuf,
        /// Line of the key, from 1; 1 where the key is not written in the file.
        line: usize,
        /// The key or table.
        key: String,
        /// What is wrong.
        message: String,
        /// What would be right.
        remedy: String,
    },
}

/// A value that a `validate` refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The key, as a dotted path.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub remedy: String,
}

impl Rejection {
    /// A rejection of a key.
    pub fn new(key: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), remedy: remedy.into() }
    }
}

/// Reads and parses a file.
///
/// # Errors
/// [`ConfigError`] with the line, the key, and the nearest known key for one that is unknown.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<(T, String), ConfigError> {
    let unreadable = |why: String| ConfigError::Unreadable { path: path.into(), why };
    let size = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(unreadable(format!("{size} bytes; a configuration has at most {MAX_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
    Ok((parse(path, &text)?, text))
}

/// Parses a text that came from `path`.
///
/// # Errors
/// [`ConfigError::Invalid`].
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|e| {
        let start = e.span().map_or(0, |s| s.start);
        let message = e.message().lines().next().unwrap_or("not understood").to_owned();
        ConfigError::Invalid { path: path.into(), line: line_of(text, start), remedy: remedy(&message), message }
    })
}

/// Places a rejection on its line.
pub fn rejected(path: &Path, text: &str, r: Rejection) -> ConfigError {
    ConfigError::Rejected {
        path: path.into(),
        line: find_key(text, &r.key),
        key: r.key,
        message: r.message,
        remedy: r.remedy,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count()
}

/// The line on which the last part of a dotted key is written, inside the table of its first parts;
/// `relays[1].url` is looked for in the second `[[…relays]]`. For a key that is not written it is the
/// line of its table, and 1 where that is not written either.
pub fn find_key(text: &str, key: &str) -> usize {
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    let (mut inside, mut table_line) = (table.is_empty(), 1);
    let mut counts = std::collections::HashMap::<&str, usize>::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(head) = line.strip_prefix('[') {
            let is_array = head.starts_with('[');
            let head = head.trim_start_matches('[').split(']').next().unwrap_or_default().trim();
            let nth = counts.entry(head).and_modify(|n| *n += 1).or_default();
            let element = format!("{head}[{nth}]");
            let is = |wanted: &str| wanted == head || (is_array && wanted == element);
            inside = is(table);
            if inside || is(key) {
                table_line = i + 1;
            }
        } else if inside && line.split('=').next().is_some_and(|k| k.trim() == name) {
            return i + 1;
        }
    }
    table_line
}

/// For `unknown field`, the nearest of the expected ones.
fn remedy(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "))?;
    let mut names = rest.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    let known: Vec<&str> = names.collect();
    let nearest =
        known.iter().max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b)))?;
    Some(format!("the nearest known key is `{nearest}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        listen: String,
        max_body: Option<u64>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Outer {
        gateway: Inner,
    }

    fn fault(text: &str) -> String {
        parse::<Outer>(Path::new("t.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let said = fault("[gateway]\nlisten = \"a\"\nmax_bodi = 3\n");
        assert!(said.starts_with("t.toml:3:"), "{said}");
        assert!(said.contains("`max_bodi`") && said.contains("nearest known key is `max_body`"), "{said}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        let said = fault("[gateway]\n\nlisten = 7\n");
        assert!(said.starts_with("t.toml:3:"), "{said}");
    }

    #[test]
    fn a_key_of_an_array_of_tables_is_found_in_its_own_element() {
        let text = "[a]\n[[a.list]]\nx = 1\n[[a.list]]\ny = 2\nx = 3\n";
        assert_eq!(find_key(text, "a.list[0].x"), 3);
        assert_eq!(find_key(text, "a.list[1].x"), 6);
        assert_eq!(find_key(text, "a.list[1].unwritten"), 4);
        assert_eq!(find_key(text, "b.c"), 1);
    }

    #[test]
    fn a_rejected_value_is_found_in_its_table() {
        let text = "[a]\nx = 1\n[b]\ny = 2\nx = 3\n";
        let said = rejected(Path::new("t.toml"), text, Rejection::new("b.x", "too small", "at least 5")).to_string();
        assert_eq!(said, "t.toml:5: [b.x]: too small. Remedy: at least 5");
    }
}
