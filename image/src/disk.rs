//! Builds a disk image from its parts.
//!
//! Unprivileged and deterministic: no loop devices, no mounts, no clock, no random numbers; equal parts give
//! equal bytes. The image is sparse, and appears under its name only when it is complete.
//!
//! | file | what it is | made by |
//! |---|---|---|
//! | `slot.kern` | header, kernel, initramfs | [`slot`] |
//! | `slot.root` | erofs and its verity tree | [`slot`] |
//! | `disk.raw` | the disk, slot A filled | [`assemble`] |

mod assemble;
mod esp;
mod ext4;
mod extents;
mod identity;
mod parts;
mod places;
mod problem;
mod slot;
mod toolbox;

use std::fs;
use std::path::{Path, PathBuf};

use ferrite_layout::disk_layout::DiskLayout;
use ferrite_layout::slot::Slot;
use ferrite_layout::slot_header::SlotDocument;

use crate::progress::Progress;
use problem::exact;

pub use ext4::state_template;
pub use parts::{BiosLoader, EspFile, OemFile, Parts};
pub(crate) use places::number;
pub use problem::BuildDisk;
pub use toolbox::Toolbox;

/// A disk that was built.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The raw, sparse disk image.
    pub raw: PathBuf,
    /// Content of the KERN partition.
    pub slot_kern: PathBuf,
    /// Content of the ROOT partition.
    pub slot_root: PathBuf,
    /// What the slot header says.
    pub document: SlotDocument,
}

/// Builds the disk and the slot's two payloads in the folder `out`, which must exist.
///
/// # Errors
/// A part is missing, too large or not what it should be; a tool fails; there is no space left.
pub fn build(
    parts: &Parts,
    layout: &DiskLayout,
    tools: &dyn Toolbox,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<Disk, BuildDisk> {
    let scratch = tempfile::Builder::new()
        .prefix(".ferrite-disk-")
        .tempdir_in(out)
        .map_err(|source| BuildDisk::Write { path: out.to_owned(), source })?;
    let making = |name: &str| scratch.path().join(name);

    progress.begin("build and sign slot A");
    let (slot_kern, slot_root) = (making("slot.kern"), making("slot.root"));
    let root = slot::write_root(parts, layout, &slot_root)?;
    let document = slot::write_kern(parts, layout, root, &slot_kern)?;
    progress.end(&format!("version {}, key {}", document.version, document.key));

    progress.begin("make file systems");
    let (esp, oem, state) = (making("esp"), making("oem"), making("state"));
    esp::make(parts, layout, tools, &esp)?;
    ext4::make_oem(parts, layout, tools, &oem)?;
    ext4::make_state(layout, tools, &state)?;
    progress.end("EFI-SYSTEM, OEM, STATE");

    progress.begin("assemble disk");
    let raw = making("disk.raw");
    let contents = [
        assemble::Content { partition: number::EFI_SYSTEM, path: esp },
        assemble::Content { partition: number::OEM, path: oem },
        assemble::Content { partition: Slot::A.kern_partition(), path: slot_kern.clone() },
        assemble::Content { partition: Slot::A.root_partition(), path: slot_root.clone() },
        assemble::Content { partition: number::STATE, path: state },
    ];
    assemble::write_disk(parts, layout, &document, &contents, &raw)?;
    progress.end(&exact(layout.disk_bytes()));

    // The disk comes last: who finds it finds the rest as well.
    let publish = |made: &Path| {
        let path = made.file_name().map_or_else(|| out.to_owned(), |name| out.join(name));
        fs::rename(made, &path)
            .map(|()| path.clone())
            .map_err(|source| BuildDisk::Write { path, source })
    };
    Ok(Disk {
        slot_kern: publish(&slot_kern)?,
        slot_root: publish(&slot_root)?,
        raw: publish(&raw)?,
        document,
    })
}
