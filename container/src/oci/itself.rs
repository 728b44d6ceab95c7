//! The runtime's own program, kept from the containers that it makes.
//!
//! A container can have the program run inside of it, as `/proc/self/exe`, hold it open until nobody runs it any more,
//! and then write to it, for the next container's maker to run (CVE-2019-5736). Where the file can be written, the
//! program is therefore run through a mount of its own through which it cannot.

use std::ffi::{CString, NulError};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use ferrite_sys::idmap::Flags;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, execveat, faccessat};

use crate::owners::{OwnersProblem, another, set_flags};

const OWN: &str = "/proc/self/exe";

/// The program cannot be kept from containers, so none is made.
#[derive(Debug, thiserror::Error)]
#[error(
    "keep this program's own file from containers; on a read-only file system it is safe already"
)]
pub(super) enum ItselfProblem {
    Look(#[source] Errno),
    Mount(#[from] OwnersProblem),
    Argument(#[from] NulError),
    Execute(#[source] Errno),
    Name(#[source] rustix::io::Errno),
}

/// Starts the program again, with the same arguments, where its file could be written.
pub(super) fn protect() -> Result<(), ItselfProblem> {
    let own = Path::new(OWN);
    match faccessat(nix::fcntl::AT_FDCWD, own, AccessFlags::W_OK, AtFlags::AT_EACCESS) {
        Err(Errno::EROFS) => {
            // Run from a mount that has no place, it would be named after a file descriptor.
            return rustix::thread::set_name(c"ferrite-oci").map_err(ItselfProblem::Name);
        }
        // Not to be written by us; an owner could still allow it to himself.
        Err(Errno::EACCES)
            if nix::sys::stat::stat(own)
                .is_ok_and(|found| found.st_uid != nix::unistd::geteuid().as_raw()) =>
        {
            return Ok(());
        }
        Ok(()) | Err(Errno::EACCES) => {}
        Err(errno) => return Err(ItselfProblem::Look(errno)),
    }
    let program = another(own, false)?;
    set_flags(&program, Flags::READ_ONLY, Flags::default(), own)?;
    let arguments = std::env::args_os().map(|argument| CString::new(argument.into_vec()));
    let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    let variables = std::env::vars_os().map(|(name, value)| {
        CString::new([name.into_vec(), b"=".to_vec(), value.into_vec()].concat())
    });
    let variables = variables.collect::<Result<Vec<_>, _>>()?;
    match execveat(program.as_fd(), c"", &arguments, &variables, AtFlags::AT_EMPTY_PATH) {
        Ok(never) => match never {},
        Err(errno) => Err(ItselfProblem::Execute(errno)),
    }
}
