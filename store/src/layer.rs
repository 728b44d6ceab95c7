//! Unpacked layers: one folder per layer and what lies below it, named as [`Stack`](super::stack::Stack) says, made once
//! and shared by all images.
//!
//! A layer is unpacked into `tmp-…`, its file system flushed, and only then renamed: a power cut leaves a whole layer or
//! none.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ferrite_files::quarantine::Quarantine;
use ferrite_files::small::open_file;
use ferrite_files::{durable, walk};
use rustix::fs::XattrFlags;

use super::digest::Digest;
use super::far_ids::FarIds;
use super::pipeline::{self, Pipeline};
use super::stack::Step;
use super::unpack::below::Below;
use super::unpack::{Limits, Unpack};

/// Largest tar of a layer, largest file and most entries. Larger than any image in use, smaller than what fills a node.
pub const LIMITS: Limits = Limits {
    tar_max_bytes: 32 << 30,
    file_max_bytes: 32 << 30,
    entries_max: 2_000_000,
    // Some minutes' worth. Honest layers come folder by folder, and take less than one for an entry.
    steps_max: 50_000_000,
};
/// What any blob may decompress to: honest layers full of zeros exist, and are small.
const FREE_BYTES: u64 = 1 << 30;
/// What a blob may decompress to beyond that, for each of its bytes. Programs and texts shrink to a third or a tenth.
const RATIO_MAX: u64 = 100;

mod owners;

/// Prefix of folders that are being filled.
const UNFINISHED: &str = "tmp-";

/// Attribute that only a layer has which was unpacked to its end: the bytes of its files, and when its root was last
/// changed. Containers do not see `trusted` ones. Ordinary users, who run tests, may not set those and have the other.
/// It was `trusted.ferrite.bytes` when layers were unpacked without a look at what lies below: those are unpacked again.
const MARKS: [&str; 2] = ["trusted.ferrite.layer", "user.ferrite.layer"];
/// Longest mark.
const MARK_MAX_BYTES: usize = 80;

/// Distinguishes layers unpacked at the same time by this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A layer could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Layer {
    /// A folder of the store failed.
    #[error("prepare {}", path.display())]
    Prepare {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The blob could not be opened or decompressed.
    #[error("decompress layer {digest}")]
    Decompress {
        /// Digest of the layer's tar.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// The tar could not be applied.
    #[error("unpack layer {digest}")]
    Unpack {
        /// Digest of the layer's tar.
        digest: Digest,
        /// Why.
        source: Unpack,
    },
    /// A layer below it is gone.
    #[error("unpack layer {digest}: the layer {below} below it is not here to its end any more")]
    Below {
        /// Digest of the layer's tar.
        digest: Digest,
        /// Name of the other one's folder.
        below: Digest,
    },
    /// The tar is another than the image's configuration says.
    #[error("refuse layer {expected}: its content has the digest {found}")]
    RefuseContent {
        /// What the configuration says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
}

/// The folder of all layers.
#[derive(Debug, Clone)]
pub struct Layers {
    root: PathBuf,
    quarantine: Quarantine,
    /// Folders that earlier agents left half filled or half removed.
    left: Arc<[PathBuf]>,
    /// Layers that somebody unpacks: who wants the same one meanwhile waits.
    turns: Arc<Mutex<HashMap<Digest, Arc<Mutex<()>>>>>,
    problems: Arc<[String]>,
}

impl Layers {
    /// Opens the folder and looks for what interrupted work left there: see [`Layers::clean`]. A node must start
    /// whatever is wrong with it: [`Layers::problems`] says so.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        let quarantine = Quarantine::beside(root);
        let problems = quarantine.make_folder(root).into_iter().collect();
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let unfinished =
            |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let left = entries.filter(unfinished).map(|entry| entry.path()).collect();
        Self { root: root.to_owned(), quarantine, left, turns: Arc::default(), problems }
    }

    /// What was wrong when it was opened.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Removes what an earlier agent left unfinished. Takes as long as that is large.
    pub fn clean(&self) {
        for folder in self.left.iter() {
            self.throw_away(folder);
        }
    }

    /// Removes a folder that is nobody's any more, or sets it aside.
    pub(super) fn throw_away(&self, folder: &Path) {
        if let Err(error) = self.quarantine.remove(folder) {
            // Met again at the next start.
            tracing::error!(error = ferrite_schema::chain(&error), "layer-not-removed");
        }
    }

    /// A name for a folder of this process.
    fn unfinished(&self, what: &str) -> PathBuf {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        // After a boot the same process has the same number.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        self.root.join(format!("{UNFINISHED}{what}{now}-{process}-{number}"))
    }

    /// The folder of a layer, by its name.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join(digest.hex())
    }

    /// The folder with all of them.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Bytes of the layer's files, as they were counted when it was unpacked; counted again where that was not noted.
    #[must_use]
    pub fn bytes(&self, digest: &Digest) -> u64 {
        let path = self.path(digest);
        Mark::of(&path).map_or_else(|| walk::count(&path).bytes, |mark| mark.bytes)
    }

    /// Owners of the layer's files that not every unit has, as they were noted when it was unpacked; looked for where they were
    /// not.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn far_ids(&self, digest: &Digest) -> io::Result<FarIds> {
        owners::of(&self.path(digest))
    }

    /// Whether the layer is here, unpacked to its end, and its root is as it was then.
    #[must_use]
    pub fn is_whole(&self, digest: &Digest) -> bool {
        let path = self.path(digest);
        let Ok(meta) = fs::symlink_metadata(&path) else { return false };
        let changed = Changed { s: meta.mtime(), ns: meta.mtime_nsec() };
        meta.is_dir() && Mark::of(&path).is_some_and(|mark| mark.changed == changed)
    }

    /// Names of all layers that are here.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn here(&self) -> io::Result<Vec<Digest>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            found.extend(Digest::from_hex(&entry?.file_name().to_string_lossy()));
        }
        Ok(found)
    }

    /// Takes a layer out of use at once; its folder, of which the name is returned, is to be removed by the caller,
    /// or by the next start.
    ///
    /// # Errors
    /// The layer stays.
    pub fn doom(&self, digest: &Digest) -> io::Result<PathBuf> {
        let folder = self.unfinished("gone-");
        fs::rename(self.path(digest), &folder)?;
        Ok(folder)
    }

    /// Unpacks `blob`, compressed or not, unless the layer is there. Those below it must be.
    ///
    /// # Errors
    /// The layer is not there, and nothing of it is left.
    pub fn ensure(&self, step: &Step<'_>, blob: &Path) -> Result<(), Layer> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(*step.folder).or_default())
        };
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_whole(step.folder) {
            return Ok(());
        }
        self.set_aside(step.folder)?;
        let folder = self.unfinished("");
        let result = self.fill(step, blob, &folder);
        if result.is_err() {
            // Reported is why the layer failed.
            self.throw_away(&folder);
        }
        result
    }

    /// What lies below a layer.
    fn below(&self, step: &Step<'_>) -> Result<Below, Layer> {
        let mut below = Below::default();
        for path in step.below.iter().map(|name| self.path(name)) {
            below.add(&path).map_err(|source| Layer::Prepare { path, source })?;
        }
        Ok(below)
    }

    /// Makes room for a layer where something else has its name. What was there is removed at the next start: a
    /// container may run on it.
    fn set_aside(&self, digest: &Digest) -> Result<(), Layer> {
        match self.doom(digest) {
            Ok(folder) => {
                tracing::warn!(%digest, aside = %folder.display(), "layer-not-whole");
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(Layer::Prepare { path: self.path(digest), source }),
        }
    }

    fn fill(&self, step: &Step<'_>, blob: &Path, folder: &Path) -> Result<(), Layer> {
        let (digest, below) = (step.tar, self.below(step)?);
        let prepare = |source| Layer::Prepare { path: folder.to_owned(), source };
        fs::create_dir(folder).map_err(prepare)?;
        let root = File::open(folder).map_err(prepare)?;
        // The lowest layer may have no entry for its root.
        rustix::fs::fchmod(&root, rustix::fs::Mode::from_raw_mode(0o755))
            .map_err(|errno| prepare(errno.into()))?;
        let decompressing = |source| Layer::Decompress { digest: *digest, source };
        let tar = decompress(blob).map_err(decompressing)?;
        let blob_bytes = fs::metadata(blob).map_err(decompressing)?.len();
        let unpacked = pipeline::run(tar, root.as_fd(), &below, &limits(blob_bytes));
        let (found, unpacked) = unpacked.map_err(|error| match error {
            Pipeline::Decompress(source) => decompressing(source),
            Pipeline::Unpack(source) => Layer::Unpack { digest: *digest, source },
            Pipeline::Begin(source) => prepare(source),
        })?;
        if found != *digest {
            return Err(Layer::RefuseContent { expected: *digest, found });
        }
        // Where one below went away meanwhile, this one may be another than it should be.
        if let Some(gone) = step.below.iter().find(|below| !self.is_whole(below)) {
            return Err(Layer::Below { digest: *digest, below: *gone });
        }
        owners::note(&root, &unpacked.far);
        Mark::set(&root, unpacked.bytes).map_err(prepare)?;
        rustix::fs::syncfs(&root).map_err(|errno| prepare(errno.into()))?;
        let place = self.path(step.folder);
        if fs::symlink_metadata(&place).is_ok_and(|meta| !meta.is_dir()) {
            // No layer, whatever it is.
            self.throw_away(&place);
        }
        fs::rename(folder, place).and_then(|()| durable::sync_folder(&self.root)).map_err(prepare)
    }
}

/// When a folder was last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Changed {
    s: i64,
    ns: i64,
}

/// What a layer's folder says about itself.
#[derive(Debug)]
struct Mark {
    bytes: u64,
    changed: Changed,
}

impl Mark {
    fn of(folder: &Path) -> Option<Self> {
        let mut text = [0; MARK_MAX_BYTES];
        let read = |name: &&str| rustix::fs::lgetxattr(folder, *name, &mut text[..]).ok();
        let length = MARKS.iter().find_map(read)?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        let mut words = text.split(' ').map(str::parse::<i64>);
        let bytes = u64::try_from(words.next()?.ok()?).ok()?;
        let changed = Changed { s: words.next()?.ok()?, ns: words.next()?.ok()? };
        Some(Self { bytes, changed })
    }

    /// Marks a folder that is not changed any more.
    fn set(folder: &File, bytes: u64) -> io::Result<()> {
        let meta = folder.metadata()?;
        let text = format!("{bytes} {} {}", meta.mtime(), meta.mtime_nsec());
        let set =
            |name: &str| rustix::fs::fsetxattr(folder, name, text.as_bytes(), XattrFlags::empty());
        let [trusted, of_user] = MARKS;
        Ok(set(trusted).or_else(|_not_permitted| set(of_user))?)
    }
}

/// Limits for a blob of this size: a small one that becomes huge is a bomb, whatever its absolute size.
fn limits(blob_bytes: u64) -> Limits {
    let by_ratio = FREE_BYTES.saturating_add(blob_bytes.saturating_mul(RATIO_MAX));
    Limits { tar_max_bytes: LIMITS.tar_max_bytes.min(by_ratio), ..LIMITS }
}

/// Opens a blob; its first bytes, not what a document calls it, say how it is compressed.
pub(super) fn decompress(blob: &Path) -> io::Result<Box<dyn Read>> {
    let open = || io::Result::Ok(open_file(blob)?.ok_or(io::ErrorKind::NotFound)?);
    let compression = compression(&mut open()?)?;
    let file = BufReader::with_capacity(64 * 1024, open()?);
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
        Compression::None => Box::new(file),
    })
}

/// How a blob or an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// As the first bytes say.
pub(super) fn compression(file: &mut impl Read) -> io::Result<Compression> {
    let mut magic = [0; 4];
    let length = file.read(&mut magic)?;
    Ok(match magic.get(..length).unwrap_or_default() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // A frame, or one to be skipped, of which there are sixteen kinds.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Compression::Zstd,
        _ => Compression::None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Stack;

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        // Whoever runs the test: anybody else's files are root's alone to make.
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        header.set_mtime(0);
        builder.append_data(&mut header, "a", &b"abc"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    fn ensure(
        compressed: &[u8],
        digest: &Digest,
    ) -> (tempfile::TempDir, Layers, Result<(), Layer>) {
        let folder = tempfile::tempdir().unwrap();
        let layers = Layers::open(&folder.path().join("layers"));
        let blob = folder.path().join("blob");
        fs::write(&blob, compressed).unwrap();
        let result = lowest(&layers, digest, &blob);
        (folder, layers, result)
    }

    fn lowest(layers: &Layers, digest: &Digest, blob: &Path) -> Result<(), Layer> {
        layers.ensure(&Stack::new(vec![*digest]).steps().next().unwrap(), blob)
    }

    #[test]
    fn every_compression_gives_the_same_layer() {
        let plain = tar();
        let digest = Digest::of(&plain);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, &plain).unwrap();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        for blob in [plain.clone(), gzip.finish().unwrap(), zstd] {
            let (_folder, layers, result) = ensure(&blob, &digest);
            result.unwrap();
            assert_eq!(fs::read(layers.path(&digest).join("a")).unwrap(), b"abc");
        }
    }

    #[test]
    fn a_layer_that_ends_with_its_last_files_data_is_whole() {
        let whole = tar();
        // A header's block and three bytes, as `umoci insert` leaves it.
        let cut = &whole[..512 + 3];
        let (_folder, layers, result) = ensure(cut, &Digest::of(cut));
        result.unwrap();
        assert_eq!(fs::read(layers.path(&Digest::of(cut)).join("a")).unwrap(), b"abc");
    }

    #[test]
    fn other_content_than_announced_is_refused_and_removed() {
        let (folder, layers, result) = ensure(&tar(), &Digest::of(b"other"));
        assert!(matches!(result, Err(Layer::RefuseContent { .. })), "{result:?}");
        assert!(!layers.path(&Digest::of(b"other")).exists());
        assert_eq!(fs::read_dir(folder.path().join("layers")).unwrap().count(), 0);
    }

    #[test]
    fn a_truncated_layer_is_refused_and_removed() {
        let zstd = zstd::encode_all(&tar()[..], 1).unwrap();
        let (folder, _, result) = ensure(&zstd[..zstd.len() - 5], &Digest::of(&tar()));
        assert!(result.is_err());
        assert_eq!(fs::read_dir(folder.path().join("layers")).unwrap().count(), 0);
    }

    /// A name, and how a layer becomes it.
    type Spoil = (&'static str, fn(&Path));

    #[test]
    fn a_layer_that_is_not_whole_is_unpacked_again() {
        let (digest, blob) = (Digest::of(&tar()), tar());
        let spoil: [Spoil; 4] = [
            ("emptied", |path| fs::remove_file(path.join("a")).unwrap()),
            ("another folder", |path| {
                ferrite_files::removal::remove(path).unwrap();
                fs::create_dir(path).unwrap();
            }),
            ("a file", |path| {
                ferrite_files::removal::remove(path).unwrap();
                fs::write(path, "x").unwrap();
            }),
            ("a link", |path| {
                fs::rename(path, path.with_extension("elsewhere")).unwrap();
                std::os::unix::fs::symlink(path.with_extension("elsewhere"), path).unwrap();
            }),
        ];
        for (what, spoil) in spoil {
            let (folder, layers, result) = ensure(&blob, &digest);
            result.unwrap();
            assert!(layers.is_whole(&digest), "{what}");
            spoil(&layers.path(&digest));
            assert!(!layers.is_whole(&digest), "{what}");
            lowest(&layers, &digest, &folder.path().join("blob")).unwrap();
            assert!(layers.is_whole(&digest), "{what}");
            assert_eq!(fs::read(layers.path(&digest).join("a")).unwrap(), b"abc", "{what}");
        }
    }

    #[test]
    fn a_layer_that_an_older_version_unpacked_is_unpacked_again() {
        let (folder, layers, result) = ensure(&tar(), &Digest::of(&tar()));
        result.unwrap();
        let path = layers.path(&Digest::of(&tar()));
        fs::write(path.join("b"), "not hidden by what lies below").unwrap();
        let meta = fs::metadata(&path).unwrap();
        let mark = format!("3 {} {}", meta.mtime(), meta.mtime_nsec());
        for name in MARKS {
            // The one of the two that is there.
            if rustix::fs::lgetxattr(&path, name, &mut [0_u8; MARK_MAX_BYTES][..]).is_ok() {
                rustix::fs::removexattr(&path, name).unwrap();
            }
        }
        let older = "user.ferrite.bytes";
        rustix::fs::setxattr(&path, older, mark.as_bytes(), XattrFlags::empty()).unwrap();
        assert!(!layers.is_whole(&Digest::of(&tar())));
        lowest(&layers, &Digest::of(&tar()), &folder.path().join("blob")).unwrap();
        assert!(layers.is_whole(&Digest::of(&tar())));
        assert!(path.join("a").exists() && !path.join("b").exists());
    }

    #[test]
    fn an_unfinished_layer_is_removed_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("tmp-1-0/usr")).unwrap();
        let layers = Layers::open(folder.path());
        fs::create_dir(layers.unfinished("")).unwrap();
        layers.clean();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only this process's own");
        assert!(!folder.path().join("tmp-1-0").exists());
    }
}
