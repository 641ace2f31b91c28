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

/// Fewest crates and edges between them that the house has: a check that sees fewer sees nothing.
pub const LEAST: Least = Least { crates: 20, edges: 60 };

/// What must be seen at least.
pub struct Least {
    /// Crates.
    pub crates: usize,
    /// Edges between them.
    pub edges: usize,
}

/// Checks what the crates of a workspace declare.
pub fn check(root: &Path, least: &Least) -> Result<Vec<String>> {
    // Declared dependencies are enough, and need neither a resolution nor a network.
    let meta = MetadataCommand::new().current_dir(root).no_deps().exec().context("cargo metadata")?;
    let mut faults = Vec::new();
    let mut folder = BTreeMap::new();
    for p in meta.workspace_packages() {
        let dir = p.manifest_path.parent().and_then(|d| d.strip_prefix(&meta.workspace_root).ok());
        folder.insert(p.name.to_string(), dir.map(ToString::to_string).unwrap_or_default());
        if !takes_lints(&std::fs::read_to_string(&p.manifest_path)?) {
            faults.push(format!("{}: does not take the workspace's lints (`[lints]` with `workspace = true`)", p.name));
        }
    }
    let mut edges = Vec::new();
    for p in meta.workspace_packages() {
        for d in &p.dependencies {
            if let Some(s) = d.source.as_ref().filter(|s| !s.to_string().starts_with("registry+")) {
                faults.push(format!("{}: {} comes from {s}, not from the registry", p.name, d.name));
            }
            if let Some(path) = d.path.as_ref().filter(|path| !path.starts_with(&meta.workspace_root)) {
                faults.push(format!("{}: {} comes from {path}, outside the tree", p.name, d.name));
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
    let listed = std::fs::read_to_string(root.join("docs/structure.md")).context("docs/structure.md")?;
    faults.extend(
        folder.values().filter(|f| !has_line(&listed, f)).map(|f| format!("docs/structure.md has no line for {f}")),
    );
    if folder.len() < least.crates || edges.len() < least.edges {
        faults.push(format!("only {} crates and {} edges were seen", folder.len(), edges.len()));
    }
    faults.extend(edges.iter().filter_map(fault));
    faults.extend(circles(&edges));
    Ok(faults)
}

/// Whether the list of folders says what lives in one.
fn has_line(listed: &str, folder: &str) -> bool {
    listed.lines().any(|l| {
        l.strip_prefix(&format!("| `{folder}` | ")).is_some_and(|what| what.trim_end_matches('|').trim().len() > 3)
    })
}

/// Whether a manifest has `workspace = true` in its `[lints]`.
fn takes_lints(manifest: &str) -> bool {
    let after = manifest.lines().map(str::trim).skip_while(|l| *l != "[lints]").skip(1);
    after.take_while(|l| !l.starts_with('[')).any(|l| l.split_whitespace().collect::<String>() == "workspace=true")
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
    if is(&e.from, "xtask") {
        return say("xtask builds the house and is built before it");
    }
    if is(&e.to, "bin") || is(&e.to, "xtask") {
        return say("nobody knows the binary and the project's own commands");
    }
    if is(&e.to, "boosts") && !is(&e.from, "bin") {
        return say("only the binary knows boosts: the house keeps what any module promised");
    }
    if is(&e.to, "lab") {
        let testkit = e.to == "lab/testkit" && e.dev;
        let bin = is(&e.from, "bin") && (e.optional || e.dev);
        return if is(&e.from, "lab") || testkit || bin {
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
    fn a_folder_without_a_line_is_found() {
        let listed = "| `crates/a` | what a does |\n| `crates/b` | |\n";
        assert!(has_line(listed, "crates/a"));
        assert!(!has_line(listed, "crates/b") && !has_line(listed, "crates/c"));
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
            ("crates/run/host", "boosts/preconf"),
            ("lab/demo", "boosts/preconf"),
            ("boosts/preconf", "boosts/other"),
            ("crates/run/host", "bin/tandem"),
            ("crates/base/types", "xtask"),
            ("boosts/preconf", "xtask"),
            ("xtask", "lab/demo"),
            ("xtask", "crates/base/types"),
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
            ("bin/tandem", "boosts/preconf"),
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

    #[test]
    fn a_manifest_takes_the_lints_only_in_their_own_section() {
        assert!(takes_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"));
        assert!(!takes_lints("[lints]\n[dependencies]\nworkspace = true\n"));
        assert!(!takes_lints("[package]\nversion.workspace = true\n"));
    }

    /// A workspace with these members and a list of its folders: folder, name, what is in the manifest beside the
    /// package.
    fn tree(members: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        // A resolved path, as cargo gives them.
        let folders: Vec<String> = members.iter().map(|m| format!("{:?}", m.0)).collect();
        let workspace =
            format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n[workspace.lints.rust]\n", folders.join(", "));
        std::fs::write(dir.path().join("Cargo.toml"), workspace).unwrap();
        for (folder, name, more) in members {
            let at = dir.path().join(folder);
            std::fs::create_dir_all(at.join("src")).unwrap();
            std::fs::write(at.join("src/lib.rs"), "").unwrap();
            let text = format!("[package]\nname = {name:?}\nversion = \"0.1.0\"\nedition = \"2024\"\n\n{more}\n");
            std::fs::write(at.join("Cargo.toml"), text).unwrap();
        }
        let lines = members.iter().map(|(folder, name, _)| format!("| `{folder}` | lives {name} |\n"));
        std::fs::create_dir(dir.path().join("docs")).unwrap();
        std::fs::write(dir.path().join("docs/structure.md"), lines.collect::<String>()).unwrap();
        dir
    }

    const LINTS: &str = "[lints]\nworkspace = true\n";
    const FEW: Least = Least { crates: 2, edges: 1 };

    fn faults_of(members: &[(&str, &str, &str)]) -> Vec<String> {
        check(tree(members).path(), &FEW).unwrap()
    }

    #[test]
    fn a_sound_tree_has_no_fault_and_an_empty_one_is_not_taken_for_sound() {
        let node = format!("{LINTS}[dependencies]\ntypes = {{ path = \"../../base/types\" }}\nserde = \"1\"");
        let sound = [("crates/base/types", "types", LINTS), ("crates/watch/node", "node", node.as_str())];
        assert_eq!(faults_of(&sound), Vec::<String>::new());
        assert_eq!(faults_of(&sound[..1]), ["only 1 crates and 0 edges were seen"]);
    }

    #[test]
    fn what_is_planted_in_a_tree_is_found() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(outside.path().join("src")).unwrap();
        std::fs::write(outside.path().join("src/lib.rs"), "").unwrap();
        std::fs::write(outside.path().join("Cargo.toml"), "[package]\nname = \"far\"\n").unwrap();
        let types = format!(
            "[dependencies]\nnode = {{ path = \"../../watch/node\" }}\nfar = {{ path = {:?} }}\n\
             near = {{ git = \"https://example.invalid/near\" }}",
            outside.path().display().to_string()
        );
        let found = faults_of(&[("crates/base/types", "types", types.as_str()), ("crates/watch/node", "node", LINTS)]);
        for part in [
            "crates/base/types must not depend on crates/watch/node",
            "types: far comes from",
            "types: near comes from git+https://example.invalid/near",
            "types: does not take the workspace's lints",
        ] {
            assert!(found.iter().any(|f| f.contains(part)), "{part}: {found:#?}");
        }
        assert_eq!(found.len(), 4, "{found:#?}");
    }
}
