//! Specifications: a new one, what of them is understood, and what a given one lacks.

use std::io;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;

use super::Problem;
use super::arguments::{Arguments, Usage};
use super::list::say;
use super::verbs::VerbProblem;
use crate::shim::seccomp::Program;
use crate::shim::{filter, home_of};

/// Newest version of the runtime specification that is understood.
pub(super) const VERSION: &str = "1.2.1";

/// `ferrite-oci spec`: a specification to begin with, with our filter of system calls.
pub(super) fn write(arguments: &mut Arguments) -> Result<u8, Problem> {
    let mut bundle = PathBuf::from(".");
    while let Some(option) = arguments.option()? {
        match option.as_str() {
            "-b" | "--bundle" => bundle = arguments.value(&option)?.into(),
            _ => return Err(Usage::UnknownOption { option }.into()),
        }
    }
    let path = bundle.join("config.json");
    if path.exists() {
        let source = io::ErrorKind::AlreadyExists.into();
        return Err(VerbProblem::File { path, source }.into());
    }
    let mut spec = Spec::default();
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(Some(filter().map_err(VerbProblem::from)?));
    }
    spec.save(&path).map_err(VerbProblem::from)?;
    Ok(0)
}

/// `ferrite-oci features` (runtime-spec, "Features Structure").
pub(super) fn features() -> Result<u8, Problem> {
    let features = serde_json::json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "cgroup": { "v1": false, "v2": true, "systemd": false, "systemdUser": false },
            "seccomp": { "enabled": true },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": true } },
        },
    });
    Ok(say(&features.to_string())?)
}

/// The specification of a bundle with what it lacks, and the filter that its process installs itself.
///
/// Without `HOME`, code of the image would run inside the runtime to look it up; without a path, or with a user
/// namespace and a relative one, the container's cgroup would have another's name.
pub(super) fn complete(
    bundle: &Path,
    id: &str,
    filters: &Path,
) -> Result<(Spec, Option<Program>), VerbProblem> {
    let mut spec = Spec::load(bundle.join("config.json"))?;
    let root = spec.root().as_ref().map(|root| bundle.join(root.path())).unwrap_or_default();
    if let Some(process) = spec.process_mut() {
        let has = |env: &Vec<String>| env.iter().any(|pair| pair.starts_with("HOME="));
        if !process.env().as_ref().is_some_and(has) {
            let home = home_of(process.user().uid(), &root);
            let mut env = process.env().clone().unwrap_or_default();
            env.push(format!("HOME={home}"));
            process.set_env(Some(env));
        }
    }
    if let Some(linux) = spec.linux_mut()
        && linux.cgroups_path().as_ref().is_none_or(|path| !path.is_absolute())
    {
        let asked = linux.cgroups_path().clone();
        let path = asked.unwrap_or_else(|| Path::new("ferrite-oci").join(id));
        linux.set_cgroups_path(Some(Path::new("/").join(path)));
    }
    if let Some(specified) = spec.root_mut() {
        specified.set_path(root);
    }
    let filter = Program::take(&mut spec, filters)?;
    Ok((spec, filter))
}
