//! The image store: blobs by digest, and a record per name.
//!
//! Blobs are written to `staging/`, checked, flushed and renamed, so that a name in `blobs/sha256/` always
//! stands for whole and right content. A record is written only after everything it names.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ferrite_schema::api::Image;
use serde::{Deserialize, Serialize};

use super::digest::{Digest, NotADigest};
use crate::durable;

/// Longest image reference.
const NAME_MAX_BYTES: usize = 255;

/// An image that can be run: everything it names is in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Reference.
    pub name: String,
    /// Digest of the manifest.
    pub manifest: String,
    /// Digest of the configuration.
    pub config: String,
    /// Digests of the layers' tars, bottom first.
    pub layers: Vec<String>,
    /// Bytes of all its blobs.
    pub size_bytes: u64,
}

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub enum Store {
    /// A folder could not be made or cleaned.
    #[error("prepare {}", path.display())]
    Prepare {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the store could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A record could not be written.
    #[error(transparent)]
    Write(#[from] durable::WriteFile),
    /// A blob could not be moved to its place.
    #[error("keep blob {digest}")]
    Keep {
        /// Its digest.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// A record is not one of ours.
    #[error("read the record {}", path.display())]
    Parse {
        /// The record.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A record names something that is not a digest.
    #[error(transparent)]
    Digest(#[from] NotADigest),
    /// A name that cannot be one of an image.
    #[error("refuse image name {name:?}: use 1 to 255 printable characters without spaces")]
    RefuseName {
        /// The name.
        name: String,
    },
}

/// The store's folders.
#[derive(Debug, Clone)]
pub struct ImageStore {
    root: PathBuf,
}

impl ImageStore {
    /// Opens the store in `root`, making its folders and removing what an interrupted import left.
    ///
    /// # Errors
    /// A folder cannot be made.
    pub fn open(root: &Path) -> Result<Self, Store> {
        let store = Self { root: root.to_owned() };
        let staging = store.staging();
        let cleaned = match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        cleaned.map_err(|source| Store::Prepare { path: staging.clone(), source })?;
        for folder in [staging, store.blobs(), store.records()] {
            fs::create_dir_all(&folder)
                .map_err(|source| Store::Prepare { path: folder, source })?;
        }
        Ok(store)
    }

    /// Where imports put what is not checked yet; same file system as the blobs.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    fn records(&self) -> PathBuf {
        self.root.join("names")
    }

    /// Where the blob is, if it is there.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Moves checked and flushed files to their places and flushes the folder.
    ///
    /// # Errors
    /// Blobs moved so far stay: they are whole.
    pub fn keep(&self, files: &[(Digest, PathBuf)]) -> Result<(), Store> {
        for (digest, file) in files {
            fs::rename(file, self.blob(digest))
                .map_err(|source| Store::Keep { digest: *digest, source })?;
        }
        let blobs = self.blobs();
        durable::sync_folder(&blobs).map_err(|source| Store::Prepare { path: blobs, source })
    }

    /// Reads a small blob and checks its digest again: a disk may lie.
    ///
    /// # Errors
    /// It is absent, too large, or not what its name says.
    pub fn read_document(&self, digest: &Digest, max_bytes: u64) -> Result<Vec<u8>, Store> {
        let path = self.blob(digest);
        let read = || {
            let bytes = fs::read(&path)?;
            let right = bytes.len() as u64 <= max_bytes && Digest::of(&bytes) == *digest;
            if right {
                Ok(bytes)
            } else {
                Err(io::Error::other("content does not match the digest"))
            }
        };
        read().map_err(|source| Store::Read { path: path.clone(), source })
    }

    fn record_path(&self, name: &str) -> PathBuf {
        // A reference holds `/` and `:`; its digest is a file name of fixed length.
        self.records().join(format!("{}.json", Digest::of(name.as_bytes()).hex()))
    }

    /// Writes a record over the one of the same name.
    ///
    /// # Errors
    /// The older record stays.
    pub fn put(&self, record: &Record) -> Result<(), Store> {
        let path = self.record_path(&record.name);
        let text = serde_json::to_vec_pretty(record)
            .map_err(|source| Store::Parse { path: path.clone(), source })?;
        Ok(durable::write(&path, &text)?)
    }

    /// The record of a name.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Record>, Store> {
        let path = self.record_path(name);
        let text = durable::read_optional(&path)
            .map_err(|source| Store::Read { path: path.clone(), source })?;
        text.map(|text| serde_json::from_str(&text).map_err(|source| Store::Parse { path, source }))
            .transpose()
    }

    /// All images, by name.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, Store> {
        let folder = self.records();
        let unreadable = |source| Store::Read { path: folder.clone(), source };
        let mut images = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let file = File::open(&path)
                    .map_err(|source| Store::Read { path: path.clone(), source })?;
                let record: Record = serde_json::from_reader(io::BufReader::new(file))
                    .map_err(|source| Store::Parse { path, source })?;
                images.push(record.summary());
            }
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }
}

impl Record {
    /// What the API shows.
    #[must_use]
    pub fn summary(&self) -> Image {
        Image {
            name: self.name.clone(),
            digest: self.manifest.clone(),
            size_bytes: self.size_bytes,
        }
    }
}

/// Checks an image's name.
///
/// # Errors
/// It is empty, too long, or not printable ASCII without spaces.
pub fn check_name(name: &str) -> Result<(), Store> {
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
    if printable && !name.is_empty() && name.len() <= NAME_MAX_BYTES {
        Ok(())
    } else {
        Err(Store::RefuseName { name: name.chars().take(NAME_MAX_BYTES).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> Record {
        let digest = Digest::of(b"").to_string();
        Record {
            name: name.to_owned(),
            manifest: digest.clone(),
            config: digest,
            layers: vec![],
            size_bytes: 3,
        }
    }

    #[test]
    fn records_are_found_by_name_and_listed_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(folder.path()).unwrap();
        store.put(&record("b/c:1")).unwrap();
        store.put(&record("a")).unwrap();
        assert_eq!(store.get("b/c:1").unwrap(), Some(record("b/c:1")));
        assert_eq!(store.get("none").unwrap(), None);
        let names: Vec<_> = store.list().unwrap().into_iter().map(|image| image.name).collect();
        assert_eq!(names, ["a", "b/c:1"]);
    }

    #[test]
    fn an_interrupted_import_is_forgotten_and_a_changed_blob_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(folder.path()).unwrap();
        fs::write(store.staging().join("half"), b"x").unwrap();
        let store = ImageStore::open(folder.path()).unwrap();
        assert_eq!(fs::read_dir(store.staging()).unwrap().count(), 0);
        let file = store.staging().join("whole");
        fs::write(&file, b"content").unwrap();
        let digest = Digest::of(b"content");
        store.keep(&[(digest, file)]).unwrap();
        assert_eq!(store.read_document(&digest, 100).unwrap(), b"content");
        fs::write(store.blob(&digest), b"Content").unwrap();
        assert!(store.read_document(&digest, 100).is_err());
    }

    #[test]
    fn names_with_spaces_or_control_characters_are_refused() {
        for name in ["", "a b", "a\n", "é"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        check_name("registry.example/a/b:1@sha256:00").unwrap();
    }
}
