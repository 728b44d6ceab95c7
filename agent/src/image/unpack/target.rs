//! The folder that a layer is unpacked into: every change to it is made here.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::OPAQUE;
use crate::image::tar::{Entry, Tar, TarProblem};

/// Most folders that are kept open: entries come folder by folder, so few are enough.
const OPEN_MAX: usize = 256;
/// Largest value of an extended attribute that the kernel takes.
const XATTR_MAX_BYTES: usize = 64 * 1024;

/// Why an entry was not made.
pub(super) enum Problem {
    Refused(&'static str),
    Failed(io::Error),
    Tar(TarProblem),
}

impl From<Errno> for Problem {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno.into())
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<TarProblem> for Problem {
    fn from(problem: TarProblem) -> Self {
        Self::Tar(problem)
    }
}

/// Owner, mode, time and extended attributes of an entry.
pub(super) struct Meta<'a> {
    uid: Uid,
    gid: Gid,
    mode: Mode,
    mtime: Timespec,
    xattrs: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Meta<'a> {
    pub(super) fn of(entry: &'a Entry) -> Result<Self, Problem> {
        let id = |value: u64| {
            u32::try_from(value)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or(Problem::Refused("its owner is not a user or group ID"))
        };
        let mut xattrs = Vec::new();
        for (name, value) in &entry.xattrs {
            if value.len() > XATTR_MAX_BYTES {
                return Err(Problem::Refused("an extended attribute of it is too large"));
            }
            if is_taken(name) {
                xattrs.push((name.as_slice(), value.as_slice()));
            }
        }
        Ok(Self {
            uid: Uid::from_raw(id(entry.uid)?),
            gid: Gid::from_raw(id(entry.gid)?),
            mode: Mode::from_bits_truncate(entry.mode & 0o7777),
            mtime: Timespec { tv_sec: entry.mtime_s, tv_nsec: entry.mtime_ns },
            xattrs,
        })
    }

    fn times(&self) -> Timestamps {
        times(&self.mtime)
    }
}

/// User attributes and file capabilities. Others (overlayfs's own under either of its prefixes, security modules') are
/// not the image's to set.
fn is_taken(name: &[u8]) -> bool {
    let of_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    of_user || name == b"security.capability"
}

fn times(mtime: &Timespec) -> Timestamps {
    Timestamps { last_access: *mtime, last_modification: *mtime }
}

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
    own: (Uid, Gid),
    /// The parent folder of the current entry.
    parent: Option<Rc<OwnedFd>>,
    parent_path: Vec<u8>,
    /// Folders that are open, by the path as the tar writes it. What a path leads to changes only where something is
    /// replaced; then all are forgotten.
    open: HashMap<Vec<u8>, Rc<OwnedFd>>,
    finish: BTreeMap<Vec<u8>, Finish>,
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
        let plain = self.is_plain(meta);
        // What will belong to somebody else, or has set-id bits, is nobody's to open until it is whole.
        let mode = if plain { meta.mode } else { Mode::from_raw_mode(0o600) };
        let fd = self.replacing(name, |parent| rustix::fs::openat(parent, name, flags, mode))?;
        match &entry.extents {
            None => tar.data(|piece| write_all(&fd, piece))?,
            Some(extents) => {
                rustix::fs::ftruncate(&fd, entry.size)?;
                let mut places = extents.iter().copied().filter(|extent| extent.bytes > 0);
                let mut current = places.next();
                tar.data(|mut piece| {
                    while let (Some(extent), false) = (&mut current, piece.is_empty()) {
                        let room = usize::try_from(extent.bytes).unwrap_or(usize::MAX);
                        let (now, later) =
                            piece.split_at_checked(room.min(piece.len())).unwrap_or((piece, b""));
                        write_all_at(&fd, now, extent.offset)?;
                        extent.offset = extent.offset.saturating_add(now.len() as u64);
                        extent.bytes = extent.bytes.saturating_sub(now.len() as u64);
                        piece = later;
                        if extent.bytes == 0 {
                            current = places.next();
                        }
                    }
                    Ok::<(), Problem>(())
                })?;
            }
        }
        if !plain {
            self.set_meta(fd.as_fd(), meta)?;
        }
        rustix::fs::futimens(&fd, &meta.times())?;
        Ok(())
    }

    /// Creation alone gives it the right owner and mode.
    fn is_plain(&self, meta: &Meta<'_>) -> bool {
        let special = Mode::SUID | Mode::SGID | Mode::SVTX;
        (meta.uid, meta.gid) == self.own && !meta.mode.intersects(special) && meta.xattrs.is_empty()
    }

    /// Owner first: changing it clears the set-id bits and file capabilities.
    fn set_meta(&self, fd: BorrowedFd<'_>, meta: &Meta<'_>) -> Result<(), Problem> {
        if (meta.uid, meta.gid) != self.own {
            rustix::fs::fchown(fd, Some(meta.uid), Some(meta.gid))?;
        }
        rustix::fs::fchmod(fd, meta.mode)?;
        for (name, value) in &meta.xattrs {
            rustix::fs::fsetxattr(fd, *name, value, XattrFlags::empty())?;
        }
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
        let now =
            Meta { mode: meta.mode.difference(Mode::SGID), xattrs: meta.xattrs.clone(), ..*meta };
        self.set_meta(fd, &now)?;
        let mode = hands_on.then_some(meta.mode);
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
        self.set_meta_unfollowed(name, meta)
    }

    pub(super) fn fifo(&mut self, name: &[u8], meta: &Meta<'_>) -> Result<(), Problem> {
        self.replacing(name, |parent| {
            rustix::fs::mknodat(parent, name, FileType::Fifo, meta.mode, 0)
        })?;
        self.set_meta_unfollowed(name, meta)
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

    fn set_meta_unfollowed(&self, name: &[u8], meta: &Meta<'_>) -> Result<(), Problem> {
        let parent = self.parent()?;
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        if (meta.uid, meta.gid) != self.own {
            rustix::fs::chownat(&*parent, name, Some(meta.uid), Some(meta.gid), nofollow)?;
        }
        rustix::fs::utimensat(&*parent, name, &meta.times(), nofollow)?;
        Ok(())
    }
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Problem> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn write_all_at(fd: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Problem> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                offset = offset.saturating_add(count as u64);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
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
