//! One set of features for the program and for the tests.

use crate::run;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;

/// Fewest crates that the program has: a check that sees fewer sees nothing.
const LEAST: usize = 200;

/// Which crates the program's own build has with other features than the tests' build has them. cargo unites the
/// features of dev-dependencies only where tests are selected, so that each command would compile those, and
/// all that stands on them, again after the other.
pub fn check() -> Result<Vec<String>> {
    let program = tree(&["--package", "tandem", "--edges", "normal,build"])?;
    if program.len() < LEAST {
        return Ok(vec![format!("only {} crates of the program were seen", program.len())]);
    }
    let tests = tree(&["--workspace", "--edges", "normal,build,dev"])?;
    Ok(faults(&program, &tests))
}

fn faults(program: &BTreeSet<String>, tests: &BTreeSet<String>) -> Vec<String> {
    let differs = |line: &String| {
        let (name, features) = line.split_once('|').unwrap_or((line, ""));
        format!(
            "{name} has the features [{features}] in the program and others in the tests: pin the tests' in lab/testkit"
        )
    };
    program.difference(tests).map(differs).collect()
}

/// `NAME VERSION|FEATURES` of each crate of a build.
fn tree(args: &[&str]) -> Result<BTreeSet<String>> {
    let mut c = run::cargo();
    c.arg("tree").args(args).args(["--prefix", "none", "--format", "{p}|{f}"]);
    let out = c.output().context("cargo tree could not be started")?;
    if !out.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    let text = String::from_utf8_lossy(&out.stdout);
    Ok(text.lines().map(|l| l.trim_end_matches(" (*)").to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_with_other_features_in_the_program_than_in_the_tests_is_named() {
        let set = |lines: &[&str]| lines.iter().map(|&l| l.to_owned()).collect::<BTreeSet<_>>();
        let tests = set(&["a v1.0.0|std", "b v1.0.0|default,std", "c v1.0.0|"]);
        assert_eq!(faults(&set(&["a v1.0.0|std"]), &tests), Vec::<String>::new());
        let found = faults(&set(&["a v1.0.0|std", "b v1.0.0|std"]), &tests);
        assert!(found.len() == 1 && found[0].starts_with("b v1.0.0 has the features [std] "), "{found:?}");
    }
}
