//! Reading small files by name, where somebody else may have put anything under that name: a FIFO, a device, a link, a
//! folder, a file without end. Such a thing must not hold up who reads it, nor fill its memory.

use std::fs::{self, File, FileType};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// What is there cannot be used as a small file. The words fit behind the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ReadSmall {
    /// Something else than a file has the name.
    #[error("it is {0}, no file: remove it or put a file there")]
    NoFile(&'static str),
    /// The file has more bytes than one of its kind can have.
    #[error("it is larger than {max_bytes} bytes, and so no file that belongs there: remove it")]
    TooLarge {
        /// The most that there may be, in bytes.
        max_bytes: u64,
    },
    /// The file's bytes are no UTF-8 text.
    #[error("it is no text (UTF-8)")]
    NoText,
    /// Those of `open(2)` and `read(2)`.
    #[error("it cannot be read: {0}")]
    Read(#[source] io::Error),
}

impl From<ReadSmall> for io::Error {
    fn from(error: ReadSmall) -> Self {
        match error {
            ReadSmall::Read(error) => error,
            ReadSmall::NoFile(_) => Self::new(io::ErrorKind::InvalidInput, error),
            ReadSmall::TooLarge { .. } => Self::new(io::ErrorKind::FileTooLarge, error),
            ReadSmall::NoText => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// Reads a whole file of at most `max_bytes`; `None` where nothing has that name. Never waits for anybody, opens no device
/// and follows no link in the name's last part.
///
/// # Errors
/// No file, a file that is too large, or one that cannot be read.
pub fn read_small(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, ReadSmall> {
    let Some(file) = open_file(path)? else { return Ok(None) };
    let mut content = Vec::new();
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut content).map_err(ReadSmall::Read)?;
    if content.len() as u64 > max_bytes {
        return Err(ReadSmall::TooLarge { max_bytes });
    }
    Ok(Some(content))
}

/// As [`read_small`], for text.
///
/// # Errors
/// Those, and what is no UTF-8.
pub fn read_small_text(path: &Path, max_bytes: u64) -> Result<Option<String>, ReadSmall> {
    read_small(path, max_bytes)?
        .map(String::from_utf8)
        .transpose()
        .map_err(|_not_text| ReadSmall::NoText)
}

/// Opens a file of any size for reading, under the same conditions.
///
/// # Errors
/// No file, or one that cannot be opened.
pub fn open_file(path: &Path) -> Result<Option<File>, ReadSmall> {
    // Looked at first, since opening a device may already do something.
    let file = match found(path).and_then(|kind| is_file(kind).map(|()| open(path))) {
        Ok(Ok(file)) => file,
        Err(ReadSmall::Read(error)) | Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Ok(Err(error)) => return Err(ReadSmall::Read(error)),
        Err(problem) => return Err(problem),
    };
    // And once more, since the name may by now be another thing's.
    is_file(file.metadata().map_err(ReadSmall::Read)?.file_type())?;
    Ok(Some(file))
}

fn found(path: &Path) -> Result<FileType, ReadSmall> {
    fs::symlink_metadata(path).map(|metadata| metadata.file_type()).map_err(ReadSmall::Read)
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn is_file(kind: FileType) -> Result<(), ReadSmall> {
    let other = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_symlink() => "a link",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(ReadSmall::NoFile(other))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(read_small(&path, 3).unwrap(), None);
        assert_eq!(read_small(&path.join("below/nothing"), 3).unwrap(), None);
        fs::write(&path, "one").unwrap();
        assert_eq!(read_small_text(&path, 3).unwrap().as_deref(), Some("one"));
        assert!(matches!(read_small(&path, 2), Err(ReadSmall::TooLarge { max_bytes: 2 })));
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(read_small_text(&path, 3), Err(ReadSmall::NoText)));
        // Files of the kernel say no size.
        assert!(read_small(Path::new("/proc/self/stat"), 4096).unwrap().unwrap().len() > 10);
    }

    #[test]
    fn what_is_no_file_is_named_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("a folder")).unwrap();
        mkfifoat(CWD, at("a FIFO"), Mode::RUSR | Mode::WUSR).unwrap();
        symlink("/dev/zero", at("a link")).unwrap();
        let _socket = UnixListener::bind(at("a socket")).unwrap();
        for kind in ["a folder", "a FIFO", "a link", "a socket"] {
            let error = read_small(&at(kind), 10).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("it is {kind}, no file: remove it or put a file there")
            );
        }
        let error = read_small(Path::new("/dev/zero"), 10).unwrap_err();
        assert!(matches!(error, ReadSmall::NoFile("a device")), "{error}");
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(read_small(&path, 1 << 20), Err(ReadSmall::TooLarge { .. })));
    }
}
