//! Images that a digest names and that need no registry: taken from this node, where they have another name, or from a machine
//! nearby.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ferrite_schema::reference::Reference;

use super::Puller;
use super::nearby::{self, Answer, Brought, Nearby};
use crate::arrival::Arrival;
use crate::beside::beside;
use crate::digest::Digest;
use crate::import;
use crate::layer::{Compression, compression};
use crate::store::Record;

/// Who may have an image and cannot be asked now, where there is no such machine.
const NOBODY: Option<String> = None;

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
        let digest = digest.ok_or(NOBODY)?;
        if self.adopted(reference, name).await
            && let Ok(record) = self.mended(name).await
        {
            return Ok(record);
        }
        let nearby = self.shared.nearby.get().ok_or(NOBODY)?;
        self.shared.policy.check_import(reference).map_err(|_refused| NOBODY)?;
        let arrival = Arrival::at(&self.shared.images);
        let take = || -> Answer<'_> { Box::pin(self.took(arrival.path(), name)) };
        match nearby.fetch(&digest, arrival.path(), &take).await {
            Brought::Taken => {
                tracing::info!(image = name, "image-from-nearby");
                self.look(name).await.map_err(|_unusable| None)
            }
            Brought::Nobody => Err(NOBODY),
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
    pub(super) async fn adopted(&self, reference: &Reference, name: &str) -> bool {
        let (shared, own) = (Arc::clone(&self.shared), name.to_owned());
        let reference = reference.clone();
        let adopts = move || {
            let Some(digest) = reference.digest() else { return false };
            let found = match nearby::with_digest(&shared.images, digest, &reference) {
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
