//! The image store: blobs by digest, and a record per name.
//!
//! Blobs are written to `staging/`, checked, flushed and renamed, so that a name in `blobs/sha256/` always
//! stands for whole and right content. A record is written only after everything it names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_files::quarantine::{Quarantine, SetAside};
use ferrite_files::small::{open_file, read_small};
use ferrite_files::{durable, own};
use ferrite_schema::reference::{DOCKER_HUB, NotAReference, Reference};

use super::digest::{Digest, Hashing, NotADigest};
use super::documents::DOCUMENT_MAX_BYTES;
use super::idle::idle;

mod ledger;
mod record;
mod records;

use self::ledger::Ledger;
pub use self::ledger::{Census, Claim, InUse, Lease};
pub use self::record::Record;
#[cfg(test)]
pub(crate) use self::record::empty_record;

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub enum Store {
    /// A folder could not be flushed.
    #[error("flush {}", path.display())]
    Flush {
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
    /// A record cannot be written as JSON.
    #[error("write the record {}", path.display())]
    Encode {
        /// The record.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A record that cannot be understood could not be set aside.
    #[error(transparent)]
    SetAside(#[from] SetAside),
    /// A record names something that is not a digest.
    #[error(transparent)]
    Digest(#[from] NotADigest),
    /// A name that cannot be one of an image.
    #[error(transparent)]
    Name(#[from] NotAReference),
}

/// The store's folders.
#[derive(Debug, Clone)]
pub struct ImageStore {
    root: PathBuf,
    default_registry: String,
    ledger: Ledger,
    quarantine: Quarantine,
    problems: Arc<[String]>,
}

impl ImageStore {
    /// Opens the store in `root`, making its folders and removing what an interrupted import left. A node whose store
    /// is not as it should be must start all the same: [`ImageStore::problems`] says what is wrong.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        let quarantine = Quarantine::beside(root);
        let mut store = Self {
            root: root.to_owned(),
            default_registry: DOCKER_HUB.to_owned(),
            ledger: Ledger::default(),
            quarantine: quarantine.clone(),
            problems: Arc::default(),
        };
        let staging = store.staging();
        let stays = quarantine.remove(&staging).err();
        let mut problems: Vec<String> =
            stays.iter().map(|error| ferrite_schema::chain(error)).collect();
        for folder in [root.to_owned(), staging, store.partials(), store.blobs(), store.records()] {
            problems.extend(quarantine.make_folder(&folder));
        }
        store.problems = problems.into();
        store
    }

    /// What was wrong when it was opened.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
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
        self.ledger.begin_use()
    }

    /// The record of a name, with a lease on everything that it stands for.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn lease(&self, name: &str) -> Result<Option<(Record, Lease)>, Store> {
        self.ledger.lease(|| {
            let Some(record) = self.get(name)? else { return Ok(None) };
            let mut claim = record.claim()?;
            claim.names.insert(self.key(name));
            Ok(Some((record, claim)))
        })
    }

    /// Notes that somebody who is being counted may not have been seen: a unit names this image from now on.
    pub fn mention(&self, name: &str) {
        self.ledger.mention(self.key(name));
    }

    /// Begins to look who needs what.
    #[must_use]
    pub fn census(&self) -> Census {
        self.ledger.census()
    }

    /// Runs `work` while nobody has anything in the store that no record names, with what is leased; `None` where somebody
    /// has. `work` must be short: who wants to begin waits for it.
    pub fn alone<T>(&self, work: impl FnOnce(&Claim) -> T) -> Option<T> {
        self.ledger.alone(work)
    }

    /// Runs `work` unless the image is leased, or was in a census that goes on; nobody leases it meanwhile.
    pub fn unless_leased<T>(&self, name: &str, work: impl FnOnce() -> T) -> Option<T> {
        self.ledger.unless_claimed(&self.key(name), work)
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
            own::rename(file, &self.blob(digest))
                .map_err(|source| Store::Keep { digest: *digest, source })?;
        }
        let blobs = self.blobs();
        durable::sync_folder(&blobs).map_err(|source| Store::Flush { path: blobs, source })
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
            let bytes = read_small(&path, max_bytes)?.ok_or(io::ErrorKind::NotFound)?;
            if Digest::of(&bytes) == *digest {
                Ok(bytes)
            } else {
                Err(io::Error::other("content does not match the digest"))
            }
        };
        read().map_err(|source| Store::Read { path: path.clone(), source })
    }

    /// Whether the blob is here. A small one is read and hashed; of a large one the length must fit, and unpacking it
    /// checks every byte.
    #[must_use]
    pub fn holds(&self, digest: &Digest, size_bytes: u64) -> bool {
        let length =
            fs::metadata(self.blob(digest)).map(|meta| meta.is_file().then_some(meta.len()));
        match length {
            Ok(Some(length)) if length != size_bytes => false,
            Ok(Some(length)) if length <= DOCUMENT_MAX_BYTES => {
                self.read_document(digest, DOCUMENT_MAX_BYTES).is_ok()
            }
            Ok(Some(_)) => true,
            Ok(None) | Err(_) => false,
        }
    }

    /// Reads a whole blob; `false` where its bytes are not, or no longer, what its name says.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_right(&self, digest: &Digest) -> Result<bool, Store> {
        let path = self.blob(digest);
        let hash = || {
            let mut reader = Hashing::new(open_file(&path)?.ok_or(io::ErrorKind::NotFound)?);
            io::copy(&mut reader, &mut io::sink())?;
            Ok(reader.finish().0 == *digest)
        };
        hash().map_err(|source| Store::Read { path: path.clone(), source })
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
    pub fn stale_partials(&self, age: Duration) -> Result<Vec<PathBuf>, Store> {
        let folder = self.partials();
        let unreadable = |source| Store::Read { path: folder.clone(), source };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let touched = entry.metadata().and_then(|meta| meta.modified()).ok();
            let touched = touched.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            if touched.is_some_and(|touched| idle(now, touched) >= age) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_import_is_forgotten_and_a_changed_blob_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(folder.path());
        fs::write(store.staging().join("half"), b"x").unwrap();
        let store = ImageStore::open(folder.path());
        assert_eq!(fs::read_dir(store.staging()).unwrap().count(), 0);
        let file = store.staging().join("whole");
        fs::write(&file, b"content").unwrap();
        let digest = Digest::of(b"content");
        store.keep(&[(digest, file)]).unwrap();
        assert_eq!(store.read_document(&digest, 100).unwrap(), b"content");
        fs::write(store.blob(&digest), b"Content").unwrap();
        assert!(store.read_document(&digest, 100).is_err());
    }
}
