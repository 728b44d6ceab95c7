//! What the OEM partition says, for the agent.
//!
//! It holds the node's keys, and whoever made the partition chose who may read them. So it is read once, into a file that
//! is root's alone, and is not mounted any more when containers come.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use ferrite_files::durable;
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
    let mut file = match File::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut content = Vec::new();
    file.by_ref().take(DOCUMENT_MAX_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > DOCUMENT_MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    if let Some(folder) = to.parent() {
        durable::private_folder(folder)?;
    }
    durable::write(to, &content).map_err(|error| error.source)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

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
}
