//! Specifications: a new one, what of them is understood, and what a given one lacks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{Capability, Spec};
use serde_json::Value;

use super::Problem;
use super::arguments::{Arguments, Usage};
use super::list::{say, warn};
use super::verbs::VerbProblem;
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

/// The specification of a bundle with what it lacks.
///
/// Without `HOME`, code of the image would run inside the runtime to look it up; without a path, or with a user
/// namespace and a relative one, the container's cgroup would have another's name.
pub(super) fn complete(bundle: &Path, id: &str) -> Result<Spec, VerbProblem> {
    let path = bundle.join("config.json");
    let text = fs::read_to_string(&path).map_err(|source| VerbProblem::File { path, source })?;
    let (mut spec, ignored) = understand(&text)?;
    let root = spec.root().as_ref().map(|root| bundle.join(root.path())).unwrap_or_default();
    if !ignored.is_empty() {
        warn(&format!("ignoring unknown or unavailable capabilities: [{}]", ignored.join(" ")));
    }
    without_copies(&mut spec);
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
    Ok(spec)
}

/// Leaves out `tmpcopyup`, which podman asks for with every tmpfs of a read-only root and libcontainer does not know:
/// such a tmpfs starts empty.
fn without_copies(spec: &mut Spec) {
    for mount in spec.mounts_mut().iter_mut().flatten() {
        if let Some(mut options) = mount.options().clone()
            && options.iter().any(|option| option == "tmpcopyup")
        {
            options.retain(|option| option != "tmpcopyup");
            mount.set_options(Some(options));
        }
    }
}

/// A specification, and the capabilities in it that nobody knows: to have less than was asked for is safe, and
/// callers hand on the names that a newer kernel has.
fn understand(text: &str) -> Result<(Spec, Vec<String>), OciSpecError> {
    if let Ok(spec) = serde_json::from_str(text) {
        return Ok((spec, Vec::new()));
    }
    let mut document: Value = serde_json::from_str(text)?;
    let mut ignored = Vec::new();
    let sets = document.pointer_mut("/process/capabilities").and_then(Value::as_object_mut);
    for set in sets.into_iter().flat_map(|sets| sets.values_mut()).filter_map(Value::as_array_mut) {
        set.retain(|name| {
            let Some(word) = name.as_str() else { return true };
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
            if !known && !ignored.iter().any(|seen| seen == word) {
                ignored.push(word.to_owned());
            }
            known
        });
    }
    Ok((serde_json::from_value(document)?, ignored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tmpfs_starts_empty() {
        let mut spec = Spec::default();
        let mut mounts = spec.mounts().clone().unwrap();
        let tmpfs =
            mounts.iter_mut().find(|mount| mount.destination() == Path::new("/dev/shm")).unwrap();
        tmpfs.set_options(Some(["nosuid", "tmpcopyup"].map(str::to_owned).to_vec()));
        spec.set_mounts(Some(mounts));
        without_copies(&mut spec);
        let options = spec.mounts().iter().flatten().filter_map(|mount| mount.options().as_ref());
        assert!(options.flatten().all(|option| option != "tmpcopyup"));
    }

    #[test]
    fn capabilities_that_nobody_knows_are_left_out() {
        let mut document = serde_json::to_value(Spec::default()).unwrap();
        document["process"]["capabilities"]["bounding"] =
            serde_json::json!(["CAP_KILL", "CAP_NONSENSE", "CAP_NONSENSE"]);
        document["process"]["capabilities"]["effective"] = serde_json::json!(["CAP_NONSENSE"]);
        let (spec, ignored) = understand(&document.to_string()).unwrap();
        assert_eq!(ignored, ["CAP_NONSENSE"]);
        let capabilities = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 1);
        assert!(capabilities.effective().as_ref().unwrap().is_empty());

        let (_, ignored) = understand(&serde_json::to_string(&Spec::default()).unwrap()).unwrap();
        assert!(ignored.is_empty());
    }
}
