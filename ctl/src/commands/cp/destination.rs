//! Where a copy goes on this computer. The archive comes from a container by way of a node, either of which may put
//! anything into it: nothing is written but the one name that was asked for, and no device, link or pipe is replaced.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use ferrite_archive::extract::{self, Extract, Top};
use rustix::fs::{Dir, Mode, OFlags};
use tempfile::TempDir;

use crate::failure::Failure;

/// Name of the content of a container's whole root while it is staged.
const CONTENT: &str = "content";

/// A place that may be written to.
#[derive(Debug)]
pub(super) struct Destination {
    /// As it was asked for, for messages.
    asked: PathBuf,
    folder: PathBuf,
    fd: OwnedFd,
    /// Name in the archive, and the one that it gets; `None` for the container's whole root, whose names are its own.
    names: Option<(OsString, OsString)>,
}

/// A copy that is whole and not in its place yet.
#[derive(Debug)]
pub(super) struct Staged {
    staging: TempDir,
    destination: Destination,
}

impl Destination {
    /// Looks at what is at `to`, where `wanted` of the container is to go.
    pub(super) fn open(to: &Path, wanted: &Path) -> Result<Self, Failure> {
        let failed = |source| Failure::Write { path: to.to_owned(), source };
        let sent = wanted.file_name().map(OsStr::to_owned);
        let into = to.is_dir() && sent.is_some();
        let (folder, placed) = match (&sent, to.file_name()) {
            (Some(sent), _) if into => (to.to_owned(), sent.clone()),
            (_, Some(name)) => (parent(to), name.to_owned()),
            // The root of this computer, `.` or `..`: it is there, and the copy has no name of its own.
            (_, None) => return Err(Failure::CopyRoot { path: to.to_owned() }),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&folder, flags, Mode::empty());
        let fd = fd.map_err(|errno| failed(errno.into()))?;
        let what =
            extract::in_the_way(fd.as_fd(), &placed).map_err(|errno| failed(errno.into()))?;
        if let Some(what) = what {
            return Err(Failure::CopyOver { path: folder.join(&placed), what });
        }
        let names = sent.map(|sent| (sent, placed));
        if names.is_none() && !is_free(to).map_err(failed)? {
            return Err(Failure::CopyRoot { path: to.to_owned() });
        }
        Ok(Self { asked: to.to_owned(), folder, fd, names })
    }

    /// Unpacks the archive into a new folder that nobody else enters: no link that is here already leads out of that.
    pub(super) fn stage(self, archive: impl BufRead) -> Result<Staged, Failure> {
        let failed = |source| Failure::Write { path: self.asked.clone(), source };
        let staging = tempfile::Builder::new().prefix(".ferrite-cp-").tempdir_in(&self.folder);
        let staging = staging.map_err(failed)?;
        let root = open_folder(staging.path()).map_err(failed)?;
        let top = match &self.names {
            Some((sent, placed)) => Top::One {
                sent: Some(sent.clone().into_vec()),
                placed: Some(placed.clone().into_vec()),
            },
            None => {
                let content = staging.path().join(CONTENT);
                std::fs::create_dir(&content).map_err(failed)?;
                let content = open_folder(&content).map_err(failed)?;
                extract::extract(archive, content.as_fd(), &Top::Content)
                    .map_err(|source| Failure::Copied { path: self.asked.clone(), source })?;
                return Ok(Staged { staging, destination: self });
            }
        };
        extract::extract(archive, root.as_fd(), &top)
            .map_err(|source| Failure::Copied { path: self.asked.clone(), source })?;
        Ok(Staged { staging, destination: self })
    }
}

impl Staged {
    /// Gives the whole copy its name, in one step.
    pub(super) fn place(self) -> Result<(), Failure> {
        let Destination { asked, fd, names, .. } = self.destination;
        let failed = |source| Failure::Write { path: asked.clone(), source };
        let staging = open_folder(self.staging.path()).map_err(failed)?;
        let (from, to) = match &names {
            Some((_, placed)) => (placed.as_os_str(), placed.as_os_str()),
            None => {
                // An empty folder gives way to a folder.
                let to = asked.file_name().unwrap_or_default();
                let moved = rustix::fs::renameat(&staging, CONTENT, &fd, to);
                return moved.map_err(|errno| failed(errno.into()));
            }
        };
        match extract::settle((staging.as_fd(), from), (fd.as_fd(), to)) {
            Ok(()) => Ok(()),
            Err(Extract::InTheWay { what, .. }) => Err(Failure::CopyOver { path: asked, what }),
            Err(Extract::Create { source, .. })
                if source.kind() == io::ErrorKind::NotFound && !exists(&staging, from) =>
            {
                Err(Failure::CopyNothing { path: asked })
            }
            Err(source) => Err(Failure::Copied { path: asked, source }),
        }
    }
}

fn parent(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn exists(folder: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Nothing is there, or an empty folder.
fn is_free(path: &Path) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(true),
        folder => folder?,
    };
    for entry in Dir::read_from(&folder)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn tar_of(names: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn copy(to: &Path, wanted: &str, archive: &[u8]) -> Result<(), Failure> {
        Destination::open(to, Path::new(wanted))?.stage(archive)?.place()
    }

    fn left(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let archive = tar_of(&[("x", b"new")]);
        for (name, what) in [("pipe", "pipe"), ("link", "symbolic link"), ("socket", "socket")] {
            let path = folder.path().join(name);
            match name {
                "pipe" => {
                    let mode = Mode::from_raw_mode(0o600);
                    let kind = rustix::fs::FileType::Fifo;
                    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
                }
                "link" => symlink("pipe", &path).unwrap(),
                _ => drop(std::os::unix::net::UnixListener::bind(&path).unwrap()),
            }
            let before = fs::symlink_metadata(&path).unwrap();
            let error = copy(&path, "/etc/x", &archive).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            let after = fs::symlink_metadata(&path).unwrap();
            assert_eq!(before.file_type(), after.file_type());
        }
        let error = copy(Path::new("/dev/null"), "/etc/x", &archive).unwrap_err();
        assert!(error.to_string().contains("a device is there"), "{error}");
        assert_eq!(left(folder.path()), ["link", "pipe", "socket"]);
        fs::write(folder.path().join("file"), "old").unwrap();
        copy(&folder.path().join("file"), "/etc/x", &archive).unwrap();
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"new");
    }

    #[test]
    fn a_node_does_not_choose_names_here() {
        let folder = tempfile::tempdir().unwrap();
        for hostile in
            [&[("x", &b"1"[..]), (".bashrc", b"2")][..], &[(".bashrc", b"2")], &[("a/x", b"")]]
        {
            let error = copy(folder.path(), "/etc/x", &tar_of(hostile)).unwrap_err();
            assert!(crate::failure::chain(&error).contains("not what was asked for"), "{error}");
            assert_eq!(left(folder.path()), [""; 0]);
        }
        let error = copy(folder.path(), "/etc/x", &tar_of(&[])).unwrap_err();
        assert!(matches!(error, Failure::CopyNothing { .. }), "{error}");
    }

    #[test]
    fn a_whole_root_goes_into_a_folder_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "old").unwrap();
        let archive = tar_of(&[("./mine", b"new"), ("etc/x", b"1")]);
        for to in [folder.path(), Path::new("."), Path::new("/"), Path::new("..")] {
            let error = copy(to, "/", &archive).unwrap_err();
            assert!(matches!(error, Failure::CopyRoot { .. }), "{error}");
        }
        assert_eq!(fs::read(folder.path().join("mine")).unwrap(), b"old");
        fs::create_dir(folder.path().join("empty")).unwrap();
        for name in ["empty", "new"] {
            copy(&folder.path().join(name), "/", &archive).unwrap();
            assert_eq!(fs::read(folder.path().join(name).join("etc/x")).unwrap(), b"1");
        }
        assert_eq!(left(folder.path()), ["empty", "mine", "new"]);
    }

    #[test]
    fn a_copy_keeps_its_name_or_gets_one() {
        let folder = tempfile::tempdir().unwrap();
        let archive = tar_of(&[("a/f", b"content")]);
        copy(&folder.path().join("b"), "/srv/a", &archive).unwrap();
        copy(folder.path(), "/srv/a/", &archive).unwrap();
        for name in ["a", "b"] {
            assert_eq!(fs::read(folder.path().join(name).join("f")).unwrap(), b"content");
        }
        let error = copy(folder.path(), "/srv/a", &archive).unwrap_err();
        assert!(error.to_string().contains("a folder is there"), "{error}");
        assert_eq!(left(folder.path()), ["a", "b"]);
    }
}
