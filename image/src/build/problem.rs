//! Why an image cannot be built.

use std::io;
use std::path::{Path, PathBuf};

use ferrite_schema::document::Problem;

use crate::boot_files::BootFileError;
use crate::disk::BuildDisk;
use crate::initramfs::InitramfsError;
use crate::kernel::ObtainKernel;
use crate::packages::PackageError;
use crate::qcow2::ConvertDisk;
use crate::root_file_system::RootFileSystemError;
use crate::root_tree::RootError;
use crate::tools::ToolError;
use crate::tree::TreeError;
use crate::variant::ReadVariant;

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BuildError {
    #[error("use variant")]
    Variant {
        #[from]
        source: ReadVariant,
    },
    #[error("obtain packages")]
    Packages {
        #[from]
        source: PackageError,
    },
    #[error("obtain build tools")]
    Tools {
        #[from]
        source: ToolError,
    },
    #[error("obtain the kernel")]
    Kernel {
        #[from]
        source: ObtainKernel,
    },
    #[error("read an input")]
    Input {
        #[from]
        source: TreeError,
    },
    #[error("make the initramfs")]
    Initramfs {
        #[from]
        source: InitramfsError,
    },
    #[error("put the root together")]
    Root {
        #[from]
        source: RootError,
    },
    #[error("make the root file system")]
    RootFileSystem {
        #[from]
        source: RootFileSystemError,
    },
    #[error("make boot files")]
    BootFiles {
        #[from]
        source: BootFileError,
    },
    #[error("read {path}")]
    Layout { path: PathBuf, source: Problem },
    #[error("build the disk")]
    Disk {
        #[from]
        source: BuildDisk,
    },
    #[error("make the qcow2 image")]
    Qcow2 {
        #[from]
        source: ConvertDisk,
    },
    #[error("describe the image")]
    Describe { source: serde_json::Error },
    #[error("{act} {path}")]
    Access { act: &'static str, path: PathBuf, source: io::Error },
}

/// Names what was done with a path.
pub(super) fn access<'path>(
    act: &'static str,
    path: &'path Path,
) -> impl FnOnce(io::Error) -> BuildError + 'path {
    move |source| BuildError::Access { act, path: path.to_owned(), source }
}
