//! Who may depend on whom.

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// One edge between two crates of the house, by their folders.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edge {
    from: String,
    to: String,
    dev: bool,
    optional: bool,
}

/// Floors, from the ground up.
const FLOORS: [&str; 7] = ["base", "watch", "run", "promise", "prove", "earn", "face"];
/// Who may hold secret keys.
const KEY_HOLDERS: [&str; 1] = ["crates/promise/signer"];
/// What a boost may know of the house.
const BOOST_KNOWS: [&str; 3] = ["crates/run/module", "crates/base/types", "crates/base/crypto"];

/// Checks the resolved graph.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let meta = MetadataCommand::new().current_dir(root).exec().context("cargo metadata")?;
    let mut folder = BTreeMap::new();
    for p in meta.workspace_packages() {
        let dir = p.manifest_path.parent().and_then(|d| d.strip_prefix(&meta.workspace_root).ok());
        folder.insert(p.name.to_string(), dir.map(ToString::to_string).unwrap_or_default());
    }
    let mut edges = Vec::new();
    let mut faults = Vec::new();
    for p in meta.workspace_packages() {
        for d in &p.dependencies {
            if d.source.as_ref().is_some_and(|s| !s.to_string().starts_with("registry+")) {
                faults.push(format!("{}: {} comes from {:?}, not from the registry", p.name, d.name, d.source));
            }
            let (Some(from), Some(to)) = (folder.get(p.name.as_str()), folder.get(&d.name)) else { continue };
            edges.push(Edge {
                from: from.clone(),
                to: to.clone(),
                dev: d.kind == DependencyKind::Development,
                optional: d.optional,
            });
        }
    }
    faults.extend(edges.iter().filter_map(fault));
    faults.extend(circles(&edges));
    Ok(faults)
}

fn floor(folder: &str) -> Option<usize> {
    let mut parts = folder.split('/');
    if parts.next() != Some("crates") {
        return None;
    }
    let name = parts.next()?;
    FLOORS.iter().position(|f| *f == name)
}

/// The rule that an edge breaks, if it breaks one.
fn fault(e: &Edge) -> Option<String> {
    let say = |why: &str| Some(format!("{} must not depend on {}: {why}", e.from, e.to));
    let is = |folder: &str, top: &str| folder == top || folder.starts_with(&format!("{top}/"));
    if is(&e.to, "lab") {
        let testkit = e.to == "lab/testkit" && e.dev;
        let bin = is(&e.from, "bin") && (e.optional || e.dev);
        return if is(&e.from, "lab") || testkit || bin || is(&e.from, "xtask") {
            testkit_stays_low(e)
        } else {
            say("what is simulated does not ship; tests may use lab/testkit")
        };
    }
    if e.from == "lab/testkit" {
        return testkit_stays_low(e);
    }
    if e.to == "crates/base/keys" && !e.dev {
        let may = KEY_HOLDERS.contains(&e.from.as_str()) || is(&e.from, "bin") || is(&e.from, "lab");
        return if may { None } else { say("only promise/signer, bin and lab may hold secret keys") };
    }
    if is(&e.from, "boosts") && !e.dev {
        return if BOOST_KNOWS.contains(&e.to.as_str()) {
            None
        } else {
            say("a boost knows run/module and base/{types,crypto}")
        };
    }
    if is(&e.to, "crates/face") && !is(&e.from, "bin") {
        return say("nobody knows face but bin");
    }
    match (floor(&e.from), floor(&e.to)) {
        (Some(from), Some(to)) if from < to && !e.dev => say("a floor knows only the floors below it"),
        _ => None,
    }
}

fn testkit_stays_low(e: &Edge) -> Option<String> {
    let low = e.to.starts_with("crates/base/") || e.to == "crates/run/module";
    (e.from == "lab/testkit" && !low)
        .then(|| format!("lab/testkit must not depend on {}: it knows base and run/module", e.to))
}

/// Circles over all edges but those of tests to the testkit.
fn circles(edges: &[Edge]) -> Vec<String> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for e in edges.iter().filter(|e| !e.dev) {
        next.entry(&e.from).or_default().insert(&e.to);
    }
    let mut found = Vec::new();
    let mut done = BTreeSet::new();
    for start in next.keys() {
        walk(start, &next, &mut Vec::new(), &mut done, &mut found);
    }
    found
}

fn walk<'a>(
    at: &'a str,
    next: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
    found: &mut Vec<String>,
) {
    if let Some(i) = path.iter().position(|p| *p == at) {
        found.push(format!("a circle: {} → {at}", path[i..].join(" → ")));
        return;
    }
    if !done.insert(at) {
        return;
    }
    path.push(at);
    for to in next.get(at).into_iter().flatten() {
        walk(to, next, path, done, found);
    }
    path.pop();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str) -> Edge {
        Edge { from: from.into(), to: to.into(), dev: false, optional: false }
    }

    #[test]
    fn each_forbidden_edge_is_found() {
        for (from, to) in [
            ("crates/base/types", "crates/watch/node"),
            ("crates/run/host", "crates/promise/journal"),
            ("crates/prove/blocks", "crates/face/builder"),
            ("crates/face/gateway", "crates/face/builder"),
            ("crates/prove/blocks", "crates/base/keys"),
            ("boosts/preconf", "crates/watch/state"),
            ("crates/prove/blocks", "lab/testkit"),
            ("bin/tandem", "lab/devnet"),
            ("lab/testkit", "crates/watch/node"),
        ] {
            assert!(fault(&edge(from, to)).is_some(), "{from} → {to}");
        }
    }

    #[test]
    fn each_permitted_edge_passes() {
        for (from, to) in [
            ("crates/watch/node", "crates/base/types"),
            ("crates/promise/signer", "crates/base/keys"),
            ("bin/tandem", "crates/face/gateway"),
            ("boosts/preconf", "crates/run/module"),
            ("lab/devnet", "crates/base/keys"),
        ] {
            assert_eq!(fault(&edge(from, to)), None, "{from} → {to}");
        }
        let test = Edge { dev: true, ..edge("crates/prove/blocks", "lab/testkit") };
        assert_eq!(fault(&test), None);
        let behind_a_feature = Edge { optional: true, ..edge("bin/tandem", "lab/devnet") };
        assert_eq!(fault(&behind_a_feature), None);
    }

    #[test]
    fn a_circle_is_found() {
        let ring = [edge("a", "b"), edge("b", "c"), edge("c", "a")];
        assert_eq!(circles(&ring).len(), 1);
        assert!(circles(&ring[..2]).is_empty());
    }
}
