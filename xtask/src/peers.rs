//! Other software that the tests use: what is missing, what installing it takes, and installing it.

use crate::{cache, run};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// What Chromium and its relatives are called.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
/// The browser driver's version.
const PLAYWRIGHT: &str = "1.65.1";
/// The licence checker's version.
const DENY: &str = "0.20.2";

/// One thing that a test needs beside the Rust toolchain.
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// The stages of `cargo xtask test` that need it.
    pub stages: &'static [&'static str],
    /// What installing it takes.
    pub cost: &'static str,
    /// Where it goes.
    pub place: PathBuf,
    present: fn() -> bool,
    install: fn() -> Result<()>,
}

impl Peer {
    /// Whether it is there, in the version that is wanted.
    pub fn is_present(&self) -> bool {
        (self.present)()
    }
}

/// Everything that may be missing, in the order in which it has to be installed.
pub fn all() -> Vec<Peer> {
    vec![
        Peer {
            name: "node and npm",
            stages: &["browser", "interop"],
            cost: "about 250 MB from Debian's packages, 1–2 minutes",
            place: "/usr".into(),
            present: || run::exists("node") && run::exists("npm"),
            install: || apt(&["nodejs", "npm"]),
        },
        Peer {
            name: "chromium",
            stages: &["browser"],
            cost: "about 400 MB from Debian's packages, 1–2 minutes",
            place: "/usr".into(),
            present: || chromium().is_some(),
            install: || apt(&["chromium"]),
        },
        Peer {
            name: "playwright-core",
            stages: &["browser"],
            cost: "about 10 MB from npm, 10 seconds",
            place: cache::npm(),
            present: playwright_is_there,
            install: || npm(&[&format!("playwright-core@{PLAYWRIGHT}")]),
        },
        Peer {
            name: "go",
            stages: &["interop"],
            cost: "about 250 MB from Debian's packages, 1–2 minutes; only geth is built with it",
            place: "/usr".into(),
            present: || geth().is_file() || run::exists("go"),
            install: || apt(&["golang-go"]),
        },
        Peer {
            name: "geth 1.17.8",
            stages: &["interop"],
            cost: "built by Go, about 60 MB (1.5 GB while it builds), 3–6 minutes on two cores",
            place: cache::tools(),
            present: || geth().is_file(),
            install: install_geth,
        },
        Peer {
            name: "foundry 1.7.1, solc",
            stages: &["interop"],
            cost: "about 150 MB from npm, 20 seconds",
            place: cache::npm(),
            present: || npm_program("cast").exists() && npm_program("forge").exists() && has_package("solc"),
            install: || npm(&["@foundry-rs/cast@1.7.1", "@foundry-rs/forge@1.7.1", "solc@0.8.37"]),
        },
        Peer {
            name: "viem 2",
            stages: &["interop"],
            cost: "about 85 MB from npm, 20 seconds",
            place: cache::npm(),
            present: || has_package("viem"),
            install: || npm(&["viem@2.57.20"]),
        },
        Peer {
            name: "cargo-deny",
            stages: &["licences"],
            cost: "built from crates.io, about 30 MB, 3–6 minutes on two cores",
            place: cache::tools(),
            present: || run::version(deny()).is_some_and(|v| v.split_whitespace().nth(1) == Some(DENY)),
            install: install_deny,
        },
    ]
}

/// The browser, by its usual names in the search path.
pub fn chromium() -> Option<PathBuf> {
    find(&BROWSERS, std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()))
}

fn find(names: &[&str], folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    folders.flat_map(|f| names.iter().map(move |n| f.join(n))).find(|p| p.is_file())
}

/// The licence checker's path.
pub fn deny() -> PathBuf {
    cache::tools().join("bin/cargo-deny")
}

/// `cargo xtask peers`.
pub fn run(check: bool) -> Result<()> {
    for p in all() {
        let state = if p.is_present() { "present" } else { "MISSING" };
        let stages = p.stages.join(", ");
        println!("{:<20} {state:<8} for {stages}; {}; in {}", p.name, p.cost, p.place.display());
    }
    if check { Ok(()) } else { install_missing(|_| true) }
}

/// Installs what is missing for these stages, saying so first.
pub fn install_missing(stage: impl Fn(&str) -> bool) -> Result<()> {
    let missing: Vec<Peer> =
        all().into_iter().filter(|p| p.stages.iter().any(|s| stage(s)) && !p.is_present()).collect();
    for p in &missing {
        let stages = p.stages.join(", ");
        println!("missing: {} (for {stages}). Will install it: {}; into {}", p.name, p.cost, p.place.display());
    }
    for p in &missing {
        run::go_on()?;
        if let Err(e) = (p.install)() {
            println!("could not install {}: {e:#}. What needs it is named below as not run.", p.name);
        }
    }
    Ok(())
}

/// What a stage lacks, as one sentence.
pub fn lacking(stage: &str) -> Option<String> {
    let needs = |p: &&Peer| p.stages.contains(&stage) && !p.is_present();
    let missing: Vec<&str> = all().iter().filter(needs).map(|p| p.name).collect();
    (!missing.is_empty()).then(|| format!("{} missing; `cargo xtask peers` installs it", missing.join(" and ")))
}

fn apt(packages: &[&str]) -> Result<()> {
    // Without root the operator has to do it; say so instead of failing in the middle.
    let apt = |args: &[&str]| {
        run::run("apt-get", Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let by_hand = || format!("apt-get needs root; install Debian's {} by hand", packages.join(" and "));
    apt(&["update", "-qq"]).with_context(by_hand)?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat()).with_context(by_hand)
}

fn playwright_is_there() -> bool {
    let file = cache::npm().join("node_modules/playwright-core/package.json");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|v| v["version"] == PLAYWRIGHT)
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
    let target: &Path = &cache::dir().join("tools-target");
    let built = run::run(
        "cargo install",
        run::cargo()
            .args(["install", "cargo-deny", "--version", DENY, "--locked", "--quiet", "--force", "--root"])
            .arg(cache::tools())
            .env("CARGO_TARGET_DIR", target),
    );
    if target.exists() {
        std::fs::remove_dir_all(target).context("removing the build folder of cargo-deny")?;
    }
    built
}

#[cfg(test)]
mod tests {
    use super::{BROWSERS, all, find};

    #[test]
    fn a_browser_is_found_by_any_of_its_names_in_the_order_of_the_search_path() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = || [a.path().to_owned(), b.path().to_owned()].into_iter();
        assert_eq!(find(&BROWSERS, path()), None);
        let chrome = b.path().join("google-chrome");
        std::fs::write(&chrome, "").unwrap();
        assert_eq!(find(&BROWSERS, path()), Some(chrome));
        let chromium = a.path().join("chromium");
        std::fs::write(&chromium, "").unwrap();
        assert_eq!(find(&BROWSERS, path()), Some(chromium));
    }

    #[test]
    fn every_peer_belongs_to_a_stage_that_there_is() {
        for p in all() {
            assert!(!p.stages.is_empty(), "{}", p.name);
            assert!(p.stages.iter().all(|s| crate::test::STAGES.contains(s)), "{}: {:?}", p.name, p.stages);
        }
    }
}
