//! Reads a TOML file into a typed configuration; a mistake is named by key, line and remedy.

use super::shape;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Largest configuration file that is read.
const MAX_BYTES: u64 = 1 << 20;
/// More faults than anybody reads.
const MOST: usize = 64;
/// Every key with its default.
const EXAMPLE: &str = include_str!("../../../../docs/tandem.example.toml");

/// The annotated example with its settings that have no default switched on.
pub(super) fn whole_example() -> String {
    EXAMPLE.lines().map(|l| format!("{}\n", l.strip_prefix("#: ").unwrap_or(l))).collect()
}

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

/// Reads a file.
///
/// # Errors
/// [`ConfigError::Unreadable`].
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |why: String| ConfigError::Unreadable { path: path.into(), why };
    let size = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(unreadable(format!("{size} bytes; a configuration has at most {MAX_BYTES}")));
    }
    std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))
}

/// Parses a text that came from `path`: what it says but for the lines that are not understood, and every
/// one of those. No configuration, but a fault, where the text is no TOML or a key is missing that there
/// must be.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> (Option<T>, Vec<ConfigError>) {
    let (mut rest, mut faults, mut gone) = (text.to_owned(), Vec::new(), Vec::new());
    loop {
        // Before it is read as a configuration: a list would be taken for a table whose keys have no names.
        if let Some(misfit) = shape::misfit(&rest) {
            let line = misfit.line;
            faults.push(misfit.told(path));
            match without(&rest, line).filter(|_| faults.len() < MOST) {
                Some((less, key)) => (rest, _) = (less, gone.push(key)),
                None => return (None, faults),
            }
            continue;
        }
        let (e, key) = match read_as(&rest) {
            Ok(config) => return (Some(config), faults),
            Err(e) => e,
        };
        let line = line_of(&rest, e.span().map_or(0, |s| s.start));
        let message = e.message().lines().next().unwrap_or("not understood").to_owned();
        let missing = message.strip_prefix("missing field `").and_then(|m| m.split('`').next()).map(str::to_owned);
        // What was taken out is missing by that alone.
        if missing.as_ref().is_none_or(|key| !gone.contains(key)) {
            let path = path.to_owned();
            faults.push(match key.filter(|_| missing.is_none() && unknown_key(&message).is_none()) {
                Some(key) => ConfigError::Rejected { path, line, remedy: right(&key, &message), message, key },
                None => ConfigError::Invalid { path, line, remedy: remedy(&message), message },
            });
        }
        match without(&rest, line).filter(|_| missing.is_none() && faults.len() < MOST) {
            Some((less, key)) => (rest, _) = (less, gone.push(key)),
            // There is at least one fault: what is missing by what was taken out is not the first.
            None => return (None, faults),
        }
    }
}

/// What a text says, or why it is not understood and the key of the value that it is about, where it is about one.
fn read_as<T: DeserializeOwned>(text: &str) -> Result<T, (toml::de::Error, Option<String>)> {
    let toml = toml::Deserializer::parse(text).map_err(|e| (e, None))?;
    serde_path_to_error::deserialize(toml).map_err(|e| {
        let key = e.path().to_string();
        (e.into_inner(), Some(key).filter(|key| key != "."))
    })
}

/// What would be right for a key whose value is not: its kind, and its value in the annotated example.
pub(super) fn right(key: &str, message: &str) -> String {
    if let Some(nearest) = remedy(message) {
        return nearest;
    }
    let expected = message.rsplit_once("expected ").map_or(message, |(_, expected)| expected);
    let kind: &str = match expected {
        e if ["u8", "u16", "u32", "u64", "usize"].contains(&e) => "a whole number without quotes, 0 or more",
        "a boolean" => "true or false, without quotes",
        "a string" => "a text in quotes",
        "a sequence" => "a list in square brackets",
        e if e.contains("socket address") => "an IP address and a port, in quotes",
        _ => shape::kind_of(key).unwrap_or("another value"),
    };
    match example_of(key) {
        Some(example) => format!("{kind}; docs/tandem.example.toml has `{example}`"),
        None => format!("{kind}; {}", super::faults::EXAMPLE),
    }
}

/// The line of a key in the annotated example, without its comment.
fn example_of(key: &str) -> Option<String> {
    let text = whole_example();
    // Of what there may be several, it has one.
    let mut parts = key.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    let key =
        parts.fold(first, |whole, part| format!("{whole}[0{}", part.trim_start_matches(|c: char| c.is_ascii_digit())));
    let line = text.lines().nth(find_key(&text, &key).checked_sub(1)?)?;
    let (name, value) = line.parse::<toml::Table>().ok()?.into_iter().next()?;
    (key.rsplit('.').next() == Some(name.as_str()) && !value.is_table()).then(|| format!("{name} = {value}"))
}

/// A text without the key or the table that begins on a line, which stays as an empty one; and that key.
fn without(text: &str, line: usize) -> Option<(String, String)> {
    let is_toml = |lines: &[&str]| lines.join("\n").parse::<toml::Table>().is_ok();
    let mut lines: Vec<&str> = text.lines().collect();
    let (first, is_head) = (line.checked_sub(1)?, |l: &str| l.trim_start().starts_with('['));
    let key = lines.get(first)?.split('=').next().unwrap_or_default().trim().to_owned();
    if key.is_empty() || !is_toml(&lines) {
        return None;
    }
    let is_table = is_head(lines[first]);
    lines[first] = "";
    // A table goes to its end, and a value over several lines to its own.
    for at in first + 1..lines.len() {
        let is_over = if is_table { is_head(lines[at]) } else { is_toml(&lines) };
        if is_over {
            break;
        }
        lines[at] = "";
    }
    is_toml(&lines).then(|| (lines.join("\n"), key))
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

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count()
}

/// The line on which the last part of a dotted key is written, inside the table of its first parts;
/// `relays[1].url` is looked for in the second `[[…relays]]`. For a key that is not written it is the
/// line of its table, or of the table around that, and 1 where none is written.
pub fn find_key(text: &str, key: &str) -> usize {
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    let (mut inside, mut table_line) = (table.is_empty(), None);
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
                table_line = Some(i + 1);
            }
        } else if inside && line.split('=').next().is_some_and(|k| k.trim() == name) {
            return i + 1;
        }
    }
    match table_line {
        Some(line) => line,
        None if table.is_empty() => 1,
        // Written inside its own table, on one line.
        None => find_key(text, table),
    }
}

/// The key or word that a parser's message calls unknown, and what it would know.
fn unknown_and_known(message: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let rest = message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "))?;
    let mut names = rest.split('`').skip(1).step_by(2);
    Some((names.next()?, names))
}

/// The key that a parser's message calls unknown.
pub fn unknown_key(message: &str) -> Option<&str> {
    message.starts_with("unknown field ").then(|| unknown_and_known(message)).flatten().map(|(unknown, _)| unknown)
}

/// For `unknown field`, the nearest of the expected ones.
pub fn remedy(message: &str) -> Option<String> {
    let (unknown, names) = unknown_and_known(message)?;
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

    fn faults(text: &str) -> Vec<String> {
        parse::<Outer>(Path::new("t.toml"), text).1.iter().map(ToString::to_string).collect()
    }
    fn fault(text: &str) -> String {
        faults(text).remove(0)
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
    fn every_line_that_is_not_understood_is_named_and_the_rest_is_taken() {
        let text = "[gatewy]\na = [\n1,\n]\n[gateway]\nlisen = [\n  2,\n]\nmax_body = \"x\"\nlisten = \"a\"\n";
        let (taken, named) = parse::<Outer>(Path::new("t.toml"), text);
        let named: Vec<String> = named.iter().map(ToString::to_string).collect();
        assert_eq!(named.len(), 3, "{named:?}");
        for (line, word) in [(1, "`gatewy`"), (6, "`lisen`"), (9, "invalid type")] {
            let of = named.iter().find(|n| n.starts_with(&format!("t.toml:{line}:")));
            assert!(of.is_some_and(|n| n.contains(word)), "{word}: {named:?}");
        }
        let taken = taken.unwrap().gateway;
        assert_eq!((taken.listen.as_str(), taken.max_body), ("a", None));
    }

    #[test]
    fn a_key_that_must_be_there_is_not_also_missing_where_its_value_is_wrong() {
        let named = faults("[gateway]\nmax_bodi = 1\nlisten = 7\n");
        assert_eq!(named.len(), 2, "{named:?}");
        assert!(faults("[gateway]\n")[0].contains("missing field `listen`"));
        assert_eq!(faults("[gateway\n").len(), 1);
    }

    #[test]
    fn a_key_of_an_array_of_tables_is_found_in_its_own_element() {
        let text = "[a]\n[[a.list]]\nx = 1\n[[a.list]]\ny = 2\nx = 3\n";
        assert_eq!(find_key(text, "a.list[0].x"), 3);
        assert_eq!(find_key(text, "a.list[1].x"), 6);
        assert_eq!(find_key(text, "a.list[1].unwritten"), 4);
        assert_eq!(find_key(text, "b.c"), 1);
        assert_eq!(find_key("[a]\nb = { c = 1 }\n", "a.b.c"), 2);
    }

    #[test]
    fn a_rejected_value_is_found_in_its_table() {
        let text = "[a]\nx = 1\n[b]\ny = 2\nx = 3\n";
        let said = rejected(Path::new("t.toml"), text, Rejection::new("b.x", "too small", "at least 5")).to_string();
        assert_eq!(said, "t.toml:5: [b.x]: too small. Remedy: at least 5");
    }
}
