//! What a build leaves.

use std::path::Path;

/// Describes the image; written last.
pub const MANIFEST: &str = "manifest.json";
/// Bill of materials, SPDX 2.3.
pub const SBOM: &str = "sbom.spdx.json";
/// Everything else that a build leaves, in the order in which it appears.
pub const OUTPUTS: [&str; 7] =
    ["kernel", "initramfs", "cmdline", "slot.kern", "slot.root", "disk.qcow2", "disk.raw"];
/// Where the kernel was built: the same one as an ELF file, for virtual machine monitors that load it themselves.
pub const VMLINUX: &str = "vmlinux";

/// Names of what a build left in `folder`, manifest and bill of materials aside.
pub(super) fn outputs(folder: &Path) -> impl Iterator<Item = &'static str> {
    let more = folder.join(VMLINUX).exists().then_some(VMLINUX);
    OUTPUTS.into_iter().chain(more)
}
