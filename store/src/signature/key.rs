//! Keys that signatures are judged by.

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

use crate::digest::Digest;

/// What stands before the point in the DER of a P-256 public key.
pub(super) const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A public key: the curve's point, and the digest that it is known by.
#[derive(Debug)]
pub(super) struct Key {
    point: Vec<u8>,
    pub(super) digest: Digest,
}

impl Key {
    /// Reads the PEM of an ECDSA P-256 public key.
    pub(super) fn read(pem: &str) -> Option<Self> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
        let point = der.strip_prefix(&P256_PREFIX[..])?.to_vec();
        (point.len() == 65 && point.first() == Some(&4))
            .then(|| Self { digest: Digest::of(&point), point })
    }
}

/// The key that signed this.
pub(super) fn signer<'k>(keys: &'k [Key], signed: &[u8], signature: &[u8]) -> Option<&'k Key> {
    keys.iter().find(|key| {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.point)
            .verify(signed, signature)
            .is_ok()
    })
}
