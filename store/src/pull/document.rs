//! One index, manifest or configuration from one place.

use super::place::Place;
use super::problem::Pull;
use super::registry::{Registry, patiently};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::documents::{self, Blob, DOCUMENT_MAX_BYTES, Document, INDEX_TYPES, MANIFEST_TYPES};

/// Where a registry says the digest of what it would give.
const CONTENT_DIGEST: &str = "docker-content-digest";
/// It gives no content, and so has no answer without any.
const NO_SUCH_METHOD: u16 = 405;

/// Asks a place what a version means, without having it; `None` where it does not say.
///
/// # Errors
/// It does not have it.
pub(super) async fn means(
    place: &Place,
    version: &str,
    name: &str,
) -> Result<Option<Digest>, Pull> {
    let what = format!("manifests/{version}");
    let work = || async {
        let answer = match place.head(&what, &accepted()).await {
            Err(Registry::Status { status, .. }) if status.as_u16() == NO_SUCH_METHOD => {
                return Ok(None);
            }
            other => other?,
        };
        let said = answer.headers.get(CONTENT_DIGEST).cloned();
        // Its connection is good for the next question then.
        answer.bytes(0).await?;
        Ok(said.and_then(|said| said.to_str().ok()?.parse().ok()))
    };
    patiently(work).await.map_err(|source| Pull::Registry { name: name.to_owned(), source })
}

fn accepted() -> String {
    [&MANIFEST_TYPES[..], &INDEX_TYPES[..]].concat().join(", ")
}

/// Asks a place for an index or a manifest.
///
/// # Errors
/// It does not have it, or gives something else.
pub(super) async fn ask(
    place: &Place,
    version: &str,
    expected: Option<Digest>,
    name: &str,
) -> Result<(Vec<u8>, Document), Pull> {
    let accept = accepted();
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

/// A blob that is small enough for memory.
///
/// # Errors
/// The place does not have it, or gives something else.
pub(super) async fn small(
    place: &Place,
    digest: &Digest,
    max_bytes: u64,
    name: &str,
) -> Result<Vec<u8>, Pull> {
    let what = format!("blobs/{digest}");
    let work = || async { Ok(place.get(&what, "", 0).await?.bytes(max_bytes).await?) };
    let bytes =
        patiently(work).await.map_err(|source| Pull::Registry { name: name.to_owned(), source })?;
    let found = Digest::of(&bytes);
    if found == *digest {
        Ok(bytes)
    } else {
        Err(Pull::RefuseManifest { expected: *digest, found })
    }
}

/// The configuration of an image that may not be the one that is wanted.
///
/// # Errors
/// See [`small`].
pub(super) async fn config(place: &Place, blob: &Blob, name: &str) -> Result<ImageConfig, Pull> {
    let bytes = small(place, &blob.digest, DOCUMENT_MAX_BYTES, name).await?;
    serde_json::from_slice(&bytes)
        .map_err(|source| Pull::ReadConfig { name: name.to_owned(), source })
}
