//! The annotated example against the code, and how mistakes are named.
#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::BTreeSet;
use tandem_preconf::PreconfConfig;

const EXAMPLE: &str = include_str!("../../../../docs/tandem.example.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    let (config, faults) = load::parse(Path::new("tandem.toml"), text);
    faults.into_iter().next().map_or_else(|| Ok(config.unwrap()), Err)
}

/// The example with its commented settings switched on.
fn whole() -> String {
    EXAMPLE.lines().map(|l| format!("{}\n", l.strip_prefix("#: ").unwrap_or(l))).collect()
}

#[test]
fn the_annotated_example_holds_the_defaults() {
    let example = parse(EXAMPLE).unwrap();
    assert_eq!(example.faults(), Vec::new());
    let mut defaults = Config { nodes: example.nodes.clone(), ..Config::default() };
    // The one module that an operator starts with; without it a host only builds blocks.
    defaults.run.modules = example.run.modules.clone();
    assert_eq!(example, defaults);
    assert_eq!(example.nodes.len(), 1);
    assert_eq!(example.run.modules.len(), 1);
    let preconf = example.run.modules.values().next().unwrap();
    let config = serde_json::to_vec(&preconf.config).unwrap();
    assert_eq!(PreconfConfig::parse(&config).unwrap(), PreconfConfig::default());
}

#[test]
fn every_key_of_the_example_that_is_commented_out_is_a_known_one() {
    parse(&whole()).unwrap();
    assert_ne!(whole(), EXAMPLE);
}

/// The names that a table takes, as the parser itself lists them when it meets an unknown one.
fn known_keys(text: &str, header: usize) -> BTreeSet<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.insert(header + 1, "zz_unknown = 1");
    match parse(&lines.join("\n")) {
        Err(ConfigError::Invalid { message, .. }) if message.contains("`zz_unknown`") => {
            message.split('`').skip(1).step_by(2).skip(1).map(str::to_owned).collect()
        }
        // A module's own table is the module's to check.
        _ => BTreeSet::new(),
    }
}

#[test]
fn the_example_has_every_setting_that_there_is() {
    let text = whole();
    let head = |l: &str| l.strip_prefix('[').map(|h| h.trim_start_matches('[').split(']').next().unwrap().to_owned());
    let heads: BTreeSet<String> = text.lines().filter_map(head).collect();
    let (mut tables, mut keys) = (0, 0);
    for (i, line) in text.lines().enumerate() {
        let Some(table) = head(line) else { continue };
        let body: Vec<&str> = text.lines().skip(i + 1).take_while(|l| head(l).is_none()).collect();
        let known = known_keys(&text, i);
        tables += usize::from(!known.is_empty());
        for key in known {
            let written = body.iter().any(|l| l.split('=').next().is_some_and(|k| k.trim() == key));
            let below = heads.iter().any(|h| {
                h.strip_prefix(&table)
                    .and_then(|r| r.strip_prefix('.'))
                    .is_some_and(|r| r.split('.').next() == Some(key.as_str()))
            });
            assert!(written || below, "docs/tandem.example.toml lacks `{key}` in [{table}]");
            keys += 1;
        }
    }
    assert!(tables >= 12 && keys >= 80, "only {tables} tables with {keys} keys were looked at");
}

#[test]
fn a_misspelt_key_is_named_with_the_nearest_known_one() {
    let text = EXAMPLE.replace("steering = true", "stering = true");
    let said = parse(&text).unwrap_err().to_string();
    assert!(said.contains("`stering`") && said.contains("`steering`"), "{said}");
}

#[test]
fn a_configuration_without_nodes_says_what_to_add() {
    let faults = Config::default().faults();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].key, "nodes");
    assert!(faults[0].remedy.contains("[[nodes]]"));
}

#[test]
fn every_value_that_does_not_fit_is_named_with_its_key_line_and_remedy() {
    let changes = [
        ("max_concurrent = 64", "max_concurrent = 0", "limits.max_concurrent"),
        ("batch = 64 ", "batch = 999 ", "state.batch"),
        ("poll_ms = 4000", "poll_ms = 1", "feed.poll_ms"),
        ("queue = 8192", "queue = 0", "journal.queue"),
        ("unsecured_percent = 50", "unsecured_percent = 51", "journal.room.unsecured_percent"),
        ("ban_after = 3", "ban_after = 0", "run.ban_after"),
        ("steering_eth = 1000", "steering_eth = 1001", "blocks.steering_eth"),
        ("header_deadline_ms = 900", "header_deadline_ms = 1200", "builder.header_deadline_ms"),
        ("slots_ahead = 64", "slots_ahead = 65", "blocks.slots_ahead"),
        ("flush_ms = 200", "flush_ms = 1", "ledger.flush_ms"),
        ("json_depth = 32", "json_depth = 101", "gateway.limits.json_depth"),
    ];
    let mut text = EXAMPLE.to_owned();
    for (right, wrong, _) in changes {
        assert!(text.contains(right), "the example has no `{right}`");
        text = text.replacen(right, wrong, 1);
    }
    let (path, config) = ("tandem.toml".into(), parse(&text).unwrap());
    let file = File { path, config, text: text.clone(), not_understood: Vec::new() };
    let faults = file.config.faults();
    assert_eq!(faults.len(), changes.len(), "{faults:?}");
    for fault in faults {
        let change = changes.iter().find(|c| c.2 == fault.key);
        let (_, wrong, key) = change.unwrap_or_else(|| panic!("nobody changed {}", fault.key));
        let line = 1 + text.lines().position(|l| l.starts_with(wrong.trim())).unwrap();
        let said = file.place(fault).to_string();
        assert!(said.starts_with(&format!("tandem.toml:{line}: [{key}]: ")), "{said}");
        let remedy = said.split("Remedy: ").nth(1).unwrap();
        assert!(remedy.chars().any(|c| c.is_ascii_digit()), "no value that would do: {said}");
    }
}

#[test]
fn files_of_the_gateway_are_looked_for_beside_the_configuration_as_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tandem.toml");
    let keys = "[[gateway.api_keys]]\nname = \"a\"\nkey_file = \"a.key\"\nper_second = 1\nburst = 1\n";
    std::fs::write(&path, format!("[gateway]\nadmin_token_file = \"/elsewhere/token\"\n{keys}")).unwrap();
    let config = File::read(&path).map_err(|all| format!("{all:?}")).unwrap().config;
    assert_eq!(config.gateway.api_keys[0].key_file, Some(dir.path().join("a.key")));
    assert_eq!(config.gateway.admin_token_file, Some("/elsewhere/token".into()));
}

#[test]
fn a_value_of_a_wrong_kind_is_named_with_its_key_its_line_and_what_would_be_right() {
    let whole = whole();
    for (key, right, wrong, remedy) in [
        ("journal.room.gas", "gas = 20000000", "gas = \"x\"", "a whole number without quotes, 0 or more; docs/"),
        ("journal.queue", "queue = 8192", "queue = -1", "`queue = 8192`"),
        (
            "gateway.listen",
            "listen = \"127.0.0.1:18650\"",
            "listen = \"nope\"",
            "an IP address and a port, in quotes; docs/",
        ),
        ("blocks.min_bid", "min_bid = \"0\"", "min_bid = \"-1\"", "`min_bid = \"0\"`"),
        ("blocks.steering", "steering = true", "steering = 1", "true or false, without quotes; docs/"),
        (
            "nodes[0].execution",
            "execution = \"http://127.0.0.1:8545\"",
            "execution = 1",
            "`execution = \"http://127.0.0.1:8545\"`",
        ),
        ("blocks.relays[0].constraints", "constraints = false", "constraints = \"no\"", "`constraints = false`"),
        ("gateway.hosts", "hosts = []", "hosts = \"a\"", "a list in square brackets; docs/"),
        ("gateway.api_keys[0].burst", "burst = 1000\n", "burst = 1.5\n", "`burst = 1000`"),
        (
            "blocks.min_bid",
            "min_bid = \"0\"",
            "min_bid = 0",
            "a text in quotes; docs/tandem.example.toml has `min_bid = \"0\"`",
        ),
        ("ledger.flush_ms", "flush_ms = 200", "flush_ms = \"200\"", "a whole number without quotes, 0 or more; docs/"),
        (
            "paths.data",
            "data = \"data\" ",
            "data = 7 ",
            "a text in quotes; docs/tandem.example.toml has `data = \"data\"`",
        ),
        ("run.modules.preconf.grant[1]", "\"inclusion\"", "\"inclusions\"", "nearest known key is `inclusion`"),
    ] {
        assert!(whole.contains(right), "the example has no `{right}`");
        let text = whole.replacen(right, wrong, 1);
        let line = 1 + text.lines().position(|l| l.contains(wrong.trim())).unwrap();
        let said = parse(&text).unwrap_err().to_string();
        let (what, mend) = said.split_once(". Remedy: ").unwrap_or_else(|| panic!("no remedy: {said}"));
        assert!(what.starts_with(&format!("tandem.toml:{line}: [{key}]: ")), "{said}");
        assert!(mend.contains(remedy), "{said}");
    }
}

#[test]
fn a_table_as_a_list_and_a_list_as_a_table_are_named_with_what_is_expected_and_how_it_is_written() {
    for (text, line, key, what, how) in [
        ("\n[[gateway]]\nlisten = \"127.0.0.1:1\"\n", 2, "gateway", "a list of tables", "`[gateway]`, `listen = "),
        ("[gateway]\n\nlimits = []\n", 3, "gateway.limits", "a list in", "`[gateway.limits]`, `body_bytes = 2097152`"),
        ("limits = [1, 2, 3, 4]\n", 1, "limits", "a list in", "`[limits]`, `deadline_ms = 5000`"),
        ("[stop]\n[[journal.room]]\ngas = 1\n", 2, "journal.room", "a list of tables", "`[journal.room]`, `gas = "),
        ("paths = \"data\"\n", 1, "paths", "a text in quotes", "`[paths]`, `data = \"data\"`"),
        ("[nodes]\nexecution = \"http://a\"\n", 1, "nodes", "a table", "`[[nodes]]`, `execution = "),
        ("nodes = [\n\"http://a\"]\n", 1, "nodes[0]", "a text in quotes", "`[[nodes]]`, `execution = "),
        ("nodes = \"http://a\"\n", 1, "nodes", "a text in quotes", "`[[nodes]]`, `execution = "),
        ("[blocks]\n[blocks.relays]\nname = \"a\"\n", 2, "blocks.relays", "a table", "`[[blocks.relays]]`, `name = "),
        ("[gateway.hosts]\na = 1\n", 1, "gateway.hosts", "a table", "`hosts = []`"),
        ("[gateway]\nlisten = [\"127.0.0.1:1\"]\n", 2, "gateway.listen", "a list in", "`listen = \"127.0.0.1:18650\"`"),
        ("[[run.modules.mine]]\nenabled = true\n", 1, "run.modules.mine", "a list of tables", "`[run.modules.mine]`, "),
        (
            "[run.modules.mine]\nconfig = []\n",
            2,
            "run.modules.mine.config",
            "a list in",
            "`[run.modules.mine.config]`, ",
        ),
        ("[run.modules.mine]\ngrant = \"state\"\n", 2, "run.modules.mine.grant", "a text in", "`grant = ["),
    ] {
        let said = parse(text).unwrap_err().to_string();
        let (told, mend) = said.split_once(". Remedy: ").unwrap_or_else(|| panic!("no remedy: {said}"));
        assert!(told.starts_with(&format!("tandem.toml:{line}: [{key}]: {what}")), "{said}");
        assert!(told.contains(" is given, expected a ") && mend.contains(how), "{said}");
    }
}

#[test]
fn of_a_file_with_tables_as_lists_every_one_is_named_and_the_rest_is_taken() {
    let text = "[[gateway]]\nlisten = \"127.0.0.1:1\"\n[feed]\npoll_ms = \"x\"\n[ledger]\nflush_ms = 300\n[limits]\n\
                deadline_ms = 7\n[[journal]]\nqueue = 1\n[[journal]]\nqueue = 2\n";
    let (config, faults) = load::parse::<Config>(Path::new("tandem.toml"), text);
    let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let config = config.unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!((config.ledger.flush_ms, config.limits.deadline_ms), (300, 7));
    for line in [1, 4, 9] {
        assert!(said.iter().any(|s| s.starts_with(&format!("tandem.toml:{line}: ["))), "{line}: {said:?}");
    }
}

#[test]
fn every_key_of_the_example_has_the_example_as_a_remedy() {
    // A table is no kind that any key has.
    let text = whole();
    let (mut table, mut keys) = (String::new(), 0);
    for (n, line) in text.lines().enumerate() {
        if let Some(head) = line.strip_prefix('[') {
            table = head.trim_start_matches('[').split(']').next().unwrap().to_owned();
            continue;
        }
        let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        // The module's own table is the module's.
        if table.ends_with(".config") {
            continue;
        }
        let mut lines: Vec<&str> = text.lines().collect();
        let wrong = format!("{} = {{ zz = 1979-05-27 }}", name.trim());
        lines[n] = &wrong;
        let said = parse(&lines.join("\n")).unwrap_err().to_string();
        let named =
            said.starts_with(&format!("tandem.toml:{}: ", n + 1)) && said.contains(&format!("{}]: ", name.trim()));
        assert!(named && said.contains(". Remedy: ") && said.contains("docs/tandem.example.toml"), "{said}");
        keys += 1;
    }
    assert!(keys >= 80, "only {keys}");
}
