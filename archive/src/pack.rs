//! Files of a folder that is given as a descriptor, made into an archive. Nothing that is opened is reached through a
//! link, and every failure names its file.
//!
//! What a file says about its length is believed only as far as its content bears it out: the kernel's own files
//! (`/proc`, `/sys`) have other lengths than they say, and files change while they are read. Nobody means those by a
//! folder that they are mounted in: such mounts are left out and named, unless what is packed is in one itself.

mod kernels;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::entry::Extent;
use super::extract::named;
use super::record::{self, Record};
use super::sparse::EXTENTS_MAX;

/// Mounts of the kernel's that are named; a container has some five.
const PASSED_NAMED_MAX: usize = 8;
/// Deepest nesting of folders: one open folder each.
pub const DEPTH_MAX: usize = 256;
/// Read before a file's length is said. What ends within it is as long as it is.
const AHEAD_BYTES: usize = 64 * 1024;
/// Most that is kept of a file that is longer than it says, whose length is known at its end only.
const UNKNOWN_MAX_BYTES: usize = 16 << 20;

/// What is packed.
#[derive(Debug, Clone, Copy)]
pub struct Top<'a> {
    /// The folder that it is in.
    pub parent: BorrowedFd<'a>,
    /// Its name there, or `.`.
    pub name: &'a OsStr,
    /// Its name in the archive.
    pub called: &'a Path,
    /// Its path for messages.
    pub shown: &'a Path,
}

/// File systems of the kernel's own that were met on the way. Their folders are in the archive, and are empty there.
#[derive(Debug, Default)]
pub struct Passed {
    named: Vec<String>,
    more: usize,
}

impl Passed {
    fn note(&mut self, path: &Path, kind: &'static str) {
        if self.named.len() < PASSED_NAMED_MAX {
            self.named.push(format!("{} ({kind})", path.display()));
        } else {
            self.more += 1;
        }
    }

    /// What to say about them, on one line; nothing where there were none.
    #[must_use]
    pub fn said(&self) -> Option<String> {
        let named = self.named.join(", ");
        let more = match self.more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!self.named.is_empty()).then(|| {
            format!(
                "left out what the kernel shows in {named}{more}; to copy something of it, name it"
            )
        })
    }
}

/// An archive is not whole.
#[derive(Debug, thiserror::Error)]
pub enum Pack {
    /// The kernel refused it.
    #[error("read {}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It alone was to be copied, and it has no content.
    #[error("copy {}: it is {what}; only files, folders and symbolic links are copied", path.display())]
    Special {
        /// Its path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It is not any more what its entry says.
    #[error("copy {}: it {how} while it was copied; copy it again", path.display())]
    Changed {
        /// Its path.
        path: PathBuf,
        /// What happened.
        how: &'static str,
    },
    /// It does not say how long it is.
    #[error(
        "copy {}: it does not say how long it is, and goes on behind {} MiB",
        path.display(),
        UNKNOWN_MAX_BYTES >> 20
    )]
    Unknown {
        /// Its path.
        path: PathBuf,
    },
    /// Nested too deeply.
    #[error("copy {}: folders in one another deeper than {DEPTH_MAX}", path.display())]
    Deep {
        /// Its path.
        path: PathBuf,
    },
    /// The archive could not be written.
    #[error("send the copy")]
    Send(#[source] io::Error),
}

/// Packs a file, a folder with all that is in it, or a symbolic link. Devices, pipes and sockets in a folder have no
/// content and are left out, and so is what vanishes meanwhile. Answers which file systems of the kernel's were met and
/// not entered.
///
/// # Errors
/// What was written is no whole archive.
pub fn pack(top: &Top<'_>, out: impl Write) -> Result<Passed, Pack> {
    let at = At { called: top.called.to_owned(), shown: top.shown.to_owned(), depth: 0 };
    let mut packer = Packer { out, chunk: vec![0; AHEAD_BYTES], passed: Passed::default() };
    packer.add(top.parent, top.name.as_bytes(), None, &at)?;
    record::end(&mut packer.out).map_err(Pack::Send)?;
    Ok(packer.passed)
}

/// Where something is: in the archive, and for messages.
struct At {
    called: PathBuf,
    shown: PathBuf,
    depth: usize,
}

impl At {
    fn below(&self, name: &[u8]) -> Self {
        let name = OsStr::from_bytes(name);
        Self { called: self.called.join(name), shown: self.shown.join(name), depth: self.depth + 1 }
    }

    fn unread(&self, source: impl Into<io::Error>) -> Pack {
        Pack::Read { path: self.shown.clone(), source: source.into() }
    }

    fn changed(&self, how: &'static str) -> Pack {
        Pack::Changed { path: self.shown.clone(), how }
    }

    /// Nothing where it vanished since its folder was read, a process's for example.
    fn unless_gone<T>(&self, result: Result<T, io::Error>) -> Result<Option<T>, Pack> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error) if self.depth > 0 && is_gone(&error) => Ok(None),
            Err(error) => Err(self.unread(error)),
        }
    }

    fn record<'a>(&'a self, status: &Stat, kind: u8, data_bytes: u64) -> Record<'a> {
        Record {
            path: self.called.as_os_str().as_bytes(),
            link: b"",
            kind,
            mode: status.st_mode & 0o7777,
            uid: status.st_uid,
            gid: status.st_gid,
            mtime_s: status.st_mtime,
            data_bytes,
            holes: None,
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::SRCH))
}

struct Packer<W> {
    out: W,
    chunk: Vec<u8>,
    passed: Passed,
}

impl<W: Write> Packer<W> {
    /// `around` is the device of the folder that it is in; nothing for what was asked for, wherever that is.
    fn add(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        around: Option<u64>,
        at: &At,
    ) -> Result<(), Pack> {
        if at.depth > DEPTH_MAX {
            return Err(Pack::Deep { path: at.shown.clone() });
        }
        let seen = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        let Some(seen) = at.unless_gone(seen.map_err(io::Error::from))? else { return Ok(()) };
        match FileType::from_raw_mode(seen.st_mode) {
            FileType::Directory => self.folder(parent, name, around, at),
            FileType::RegularFile => self.file(parent, name, at),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new());
                let target = at.unless_gone(target.map_err(io::Error::from))?;
                let Some(target) = target else { return Ok(()) };
                let record = Record { link: target.as_bytes(), ..at.record(&seen, b'2', 0) };
                record.write(&mut self.out).map_err(Pack::Send)
            }
            special if at.depth == 0 => {
                Err(Pack::Special { path: at.shown.clone(), what: named(special) })
            }
            _ => Ok(()),
        }
    }

    fn folder(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        around: Option<u64>,
        at: &At,
    ) -> Result<(), Pack> {
        let Some(folder) = open(parent, name, OFlags::DIRECTORY, at)? else { return Ok(()) };
        let status = rustix::fs::fstat(&folder).map_err(|errno| at.unread(errno))?;
        at.record(&status, b'5', 0).write(&mut self.out).map_err(Pack::Send)?;
        if around.is_some_and(|around| around != status.st_dev) {
            let about = rustix::fs::fstatfs(&folder).map_err(|errno| at.unread(errno))?;
            if let Some(kind) = kernels::name(about.f_type) {
                self.passed.note(&at.shown, kind);
                return Ok(());
            }
        }
        for entry in Dir::read_from(&folder).map_err(|errno| at.unread(errno))? {
            let Some(entry) = at.unless_gone(entry.map_err(io::Error::from))? else { break };
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                self.add(folder.as_fd(), name, Some(status.st_dev), &at.below(name))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &[u8], at: &At) -> Result<(), Pack> {
        // Not even for a moment does a pipe that took its place make anybody wait.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let Some(fd) = open(parent, name, flags, at)? else { return Ok(()) };
        let status = rustix::fs::fstat(&fd).map_err(|errno| at.unread(errno))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(at.changed("became something else"));
        }
        let file = File::from(fd);
        let mut ahead = Vec::with_capacity(AHEAD_BYTES);
        let read = (&file).take(AHEAD_BYTES as u64).read_to_end(&mut ahead);
        if at.unless_gone(read)?.is_none() {
            return Ok(());
        }
        // What it says now: it may have grown since.
        let status = rustix::fs::fstat(&file).map_err(|errno| at.unread(errno))?;
        let size = u64::try_from(status.st_size).unwrap_or_default();
        if ahead.len() == AHEAD_BYTES && size > AHEAD_BYTES as u64 {
            return self.long_file(&file, (&status, size), at);
        }
        if ahead.len() == AHEAD_BYTES {
            let room = (UNKNOWN_MAX_BYTES - AHEAD_BYTES + 1) as u64;
            (&file).take(room).read_to_end(&mut ahead).map_err(|error| at.unread(error))?;
            if ahead.len() > UNKNOWN_MAX_BYTES {
                return Err(Pack::Unknown { path: at.shown.clone() });
            }
        }
        let bytes = ahead.len() as u64;
        at.record(&status, b'0', bytes).write(&mut self.out).map_err(Pack::Send)?;
        self.out.write_all(&ahead).map_err(Pack::Send)?;
        record::pad(&mut self.out, bytes).map_err(Pack::Send)
    }

    /// Of a file that grows, what it had.
    fn long_file(&mut self, file: &File, of: (&Stat, u64), at: &At) -> Result<(), Pack> {
        let (status, size) = of;
        let holed = extents(file, size);
        let whole = [Extent { offset: 0, bytes: size }];
        let pieces = holed.as_deref().unwrap_or(&whole);
        let bytes = pieces.iter().map(|piece| piece.bytes).sum();
        let record = at.record(status, if holed.is_some() { b'S' } else { b'0' }, bytes);
        let record = Record { holes: holed.as_deref().map(|pieces| (pieces, size)), ..record };
        record.write(&mut self.out).map_err(Pack::Send)?;
        for piece in pieces {
            let (mut offset, mut left) = (piece.offset, piece.bytes);
            while left > 0 {
                let room = usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk.len());
                let room = self.chunk.get_mut(..room).unwrap_or_default();
                let count = match file.read_at(room, offset) {
                    Ok(0) => return Err(at.changed("became shorter")),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(at.unread(error)),
                };
                let read = self.chunk.get(..count).unwrap_or_default();
                self.out.write_all(read).map_err(Pack::Send)?;
                offset += count as u64;
                left = left.saturating_sub(count as u64);
            }
        }
        record::pad(&mut self.out, bytes).map_err(Pack::Send)
    }
}

fn open(
    parent: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlags,
    at: &At,
) -> Result<Option<OwnedFd>, Pack> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        // A link, a socket or anything else has taken its place.
        Err(Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => Err(at.changed("became something else")),
        opened => at.unless_gone(opened.map_err(io::Error::from)),
    }
}

/// Where a file has data, in the order of the file, and an empty piece at its end where a hole is last, as others have
/// it. `None` where it has no holes, or in too many pieces, or where its file system does not say.
fn extents(file: &File, size: u64) -> Option<Vec<Extent>> {
    let mut all = Vec::new();
    let mut offset = 0;
    while offset < size && all.len() < EXTENTS_MAX {
        let data = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(data) if data < size => data,
            Ok(_) | Err(Errno::NXIO) => {
                all.push(Extent { offset: size, bytes: 0 });
                return Some(all);
            }
            Err(_) => return None,
        };
        let hole = rustix::fs::seek(file, SeekFrom::Hole(data)).ok()?.min(size);
        all.push(Extent {
            offset: data,
            bytes: hole.checked_sub(data).filter(|bytes| *bytes > 0)?,
        });
        offset = hole;
    }
    let is_whole = all.iter().any(|piece| piece.bytes == size);
    (offset == size && !is_whole).then_some(all)
}

#[cfg(test)]
mod tests;
