//! Signatures as cosign 3 leaves them: sigstore's *bundle*, JSON around a DSSE envelope around an in-toto statement that
//! names the image's digest. Pure.
//!
//! A bundle names no repository, so that the digest alone binds it to an image. What else a key says about an image (that
//! it was scanned, what it is made of) comes in the same form and is no signature: the predicate's type tells them apart.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;

use super::key::{Key, signer};
use crate::bounded::Bounded;
use crate::digest::Digest;

/// What the envelope calls its payload.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// What statements call themselves, but for the version.
const STATEMENT: &str = "https://in-toto.io/Statement/";
/// What a statement says that is a signature of an image and nothing else.
const PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// Most signatures of an envelope: cosign makes one.
const SIGNATURES_MAX: usize = 8;
/// Most things that a statement is about: cosign's is about one.
const SUBJECTS_MAX: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Option<Envelope>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Bounded<Signature, SIGNATURES_MAX>,
}

#[derive(Debug, Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Bounded<Subject, SUBJECTS_MAX>,
    predicate_type: String,
}

#[derive(Debug, Deserialize)]
struct Subject {
    digest: Option<BTreeMap<String, String>>,
}

/// The key that signed this bundle, which must be about the image with this digest.
pub(super) fn judge(bundle: &[u8], digest: &Digest, keys: &[Key]) -> Result<Digest, &'static str> {
    let unread = "the one it has cannot be read";
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(|_json| unread)?;
    let envelope = bundle.dsse_envelope.ok_or("the one it has is of a file, not of an image")?;
    let payload = decoded(&envelope.payload).ok_or(unread)?;
    let signed = encoded(&envelope.payload_type, &payload);
    // Only bytes that a trusted key signed are read.
    let key = envelope.signatures.0.iter().find_map(|one| {
        let signature = decoded(&one.sig)?;
        signer(keys, &signed, &signature)
    });
    let key = key.ok_or("no key of the rule made the one it has")?;
    let foreign = "what is signed is not about an image";
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(foreign);
    }
    let statement: Statement = serde_json::from_slice(&payload).map_err(|_json| foreign)?;
    if !statement.kind.starts_with(STATEMENT) {
        return Err(foreign);
    }
    if statement.predicate_type != PREDICATE {
        return Err("what the key signed says something about the image, and does not sign it");
    }
    let hex = digest.hex();
    let is_about = |subject: &Subject| {
        subject.digest.as_ref().and_then(|digests| digests.get("sha256")) == Some(&hex)
    };
    if statement.subject.0.iter().any(is_about) {
        Ok(key.digest)
    } else {
        Err("the one it has is about another image")
    }
}

/// What is signed of an envelope: DSSE's encoding before authentication.
fn encoded(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Either alphabet: whoever writes JSON of protocol buffers may choose.
fn decoded(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_other| URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;
    use crate::signature::make_key;

    fn statement(digest: &Digest, predicate: &str) -> String {
        let hex = digest.hex();
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{hex}"}}}}],"predicateType":"{predicate}","predicate":{{}}}}"#
        )
    }

    fn bundle(kind: &str, payload: &str, signature: &[u8]) -> String {
        format!(
            r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{{"publicKey":{{"hint":"x"}}}},
            "dsseEnvelope":{{"payload":"{}","payloadType":"{kind}","signatures":[{{"sig":"{}"}}]}}}}"#,
            STANDARD.encode(payload),
            STANDARD.encode(signature)
        )
    }

    #[test]
    fn a_bundle_counts_for_its_image_and_for_nothing_else() {
        let (pair, pem) = make_key();
        let (_, other) = make_key();
        let digest = Digest::of(b"manifest");
        let check = |kind: &str, signed: &str, shown: &str, pem: &str| {
            let random = SystemRandom::new();
            let signature = pair.sign(&random, &encoded(kind, signed.as_bytes())).unwrap();
            let bundle = bundle(PAYLOAD_TYPE, shown, signature.as_ref());
            judge(bundle.as_bytes(), &digest, &[Key::read(pem).unwrap()])
        };
        let right = statement(&digest, PREDICATE);
        assert_eq!(check(PAYLOAD_TYPE, &right, &right, &pem), Ok(Key::read(&pem).unwrap().digest));
        let refused = |result: Result<Digest, &str>, expected: &str| {
            let why = result.unwrap_err();
            assert!(why.contains(expected), "{why}");
        };
        refused(check(PAYLOAD_TYPE, &right, &right, &other), "no key");
        refused(check(PAYLOAD_TYPE, &right, &right.replace("predicate\"", "x\""), &pem), "no key");
        refused(check("text/plain", &right, &right, &pem), "no key");
        let older = statement(&Digest::of(b"older"), PREDICATE);
        refused(check(PAYLOAD_TYPE, &older, &older, &pem), "another image");
        let scanned = statement(&digest, "https://spdx.dev/Document");
        refused(check(PAYLOAD_TYPE, &scanned, &scanned, &pem), "does not sign it");
        let foreign = right.replace("in-toto.io", "example");
        refused(check(PAYLOAD_TYPE, &foreign, &foreign, &pem), "not about an image");
        refused(check(PAYLOAD_TYPE, "{}", "{}", &pem), "not about an image");
        let empty = right.replace(r#""digest":{"#, r#""digest":null,"x":{"#);
        refused(check(PAYLOAD_TYPE, &empty, &empty, &pem), "another image");
    }

    /// By another implementation: sigstore's for JavaScript (`DSSEBundleBuilder` of `@sigstore/sign` 5.1.0), with a key of
    /// OpenSSL's and the statement that cosign 3 writes.
    #[test]
    fn bundles_of_another_implementation_are_read() {
        let keys = [Key::read(include_str!("fixtures/key.pub.pem")).unwrap()];
        let digest = Digest::of(b"an image's manifest");
        let judge = |bundle: &str, digest| judge(bundle.as_bytes(), &digest, &keys);
        let signature = include_str!("fixtures/signature.json");
        assert_eq!(judge(signature, digest), Ok(keys[0].digest));
        assert!(judge(signature, Digest::of(b"other")).unwrap_err().contains("another image"));
        let attestation = include_str!("fixtures/attestation.json");
        assert!(judge(attestation, digest).unwrap_err().contains("does not sign it"));
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let keys = [Key::read(&make_key().1).unwrap()];
        let judge = |text: &str| judge(text.as_bytes(), &Digest::of(b""), &keys).unwrap_err();
        for text in
            ["", "{}x", "[]", r#"{"dsseEnvelope":1}"#, &bundle("x", "y", b"").replace("=", "!")]
        {
            assert!(judge(text).contains("cannot be read"), "{text}");
        }
        assert!(judge(r#"{"messageSignature":{}}"#).contains("of a file"));
        assert!(judge(&bundle(PAYLOAD_TYPE, "{}", b"no signature")).contains("no key"));
    }
}
