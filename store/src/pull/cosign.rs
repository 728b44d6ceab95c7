//! Signatures as cosign leaves them beside an image.
//!
//! cosign keeps the signature of the image `sha256:HEX` as an image with the tag `sha256-HEX.sig` beside it. Each of
//! its layers is a *payload*, a JSON document that names the digest; an annotation of the layer holds the signature
//! over the payload's bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrite_schema::reference::Reference;

use super::document;
use super::problem::Pull;
use super::registry::{Place, Registry, patiently};
use crate::annotations::{Annotations, SIGNATURE};
use crate::digest::Digest;
use crate::documents::Document;
use crate::signature::{Policy, Verdict};

/// Media type of payloads.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Largest payload.
const PAYLOAD_MAX_BYTES: u64 = 64 * 1024;
/// Most signatures of an image that are looked at.
const SIGNATURES_MAX: usize = 64;

/// Checks an image of which these are the digests: what its tag leads to, down to its manifest. A signature of any
/// of them covers the manifest, since each names the next.
///
/// # Errors
/// It is rejected, or no trusted signature is found.
pub(super) async fn check(
    policy: &Policy,
    reference: &Reference,
    place: &Place,
    digests: &[Digest],
) -> Result<Verdict, Pull> {
    let Some(demand) = policy.demand(reference)? else { return Ok(Verdict::NotAsked) };
    let mut why = "it has none";
    for digest in digests {
        for (payload, signature) in signatures(reference, place, digest).await?.iter().flatten() {
            match demand.judge(payload, signature, digest) {
                Ok(key) => return Ok(Verdict::SignedBy(key)),
                Err(reason) => why = reason,
            }
        }
    }
    Err(demand.unmet(why.to_owned()).into())
}

/// Payloads and signatures beside the image; `None` where there are none.
async fn signatures(
    reference: &Reference,
    place: &Place,
    digest: &Digest,
) -> Result<Option<Vec<(Vec<u8>, Vec<u8>)>>, Pull> {
    let tag = format!("sha256-{}.sig", digest.hex());
    let name = reference.with_tag(&tag).to_string();
    let document = match document::ask(place, &tag, None, &name).await {
        Ok((_, document)) => document,
        Err(Pull::Registry { source: Registry::Missing { .. }, .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Document::Manifest(manifest) = document else { return Ok(None) };
    let mut found = Vec::new();
    for (blob, annotations) in manifest.layers.iter().zip(&manifest.annotations) {
        if blob.media_type != PAYLOAD
            || blob.size_bytes > PAYLOAD_MAX_BYTES
            || found.len() >= SIGNATURES_MAX
        {
            continue;
        }
        let Some(signature) = signature(annotations) else { continue };
        let what = format!("blobs/{}", blob.digest);
        let work = || async { Ok(place.get(&what, "", 0).await?.bytes(PAYLOAD_MAX_BYTES).await?) };
        let payload = patiently(work)
            .await
            .map_err(|source| Pull::Registry { name: name.clone(), source })?;
        if Digest::of(&payload) == blob.digest {
            found.push((payload, signature));
        }
    }
    Ok(Some(found))
}

fn signature(annotations: &Annotations) -> Option<Vec<u8>> {
    STANDARD.decode(annotations.get(SIGNATURE)?).ok()
}
