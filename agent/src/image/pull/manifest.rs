//! The manifest of an image: from which place, by which indexes, and whether the rules let it in.

use ferrite_schema::reference::Reference;

use super::registry::{self, Place, patiently};
use super::{Pull, Puller};
use crate::image::digest::Digest;
use crate::image::documents::{self, Document, INDEX_TYPES, MANIFEST_TYPES, Manifest, Refuse};
use crate::image::import::DOCUMENT_MAX_BYTES;
use crate::image::signature::Verdict;

/// Most indexes in one another.
const INDEX_DEPTH_MAX: usize = 4;

/// A manifest with what its bytes and its choice were.
pub(super) struct Found {
    pub(super) manifest: Manifest,
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
    pub(super) verdict: Verdict,
    /// The places, the one that had the manifest first.
    pub(super) places: Vec<Place>,
}

impl Puller {
    /// Finds the manifest for this machine and has its signature checked.
    pub(super) async fn find(&self, reference: &Reference, name: &str) -> Result<Found, Pull> {
        let mut places = registry::places(reference, &self.shared.client, &self.shared.trust);
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
                        let error = crate::chain(&error);
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
            let (bytes, document) = document(place, &version, expected, name).await?;
            let digest = Digest::of(&bytes);
            digests.push(digest);
            match document {
                Document::Manifest(manifest) => {
                    let verdict = self.shared.policy.check(reference, place, &digests).await?;
                    let places = Vec::new();
                    return Ok(Found { manifest, digest, bytes, verdict, places });
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

/// Asks a place for an index or a manifest.
///
/// # Errors
/// It does not have it, or gives something else.
pub async fn document(
    place: &Place,
    version: &str,
    expected: Option<Digest>,
    name: &str,
) -> Result<(Vec<u8>, Document), Pull> {
    let accept = [&MANIFEST_TYPES[..], &INDEX_TYPES[..]].concat().join(", ");
    let what = format!("manifests/{version}");
    let work = || async {
        let answer = place.get(&what, &accept, 0).await?;
        let kind = answer.headers.get(hyper::header::CONTENT_TYPE).cloned();
        let bytes = answer.bytes(DOCUMENT_MAX_BYTES).await?;
        Ok((kind.and_then(|kind| Some(kind.to_str().ok()?.to_owned())), bytes))
    };
    let (kind, bytes) =
        patiently(work).await.map_err(|source| Pull::Registry { name: name.to_owned(), source })?;
    let found = Digest::of(&bytes);
    if let Some(expected) = expected
        && expected != found
    {
        return Err(Pull::RefuseManifest { expected, found });
    }
    let document = documents::parse(&bytes, kind.as_deref())
        .map_err(|source| Pull::Document { name: name.to_owned(), source })?;
    Ok((bytes, document))
}
