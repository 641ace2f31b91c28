//! What is a table and what a list, held against the annotated example, which has every key.
//!
//! The parser is asked last: to it a list is a table whose keys have no names, so that some such lists are taken,
//! and of others a fault is told that is none of the operator's.

use super::load::{ConfigError, line_of, whole_example};
use std::path::Path;
use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

/// Below it each module has a name that its operator chose.
const MODULES: &str = "run.modules";
/// What is in a module's own table is the module's to say.
const MODULES_OWN: &str = "config";

/// What stands where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Table,
    /// A list of tables, each with its own head.
    Tables,
    List,
    Text,
    Number,
    Switch,
    Other,
}

impl Kind {
    fn of(value: &Value) -> Self {
        match value {
            Value::Table(_) => Self::Table,
            Value::Array(all) if all.first().is_some_and(Value::is_table) => Self::Tables,
            Value::Array(_) => Self::List,
            Value::String(_) => Self::Text,
            Value::Integer(_) => Self::Number,
            Value::Boolean(_) => Self::Switch,
            Value::Float(_) | Value::Datetime(_) => Self::Other,
        }
    }

    fn of_given(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::Table(_) => Self::Table,
            DeValue::Array(all) if all.iter().any(|e| matches!(e.get_ref(), DeValue::Table(_))) => Self::Tables,
            DeValue::Array(_) => Self::List,
            DeValue::String(_) => Self::Text,
            DeValue::Integer(_) => Self::Number,
            DeValue::Boolean(_) => Self::Switch,
            DeValue::Float(_) | DeValue::Datetime(_) => Self::Other,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Table => "a table",
            Self::Tables => "a list of tables",
            Self::List => "a list in square brackets",
            Self::Text => "a text in quotes",
            Self::Number => "a whole number without quotes, 0 or more",
            Self::Switch => "true or false, without quotes",
            Self::Other => "another value",
        }
    }

    const fn is_list(self) -> bool {
        matches!(self, Self::Tables | Self::List)
    }

    /// Whether this is given where the other is wanted, and one of them is a table or a list. Of two plain values
    /// the parser knows better.
    fn misfits(self, wanted: Self) -> bool {
        let holds = |k: Self| k == Self::Table || k.is_list();
        let same = self == wanted || (self.is_list() && wanted.is_list());
        !same && (holds(self) || holds(wanted))
    }
}

/// A key with a table in place of a list, or the like.
#[derive(Debug)]
pub struct Misfit {
    /// The line on which it is written first.
    pub line: usize,
    key: String,
    message: String,
    remedy: String,
}

impl Misfit {
    /// As the configuration's fault.
    pub fn told(self, path: &Path) -> ConfigError {
        let Self { line, key, message, remedy } = self;
        ConfigError::Rejected { path: path.to_owned(), line, key, message, remedy }
    }
}

/// The first misfit of a text. None where it is no TOML.
pub fn misfit(text: &str) -> Option<Misfit> {
    let given = DeTable::parse(text).ok()?;
    let wanted: Table = whole_example().parse().ok()?;
    in_table(text, "", given.get_ref(), &wanted)
}

fn in_table(text: &str, path: &str, given: &DeTable<'_>, wanted: &Table) -> Option<Misfit> {
    given.iter().find_map(|(name, value)| {
        let wanted = match path {
            MODULES => wanted.values().next(),
            _ => wanted.get(name.get_ref().as_ref()),
        }?;
        let key = if path.is_empty() { name.get_ref().to_string() } else { format!("{path}.{}", name.get_ref()) };
        in_value(text, line_of(text, name.span().start), &key, value, wanted)
    })
}

fn in_value(text: &str, line: usize, key: &str, given: &Spanned<DeValue<'_>>, wanted: &Value) -> Option<Misfit> {
    let (have, want) = (Kind::of_given(given.get_ref()), Kind::of(wanted));
    if have.misfits(want) {
        let message = format!("{} is given, expected {}", have.words(), want.words());
        return Some(Misfit { line, key: key.to_owned(), message, remedy: remedy(key, wanted) });
    }
    let is_modules_own = key.starts_with(MODULES) && key.rsplit('.').next() == Some(MODULES_OWN);
    match (given.get_ref(), wanted) {
        (DeValue::Table(given), Value::Table(wanted)) if !is_modules_own => in_table(text, key, given, wanted),
        (DeValue::Array(given), Value::Array(wanted)) => {
            let wanted = wanted.first()?;
            let mut elements = given.iter().enumerate();
            elements.find_map(|(i, element)| in_value(text, line, &format!("{key}[{i}]"), element, wanted))
        }
        _ => None,
    }
}

/// How it is written, with the example's own first line of it.
fn remedy(key: &str, wanted: &Value) -> String {
    // An element is written as its list is.
    let (list, element) = key.strip_suffix(']').and_then(|k| k.rsplit_once('[')).unwrap_or((key, ""));
    let kind = Kind::of(wanted);
    let first = |table: &Table| {
        let plain = table.iter().find(|(_, v)| !v.is_table());
        plain.map(|(name, value)| format!(", `{name} = {value}`")).unwrap_or_default()
    };
    let head = match wanted {
        Value::Table(table) if element.is_empty() => format!("[{list}]`{}", first(table)),
        Value::Table(table) => format!("[[{list}]]`{}", first(table)),
        Value::Array(all) if kind == Kind::Tables => {
            let table = all.first().and_then(Value::as_table);
            format!("[[{list}]]`{}", table.map(first).unwrap_or_default())
        }
        value => {
            let name = list.rsplit('.').next().unwrap_or(list);
            return format!("{}; docs/tandem.example.toml has `{name} = {value}`", kind.words());
        }
    };
    format!("{} with its keys on lines of their own; docs/tandem.example.toml has `{head}", kind.words())
}

/// What the example has for a key, in words.
pub fn kind_of(key: &str) -> Option<&'static str> {
    let example: Table = whole_example().parse().ok()?;
    let mut value = &Value::Table(example);
    for part in key.split('.') {
        let (name, elements) = part.split_once('[').unwrap_or((part, ""));
        value = value.get(name)?;
        // Of a list the example has one element.
        for _ in elements.split_terminator('[') {
            value = value.get(0)?;
        }
    }
    Some(Kind::of(value).words())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_no_misfit_and_its_keys_have_the_kinds_that_they_have_there() {
        assert!(misfit(&whole_example()).is_none());
        for (key, kind) in [
            ("nodes", "a list of tables"),
            ("nodes[0]", "a table"),
            ("nodes[3].jwt", "a text in quotes"),
            ("gateway.limits", "a table"),
            ("gateway.hosts", "a list in square brackets"),
            ("blocks.fill", "true or false, without quotes"),
        ] {
            assert_eq!(kind_of(key), Some(kind));
        }
        assert_eq!(kind_of("gateway.nothing"), None);
    }
}
