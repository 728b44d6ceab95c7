//! Removes a file or a folder with all that is in it, whatever somebody hostile made of it.
//!
//! A path cannot be used: deeper trees than `PATH_MAX` are made easily, by a container or by an image with links. Nor
//! can every folder on the way be kept open. So all goes by descriptors, a few levels at a time: what lies deeper than
//! [`OPEN_MAX`] is moved up into a fresh folder at the top, and its turn comes in the next pass. Going back by
//! `..` would do without moving, but needs memory for every level, trust in what `..` leads to, and cannot
//! remove what it stands in. Memory and open files are bounded here; each folder is moved at most once, so time
//! grows with the number of entries.
//!
//! Links are removed and never followed; what is mounted somewhere in the tree is not entered and not removed.
//! Where the owner took away rights, or somebody set the attributes `i` and `a`, they are given back first.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use self::rights::{OWNER, PROJECT_INHERITED, clear, with_rights};

mod rights;

/// Folders in one another that are open at the same time.
const OPEN_MAX: usize = 16;
/// How often a folder is read again because something was left in it, although something was removed: file systems may
/// leave out entries while others are removed. Somebody who goes on making files is not followed for ever.
const READS_MAX: usize = 64;
/// Names that are tried for what is moved; a hostile tree may hold some already.
const NAMES_MAX: u64 = 1000;
/// Longest name of a file.
const NAME_MAX_BYTES: usize = 255;

/// Something could not be removed; everything else in the tree was.
#[derive(Debug, thiserror::Error)]
#[error("remove {}: {} in it stays", path.display(), entry.display())]
pub struct RemoveTree {
    /// The file or folder that was to go.
    pub path: PathBuf,
    /// Name of the first entry that stays, without the folders that it is in: there may be many.
    pub entry: PathBuf,
    /// Why it stays.
    pub source: io::Error,
}

/// Removes what is at `path`, of whatever type; nothing being there is fine. The way to its parent is trusted and may
/// lead through links.
///
/// # Errors
/// Something stays. All that could be removed is gone nevertheless.
pub fn remove(path: &Path) -> Result<(), RemoveTree> {
    let failed = |entry: &[u8], errno: Errno| RemoveTree {
        path: path.to_owned(),
        entry: PathBuf::from(OsStr::from_bytes(entry)),
        source: errno.into(),
    };
    let Some(name) = path.file_name().and_then(|name| CString::new(name.as_bytes()).ok()) else {
        return Err(failed(path.as_os_str().as_bytes(), Errno::INVAL));
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent =
        match rustix::fs::openat(CWD, above.unwrap_or(Path::new(".")), flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(|errno| failed(name.to_bytes(), errno))?,
        };
    inside(parent.as_fd(), &name).map_err(|(entry, errno)| failed(entry.to_bytes(), errno))
}

/// Removes the entry `name` of the open folder `parent`, of whatever type; nothing being there is fine.
///
/// # Errors
/// Something stays. All that could be removed is gone nevertheless.
pub fn remove_at(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    inside(parent, name).map_err(|(_entry, errno)| errno.into())
}

/// Removes an entry; on failure says what stays first, and why.
fn inside(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), (CString, Errno)> {
    let failed = |errno: Errno| (name.to_owned(), errno);
    match one(parent, name).map_err(failed)? {
        Looked::Gone => return Ok(()),
        Looked::Folder => {}
    }
    let top = enter(parent, name).map_err(failed)?;
    let mut remover = Remover { top: top.as_fd(), lift: None, moved: false, next: 0, stuck: None };
    remover.empty();
    match (remover.stuck, one(parent, name)) {
        (_, Ok(Looked::Gone)) => Ok(()),
        (Some(stuck), _) => Err(stuck),
        (None, Ok(Looked::Folder)) => Err(failed(Errno::NOTEMPTY)),
        (None, Err(errno)) => Err(failed(errno)),
    }
}

/// Beginning of the names that things have from when they are taken away until they are removed.
const GONE: &str = ".gone-";

/// Takes something out of use at once: it gets a name of its own in the same folder, under which [`remove`] can take
/// its time. `None` where there is nothing.
///
/// # Errors
/// It is where it was.
pub fn take_away(path: &Path) -> io::Result<Option<PathBuf>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut name = OsString::from(format!("{GONE}{now}-"));
    name.push(path.file_name().unwrap_or_default());
    // Names may be as long as they are allowed to be.
    let name = OsStr::from_bytes(name.as_bytes().get(..NAME_MAX_BYTES).unwrap_or(name.as_bytes()));
    let gone = path.with_file_name(name);
    match fs::rename(path, &gone) {
        Ok(()) => Ok(Some(gone)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What was taken away in this folder and is not removed yet.
#[must_use]
pub fn taken_away(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let gone = |entry: &fs::DirEntry| entry.file_name().as_bytes().starts_with(GONE.as_bytes());
    entries.filter(gone).map(|entry| entry.path()).collect()
}

/// A folder that is being emptied.
struct Level {
    entries: Dir,
    name: CString,
    /// Something of it was removed since it was read from its beginning.
    progress: bool,
    reads: usize,
}

/// Where folders that are too deep are moved to in one pass.
enum Lift {
    /// A folder of our own at the top.
    Own { name: CString, fd: OwnedFd },
    /// The top itself: there is no room for one more folder.
    Top,
}

/// What became of an entry.
enum Looked {
    Gone,
    /// It is a folder with something in it.
    Folder,
}

struct Remover<'a> {
    top: BorrowedFd<'a>,
    lift: Option<Lift>,
    /// Something was moved in this pass.
    moved: bool,
    /// Number for the next name.
    next: u64,
    /// The first that stays.
    stuck: Option<(CString, Errno)>,
}

impl Remover<'_> {
    /// Empties the top: first as deep as folders are kept open, then what was moved up meanwhile.
    fn empty(&mut self) {
        self.pass(self.top, true);
        while let Some(lift) = self.lift.take() {
            let moved = std::mem::take(&mut self.moved);
            match lift {
                Lift::Top if moved => self.pass(self.top, true),
                // What could not be moved now cannot be moved the next time.
                Lift::Top => break,
                Lift::Own { name, fd } => {
                    self.pass(fd.as_fd(), false);
                    drop(fd);
                    self.note(&name, rustix::fs::unlinkat(self.top, &name, AtFlags::REMOVEDIR));
                }
            }
        }
    }

    fn note(&mut self, name: &CStr, result: Result<(), Errno>) {
        if let Err(errno) = result {
            self.stuck.get_or_insert_with(|| (name.to_owned(), errno));
        }
    }

    /// Removes everything in a folder; folders deeper than `OPEN_MAX` are moved instead.
    fn pass(&mut self, start: BorrowedFd<'_>, is_top: bool) {
        let mut levels = Vec::with_capacity(OPEN_MAX);
        match level(start, c".") {
            Ok(level) => levels.push(level),
            Err(errno) => return self.note(c".", Err(errno)),
        }
        while let Some(level) = levels.last_mut() {
            match level.entries.read() {
                Some(Ok(entry)) => {
                    let name = entry.file_name().to_owned();
                    let in_top = is_top && levels.len() == 1;
                    if matches!(name.to_bytes(), b"." | b"..") || in_top && self.is_own(&name) {
                        continue;
                    }
                    let deepest = levels.len() >= OPEN_MAX;
                    self.entry(&mut levels, &name, deepest);
                }
                Some(Err(errno)) => {
                    let name = level.name.clone();
                    self.note(&name, Err(errno));
                    levels.pop();
                }
                None => self.leave(&mut levels),
            }
        }
    }

    /// Whether an entry of the top is the folder that is moved to.
    fn is_own(&self, name: &CStr) -> bool {
        matches!(&self.lift, Some(Lift::Own { name: own, .. }) if own.as_c_str() == name)
    }

    fn entry(&mut self, levels: &mut Vec<Level>, name: &CStr, deepest: bool) {
        let Some(level) = levels.last_mut() else { return };
        let Ok(folder) = level.entries.fd() else { return };
        let done = match one(folder, name) {
            Ok(Looked::Gone) => Ok(None),
            Ok(Looked::Folder) if deepest => self.move_up(folder, name).map(|()| None),
            Ok(Looked::Folder) => {
                enter(folder, name).and_then(|fd| self::level(fd.as_fd(), name)).map(Some)
            }
            Err(errno) => Err(errno),
        };
        match done {
            Ok(None) => level.progress = true,
            Ok(Some(inner)) => levels.push(inner),
            Err(errno) => self.note(name, Err(errno)),
        }
    }

    /// The end of a folder's entries: it goes, or is read again, or stays.
    fn leave(&mut self, levels: &mut Vec<Level>) {
        let Some(mut level) = levels.pop() else { return };
        let again = |level: &mut Level| {
            level.reads += 1;
            level.entries.rewind();
            std::mem::take(&mut level.progress) && level.reads < READS_MAX
        };
        let Some(above) = levels.last_mut() else {
            // The folder of this pass: whoever began it removes it.
            if again(&mut level) {
                levels.push(level);
            }
            return;
        };
        let Ok(folder) = above.entries.fd() else { return };
        match one(folder, &level.name) {
            Ok(Looked::Gone) => above.progress = true,
            Ok(Looked::Folder) if again(&mut level) => levels.push(level),
            Ok(Looked::Folder) => self.note(&level.name, Err(Errno::NOTEMPTY)),
            Err(errno) => self.note(&level.name, Err(errno)),
        }
    }

    /// Moves a folder to where the next pass finds it near the top.
    fn move_up(&mut self, from: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        if self.lift.is_none() {
            self.lift = Some(self.make_lift()?);
        }
        let (mut next, top) = (self.next, self.top);
        let to = match &self.lift {
            Some(Lift::Own { fd, .. }) => fd.as_fd(),
            Some(Lift::Top) | None => top,
        };
        let moved = with_rights(from, name, || {
            free_name(&mut next, |new| {
                rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE)
            })
        });
        self.next = next;
        self.moved |= moved.is_ok();
        moved.map(drop)
    }

    fn make_lift(&mut self) -> Result<Lift, Errno> {
        let top = self.top;
        let made = free_name(&mut self.next, |name| rustix::fs::mkdirat(top, name, OWNER));
        let name = match made {
            // A full disk must not keep anything from being removed.
            Err(Errno::NOSPC | Errno::DQUOT | Errno::MLINK) => return Ok(Lift::Top),
            other => other?,
        };
        let fd = enter(top, &name)?;
        // Inherited: would refuse folders that belong to another project.
        clear(fd.as_fd(), PROJECT_INHERITED);
        Ok(Lift::Own { name, fd })
    }
}

/// Tries names until one is free.
fn free_name(
    next: &mut u64,
    mut make: impl FnMut(&CStr) -> Result<(), Errno>,
) -> Result<CString, Errno> {
    for _ in 0..NAMES_MAX {
        let name = CString::new(format!(".removed-{next}")).unwrap_or_default();
        *next += 1;
        match make(&name) {
            Err(Errno::EXIST) => {}
            made => return made.map(|()| name),
        }
    }
    Err(Errno::EXIST)
}

fn level(folder: BorrowedFd<'_>, name: &CStr) -> Result<Level, Errno> {
    let entries = Dir::read_from(folder)?;
    Ok(Level { entries, name: name.to_owned(), progress: false, reads: 0 })
}

/// Removes an entry that is a file or an empty folder.
fn one(folder: BorrowedFd<'_>, name: &CStr) -> Result<Looked, Errno> {
    with_rights(folder, name, || {
        let mut removed = rustix::fs::unlinkat(folder, name, AtFlags::empty());
        if removed == Err(Errno::ISDIR) {
            removed = rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR);
        }
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(Looked::Gone),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Looked::Folder),
            Err(errno) => Err(errno),
        }
    })
}

/// Opens a folder to empty it: itself, not what a link or a mount of its name leads to.
fn enter(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    with_rights(parent, name, || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let fd = rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve)?;
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        if !mode.contains(OWNER) {
            rustix::fs::fchmod(&fd, OWNER)?;
        }
        Ok(fd)
    })
}

#[cfg(test)]
mod tests;
