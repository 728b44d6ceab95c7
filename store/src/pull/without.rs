//! Images that a digest names and that need no registry: taken from this node, where they have another name, or from a machine
//! nearby.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferrite_schema::reference::Reference;

use super::Puller;
use super::near::{self, Answer, Nearby};
use crate::beside::beside;
use crate::digest::Digest;
use crate::import;
use crate::layer::{Compression, compression};
use crate::store::Record;

/// Distinguishes archives that come at the same time.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// An archive that comes; gone when this is dropped, whatever became of it.
struct Arrival(PathBuf);

impl Drop for Arrival {
    fn drop(&mut self) {
        // What stays is removed at the next start.
        drop(std::fs::remove_file(&self.0));
    }
}

impl Puller {
    /// From now on, images with a digest may come from there.
    pub fn look_nearby(&self, nearby: Arc<dyn Nearby>) {
        // Whoever is asked first is asked from then on.
        drop(self.shared.nearby.set(nearby));
    }

    /// The image that `name` means by its digest, without a registry. The rules hold for it as for any other.
    pub(super) async fn near(&self, reference: &Reference, name: &str) -> Option<Record> {
        let digest: Digest = reference.digest()?.parse().ok()?;
        if self.adopted(reference, name).await
            && let Ok(record) = self.mended(name).await
        {
            return Some(record);
        }
        let nearby = self.shared.nearby.get()?;
        self.shared.policy.check_import(reference).ok()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let arrival = Arrival(self.shared.images.staging().join(format!("nearby-{number}")));
        let take = || -> Answer<'_> { Box::pin(self.took(&arrival.0, name)) };
        if !nearby.fetch(&digest, &arrival.0, &take).await {
            return None;
        }
        tracing::info!(image = name, "image-from-nearby");
        self.look(name).await.ok()
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
            let imported = import::import(&archive, Some(&own), stores, &shared.policy);
            imported.map(drop).map_err(|error| ferrite_schema::chain(&error))
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
            let found = match near::with_digest(&shared.images, digest, &reference) {
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
