//! A look at an image's archive before it is sent: what is plainly not one is refused here, in plain words.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ArchiveError {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("import {path}: it is a folder without an OCI image layout (no {missing})")]
    Folder { path: PathBuf, missing: &'static str },
    #[error("pack {path}")]
    Pack { path: PathBuf, source: io::Error },
    #[error("import {path}: it is compressed with {tool}")]
    Compressed { path: PathBuf, tool: &'static str },
    #[error("import {path}: it is not a tar archive")]
    NotTar { path: PathBuf },
    #[error("import {path}: it is truncated")]
    Truncated { path: PathBuf },
    #[error("import {path}: it is a tar archive without an OCI image layout (no {missing})")]
    NotOci { path: PathBuf, missing: &'static str },
}

impl ArchiveError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Folder { .. } => {
                Some("give the folder that `oci-layout` and `index.json` are in")
            }
            Self::Compressed { .. } => Some("decompress it first"),
            Self::NotTar { .. } | Self::NotOci { .. } => Some(
                "an OCI archive comes from `skopeo copy … oci-archive:FILE.tar` or `buildah push … oci-archive:FILE.tar`",
            ),
            Self::Truncated { .. } => Some("fetch or make it again"),
            Self::Read { .. } | Self::Pack { .. } => None,
        }
    }
}

/// Packs a folder with an OCI image layout into a file that lives as long as the answer; `None` for a file.
///
/// # Errors
/// The folder is something else, or there is no room for the file.
pub fn pack(path: &Path) -> Result<Option<tempfile::NamedTempFile>, ArchiveError> {
    if !path.is_dir() {
        return Ok(None);
    }
    for missing in ["oci-layout", "index.json"] {
        if !path.join(missing).is_file() {
            return Err(ArchiveError::Folder { path: path.to_owned(), missing });
        }
    }
    let packed = || -> io::Result<tempfile::NamedTempFile> {
        let file = tempfile::NamedTempFile::new()?;
        let mut builder = tar::Builder::new(io::BufWriter::new(file.as_file()));
        builder.append_dir_all(".", path)?;
        io::Write::flush(&mut builder.into_inner()?)?;
        Ok(file)
    };
    packed().map(Some).map_err(|source| ArchiveError::Pack { path: path.to_owned(), source })
}

/// Checks that `path` is a whole tar archive with an image in it, or compressed by something that the node
/// understands. Digests are for the node.
///
/// # Errors
/// Says what the file is instead.
pub fn check(path: &Path) -> Result<(), ArchiveError> {
    let failed = |source| ArchiveError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start).map_err(failed)?;
    match compression(&start) {
        // The node decompresses these, and looks inside.
        Some("gzip" | "zstd") => return Ok(()),
        Some(tool) => return Err(ArchiveError::Compressed { path: path.to_owned(), tool }),
        None => {}
    }
    file.rewind().map_err(failed)?;
    let names = names(&mut file, path)?;
    let has = |name: &str| names.iter().any(|found| found == name);
    match (has("oci-layout"), has("index.json")) {
        (true, true) => Ok(()),
        (false, _) if has("manifest.json") => Ok(()),
        (false, _) => Err(ArchiveError::NotOci { path: path.to_owned(), missing: "oci-layout" }),
        (true, false) => Err(ArchiveError::NotOci { path: path.to_owned(), missing: "index.json" }),
    }
}

fn compression(start: &[u8]) -> Option<&'static str> {
    // What zstd is to skip may come before what it is to decompress.
    if let [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] = start {
        return Some("zstd");
    }
    let known: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\xfd7zXZ", "xz"),
        (b"BZh", "bzip2"),
    ];
    known.into_iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, tool)| tool)
}

/// Names at the top of the archive, without a leading `./`.
fn names(file: &mut File, path: &Path) -> Result<Vec<String>, ArchiveError> {
    let size_bytes = file
        .metadata()
        .map_err(|source| ArchiveError::Read { path: path.to_owned(), source })?
        .len();
    let mut names = Vec::new();
    let mut archive = tar::Archive::new(file);
    let not_tar = |_| ArchiveError::NotTar { path: path.to_owned() };
    for entry in archive.entries_with_seek().map_err(not_tar)? {
        let entry = match entry {
            Ok(entry) => entry,
            // After good entries the archive was one: its end is missing.
            Err(_) if !names.is_empty() => {
                return Err(ArchiveError::Truncated { path: path.to_owned() });
            }
            Err(error) => return Err(not_tar(error)),
        };
        if entry.raw_file_position().saturating_add(entry.size()) > size_bytes {
            return Err(ArchiveError::Truncated { path: path.to_owned() });
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        names.push(name.trim_start_matches("./").to_owned());
    }
    if names.is_empty() {
        return Err(ArchiveError::NotTar { path: path.to_owned() });
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::{ArchiveError, check, pack};

    fn tar_of(names: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(2000);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, &[0x41_u8; 2000][..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn outcome(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.tar");
        std::fs::write(&file, bytes).unwrap();
        match check(&file) {
            Ok(()) => "fine".to_owned(),
            Err(error) => error.to_string().rsplit(": ").next().unwrap().to_owned(),
        }
    }

    #[test]
    fn what_is_not_an_oci_archive_is_called_by_its_name() {
        let whole = tar_of(&["oci-layout", "index.json", "blobs/sha256/x"]);
        assert_eq!(outcome(&whole), "fine");
        assert_eq!(outcome(&tar_of(&["./oci-layout", "./index.json"])), "fine");
        assert_eq!(outcome(&whole[..whole.len() - 3000]), "it is truncated");
        assert_eq!(outcome(&tar_of(&["manifest.json", "x.json"])), "fine");
        assert_eq!(
            outcome(&tar_of(&["etc/passwd"])),
            "it is a tar archive without an OCI image layout (no oci-layout)"
        );
        assert_eq!(outcome(b"\x1f\x8b\x08\x00rest"), "fine");
        for first in 0x50..=0x5f {
            assert_eq!(outcome(&[first, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]), "fine", "{first:x}");
        }
        assert_eq!(outcome(&[0x60, 0x2a, 0x4d, 0x18]), "it is not a tar archive");
        assert_eq!(outcome(b"\xfd7zXZ\x00rest"), "it is compressed with xz");
        assert_eq!(outcome(&[0x55; 4096]), "it is not a tar archive");
        assert_eq!(outcome(b""), "it is not a tar archive");
    }

    #[test]
    fn a_folder_with_a_layout_is_packed() {
        let folder = tempfile::tempdir().unwrap();
        let error = pack(folder.path()).unwrap_err();
        assert!(matches!(error, ArchiveError::Folder { .. }), "{error}");
        std::fs::create_dir(folder.path().join("blobs")).unwrap();
        for name in ["oci-layout", "index.json", "blobs/x"] {
            std::fs::write(folder.path().join(name), "{}").unwrap();
        }
        let packed = pack(folder.path()).unwrap().unwrap();
        check(packed.path()).unwrap();
        assert!(pack(packed.path()).unwrap().is_none());
    }
}
