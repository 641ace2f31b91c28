//! All faults of a table, from a check that tells the first one only.

use super::{Rejection, load};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;
use tandem_host::HostError;

/// More faults of one table than anybody reads.
const MOST: usize = 64;
/// Where a right value stands.
pub(super) const EXAMPLE: &str = "docs/tandem.example.toml has every key with its default";

/// Every fault of a table. The key that a fault names, and any other of the table's that it speaks of, is
/// taken back to its default, and the rest is checked again; an element of a list is left out. So of an
/// element the first fault is named.
pub fn of_table<T, E>(table: &str, config: &T, check: impl Fn(&T) -> Result<(), E>) -> Vec<Rejection>
where
    T: Serialize + DeserializeOwned + Default,
    E: ToString,
{
    let (Ok(mut have), Ok(defaults)) = (serde_json::to_value(config), serde_json::to_value(T::default())) else {
        return check(config).err().map(|why| rejection(table, &why.to_string())).into_iter().collect();
    };
    let (mut faults, mut left) = (Vec::new(), Left::default());
    while faults.len() < MOST {
        // With a key at its default the rest is still what a table is.
        let Ok(rest) = serde_json::from_value::<T>(have.clone()) else { break };
        let Err(why) = check(&rest) else { break };
        let why = why.to_string();
        let why = below(table, &why).to_owned();
        let key = key_of(&why).unwrap_or_default().to_owned();
        faults.push(rejection(table, &left.as_written(&why)));
        let mended = match key.split_once('[') {
            Some((list, rest)) => left.take_out(&mut have, list, rest),
            None => {
                let spoken_of = why.split(|c: char| !is_of_key(c)).filter(|word| *word != key);
                let others = spoken_of.map(|word| reset(&mut have, &defaults, word)).fold(false, |a, b| a | b);
                reset(&mut have, &defaults, &key) | others
            }
        };
        if !mended {
            break;
        }
    }
    faults
}

/// Which elements of which list are left out, so that those that are left keep their numbers.
#[derive(Default)]
struct Left(BTreeMap<String, Vec<usize>>);

impl Left {
    /// Takes an element out of a list; `rest` begins with its number and `]`.
    fn take_out(&mut self, have: &mut Value, list: &str, rest: &str) -> bool {
        let at = rest.split(']').next().and_then(|n| n.parse::<usize>().ok());
        let elements = have.pointer_mut(&pointer(list)).and_then(Value::as_array_mut);
        let (Some(at), Some(elements)) = (at, elements) else { return false };
        if at >= elements.len() {
            return false;
        }
        let written = self.numbers(list, elements.len());
        written.remove(at);
        elements.remove(at);
        true
    }

    fn numbers(&mut self, list: &str, len: usize) -> &mut Vec<usize> {
        self.0.entry(list.to_owned()).or_insert_with(|| (0..len).collect())
    }

    /// A fault with its element's number in the file.
    fn as_written(&self, why: &str) -> String {
        let numbered = key_of(why).and_then(|key| {
            let (list, rest) = key.split_once('[')?;
            let (at, _) = rest.split_once(']')?;
            let written = self.0.get(list)?.get(at.parse::<usize>().ok()?)?;
            Some(why.replacen(&format!("{list}[{at}]"), &format!("{list}[{written}]"), 1))
        });
        numbered.unwrap_or_else(|| why.to_owned())
    }
}

fn pointer(key: &str) -> String {
    format!("/{}", key.replace('.', "/"))
}

/// Takes a key back to its default. False if it is none, or has that value already.
fn reset(have: &mut Value, defaults: &Value, key: &str) -> bool {
    let at = pointer(key);
    match (have.pointer_mut(&at), defaults.pointer(&at)) {
        (Some(value), Some(default)) if value != default => {
            *value = default.clone();
            true
        }
        _ => false,
    }
}

/// A fault without the name of its table.
fn below<'a>(table: &str, why: &'a str) -> &'a str {
    why.strip_prefix(table).and_then(|w| w.strip_prefix('.')).unwrap_or(why)
}

fn is_of_key(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.[]".contains(c)
}

/// The key that a fault begins with.
fn key_of(why: &str) -> Option<&str> {
    let key = &why[..why.find([':', ' '])?];
    (!key.is_empty() && key.chars().all(is_of_key)).then_some(key)
}

/// What a table's own check said, with the key that it names in front, as `key: why` or `key why`.
pub fn rejection(table: &str, why: &str) -> Rejection {
    let why = below(table, why);
    let named = key_of(why).map(|key| (key, why[key.len()..].trim_start_matches(':').trim()));
    match named {
        Some((key, rest)) if !rest.is_empty() => {
            Rejection::new(format!("{table}.{key}"), "this value does not work", format!("{key}: {rest}"))
        }
        _ => Rejection::new(table, why, EXAMPLE),
    }
}

/// Why the modules can not be started, with the key in the file.
pub fn of_modules(fault: &HostError, config: &tandem_host::HostConfig) -> Rejection {
    match fault {
        HostError::UnknownFactory { module, name, nearest } => Rejection::new(
            format!("run.modules.{module}.factory"),
            format!("there is no module {name:?} built in"),
            format!("the nearest is {nearest:?}"),
        ),
        HostError::Refused { module, why } => {
            let given = config.modules.get(module).map(|m| m.config.to_string()).unwrap_or_default();
            of_module(&format!("run.modules.{module}.config"), why, &given)
        }
        HostError::Conflict { method, first, second } => Rejection::new(
            format!("run.modules.{second}"),
            format!("modules {first} and {second} both answer {method:?}"),
            "switch one of them off with `enabled = false`",
        ),
        other => Rejection::new("run", other.to_string(), EXAMPLE),
    }
}

/// What a module says of its own table, which it was given as JSON text.
fn of_module(table: &str, why: &str, given: &str) -> Rejection {
    // Where it is in that text is nothing to the operator but for the key.
    let Some((message, at)) = why.rsplit_once(" at line 1 column ") else {
        let known = serde_json::from_str::<Value>(given).unwrap_or_default();
        let is_known =
            key_of(why).and_then(|key| key.split(['.', '[']).next()).is_some_and(|key| known.get(key).is_some());
        // Its own words may begin with any word.
        return if is_known { rejection(table, why) } else { Rejection::new(table, why, EXAMPLE) };
    };
    if let (Some(unknown), Some(remedy)) = (load::unknown_key(message), load::remedy(message)) {
        return Rejection::new(format!("{table}.{unknown}"), message, remedy);
    }
    let before = at.parse::<usize>().ok().and_then(|n| given.get(..n)).unwrap_or_default();
    let key = before.rfind("\":").map(|end| &before[..end]).and_then(|b| b.rsplit('"').next());
    match key {
        Some(key) => {
            let key = format!("{table}.{key}");
            let remedy = load::right(&key, message);
            Rejection::new(key, message, remedy)
        }
        None => Rejection::new(table, message, EXAMPLE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_table_is_named_once_and_elements_by_their_number_in_the_file() {
        let key = |name: &str| tandem_gateway::config::ApiKey {
            name: name.into(),
            key_file: Some("a".into()),
            key_env: None,
            per_second: 1,
            burst: 1,
        };
        let mut config = tandem_gateway::Config { api_keys: ["", "b", "", "d"].map(key).into(), ..Default::default() };
        config.api_keys[3].key_env = Some("ALSO".into());
        config.limits.json_depth = 101;
        config.limits.batch = 0;
        config.rates.callers = 0;
        let faults = of_table("gateway", &config, tandem_gateway::Config::validate);
        let keys: Vec<&str> = faults.iter().map(|f| f.key.as_str()).collect();
        let want = ["limits.batch", "limits.json_depth", "rates.callers", "api_keys[0].name", "api_keys[2].name"];
        let want: Vec<String> = want.iter().chain(&["api_keys[3]"]).map(|k| format!("gateway.{k}")).collect();
        assert_eq!(keys, want);
        assert!(faults[4].remedy.starts_with("api_keys[2].name: 1 to 64"), "{faults:?}");
    }

    #[test]
    fn two_keys_that_do_not_fit_each_other_do_not_hide_what_comes_after_them() {
        let url = "https://0xaa@relay.example".into();
        let relay = tandem_blocks::config::RelayConfig { name: String::new(), url, constraints: false };
        // The reserve is the default: it is the other one that is too short for it.
        let config = tandem_blocks::Config { header_ms: 1, relays: vec![relay], ..Default::default() };
        let faults = of_table("blocks", &config, tandem_blocks::Config::validate);
        let keys: Vec<&str> = faults.iter().map(|f| f.key.as_str()).collect();
        assert_eq!(keys, ["blocks.header_reserve_ms", "blocks.relays[0].name"]);
        let sound = tandem_blocks::Config::default();
        assert!(of_table("blocks", &sound, tandem_blocks::Config::validate).is_empty());
    }

    /// Where the module's table is written, and what is said of it.
    fn placed(config: &str, why: &str) -> (usize, Rejection) {
        let text = format!("[run.modules.preconf]\nenabled = true\n[run.modules.preconf.config]\n{config}");
        let given = toml::from_str::<crate::config::Config>(&text).unwrap().run;
        let module = "preconf".parse().unwrap();
        let fault = HostError::Refused { module, why: why.to_owned() };
        let rejection = of_modules(&fault, &given);
        (load::find_key(&text, &rejection.key), rejection)
    }

    #[test]
    fn what_a_module_says_of_its_own_table_has_key_line_and_the_nearest_known_key() {
        let why = |config: &str| {
            let table: Value = toml::from_str(config).unwrap();
            tandem_preconf::PreconfConfig::parse(table.to_string().as_bytes()).unwrap_err()
        };
        for (config, line, key, remedy) in [
            ("offers = 5\nofer_ms = 3\n", 5, "ofer_ms", "nearest known key is `offer_ms`"),
            ("offer_ms = 3\nmin_tip = \"1\"\n", 5, "min_tip", "a whole number without quotes, 0 or more; docs/"),
            ("offer_ms = 3\nremember = []\n", 5, "remember", "`remember = 100000`"),
            ("offer_ms = 3\ndeposits = 1\n", 5, "deposits", "a list in square brackets; docs/"),
            ("offer_ms = 3\noffers = 0\n", 5, "offers", "1 to 1,048,576"),
        ] {
            let (at, said) = placed(config, &why(config));
            assert_eq!((at, said.key), (line, format!("run.modules.preconf.config.{key}")));
            assert!(
                said.remedy.contains(remedy) && !said.message.contains("column"),
                "{} {}",
                said.message,
                said.remedy
            );
        }
        let (at, said) = placed("offers = 5\n", "it panicked while it was made: ouch");
        assert_eq!((at, said.key.as_str()), (3, "run.modules.preconf.config"));
        assert!(said.message.contains("ouch"));
    }
}
