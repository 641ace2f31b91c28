//! The annotated example against the code, and how mistakes are named.
#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::BTreeSet;
use tandem_preconf::PreconfConfig;

const EXAMPLE: &str = include_str!("../../../../docs/tandem.example.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    load::parse(Path::new("tandem.toml"), text)
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
        ("flush_ms = 200", "flush_ms = 1", "ledger.flush_ms"),
        ("json_depth = 32", "json_depth = 101", "gateway.limits.json_depth"),
    ];
    let mut text = EXAMPLE.to_owned();
    for (right, wrong, _) in changes {
        assert!(text.contains(right), "the example has no `{right}`");
        text = text.replacen(right, wrong, 1);
    }
    let file = File { path: "tandem.toml".into(), config: parse(&text).unwrap(), text: text.clone() };
    let faults = file.config.faults();
    // A table names its first fault: [journal] has two here.
    assert_eq!(faults.len(), changes.len() - 1, "{faults:?}");
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
