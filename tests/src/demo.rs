//! The container image of scenarios: Debian's busybox and the probe, made by other people's tools.

use std::fs;
use std::path::{Path, PathBuf};
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
    extended(&busybox, &[(&program("ferrite-probe")?, "/bin/ferrite-probe")], &path)?;
    Ok(path)
}

/// Makes `archive`, an OCI archive of the image in the OCI archive `base` with `additions`: what is here, and where it
/// is there.
///
/// # Errors
/// skopeo or umoci fails.
pub fn extended(base: &Path, additions: &[(&Path, &str)], archive: &Path) -> Result<()> {
    changed(base, archive, |layout| {
        additions.iter().try_for_each(|(here, there)| {
            let mut insert = Command::new("umoci");
            insert.args(["insert", "--rootless", "--image", layout]).arg(here).arg(there);
            succeed(&mut insert).map(drop)
        })
    })
}

/// Makes `archive`, an OCI archive of the image in the OCI archive `base` with one more layer: the tar `layer` as it is.
///
/// # Errors
/// skopeo or umoci fails.
pub fn with_layer(base: &Path, layer: &Path, archive: &Path) -> Result<()> {
    changed(base, archive, |layout| {
        let mut add = Command::new("umoci");
        succeed(add.args(["raw", "add-layer", "--image", layout]).arg(layer)).map(drop)
    })
}

fn changed(base: &Path, archive: &Path, change: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let layout = format!("{}:demo", folder.path().join("layout").display());
    let skopeo = |from: String, to: String| {
        succeed(Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet", &from, &to]))
    };
    skopeo(format!("oci-archive:{}", base.display()), format!("oci:{layout}"))?;
    change(&layout)?;
    let made = folder.path().join("archive.tar");
    skopeo(format!("oci:{layout}"), format!("oci-archive:{}:demo", made.display()))?;
    if let Some(parent) = archive.parent() {
        fs::create_dir_all(parent)?;
    }
    succeed(Command::new("mv").arg(made).arg(archive)).map(drop)
}
