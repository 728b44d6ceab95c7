//! The container image of scenarios: Debian's busybox and the probe, made by other people's tools.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::programs::{artifacts, checkout, program, succeed};

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

/// An OCI archive with busybox and, at `/bin/ferrite-probe`, the probe.
///
/// # Errors
/// skopeo or umoci fails.
pub fn busybox_with_probe() -> Result<PathBuf> {
    let busybox = busybox()?;
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = artifacts()?.join("busybox-with-probe.tar");
    let folder = tempfile::tempdir()?;
    let layout = format!("{}:demo", folder.path().join("layout").display());
    let skopeo = |from: String, to: String| {
        succeed(Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet", &from, &to]))
    };
    skopeo(format!("oci-archive:{}", busybox.display()), format!("oci:{layout}"))?;
    let mut insert = Command::new("umoci");
    insert.args(["insert", "--rootless", "--image", &layout]).arg(program("ferrite-probe")?);
    succeed(insert.arg("/bin/ferrite-probe"))?;
    let archive = folder.path().join("archive.tar");
    skopeo(format!("oci:{layout}"), format!("oci-archive:{}:demo", archive.display()))?;
    fs::create_dir_all(artifacts()?)?;
    succeed(Command::new("mv").arg(archive).arg(&path))?;
    Ok(path)
}
