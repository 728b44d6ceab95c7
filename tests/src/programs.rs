//! The programs under test, beside the test program itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// Folder that cargo puts programs into: the benchmark's own, and the parent of the tests', which is `deps`.
///
/// # Errors
/// The program does not know where it is.
pub fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find the program that runs")?;
    let folder = own.parent().context("find the folder of the program that runs")?;
    let above = folder.parent().filter(|_| folder.ends_with("deps"));
    Ok(above.unwrap_or(folder).to_owned())
}

/// A program of the workspace.
///
/// # Errors
/// It has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = folder()?.join(name);
    if path.is_file() {
        return Ok(path);
    }
    bail!("{} is missing: build it with `cargo build --release --workspace --bins`", path.display())
}

/// Somebody else's program that `scripts/checkers` has installed.
///
/// # Errors
/// It has not.
pub fn checker(name: &str) -> Result<Command> {
    let folder = target()?.join("checkers");
    // Of Python's packages, and of Debian's.
    let mut places = ["bin", "tools"].map(|place| folder.join(place).join(name)).into_iter();
    match places.find(|path| path.is_file()) {
        Some(path) => Ok(Command::new(path)),
        None => bail!("{name} is not in {}: scripts/checkers installs it", folder.display()),
    }
}

/// Cargo's target folder: `target/TRIPLE/release` is where programs are.
fn target() -> Result<PathBuf> {
    let target = folder()?.ancestors().nth(2).map(Path::to_owned);
    target.context("find the target folder")
}

/// Root of the checkout.
#[must_use]
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Where scenarios keep what they make.
///
/// # Errors
/// See [`folder`].
pub fn artifacts() -> Result<PathBuf> {
    Ok(target()?.join("test-artifacts"))
}

/// Runs `command` and returns what it wrote to standard output.
///
/// # Errors
/// It cannot be run, or fails: the error carries everything that it said.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    bail!("{command:?} ended with {}:\n{}", output.status, said(&output))
}

/// Everything that a program said.
#[must_use]
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
