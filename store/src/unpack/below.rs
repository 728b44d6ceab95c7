//! What lies below the layer that is being unpacked: the layers under it, put together as overlayfs will, without a mount.
//!
//! These layers are our own work, and nobody changes them. Still nothing in them is followed.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::open::{self, Is, joined};

/// Names and values of all extended attributes of a folder.
const XATTRS_MAX_BYTES: usize = 64 * 1024;

/// Names and values of extended attributes.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Layers, bottom first.
#[derive(Debug, Default)]
pub struct Below {
    roots: Vec<OwnedFd>,
}

/// A folder below: its way from the root, without links, and the layers that have a part of it, top first.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    path: Vec<u8>,
    layers: Vec<usize>,
}

impl Parts {
    /// How many layers have a part of it: each is looked into for what is in it.
    pub(super) fn count(&self) -> u64 {
        self.layers.len() as u64
    }

    /// Nothing of it is seen.
    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

/// What has a name below.
#[derive(Debug)]
pub(super) enum Lies {
    Nothing,
    Folder(Parts),
    /// No folder: opened to be named, in a layer of this number.
    Other {
        is: Is,
        fd: OwnedFd,
        layer: usize,
    },
}

/// Owner, mode, times and extended attributes of a folder.
#[derive(Debug)]
pub(super) struct Attributes {
    pub(super) stat: Stat,
    pub(super) xattrs: Xattrs,
}

impl Below {
    /// Puts the layer in `folder` on top of the others.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn add(&mut self, folder: &Path) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.roots.push(rustix::fs::openat(CWD, folder, flags, Mode::empty())?);
        Ok(())
    }

    /// The root of all of them.
    pub(super) fn root(&self) -> Parts {
        Parts { path: Vec::new(), layers: (0..self.roots.len()).rev().collect() }
    }

    /// Opens what a layer has at a path, to be named.
    fn part(&self, layer: usize, path: &[u8]) -> Result<OwnedFd, Errno> {
        open::itself(self.roots.get(layer).ok_or(Errno::NOENT)?.as_fd(), path)
    }

    /// What is called `name` in a folder.
    pub(super) fn child(&self, folder: &Parts, name: &[u8]) -> Result<Lies, Errno> {
        if folder.is_empty() {
            return Ok(Lies::Nothing);
        }
        let path = joined(&folder.path, name);
        let mut layers = Vec::new();
        for layer in folder.layers.iter().copied() {
            let fd = match self.part(layer, &path) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            match Is::of(&rustix::fs::fstat(&fd)?) {
                Is::Folder => {
                    layers.push(layer);
                    let is_last = folder.layers.last() == Some(&layer);
                    if !is_last && open::is_opaque(&fd)? {
                        break;
                    }
                }
                Is::Whiteout => break,
                is if layers.is_empty() => return Ok(Lies::Other { is, fd, layer }),
                // Under a folder it is not seen.
                _ => break,
            }
        }
        if layers.is_empty() {
            return Ok(Lies::Nothing);
        }
        Ok(Lies::Folder(Parts { path, layers }))
    }

    /// Opens the folder itself that one layer has, for a link to one of its files.
    pub(super) fn holder(&self, folder: &Parts, layer: usize) -> Result<OwnedFd, Errno> {
        self.part(layer, &folder.path)
    }

    /// Names in a folder, whether they are seen or not.
    pub(super) fn names(&self, folder: &Parts) -> Result<BTreeSet<Vec<u8>>, Errno> {
        let mut names = BTreeSet::new();
        for layer in folder.layers.iter().copied() {
            for entry in Dir::read_from(open::folder(self.part(layer, &folder.path)?, b".")?)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if !matches!(name, b"." | b"..") {
                    names.insert(name.to_vec());
                }
            }
        }
        Ok(names)
    }

    /// What a folder is like: as its uppermost part.
    pub(super) fn attributes(&self, folder: &Parts) -> Result<Attributes, Errno> {
        let layer = folder.layers.first().copied().ok_or(Errno::NOENT)?;
        let fd = open::folder(self.part(layer, &folder.path)?, b".")?;
        let xattrs = xattrs(&fd)?;
        Ok(Attributes { stat: rustix::fs::fstat(&fd)?, xattrs })
    }
}

/// The extended attributes of a folder.
pub(super) fn xattrs(fd: &OwnedFd) -> Result<Xattrs, Errno> {
    let mut names = vec![0; XATTRS_MAX_BYTES];
    let length = match rustix::fs::flistxattr(fd, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let names = names.get(..length).unwrap_or_default();
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; XATTRS_MAX_BYTES];
        let length = rustix::fs::fgetxattr(fd, name, &mut value[..])?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    Ok(found)
}
