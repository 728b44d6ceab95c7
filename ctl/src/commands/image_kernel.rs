//! `ferrite image kernel`.

use std::fs;
use std::path::PathBuf;

use ferrite_image::kernel::checks;
use ferrite_image::kernel::definition::RESULT;
use ferrite_image::kernel::plan::{KernelPlan, PlanKernel};
use ferrite_image::kernel::recipe;
use ferrite_image::kernel::shelf::{BuiltKernel, Shelf};
use ferrite_image::packages::cache::Cache;
use ferrite_image::packages::{PackageError, PackageStore};
use ferrite_image::variant::{KernelOrigin, KernelSource, Variant};
use serde::Serialize;

use crate::cli::{KernelCommand, KernelSelection};
use crate::failure::Failure;
use crate::output::facts;
use crate::progress::Steps;
use crate::session::Session;

/// What is known of a kernel.
#[derive(Debug, Serialize)]
struct Known {
    variant: String,
    /// `None` where no build has asked a mirror for the packages yet.
    key: Option<String>,
    source: Option<String>,
    /// Where it is, if it was built.
    cached: Option<PathBuf>,
    release: Option<String>,
    minutes_to_build: u64,
    hardening_followed: usize,
    hardening_not_followed: usize,
}

/// A configuration that was made.
#[derive(Debug, Serialize)]
struct Configured {
    variant: String,
    built_in: usize,
    changes: Vec<String>,
    written: Option<PathBuf>,
}

pub(super) fn run(command: &KernelCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        KernelCommand::Show { which, cached } => show(&Request::read(which)?, *cached, session),
        KernelCommand::Build { which } => build(&Request::read(which)?, session),
        KernelCommand::Configure { which, bless } => {
            configure(&Request::read(which)?, *bless, session)
        }
    }
}

struct Request {
    configs: PathBuf,
    variant: Variant,
    kernel: KernelSource,
    store: PackageStore,
}

impl Request {
    fn read(which: &KernelSelection) -> Result<Self, Failure> {
        let path = which.configs.join("variants").join(&which.variant).with_extension("toml");
        let variant = Variant::read(&path)
            .map_err(|source| Failure::Variant { variant: which.variant.clone(), source })?;
        let kernel = match &variant.kernel.origin {
            KernelOrigin::Source(source) => source.clone(),
            KernelOrigin::Package(_) => {
                return Err(Failure::NoOwnKernel { variant: which.variant.clone() });
            }
        };
        let store = PackageStore {
            cache: Cache::of_user().map_err(PackageError::from)?,
            mirrors: which.mirrors.named(),
            refresh: which.refresh,
        };
        Ok(Self { configs: which.configs.clone(), variant, kernel, store })
    }

    fn failed(&self) -> impl Fn(PlanKernel) -> Failure + use<'_> {
        |source| Failure::Kernel { variant: self.variant.name.clone(), source }
    }

    fn plan(&self, steps: &mut Steps) -> Result<KernelPlan, Failure> {
        let (kernel, wanted) = ((&*self.configs, &self.kernel), self.variant.wanted());
        KernelPlan::say_needs(kernel, &wanted, &self.store, steps).map_err(self.failed())?;
        let resolved = self.store.obtain(&wanted, steps)?;
        KernelPlan::make(kernel, &resolved, &self.store, steps).map_err(self.failed())
    }

    fn remembered(&self) -> Result<Option<KernelPlan>, Failure> {
        match self.store.remembered(&self.variant.wanted())? {
            Some(resolved) => {
                KernelPlan::remembered((&self.configs, &self.kernel), &resolved, &self.store)
                    .map_err(self.failed())
            }
            None => Ok(None),
        }
    }

    fn known(&self, plan: Option<&KernelPlan>, built: Option<BuiltKernel>) -> Known {
        let hardening = plan.map(|plan| &plan.definition.hardening);
        Known {
            variant: self.variant.name.clone(),
            key: plan.map(|plan| plan.wanted().key()),
            source: plan.map(|plan| format!("{} {}", plan.source.name, plan.source.version)),
            release: built.as_ref().map(|built| built.release.clone()),
            cached: built.map(|built| built.folder),
            minutes_to_build: recipe::minutes(recipe::processors()),
            hardening_followed: hardening.map_or(0, |hardening| hardening.expected.len()),
            hardening_not_followed: hardening.map_or(0, |hardening| hardening.not_so.len()),
        }
    }
}

fn show(request: &Request, cached: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let plan = request.remembered()?;
    let built =
        plan.as_ref().and_then(|plan| Shelf::of(&request.store.cache).find(&plan.wanted().key()));
    if cached && built.is_none() {
        return Err(Failure::KernelNotCached { variant: request.variant.name.clone() });
    }
    session.show(&request.known(plan.as_ref(), built), table)
}

fn build(request: &Request, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut steps = Steps::new(session.draws_progress());
    let plan = request.plan(&mut steps)?;
    let built = plan
        .wanted()
        .obtain(&request.store, &mut steps)
        .map_err(|source| request.failed()(source.into()))?;
    session.show(&request.known(Some(&plan), Some(built)), table)
}

fn configure(request: &Request, bless: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut steps = Steps::new(session.draws_progress());
    let plan = request.plan(&mut steps)?;
    let (text, result) = plan
        .wanted()
        .configure(&request.store, &mut steps)
        .map_err(|source| request.failed()(source.into()))?;
    let changes = checks::changes(plan.definition.result.as_ref(), &result);
    let path = plan.definition.folder.join(RESULT);
    let written = bless.then_some(path);
    if let Some(path) = &written {
        fs::write(path, text).map_err(|source| Failure::Write { path: path.clone(), source })?;
    }
    let configured = Configured {
        variant: request.variant.name.clone(),
        built_in: result.built_in(),
        changes: changes.iter().map(ToString::to_string).collect(),
        written,
    };
    session.show(&configured, configured_text)
}

fn table(known: &Known) -> String {
    let unknown = "not known yet: no build has asked a mirror for its packages";
    let or_unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| unknown.to_owned());
    let mut rows = vec![
        ("variant", known.variant.clone()),
        ("source", or_unknown(&known.source)),
        ("key", or_unknown(&known.key)),
    ];
    match (&known.cached, &known.release) {
        (Some(folder), Some(release)) => {
            rows.push(("release", release.clone()));
            rows.push(("cached", folder.display().to_string()));
        }
        _ => rows.push((
            "cached",
            format!("no; building it takes about {} minutes here", known.minutes_to_build),
        )),
    }
    if known.key.is_some() {
        let (followed, not) = (known.hardening_followed, known.hardening_not_followed);
        rows.push((
            "hardening",
            format!("{followed} recommendations followed, {not} not (with reasons)"),
        ));
    }
    facts(&rows)
}

fn configured_text(configured: &Configured) -> String {
    let mut lines = configured.changes.clone();
    if lines.is_empty() {
        lines.push(format!("{RESULT} is what comes out"));
    }
    lines.push(format!("{} options built in", configured.built_in));
    if let Some(path) = &configured.written {
        lines.push(format!("written to {}", path.display()));
    }
    lines.join("\n")
}
