//! Hard links among what is copied: one file with many names is one file in the copy too.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Stat};

/// Files that are remembered at a time, each of them open. A tree with more that have further names gets copies of those, within
/// the volume's bounds.
const REMEMBERED_MAX: usize = 256;

/// A copy that has further names coming.
#[derive(Debug)]
struct Linked {
    made: File,
    names_left: u64,
}

/// Copies by the device and inode of what they are copies of.
#[derive(Debug, Default)]
pub(super) struct Links(HashMap<(u64, u64), Linked>);

impl Links {
    /// Gives a copy that was made the name `name` in `folder`; `false` where what `stat` says has none yet.
    pub(super) fn link(
        &mut self,
        stat: &Stat,
        folder: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<bool> {
        let key = (stat.st_dev, stat.st_ino);
        let Some(linked) = self.0.get_mut(&key) else { return Ok(false) };
        // What a descriptor is open on has no name that this process may be sure of.
        let path = format!("/proc/self/fd/{}", linked.made.as_raw_fd());
        rustix::fs::linkat(CWD, path, folder, name, AtFlags::SYMLINK_FOLLOW)?;
        linked.names_left = linked.names_left.saturating_sub(1);
        if linked.names_left == 0 {
            self.0.remove(&key);
        }
        Ok(true)
    }

    /// Remembers a copy, where what `stat` says has further names.
    pub(super) fn remember(&mut self, stat: &Stat, made: File) {
        let names_left = stat.st_nlink.saturating_sub(1);
        if names_left > 0 && self.0.len() < REMEMBERED_MAX {
            self.0.insert((stat.st_dev, stat.st_ino), Linked { made, names_left });
        }
    }
}
