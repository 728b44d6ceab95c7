//! The folder that a layer is unpacked into: every change to it is made here.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use ferrite_archive::{Entry, Tar, content};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, XattrFlags};
use rustix::io::Errno;

use super::meta::{Meta, Owner, times};
use super::names::OPAQUE;
use super::problem::Problem;

/// Most folders that are kept open: entries come folder by folder, so few are enough.
const OPEN_MAX: usize = 256;

/// Bytes of all folders' paths, which are kept to the end: a hundred times an honest layer's. A small blob can hold
/// gigabytes of them.
const PATHS_MAX_BYTES: usize = 64 * 1024 * 1024;

/// What is set on a folder when nothing changes in it any more.
struct Finish {
    mtime: Timespec,
    /// Mode of a folder that hands its group on: set earlier, it would do so to the layer's own files.
    mode: Option<Mode>,
}

/// The folder being filled.
pub(super) struct Target<'a> {
    root: BorrowedFd<'a>,
    /// Whom new files belong to anyway.
    own: Owner,
    /// The parent folder of the current entry.
    parent: Option<Rc<OwnedFd>>,
    parent_path: Vec<u8>,
    /// Folders that are open, by the path as the tar writes it. What a path leads to changes only where something is
    /// replaced; then all are forgotten.
    open: HashMap<Vec<u8>, Rc<OwnedFd>>,
    finish: BTreeMap<Vec<u8>, Finish>,
    /// Bytes of the paths in it.
    finish_bytes: usize,
}

impl<'a> Target<'a> {
    pub(super) fn new(root: BorrowedFd<'a>) -> Self {
        Self {
            root,
            own: (rustix::process::geteuid(), rustix::process::getegid()),
            parent: None,
            parent_path: Vec::new(),
            open: HashMap::new(),
            finish: BTreeMap::new(),
            finish_bytes: 0,
        }
    }

    /// Makes the parent of what follows the folder, creating what lacks.
    pub(super) fn enter(&mut self, folder: &[&[u8]]) -> Result<(), Problem> {
        let path = folder.join(&b'/');
        if self.parent.is_some() && self.parent_path == path {
            return Ok(());
        }
        let fd = match self.open.get(&path) {
            Some(fd) => Rc::clone(fd),
            None => {
                let fd = match open_in_root(self.root, &path) {
                    Err(Errno::NOENT) => self.create_folders(folder)?,
                    other => other?,
                };
                self.keep_open(path.clone(), fd)
            }
        };
        self.parent = Some(fd);
        self.parent_path = path;
        Ok(())
    }

    fn keep_open(&mut self, path: Vec<u8>, fd: OwnedFd) -> Rc<OwnedFd> {
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        let fd = Rc::new(fd);
        self.open.insert(path, Rc::clone(&fd));
        fd
    }

    fn create_folders(&self, folder: &[&[u8]]) -> Result<OwnedFd, Problem> {
        let mut current = open_in_root(self.root, b"")?;
        let mut path: Vec<u8> = Vec::new();
        for part in folder {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
            current = match open_in_root(self.root, &path) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&current, *part, Mode::from_raw_mode(0o755))?;
                    open_in_root(self.root, &path)?
                }
                other => other?,
            };
        }
        Ok(current)
    }

    fn parent(&self) -> Result<Rc<OwnedFd>, Problem> {
        self.parent.clone().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound).into())
    }

    /// Runs `make`; where something has the name already, that is removed first.
    fn replacing<T>(
        &mut self,
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Problem> {
        let parent = self.parent()?;
        match make(parent.as_fd()) {
            Err(Errno::EXIST) => {
                self.make_room(name)?;
                Ok(make(parent.as_fd())?)
            }
            other => Ok(other?),
        }
    }

    /// Removes what an earlier entry of the same layer made under this name.
    fn make_room(&mut self, name: &[u8]) -> Result<(), Problem> {
        // A path that led through what is removed leads elsewhere now.
        self.open.clear();
        match rustix::fs::unlinkat(self.parent()?, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => {
                Err(Problem::Refused("it would replace a folder of its own layer"))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn file<R: BufRead>(
        &mut self,
        name: &[u8],
        meta: &Meta<'_>,
        entry: &Entry,
        tar: &mut Tar<R>,
    ) -> Result<(), Problem> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let plain = meta.is_plain(self.own);
        // What will belong to somebody else, or has set-id bits, is nobody's to open until it is whole.
        let mode = if plain { meta.mode } else { Mode::from_raw_mode(0o600) };
        let fd = self.replacing(name, |parent| rustix::fs::openat(parent, name, flags, mode))?;
        let file = File::from(fd);
        content::write(&file, entry, tar)?;
        if !plain {
            meta.set(file.as_fd(), self.own)?;
        }
        rustix::fs::futimens(&file, &meta.times())?;
        Ok(())
    }

    pub(super) fn folder(
        &mut self,
        name: &[u8],
        folder: &[&[u8]],
        meta: &Meta<'_>,
    ) -> Result<(), Problem> {
        let parent = self.parent()?;
        let private = Mode::from_raw_mode(0o700);
        let mut hides = false;
        match rustix::fs::mkdirat(&*parent, name, private) {
            Ok(()) => {}
            Err(Errno::EXIST) => match self.existing(name)? {
                Some((FileType::Directory, _)) => {}
                other => {
                    hides = other == Some((FileType::CharacterDevice, 0));
                    self.make_room(name)?;
                    rustix::fs::mkdirat(&*parent, name, private)?;
                }
            },
            Err(error) => return Err(error.into()),
        }
        let fd = open_folder(parent.as_fd(), name)?;
        let mut path = folder.join(&b'/');
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        self.begin_folder(fd.as_fd(), path.clone(), meta)?;
        if hides {
            rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())?;
        }
        self.keep_open(path, fd);
        Ok(())
    }

    fn begin_folder(
        &mut self,
        fd: BorrowedFd<'_>,
        path: Vec<u8>,
        meta: &Meta<'_>,
    ) -> Result<(), Problem> {
        let hands_on = meta.mode.contains(Mode::SGID);
        let now = meta.with_mode(meta.mode.difference(Mode::SGID));
        now.set(fd, self.own)?;
        let mode = hands_on.then_some(meta.mode);
        self.finish_bytes = self.finish_bytes.saturating_add(path.len());
        if self.finish_bytes > PATHS_MAX_BYTES {
            return Err(Problem::Refused("the paths of the layer's folders fill too much memory"));
        }
        self.finish.insert(path, Finish { mtime: meta.mtime, mode });
        Ok(())
    }

    pub(super) fn set_root(&mut self, meta: &Meta<'_>) -> Result<(), Problem> {
        let fd = open_folder(self.root, b".")?;
        self.begin_folder(fd.as_fd(), Vec::new(), meta)
    }

    /// Sets what filling folders would have changed.
    pub(super) fn finish_folders(&mut self) -> Result<(), (Vec<u8>, io::Error)> {
        for (path, finish) in &self.finish {
            let set = || -> Result<(), Errno> {
                let fd = match open_in_root(self.root, path) {
                    // A symlink on the way was replaced since: the folder has its owner and mode, and a wrong time.
                    Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
                    other => other?,
                };
                if let Some(mode) = finish.mode {
                    let folder = open_folder(fd.as_fd(), b".")?;
                    rustix::fs::fchmod(&folder, mode)?;
                }
                rustix::fs::utimensat(&fd, c"", &times(&finish.mtime), AtFlags::EMPTY_PATH)
            };
            set().map_err(|errno| (path.clone(), errno.into()))?;
        }
        Ok(())
    }

    pub(super) fn symlink(
        &mut self,
        name: &[u8],
        link: &[u8],
        meta: &Meta<'_>,
    ) -> Result<(), Problem> {
        if link.is_empty() {
            return Err(Problem::Refused("it is a symlink to nothing"));
        }
        self.replacing(name, |parent| rustix::fs::symlinkat(link, parent, name))?;
        meta.set_unfollowed(&*self.parent()?, name, self.own)
    }

    pub(super) fn fifo(&mut self, name: &[u8], meta: &Meta<'_>) -> Result<(), Problem> {
        self.replacing(name, |parent| {
            rustix::fs::mknodat(parent, name, FileType::Fifo, meta.mode, 0)
        })?;
        meta.set_unfollowed(&*self.parent()?, name, self.own)
    }

    pub(super) fn hard_link(
        &mut self,
        name: &[u8],
        target: &[&[u8]],
        parts: &[&[u8]],
    ) -> Result<(), Problem> {
        if target == parts {
            return Err(Problem::Refused("it is a hard link to itself"));
        }
        let (target_name, folder) =
            target.split_last().ok_or(Problem::Refused("it is a hard link to the root"))?;
        let path = folder.join(&b'/');
        let target_parent = match self.open.get(&path) {
            Some(fd) => Rc::clone(fd),
            None => Rc::new(open_in_root(self.root, &path)?),
        };
        let stat = rustix::fs::statat(&*target_parent, *target_name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::RegularFile | FileType::Symlink
        ) {
            return Err(Problem::Refused("it is a hard link to something that is not a file"));
        }
        self.replacing(name, |parent| {
            rustix::fs::linkat(&*target_parent, *target_name, parent, name, AtFlags::empty())
        })
    }

    /// Type and device number of what has this name already.
    fn existing(&self, name: &[u8]) -> Result<Option<(FileType, u64)>, Problem> {
        match rustix::fs::statat(self.parent()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((FileType::from_raw_mode(stat.st_mode), stat.st_rdev))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn whiteout(&mut self, hidden: &[u8]) -> Result<(), Problem> {
        let parent = self.parent()?;
        match self.existing(hidden)? {
            // A whiteout is about lower layers: what this layer has stays, and hides them.
            Some((FileType::Directory, _)) => {
                let fd = open_folder(parent.as_fd(), hidden)?;
                rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())?;
            }
            Some(_) => {}
            None => {
                let kind = FileType::CharacterDevice;
                rustix::fs::mknodat(&*parent, hidden, kind, Mode::empty(), 0)?;
            }
        }
        Ok(())
    }

    pub(super) fn set_opaque(&self) -> Result<(), Problem> {
        let fd = open_folder(self.parent()?.as_fd(), b".")?;
        rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())?;
        Ok(())
    }
}

/// Opens a folder below `root` for use as a parent; symlinks on the way stay below it.
fn open_in_root(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// Opens the folder `name` itself, which is not a symlink, for changes to it.
fn open_folder(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}
