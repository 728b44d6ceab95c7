//! The parts of a slot: kernel, initramfs, root file system, and what firmware starts them with.

use std::path::PathBuf;

use super::problem::BuildError;
use crate::boot_files::{BootFiles, Payload};
use crate::initramfs::{self, PublicKey};
use crate::kernel::{Built, Kernel};
use crate::packages::{Package, PackageStore};
use crate::progress::Progress;
use crate::root_file_system;
use crate::root_tree::{Ingredients, os_release};
use crate::tools::Tools;
use crate::tree::read;
use crate::variant::Variant;

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
    /// Further programs: path in the root and file here. For test images.
    pub programs: Vec<(String, PathBuf)>,
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
    /// How it was built, and what else came of it, where it was built.
    pub built: Option<Built>,
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
    let kernel =
        Kernel::obtain((&variant.kernel, &request.configs), &resolved, (store, tools), progress)?;

    progress.begin("make the initramfs");
    let command_line = variant.kernel.command_line();
    let contents = initramfs::Contents::collect(
        &request.init,
        &request.keys,
        (kernel.modules.as_ref(), &variant.modules.initramfs),
        (store, tools),
    )?;
    let boot_id = contents.boot_id(&kernel.image, &command_line);
    let initramfs = contents.finish(&boot_id, &command_line)?;
    progress.end(&format!("for Linux {}", kernel.release));

    progress.begin("make the root file system");
    let mut tree = Ingredients {
        variant: &variant,
        version: &request.version,
        boot_id: &boot_id,
        init: &request.init,
        agent: &request.agent,
        sysctl: &request.configs.join("sysctl.conf"),
        state_template: &request.state_template,
        keys: &request.keys,
        packages: &resolved,
        modules: kernel.modules.as_ref(),
    }
    .tree((store, tools))?;
    for (path, program) in &request.programs {
        tree.program(path.trim_start_matches('/'), read(program)?)?;
    }
    let root = root_file_system::make(&tree, store.date_s(&resolved)?, &store.cache, tools)?;
    progress.end(&format!("{} files", tree.nodes().count()));

    let payload = Payload {
        kernel: &kernel.image,
        release: &kernel.release,
        initramfs: &initramfs.bytes,
        command_line: &command_line,
        os_release: &os_release(&request.version, &variant.name, &boot_id),
    };
    let boot_files = BootFiles::make(payload, tools)?;
    Ok(Parts {
        release: kernel.release,
        kernel: kernel.image,
        built: kernel.built,
        initramfs: initramfs.bytes,
        command_line,
        boot_id,
        root,
        boot_files,
        packages: resolved.packages,
        variant,
    })
}
