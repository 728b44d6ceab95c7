//! One index or manifest from one place.

use super::problem::Pull;
use super::registry::{Place, patiently};
use crate::digest::Digest;
use crate::documents::{self, DOCUMENT_MAX_BYTES, Document, INDEX_TYPES, MANIFEST_TYPES};

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
