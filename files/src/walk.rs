//! Goes through trees of any depth with one open folder: down by name, up by `..`, which is checked.
//!
//! Of each level on the way down only its identity and the place in its list of entries is kept, so that memory is
//! bounded by the depth alone, at some thirty bytes a level.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// What a tree takes, without its top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Bytes of regular files, as long as they say they are.
    pub bytes: u64,
    /// Files, folders and all else.
    pub inodes: u64,
    /// Everything was seen; otherwise there may be more.
    pub whole: bool,
}

/// Counts what is below `folder`, on its own file system. What cannot be read is left out.
#[must_use]
pub fn count(folder: &Path) -> Count {
    let mut count = Count { bytes: 0, inodes: 0, whole: false };
    let result = open(folder).and_then(|top| {
        walk(top, |step| {
            if let Step::Entry { stat, .. } = step {
                count.inodes = count.inodes.saturating_add(1);
                if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                    count.bytes =
                        count.bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
                }
            }
            Ok(Next::DownIfPossible)
        })
    });
    match result {
        Ok(()) => count.whole = true,
        // It may be gone again, or change at this moment.
        Err(error) => tracing::debug!(%error, folder = %folder.display(), "tree-not-counted"),
    }
    count
}

fn open(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, folder, flags, Mode::empty())?)
}

/// What is met on the way.
#[derive(Debug)]
pub enum Step<'a> {
    /// An entry of a folder.
    Entry {
        /// The folder.
        folder: BorrowedFd<'a>,
        /// Its name.
        name: &'a CStr,
        /// What it is.
        stat: &'a Stat,
    },
    /// All entries of a folder were met. The top is never left.
    Leave {
        /// The folder.
        folder: BorrowedFd<'a>,
    },
}

/// What to do with a folder that is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Its entries are next.
    Down,
    /// So they are if it can be opened; otherwise it is passed by.
    DownIfPossible,
    /// It is passed by.
    Past,
}

/// Visits everything below `top`, each folder before what is in it. What is mounted there cannot be opened.
///
/// # Errors
/// The visitor's; or a folder could not be opened or read, or was moved meanwhile.
pub fn walk(top: OwnedFd, mut visit: impl FnMut(Step<'_>) -> io::Result<Next>) -> io::Result<()> {
    let mut place = Place::at(top);
    let mut entries = Dir::read_from(&place)?;
    // Where each level above goes on.
    let mut offsets: Vec<i64> = Vec::new();
    loop {
        let Some(entry) = entries.read() else {
            let Some(offset) = offsets.pop() else { return Ok(()) };
            visit(Step::Leave { folder: place.as_fd() })?;
            place.up()?;
            entries = Dir::read_from(&place)?;
            entries.seek(offset)?;
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match rustix::fs::statat(&place, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        let next = visit(Step::Entry { folder: place.as_fd(), name, stat: &stat })?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            continue;
        }
        let down = match next {
            Next::Down => place.down(name).map(|()| true)?,
            Next::DownIfPossible => place.down(name).is_ok(),
            Next::Past => false,
        };
        if down {
            offsets.push(entry.offset());
            entries = Dir::read_from(&place)?;
        }
    }
}

/// A folder in a tree, and the way back to the top.
#[derive(Debug)]
pub struct Place {
    folder: OwnedFd,
    /// Device and inode of each folder above.
    above: Vec<(u64, u64)>,
}

impl Place {
    /// The top of a tree.
    #[must_use]
    pub fn at(top: OwnedFd) -> Self {
        Self { folder: top, above: Vec::new() }
    }

    /// Goes into a folder of this name: not through a link, not into what is mounted there.
    ///
    /// # Errors
    /// There is none, or it may not be read. The place stays the same.
    pub fn down(&mut self, name: &CStr) -> io::Result<()> {
        let here = rustix::fs::fstat(&self.folder)?;
        let inner = self.open(name, ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS)?;
        self.folder = inner;
        self.above.push((here.st_dev, here.st_ino));
        Ok(())
    }

    /// Goes back to the folder above.
    ///
    /// # Errors
    /// This is the top, or `..` leads elsewhere: somebody moved this folder.
    pub fn up(&mut self) -> io::Result<()> {
        let expected = self.above.pop().ok_or(Errno::NOENT)?;
        let outer = self.open(c"..", ResolveFlags::NO_XDEV)?;
        let found = rustix::fs::fstat(&outer)?;
        if (found.st_dev, found.st_ino) != expected {
            return Err(Errno::STALE.into());
        }
        self.folder = outer;
        Ok(())
    }

    fn open(&self, name: &CStr, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.folder, name, flags, Mode::empty(), resolve)
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn everything_is_met_once() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..700 {
            fs::create_dir(folder.path().join(format!("folder-{number}"))).unwrap();
            fs::write(folder.path().join(format!("folder-{number}/file")), "abc").unwrap();
        }
        symlink("/", folder.path().join("link")).unwrap();
        assert_eq!(
            count(folder.path()),
            Count { bytes: 3 * 700, inodes: 2 * 700 + 1, whole: true }
        );
        assert!(!count(&folder.path().join("absent")).whole);
        assert_eq!(count(&folder.path().join("link")).inodes, 0);
    }

    #[test]
    fn a_folder_that_was_moved_is_not_gone_back_from() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::create_dir_all(folder.path().join("c")).unwrap();
        let mut place = Place::at(open(&folder.path().join("a")).unwrap());
        assert!(place.down(c"none").is_err());
        place.down(c"b").unwrap();
        fs::rename(folder.path().join("a/b"), folder.path().join("c/b")).unwrap();
        assert_eq!(place.up().unwrap_err().raw_os_error(), Some(Errno::STALE.raw_os_error()));
    }
}
