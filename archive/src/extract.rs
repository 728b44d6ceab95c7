//! Places the entries of somebody else's archive strictly below one folder that is given as a descriptor.
//!
//! Every component of a path is opened by itself, never through a link, so that nothing leads out of the folder, whatever
//! the archive says and whoever changes the folder meanwhile. What is there already is replaced only where it is of the
//! same kind and a file or a link; folders are filled. Everything else stays, and is named.

mod place;

use std::ffi::OsStr;
use std::io::{self, BufRead};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::content::NotWritten;
use crate::{Entry, Kind, Tar, TarProblem};

pub(crate) use self::place::named;

/// Deepest nesting of folders: what removes or copies them again has finite descriptors.
pub const DEPTH_MAX: usize = 257;
/// Most entries of a copy, against archives that would use up all inodes.
const ENTRIES_MAX: u64 = 1 << 22;

/// What the archive may have at its top.
#[derive(Debug, Clone)]
pub enum Top {
    /// One entry alone, and what is below it. It gets the name `placed`.
    One {
        /// Name that it must have in the archive; the first entry's where it is `None`.
        sent: Option<Vec<u8>>,
        /// Name that it gets; its own where it is `None`.
        placed: Option<Vec<u8>>,
    },
    /// Whatever it has, into the folder itself.
    Content,
}

/// A copy is not, or not wholly, in its place.
#[derive(Debug, thiserror::Error)]
pub enum Extract {
    /// The stream is no tar, or ends early.
    #[error(transparent)]
    ReadTar(#[from] TarProblem),
    /// An entry that no honest copy has.
    #[error("refuse {} in the archive: {why}", path.display())]
    Refuse {
        /// Its path in the archive.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something of another kind has the name.
    #[error("replace {}: {what} is there, and a copy replaces nothing but a file by a file", path.display())]
    InTheWay {
        /// Path below the folder.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The kernel refused it.
    #[error("create {}", path.display())]
    Create {
        /// Path below the folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl place::Problem {
    fn at(self, path: &Path) -> Extract {
        let path = path.to_owned();
        match self {
            Self::InTheWay(kind) => Extract::InTheWay { path, what: place::named(kind) },
            Self::Failed(NotWritten::Disk(source)) => Extract::Create { path, source },
            Self::Failed(NotWritten::Tar(problem)) => Extract::ReadTar(problem),
        }
    }
}

/// Places all that `reader` has below `base`, and reads `reader` to its end. Modes are the archive's, less set-id bits
/// and the process's umask; folders can be entered and removed by whoever places them.
///
/// # Errors
/// What was placed before stays.
pub fn extract(reader: impl BufRead, base: BorrowedFd<'_>, top: &Top) -> Result<(), Extract> {
    let mut tar = Tar::new(reader);
    let mut target = Target { base, top: top.clone(), under: None, parent: None };
    let mut count = 0_u64;
    while let Some(entry) = tar.next_entry()? {
        count += 1;
        if count > ENTRIES_MAX {
            return Err(refuse(&entry, "it is one of too many"));
        }
        let Some((name, folders)) = target.place_of(&entry)? else { continue };
        let parent = target.enter(&folders)?;
        let placed = match entry.kind {
            Kind::Folder => place::folder(parent.as_fd(), &name, entry.mode).map(drop),
            Kind::Symlink => place::symlink(parent.as_fd(), &name, &entry.link),
            Kind::File => place::file(parent.as_fd(), &name, &entry, &mut tar),
            _ => return Err(refuse(&entry, "it is neither a file, a folder nor a symbolic link")),
        };
        placed.map_err(|problem| problem.at(&shown(&folders, &name)))?;
    }
    tar.drain()?;
    Ok(())
}

/// Moves `from` in one folder to `to` in another of the same file system. A regular file takes the place of a regular
/// file; anything else only a place that is free.
///
/// # Errors
/// Nothing has changed.
pub fn settle(
    (source, from): (BorrowedFd<'_>, &OsStr),
    (folder, to): (BorrowedFd<'_>, &OsStr),
) -> Result<(), Extract> {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let settled = place::kind(source, from).map_err(place::Problem::from).and_then(|kind| {
        place::settle((source, from), (folder, to), kind, &[FileType::RegularFile])
    });
    settled.map_err(|problem| problem.at(&shown(&[], to)))
}

/// What a name in a folder is, for people; `None` where a copy may have it: nothing, a regular file, a folder.
///
/// # Errors
/// The kernel's.
pub fn in_the_way(folder: BorrowedFd<'_>, name: &OsStr) -> Result<Option<&'static str>, Errno> {
    match place::kind(folder, name.as_bytes()) {
        Ok(FileType::RegularFile | FileType::Directory) | Err(Errno::NOENT) => Ok(None),
        Ok(kind) => Ok(Some(place::named(kind))),
        Err(errno) => Err(errno),
    }
}

/// The name of an entry, and the folders that it lies in.
type Place = (Vec<u8>, Vec<Vec<u8>>);

/// The folder being filled.
struct Target<'a> {
    base: BorrowedFd<'a>,
    top: Top,
    /// Folder below the base that all goes into.
    under: Option<Vec<u8>>,
    /// The folder of the last entry: entries come folder by folder.
    parent: Option<(Vec<Vec<u8>>, OwnedFd)>,
}

impl Target<'_> {
    /// Name and folders of an entry below the base; `None` for the base itself.
    fn place_of(&mut self, entry: &Entry) -> Result<Option<Place>, Extract> {
        let mut parts = components(entry)?;
        match (&mut self.top, parts.first_mut()) {
            (Top::Content, _) => {}
            (Top::One { sent, placed }, Some(first)) => {
                if sent.get_or_insert_with(|| first.clone()) != first {
                    return Err(refuse(entry, "it is not what was asked for"));
                }
                if let Some(name) = placed {
                    first.clone_from(name);
                }
            }
            (Top::One { sent: Some(_), .. }, None) => {
                return Err(refuse(entry, "it is not what was asked for"));
            }
            // The archive begins with `.`: its content is what is copied, into a new folder where that has a name.
            (Top::One { sent: None, placed }, None) => {
                self.under = placed.take();
                self.top = Top::Content;
            }
        }
        if let Some(folder) = &self.under {
            parts.insert(0, folder.clone());
        }
        Ok(parts.pop().map(|name| (name, parts)))
    }

    fn enter(&mut self, folders: &[Vec<u8>]) -> Result<BorrowedFd<'_>, Extract> {
        if self.parent.as_ref().is_none_or(|(path, _)| path != folders) {
            let mut fd = open_again(self.base).map_err(|errno| create(Path::new("."), errno))?;
            for (depth, part) in folders.iter().enumerate() {
                let path = shown(folders.get(..depth).unwrap_or_default(), part);
                fd = place::folder(fd.as_fd(), part, 0o755).map_err(|problem| problem.at(&path))?;
            }
            self.parent = Some((folders.to_vec(), fd));
        }
        match &self.parent {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => Ok(self.base),
        }
    }
}

/// The parts of a path that leads nowhere but down.
fn components(entry: &Entry) -> Result<Vec<Vec<u8>>, Extract> {
    if entry.path.first().is_none_or(|byte| *byte == b'/') {
        return Err(refuse(entry, "its path is absolute or empty"));
    }
    let mut parts = Vec::new();
    for part in entry.path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(refuse(entry, "its path holds `..`")),
            part => parts.push(part.to_vec()),
        }
    }
    if parts.len() > DEPTH_MAX {
        return Err(refuse(entry, "it is nested too deeply"));
    }
    Ok(parts)
}

fn open_again(folder: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, ".", flags, Mode::empty())
}

fn refuse(entry: &Entry, why: &'static str) -> Extract {
    Extract::Refuse { path: PathBuf::from(OsStr::from_bytes(&entry.path)), why }
}

fn create(path: &Path, errno: Errno) -> Extract {
    Extract::Create { path: path.to_owned(), source: errno.into() }
}

fn shown(folders: &[Vec<u8>], name: &[u8]) -> PathBuf {
    let parts = folders.iter().map(Vec::as_slice).chain([name]);
    parts.map(OsStr::from_bytes).collect()
}

#[cfg(test)]
mod tests;
