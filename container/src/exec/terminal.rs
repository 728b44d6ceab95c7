//! A terminal of the container's own, so that programs in it find it by name.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// The multiplexer of the container's terminals.
const MULTIPLEXER: &str = "/dev/pts/ptmx";
/// Its device numbers (Documentation/admin-guide/devices.txt).
const MULTIPLEXER_NUMBERS: (u32, u32) = (5, 2);
/// `DEVPTS_SUPER_MAGIC` (linux/magic.h).
const DEVPTS: i64 = 0x1cd1;

/// There is no terminal.
#[derive(Debug, thiserror::Error)]
pub(super) enum TerminalProblem {
    #[error("make a terminal in the container")]
    Make(#[source] io::Error),
    #[error("make a terminal in the container: its {MULTIPLEXER} is not the kernel's")]
    Forged,
}

/// Makes a terminal that belongs to `uid`: master and slave. The container may have put anything in the
/// multiplexer's place, so it is looked at once it is open; the slave is asked from the master and never named.
pub(super) fn make(
    uid: u32,
    size: Option<(u16, u16)>,
) -> Result<(OwnedFd, OwnedFd), TerminalProblem> {
    let failed = |errno: rustix::io::Errno| TerminalProblem::Make(errno.into());
    // Looked at before it is opened for use: to open a forged device could already do something.
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = OFlags::PATH | OFlags::CLOEXEC;
    let seen =
        rustix::fs::openat2(CWD, MULTIPLEXER, path, Mode::empty(), resolve).map_err(failed)?;
    verify(&seen)?;
    let use_it = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master =
        rustix::fs::openat2(CWD, MULTIPLEXER, use_it, Mode::empty(), resolve).map_err(failed)?;
    verify(&master)?;
    rustix::pty::unlockpt(&master).map_err(failed)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(failed)?;
    rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), None::<Gid>).map_err(failed)?;
    if let Some((ws_col, ws_row)) = size {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).map_err(failed)?;
    }
    Ok((master, slave))
}

fn verify(file: &OwnedFd) -> Result<(), TerminalProblem> {
    let failed = |errno: rustix::io::Errno| TerminalProblem::Make(errno.into());
    let status = rustix::fs::fstat(file).map_err(failed)?;
    let system = rustix::fs::fstatfs(file).map_err(failed)?;
    let numbers = (rustix::fs::major(status.st_rdev), rustix::fs::minor(status.st_rdev));
    let device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
    if device && numbers == MULTIPLEXER_NUMBERS && system.f_type == DEVPTS {
        return Ok(());
    }
    Err(TerminalProblem::Forged)
}
