//! The image store: blobs by digest, and a record per name.
//!
//! Blobs are written to `staging/`, checked, flushed and renamed, so that a name in `blobs/sha256/` always
//! stands for whole and right content. A record is written only after everything it names.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ferrite_schema::api::Image;
use ferrite_schema::reference::{DOCKER_HUB, NotAReference, Reference};
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
    /// Digests of the layers' blobs, bottom first. Records of older versions lack them: the manifest has them too.
    #[serde(default)]
    pub blobs: Vec<String>,
    /// Digest of the key whose signature let the image in, where one was asked for.
    #[serde(default)]
    pub signed_by: Option<String>,
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
    default_registry: String,
    users: Arc<Mutex<usize>>,
}

/// While one of these lives, nothing is collected: its owner has blobs or layers that no record names yet.
#[derive(Debug)]
pub struct InUse {
    users: Arc<Mutex<usize>>,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        *users = users.saturating_sub(1);
    }
}

impl ImageStore {
    /// Opens the store in `root`, making its folders and removing what an interrupted import left.
    ///
    /// # Errors
    /// A folder cannot be made.
    pub fn open(root: &Path) -> Result<Self, Store> {
        let store = Self {
            root: root.to_owned(),
            default_registry: DOCKER_HUB.to_owned(),
            users: Arc::default(),
        };
        let staging = store.staging();
        let cleaned = match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        cleaned.map_err(|source| Store::Prepare { path: staging.clone(), source })?;
        for folder in [staging, store.partials(), store.blobs(), store.records()] {
            fs::create_dir_all(&folder)
                .map_err(|source| Store::Prepare { path: folder, source })?;
        }
        Ok(store)
    }

    /// The same store, in which names without a registry belong to `registry`.
    #[must_use]
    pub fn with_default_registry(self, registry: &str) -> Self {
        Self { default_registry: registry.to_owned(), ..self }
    }

    /// What `name` means on this node.
    ///
    /// # Errors
    /// It is no reference. Imported images may have such names.
    pub fn reference(&self, name: &str) -> Result<Reference, NotAReference> {
        Reference::parse(name, &self.default_registry)
    }

    /// The name that all spellings of `name` share.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        self.reference(name).map_or_else(|_| name.to_owned(), |reference| reference.to_string())
    }

    /// Keeps everything from being collected while the answer lives.
    #[must_use]
    pub fn begin_use(&self) -> InUse {
        *self.users.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        InUse { users: Arc::clone(&self.users) }
    }

    /// Runs `work` while nobody has anything in the store that no record names; `None` where somebody has. `work`
    /// must be short: who wants to begin waits for it.
    pub fn alone<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        (*users == 0).then(work)
    }

    /// Where downloads are that have not ended; they survive the agent.
    fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// The file of a blob that is still being downloaded.
    #[must_use]
    pub fn partial(&self, digest: &Digest) -> PathBuf {
        self.partials().join(digest.hex())
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

    /// Keeps a document that was checked.
    ///
    /// # Errors
    /// It is not there.
    pub fn write_document(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Store> {
        Ok(durable::write(&self.blob(digest), bytes)?)
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
        let path = self.record_path(&self.key(&record.name));
        let text = serde_json::to_vec_pretty(record)
            .map_err(|source| Store::Parse { path: path.clone(), source })?;
        Ok(durable::write(&path, &text)?)
    }

    /// The record of a name, however it is spelled.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Record>, Store> {
        match read_record(&self.record_path(&self.key(name)))? {
            Some(record) => Ok(Some(record)),
            // Older versions kept records under names as they were given.
            None => read_record(&self.record_path(name)),
        }
    }

    /// Forgets a name; its blobs and layers are for the collector. `false` where there is none.
    ///
    /// # Errors
    /// The record is there still.
    pub fn forget(&self, name: &str) -> Result<bool, Store> {
        let mut found = false;
        for path in [self.record_path(&self.key(name)), self.record_path(name)] {
            found |= path.exists();
            durable::remove(&path).map_err(|source| Store::Read { path, source })?;
        }
        Ok(found)
    }

    /// Notes that the image is used now. Not worth an error: the collector only takes it for unused longer.
    pub fn note_use(&self, record: &Record) {
        let times = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
            last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        };
        let path = self.record_path(&self.key(&record.name));
        let noted =
            rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty());
        if let Err(error) = noted {
            tracing::debug!(%error, image = record.name, "image-use-not-noted");
        }
    }

    /// Digests of the files in the folder of blobs.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn blobs_here(&self) -> Result<Vec<Digest>, Store> {
        let folder = self.blobs();
        let unreadable = |source| Store::Read { path: folder.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            found.extend(Digest::from_hex(&name.to_string_lossy()));
        }
        Ok(found)
    }

    /// Unfinished downloads that nothing was added to for so long.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn stale_partials(&self, age: std::time::Duration) -> Result<Vec<PathBuf>, Store> {
        let folder = self.partials();
        let unreadable = |source| Store::Read { path: folder.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let touched = entry.metadata().and_then(|meta| meta.modified()).ok();
            if touched.and_then(|time| time.elapsed().ok()).is_some_and(|idle| idle >= age) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    /// All records with the time of their last use, seconds since the epoch.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn records_by_use(&self) -> Result<Vec<(Record, u64)>, Store> {
        let folder = self.records();
        let unreadable = |source| Store::Read { path: folder.clone(), source };
        let mut records = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let used = fs::metadata(&path).map_err(unreadable)?.mtime();
                if let Some(record) = read_record(&path)? {
                    records.push((record, u64::try_from(used).unwrap_or(0)));
                }
            }
        }
        records.sort_by_key(|(_, used)| *used);
        Ok(records)
    }

    /// All images, by name.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, Store> {
        let records = self.records_by_use()?;
        let mut images: Vec<Image> = records
            .into_iter()
            .map(|(record, last_used_s)| Image { last_used_s, ..record.summary() })
            .collect();
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }
}

fn read_record(path: &Path) -> Result<Option<Record>, Store> {
    let text = durable::read_optional(path)
        .map_err(|source| Store::Read { path: path.to_owned(), source })?;
    text.map(|text| {
        serde_json::from_str(&text).map_err(|source| Store::Parse { path: path.to_owned(), source })
    })
    .transpose()
}

impl Record {
    /// What the API shows.
    #[must_use]
    pub fn summary(&self) -> Image {
        Image {
            name: self.name.clone(),
            digest: self.manifest.clone(),
            size_bytes: self.size_bytes,
            ..Image::default()
        }
    }
}

#[cfg(test)]
pub(crate) fn empty_record() -> Record {
    let digest = Digest::of(b"").to_string();
    Record {
        name: "a".to_owned(),
        manifest: digest.clone(),
        config: digest,
        layers: vec![],
        size_bytes: 3,
        blobs: vec![],
        signed_by: None,
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
        Record { name: name.to_owned(), ..empty_record() }
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
    fn every_spelling_of_a_name_finds_its_image() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(folder.path()).unwrap();
        store.put(&record("local/hello")).unwrap();
        store.put(&record("Not A Reference")).unwrap();
        for name in ["local/hello", "local/hello:latest", "docker.io/local/hello"] {
            assert_eq!(store.get(name).unwrap(), Some(record("local/hello")), "{name}");
        }
        assert_eq!(store.get("quay.example/local/hello").unwrap(), None);
        assert_eq!(store.get("Not A Reference").unwrap(), Some(record("Not A Reference")));
        // A record of an older version lies under the name as it was given.
        let old = store.record_path("old/one");
        fs::write(&old, serde_json::to_vec(&record("old/one")).unwrap()).unwrap();
        assert_eq!(store.get("old/one").unwrap(), Some(record("old/one")));
        assert!(store.forget("old/one").unwrap());
        assert!(store.forget("docker.io/local/hello:latest").unwrap());
        assert!(!store.forget("local/hello").unwrap());
        assert_eq!(store.list().unwrap().len(), 1);
    }

    #[test]
    fn nothing_is_collected_while_somebody_is_at_work() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(folder.path()).unwrap();
        let one = store.begin_use();
        let two = store.clone().begin_use();
        drop(one);
        assert_eq!(store.alone(|| 1), None);
        drop(two);
        assert_eq!(store.alone(|| 1), Some(1));
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
