//! What a variant's kernel is to be built from: its folder, its source package, its tools.

use std::path::Path;

use super::build::{BuildKernel, WantedKernel};
use super::definition::{Definition, ReadDefinition};
use super::recipe;
use super::shelf::Shelf;
use super::toolchain;
use crate::packages::cache::check_space;
use crate::packages::{Package, PackageError, PackageStore, Resolved, Wanted};
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
    /// Says what a kernel that is not there yet takes: bytes to fetch, time, space. Before anything is fetched, and without asking
    /// anybody; `wanted` are the variant's packages.
    ///
    /// # Errors
    /// There is not that much space; the folder is not as it should be, or the cache cannot be read.
    pub fn say_needs(
        (configs, kernel): (&Path, &KernelSource),
        wanted: &Wanted,
        store: &PackageStore,
        progress: &mut dyn Progress,
    ) -> Result<(), PlanKernel> {
        let known = match store.remembered(wanted)? {
            Some(resolved) => Self::remembered((configs, kernel), &resolved, store)?,
            None => None,
        };
        let shelf = Shelf::of(&store.cache);
        let to_fetch_bytes = match &known {
            Some(plan) if shelf.find(&plan.wanted().key()).is_some() => return Ok(()),
            Some(plan) => plan.missing_bytes(store),
            None => recipe::DOWNLOAD_BYTES,
        };
        let needed_bytes = recipe::SPACE_BYTES + to_fetch_bytes;
        check_space(store.cache.root(), needed_bytes).map_err(PackageError::from)?;
        let fetch = match to_fetch_bytes / 1_000_000 {
            0 => String::new(),
            megabytes => format!("{megabytes} MB of source and tools to fetch, "),
        };
        let jobs = recipe::processors();
        progress.say(&format!(
            "{} is a kernel of its own, which is not in the cache: {fetch}about {} minutes of building on {jobs} processors, \
             {:.1} GB below {} meanwhile",
            kernel.config.display(),
            recipe::minutes(jobs),
            gigabytes(needed_bytes),
            store.cache.root().display()
        ));
        Ok(())
    }

    /// Bytes of the packages that are not in the cache.
    fn missing_bytes(&self, store: &PackageStore) -> u64 {
        let all = self.toolchain.iter().chain([&self.source]);
        all.filter(|package| !store.cache.has(package)).map(|package| package.size_bytes).sum()
    }

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

/// For people: to a tenth.
fn gigabytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
    let bytes = bytes as f64;
    bytes / 1e9
}
