//! A filter as the kernel takes it, kept from one container to the next.
//!
//! libseccomp needs longer for the hundreds of calls of a profile than a runtime for all the rest of a start, and
//! nearly all containers of a node have the same profile. So programs are kept, on a node's tmpfs, by the profile's digest,
//! and the container's process hands one to the kernel as the last thing before it executes.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ferrite_sys::seccomp::{self, Instruction};
use libcontainer::oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator, LinuxSyscall, Spec,
};
use libseccomp::ScmpVersion;
use sha2::{Digest, Sha256};

use super::compile::{self, CompileProblem};

/// Most programs that are kept: a few kilobytes each, and callers may invent profiles.
const KEPT_MAX: usize = 64;

/// No filter could be made or applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramProblem {
    #[error(transparent)]
    Compile(#[from] CompileProblem),
    #[error("encode the profile of system calls")]
    Encode(#[source] serde_json::Error),
    #[error("read the compiled filter {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("apply the filter of system calls")]
    Install(#[source] io::Error),
}

/// A compiled filter.
#[derive(Debug, Clone)]
pub(crate) struct Program(Vec<Instruction>);

impl Program {
    /// The program of a profile: from `cache`, a folder of the caller's own, or compiled and left there.
    pub(crate) fn of(profile: &LinuxSeccomp, cache: &Path) -> Result<Self, ProgramProblem> {
        let path = cache.join(key(profile)?);
        match fs::read(&path) {
            Ok(bytes) => {
                let program = seccomp::instructions(&bytes).ok_or(io::ErrorKind::InvalidData);
                let program = program.map_err(|kind| ProgramProblem::Read {
                    path: path.clone(),
                    source: kind.into(),
                })?;
                return Ok(Self(program));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ProgramProblem::Read { path, source }),
        }
        let bytes = compile::compile(profile)?;
        // Where it cannot be kept, the next container waits for the compiler too, and that is all.
        drop(keep(&path, &bytes));
        let invalid = || ProgramProblem::Read { path, source: io::ErrorKind::InvalidData.into() };
        seccomp::instructions(&bytes).map(Self).ok_or_else(invalid)
    }

    /// Puts this process, and what it executes, behind the filter.
    pub(crate) fn install(&self) -> Result<(), ProgramProblem> {
        seccomp::install(&self.0).map_err(|errno| ProgramProblem::Install(errno.into()))
    }

    /// Takes the filter out of a specification whose process is to install it itself.
    ///
    /// It is left to libcontainer where that has to apply it: before the process loses its rights, because
    /// `no_new_privileges` is not set, before its hooks, or since calls are handed to another process.
    pub(crate) fn take(spec: &mut Spec, cache: &Path) -> Result<Option<Self>, ProgramProblem> {
        let unprivileged = spec.process().as_ref().and_then(|process| process.no_new_privileges());
        let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.start_container().as_ref());
        let alone = unprivileged == Some(true) && hooks.is_none_or(Vec::is_empty);
        let Some(linux) = spec.linux_mut() else { return Ok(None) };
        match linux.seccomp().clone() {
            Some(profile) if alone && is_plain(&profile) => {
                linux.set_seccomp(None);
                Self::of(&profile, cache).map(Some)
            }
            Some(_) => {
                leave_to_libcontainer(spec);
                Ok(None)
            }
            None => Ok(None),
        }
    }
}

/// Has libcontainer apply the filter of a specification as it was meant.
fn leave_to_libcontainer(spec: &mut Spec) {
    let Some(linux) = spec.linux_mut() else { return };
    let Some(mut profile) = linux.seccomp().clone() else { return };
    profile.set_syscalls(profile.syscalls().as_deref().map(with_masks_as_libcontainer_reads));
    linux.set_seccomp(Some(profile));
}

/// libcontainer 0.7 takes a masked comparison's mask for its value, by which most of them let everything through.
fn with_masks_as_libcontainer_reads(calls: &[LinuxSyscall]) -> Vec<LinuxSyscall> {
    let swapped = |argument: &LinuxSeccompArg| {
        let two = argument.value_two().unwrap_or(0);
        let swapped = LinuxSeccompArgBuilder::default()
            .index(argument.index())
            .op(argument.op())
            .value(two)
            .value_two(argument.value());
        let masked = argument.op() == LinuxSeccompOperator::ScmpCmpMaskedEq;
        swapped.build().ok().filter(|_| masked).unwrap_or(*argument)
    };
    let mut calls = calls.to_vec();
    for call in &mut calls {
        let arguments = call.args().as_deref().map(|all| all.iter().map(swapped).collect());
        call.set_args(arguments);
    }
    calls
}

/// Needs nothing of the kernel but the program.
fn is_plain(profile: &LinuxSeccomp) -> bool {
    let notify = LinuxSeccompAction::ScmpActNotify;
    let notifies = profile.syscalls().iter().flatten().any(|call| call.action() == notify);
    let flags = profile.flags().as_ref().is_some_and(|flags| !flags.is_empty());
    !notifies && !flags && profile.default_action() != notify
}

/// Which of our own ways to put a program together: another one needs another number, or what an older version of this
/// one left is taken for it.
const COMPILED_BY: &[u8] = b"2\0";

/// A file's name that another profile, or another compiler, does not have.
fn key(profile: &LinuxSeccomp) -> Result<String, ProgramProblem> {
    let compiler = ScmpVersion::current().map(|version| version.to_string()).unwrap_or_default();
    let mut digest = Sha256::new();
    digest.update(COMPILED_BY);
    digest.update(compiler.as_bytes());
    digest.update([0]);
    digest.update(serde_json::to_vec(profile).map_err(ProgramProblem::Encode)?);
    Ok(hex::encode(digest.finalize()))
}

/// Never seen half-written, however many containers start at once.
fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if fs::read_dir(folder)?.count() >= KEPT_MAX {
        return Ok(());
    }
    let beside = path.with_extension(std::process::id().to_string());
    let mut file = File::create(&beside)?;
    file.write_all(bytes).and_then(|()| fs::rename(&beside, path)).inspect_err(|_error| {
        drop(fs::remove_file(&beside));
    })
}

#[cfg(test)]
mod tests {
    use libcontainer::oci_spec::runtime::{LinuxBuilder, ProcessBuilder, SpecBuilder};

    use super::super::profile::profile;
    use super::*;

    fn spec(no_new_privileges: Option<bool>) -> Spec {
        let mut process = ProcessBuilder::default().build().unwrap();
        process.set_no_new_privileges(no_new_privileges);
        let linux = LinuxBuilder::default().seccomp(profile(&[]).unwrap()).build().unwrap();
        SpecBuilder::default().process(process).linux(linux).build().unwrap()
    }

    #[test]
    fn a_profile_is_compiled_once() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("filters");
        let first = Program::of(&profile(&[]).unwrap(), &folder).unwrap();
        let files: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        // What is kept is what is used.
        fs::write(&files[0], &fs::read(&files[0]).unwrap()[..16]).unwrap();
        let second = Program::of(&profile(&[]).unwrap(), &folder).unwrap();
        assert_eq!((second.0.len(), first.0.len() > 2), (2, true));
        // Broken is not the same as absent: nothing runs with a filter that somebody changed.
        fs::write(&files[0], b"no instruction").unwrap();
        assert!(Program::of(&profile(&[]).unwrap(), &folder).is_err());
    }

    #[test]
    fn the_filter_is_taken_only_from_processes_that_can_install_it() {
        let cache = tempfile::tempdir().unwrap();
        for (no_new_privileges, taken) in [(Some(true), true), (Some(false), false), (None, false)]
        {
            let mut spec = spec(no_new_privileges);
            let program = Program::take(&mut spec, cache.path()).unwrap();
            assert_eq!(program.is_some(), taken, "{no_new_privileges:?}");
            assert_eq!(spec.linux().as_ref().unwrap().seccomp().is_none(), taken);
        }
    }
    #[test]
    fn libcontainer_is_told_masks_where_it_looks_for_them() {
        let cache = tempfile::tempdir().unwrap();
        let mut spec = spec(None);
        let clone = |spec: &Spec| {
            let linux = spec.linux().as_ref().unwrap();
            let calls = linux.seccomp().as_ref().unwrap().syscalls().clone().unwrap();
            let call = calls.iter().find(|call| call.names() == &["clone"]).unwrap();
            let argument = call.args().as_ref().unwrap()[0];
            (argument.value(), argument.value_two().unwrap(), argument.index())
        };
        let (mask, value, index) = clone(&spec);
        assert_ne!((mask, value), (value, mask));
        Program::take(&mut spec, cache.path()).unwrap();
        assert_eq!(clone(&spec), (value, mask, index));
    }
}
