//! The container's root: its image's layers below, a folder on STATE for what it writes on top.
//!
//! The layers' owners are translated by mounts of their own; what the container writes has the node's IDs on
//! disk, which nobody sees, since it is gone before the next start.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use ferrite_files::durable;
use ferrite_files::quarantine::{Quarantine, Stays};
use ferrite_schema::names;
use ferrite_schema::shim::Request;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::owners::{self, Owners, OwnersProblem};
use super::quota::{self, QuotaProblem};

/// The root could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rootfs {
    #[error(transparent)]
    EmptyScratch(#[from] Stays),
    #[error(transparent)]
    Quota(#[from] QuotaProblem),
    #[error("make {}", path.display())]
    MakeFolder { path: PathBuf, source: io::Error },
    #[error("ask for overlayfs")]
    AskOverlay(#[source] io::Error),
    #[error("set overlayfs's {key} to {value}")]
    SetOption { key: &'static str, value: String, source: io::Error },
    #[error("mount overlayfs on {}", path.display())]
    MountOverlay { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Owners(#[from] OwnersProblem),
}

/// Mounts the root. What it needs beside it is in `folder`. Devices in it are dead: images have no business with the node's.
pub(super) fn mount(request: &Request, owners: &Owners, folder: &Path) -> Result<PathBuf, Rootfs> {
    let scratch = Path::new(&request.scratch);
    // What the last run left never keeps the next one from starting.
    Quarantine::at(Path::new(names::QUARANTINE_DIR)).remove(scratch)?;
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    // The container's first process finds its root by its path, in the container's user namespace, to which the
    // run folder is closed. Every shim has a mount of its own there.
    let root = Path::new(names::CONTAINER_DIR).join("rootfs");
    let bundle = folder.join("bundle");
    durable::private_folder(&bundle)
        .map_err(|source| Rootfs::MakeFolder { path: bundle, source })?;
    make_folder(scratch)?;
    quota::root(scratch, request.project, &request.resources)?;
    for path in [&upper, &work, &root] {
        make_folder(path)?;
    }
    std::os::unix::fs::chown(&upper, Some(owners.root()), Some(owners.root()))
        .map_err(|source| Rootfs::MakeFolder { path: upper.clone(), source })?;
    let layers = layers(request, owners, folder)?;
    let mount = overlay(&layers, &upper, &work, &root)?;
    owners::attach(&mount, &root)?;
    Ok(root)
}

/// The layers' folders as the container's root owns them, bottom first.
fn layers(request: &Request, owners: &Owners, folder: &Path) -> Result<Vec<PathBuf>, Rootfs> {
    if request.layers.is_empty() {
        // overlayfs wants one; what is in the root then are the unit's volumes.
        let empty = folder.join("layers/none");
        make_folder(&empty)?;
        return Ok(vec![empty]);
    }
    if owners.namespace().is_none() {
        return Ok(request.layers.iter().map(PathBuf::from).collect());
    }
    // One mount for each folder that layers are in: it is the same for all of them.
    let mut shown: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut layers = Vec::new();
    for layer in request.layers.iter().map(Path::new) {
        let parent = layer.parent().unwrap_or(Path::new("/"));
        let place = folder.join(format!("layers/{}", shown.len()));
        if !shown.contains_key(parent) {
            let mount = owners.translated(parent)?;
            make_folder(&place)?;
            owners::attach(&mount, &place)?;
            shown.insert(parent.to_owned(), place);
        }
        let name = layer.file_name().unwrap_or_default();
        layers.extend(shown.get(parent).map(|place| place.join(name)));
    }
    Ok(layers)
}

fn overlay(layers: &[PathBuf], upper: &Path, work: &Path, root: &Path) -> Result<OwnedFd, Rootfs> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| Rootfs::AskOverlay(errno.into()))?;
    let set = |key: &'static str, value: &Path| {
        rustix::mount::fsconfig_set_string(context.as_fd(), key, value).map_err(|errno| {
            let value = value.display().to_string();
            Rootfs::SetOption { key, value, source: errno.into() }
        })
    };
    set("source", Path::new("overlay"))?;
    // One option per layer, top first: a list in one string would hit its length limit.
    for layer in layers.iter().rev() {
        set("lowerdir+", layer)?;
    }
    set("upperdir", upper)?;
    set("workdir", work)?;
    let mounting = |errno: rustix::io::Errno| Rootfs::MountOverlay {
        path: root.to_owned(),
        source: errno.into(),
    };
    // What it writes here is gone with the next start, so flushing it would only cost time.
    rustix::mount::fsconfig_set_flag(context.as_fd(), "volatile").map_err(mounting)?;
    rustix::mount::fsconfig_create(context.as_fd()).map_err(mounting)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    rustix::mount::fsmount(context.as_fd(), flags, MountAttrFlags::MOUNT_ATTR_NODEV)
        .map_err(mounting)
}

fn make_folder(path: &Path) -> Result<(), Rootfs> {
    fs::create_dir_all(path).map_err(|source| Rootfs::MakeFolder { path: path.to_owned(), source })
}
