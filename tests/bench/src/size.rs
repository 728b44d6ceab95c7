//! Sizes of what an update carries: kernel with initramfs, and the root file system.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use ferrite_layout::slot_header::{self, HEADER_BYTES};

use crate::boot::name_of;
use crate::report::Report;

const MEGABYTE: f64 = 1e6;
/// Compressed kernel and root, etcd included.
const WITH_ETCD_TARGET_MB: f64 = 33.0;

/// Adds the sizes of the image in `image`.
pub(crate) fn measure(image: &Path, report: &mut Report) -> Result<()> {
    let kern = fs::read(image.join("slot.kern")).context("read slot.kern")?;
    let header = kern.get(..HEADER_BYTES).context("slot.kern is too short")?;
    let document = slot_header::decode_unverified(header)?;
    let megabytes = |bytes: u64| {
        #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
        let bytes = bytes as f64;
        bytes / MEGABYTE
    };
    let name = name_of(image);
    report.figure(&format!("{name}: kernel"), megabytes(document.kernel.size_bytes), "MB");
    report.figure(&format!("{name}: initramfs"), megabytes(document.initramfs.size_bytes), "MB");
    report.figure(
        &format!("{name}: root file system, with etcd"),
        megabytes(document.root.data_bytes),
        "MB",
    );
    let all = document.kernel.size_bytes + document.initramfs.size_bytes + document.root.data_bytes;
    report.target(
        &format!("{name}: kernel, initramfs and root, with etcd"),
        megabytes(all),
        "MB",
        WITH_ETCD_TARGET_MB,
    );
    Ok(())
}
