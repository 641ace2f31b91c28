//! The house's rules, over `cargo metadata` and the sources.
//!
//! | rule | why |
//! |---|---|
//! | a floor knows the floors below it | a mistake above can not reach what is below |
//! | nobody knows `face/*` but `bin/*` | what faces the network stays at the edge |
//! | only `promise/signer`, `bin` and `lab` know `base/keys` | one door to the keys |
//! | a boost knows `run/module` and `base/{types,crypto}` | what it needs and the ports can not give is a fault of the ports |
//! | nothing depends on `lab/*` but tests, on `lab/testkit`, and the binary behind its feature | a build without it has nothing simulated |
//! | no circles, no git or path dependency outside the tree | it builds from the registry alone |
//! | nobody knows `bin` and `xtask`, only `bin` knows `boosts` | the house keeps what any module promised |
//! | no secret in a `Debug` or `Display`, no unbounded channel | nothing leaks, nothing grows |
//! | no long file, no long function outside tests | each can be read at once |
//! | the program's libraries have the features that they have in the tests | neither command compiles them again after the other |
//! | every crate takes the workspace's lints | they hold everywhere |

mod features;
mod graph;
mod sources;

use anyhow::{Result, bail};
use std::path::Path;

/// `cargo xtask house`.
pub fn run(root: &Path) -> Result<()> {
    let mut faults = graph::check(root, &graph::LEAST)?;
    faults.extend(features::check()?);
    faults.extend(sources::check(root, sources::LEAST)?);
    for f in &faults {
        eprintln!("house: {f}");
    }
    if !faults.is_empty() {
        bail!("{} of the house's rules are broken (docs/structure.md, \"Rules\", says what they are)", faults.len());
    }
    println!("the house stands: every rule holds");
    Ok(())
}
