//! The manifest of an image: from which place, by which indexes, and whether the rules let it in.

use std::sync::Arc;

use ferrite_schema::reference::Reference;

use super::http::Client;
use super::problem::Pull;
use super::registry::{self, Place};
use super::trust::Trust;
use super::{cosign, document};
use crate::digest::Digest;
use crate::documents::{Document, Manifest, Refuse};
use crate::signature::{Policy, Verdict};

/// Most indexes in one another.
const INDEX_DEPTH_MAX: usize = 4;

/// A manifest with what its bytes and its choice were.
pub(super) struct Found {
    pub(super) manifest: Manifest,
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
    pub(super) verdict: Verdict,
    /// The indexes that led to it.
    pub(super) indexes: Vec<Digest>,
    /// The places, the one that had the manifest first.
    pub(super) places: Vec<Place>,
}

/// What a search goes by.
pub(super) struct Search<'a> {
    pub(super) client: &'a Client,
    pub(super) trust: &'a Arc<Trust>,
    pub(super) policy: &'a Policy,
}

impl Search<'_> {
    /// Finds the manifest for this machine and has its signature checked.
    pub(super) async fn find(&self, reference: &Reference, name: &str) -> Result<Found, Pull> {
        let mut places = registry::places(reference, self.client, self.trust);
        let mut last = None;
        for index in 0..places.len() {
            let Some(place) = places.get(index).cloned() else { break };
            match self.find_at(reference, name, &place).await {
                Ok(mut found) => {
                    places.swap(0, index);
                    found.places = places;
                    return Ok(found);
                }
                Err(error) => {
                    let is_mirror = index + 1 < places.len();
                    if is_mirror {
                        let error = ferrite_schema::chain(&error);
                        tracing::warn!(error, mirror = %place.origin(), "mirror-passed-over");
                    }
                    last = Some(error);
                }
            }
        }
        let why = "its registry has no address";
        Err(last.unwrap_or_else(|| Pull::Unfit { name: name.to_owned(), why }))
    }

    async fn find_at(
        &self,
        reference: &Reference,
        name: &str,
        place: &Place,
    ) -> Result<Found, Pull> {
        let pinned = reference.digest().map(str::parse::<Digest>).transpose();
        let mut expected = pinned.map_err(|error| Pull::Document {
            name: name.to_owned(),
            source: Refuse::Digest(error),
        })?;
        let mut version = reference.version().to_owned();
        let mut digests = Vec::new();
        let unfit = |why| Pull::Unfit { name: name.to_owned(), why };
        for _ in 0..=INDEX_DEPTH_MAX {
            let (bytes, document) = document::ask(place, &version, expected, name).await?;
            let digest = Digest::of(&bytes);
            digests.push(digest);
            match document {
                Document::Manifest(manifest) => {
                    let verdict = cosign::check(self.policy, reference, place, &digests).await?;
                    digests.pop();
                    let (indexes, places) = (digests, Vec::new());
                    return Ok(Found { manifest, digest, bytes, verdict, indexes, places });
                }
                Document::Index(entries) => {
                    let entry = entries.first();
                    let entry = entry.ok_or_else(|| unfit("there is none for linux/amd64"))?;
                    version = entry.blob.digest.to_string();
                    expected = Some(entry.blob.digest);
                }
            }
        }
        Err(unfit("its indexes lead on and on"))
    }
}
