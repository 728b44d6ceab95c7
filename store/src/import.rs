//! Import of archives: a tar of an OCI image layout, as skopeo, umoci and buildah write it, or of `docker save`;
//! plain or compressed.
//!
//! One pass over the tar puts its blobs into the store's staging folder under digests that *we* compute; after
//! that the documents are followed from the index down. Nothing is named in the store before everything that
//! it needs is there, checked and flushed.

mod archive;
mod docker;
mod problem;

use std::fs::{self, File};
use std::path::Path;

use ferrite_files::removal;

use self::archive::{ArchiveContent, Found, parse, read_small};
use self::problem::refuse;
use super::collect;
use super::config::ImageConfig;
use super::digest::Digest;
use super::documents::{self, DOCUMENT_MAX_BYTES, Document, Entry};
use super::layer::Layers;
use super::signature::Policy;
use super::stack::Stack;
use super::store::{Claim, ImageStore, Record, Store};

pub use self::problem::Import;

/// Most indexes in one another.
const INDEX_DEPTH_MAX: usize = 4;

/// Imports the archive at `path` as `name`, or under the name that it gives itself.
///
/// # Errors
/// The image is not in the store, and nothing of it is.
pub fn import(
    path: &Path,
    name: Option<&str>,
    (images, layers): (&ImageStore, &Layers),
    policy: &Policy,
) -> Result<Record, Import> {
    if let Some(name) = name {
        policy.check_import(&images.reference(name).map_err(Store::Name)?)?;
    }
    let in_use = images.begin_use();
    let mut made = Claim::default();
    let folder = images
        .staging()
        .join(format!("import-{}", path.file_name().unwrap_or_default().to_string_lossy()));
    fs::create_dir_all(&folder).map_err(|source| Import::Stage { path: folder.clone(), source })?;
    let result = archive::read(path, &folder).and_then(|archive| {
        Adoption { archive, images, layers, policy, made: &mut made }.run(name, &folder)
    });
    // Left-overs are removed at the next start too; what counts is the import's own result.
    drop(removal::remove(&folder));
    drop(in_use);
    if result.is_err() {
        // What is left where somebody else is at work, the next sweep takes.
        drop(collect::discard(images, layers, &made));
    }
    result
}

/// An archive on its way into the store.
struct Adoption<'a> {
    archive: ArchiveContent,
    images: &'a ImageStore,
    layers: &'a Layers,
    policy: &'a Policy,
    /// Blobs and layers that were not there before.
    made: &'a mut Claim,
}

impl Adoption<'_> {
    /// Follows the documents, moves the image's blobs into the store, unpacks its layers and names it.
    fn run(mut self, name: Option<&str>, folder: &Path) -> Result<Record, Import> {
        let found = match (self.archive.layout, self.archive.index.clone()) {
            (true, Some(index)) => self.choose(&index, name)?,
            (true, None) => return Err(refuse("it holds no file `index.json`")),
            (false, _) => docker::convert(&mut self.archive, name, folder)?,
        };
        let name = match (name, &found.name) {
            (Some(name), _) => name.to_owned(),
            (None, Some(own)) => own.clone(),
            (None, None) => return Err(refuse("it does not name its image: give a name")),
        };
        let reference = self.images.reference(&name).map_err(Store::Name)?;
        self.policy.check_import(&reference)?;
        if let Some(digest) = reference.digest()
            && !std::iter::once(&found.digest)
                .chain(&found.indexes)
                .any(|one| one.to_string() == digest)
        {
            let (wanted, found) = (digest.to_owned(), found.digest);
            return Err(Import::RefuseName { name, wanted, found });
        }
        let config: ImageConfig =
            parse(&self.document(&found.manifest.config.digest)?, "configuration")?;
        let tars = config.tars()?;
        if tars.len() != found.manifest.layers.len() {
            return Err(refuse("its manifest and configuration name different numbers of layers"));
        }
        let mut needed = vec![found.digest, found.manifest.config.digest];
        needed.extend(found.manifest.layers.iter().map(|layer| layer.digest));
        let size_bytes = self.keep(&needed)?;
        let stack = Stack::new(tars);
        for (layer, step) in found.manifest.layers.iter().zip(stack.steps()) {
            if !self.layers.is_whole(step.folder) {
                self.made.layers.insert(*step.folder);
            }
            self.layers.ensure(&step, &self.images.blob(&layer.digest))?;
        }
        let record = Record {
            name,
            manifest: found.digest.to_string(),
            config: found.manifest.config.digest.to_string(),
            layers: stack.tars().iter().map(Digest::to_string).collect(),
            size_bytes,
            blobs: needed.iter().skip(2).map(Digest::to_string).collect(),
            signed_by: None,
            key: Some(reference.to_string()),
            indexes: found.indexes.iter().map(Digest::to_string).collect(),
        };
        self.images.put(&record)?;
        Ok(record)
    }

    /// The manifest for this machine. Of several images the one that is called as it shall be called is meant.
    fn choose(&self, index: &[u8], wanted: Option<&str>) -> Result<Found, Import> {
        let mut name = None;
        let mut indexes = Vec::new();
        let mut bytes = index.to_vec();
        let mut digest = Digest::of(&bytes);
        for _ in 0..=INDEX_DEPTH_MAX {
            match documents::parse(&bytes, None)? {
                Document::Manifest(manifest) => {
                    return Ok(Found { digest, manifest, name, indexes });
                }
                Document::Index(entries) => {
                    let entry = self.one_of(&entries, wanted)?;
                    name = name.or(entry.name.clone());
                    digest = entry.blob.digest;
                    bytes = self.document(&digest)?;
                    if entry.is_index {
                        indexes.push(digest);
                    }
                }
            }
        }
        Err(refuse("its indexes lead on and on"))
    }

    fn one_of<'e>(&self, entries: &'e [Entry], wanted: Option<&str>) -> Result<&'e Entry, Import> {
        match entries {
            [] => Err(refuse("it holds no image for linux/amd64")),
            [only] => Ok(only),
            several => {
                let wanted = wanted.map(|name| self.images.key(name));
                let called = |entry: &&Entry| {
                    entry.name.as_deref().map(|name| self.images.key(name)) == wanted
                };
                several
                    .iter()
                    .find(|entry| wanted.is_some() && called(entry))
                    .ok_or_else(|| refuse("it holds several images; export one"))
            }
        }
    }

    fn document(&self, digest: &Digest) -> Result<Vec<u8>, Import> {
        match self.archive.blobs.get(digest) {
            Some((path, _)) => read_small(&mut File::open(path).map_err(Import::ReadArchive)?),
            None if self.images.blob(digest).exists() => {
                Ok(self.images.read_document(digest, DOCUMENT_MAX_BYTES)?)
            }
            None => Err(Import::FindBlob { digest: *digest }),
        }
    }

    /// Moves what is needed into the store; returns its size.
    fn keep(&mut self, needed: &[Digest]) -> Result<u64, Import> {
        let mut moves = Vec::new();
        let mut size_bytes = 0_u64;
        let mut unique = needed.to_vec();
        unique.sort_unstable();
        unique.dedup();
        for digest in &unique {
            if let Some((path, bytes)) = self.archive.blobs.get(digest) {
                moves.push((*digest, path.clone()));
                if !self.images.blob(digest).exists() {
                    self.made.blobs.insert(*digest);
                }
                size_bytes = size_bytes.saturating_add(*bytes);
            } else {
                let stored = fs::metadata(self.images.blob(digest));
                let stored = stored.map_err(|_absent| Import::FindBlob { digest: *digest })?;
                size_bytes = size_bytes.saturating_add(stored.len());
            }
        }
        self.images.keep(&moves)?;
        Ok(size_bytes)
    }
}

#[cfg(test)]
mod tests;
