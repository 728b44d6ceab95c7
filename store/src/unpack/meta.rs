//! Owner, mode, time and extended attributes of an entry, and how they are set.

use std::os::fd::{BorrowedFd, OwnedFd};

use ferrite_archive::Entry;
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use super::below::Attributes;
use super::problem::Problem;

/// Largest value of an extended attribute that the kernel takes.
const XATTR_MAX_BYTES: usize = 64 * 1024;

/// Whom a file belongs to.
pub(super) type Owner = (Uid, Gid);

/// Owner, mode, time and extended attributes of an entry.
pub(super) struct Meta<'a> {
    uid: Uid,
    gid: Gid,
    pub(super) mode: Mode,
    pub(super) mtime: Timespec,
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

    /// What a folder below is like.
    pub(super) fn like(folder: &'a Attributes) -> Self {
        let stat = &folder.stat;
        let taken = folder.xattrs.iter().filter(|(name, _)| is_taken(name));
        let (tv_sec, tv_nsec) = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0));
        Self {
            uid: Uid::from_raw(stat.st_uid),
            gid: Gid::from_raw(stat.st_gid),
            mode: Mode::from_raw_mode(stat.st_mode),
            mtime: Timespec { tv_sec, tv_nsec },
            xattrs: taken.map(|(name, value)| (name.as_slice(), value.as_slice())).collect(),
        }
    }

    /// The same with another mode.
    pub(super) fn with_mode(&self, mode: Mode) -> Self {
        Self { mode, xattrs: self.xattrs.clone(), ..*self }
    }

    pub(super) fn times(&self) -> Timestamps {
        times(&self.mtime)
    }

    /// Creation alone gives it the right owner and mode.
    pub(super) fn is_plain(&self, own: Owner) -> bool {
        let special = Mode::SUID | Mode::SGID | Mode::SVTX;
        (self.uid, self.gid) == own && !self.mode.intersects(special) && self.xattrs.is_empty()
    }

    /// Owner first: changing it clears the set-id bits and file capabilities.
    pub(super) fn set(&self, fd: BorrowedFd<'_>, own: Owner) -> Result<(), Problem> {
        if (self.uid, self.gid) != own {
            rustix::fs::fchown(fd, Some(self.uid), Some(self.gid))?;
        }
        rustix::fs::fchmod(fd, self.mode)?;
        for (name, value) in &self.xattrs {
            rustix::fs::fsetxattr(fd, *name, value, XattrFlags::empty())?;
        }
        Ok(())
    }

    /// Sets what can be set on the entry `name` itself, whatever it is.
    pub(super) fn set_unfollowed(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        own: Owner,
    ) -> Result<(), Problem> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        if (self.uid, self.gid) != own {
            rustix::fs::chownat(parent, name, Some(self.uid), Some(self.gid), nofollow)?;
        }
        rustix::fs::utimensat(parent, name, &self.times(), nofollow)?;
        Ok(())
    }
}

/// User attributes and file capabilities. Others (overlayfs's own under either of its prefixes, security modules', the
/// store's marks) are not the image's to set.
pub(super) fn is_taken(name: &[u8]) -> bool {
    let of_others = [&b"user.overlay."[..], b"user.ferrite."];
    let of_user =
        name.starts_with(b"user.") && !of_others.iter().any(|prefix| name.starts_with(prefix));
    of_user || name == b"security.capability"
}

/// `mtime` as both times of a file.
pub(super) fn times(mtime: &Timespec) -> Timestamps {
    Timestamps { last_access: *mtime, last_modification: *mtime }
}
