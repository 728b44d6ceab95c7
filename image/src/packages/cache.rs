//! The per-user cache of package files, their contents and remembered resolutions.
//!
//! | path below the cache directory | content |
//! |---|---|
//! | `debs/SHA256.deb` | package file |
//! | `unpacked/SHA256/` | its content |
//! | `resolved/KEY.json` | a [`Resolved`] |
//! | `apt/` | apt's lists and configuration |
//! | `scratch/` | work in progress; whatever an interrupted run left there is of no use |
//!
//! Entries appear by renaming a finished file or directory, so an interrupted run leaves none half made.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::package::{Package, Resolved};

/// Free space that fetching and unpacking a whole image's packages takes, with room to spare.
pub const NEEDED_SPACE_BYTES: u64 = 1 << 30;

const DIRECTORIES: [&str; 4] = ["debs", "unpacked", "resolved", "scratch"];

/// Why the cache could not be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CacheError {
    #[error("find the cache directory: neither XDG_CACHE_HOME nor HOME is set")]
    NoHome,
    #[error("{act} {path}")]
    Access { act: &'static str, path: PathBuf, source: io::Error },
    #[error("lock {path}")]
    Lock { path: PathBuf, source: rustix::io::Errno },
    #[error(
        "use {path}: {free_mb} MB are free, {needed_mb} MB are needed; free some space or set XDG_CACHE_HOME"
    )]
    Space { path: PathBuf, free_mb: u64, needed_mb: u64 },
    #[error("check {path}: its SHA-256 is {sha256}, which is not what the archive says")]
    Checksum { path: PathBuf, sha256: String },
    #[error("fetch package {name}: apt was content and did not leave its file")]
    NotFetched { name: String },
    #[error("unpack {path}: dpkg-deb {status}: {stderr}")]
    Unpack { path: PathBuf, status: std::process::ExitStatus, stderr: String },
    #[error("read {path}: not a remembered resolution; remove it")]
    Remembered { path: PathBuf, source: serde_json::Error },
}

/// A cache directory.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// Keeps other builds of the same user out of the cache while it lives.
#[derive(Debug)]
pub struct CacheLock {
    _file: File,
}

impl Cache {
    /// Opens the cache at `root`, making it where it is absent.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: PathBuf) -> Result<Self, CacheError> {
        for name in DIRECTORIES {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(access("make", &path))?;
        }
        Ok(Self { root })
    }

    /// Opens the user's own cache: `$XDG_CACHE_HOME/ferrite/packages`, `~/.cache/ferrite/packages`.
    ///
    /// # Errors
    /// There is no home directory, or the cache cannot be made.
    pub fn of_user() -> Result<Self, CacheError> {
        let from =
            |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = from("XDG_CACHE_HOME")
            .or_else(|| from("HOME").map(|home| home.join(".cache")))
            .ok_or(CacheError::NoHome)?;
        Self::open(base.join("ferrite/packages"))
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Waits until no other build uses the cache for fetching or unpacking.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub fn lock(&self) -> Result<CacheLock, CacheError> {
        let path = self.root.join("lock");
        let file = File::create(&path).map_err(access("make", &path))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|source| CacheError::Lock { path, source })?;
        Ok(CacheLock { _file: file })
    }

    /// Where apt keeps its lists.
    #[must_use]
    pub fn apt_dir(&self) -> PathBuf {
        self.root.join("apt")
    }

    /// A new directory for work in progress; removed when dropped.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> Result<tempfile::TempDir, CacheError> {
        let path = self.root.join("scratch");
        tempfile::Builder::new().tempdir_in(&path).map_err(access("make a directory in", &path))
    }

    /// Refuses to begin long work that would end for want of space.
    ///
    /// # Errors
    /// Less than [`NEEDED_SPACE_BYTES`] are free.
    pub fn check_space(&self) -> Result<(), CacheError> {
        check_space(&self.root, NEEDED_SPACE_BYTES)
    }

    /// The remembered answer to the request `key`.
    ///
    /// # Errors
    /// It exists and cannot be read.
    pub fn resolution(&self, key: &str) -> Result<Option<Resolved>, CacheError> {
        let path = self.resolution_path(key);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| CacheError::Remembered { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(access("read", &path)(error)),
        }
    }

    /// Remembers the answer to the request `key`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn remember(&self, key: &str, resolved: &Resolved) -> Result<(), CacheError> {
        let path = self.resolution_path(key);
        let text = serde_json::to_vec_pretty(resolved)
            .map_err(|source| CacheError::Remembered { path: path.clone(), source })?;
        write_whole(&path, &text).map_err(access("write", &path))
    }

    /// Whether the package's file is here.
    #[must_use]
    pub fn has(&self, package: &Package) -> bool {
        self.deb(package).is_file()
    }

    /// Takes in the fetched `files`, which must be exactly the `packages`.
    ///
    /// # Errors
    /// A file is none of them, a package is not among them, or a file cannot be moved.
    pub fn keep(&self, packages: &[&Package], files: &[PathBuf]) -> Result<(), CacheError> {
        for file in files {
            let sha256 = sha256_of(file).map_err(access("read", file))?;
            let Some(package) = packages.iter().find(|package| package.sha256 == sha256) else {
                return Err(CacheError::Checksum { path: file.clone(), sha256 });
            };
            let target = self.deb(package);
            fs::rename(file, &target).map_err(access("write", &target))?;
        }
        match packages.iter().find(|package| !self.has(package)) {
            Some(package) => Err(CacheError::NotFetched { name: package.name.clone() }),
            None => Ok(()),
        }
    }

    /// When the package was made, in seconds since the epoch: the date of its latest change, as its archive says.
    ///
    /// # Errors
    /// It cannot be read, or is no package.
    pub fn made_s(&self, package: &Package) -> Result<u64, CacheError> {
        let deb = self.deb(package);
        let mut head = [0; AR_HEAD_BYTES];
        let read = File::open(&deb).and_then(|mut file| io::Read::read_exact(&mut file, &mut head));
        read.map_err(access("read", &deb))?;
        date_of_archive(&head)
            .ok_or_else(|| access("read the date of", &deb)(io::ErrorKind::InvalidData.into()))
    }

    /// Directory with the package's content; unpacks it on first use.
    ///
    /// # Errors
    /// It cannot be unpacked.
    pub fn unpacked(&self, package: &Package) -> Result<PathBuf, CacheError> {
        let target = self.root.join("unpacked").join(&package.sha256);
        if target.is_dir() {
            return Ok(target);
        }
        let scratch = self.scratch()?;
        let content = scratch.path().join("content");
        self.unpack_into(package, &content)?;
        settle(&content, &target).map_err(access("make", &target))?;
        Ok(target)
    }

    /// Unpacks the package into `directory`, on top of whatever is there.
    ///
    /// # Errors
    /// It cannot be unpacked.
    pub fn unpack_into(&self, package: &Package, directory: &Path) -> Result<(), CacheError> {
        let deb = self.deb(package);
        let output = Command::new("dpkg-deb")
            .arg("--extract")
            .args([&deb, directory])
            .output()
            .map_err(access("run dpkg-deb on", &deb))?;
        if output.status.success() {
            return Ok(());
        }
        Err(CacheError::Unpack {
            path: deb,
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    fn deb(&self, package: &Package) -> PathBuf {
        self.root.join("debs").join(format!("{}.deb", package.sha256))
    }

    fn resolution_path(&self, key: &str) -> PathBuf {
        self.root.join("resolved").join(format!("{key}.json"))
    }
}

/// Beginning of an `ar(5)` archive, which a package is: eight bytes of magic, then the first member's header with a name of
/// sixteen bytes and a time of modification of twelve, in decimal digits and spaces.
const AR_HEAD_BYTES: usize = 8 + 16 + 12;

fn date_of_archive(head: &[u8; AR_HEAD_BYTES]) -> Option<u64> {
    let digits = head.strip_prefix(b"!<arch>\n")?.get(16..)?;
    std::str::from_utf8(digits).ok()?.trim_end().parse().ok()
}

/// Refuses to begin long work in the directory `path` that would end for want of space.
///
/// # Errors
/// Less than `needed_bytes` are free there.
pub fn check_space(path: &Path, needed_bytes: u64) -> Result<(), CacheError> {
    let Ok(space) = rustix::fs::statvfs(path) else { return Ok(()) };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free >= needed_bytes {
        return Ok(());
    }
    Err(CacheError::Space {
        path: path.to_owned(),
        free_mb: free >> 20,
        needed_mb: needed_bytes >> 20,
    })
}

/// Makes the finished directory `made` appear as `target`; one that another build put there first stays.
///
/// # Errors
/// It cannot be renamed.
pub fn settle(made: &Path, target: &Path) -> io::Result<()> {
    match fs::rename(made, target) {
        Err(_) if target.is_dir() => Ok(()),
        result => result,
    }
}

/// Writes `bytes` to a file that appears at `path` only when it is whole.
///
/// # Errors
/// It cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(directory)?;
    fs::write(file.path(), bytes)?;
    file.persist(path)?;
    Ok(())
}

/// SHA-256 of a file, lower-case hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = io::Read::read(&mut file, &mut buffer)?;
        if count == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
}

/// SHA-256 of bytes, lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn access<'path>(
    act: &'static str,
    path: &'path Path,
) -> impl FnOnce(io::Error) -> CacheError + 'path {
    move |source| CacheError::Access { act, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packages_date_is_that_of_its_first_member() {
        let head = b"!<arch>\ndebian-binary   1768953600  ";
        assert_eq!(date_of_archive(head), Some(1_768_953_600));
        assert_eq!(date_of_archive(b"!<arch>\ndebian-binary   17689x3600  "), None);
        assert_eq!(date_of_archive(b"PK\x03\x04....debian-binary   1768953600  "), None);
    }
}
