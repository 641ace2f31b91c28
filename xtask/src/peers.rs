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
            present: || cache::npm().join("node_modules/playwright-core/package.json").exists(),
            install: install_playwright,
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

fn install_playwright() -> Result<()> {
    let dir = cache::npm();
    std::fs::create_dir_all(&dir)?;
    run::run(
        "npm",
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(&dir)
            .arg("playwright-core@1.65"),
    )
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
