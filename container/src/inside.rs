//! Paths inside a container's root: the image's links are followed, and never lead out of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Links that one path may lead through, as in the kernel.
const LINKS_MAX: usize = 40;

/// What a path is to be, where it is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// An empty folder.
    Folder,
    /// An empty file.
    File,
}

/// A container's root, open.
#[derive(Debug)]
pub(super) struct Root {
    folder: File,
    path: PathBuf,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        // What links in /proc say has no links in it.
        Ok(Self { folder: folder.into(), path: std::fs::canonicalize(path)? })
    }

    /// Opens what `path` is in the container.
    pub(super) fn look(&self, path: &str, flags: OFlags) -> Result<File, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.folder, path, flags, Mode::empty(), resolve).map(File::from)
    }

    /// Opens what `path` is in the container as a mere place, made where it is missing.
    pub(super) fn place(&self, path: &str, missing: Missing) -> io::Result<File> {
        let mut left: VecDeque<String> = parts(path).collect();
        let (mut links, mut here) = (0, String::from("/"));
        while let Some(part) = left.pop_front() {
            let parent = self.look(&here, OFlags::PATH | OFlags::DIRECTORY)?;
            let next = format!("{}/{part}", here.trim_end_matches('/'));
            match self.look(&next, OFlags::PATH) {
                Ok(_) => here = next,
                Err(Errno::NOENT) => match rustix::fs::readlinkat(&parent, &part, Vec::new()) {
                    // A link to what is not there: that is where it is made.
                    Ok(target) => {
                        links += 1;
                        if links > LINKS_MAX {
                            return Err(Errno::LOOP.into());
                        }
                        let target = target.to_string_lossy().into_owned();
                        if target.starts_with('/') {
                            "/".clone_into(&mut here);
                        }
                        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                            left.push_front(part);
                        }
                    }
                    Err(_) => {
                        let last = left.is_empty();
                        make(&parent, &part, if last { missing } else { Missing::Folder })?;
                        here = next;
                    }
                },
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(self.look(&here, OFlags::PATH)?)
    }

    /// Makes sure that the root has this folder itself, and no link or file in its place.
    pub(super) fn own_folder(&self, name: &str) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.folder, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => Ok(make(&self.folder, name, Missing::Folder)?),
            other => Ok(other.map(drop)?),
        }
    }

    /// The path in the container, without links, of something opened here.
    pub(super) fn name_of(&self, file: &File) -> io::Result<PathBuf> {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let inside = path.strip_prefix(&self.path).map_err(|_outside| io::ErrorKind::NotFound)?;
        Ok(Path::new("/").join(inside))
    }
}

fn parts(path: &str) -> impl Iterator<Item = String> + '_ {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned)
}

fn make(parent: &File, name: &str, what: Missing) -> Result<(), Errno> {
    match what {
        Missing::Folder => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Missing::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

/// Whether something opened here is a folder.
pub(super) fn is_folder(file: &File) -> io::Result<bool> {
    let stat = rustix::fs::statat(file, "", AtFlags::EMPTY_PATH)?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn folders_of_the_runtime_are_no_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        for name in ["proc", "sys"] {
            root.own_folder(name).unwrap();
            root.own_folder(name).unwrap();
        }
        symlink("proc", folder.path().join("dev")).unwrap();
        assert!(root.own_folder("dev").is_err());
        fs::remove_file(folder.path().join("dev")).unwrap();
        symlink("/nowhere", folder.path().join("dev")).unwrap();
        assert!(root.own_folder("dev").is_err());
        fs::remove_file(folder.path().join("dev")).unwrap();
        fs::write(folder.path().join("dev"), "").unwrap();
        assert!(root.own_folder("dev").is_err());
    }

    #[test]
    fn what_is_missing_is_made_inside_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root");
        fs::create_dir_all(path.join("srv")).unwrap();
        symlink("/srv", path.join("link")).unwrap();
        symlink("../..", path.join("up")).unwrap();
        symlink("../run/resolv.conf", path.join("srv/dangling")).unwrap();
        symlink("/etc/outside", path.join("absolute")).unwrap();
        symlink("loop", path.join("loop")).unwrap();
        let root = Root::open(&path).unwrap();
        for (asked, missing, found) in [
            ("/", Missing::Folder, "/"),
            ("/a/b", Missing::Folder, "/a/b"),
            ("/link/c", Missing::Folder, "/srv/c"),
            ("/up/../d", Missing::Folder, "/d"),
            ("/srv/dangling", Missing::File, "/run/resolv.conf"),
            ("/absolute", Missing::File, "/etc/outside"),
            ("/a/../../../../e", Missing::File, "/e"),
        ] {
            let place = root.place(asked, missing).unwrap();
            assert_eq!(root.name_of(&place).unwrap(), Path::new(found), "{asked}");
            assert_eq!(is_folder(&place).unwrap(), missing == Missing::Folder);
        }
        assert!(path.join("run/resolv.conf").is_file());
        assert!(root.place("/e/x", Missing::File).is_err());
        assert!(root.place("/loop", Missing::File).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
