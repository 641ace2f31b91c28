//! What a command will take, said before it begins: what is built already, what is missing, where it goes,
//! how large it is and for how long.

use crate::{cache, run};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A build, and what it costs on two cores when nothing is there.
pub struct Build {
    /// What it is, for people.
    pub what: &'static str,
    /// Cargo's name of the folder.
    pub profile: &'static str,
    /// Whose dependencies are counted; all of the workspace's where nothing is given.
    pub package: Option<&'static str>,
    /// Minutes.
    pub minutes: usize,
    /// MiB on the disk.
    pub mib: usize,
}

/// For the demo.
pub const DEMO: Build = Build { what: "the demo", profile: "debug", package: Some("tandem"), minutes: 8, mib: 2_000 };
/// For the benchmarks.
pub const BENCH: Build =
    Build { what: "the benchmarks", profile: "release", package: Some("tandem"), minutes: 12, mib: 1_500 };
/// For the tests.
pub const TEST: Build = Build { what: "the tests", profile: "debug", package: None, minutes: 30, mib: 6_000 };

/// Says what a build will take, and fails where it can not succeed: no C compiler, or no room.
pub fn say(build: &Build) -> Result<()> {
    let target = cache::target();
    let wanted = crates(build.package)?;
    let there = built(&target.join(build.profile).join(".fingerprint"));
    let missing = wanted.iter().filter(|name| !there.contains(*name)).count();
    println!("{}", sentence(build, &target, missing, wanted.len()));
    let compiler = std::env::var_os("CC").filter(|c| !c.is_empty()).unwrap_or_else(|| "cc".into());
    if missing > 0 && !run::exists(&compiler) {
        bail!(
            "{} can not be started, and a few libraries are C. Install a C compiler (Debian: apt-get install gcc libc6-dev)",
            compiler.display()
        );
    }
    room(&target, share(build.mib, missing, wanted.len()))
}

fn share(whole: usize, missing: usize, of: usize) -> usize {
    (whole * missing).div_ceil(of.max(1))
}

fn sentence(build: &Build, target: &Path, missing: usize, of: usize) -> String {
    let Build { what, minutes, mib, .. } = build;
    let place = target.display();
    if missing == 0 {
        return format!("{what}: all {of} libraries are built ({place}). What changed is built anew, within a minute");
    }
    format!(
        "{what}: {missing} of {of} libraries are not built. Building them into {place}: about {} minutes on two cores and {} MB",
        share(*minutes, missing, of),
        share(*mib, missing, of),
    )
}

/// The names of the crates of a build, without versions.
pub fn crates(package: Option<&str>) -> Result<BTreeSet<String>> {
    let mut c = run::cargo();
    c.args(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    match package {
        Some(p) => c.args(["--package", p]),
        None => c.arg("--workspace"),
    };
    let out = c.output().context("cargo tree could not be started")?;
    if !out.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    let text = String::from_utf8_lossy(&out.stdout);
    Ok(text.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect())
}

/// The names of the crates that a target folder has, by cargo's fingerprints: `NAME-0123456789abcdef`.
fn built(fingerprints: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(fingerprints).into_iter().flatten().filter_map(Result::ok);
    names.filter_map(|e| Some(e.file_name().to_str()?.rsplit_once('-')?.0.to_owned())).collect()
}

/// Fails unless a folder's disk has room for so many MiB, and a tenth more.
fn room(folder: &Path, mib: usize) -> Result<()> {
    let parent = nearest(folder);
    let disk = rustix::fs::statvfs(&parent).with_context(|| format!("the disk of {}", parent.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
    let need = (mib + mib / 10) as u64;
    if free < need {
        bail!(
            "{} has {free} MB free, and about {need} MB are needed. TANDEM_CACHE names another folder",
            parent.display()
        );
    }
    Ok(())
}

/// The folder, or the nearest above it that exists.
fn nearest(folder: &Path) -> PathBuf {
    folder.ancestors().find(|p| p.exists()).map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_of_what_is_missing() {
        let said = |missing| sentence(&DEMO, Path::new("/t"), missing, 400);
        assert!(said(0).contains("all 400 libraries are built"), "{}", said(0));
        assert!(said(400).contains("8 minutes") && said(400).contains("2000 MB"), "{}", said(400));
        assert!(said(100).contains("100 of 400") && said(100).contains("2 minutes"), "{}", said(100));
        assert!(said(1).contains("1 minutes"), "{}", said(1));
    }

    #[test]
    fn a_library_counts_as_built_by_its_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        assert!(built(&dir.path().join("none")).is_empty());
        for name in ["serde-0123456789abcdef", "alloy-rlp-derive-0123456789abcdef"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(built(dir.path()), BTreeSet::from(["serde".to_owned(), "alloy-rlp-derive".to_owned()]));
    }

    #[test]
    fn a_full_disk_is_found_before_anything_is_built() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        room(&below, 0).unwrap();
        let said = room(&below, 1 << 40).unwrap_err().to_string();
        assert!(said.contains("TANDEM_CACHE"), "{said}");
    }
}
