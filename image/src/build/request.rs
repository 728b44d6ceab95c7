//! What to build.

use std::path::PathBuf;

use ferrite_layout::slot_header::TrustedKey;

use crate::disk::OemFile;
use crate::initramfs::PublicKey;
use crate::keys::SlotKey;

/// What to build from and where to.
#[derive(Debug)]
pub struct BuildRequest {
    /// Directory with `variants/`, `sysctl.conf`, `disk-layout.toml`.
    pub configs: PathBuf,
    /// Name of the variant.
    pub variant: String,
    /// Version of the OS.
    pub version: String,
    /// PID 1, static.
    pub init: PathBuf,
    /// Agent, static.
    pub agent: PathBuf,
    /// Further programs: path in the root and file here. For test images.
    pub programs: Vec<(String, PathBuf)>,
    /// Signs the slot.
    pub key: SlotKey,
    /// Further keys that may sign slots.
    pub trusted: Vec<TrustedKey>,
    /// Files for the OEM partition.
    pub oem: Vec<OemFile>,
    /// Bytes of a sector of the disks that the image is for; the layout's where absent.
    pub sector_bytes: Option<u64>,
    /// Output folder.
    pub out: PathBuf,
}

impl BuildRequest {
    /// The signing key first.
    pub(super) fn public_keys(&self) -> Vec<PublicKey> {
        std::iter::once(&self.key.trusted())
            .chain(&self.trusted)
            .map(|key| PublicKey { name: key.name.clone(), hex: hex::encode(key.key.as_bytes()) })
            .collect()
    }
}
