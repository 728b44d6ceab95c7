//! The parent that a container's program may have there: the shim's program, as what runs in the container may have it.
//!
//! What is in a container can open the file that a process of its own executes, as `/proc/1/exe`, and write to it (CVE-2019-5736).
//! It is therefore executed through a mount of that file alone which has no place anywhere and cannot be written through,
//! whatever the node's own file system allows.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ferrite_sys::idmap::Flags;
use ferrite_sys::reaper::{Apart, Reaper};

use crate::handover;
use crate::owners::{self, OwnersProblem};

/// The control group of a health check's command, below its unit's. It has no controller of its own, so that all in it counts as
/// the unit's.
const CHECK: &str = "ferrite-check";

/// There is no parent for the program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReaperProblem {
    #[error("show the container the program that collects its processes")]
    Program(#[from] OwnersProblem),
    #[error("make the control group of a check, {}", path.display())]
    Group { path: PathBuf, source: io::Error },
}

/// The first process of a container.
pub(crate) fn first() -> Result<Reaper, ReaperProblem> {
    Ok(Reaper { program: program()?, apart: None })
}

/// The parent of a health check's command in the unit whose control group is given. It is in the unit's own, the command in one
/// below: what the command leaves behind is killed there, and collected by who is not.
pub(crate) fn of_check(unit: &Path) -> Result<Reaper, ReaperProblem> {
    let path = unit.join(CHECK);
    let failed = |source| ReaperProblem::Group { path: path.clone(), source };
    match fs::create_dir(&path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => return Err(failed(source)),
        Ok(()) | Err(_) => {}
    }
    let open = |name: &str| File::options().write(true).open(path.join(name)).map_err(failed);
    let apart =
        Apart { processes: open("cgroup.procs")?.into(), kill: open("cgroup.kill")?.into() };
    Ok(Reaper { program: program()?, apart: Some(apart) })
}

fn program() -> Result<OwnedFd, OwnersProblem> {
    let path = handover::program();
    let program = owners::another(&path, false)?;
    let flags = Flags::READ_ONLY.and(Flags::NO_SET_ID).and(Flags::NO_DEVICES);
    owners::set_flags(&program, flags, Flags::default(), &path)?;
    Ok(program)
}
