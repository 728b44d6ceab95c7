//! The container image of scenarios: Debian's busybox, made by other people's tools.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::programs::{checkout, succeed};

static MAKING: Mutex<()> = Mutex::new(());

/// An OCI archive with busybox.
///
/// # Errors
/// `scripts/demo-image` fails.
pub fn busybox() -> Result<PathBuf> {
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = checkout().join("out/demo/busybox.tar");
    succeed(
        Command::new(checkout().join("scripts/demo-image")).arg(&path).current_dir(checkout()),
    )?;
    Ok(path)
}
