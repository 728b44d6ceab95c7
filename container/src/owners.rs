//! Whom files belong to: what a container calls 0 to 65535 is a range of its own on the node, and so is what it has beyond.
//!
//! On disk, layers and volumes have the container's IDs. Mounts made here show them shifted by the range, so
//! that nothing is ever changed in owner when a container starts.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability};
use ferrite_schema::shim::{IdRange, IdStretch, Request};
use ferrite_sys::idmap::{self, Change, Flags, Stretch};
use nix::unistd::{Gid, Uid};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

/// Files could not be shown with the container's owners.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnersProblem {
    #[error("make a user namespace for IDs {} to {}", ids.first, u64::from(ids.first) + u64::from(ids.count))]
    Namespace { ids: IdRange, source: io::Error },
    #[error("look at the mount of {}", path.display())]
    Clone { path: PathBuf, source: io::Error },
    #[error("translate the owners of {}: its file system or the kernel cannot", path.display())]
    Translate { path: PathBuf, source: io::Error },
    #[error("change the mount of {}", path.display())]
    Change { path: PathBuf, source: io::Error },
    #[error("mount on {}", path.display())]
    Attach { path: PathBuf, source: io::Error },
}

/// What a container's IDs are on the node. Pure.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    /// Absent where they are the node's own.
    range: Option<IdRange>,
    far: Vec<IdStretch>,
}

impl Ids {
    /// Those of the container that is asked for.
    pub(crate) fn of(request: &Request) -> Self {
        Self { range: request.ids, far: request.far_ids.clone() }
    }

    fn stretches(&self) -> impl Iterator<Item = Stretch> {
        let range = self.range.map(|IdRange { first, count }| Stretch { inside: 0, first, count });
        let far = self.far.iter();
        let far = far.map(|&IdStretch { inside, first, count }| Stretch { inside, first, count });
        range.into_iter().chain(far)
    }

    /// What an ID of the container's is on the node; `None` where it is none of its own.
    pub(crate) fn outside(&self, id: u32) -> Option<u32> {
        if self.range.is_none() {
            return Some(id);
        }
        self.stretches().find_map(|stretch| {
            let place = id.checked_sub(stretch.inside).filter(|place| *place < stretch.count)?;
            stretch.first.checked_add(place)
        })
    }

    /// What the container calls an ID of the node's; `None` where that is none of its own.
    fn inside(&self, id: u32) -> Option<u32> {
        if self.range.is_none() {
            return Some(id);
        }
        self.stretches().find_map(|stretch| {
            let place = id.checked_sub(stretch.first).filter(|place| *place < stretch.count)?;
            stretch.inside.checked_add(place)
        })
    }
}

/// A container's IDs.
#[derive(Debug)]
pub(super) struct Owners {
    ids: Ids,
    namespace: Option<OwnedFd>,
}

impl Owners {
    /// Makes the container's user namespace, where it has one of its own.
    pub(super) fn new(ids: Ids) -> Result<Self, OwnersProblem> {
        let namespace = ids
            .range
            .map(|range| {
                idmap::user_namespace(&ids.stretches().collect::<Vec<_>>())
                    .map_err(|source| OwnersProblem::Namespace { ids: range, source })
            })
            .transpose()?;
        Ok(Self { ids, namespace })
    }

    /// The IDs of another container, whose user namespace this is; the node's where `ids` are none. What that one has beyond them is
    /// its own.
    pub(super) fn of(ids: Option<IdRange>, namespace: File) -> Self {
        let namespace = ids.map(|_| namespace.into());
        Self { ids: Ids { range: ids, far: Vec::new() }, namespace }
    }

    /// Those of a container that shares the node's.
    #[cfg(test)]
    pub(super) fn nodes() -> Self {
        Self { ids: Ids { range: None, far: Vec::new() }, namespace: None }
    }

    #[cfg(test)]
    pub(super) fn without_namespace(ids: IdRange, far: &[IdStretch]) -> Self {
        Self { ids: Ids { range: Some(ids), far: far.to_vec() }, namespace: None }
    }

    /// A path to the user namespace, for this process and those that it forks.
    pub(super) fn namespace(&self) -> Option<PathBuf> {
        let fd = self.namespace.as_ref()?;
        Some(PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())))
    }

    /// Its root on the node.
    pub(super) fn root(&self) -> u32 {
        self.ids.range.map_or(0, |ids| ids.first)
    }

    /// What the container calls the node's ID `id`; `None` where that is none of its own. The kernel shows such an owner as
    /// nobody, and gives him no rights.
    pub(super) fn inside(&self, id: u32) -> Option<u32> {
        self.ids.inside(id)
    }

    /// What its ID `id` is on the node; `None` where it has no such ID.
    pub(super) fn outside(&self, id: u32) -> Option<u32> {
        self.ids.outside(id)
    }

    /// Another mount of what is at `path`, attached nowhere, with the container's owners.
    pub(super) fn translated(&self, path: &Path) -> Result<OwnedFd, OwnersProblem> {
        let mount = another(path, false)?;
        if let Some(namespace) = &self.namespace {
            let change = Change {
                set: Flags::default(),
                clear: Flags::default(),
                owners: Some(namespace.as_fd()),
                below: false,
            };
            idmap::change_mount(mount.as_fd(), change).map_err(|errno| {
                OwnersProblem::Translate { path: path.to_owned(), source: errno.into() }
            })?;
        }
        Ok(mount)
    }

    /// Makes files in the name of the container's root until the guard is dropped.
    pub(super) fn act_as_root(&self) -> ActingAsRoot {
        let root = self.root();
        nix::unistd::setfsgid(Gid::from_raw(root));
        nix::unistd::setfsuid(Uid::from_raw(root));
        if root != 0 {
            // Leaving 0 took it away, and root in the container would have it.
            drop(caps::raise(None, CapSet::Effective, Capability::CAP_DAC_OVERRIDE));
        }
        ActingAsRoot
    }
}

/// Ends acting as the container's root when it is dropped.
pub(super) struct ActingAsRoot;

impl Drop for ActingAsRoot {
    fn drop(&mut self) {
        nix::unistd::setfsuid(Uid::from_raw(0));
        nix::unistd::setfsgid(Gid::from_raw(0));
    }
}

/// Another mount of what is at `path`, and of what is mounted below it if `below`, attached nowhere.
pub(crate) fn another(path: &Path, below: bool) -> Result<OwnedFd, OwnersProblem> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if below {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, path, flags)
        .map_err(|errno| OwnersProblem::Clone { path: path.to_owned(), source: errno.into() })
}

/// Sets and clears flags of a mount; `path` is for the message.
pub(crate) fn set_flags(
    mount: &OwnedFd,
    set: Flags,
    clear: Flags,
    path: &Path,
) -> Result<(), OwnersProblem> {
    change(mount, Change { set, clear, owners: None, below: false }, path)
}

/// Sets flags of a mount and of all that is mounted below it; `path` is for the message.
pub(super) fn set_flags_below(
    mount: &OwnedFd,
    set: Flags,
    path: &Path,
) -> Result<(), OwnersProblem> {
    change(mount, Change { set, clear: Flags::default(), owners: None, below: true }, path)
}

fn change(mount: &OwnedFd, change: Change<'_>, path: &Path) -> Result<(), OwnersProblem> {
    idmap::change_mount(mount.as_fd(), change)
        .map_err(|errno| OwnersProblem::Change { path: path.to_owned(), source: errno.into() })
}

/// Attaches a mount on a folder of the node that nobody else can change.
pub(super) fn attach(mount: &OwnedFd, path: &Path) -> Result<(), OwnersProblem> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", CWD, path, flags)
        .map_err(|errno| OwnersProblem::Attach { path: path.to_owned(), source: errno.into() })
}

/// Attaches a mount on the open file or folder `target`; `path` is for the message.
pub(super) fn attach_on(mount: &OwnedFd, target: &File, path: &Path) -> Result<(), OwnersProblem> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags)
        .map_err(|errno| OwnersProblem::Attach { path: path.to_owned(), source: errno.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_beyond_the_range_have_places_of_their_own_on_the_node() {
        let range = IdRange { first: 1 << 20, count: 1 << 16 };
        let far = [
            IdStretch { inside: 100_000, first: 2 << 20, count: 3 },
            IdStretch { inside: u32::MAX - 1, first: (2 << 20) + 3, count: 1 },
        ];
        let owners = Owners::without_namespace(range, &far);
        for (inside, outside) in [
            (0, Some(1_048_576)),
            (65_535, Some(1_114_111)),
            (65_536, None),
            (99_999, None),
            (100_000, Some(2_097_152)),
            (100_002, Some(2_097_154)),
            (100_003, None),
            (u32::MAX - 1, Some(2_097_155)),
            (u32::MAX, None),
        ] {
            assert_eq!(owners.outside(inside), outside, "{inside}");
            if let Some(outside) = outside {
                assert_eq!(owners.inside(outside), Some(inside));
            }
        }
        for none in [0, 65_534, 100_000, 1_114_112, 2_097_156] {
            assert_eq!(owners.inside(none), None, "{none}");
        }
        assert_eq!(
            (Owners::nodes().outside(7), Owners::nodes().inside(100_000)),
            (Some(7), Some(100_000))
        );
    }
}
