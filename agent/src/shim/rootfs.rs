//! The container's root: its image's layers below, a folder on STATE for what it writes on top.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
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
    #[error("make the working directory {path} in the image")]
    MakeCwd { path: String, source: io::Error },
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
    make_cwd(&root, &request.cwd)
        .map_err(|source| Rootfs::MakeCwd { path: request.cwd.clone(), source })?;
    Ok(root)
}

/// Images may name a working directory that they do not hold. The image's symlinks never lead out of its root.
fn make_cwd(root: &Path, cwd: &str) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    let open = |path: &str| rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve);
    let mut parent = open(".")?;
    let mut path = String::from(".");
    for part in cwd.split('/').filter(|part| !part.is_empty()) {
        path.push('/');
        path.push_str(part);
        parent = match open(&path) {
            Err(rustix::io::Errno::NOENT) => {
                rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755))?;
                open(&path)?
            }
            other => other?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_working_directory_is_made_inside_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("srv")).unwrap();
        std::os::unix::fs::symlink("/srv", root.join("link")).unwrap();
        std::os::unix::fs::symlink("../..", root.join("up")).unwrap();
        make_cwd(&root, "/").unwrap();
        make_cwd(&root, "/a/b").unwrap();
        make_cwd(&root, "/link/c").unwrap();
        make_cwd(&root, "/up/d").unwrap();
        assert!(
            root.join("a/b").is_dir() && root.join("srv/c").is_dir() && root.join("d").is_dir()
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(root.join("file"), "").unwrap();
        assert!(make_cwd(&root, "/file/x").is_err());
    }
}
