//! What an image consists of: `manifest.json` in the output folder.

use std::collections::BTreeMap;

use ferrite_layout::slot_header::SlotDocument;
use serde::{Deserialize, Serialize};

use crate::packages::Package;

/// Version of this document.
pub const FORMAT: u32 = 1;

/// Every ingredient and every output, with its hash. Equal inputs give equal manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Slot A, as its header says it: version, variant, boot ID, key.
    pub slot: SlotDocument,
    /// Release of the kernel.
    pub kernel_release: String,
    /// Our programs, by their path in the root.
    pub programs: BTreeMap<String, OutputFile>,
    /// Debian packages that files were taken from, sorted by name.
    pub packages: Vec<Package>,
    /// Debian packages of the tools that made it, sorted by name.
    pub tools: Vec<Package>,
    /// How the kernel was built, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_build: Option<KernelBuild>,
    /// Files of the output folder, by name.
    pub files: BTreeMap<String, OutputFile>,
}

/// A kernel that was built for the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelBuild {
    /// Names everything that it was made from; equal keys are equal kernels.
    pub key: String,
    /// Package with its source.
    pub source: Package,
    /// Packages of the tools that built it, sorted by name.
    pub toolchain: Vec<Package>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Size.
    pub size_bytes: u64,
}
