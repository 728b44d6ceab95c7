//! Builds an image: everything from package names to files in the output directory.

use std::path::PathBuf;

use crate::boot_files::{BootFileError, BootFiles, Payload};
use crate::initramfs::{self, InitramfsError, PublicKey};
use crate::modules::{KernelModules, ModuleError};
use crate::packages::{Package, PackageError, PackageStore};
use crate::progress::Progress;
use crate::root_file_system::{self, RootFileSystemError};
use crate::root_tree::{Ingredients, RootError, os_release};
use crate::tools::{ToolError, Tools};
use crate::tree::{TreeError, read};
use crate::variant::{ReadVariant, Variant};

/// What to build from.
#[derive(Debug)]
pub struct PartsRequest {
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
    /// Keys that may sign slots.
    pub keys: Vec<PublicKey>,
    /// Empty STATE file system, in the form of `ferrite_layout::sparse`.
    pub state_template: Vec<u8>,
}

/// The parts of a slot, and what firmware starts it with.
#[derive(Debug)]
pub struct Parts {
    /// The variant.
    pub variant: Variant,
    /// Kernel (bzImage).
    pub kernel: Vec<u8>,
    /// Its release.
    pub release: String,
    /// Initramfs.
    pub initramfs: Vec<u8>,
    /// Command line.
    pub command_line: String,
    /// Identifies the three above.
    pub boot_id: String,
    /// The root file system. The file belongs to the cache.
    pub root: PathBuf,
    /// Files for firmware.
    pub boot_files: BootFiles,
    /// Packages in the image, sorted by name.
    pub packages: Vec<Package>,
}

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
    #[error("use the kernel package")]
    Kernel {
        #[from]
        source: ModuleError,
    },
    #[error("resolve kernel package {name}: nothing stands for it")]
    NoKernel { name: String },
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
}

/// Makes the parts of a slot.
///
/// # Errors
/// Something is missing or cannot be made; nothing but the cache was changed.
pub fn parts(
    request: &PartsRequest,
    (store, tools): (&PackageStore, &Tools),
    progress: &mut dyn Progress,
) -> Result<Parts, BuildError> {
    let variant_file =
        request.configs.join("variants").join(&request.variant).with_extension("toml");
    let variant = Variant::read(&variant_file)?;
    let resolved = store.obtain(&variant.wanted(), progress)?;
    let package = resolved
        .kernels
        .first()
        .and_then(|name| resolved.package(name))
        .ok_or_else(|| BuildError::NoKernel { name: variant.kernel.package.clone() })?;

    progress.begin("make kernel and initramfs");
    let modules = KernelModules::open(store, tools, package)?;
    let kernel = read(&modules.directory.join(format!("boot/vmlinuz-{}", modules.release)))?;
    let command_line = variant.kernel.command_line();
    let contents = initramfs::Contents::collect(
        &request.init,
        &request.keys,
        (&modules, &variant.modules.initramfs),
        (store, tools),
    )?;
    let boot_id = contents.boot_id(&kernel, &command_line);
    let initramfs = contents.finish(&boot_id)?;
    progress.end(&format!("Linux {}", modules.release));

    progress.begin("make the root file system");
    let tree = Ingredients {
        variant: &variant,
        version: &request.version,
        boot_id: &boot_id,
        init: &request.init,
        agent: &request.agent,
        sysctl: &request.configs.join("sysctl.conf"),
        state_template: &request.state_template,
        keys: &request.keys,
        packages: &resolved,
        modules: &modules,
    }
    .tree((store, tools))?;
    let root = root_file_system::make(&tree, &store.cache, tools)?;
    progress.end(&format!("{} files", tree.nodes().count()));

    let payload = Payload {
        kernel: &kernel,
        release: &modules.release,
        initramfs: &initramfs.bytes,
        command_line: &command_line,
        os_release: &os_release(&request.version, &variant.name, &boot_id),
    };
    let boot_files = BootFiles::make(payload, tools)?;
    Ok(Parts {
        release: modules.release,
        kernel,
        initramfs: initramfs.bytes,
        command_line,
        boot_id,
        root,
        boot_files,
        packages: resolved.packages,
        variant,
    })
}
