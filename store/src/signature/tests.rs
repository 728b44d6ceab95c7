use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

use super::key::P256_PREFIX;
use super::*;

pub(crate) fn make_key() -> (EcdsaKeyPair, String) {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
    let der = [&P256_PREFIX[..], pair.public_key().as_ref()].concat();
    let text = STANDARD.encode(der);
    (pair, format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"))
}

fn payload(reference: &str, digest: &Digest) -> Vec<u8> {
    format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"{reference}"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{KIND}"}},"optional":null}}"#
    )
    .into_bytes()
}

#[test]
fn a_signature_counts_for_its_image_and_its_repository_alone() {
    let (pair, pem) = make_key();
    let (_, other_pem) = make_key();
    let random = SystemRandom::new();
    let digest = Digest::of(b"manifest");
    let reference: Reference = "quay.example/team/app:1".parse().unwrap();
    let key = |pem: &str| Key::read(pem).unwrap();
    let check = |signed: &[u8], shown: &[u8], pem: &str| {
        let signature = pair.sign(&random, signed).unwrap();
        judge(shown, signature.as_ref(), &digest, (&reference, &[key(pem)]))
    };
    let good = payload("quay.example/team/app", &digest);
    assert_eq!(check(&good, &good, &pem), Ok(key(&pem).digest));
    assert!(check(&good, &good, &other_pem).unwrap_err().contains("no key"));
    let mut changed = good.clone();
    changed[5] ^= 1;
    assert!(check(&good, &changed, &pem).unwrap_err().contains("no key"));
    let elsewhere = payload("quay.example/team/other", &digest);
    assert!(check(&elsewhere, &elsewhere, &pem).unwrap_err().contains("another repository"));
    let older = payload("quay.example/team/app", &Digest::of(b"older"));
    assert!(check(&older, &older, &pem).unwrap_err().contains("another image"));
}

#[test]
fn keys_are_p256_in_pem() {
    let (_, pem) = make_key();
    assert!(Key::read(&pem).is_some());
    assert!(Key::read("").is_none());
    assert!(Key::read(&pem.replace("MFkw", "MFkx")).is_none());
}

fn rule(name: &str, policy: SignaturePolicy, keys: Vec<String>) -> SignatureRule {
    SignatureRule { name: name.to_owned(), policy, keys }
}

#[test]
fn the_first_rule_counts_for_names_imports_and_what_is_stored() {
    let (_, pem) = make_key();
    let key = Key::read(&pem).unwrap().digest;
    let policy = Policy::new(vec![
        rule("docker.io/library/*", SignaturePolicy::Accept, vec![]),
        rule("quay.example/*", SignaturePolicy::Signed, vec![pem]),
        rule("*", SignaturePolicy::Reject, vec![]),
    ]);
    let name = |text: &str| policy.check_name(&text.parse().unwrap()).is_ok();
    assert!(name("nginx") && name("quay.example/a") && !name("evil.example/a"));
    let import = |text: &str| policy.check_import(&text.parse().unwrap()).is_ok();
    assert!(import("nginx") && !import("quay.example/a") && !import("evil.example/a"));
    let stored = |signed_by: Option<String>, text: &str| {
        let record = Record { signed_by, ..crate::store::empty_record() };
        policy.check_stored(&record, &text.parse().unwrap()).map_err(|refused| refused.is_final())
    };
    let (old, now) = (Digest::of(b"old key").to_string(), key.to_string());
    assert_eq!(stored(None, "nginx"), Ok(()));
    assert_eq!(stored(None, "quay.example/a"), Err(false));
    assert_eq!(stored(Some(old), "quay.example/a"), Err(false));
    assert_eq!(stored(Some(now.clone()), "quay.example/a"), Ok(()));
    // A key that counts elsewhere does not count against a rejection, however the name is written.
    for name in ["evil.example/a", "evil.example:443/a:2", "Evil.Example/a"] {
        assert_eq!(stored(Some(now.clone()), name), Err(true), "{name}");
    }
}
