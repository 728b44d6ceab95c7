//! Images that a digest names and that need no registry: taken from this node, where they have another name, or from a machine
//! nearby.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use ferrite_schema::reference::Reference;

use super::Puller;
use crate::arrival::Arrival;
use crate::beside::beside;
use crate::digest::Digest;
use crate::import;
use crate::layer::{Compression, compression};
use crate::store::{ImageStore, Record, Store};

/// Says whether the archive that came is the image. Where it is not, the next machine is asked.
pub type Take<'a> = &'a (dyn Fn() -> Answer<'a> + Sync);
/// Whether it was so.
pub type Answer<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
/// What came of asking.
pub type Asked<'a> = Pin<Box<dyn Future<Output = Brought> + Send + 'a>>;

/// What machines nearby gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brought {
    /// The image, and it was taken.
    Taken,
    /// Nothing: nobody has it.
    Nobody,
    /// Nothing now. Some may have it and could not be asked, or have it and did not give it; who, half a sentence.
    Perhaps(String),
}

/// Machines that may have an image. What they give is believed as far as its digest goes, and no further: nothing is asked of them
/// that has none.
pub trait Nearby: fmt::Debug + Send + Sync {
    /// Brings the image with this manifest as an archive to `path`, from one machine after the other until it is taken.
    fn fetch<'a>(&'a self, manifest: &'a Digest, path: &'a Path, take: Take<'a>) -> Asked<'a>;
}

impl Puller {
    /// From now on, images with a digest may come from there.
    pub fn look_nearby(&self, nearby: Arc<dyn Nearby>) {
        // Whoever is asked first is asked from then on.
        drop(self.shared.nearby.set(nearby));
    }

    /// The image that `name` means by its digest, without a registry. The rules hold for it as for any other. Where there is none,
    /// who may have it all the same and cannot be asked now.
    pub(super) async fn near(
        &self,
        reference: &Reference,
        name: &str,
    ) -> Result<Record, Option<String>> {
        let digest = reference.digest().and_then(|digest| digest.parse::<Digest>().ok());
        let digest = digest.ok_or(None)?;
        if self.adopted(reference, name).await
            && let Ok(record) = self.mended(name).await
        {
            return Ok(record);
        }
        let nearby = self.shared.nearby.get().ok_or(None)?;
        self.shared.policy.check_import(reference).map_err(|_refused| None)?;
        let arrival = Arrival::at(&self.shared.images);
        let take = || -> Answer<'_> { Box::pin(self.took(arrival.path(), name)) };
        match nearby.fetch(&digest, arrival.path(), &take).await {
            Brought::Taken => {
                tracing::info!(image = name, "image-from-nearby");
                self.look(name).await.map_err(|_unusable| None)
            }
            Brought::Nobody => Err(None),
            Brought::Perhaps(who) => Err(Some(who)),
        }
    }

    /// Imports an archive that somebody nearby gave; `false` where it is not the image.
    async fn took(&self, archive: &Path, name: &str) -> bool {
        let (shared, own) = (Arc::clone(&self.shared), name.to_owned());
        let archive = archive.to_owned();
        let imports = move || {
            // What it takes on the disk is known before it comes.
            let compressed = File::open(&archive).and_then(|mut file| compression(&mut file));
            if compressed.is_ok_and(|compression| compression != Compression::None) {
                return Err("it is compressed".to_owned());
            }
            let stores = (&shared.images, &shared.layers);
            let said = |error: &dyn std::error::Error| ferrite_schema::chain(error);
            let imported = import::import(&archive, Some(&own), stores, &shared.policy);
            for record in imported.map_err(|error| said(&error))? {
                // Whoever gave it has it still, and keeps it where it was imported.
                let record = Record { imported: false, ..record };
                shared.images.put(&record).map_err(|error| said(&error))?;
            }
            Ok(())
        };
        let refused = match tokio::task::spawn_blocking(imports).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(error) => error.to_string(),
        };
        tracing::warn!(error = refused, image = name, "image-from-nearby-refused");
        false
    }

    /// Keeps an image that is here under this name, too, where its digest is the name's: nobody who removes the other name
    /// removes this one.
    async fn adopted(&self, reference: &Reference, name: &str) -> bool {
        let (shared, own) = (Arc::clone(&self.shared), name.to_owned());
        let reference = reference.clone();
        let adopts = move || {
            let Some(digest) = reference.digest() else { return false };
            let found = match with_digest(&shared.images, digest, &reference) {
                Ok(Some(found)) => found,
                Ok(None) => return false,
                Err(error) => {
                    let error = ferrite_schema::chain(&error);
                    tracing::warn!(error, image = own, "images-not-looked-through");
                    return false;
                }
            };
            let adopted = Record { name: own, key: Some(reference.to_string()), ..found };
            shared.policy.check_stored(&adopted, &reference).is_ok()
                && shared.images.put(&adopted).is_ok()
        };
        beside(adopts).await
    }
}

/// An image with this digest; one of the same repository, where there is one: its signature was for that.
fn with_digest(
    images: &ImageStore,
    digest: &str,
    reference: &Reference,
) -> Result<Option<Record>, Store> {
    let (records, _) = images.records_read()?;
    let mut found: Vec<Record> = records
        .into_iter()
        .map(|(record, _)| record)
        .filter(|record| record.is_at(digest))
        .collect();
    let is_of = |record: &Record| {
        images.reference(&record.name).is_ok_and(|own| own.name() == reference.name())
    };
    if let Some(same) = found.iter().position(is_of) {
        return Ok(Some(found.swap_remove(same)));
    }
    Ok(found.pop().map(|record| Record { signed_by: None, ..record }))
}

/// The name of an image that is here and has this manifest, for a machine that asks.
///
/// # Errors
/// The records cannot be read.
pub fn name_of(images: &ImageStore, manifest: &str) -> Result<Option<String>, Store> {
    let (records, _) = images.records_read()?;
    let found = records.into_iter().find(|(record, _)| record.manifest == manifest);
    Ok(found.map(|(record, _)| record.name))
}
