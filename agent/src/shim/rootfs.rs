//! The container's root: its image's layers below, a folder on STATE for what it writes on top.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};

use super::protocol::Request;

/// The root could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rootfs {
    #[error("empty {}", path.display())]
    EmptyScratch { path: PathBuf, source: io::Error },
    #[error("make {}", path.display())]
    MakeFolder { path: PathBuf, source: io::Error },
    #[error("ask for overlayfs")]
    AskOverlay(#[source] io::Error),
    #[error("set overlayfs's {key} to {value}")]
    SetOption { key: &'static str, value: String, source: io::Error },
    #[error("mount overlayfs on {}", path.display())]
    MountOverlay { path: PathBuf, source: io::Error },
    #[error("run an image without layers")]
    NoLayers,
}

/// Mounts the root below `folder`. Devices in it are dead: images have no business with the node's.
pub(super) fn mount(request: &Request, folder: &Path) -> Result<PathBuf, Rootfs> {
    let scratch = Path::new(&request.scratch);
    match fs::remove_dir_all(scratch) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(Rootfs::EmptyScratch { path: scratch.to_owned(), source });
        }
        Ok(()) | Err(_) => {}
    }
    let (upper, work, root) =
        (scratch.join("upper"), scratch.join("work"), folder.join("bundle/rootfs"));
    for path in [&upper, &work, &root] {
        fs::create_dir_all(path)
            .map_err(|source| Rootfs::MakeFolder { path: path.clone(), source })?;
    }
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| Rootfs::AskOverlay(errno.into()))?;
    let set = |key: &'static str, value: &str| {
        rustix::mount::fsconfig_set_string(context.as_fd(), key, value).map_err(|errno| {
            Rootfs::SetOption { key, value: value.to_owned(), source: errno.into() }
        })
    };
    set("source", "overlay")?;
    // One option per layer, top first: a list in one string would hit its length limit.
    for layer in request.layers.iter().rev() {
        set("lowerdir+", layer)?;
    }
    if request.layers.is_empty() {
        return Err(Rootfs::NoLayers);
    }
    set("upperdir", &upper.to_string_lossy())?;
    set("workdir", &work.to_string_lossy())?;
    let mounting = |errno: rustix::io::Errno| Rootfs::MountOverlay {
        path: root.clone(),
        source: errno.into(),
    };
    // What it writes here is gone with the next start, so flushing it would only cost time.
    rustix::mount::fsconfig_set_flag(context.as_fd(), "volatile").map_err(mounting)?;
    rustix::mount::fsconfig_create(context.as_fd()).map_err(mounting)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let mount = rustix::mount::fsmount(context.as_fd(), flags, MountAttrFlags::MOUNT_ATTR_NODEV)
        .map_err(mounting)?;
    let from_fd = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(mount.as_fd(), "", CWD, &root, from_fd).map_err(mounting)?;
    Ok(root)
}
