//! Signatures as cosign leaves them beside an image.
//!
//! Until version 2 cosign keeps the signature of the image `sha256:HEX` as an image with the tag `sha256-HEX.sig` beside it.
//! Each of its layers is a *payload*, a JSON document that names the digest; an annotation of the layer holds the signature
//! over the payload's bytes. From version 3 on it leaves a *bundle* (`signature::bundle`) in a manifest that refers to the
//! image.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrite_schema::reference::Reference;

use super::place::Place;
use super::problem::Pull;
use super::registry::Registry;
use super::{document, referrers};
use crate::annotations::{Annotations, SIGNATURE};
use crate::digest::Digest;
use crate::documents::{Document, Manifest};
use crate::signature::{Demand, Policy, Verdict};

/// Media type of payloads.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// How media types of bundles begin.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// Largest payload.
const PAYLOAD_MAX_BYTES: u64 = 64 * 1024;
/// Largest bundle: entries of logs and time stamps make it larger.
const BUNDLE_MAX_BYTES: u64 = 1 << 20;
/// Most signatures of an image that are looked at.
const SIGNATURES_MAX: usize = 64;

/// Most manifests that refer to an image and are looked at.
const REFERRERS_MAX: usize = 64;
/// Why an image with more of either may be refused all the same.
const TOO_MANY: &str = "none of the first 64 counts, and there are more, which are not looked at";

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
    let name = reference.to_string();
    let mut search = Search { demand, place, name: &name, looks: 0, why: "it has none" };
    for digest in digests {
        let tagged = search.tagged(reference, digest).await?;
        if let Some(key) = search.look(&tagged, digest).await? {
            return Ok(Verdict::SignedBy(key));
        }
        // One after the other: a registry may have many, and each may be as large as a document can be.
        for (count, referring) in
            referrers::signatures(place, digest, &name).await?.into_iter().enumerate()
        {
            if count >= REFERRERS_MAX {
                search.why = TOO_MANY;
                break;
            }
            let manifest = referrers::manifest(place, referring, &name).await?;
            if let Some(key) = search.look(manifest.as_slice(), digest).await? {
                return Ok(Verdict::SignedBy(key));
            }
        }
    }
    Err(search.demand.unmet(search.why.to_owned()).into())
}

/// A look for a signature that counts.
struct Search<'a> {
    demand: Demand,
    place: &'a Place,
    name: &'a str,
    /// Signatures that were looked at.
    looks: usize,
    /// Why the last one does not count.
    why: &'static str,
}

impl Search<'_> {
    /// What has the tag that signatures of this digest have.
    async fn tagged(&self, reference: &Reference, digest: &Digest) -> Result<Vec<Manifest>, Pull> {
        let tag = format!("sha256-{}.sig", digest.hex());
        let name = reference.with_tag(&tag).to_string();
        match document::ask(self.place, &tag, None, &name).await {
            Ok((_, Document::Manifest(manifest))) => Ok(vec![manifest]),
            Ok((_, Document::Index(_))) => Ok(Vec::new()),
            Err(Pull::Registry { source: Registry::Missing { .. }, .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The key of the first signature in these manifests that counts.
    async fn look(
        &mut self,
        manifests: &[Manifest],
        digest: &Digest,
    ) -> Result<Option<Digest>, Pull> {
        for manifest in manifests {
            for (blob, annotations) in manifest.layers.iter().zip(&manifest.annotations) {
                let is_bundle = blob.media_type.starts_with(BUNDLE);
                let max_bytes = if is_bundle { BUNDLE_MAX_BYTES } else { PAYLOAD_MAX_BYTES };
                if !(is_bundle || blob.media_type == PAYLOAD) || blob.size_bytes > max_bytes {
                    continue;
                }
                if self.looks >= SIGNATURES_MAX {
                    self.why = TOO_MANY;
                    return Ok(None);
                }
                self.looks += 1;
                let signed = document::small(self.place, &blob.digest, max_bytes, self.name).await;
                let signed = match signed {
                    Ok(signed) => signed,
                    // It may have another one.
                    Err(Pull::RefuseManifest { .. }) => continue,
                    Err(Pull::Registry { source: Registry::Missing { .. }, .. }) => continue,
                    Err(error) => return Err(error),
                };
                let judged = match (is_bundle, signature(annotations)) {
                    (true, _) => self.demand.judge_bundle(&signed, digest),
                    (false, Some(signature)) => self.demand.judge(&signed, &signature, digest),
                    (false, None) => continue,
                };
                match judged {
                    Ok(key) => return Ok(Some(key)),
                    Err(why) => self.why = why,
                }
            }
        }
        Ok(None)
    }
}

fn signature(annotations: &Annotations) -> Option<Vec<u8>> {
    STANDARD.decode(annotations.get(SIGNATURE)?).ok()
}
