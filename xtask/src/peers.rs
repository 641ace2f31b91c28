//! Other software that the tests use: what is missing, what installing it takes, and installing it.

use crate::{cache, run};
use anyhow::{Context, Result};
use std::{path::PathBuf, process::Command};

/// Where Debian puts the browser.
const CHROMIUM: &str = "/usr/bin/chromium";

/// One thing that a test needs beside the Rust toolchain.
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// Which tests need it.
    pub needed_by: &'static str,
    /// What installing it takes.
    pub cost: &'static str,
    /// Where it goes.
    pub place: PathBuf,
    present: fn() -> bool,
    install: fn() -> Result<()>,
}

impl Peer {
    /// Whether it is there and starts.
    pub fn is_present(&self) -> bool {
        (self.present)()
    }
}

/// Everything that may be missing.
pub fn all() -> Vec<Peer> {
    vec![
        Peer {
            name: "chromium",
            needed_by: "the dashboard's browser test",
            cost: "about 400 MB from Debian's packages, 1–2 minutes",
            place: CHROMIUM.into(),
            present: || run::exists(CHROMIUM),
            install: install_chromium,
        },
        Peer {
            name: "playwright-core 1.65",
            needed_by: "the dashboard's browser test",
            cost: "about 10 MB from npm, 10 seconds",
            place: cache::npm(),
            present: || has_package("playwright-core"),
            install: || npm(&["playwright-core@1.65"]),
        },
        Peer {
            name: "geth 1.17.8",
            needed_by: "the interop tests",
            cost: "built by Go, about 60 MB (1.5 GB while it builds), 3–6 minutes on two cores",
            place: cache::tools(),
            present: || run::exists(geth()),
            install: install_geth,
        },
        Peer {
            name: "foundry 1.7.1, solc",
            needed_by: "the interop tests",
            cost: "about 150 MB from npm, 20 seconds",
            place: cache::npm(),
            present: || run::exists(npm_program("cast")) && run::exists(npm_program("forge")) && has_package("solc"),
            install: || npm(&["@foundry-rs/cast@1.7.1", "@foundry-rs/forge@1.7.1", "solc@0.8.37"]),
        },
        Peer {
            name: "viem 2",
            needed_by: "the interop tests",
            cost: "about 85 MB from npm, 20 seconds",
            place: cache::npm(),
            present: || has_package("viem"),
            install: || npm(&["viem@2.57.20"]),
        },
        Peer {
            name: "cargo-deny",
            needed_by: "the licence, ban and source check",
            cost: "built from crates.io, about 30 MB, 3–6 minutes on two cores",
            place: cache::tools(),
            present: || deny().is_file(),
            install: install_deny,
        },
    ]
}

/// The licence checker's path.
pub fn deny() -> PathBuf {
    cache::tools().join("bin/cargo-deny")
}

/// `cargo xtask peers`.
pub fn run(check: bool) -> Result<()> {
    for p in all() {
        let state = if p.is_present() { "present" } else { "MISSING" };
        println!("{:<22} {state:<8} for {}; {}; in {}", p.name, p.needed_by, p.cost, p.place.display());
    }
    if check { Ok(()) } else { install_missing() }
}

/// Installs what is missing, saying so first.
pub fn install_missing() -> Result<()> {
    let missing: Vec<Peer> = all().into_iter().filter(|p| !p.is_present()).collect();
    for p in &missing {
        println!("missing: {} (for {}). Will install it: {}; into {}", p.name, p.needed_by, p.cost, p.place.display());
    }
    for p in &missing {
        if let Err(e) = (p.install)() {
            println!("could not install {}: {e:#}. What needs it is named below as not run.", p.name);
        }
    }
    Ok(())
}

fn install_chromium() -> Result<()> {
    // Without root the operator has to do it; say so instead of failing in the middle.
    let apt = |args: &[&str]| {
        run::run("apt-get", Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update", "-qq"]).context("apt-get needs root; install Debian's package `chromium` by hand")?;
    apt(&["install", "-y", "-qq", "--no-install-recommends", "chromium"])
}

fn has_package(name: &str) -> bool {
    cache::npm().join("node_modules").join(name).join("package.json").exists()
}

fn npm_program(name: &str) -> PathBuf {
    cache::npm().join("node_modules/.bin").join(name)
}

fn npm(packages: &[&str]) -> Result<()> {
    let dir = cache::npm();
    std::fs::create_dir_all(&dir)?;
    run::run(
        "npm",
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(&dir)
            .args(packages),
    )
}

/// The path of the execution client that the interop tests start.
pub fn geth() -> PathBuf {
    cache::tools().join("bin/geth")
}

fn install_geth() -> Result<()> {
    // Go's own caches stay out of the user's, and go when it is built: they are 20 times its size.
    let (modules, build) = (cache::dir().join("go"), cache::dir().join("go-build"));
    run::run(
        "go install",
        Command::new("go")
            .args(["install", "-modcacherw", "github.com/ethereum/go-ethereum/cmd/geth@v1.17.8"])
            .env("GOBIN", cache::tools().join("bin"))
            .env("GOPATH", &modules)
            .env("GOCACHE", &build),
    )
    .context("is Go 1.24 or newer installed?")?;
    for dir in [modules, build] {
        std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(())
}

fn install_deny() -> Result<()> {
    // Its own target folder: it shares no dependency's features with the house.
    run::run(
        "cargo install",
        run::cargo()
            .args(["install", "cargo-deny", "--locked", "--quiet", "--root"])
            .arg(cache::tools())
            .env("CARGO_TARGET_DIR", cache::dir().join("tools-target")),
    )?;
    std::fs::remove_dir_all(cache::dir().join("tools-target")).context("removing the build folder of cargo-deny")
}
