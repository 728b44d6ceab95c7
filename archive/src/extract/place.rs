//! One entry in one open folder.

use std::io::BufRead;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

use crate::content::{self, NotWritten};
use crate::{Entry, Tar};

/// Tries for a name that nobody has.
const TRIES: usize = 16;

/// Why an entry is not in its place.
pub(super) enum Problem {
    InTheWay(FileType),
    Failed(NotWritten),
}

impl<E: Into<NotWritten>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A kind of file, as people call it.
pub(crate) const fn named(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    }
}

pub(super) fn kind(folder: BorrowedFd<'_>, name: &[u8]) -> Result<FileType, Errno> {
    let status = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(status.st_mode))
}

/// A folder, made where it is not there.
pub(super) fn folder(parent: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<OwnedFd, Problem> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode & 0o777 | 0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(fd) => Ok(fd),
        Err(Errno::NOTDIR | Errno::LOOP) => Err(Problem::InTheWay(kind(parent, name)?)),
        Err(errno) => Err(errno.into()),
    }
}

/// A symbolic link, in the place of another one at most.
pub(super) fn symlink(parent: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> Result<(), Problem> {
    let (beside, ()) = unnamed(|beside| rustix::fs::symlinkat(target, parent, beside))?;
    settle_or_remove(parent, &beside, name, FileType::Symlink)
}

/// A file, whole before it has its name.
pub(super) fn file<R: BufRead>(
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    tar: &mut Tar<R>,
) -> Result<(), Problem> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(entry.mode & 0o777);
    let (beside, fd) = unnamed(|beside| rustix::fs::openat(parent, beside, flags, mode))?;
    let file = std::fs::File::from(fd);
    if let Err(problem) = content::write(&file, entry, tar) {
        rustix::fs::unlinkat(parent, &beside, AtFlags::empty()).ok();
        return Err(problem.into());
    }
    let time = Timespec { tv_sec: entry.mtime_s, tv_nsec: entry.mtime_ns };
    // A time that the file system does not know is no reason to lose the copy.
    rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time }).ok();
    settle_or_remove(parent, &beside, name, FileType::RegularFile)
}

/// Makes something under a name that nobody has.
fn unnamed<T>(make: impl Fn(&[u8]) -> Result<T, Errno>) -> Result<(Vec<u8>, T), Problem> {
    for _ in 0..TRIES {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, GetRandomFlags::empty())?;
        let name = format!(".ferrite-cp-{:016x}", u64::from_ne_bytes(random)).into_bytes();
        match make(&name) {
            Err(Errno::EXIST) => {}
            made => return Ok((name, made?)),
        }
    }
    Err(Errno::EXIST.into())
}

fn settle_or_remove(
    parent: BorrowedFd<'_>,
    beside: &[u8],
    name: &[u8],
    kind: FileType,
) -> Result<(), Problem> {
    let settled = settle((parent, beside), (parent, name), kind, &[kind]);
    if settled.is_err() {
        rustix::fs::unlinkat(parent, beside, AtFlags::empty()).ok();
    }
    settled
}

/// Gives what is called `from` the name `to`, in the place of what is of the same `kind` and among `replaced`.
pub(super) fn settle(
    (source, from): (BorrowedFd<'_>, &[u8]),
    (folder, to): (BorrowedFd<'_>, &[u8]),
    own: FileType,
    replaced: &[FileType],
) -> Result<(), Problem> {
    let no_replace = rustix::fs::renameat_with(source, from, folder, to, RenameFlags::NOREPLACE);
    match no_replace {
        Ok(()) => return Ok(()),
        // The file system cannot do that; what follows looks first and is not proof against a race.
        Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS) => {}
        Err(errno) => return Err(errno.into()),
    }
    let may_go = |kind: FileType| kind == own && replaced.contains(&kind);
    match kind(folder, to) {
        Ok(there) if !may_go(there) => return Err(Problem::InTheWay(there)),
        Ok(_) => {}
        Err(Errno::NOENT) => return Ok(rustix::fs::renameat(source, from, folder, to)?),
        Err(errno) => return Err(errno.into()),
    }
    let exchange = || rustix::fs::renameat_with(source, from, folder, to, RenameFlags::EXCHANGE);
    match exchange() {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS) => {
            return Ok(rustix::fs::renameat(source, from, folder, to)?);
        }
        Err(errno) => return Err(errno.into()),
    }
    // What was there at that very moment is looked at now: it may have changed since.
    match kind(source, from) {
        Ok(there) if may_go(there) => Ok(rustix::fs::unlinkat(source, from, AtFlags::empty())?),
        Ok(there) => {
            exchange()?;
            Err(Problem::InTheWay(there))
        }
        Err(errno) => Err(errno.into()),
    }
}
