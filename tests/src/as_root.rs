//! Tests of single crates that need root: those with `::as_root::` in their path.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::programs::{checkout, succeed};

/// Part of the path of every such test.
pub const MARK: &str = "::as_root::";

/// Crates that have such tests, and their folders.
pub const CRATES: [(&str, &str); 5] = [
    ("ferrite-container", "container"),
    ("ferrite-files", "files"),
    ("ferrite-store", "store"),
    ("ferrite-sys", "sys"),
    ("ferrite-units", "units"),
];

/// Programs of other people that the tests compare us with.
const OTHERS: [&str; 2] = ["/usr/bin/skopeo", "/usr/bin/umoci"];

/// Files that must be in an image for [`OTHERS`] to run: where they are here and there.
///
/// # Errors
/// One of them is missing.
pub fn others() -> Result<Vec<(PathBuf, String)>> {
    let mut files: Vec<String> = OTHERS.map(str::to_owned).into();
    let lines = succeed(Command::new("ldd").args(OTHERS))?;
    // `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)`.
    let libraries =
        lines.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    files.extend(libraries.map(str::to_owned));
    files.sort();
    files.dedup();
    let found = files.into_iter().map(|file| Ok((Path::new(&file).canonicalize()?, file)));
    found.collect()
}

/// The test programs of the crates' libraries, as cargo built them for this run.
///
/// # Errors
/// They do not build.
pub fn programs() -> Result<Vec<(&'static str, PathBuf)>> {
    // The same words as in `scripts/test`: nothing is built a second time.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--workspace", "--all-targets"]);
    // What cargo tells a test program is nothing to build by: a build script that looks at it would be run again, and all be built
    // that depends on it.
    let told = |name: &str| {
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "OUT_DIR"
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(told)) {
        cargo.env_remove(name);
    }
    let lines = succeed(cargo.arg("--message-format=json").current_dir(checkout()))?;
    let artifacts: Vec<Value> =
        lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let program = |name: &str| {
        let artifact = artifacts.iter().find(|artifact| {
            let says = |pointer: &str| artifact.pointer(pointer).cloned().unwrap_or_default();
            says("/profile/test") == true
                && says("/target/kind/0") == "lib"
                && says("/target/name") == name.replace('-', "_")
        });
        artifact.and_then(|artifact| artifact.get("executable")?.as_str()).map(PathBuf::from)
    };
    let found = CRATES.iter().map(|(name, _)| {
        Ok((*name, program(name).with_context(|| format!("find the tests of {name}"))?))
    });
    found.collect()
}
