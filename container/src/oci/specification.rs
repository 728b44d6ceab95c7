//! Specifications: a new one, what of them is understood, and what a given one lacks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{Capability, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::arguments::{Arguments, Usage};
use super::output::{say, warn};
use super::problem::{Problem, VerbProblem};
use crate::{seccomp, user};

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
        linux.set_seccomp(Some(seccomp::profile(&[]).map_err(VerbProblem::from)?));
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
    let (mut spec, ignored): (Spec, _) = understand(&text, "/process/capabilities")?;
    let root = spec.root().as_ref().map(|root| bundle.join(root.path())).unwrap_or_default();
    say_ignored(&ignored);
    without_copies(&mut spec);
    if let Some(process) = spec.process_mut() {
        add_home(process, &root);
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

/// A process document, as callers of `exec` write it.
pub(super) fn process(path: &Path) -> Result<Process, VerbProblem> {
    let text = fs::read_to_string(path)
        .map_err(|source| VerbProblem::File { path: path.to_owned(), source })?;
    let (process, ignored) = understand(&text, "/capabilities")?;
    say_ignored(&ignored);
    Ok(process)
}

/// Where it has no home, or an empty one, which libcontainer takes for none, it gets the one that the files of the
/// image below `root` give its user. The last of several is the one that counts.
pub(super) fn add_home(process: &mut Process, root: &Path) {
    let home = |pair: &str| pair.strip_prefix("HOME=").map(str::len);
    let mut env = process.env().clone().unwrap_or_default();
    if env.iter().rev().find_map(|pair| home(pair)).is_none_or(|length| length == 0) {
        env.retain(|pair| home(pair).is_none());
        env.push(format!("HOME={}", user::home_of(process.user().uid(), root)));
        process.set_env(Some(env));
    }
}

fn say_ignored(ignored: &[String]) {
    if !ignored.is_empty() {
        warn(&format!("ignoring unknown or unavailable capabilities: [{}]", ignored.join(" ")));
    }
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

/// A document, and the capabilities among its `sets` that nobody knows: to have less than was asked for is safe, and
/// callers hand on the names that a newer kernel has.
fn understand<T: DeserializeOwned>(
    text: &str,
    sets: &str,
) -> Result<(T, Vec<String>), OciSpecError> {
    if let Ok(document) = serde_json::from_str(text) {
        return Ok((document, Vec::new()));
    }
    let mut document: Value = serde_json::from_str(text)?;
    let mut ignored = Vec::new();
    let sets = document.pointer_mut(sets).and_then(Value::as_object_mut);
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
    fn an_empty_home_is_none() {
        let mut process = Process::default();
        for (given, expected) in [
            (&["HOME="][..], &["HOME=/"][..]),
            (&["HOME=/a", "X=y", "HOME="], &["X=y", "HOME=/"]),
            (&["HOME=", "HOME=/a"], &["HOME=", "HOME=/a"]),
        ] {
            process.set_env(Some(given.iter().map(|pair| (*pair).to_owned()).collect()));
            add_home(&mut process, Path::new("/nowhere"));
            assert_eq!(process.env().as_ref().unwrap(), expected);
        }
    }

    #[test]
    fn capabilities_that_nobody_knows_are_left_out() {
        let mut document = serde_json::to_value(Spec::default()).unwrap();
        document["process"]["capabilities"]["bounding"] =
            serde_json::json!(["CAP_KILL", "CAP_NONSENSE", "CAP_NONSENSE"]);
        document["process"]["capabilities"]["effective"] = serde_json::json!(["CAP_NONSENSE"]);
        let sets = "/process/capabilities";
        let (spec, ignored): (Spec, _) = understand(&document.to_string(), sets).unwrap();
        assert_eq!(ignored, ["CAP_NONSENSE"]);
        let capabilities = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 1);
        assert!(capabilities.effective().as_ref().unwrap().is_empty());

        let text = serde_json::to_string(&Spec::default()).unwrap();
        let (_, ignored): (Spec, _) = understand(&text, sets).unwrap();
        assert!(ignored.is_empty());
    }
}
