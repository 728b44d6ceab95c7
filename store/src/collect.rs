//! What the store needs no longer: who uses what, how large it is, and how it is removed.
//!
//! The order makes every moment safe for a power cut: first the name goes, durably; then layers get a name that the
//! next start removes; then blobs. What is left over in between is nobody's and found by the next sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_files::removal;
use ferrite_schema::api::{Image, Pruned};
use ferrite_schema::shim;

use super::digest::Digest;
use super::documents::{self, DOCUMENT_MAX_BYTES, Document};
use super::elsewhere::Elsewhere;
use super::idle::{FRESH, idle};
use super::layer::Layers;
use super::store::{Census, Claim, ImageStore, Record, Store};

/// An unfinished download that nothing was added to for so long is given up.
const PARTIAL_STAYS: Duration = Duration::from_secs(7 * 24 * 3600);
/// Nothing was collected.
#[derive(Debug, thiserror::Error)]
pub enum Collect {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Store),
    /// A folder failed.
    #[error("remove from {}", path.display())]
    Remove {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody pulls or imports.
    #[error("collect images while one is being pulled or imported; try again later")]
    Busy,
    /// Nobody can say that no unit needs it.
    #[error("remove image {name}: a unit may use it that is not known here: {why}")]
    Unknown {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// Somebody uses the image this very moment.
    #[error(
        "remove image {name}: a unit is being started with it, or it is being exported; try again later"
    )]
    Leased {
        /// Its name.
        name: String,
    },
    /// What a shim was asked for cannot be read.
    #[error("read {}, which says what a container runs on", path.display())]
    Look {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Units name the image.
    #[error("remove image {name}: units use it: {units}")]
    InUse {
        /// Its name.
        name: String,
        /// Their names.
        units: String,
    },
    /// There is none.
    #[error("find image {name}")]
    Find {
        /// Its name.
        name: String,
    },
}

/// Who needs what.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Units by the full name of the image that they name.
    pub units: BTreeMap<String, Vec<String>>,
    /// Folders of layers that a shim has mounted or is about to.
    pub layers: BTreeSet<Digest>,
    /// Why other units may need images: then none is forgotten.
    pub unknown: Option<String>,
    /// What other machines need of what was imported here.
    pub elsewhere: Elsewhere,
    /// Remembers who began to use what since the first look.
    _census: Option<Arc<Census>>,
}

impl Needs {
    /// What `units`, pairs of unit and image, name, and what the shims in `run` were asked for. The census was begun before
    /// somebody looked which units there are.
    ///
    /// # Errors
    /// What a shim was asked for cannot be read: it may be any layer.
    pub fn new(
        images: &ImageStore,
        census: Census,
        units: &[(String, String)],
        run: &Path,
    ) -> Result<Self, Collect> {
        let mut needs = Self { _census: Some(Arc::new(census)), ..Self::default() };
        for (unit, image) in units {
            let users = needs.units.entry(images.key(image)).or_default();
            // The document that it runs by may name the same one.
            if !users.contains(unit) {
                users.push(unit.clone());
            }
        }
        let looking = |source| Collect::Look { path: run.to_owned(), source };
        let folders = match fs::read_dir(run) {
            Ok(folders) => folders,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(needs),
            Err(error) => return Err(looking(error)),
        };
        for entry in folders {
            let path = entry.map_err(looking)?.path().join(shim::REQUEST);
            let layers = mounted(&path).map_err(|source| Collect::Look { path, source })?;
            needs.layers.extend(layers);
        }
        Ok(needs)
    }

    fn refuse_unknown(&self, name: &str) -> Result<(), Collect> {
        match &self.unknown {
            Some(why) => Err(Collect::Unknown { name: name.to_owned(), why: why.clone() }),
            None => Ok(()),
        }
    }
}

/// The layers of a request; without one, nothing was mounted.
fn mounted(request: &Path) -> io::Result<Vec<Digest>> {
    let text = match fs::read(request) {
        Ok(text) => text,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let request: serde_json::Value = serde_json::from_slice(&text)?;
    let folders = request.get("layers").and_then(|layers| layers.as_array()).cloned();
    let folders = folders.unwrap_or_default();
    let names = folders.iter().filter_map(|folder| Path::new(folder.as_str()?).file_name());
    Ok(names.filter_map(|name| Digest::from_hex(&name.to_string_lossy()).ok()).collect())
}

/// Everything that a record stands for.
struct Parts {
    blobs: BTreeSet<Digest>,
    /// Their folders' names.
    layers: BTreeSet<Digest>,
}

fn parts(images: &ImageStore, record: &Record) -> Result<Parts, Store> {
    let mut blobs = BTreeSet::new();
    let manifest: Digest = record.manifest.parse()?;
    blobs.insert(manifest);
    blobs.insert(record.config.parse()?);
    for blob in &record.blobs {
        blobs.insert(blob.parse()?);
    }
    // Records of older versions do not say which blobs are theirs.
    if record.blobs.is_empty() && !record.layers.is_empty() {
        let bytes = match images.read_document(&manifest, DOCUMENT_MAX_BYTES) {
            // Without its manifest nobody can say, and nobody can use them: the unpacked layers are what runs.
            Err(Store::Read { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::Other) =>
            {
                Vec::new()
            }
            other => other?,
        };
        if let Ok(Document::Manifest(manifest)) = documents::parse(&bytes, None) {
            blobs.extend(manifest.layers.iter().map(|blob| blob.digest));
        }
    }
    let layers = record.stack()?.folders().iter().copied().collect();
    Ok(Parts { blobs, layers })
}

fn blob_bytes(images: &ImageStore, digest: &Digest) -> u64 {
    fs::metadata(images.blob(digest)).map_or(0, |meta| meta.len())
}

/// All images with their sizes and users.
///
/// # Errors
/// A record cannot be read.
pub fn list(images: &ImageStore, layers: &Layers, needs: &Needs) -> Result<Vec<Image>, Store> {
    let (records, _) = images.records_read()?;
    let mut all = Vec::new();
    let (mut blob_users, mut layer_users) = (BTreeMap::new(), BTreeMap::new());
    for (record, used) in &records {
        let parts = parts(images, record)?;
        parts.blobs.iter().for_each(|blob| *blob_users.entry(*blob).or_insert(0_u32) += 1);
        parts.layers.iter().for_each(|layer| *layer_users.entry(*layer).or_insert(0_u32) += 1);
        all.push((record, *used, parts));
    }
    let mut listed: Vec<Image> = all
        .iter()
        .map(|(record, last_used_s, parts)| {
            let mut image = Image {
                last_used_s: *last_used_s,
                units: needs.units.get(&images.key(&record.name)).cloned().unwrap_or_default(),
                ..record.summary()
            };
            let mut count = |alone: bool, bytes: u64| {
                let sum = if alone { &mut image.own_bytes } else { &mut image.shared_bytes };
                *sum = sum.saturating_add(bytes);
            };
            for blob in &parts.blobs {
                count(blob_users.get(blob) == Some(&1), blob_bytes(images, blob));
            }
            for layer in &parts.layers {
                count(layer_users.get(layer) == Some(&1), layers.bytes(layer));
            }
            image
        })
        .collect();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listed)
}

/// Forgets one image and removes what only it needed.
///
/// # Errors
/// It is not there, or units name it, or may.
pub fn remove(
    images: &ImageStore,
    layers: &Layers,
    needs: &Needs,
    name: &str,
) -> Result<Pruned, Collect> {
    if let Some(units) = needs.units.get(&images.key(name)) {
        return Err(Collect::InUse { name: name.to_owned(), units: units.join(", ") });
    }
    needs.refuse_unknown(name)?;
    let forgotten = images.unless_leased(name, || images.forget(name));
    if !forgotten.ok_or_else(|| Collect::Leased { name: name.to_owned() })?? {
        return Err(Collect::Find { name: name.to_owned() });
    }
    // Where somebody pulls just now, the next sweep takes what is left.
    let freed_bytes = match sweep(images, layers, needs) {
        Err(Collect::Busy) => 0,
        other => other?,
    };
    Ok(Pruned { images: vec![name.to_owned()], freed_bytes })
}

/// Forgets images that no unit names, and no other machine may need, the longest unused first, while `enough` says no; removes what is nobody's.
///
/// # Errors
/// See [`Collect`]. What was forgotten so far stays so.
pub fn prune(
    images: &ImageStore,
    layers: &Layers,
    needs: &Needs,
    enough: impl Fn() -> bool,
) -> Result<Pruned, Collect> {
    let mut pruned = Pruned { images: Vec::new(), freed_bytes: sweep(images, layers, needs)? };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for (record, used) in images.records_by_use()? {
        let idle = idle(now, Duration::from_secs(used));
        let named = needs.units.contains_key(&images.key(&record.name));
        if named || idle < FRESH || needs.elsewhere.may_need(images, &record) {
            continue;
        }
        if enough() {
            break;
        }
        needs.refuse_unknown(&record.name)?;
        // Somebody began to use it since `needs` was looked up.
        let Some(forgotten) = images.unless_leased(&record.name, || images.forget(&record.name))
        else {
            continue;
        };
        forgotten?;
        let freed = sweep(images, layers, needs)?;
        tracing::info!(image = record.name, freed_bytes = freed, "image-collected");
        pruned.images.push(record.name);
        pruned.freed_bytes = pruned.freed_bytes.saturating_add(freed);
    }
    Ok(pruned)
}

/// Removes what somebody made who then failed, so far as no record needs it and nobody leases it. No shim can have mounted
/// what no record ever named. Does nothing while others are at work: they may be counting on it.
///
/// # Errors
/// See [`Collect`].
pub fn discard(images: &ImageStore, layers: &Layers, made: &Claim) -> Result<(), Collect> {
    let work = |leased: &Claim| -> Result<Vec<PathBuf>, Collect> {
        let mut left = made.clone();
        let records = images.records_by_use()?;
        let named = records.iter().map(|(record, _)| parts(images, record));
        let named = named.collect::<Result<Vec<_>, _>>()?;
        let kept = named.iter().map(|parts| (&parts.blobs, &parts.layers));
        for (blobs, layers) in kept.chain([(&leased.blobs, &leased.layers)]) {
            left.blobs.retain(|blob| !blobs.contains(blob));
            left.layers.retain(|layer| !layers.contains(layer));
        }
        let removing = |source| Collect::Remove { path: layers.root().to_owned(), source };
        let here = left.layers.iter().filter(|layer| layers.path(layer).exists());
        let doomed =
            here.map(|layer| layers.doom(layer).map_err(removing)).collect::<Result<_, _>>()?;
        for blob in &left.blobs {
            delete(&images.blob(blob))?;
        }
        Ok(doomed)
    };
    take_away(layers, &images.alone(work).ok_or(Collect::Busy)??);
    Ok(())
}

/// Removes blobs and layers that no record and no shim needs. Returns how many bytes that freed.
///
/// # Errors
/// See [`Collect`]. A record that cannot be read keeps everything.
pub fn sweep(images: &ImageStore, layers: &Layers, needs: &Needs) -> Result<u64, Collect> {
    let work = |leased: &Claim| -> Result<(u64, Vec<PathBuf>), Collect> {
        let layers_kept = needs.layers.union(&leased.layers).copied().collect();
        let mut keep = Parts { blobs: leased.blobs.clone(), layers: layers_kept };
        for (record, _) in images.records_by_use()? {
            let parts = parts(images, &record)?;
            keep.blobs.extend(parts.blobs);
            // What is not whole, or was unpacked by an older version, is of no use but to who has it mounted.
            keep.layers.extend(parts.layers.iter().filter(|layer| layers.is_whole(layer)));
        }
        let mut freed = 0_u64;
        let mut doomed = Vec::new();
        let removing = |source| Collect::Remove { path: layers.root().to_owned(), source };
        for layer in layers.here().map_err(removing)? {
            if !keep.layers.contains(&layer) {
                freed = freed.saturating_add(layers.bytes(&layer));
                doomed.push(layers.doom(&layer).map_err(removing)?);
            }
        }
        for blob in images.blobs_here()? {
            if !keep.blobs.contains(&blob) {
                freed = freed.saturating_add(blob_bytes(images, &blob));
                delete(&images.blob(&blob))?;
            }
        }
        for partial in images.stale_partials(PARTIAL_STAYS)? {
            delete(&partial)?;
        }
        Ok((freed, doomed))
    };
    let (freed, doomed) = images.alone(work).ok_or(Collect::Busy)??;
    take_away(layers, &doomed);
    Ok(freed)
}

/// Removes what has no layer's name any more.
fn take_away(layers: &Layers, doomed: &[PathBuf]) {
    for folder in doomed {
        layers.throw_away(folder);
    }
}

fn delete(path: &Path) -> Result<(), Collect> {
    removal::remove(path)
        .map_err(|error| Collect::Remove { path: path.to_owned(), source: error.source })
}

/// Percent of the file system with the store that are free for everybody, of its space or of the files that it can hold,
/// whichever are fewer; 100 where that cannot be said.
#[must_use]
pub fn free_percent(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(100, |stat| {
        let space = percent(stat.f_bavail, stat.f_blocks);
        space.min(percent(stat.f_favail, stat.f_files))
    })
}

/// File systems that make inodes as they need them say 0 of them.
fn percent(free: u64, all: u64) -> u64 {
    free.saturating_mul(100).checked_div(all).unwrap_or(100)
}

#[cfg(test)]
mod tests;
