//! Mounts of the initramfs, and the step out of it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move};

/// Where the new root is put together.
pub const NEW_ROOT: &str = "/new-root";

/// Mounts that the root file system gets from the initramfs, in the order in which they are made.
const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// A mount that did not come about.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum MountError {
    #[error("make mount point {path}")]
    MakeDirectory { path: PathBuf, source: io::Error },
    #[error("mount {kind} on {path}")]
    Mount { kind: &'static str, path: PathBuf, source: Errno },
    #[error("move {path} into the new root")]
    Move { path: PathBuf, source: Errno },
    #[error("make {path} the root")]
    SwitchRoot { path: PathBuf, source: Errno },
}

/// Mounts the kernel's file systems and /run. `/dev` comes first, since messages need it.
///
/// # Errors
/// The first mount that fails, beside those that worked.
pub fn mount_kernel_file_systems() -> Result<(), MountError> {
    let private = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_on("devtmpfs", "/dev", private, c"mode=0755")?;
    mount_on("proc", "/proc", private | MountFlags::NODEV, c"")?;
    mount_on("sysfs", "/sys", private | MountFlags::NODEV, c"")?;
    mount_on("tmpfs", "/run", private | MountFlags::NODEV, c"mode=0755")
}

/// Mounts a file system that has no device. Already being mounted counts as done.
///
/// # Errors
/// The mount point cannot be made or the kernel refuses.
pub fn mount_on(
    kind: &'static str,
    path: &str,
    flags: MountFlags,
    options: &std::ffi::CStr,
) -> Result<(), MountError> {
    let path = Path::new(path);
    if !path.is_dir() {
        fs::create_dir_all(path)
            .map_err(|source| MountError::MakeDirectory { path: path.to_owned(), source })?;
    }
    match mount(kind, path, kind, flags, options) {
        // The kernel may have mounted devtmpfs itself.
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(source) => Err(MountError::Mount { kind, path: path.to_owned(), source }),
    }
}

/// Makes [`NEW_ROOT`] the root: moves the kernel's file systems there, frees the memory that the initramfs takes,
/// and changes over. After this the old root cannot be reached any more.
///
/// # Errors
/// A mount cannot be moved. The machine is then between two roots and can only be reset.
pub fn switch_root() -> Result<(), MountError> {
    for path in MOVED {
        let target = PathBuf::from(format!("{NEW_ROOT}{path}"));
        mount_move(path, &target).map_err(|source| MountError::Move { path: target, source })?;
    }
    let switch = |source| MountError::SwitchRoot { path: NEW_ROOT.into(), source };
    rustix::process::chdir(NEW_ROOT).map_err(switch)?;
    empty_initramfs(Path::new("/"));
    mount_move(".", "/").map_err(switch)?;
    rustix::process::chroot(".").map_err(switch)?;
    rustix::process::chdir("/").map_err(switch)
}

/// Removes everything on the file system that `root` is on. What cannot be removed only costs memory.
fn empty_initramfs(root: &Path) {
    if let Ok(metadata) = fs::symlink_metadata(root) {
        remove_below(root, metadata.dev());
    }
}

fn remove_below(directory: &Path, device: u64) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.dev() != device {
            // Another file system: the new root.
            continue;
        }
        if metadata.is_dir() {
            remove_below(&path, device);
            fs::remove_dir(&path).ok();
        } else {
            fs::remove_file(&path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptying_takes_everything_of_the_device_and_follows_no_link() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "x").unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("lib/modules")).unwrap();
        fs::write(root.path().join("lib/modules/a.ko"), "x").unwrap();
        fs::write(root.path().join("init"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
        empty_initramfs(root.path());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(outside.path().join("kept").exists());
    }
}
