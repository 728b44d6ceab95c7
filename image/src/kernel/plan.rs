//! What a variant's kernel is to be built from: its folder, its source package, its tools.

use std::path::Path;

use super::build::{BuildKernel, WantedKernel};
use super::definition::{Definition, ReadDefinition};
use super::recipe;
use super::toolchain;
use crate::packages::{Package, PackageError, PackageStore, Resolved};
use crate::progress::Progress;
use crate::variant::KernelSource;

/// Everything that a kernel is made from.
#[derive(Debug, Clone)]
pub struct KernelPlan {
    /// What it is.
    pub definition: Definition,
    /// The package with its source.
    pub source: Package,
    /// Packages of the tools that build it, sorted by name.
    pub toolchain: Vec<Package>,
}

/// Why a kernel's ingredients are not known.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PlanKernel {
    #[error("use the kernel's folder")]
    Definition {
        #[from]
        source: ReadDefinition,
    },
    #[error("find the kernel's source: package {name} was not resolved")]
    NoSource { name: String },
    #[error("obtain the packages that build the kernel")]
    Packages {
        #[from]
        source: PackageError,
    },
    #[error("build the kernel")]
    Build {
        #[from]
        source: BuildKernel,
    },
}

impl KernelPlan {
    /// Finds out; fetches the tools' packages where the cache does not have them. `resolved` is the variant's.
    ///
    /// # Errors
    /// The folder is not as it should be, or packages cannot be had.
    pub fn make(
        (configs, kernel): (&Path, &KernelSource),
        resolved: &Resolved,
        store: &PackageStore,
        progress: &mut dyn Progress,
    ) -> Result<Self, PlanKernel> {
        let definition = Definition::read(&configs.join(&kernel.config))?;
        let toolchain = store.obtain(&toolchain::wanted(), progress)?.packages;
        Self::with(definition, kernel, resolved, toolchain)
    }

    /// What an earlier build found out; `None` where there was none. Asks nobody and fetches nothing.
    ///
    /// # Errors
    /// The folder is not as it should be, or the cache cannot be read.
    pub fn remembered(
        (configs, kernel): (&Path, &KernelSource),
        resolved: &Resolved,
        store: &PackageStore,
    ) -> Result<Option<Self>, PlanKernel> {
        let Some(toolchain) = store.remembered(&toolchain::wanted())? else { return Ok(None) };
        let definition = Definition::read(&configs.join(&kernel.config))?;
        Self::with(definition, kernel, resolved, toolchain.packages).map(Some)
    }

    fn with(
        definition: Definition,
        kernel: &KernelSource,
        resolved: &Resolved,
        toolchain: Vec<Package>,
    ) -> Result<Self, PlanKernel> {
        let name = &kernel.package;
        let source =
            resolved.package(name).ok_or_else(|| PlanKernel::NoSource { name: name.clone() })?;
        Ok(Self { definition, source: source.clone(), toolchain })
    }

    /// The kernel itself, built by all processors of this computer.
    #[must_use]
    pub fn wanted(&self) -> WantedKernel<'_> {
        WantedKernel {
            definition: &self.definition,
            source: &self.source,
            toolchain: &self.toolchain,
            jobs: recipe::processors(),
        }
    }
}
