//! Tests of single crates that need root: those with `::as_root::` in their path.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::programs::{checkout, succeed};

/// Part of the path of every such test.
pub const MARK: &str = "::as_root::";

/// Crates that have such tests, and their folders.
pub const CRATES: [(&str, &str); 4] = [
    ("ferrite-files", "files"),
    ("ferrite-store", "store"),
    ("ferrite-sys", "sys"),
    ("ferrite-units", "units"),
];

/// The test programs of the crates' libraries, as cargo built them for this run.
///
/// # Errors
/// They do not build.
pub fn programs() -> Result<Vec<(&'static str, PathBuf)>> {
    // The same words as in `scripts/test`: nothing is built a second time.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--workspace", "--all-targets"]);
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
