//! What a registry has that refers to an image: by its own list, and where it keeps none, by the index that whoever pushed
//! it left under a tag (OCI distribution 1.1).

use hyper::header;
use serde::Deserialize;

use super::document;
use super::http::Answer;
use super::place::Place;
use super::problem::Pull;
use super::registry::{Registry, patiently};
use crate::bounded::Bounded;
use crate::digest::Digest;
use crate::documents::{DOCUMENT_MAX_BYTES, Document, INDEX_TYPES, MANIFEST_TYPES, Manifest};

/// What a descriptor calls a signature. Registries' own lists have the first; where there is none, cosign writes the
/// configuration's type, which says nothing.
const SIGNATURES: [&str; 4] = [
    "application/vnd.dev.sigstore.bundle.",
    "application/vnd.dev.cosign.artifact.sig.",
    "application/vnd.oci.empty.",
    "application/vnd.oci.image.config.",
];
/// Most entries of a page, and most pages.
const ENTRIES_MAX: usize = 1000;
const PAGES_MAX: usize = 8;

#[derive(Debug, Deserialize)]
struct Page {
    manifests: Option<Bounded<Referrer, ENTRIES_MAX>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    digest: String,
    media_type: Option<String>,
    artifact_type: Option<String>,
}

impl Referrer {
    /// Its digest, where it may be a signature.
    fn signature(&self) -> Option<Digest> {
        let own = self.artifact_type.as_deref().unwrap_or_default();
        let kind = self.media_type.as_deref().unwrap_or_default();
        let may_be = own.is_empty() || SIGNATURES.iter().any(|known| own.starts_with(known));
        let manifest = kind.is_empty() || MANIFEST_TYPES.contains(&kind);
        self.digest.parse().ok().filter(|_| may_be && manifest)
    }
}

/// What refers to an image and may hold signatures of it.
///
/// # Errors
/// The registry does not answer.
pub(super) async fn signatures(
    place: &Place,
    digest: &Digest,
    name: &str,
) -> Result<Vec<Digest>, Pull> {
    let found = listed(place, &format!("referrers/{digest}"), name).await?;
    if !found.is_empty() {
        return Ok(found);
    }
    listed(place, &format!("manifests/sha256-{}", digest.hex()), name).await
}

/// A manifest that refers to an image; nothing where it is none after all.
///
/// # Errors
/// The registry does not answer.
pub(super) async fn manifest(
    place: &Place,
    digest: Digest,
    name: &str,
) -> Result<Option<Manifest>, Pull> {
    match document::ask(place, &digest.to_string(), Some(digest), name).await {
        Ok((_, Document::Manifest(manifest))) => Ok(Some(manifest)),
        // Something else may refer to the image, too.
        Ok((_, Document::Index(_))) | Err(Pull::Document { .. } | Pull::RefuseManifest { .. }) => {
            Ok(None)
        }
        Err(Pull::Registry { source: Registry::Missing { .. }, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Digests in a list and what it goes on with; nothing where the registry has no such list.
async fn listed(place: &Place, what: &str, name: &str) -> Result<Vec<Digest>, Pull> {
    let (mut found, mut next) = (Vec::new(), Some(what.to_owned()));
    for _ in 0..PAGES_MAX {
        let Some(what) = next.take() else { break };
        let work = || async {
            let answer = place.get(&what, INDEX_TYPES[0], 0).await?;
            let next = following(place, &answer);
            Ok((answer.bytes(DOCUMENT_MAX_BYTES).await?, next))
        };
        let bytes = match patiently(work).await {
            Ok((bytes, following)) => {
                next = following;
                bytes
            }
            Err(source) if source.is_transient() => {
                return Err(Pull::Registry { name: name.to_owned(), source });
            }
            Err(error) => {
                // Registries that know no such list say so in many ways.
                tracing::debug!(error = ferrite_schema::chain(&error), "referrers-not-listed");
                break;
            }
        };
        let Ok(Page { manifests: Some(Bounded(page)) }) = serde_json::from_slice(&bytes) else {
            break;
        };
        for digest in page.iter().filter_map(Referrer::signature) {
            if !found.contains(&digest) {
                found.push(digest);
            }
        }
    }
    Ok(found)
}

/// What to ask for after this page, where it says so and stays where it is.
fn following(place: &Place, answer: &Answer) -> Option<String> {
    let link = answer.headers.get(header::LINK)?.to_str().ok()?;
    let link =
        link.split(',').find(|link| link.contains("rel=\"next\"") || link.contains("rel=next"))?;
    let location = link.split_once('<')?.1.split_once('>')?.0;
    place.within(&answer.address.join(location)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_surely_no_signature_is_not_asked_for() {
        let hex = Digest::of(b"");
        for (more, expected) in [
            ("", true),
            (r#","artifactType":null"#, true),
            (r#","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json""#, true),
            (r#","artifactType":"application/vnd.dev.cosign.artifact.sig.v1+json""#, true),
            (r#","artifactType":"application/vnd.oci.empty.v1+json""#, true),
            (r#","artifactType":"application/spdx+json""#, false),
            (r#","mediaType":"application/vnd.oci.image.manifest.v1+json""#, true),
            (r#","mediaType":"application/vnd.oci.image.index.v1+json""#, false),
            (r#","size":3,"annotations":{"a":"b"},"platform":{"os":"windows"}"#, true),
        ] {
            let text = format!(r#"{{"manifests":[{{"digest":"{hex}"{more}}}]}}"#);
            let page: Page = serde_json::from_str(&text).unwrap();
            let found = page.manifests.unwrap().0[0].signature();
            assert_eq!(found, expected.then_some(hex), "{more}");
        }
        let odd: Referrer = serde_json::from_str(r#"{"digest":"sha512:00"}"#).unwrap();
        assert_eq!(odd.signature(), None);
        assert!(serde_json::from_str::<Page>(r#"{"manifests":null}"#).unwrap().manifests.is_none());
    }
}
