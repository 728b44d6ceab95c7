//! Import of archives: a tar of an OCI image layout, as skopeo, umoci and buildah write it, or of `docker save`;
//! plain or compressed.
//!
//! One pass over the tar puts its blobs into the store's staging folder under digests that *we* compute; after
//! that the documents are followed from the index down. Nothing is named in the store before everything that
//! it needs is there, checked and flushed.

mod archive;
mod choose;
mod docker;
mod problem;

use std::fs;
use std::path::Path;

use ferrite_files::removal;
use ferrite_schema::reference::Reference;

use self::archive::{ArchiveContent, parse};
use self::choose::{Chooser, real};
use self::problem::refuse;
use super::choice::Found;
use super::collect;
use super::config::ImageConfig;
use super::digest::Digest;
use super::layer::Layers;
use super::platform::HERE;
use super::signature::Policy;
use super::stack::Stack;
use super::store::{Claim, ImageStore, Record, Store};

pub use self::problem::Import;

/// Imports the archive at `path` as `name`, or under all names that it gives itself: a record for each of them.
///
/// # Errors
/// The image is not in the store, and nothing of it is.
pub fn import(
    path: &Path,
    name: Option<&str>,
    (images, layers): (&ImageStore, &Layers),
    policy: &Policy,
) -> Result<Vec<Record>, Import> {
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
    fn run(mut self, name: Option<&str>, folder: &Path) -> Result<Vec<Record>, Import> {
        let found = match (self.archive.layout, self.archive.index.clone()) {
            (true, Some(index)) => self.chooser(name).choose(&index)?,
            (true, None) => return Err(refuse("it holds no file `index.json`")),
            (false, _) => docker::convert(&mut self.archive, (self.images, name), folder)?,
        };
        let names = self.names(name, &found)?;
        let config = self.chooser(name).document(&found.manifest.config.digest)?;
        let config: ImageConfig = parse(&config, "configuration")?;
        if !found.stated
            && let Some(other) = config.elsewhere()
        {
            return Err(refuse(format!("its image is for {other}, and this node is {HERE}")));
        }
        let tars = config.tars()?;
        let (blobs, named) = (found.manifest.layers.len(), tars.len());
        if named != blobs {
            let why = format!("its manifest has {blobs} layers, its configuration {named}");
            return Err(refuse(why));
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
        let record = |(name, reference): &(String, Reference)| Record {
            name: name.clone(),
            manifest: found.digest.to_string(),
            config: found.manifest.config.digest.to_string(),
            layers: stack.tars().iter().map(Digest::to_string).collect(),
            size_bytes,
            blobs: needed.iter().skip(2).map(Digest::to_string).collect(),
            signed_by: None,
            key: Some(reference.to_string()),
            indexes: found.indexes.iter().map(Digest::to_string).collect(),
            imported: true,
        };
        let records: Vec<Record> = names.iter().map(record).collect();
        self.call(&records)?;
        Ok(records)
    }

    fn chooser<'a>(&'a self, wanted: Option<&'a str>) -> Chooser<'a> {
        Chooser { archive: &self.archive, images: self.images, wanted }
    }

    /// Gives the image all its names, or none of them.
    fn call(&self, records: &[Record]) -> Result<(), Store> {
        let mut done = Vec::new();
        for record in records {
            let before = self.images.get(&record.name);
            if let Err(error) = before.and_then(|before| {
                self.images.put(record)?;
                done.push((record, before));
                Ok(())
            }) {
                for (record, before) in done {
                    // Reported is why the import failed.
                    drop(match before {
                        Some(before) => self.images.put(&before),
                        None => self.images.forget(&record.name).map(drop),
                    });
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// The names that the image gets: the given one, or all that the archive gives it.
    fn names(
        &self,
        given: Option<&str>,
        found: &Found,
    ) -> Result<Vec<(String, Reference)>, Import> {
        let names = given.map_or_else(|| real(found.names.clone()), |name| vec![name.to_owned()]);
        let mut all: Vec<(String, Reference)> = Vec::new();
        for name in names {
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
            // A full name may stand beside a tag that means no more than that.
            if !all.iter().any(|(_, other)| *other == reference) {
                all.push((name, reference));
            }
        }
        if all.is_empty() {
            return Err(refuse("it does not name its image: give a name"));
        }
        Ok(all)
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
