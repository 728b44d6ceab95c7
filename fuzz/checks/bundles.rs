//! Signatures as sigstore's bundles: what counts for one image counts for no other.

use ferrite_schema::node_config::{SignaturePolicy, SignatureRule};
use ferrite_schema::reference::Reference;
use ferrite_store::digest::Digest;
use ferrite_store::signature::{Demand, Policy};

/// The key of `store`'s own fixtures, by which some of the corpus is signed.
const KEY: &str = include_str!("../../store/src/signature/fixtures/key.pub.pem");

fn demand() -> Demand {
    let (policy, keys) = (SignaturePolicy::Signed, vec![KEY.to_owned()]);
    let rule = SignatureRule { name: "registry.example/*".to_owned(), policy, keys };
    let reference: Reference = "registry.example/team/app:1".parse().expect("a reference");
    Policy::new(vec![rule]).demand(&reference).expect("a rule").expect("a demand")
}

/// Judges `data` as a bundle.
pub(crate) fn check(data: &[u8]) {
    let demand = demand();
    let is_of = |image: &[u8]| demand.judge_bundle(data, &Digest::of(image));
    let (right, other) = (is_of(b"an image's manifest"), is_of(b"another image's manifest"));
    assert!(right.is_err() || other.is_err(), "it counts for two images");
    // Nobody but the holder of the key signs, and that one has signed nothing about this one.
    assert!(other.is_err_and(|why| !why.is_empty()), "it was signed by nobody");
}
