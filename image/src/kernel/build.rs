//! Builds a kernel out of its source package, once per content.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::checks::{self, Finding};
use super::configuration::{Configuration, LineProblem};
use super::definition::{Definition, RESULT};
use super::door::{Door, FindDoor, RunStep};
use super::key::Inputs;
use super::recipe::{self, Step};
use super::shelf::{BuiltKernel, Shelf, UseShelf};
use super::symbols::Symbols;
use super::toolchain::{self, UnpackToolchain};
use crate::packages::cache::{CacheError, check_space};
use crate::packages::{Package, PackageError, PackageStore};
use crate::progress::Progress;

/// Name of the log in a place that is not a shelf's.
const LOG: &str = "log";
/// Lines of a changed configuration that are shown where the build goes on; `git diff` shows all of them.
const CHANGES_MAX: usize = 20;

/// A kernel that somebody wants.
#[derive(Debug, Clone, Copy)]
pub struct WantedKernel<'build> {
    /// What it is.
    pub definition: &'build Definition,
    /// The package with its source.
    pub source: &'build Package,
    /// Packages of the tools that build it.
    pub toolchain: &'build [Package],
    /// How many things are compiled at a time; the kernel's bytes do not depend on it.
    pub jobs: usize,
}

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BuildKernel {
    #[error("obtain the packages that build it")]
    Packages {
        #[from]
        source: PackageError,
    },
    #[error("use the package cache")]
    Cache {
        #[from]
        source: CacheError,
    },
    #[error("use the cache of kernels")]
    Shelf {
        #[from]
        source: UseShelf,
    },
    #[error("enter the tree of its tools")]
    Door {
        #[from]
        source: FindDoor,
    },
    #[error("unpack its tools")]
    Toolchain {
        #[from]
        source: UnpackToolchain,
    },
    #[error("{act}; all of it is in {log}")]
    Step { act: &'static str, log: PathBuf, source: RunStep },
    #[error("{act} {path}")]
    Access { act: &'static str, path: PathBuf, source: io::Error },
    #[error("read the configuration that came out: {}", list(.problems))]
    Unreadable { problems: Vec<LineProblem> },
    #[error("the kernel in {folder} is not as it should be:\n{}", list(.findings))]
    Wrong { folder: PathBuf, findings: Vec<Finding> },
    #[error(
        "Debian has updated the kernel's source or its tools since {folder} was written, and the kernel is not as it should be \
         any more:\n{}\nchange that folder (docs/kernel.md says how), or take another variant until somebody has: \
         `ferrite image build --variant cloud`, `FERRITE_TEST_VARIANT=cloud scripts/test`",
        list(.findings)
    )]
    Outdated { folder: PathBuf, findings: Vec<Finding> },
    #[error(
        "the configuration of the kernel in {folder} is not the one that is committed there:\n{}\nlook at it; \
         `ferrite image kernel configure --bless` writes it",
        list(.findings)
    )]
    Changed { folder: PathBuf, findings: Vec<Finding> },
}

fn list(items: &[impl ToString]) -> String {
    items.iter().map(|item| format!("  {}", item.to_string())).collect::<Vec<_>>().join("\n")
}

/// Who does the work. There is one in this program; tests have another.
pub trait Workshop {
    /// Puts tools and packed source into the folder `root`, which is to be made.
    ///
    /// # Errors
    /// Something cannot be unpacked.
    fn furnish(&self, root: &Path, progress: &mut dyn Progress) -> Result<(), BuildKernel>;

    /// Runs a step there.
    ///
    /// # Errors
    /// It fails.
    fn run(
        &self,
        root: &Path,
        step: &Step,
        log: &Path,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(), RunStep>;
}

/// Tools and source out of packages, in namespaces of their own.
#[derive(Debug)]
pub struct PackagedTools<'build> {
    store: &'build PackageStore,
    packages: Vec<Package>,
    door: Door,
    environment: Vec<(&'static str, String)>,
}

impl<'build> PackagedTools<'build> {
    /// What builds `wanted`.
    ///
    /// # Errors
    /// This computer does not let it be entered.
    pub fn new(wanted: WantedKernel<'_>, store: &'build PackageStore) -> Result<Self, BuildKernel> {
        let mut packages = wanted.toolchain.to_vec();
        packages.push(wanted.source.clone());
        let environment = recipe::environment(store.cache.made_s(wanted.source)?);
        Ok(Self { store, packages, door: Door::find()?, environment })
    }
}

impl Workshop for PackagedTools<'_> {
    fn furnish(&self, root: &Path, progress: &mut dyn Progress) -> Result<(), BuildKernel> {
        let total = self.packages.len();
        let advance = |done: usize| progress.advance(as_u64(done), as_u64(total));
        Ok(toolchain::unpack(self.store, &self.packages, root, advance)?)
    }

    fn run(
        &self,
        root: &Path,
        step: &Step,
        log: &Path,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(), RunStep> {
        self.door.run((root, &self.environment), step, log, on_line)
    }
}

impl WantedKernel<'_> {
    /// Names it by what it is made from.
    #[must_use]
    pub fn key(&self) -> String {
        let Self { definition, source, toolchain, .. } = *self;
        let fragment = &definition.fragment_text;
        Inputs { source, toolchain, fragment, recipe: recipe::VERSION }.key()
    }

    /// The kernel out of the cache, or a new one.
    ///
    /// # Errors
    /// It cannot be built, or is not what its folder says. The cache then has what it had before.
    pub fn obtain(
        &self,
        store: &PackageStore,
        progress: &mut dyn Progress,
    ) -> Result<BuiltKernel, BuildKernel> {
        let shelf = Shelf::of(&store.cache);
        match self.find(&shelf, progress)? {
            Some(kernel) => Ok(kernel),
            None => self.build(&shelf, &PackagedTools::new(*self, store)?, progress),
        }
    }

    /// The kernel where it was built already, and still is what its folder says: what is committed there may have changed since,
    /// but for the fragment, which is a part of the key.
    ///
    /// # Errors
    /// It is not.
    pub fn find(
        &self,
        shelf: &Shelf,
        progress: &mut dyn Progress,
    ) -> Result<Option<BuiltKernel>, BuildKernel> {
        let Some(kernel) = shelf.find(&self.key()) else { return Ok(None) };
        let (_, result) = read(&kernel.product("config"))?;
        let findings = checks::judge_built(self.definition, &result);
        if !findings.is_empty() {
            return Err(self.wrong(findings, &result));
        }
        self.compare(&result, progress)?;
        Ok(Some(kernel))
    }

    fn wrong(&self, findings: Vec<Finding>, result: &Configuration) -> BuildKernel {
        let folder = self.definition.folder.clone();
        if self.is_of_others(result) {
            BuildKernel::Outdated { folder, findings }
        } else {
            BuildKernel::Wrong { folder, findings }
        }
    }

    fn is_of_others(&self, result: &Configuration) -> bool {
        let committed = self.definition.result.as_ref();
        committed.is_some_and(|committed| checks::is_of_others(committed, result))
    }

    /// Holds a configuration against the committed one. What an update of Debian's has changed stops nobody who has come just
    /// now: everything that is asked for was looked at before. It is told.
    fn compare(
        &self,
        result: &Configuration,
        progress: &mut dyn Progress,
    ) -> Result<(), BuildKernel> {
        let changes = checks::changes(self.definition.result.as_ref(), result);
        if changes.is_empty() {
            return Ok(());
        }
        let folder = self.definition.folder.clone();
        if !self.is_of_others(result) {
            return Err(BuildKernel::Changed { folder, findings: changes });
        }
        let told = changes.get(..CHANGES_MAX).unwrap_or(&changes);
        let more = match changes.len().saturating_sub(told.len()) {
            0 => String::new(),
            more => format!("\n  and {more} more"),
        };
        progress.say(&format!(
            "Debian has updated the kernel's source or its tools since {} was committed, and the configuration came out \
             otherwise:\n{}{more}\nit is as it should be in all that is asked for, so the build goes on. Before a release: look at \
             it, write it with `ferrite image kernel configure --bless`, and commit it",
            folder.join(RESULT).display(),
            list(told)
        ));
        Ok(())
    }

    /// Builds it, unless somebody else did meanwhile.
    ///
    /// # Errors
    /// As [`Self::obtain`].
    pub fn build(
        &self,
        shelf: &Shelf,
        workshop: &impl Workshop,
        progress: &mut dyn Progress,
    ) -> Result<BuiltKernel, BuildKernel> {
        let key = self.key();
        progress.say(&format!(
            "builds Linux {} from source: about {} minutes on {} processors, {} GB below {} meanwhile",
            self.source.version,
            recipe::minutes(self.jobs),
            self.jobs,
            recipe::SPACE_BYTES.div_ceil(1_000_000_000),
            shelf.folder().display()
        ));
        let place = shelf.begin(&key, || {
            progress.say("another process builds the same kernel; waits for it");
        })?;
        if let Some(kernel) = self.find(shelf, progress)? {
            return Ok(kernel);
        }
        shelf.check_space(recipe::SPACE_BYTES)?;
        let (root, log) = (place.path().join("root"), shelf.log(&key));
        drop(fs::remove_file(&log));
        let (_, result) = self.configured(&root, &log, workshop, progress)?;
        self.compare(&result, progress)?;
        progress.begin("compile the kernel");
        let mut lines = 0;
        let mut count = |_line: &str| {
            lines += 1;
            progress.advance(lines, recipe::LINES.max(lines + 1));
        };
        let step = recipe::compile(self.jobs);
        workshop.run(&root, &step, &log, &mut count).map_err(|source| BuildKernel::Step {
            act: "compile the kernel",
            log,
            source,
        })?;
        let kernel = place.keep(&root)?;
        progress.end(&format!("Linux {}, {} options built in", kernel.release, result.built_in()));
        Ok(kernel)
    }

    /// What the fragment comes to: the text of the configuration, checked against the kernel's folder but for the result
    /// that is committed there.
    ///
    /// # Errors
    /// It cannot be made, or is not as it should be.
    pub fn configure(
        &self,
        store: &PackageStore,
        progress: &mut dyn Progress,
    ) -> Result<(String, Configuration), BuildKernel> {
        let scratch = store.cache.scratch()?;
        check_space(scratch.path(), recipe::SPACE_BYTES)?;
        let (root, log) = (scratch.path().join("root"), scratch.path().join(LOG));
        self.configured(&root, &log, &PackagedTools::new(*self, store)?, progress)
    }

    fn configured(
        &self,
        root: &Path,
        log: &Path,
        workshop: &impl Workshop,
        progress: &mut dyn Progress,
    ) -> Result<(String, Configuration), BuildKernel> {
        progress.begin("unpack the kernel's source and its tools");
        workshop.furnish(root, progress)?;
        let fragment = root.join(recipe::FRAGMENT_IN_ROOT);
        fs::write(&fragment, &self.definition.fragment_text).map_err(access("write", &fragment))?;
        let mut steps = recipe::unpack(&self.source.name).to_vec();
        steps.push(recipe::configure());
        for step in &steps {
            workshop.run(root, step, log, &mut |_line| {}).map_err(|source| BuildKernel::Step {
                act: "configure the kernel",
                log: log.to_owned(),
                source,
            })?;
        }
        let (text, result) = read(&recipe::product(root, ".config"))?;
        let symbols = Symbols::collect(&root.join(recipe::SOURCE_IN_ROOT))
            .map_err(|(path, source)| BuildKernel::Access { act: "read", path, source })?;
        let findings = checks::judge(self.definition, &symbols, &result);
        if !findings.is_empty() {
            return Err(self.wrong(findings, &result));
        }
        progress.end(&format!("{} options built in", result.built_in()));
        Ok((text, result))
    }
}

/// A configuration that came out, as text and read.
fn read(path: &Path) -> Result<(String, Configuration), BuildKernel> {
    let text = fs::read_to_string(path).map_err(access("read", path))?;
    let result =
        Configuration::parse(&text).map_err(|problems| BuildKernel::Unreadable { problems })?;
    Ok((text, result))
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn access<'path>(
    act: &'static str,
    path: &'path Path,
) -> impl FnOnce(io::Error) -> BuildKernel + 'path {
    move |source| BuildKernel::Access { act, path: path.to_owned(), source }
}
