//! What the OEM partition says, for the agent.
//!
//! It holds the node's keys, and whoever made the partition chose who may read them. So it is read once, into a file that
//! is root's alone, and is not mounted any more when containers come.

use std::io;
use std::path::Path;

use ferrite_files::{durable, small};
use ferrite_schema::names;

/// Largest document, as large as the agent takes one.
const DOCUMENT_MAX_BYTES: u64 = 4 << 20;

/// Takes the document from the mounted partition, and the partition away.
///
/// # Errors
/// It cannot be read; the partition is away nevertheless, where that is possible.
pub(super) fn take(mounted: &Path) -> io::Result<()> {
    let taken = copy(&mounted.join(names::OEM_FILE), Path::new(names::OEM_CLOUD_CONFIG));
    let unmounted = rustix::mount::unmount(mounted, rustix::mount::UnmountFlags::empty());
    taken.and(unmounted.map_err(io::Error::from))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let Some(content) = small::read_small(from, DOCUMENT_MAX_BYTES)? else { return Ok(()) };
    if let Some(folder) = to.parent() {
        durable::private_folder(folder)?;
    }
    durable::write(to, &content).map_err(|error| error.source)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn a_document_is_roots_alone_whatever_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("run/to"));
        copy(&from, &to).unwrap();
        assert!(!to.exists());
        fs::write(&from, "key").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"key");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&to), mode(to.parent().unwrap())), (0o600, 0o700));
        File::create(&from).unwrap().set_len(DOCUMENT_MAX_BYTES + 1).unwrap();
        assert!(copy(&from, &to).is_err());
        assert_eq!(fs::read(&to).unwrap(), b"key");
    }

    #[test]
    fn what_is_no_file_is_named_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        mkfifoat(CWD, at("FIFO"), Mode::RUSR | Mode::WUSR).unwrap();
        symlink("/dev/zero", at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for name in ["FIFO", "link", "folder"] {
            let error = copy(&at(name), &at("to")).unwrap_err();
            assert!(error.to_string().contains(&format!("a {name}, no file")), "{error}");
            assert!(!at("to").exists());
        }
    }
}
