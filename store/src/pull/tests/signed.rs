//! Signatures that cosign 3 leaves beside an image, in every place where they may be.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrite_schema::node_config::SignaturePolicy;
use ring::rand::SystemRandom;
use ring::signature::EcdsaKeyPair;

use super::shelf::{Shelf, entry, index, manifest_of};
use super::*;
use crate::documents::INDEX_TYPES;
use crate::signature::make_key;

const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A bundle that says this of the image with this digest.
fn bundle(pair: &EcdsaKeyPair, digest: &Digest, predicate: &str) -> Vec<u8> {
    let hex = digest.hex();
    let statement = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{hex}"}}}}],"predicateType":"{predicate}","predicate":{{}}}}"#
    );
    let kind = "application/vnd.in-toto+json";
    let signed = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    let (payload, signature) = (STANDARD.encode(&statement), STANDARD.encode(signature.as_ref()));
    format!(
        r#"{{"mediaType":"{BUNDLE}","verificationMaterial":{{}},"dsseEnvelope":{{"payload":"{payload}","payloadType":"{kind}","signatures":[{{"sig":"{signature}"}}]}}}}"#
    )
    .into_bytes()
}

/// A registry with an image and what refers to it.
struct Signed {
    shelf: Shelf,
    image: Digest,
    pair: EcdsaKeyPair,
    pem: String,
}

impl Signed {
    fn new() -> Self {
        let made = Made::new();
        let mut shelf = Shelf::of(&made);
        let image = Digest::of(&made.manifest);
        shelf.name("manifests/1", image);
        shelf.put("", b"{}");
        let (pair, pem) = make_key();
        Self { shelf, image, pair, pem }
    }

    /// Puts a manifest with this layer onto the shelf; what a list of referrers says of it.
    fn refer(&mut self, kind: &str, layer: &[u8], own: &str) -> String {
        self.shelf.put("", layer);
        let subject = format!(
            r#","artifactType":"{kind}","subject":{{"mediaType":"{}","digest":"{}","size":1}}"#,
            MANIFEST_TYPES[0], self.image
        );
        let manifest = manifest_of(&entry(EMPTY, b"{}", ""), &[entry(kind, layer, "")], &subject);
        self.shelf.put(MANIFEST_TYPES[0], &manifest);
        entry(MANIFEST_TYPES[0], &manifest, &format!(r#","artifactType":"{own}""#))
    }

    fn list(&mut self, at: &str, entries: &[String]) {
        let digest = self.shelf.put(INDEX_TYPES[0], &index(entries));
        self.shelf.name(at, digest);
    }

    fn by_api(&self) -> String {
        format!("referrers/{}", self.image)
    }

    fn by_tag(&self) -> String {
        format!("manifests/sha256-{}", self.image.hex())
    }

    /// A server of these things, and a node that wants a signature by this key.
    async fn node(&self, pem: &str) -> (Server, Node) {
        let server = self.shelf.clone().serve().await;
        let name = format!("{}/*", server.authority);
        let (policy, keys) = (SignaturePolicy::Signed, vec![pem.to_owned()]);
        let rule = SignatureRule { name, policy, keys };
        let node = node_with(&[(&server, plain())], vec![rule]);
        (server, node)
    }

    async fn is_taken(&self) {
        let (server, node) = self.node(&self.pem).await;
        let record = node.pull(&server).await.unwrap();
        assert!(record.signed_by.is_some());
    }

    async fn fails(&self, expected: &str) {
        let (server, node) = self.node(&self.pem).await;
        node.fails(&server, expected).await;
    }
}

#[tokio::test]
async fn a_bundle_is_found_by_the_registrys_list_and_by_a_tag() {
    let mut signed = Signed::new();
    signed.fails("and it has none").await;
    let good = bundle(&signed.pair, &signed.image, SIGN);
    let entry = signed.refer(BUNDLE, &good, BUNDLE);
    let (by_api, by_tag) = (signed.by_api(), signed.by_tag());
    signed.list(&by_api, std::slice::from_ref(&entry));
    signed.is_taken().await;
    let (_, other) = make_key();
    let (server, node) = signed.node(&other).await;
    node.fails(&server, "no key of the rule made the one it has").await;
    // A registry that has no list, and one whose list is empty: what cosign leaves there has the configuration's type.
    for empty in [false, true] {
        let mut signed = Signed::new();
        let good = bundle(&signed.pair, &signed.image, SIGN);
        let entry = signed.refer(BUNDLE, &good, EMPTY);
        let list = signed.by_tag();
        signed.list(&list, &[entry]);
        if empty {
            let list = signed.by_api();
            signed.list(&list, &[]);
        }
        signed.is_taken().await;
    }
    assert_ne!(by_api, by_tag);
}

#[tokio::test]
async fn what_else_refers_to_an_image_is_no_signature() {
    let mut signed = Signed::new();
    let list = signed.by_api();
    let scan = bundle(&signed.pair, &signed.image, "https://spdx.dev/Document");
    let scan = signed.refer(BUNDLE, &scan, BUNDLE);
    signed.list(&list, std::slice::from_ref(&scan));
    signed.fails("says something about the image, and does not sign it").await;
    let mut signed = Signed::new();
    let older = bundle(&signed.pair, &Digest::of(b"older"), SIGN);
    let older = signed.refer(BUNDLE, &older, BUNDLE);
    signed.list(&list, std::slice::from_ref(&older));
    signed.fails("is about another image").await;
    // Beside all of that, and beside what is gone, the right one counts.
    let mut signed = Signed::new();
    let all = [
        signed.refer("application/spdx+json", b"{}", "application/spdx+json"),
        entry(MANIFEST_TYPES[0], b"gone", ""),
        signed.refer(BUNDLE, b"nonsense", BUNDLE),
        signed.refer("text/plain", b"nonsense", EMPTY),
    ];
    let good = bundle(&signed.pair, &signed.image, SIGN);
    let good = signed.refer(BUNDLE, &good, BUNDLE);
    signed.list(&list, &[&all[..], &[good]].concat());
    signed.is_taken().await;
}

#[tokio::test]
async fn a_list_of_several_pages_is_read_to_its_end() {
    let mut signed = Signed::new();
    let good = bundle(&signed.pair, &signed.image, SIGN);
    let good = signed.refer(BUNDLE, &good, BUNDLE);
    let path = format!("/v2/team/app/{}", signed.by_api());
    let (first, last) = (index(&[]), index(&[good]));
    let (shelf, page) = (signed.shelf.clone(), path.clone());
    let server = Server::start(move |asked| {
        if asked.path == page {
            let mut answer = bytes(&first, None);
            let link = format!(r#"<{page}?page=2>; rel="next""#);
            answer.headers_mut().insert(header::LINK, link.parse().unwrap());
            answer
        } else if asked.path == format!("{page}?page=2") {
            bytes(&last, None)
        } else {
            shelf.answer(asked)
        }
    })
    .await;
    let name = format!("{}/*", server.authority);
    let rule =
        SignatureRule { name, policy: SignaturePolicy::Signed, keys: vec![signed.pem.clone()] };
    let node = node_with(&[(&server, plain())], vec![rule]);
    assert!(node.pull(&server).await.unwrap().signed_by.is_some());
}

/// They are looked at one after the other, and that there are more is no secret.
#[tokio::test]
async fn of_very_many_the_first_count_and_it_is_said_that_there_are_more() {
    for (before, counts) in [(63, true), (64, false)] {
        let mut signed = Signed::new();
        let list = signed.by_api();
        let mut all: Vec<String> = (0..before)
            .map(|number| signed.refer("text/plain", format!("no {number}").as_bytes(), EMPTY))
            .collect();
        let good = bundle(&signed.pair, &signed.image, SIGN);
        all.push(signed.refer(BUNDLE, &good, BUNDLE));
        signed.list(&list, &all);
        if counts {
            signed.is_taken().await;
        } else {
            signed.fails("none of the first 64 counts, and there are more").await;
        }
    }
}
