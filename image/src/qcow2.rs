//! qcow2 images, for hypervisors that want one.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Everything that qemu-img would otherwise choose by its version. One coroutine and no writes out of order:
/// where a cluster lands must not depend on which read ended first.
const ARGUMENTS: [&str; 9] = [
    "convert",
    "-m",
    "1",
    "-f",
    "raw",
    "-O",
    "qcow2",
    "-o",
    "compat=1.1,cluster_size=65536,refcount_bits=16,lazy_refcounts=off,extended_l2=off,preallocation=off",
];

/// Why there is no qcow2 image.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ConvertDisk {
    #[error("run qemu-img, which comes with QEMU (Debian: package qemu-utils)")]
    Start { source: io::Error },
    #[error("convert {path} to qcow2: qemu-img says {message:?} ({status})")]
    Failed { path: PathBuf, status: ExitStatus, message: String },
    #[error("write {path}")]
    Write { path: PathBuf, source: io::Error },
}

/// Converts a raw image. `target` appears when it is complete; equal images give equal bytes.
///
/// # Errors
/// `qemu-img` is not installed or fails.
pub fn convert(raw: &Path, target: &Path) -> Result<(), ConvertDisk> {
    let writing = |source| ConvertDisk::Write { path: target.to_owned(), source };
    let directory = target.parent().filter(|path| !path.as_os_str().is_empty());
    let scratch = tempfile::Builder::new()
        .prefix(".ferrite-qcow2-")
        .tempdir_in(directory.unwrap_or(Path::new(".")))
        .map_err(writing)?;
    let making = scratch.path().join("disk.qcow2");
    let output = Command::new("qemu-img")
        .args(ARGUMENTS)
        .arg(raw)
        .arg(&making)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ConvertDisk::Start { source })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ConvertDisk::Failed { path: raw.to_owned(), status: output.status, message });
    }
    std::fs::rename(&making, target).map_err(writing)
}
