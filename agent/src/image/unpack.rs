//! Applies a layer's tar to a folder, as overlayfs wants it, without ever leaving that folder.
//!
//! The tar is hostile input. Every parent folder is opened by `openat2(RESOLVE_IN_ROOT)` below the layer's
//! root, so neither `..` nor a symlink of the layer leads out; the last component is never followed. Owner,
//! mode and mtime are kept. Whiteouts become overlayfs's: a character device 0/0, or the `opaque` attribute.
//! Device nodes are left out: containers get their own `/dev`, and their root is mounted `nodev`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

/// Marks a folder that hides what lower layers have in it.
const OPAQUE: &str = "trusted.overlay.opaque";
/// Prefix of names that stand for a removal.
const WHITEOUT: &[u8] = b".wh.";
/// Name that stands for [`OPAQUE`].
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
/// Longest path in a layer; `PATH_MAX`.
const PATH_MAX_BYTES: usize = 4096;
/// Prefix of extended attributes in PAX headers.
const PAX_XATTR: &str = "SCHILY.xattr.";

/// How much a layer may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the tar, decompressed. Stops decompression bombs before they fill STATE.
    pub tar_max_bytes: u64,
    /// Entries: inodes and this program's time are finite too.
    pub entries_max: u64,
}

/// A layer could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Unpack {
    /// The stream is not a tar, or ends early.
    #[error("read the layer's tar")]
    ReadTar(#[source] io::Error),
    /// An entry that no honest layer has.
    #[error("refuse entry {}: {why}", path.display())]
    RefuseEntry {
        /// Its path in the tar.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The kernel refused an entry.
    #[error("create {}", path.display())]
    CreateEntry {
        /// Its path in the tar.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The layer is larger than the limits allow.
    #[error("unpack more than {limit} {what}")]
    TooMuch {
        /// The limit.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
}

/// Applies the tar that `reader` gives to the empty folder `root`. Reads `reader` to its end.
///
/// # Errors
/// The folder then holds a part of the layer and must be thrown away.
pub fn unpack(reader: impl Read, root: BorrowedFd<'_>, limits: &Limits) -> Result<(), Unpack> {
    let mut archive = Archive::new(Capped { inner: reader, left: limits.tar_max_bytes });
    let mut target = Target { root, parent: None, folder_times: BTreeMap::new() };
    let capped = |error: io::Error| match error.get_ref() {
        Some(inner) if inner.is::<Exhausted>() => {
            Unpack::TooMuch { limit: limits.tar_max_bytes, what: "bytes" }
        }
        _ => Unpack::ReadTar(error),
    };
    let mut count = 0_u64;
    for entry in archive.entries().map_err(Unpack::ReadTar)? {
        let mut entry = entry.map_err(capped)?;
        count += 1;
        if count > limits.entries_max {
            return Err(Unpack::TooMuch { limit: limits.entries_max, what: "entries" });
        }
        target.apply(&mut entry).map_err(|error| match error {
            Unpack::CreateEntry { source, .. } | Unpack::ReadTar(source)
                if source.get_ref().is_some_and(|inner| inner.is::<Exhausted>()) =>
            {
                Unpack::TooMuch { limit: limits.tar_max_bytes, what: "bytes" }
            }
            other => other,
        })?;
    }
    target.set_folder_times()?;
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(capped)?;
    Ok(())
}

/// Splits a path of the tar. The root is the empty list.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if path.len() >= PATH_MAX_BYTES {
        return Err("its path is too long");
    }
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("its path climbs with `..`"),
            part if part.contains(&0) => return Err("its path holds a NUL"),
            part => parts.push(part),
        }
    }
    Ok(parts)
}

/// What is done with an entry, by its name.
enum Role<'a> {
    Plain,
    Opaque,
    Whiteout(&'a [u8]),
    /// aufs's own bookkeeping.
    Ignored,
}

fn role(name: &[u8]) -> Result<Role<'_>, &'static str> {
    if name == WHITEOUT_OPAQUE {
        return Ok(Role::Opaque);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Role::Plain),
        Some(b"" | b"." | b"..") => Err("its whiteout removes nothing that can exist"),
        Some(rest) if rest.starts_with(WHITEOUT) => Ok(Role::Ignored),
        Some(rest) => Ok(Role::Whiteout(rest)),
    }
}

/// Owner, mode, time and extended attributes of an entry.
struct Meta {
    uid: Uid,
    gid: Gid,
    mode: Mode,
    mtime: Timespec,
    xattrs: Vec<(String, Vec<u8>)>,
}

/// The folder being filled.
struct Target<'a> {
    root: BorrowedFd<'a>,
    /// The parent folder of the last entry: most entries share theirs with the one before.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Folders' times, set last: filling a folder changes them.
    folder_times: BTreeMap<Vec<u8>, Timespec>,
}

impl Target<'_> {
    fn apply<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), Unpack> {
        let raw = entry.path_bytes().into_owned();
        let shown = || PathBuf::from(OsStr::from_bytes(&raw));
        let refuse = |why| Unpack::RefuseEntry { path: shown(), why };
        let meta = read_meta(entry).map_err(|error| match error {
            MetaProblem::Refused(why) => refuse(why),
            MetaProblem::Unreadable(source) => Unpack::ReadTar(source),
        })?;
        let parts = components(&raw).map_err(refuse)?;
        let Some((name, folder)) = parts.split_last() else {
            return if entry.header().entry_type().is_dir() {
                self.set_root(&meta).map_err(|error| created(&raw, error))
            } else {
                Err(refuse("it would replace the root"))
            };
        };
        let role = role(name).map_err(refuse)?;
        self.enter(folder).map_err(|error| created(&raw, error))?;
        let result = match role {
            Role::Plain => self.create(entry, name, &parts, &meta),
            Role::Opaque => self.set_opaque(),
            Role::Whiteout(hidden) => self.whiteout(hidden),
            Role::Ignored => Ok(()),
        };
        result.map_err(|problem| match problem {
            Problem::Refused(why) => refuse(why),
            Problem::Failed(error) => created(&raw, error),
        })
    }

    /// Makes `self.parent` the folder, creating what lacks.
    fn enter(&mut self, folder: &[&[u8]]) -> io::Result<()> {
        let path = folder.join(&b'/');
        if self.parent.as_ref().is_some_and(|(cached, _)| *cached == path) {
            return Ok(());
        }
        let fd = match open_in_root(self.root, &path) {
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                self.create_folders(folder)?
            }
            other => other?,
        };
        self.parent = Some((path, fd));
        Ok(())
    }

    fn create_folders(&self, folder: &[&[u8]]) -> io::Result<OwnedFd> {
        let mut current = open_in_root(self.root, b"")?;
        let mut path: Vec<u8> = Vec::new();
        for part in folder {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
            current = match open_in_root(self.root, &path) {
                Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                    rustix::fs::mkdirat(&current, *part, Mode::from_raw_mode(0o755))?;
                    open_in_root(self.root, &path)?
                }
                other => other?,
            };
        }
        Ok(current)
    }

    fn parent(&self) -> io::Result<BorrowedFd<'_>> {
        self.parent.as_ref().map(|(_, fd)| fd.as_fd()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        name: &[u8],
        parts: &[&[u8]],
        meta: &Meta,
    ) -> Result<(), Problem> {
        match entry.header().entry_type() {
            EntryType::Directory => {
                self.folder(name, meta)?;
                self.folder_times.insert(parts.join(&b'/'), meta.mtime);
                Ok(())
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.make_room(name)?;
                let parent = self.parent()?;
                let flags = OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::WRONLY
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?;
                let mut file = std::fs::File::from(fd);
                io::copy(entry, &mut file)?;
                set_meta(file.as_fd(), meta)?;
                rustix::fs::futimens(&file, &times(&meta.mtime))?;
                Ok(())
            }
            EntryType::Symlink => {
                let target = entry
                    .link_name_bytes()
                    .ok_or(Problem::Refused("it is a symlink to nowhere"))?;
                self.make_room(name)?;
                rustix::fs::symlinkat(&*target, self.parent()?, name)?;
                self.set_meta_unfollowed(name, meta)?;
                self.parent = None;
                Ok(())
            }
            EntryType::Link => self.hard_link(entry, name, parts),
            EntryType::Fifo => {
                self.make_room(name)?;
                rustix::fs::mknodat(self.parent()?, name, FileType::Fifo, meta.mode, 0)?;
                self.set_meta_unfollowed(name, meta)
            }
            EntryType::Char | EntryType::Block | EntryType::XGlobalHeader => Ok(()),
            _ => Err(Problem::Refused("it is of an unknown type")),
        }
    }

    fn hard_link<R: Read>(
        &mut self,
        entry: &Entry<'_, R>,
        name: &[u8],
        parts: &[&[u8]],
    ) -> Result<(), Problem> {
        let target =
            entry.link_name_bytes().ok_or(Problem::Refused("it is a hard link to nothing"))?;
        let target = components(&target).map_err(Problem::Refused)?;
        if target == parts {
            return Err(Problem::Refused("it is a hard link to itself"));
        }
        let (target_name, folder) =
            target.split_last().ok_or(Problem::Refused("it is a hard link to the root"))?;
        let target_parent = open_in_root(self.root, &folder.join(&b'/'))?;
        let stat = rustix::fs::statat(&target_parent, *target_name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::RegularFile | FileType::Symlink
        ) {
            return Err(Problem::Refused("it is a hard link to something that is not a file"));
        }
        self.make_room(name)?;
        rustix::fs::linkat(&target_parent, *target_name, self.parent()?, name, AtFlags::empty())?;
        Ok(())
    }

    fn folder(&mut self, name: &[u8], meta: &Meta) -> Result<(), Problem> {
        let mut hides = false;
        match self.existing(name)? {
            Some((FileType::Directory, _)) => {}
            Some((kind, device)) => {
                hides = kind == FileType::CharacterDevice && device == 0;
                self.make_room(name)?;
                rustix::fs::mkdirat(self.parent()?, name, Mode::from_raw_mode(0o700))?;
            }
            None => rustix::fs::mkdirat(self.parent()?, name, Mode::from_raw_mode(0o700))?,
        }
        let fd = open_folder(self.parent()?, name)?;
        set_meta(fd.as_fd(), meta)?;
        if hides {
            rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())?;
        }
        Ok(())
    }

    /// Type and device number of what has this name already.
    fn existing(&self, name: &[u8]) -> io::Result<Option<(FileType, u64)>> {
        match rustix::fs::statat(self.parent()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((FileType::from_raw_mode(stat.st_mode), stat.st_rdev))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what an earlier entry of the same layer made under this name.
    fn make_room(&mut self, name: &[u8]) -> Result<(), Problem> {
        match rustix::fs::unlinkat(self.parent()?, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => {
                Err(Problem::Refused("it would replace a folder of its own layer"))
            }
            Err(error) => Err(Problem::Failed(error.into())),
        }
    }

    fn whiteout(&mut self, hidden: &[u8]) -> Result<(), Problem> {
        match self.existing(hidden)? {
            // A whiteout is about lower layers: what this layer has stays, and hides them.
            Some((FileType::Directory, _)) => {
                let fd = open_folder(self.parent()?, hidden)?;
                rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())?;
            }
            Some(_) => {}
            None => {
                rustix::fs::mknodat(
                    self.parent()?,
                    hidden,
                    FileType::CharacterDevice,
                    Mode::empty(),
                    0,
                )?;
            }
        }
        Ok(())
    }

    fn set_opaque(&self) -> Result<(), Problem> {
        let fd = open_folder(self.parent()?, b".")?;
        rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())?;
        Ok(())
    }

    fn set_meta_unfollowed(&self, name: &[u8], meta: &Meta) -> Result<(), Problem> {
        let parent = self.parent()?;
        rustix::fs::chownat(
            parent,
            name,
            Some(meta.uid),
            Some(meta.gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        rustix::fs::utimensat(parent, name, &times(&meta.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn set_root(&mut self, meta: &Meta) -> io::Result<()> {
        let fd = open_folder(self.root, b".")?;
        set_meta(fd.as_fd(), meta)?;
        self.folder_times.insert(Vec::new(), meta.mtime);
        Ok(())
    }

    fn set_folder_times(&mut self) -> Result<(), Unpack> {
        for (path, mtime) in &self.folder_times {
            let set = open_in_root(self.root, path).and_then(|fd| {
                rustix::fs::utimensat(&fd, c"", &times(mtime), AtFlags::EMPTY_PATH)
                    .map_err(Into::into)
            });
            set.map_err(|error| created(path, error))?;
        }
        Ok(())
    }
}

/// Why an entry was not made.
enum Problem {
    Refused(&'static str),
    Failed(io::Error),
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

fn created(path: &[u8], source: io::Error) -> Unpack {
    Unpack::CreateEntry { path: Path::new(OsStr::from_bytes(path)).to_owned(), source }
}

/// Opens a folder below `root` for use as a parent; symlinks on the way stay below it.
fn open_in_root(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?)
}

/// Opens the folder `name` itself, which is not a symlink, for changes to it.
fn open_folder(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Owner first: changing it clears the set-id bits and file capabilities.
fn set_meta(fd: BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
    rustix::fs::fchown(fd, Some(meta.uid), Some(meta.gid))?;
    rustix::fs::fchmod(fd, meta.mode)?;
    for (name, value) in &meta.xattrs {
        rustix::fs::fsetxattr(fd, name.as_str(), value, XattrFlags::empty())?;
    }
    Ok(())
}

fn times(mtime: &Timespec) -> Timestamps {
    Timestamps { last_access: *mtime, last_modification: *mtime }
}

enum MetaProblem {
    Refused(&'static str),
    Unreadable(io::Error),
}

impl From<io::Error> for MetaProblem {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

fn read_meta<R: Read>(entry: &mut Entry<'_, R>) -> Result<Meta, MetaProblem> {
    let id = |value: u64| {
        u32::try_from(value)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or(MetaProblem::Refused("its owner is not a user or group ID"))
    };
    let (uid, gid) = (id(entry.header().uid()?)?, id(entry.header().gid()?)?);
    let mode = Mode::from_bits_truncate(entry.header().mode()? & 0o7777);
    let seconds = i64::try_from(entry.header().mtime()?).unwrap_or(0);
    let xattrs = read_xattrs(entry)?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    Ok(Meta { uid, gid, mode, mtime: Timespec { tv_sec: seconds, tv_nsec: 0 }, xattrs })
}

/// User attributes and file capabilities; others (overlayfs's own, security modules') are not the image's to set.
fn read_xattrs<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<(String, Vec<u8>)>, MetaProblem> {
    let mut found = Vec::new();
    let Some(extensions) = entry.pax_extensions()? else { return Ok(found) };
    for extension in extensions {
        let extension = extension?;
        let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix(PAX_XATTR)) else {
            continue;
        };
        if name.starts_with("user.") || name == "security.capability" {
            found.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    Ok(found)
}

/// Marker of the error that [`Capped`] gives.
#[derive(Debug, thiserror::Error)]
#[error("the limit is reached")]
struct Exhausted;

/// Fails, where `take` would quietly end, after so many bytes.
struct Capped<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(Exhausted)),
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
