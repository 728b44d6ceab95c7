//! The kernel of an image: out of a package, with its modules, or built from a package with its source, with none.

pub mod build;
pub mod checks;
pub mod configuration;
pub mod definition;
pub mod door;
pub mod key;
pub mod plan;
pub mod recipe;
pub mod shelf;
pub mod symbols;
pub mod toolchain;

use std::path::{Path, PathBuf};

use crate::manifest::KernelBuild;
use crate::modules::{KernelModules, ModuleError};
use crate::packages::{PackageStore, Resolved};
use crate::progress::Progress;
use crate::tools::Tools;
use crate::tree::{TreeError, read};
use crate::variant::{Kernel as Wanted, KernelOrigin};
use plan::{KernelPlan, PlanKernel};

/// A kernel, and what came with it.
#[derive(Debug)]
pub struct Kernel {
    /// The kernel as boot loaders start it (bzImage).
    pub image: Vec<u8>,
    /// Release, as `uname -r` says it.
    pub release: String,
    /// Its modules; a kernel that was built has none.
    pub modules: Option<KernelModules>,
    /// How it was built, where it was.
    pub built: Option<Built>,
}

/// What there is of a kernel that was built.
#[derive(Debug)]
pub struct Built {
    /// The kernel as an ELF file, for virtual machine monitors that load it themselves. The file belongs to the cache.
    pub vmlinux: PathBuf,
    /// What it was made from.
    pub record: KernelBuild,
}

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ObtainKernel {
    #[error("resolve kernel package {name}: nothing stands for it")]
    NoPackage { name: String },
    #[error("use the kernel package")]
    Package {
        #[from]
        source: ModuleError,
    },
    #[error("read the kernel")]
    Read {
        #[from]
        source: TreeError,
    },
    #[error(transparent)]
    Plan(#[from] PlanKernel),
}

impl Kernel {
    /// The kernel that a variant names; `resolved` are the variant's packages.
    ///
    /// # Errors
    /// It cannot be had, or cannot be built.
    pub fn obtain(
        (wanted, configs): (&Wanted, &Path),
        resolved: &Resolved,
        (store, tools): (&PackageStore, &Tools),
        progress: &mut dyn Progress,
    ) -> Result<Self, ObtainKernel> {
        match &wanted.origin {
            KernelOrigin::Package(name) => {
                let found = resolved.kernels.first().and_then(|name| resolved.package(name));
                let package =
                    found.ok_or_else(|| ObtainKernel::NoPackage { name: name.clone() })?;
                let modules = KernelModules::open(store, tools, package)?;
                let path = modules.directory.join(format!("boot/vmlinuz-{}", modules.release));
                let release = modules.release.clone();
                Ok(Self { image: read(&path)?, release, modules: Some(modules), built: None })
            }
            KernelOrigin::Source(source) => {
                let plan = KernelPlan::make((configs, source), resolved, store, progress)?;
                let kernel = plan.wanted().obtain(store, progress).map_err(PlanKernel::from)?;
                let record = KernelBuild {
                    key: kernel.key.clone(),
                    source: plan.source.clone(),
                    toolchain: plan.toolchain.clone(),
                };
                let built = Built { vmlinux: kernel.product("vmlinux"), record };
                let image = read(&kernel.product("bzImage"))?;
                Ok(Self { image, release: kernel.release, modules: None, built: Some(built) })
            }
        }
    }
}
