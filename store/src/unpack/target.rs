//! The folder that a layer is unpacked into: every entry is made here.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use ferrite_archive::{Entry, Kind, Tar, content};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::below::{Below, Lies};
use super::folders::{Folder, Folders, Missing};
use super::meta::{Meta, Owner};
use super::open::{self, Is, joined};
use super::problem::Problem;

/// Bytes of the paths that are remembered of devices which cannot be made: what links to one of them is left out as well.
const LEFT_OUT_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Largest numbers of a device that the kernel takes whole.
const MAJOR_MAX: u32 = 0xfff;
const MINOR_MAX: u32 = 0xf_ffff;

/// The folder being filled.
pub(super) struct Target<'a> {
    folders: Folders<'a>,
    /// Whom new files belong to anyway.
    own: Owner,
    /// The parent folder of the current entry.
    parent: Option<Rc<Folder>>,
    /// Paths of devices that were not made.
    left_out: BTreeSet<Vec<u8>>,
    left_out_bytes: usize,
}

impl<'a> Target<'a> {
    pub(super) fn new(
        root: BorrowedFd<'a>,
        below: &'a Below,
        steps_max: u64,
    ) -> Result<Self, Problem> {
        let own = (rustix::process::geteuid(), rustix::process::getegid());
        let folders = Folders::new(root, below, steps_max)?;
        let left_out = BTreeSet::new();
        Ok(Self { folders, own, parent: None, left_out, left_out_bytes: 0 })
    }

    /// Makes the folder the parent of what follows, creating what lacks.
    pub(super) fn enter(&mut self, folder: &[&[u8]]) -> Result<(), Problem> {
        self.parent = Some(self.folders.find(folder, Missing::Make)?);
        Ok(())
    }

    fn parent(&self) -> Result<Rc<Folder>, Problem> {
        self.parent.clone().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound).into())
    }

    /// Runs `make`; where the layer has something of this name already, that is removed first.
    fn replacing<T>(
        &mut self,
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Problem> {
        let parent = self.parent()?;
        let made = match make(parent.fd.as_fd()) {
            Err(Errno::EXIST) => {
                self.folders.remove(&parent, name)?;
                make(parent.fd.as_fd())?
            }
            other => other?,
        };
        self.folders.own(&parent.path);
        Ok(made)
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

    pub(super) fn folder(&mut self, name: &[u8], meta: &Meta<'_>) -> Result<(), Problem> {
        let parent = self.parent()?;
        let private = Mode::from_raw_mode(0o700);
        match rustix::fs::mkdirat(&parent.fd, name, private) {
            Ok(()) => {}
            Err(Errno::EXIST) => match open::look(&parent.fd, name)? {
                Some(Is::Folder) => {}
                _ => {
                    self.folders.remove(&parent, name)?;
                    rustix::fs::mkdirat(&parent.fd, name, private)?;
                    self.folders.hide_what_is_below(&parent, name)?;
                }
            },
            Err(error) => return Err(error.into()),
        }
        let fd = open::folder(&parent.fd, name)?;
        let path = joined(&parent.path, name);
        self.folders.begin(&fd, &path, meta)?;
        self.folders.own(&path);
        Ok(())
    }

    pub(super) fn set_root(&mut self, meta: &Meta<'_>) -> Result<(), Problem> {
        let root = self.folders.root()?;
        let fd = open::folder(&root.fd, b".")?;
        self.folders.begin(&fd, b"", meta)
    }

    pub(super) fn finish_folders(&self) -> Result<(), (Vec<u8>, io::Error)> {
        self.folders.finish()
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
        meta.set_unfollowed(&self.parent()?.fd, name, self.own)
    }

    pub(super) fn fifo(&mut self, name: &[u8], meta: &Meta<'_>) -> Result<(), Problem> {
        self.node(name, (FileType::Fifo, 0), meta)
    }

    /// Makes a device, which nobody can use: layers and containers' roots are mounted `nodev`.
    pub(super) fn device(
        &mut self,
        name: &[u8],
        entry: &Entry,
        meta: &Meta<'_>,
    ) -> Result<(), Problem> {
        let (major, minor) = entry.device;
        let device = rustix::fs::makedev(major, minor);
        let made = match entry.kind {
            Kind::Block if major <= MAJOR_MAX && minor <= MINOR_MAX => {
                self.node(name, (FileType::BlockDevice, device), meta)
            }
            // It would be a whiteout of overlayfs's, also where the kernel takes only the lower bits of a number.
            _ if device == 0 || major > MAJOR_MAX || minor > MINOR_MAX => Err(Errno::PERM.into()),
            _ => self.node(name, (FileType::CharacterDevice, device), meta),
        };
        match made {
            Err(problem) if problem.is_not_permitted() => {
                let path = joined(&self.parent()?.path, name);
                let bytes = self.left_out_bytes.saturating_add(path.len());
                if bytes > LEFT_OUT_MAX_BYTES {
                    let why = "the paths of devices that cannot be made fill too much memory";
                    return Err(Problem::Refused(why));
                }
                if self.left_out.insert(path) {
                    self.left_out_bytes = bytes;
                }
                Ok(())
            }
            other => other,
        }
    }

    fn node(
        &mut self,
        name: &[u8],
        (kind, device): (FileType, u64),
        meta: &Meta<'_>,
    ) -> Result<(), Problem> {
        self.replacing(name, |parent| rustix::fs::mknodat(parent, name, kind, meta.mode, device))?;
        let parent = self.parent()?;
        meta.set_unfollowed(&parent.fd, name, self.own)?;
        // A change of the owner took set-id bits away.
        Ok(rustix::fs::chmodat(open::folder(&parent.fd, b".")?, name, meta.mode, AtFlags::empty())?)
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
        let (target, folder) =
            target.split_last().ok_or(Problem::Refused("it is a hard link to the root"))?;
        let place = self.folders.find(folder, Missing::Refuse)?;
        let absent = Err(Problem::Refused("it is a hard link to something that is not there"));
        let no_file = Err(Problem::Refused("it is a hard link to a folder"));
        let from = match open::look(&place.fd, target)? {
            Some(Is::Folder) => return no_file,
            Some(Is::Whiteout) => return absent,
            Some(Is::Link | Is::Other) => None,
            None => match self.folders.below.child(&place.below, target)? {
                Lies::Folder(_) => return no_file,
                Lies::Nothing if self.left_out.contains(&joined(&place.path, target)) => {
                    return Ok(());
                }
                Lies::Nothing => return absent,
                Lies::Other { layer, .. } => Some(self.folders.below.holder(&place.below, layer)?),
            },
        };
        let from = from.as_ref().unwrap_or(&place.fd);
        self.replacing(name, |parent| {
            rustix::fs::linkat(from, *target, parent, name, AtFlags::empty())
        })
    }

    /// Hides what lower layers have under a name. What this layer has stays, and hides them.
    pub(super) fn whiteout(&mut self, hidden: &[u8]) -> Result<(), Problem> {
        let parent = self.parent()?;
        let path = joined(&parent.path, hidden);
        match open::look(&parent.fd, hidden)? {
            Some(Is::Folder) if self.folders.is_own(&path) => {
                let folder = self.folders.at(&path)?;
                return self.folders.hide_below(&folder);
            }
            Some(Is::Folder) => self.folders.remove(&parent, hidden)?,
            Some(_) => return Ok(()),
            None => {}
        }
        self.folders.white_out(&parent, hidden)
    }

    pub(super) fn set_opaque(&mut self) -> Result<(), Problem> {
        let parent = self.parent()?;
        self.folders.hide_below(&parent)
    }
}
