//! Requests for certificates (PKCS #10), which prove that who asks has the key.

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SignatureAlgorithm, SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::{self, PemObject};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::secret::digest;

/// A key or a request could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeRequest {
    /// The system's random numbers fail.
    #[error("make a key")]
    MakeKey(#[source] rcgen::Error),
    /// The key that is here is none.
    #[error("read the key")]
    ReadKey(#[source] rcgen::Error),
    /// The request could not be written.
    #[error("write a request for a certificate")]
    Write(#[source] rcgen::Error),
}

/// A request cannot be used. The words say what to do.
#[derive(Debug, thiserror::Error)]
pub enum ReadRequest {
    /// It is no PEM text of one.
    #[error(
        "the request for a certificate is no PEM text of one (-----BEGIN CERTIFICATE REQUEST-----)"
    )]
    Pem(#[source] pem::Error),
    /// Its bytes are none.
    #[error("the request for a certificate is damaged: its bytes are no PKCS #10")]
    Parse,
    /// Its signature is not made with its key.
    #[error("the request for a certificate is not signed with its own key: make it anew")]
    Signature,
    /// The key is of another kind.
    #[error("the request for a certificate has a key of another kind: make an ECDSA key on P-256")]
    OtherKind,
}

/// A key that somebody has shown to have.
#[derive(Debug, Clone)]
pub struct RequestedKey {
    key: SubjectPublicKeyInfo,
    /// SHA-256 of it (`SubjectPublicKeyInfo` in DER), as hexadecimal digits: what a cluster knows a machine by.
    pub digest: String,
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        self.key.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.key.algorithm()
    }
}

/// Makes a key (PKCS #8, PEM).
///
/// # Errors
/// The system's random numbers fail.
pub fn make_key() -> Result<String, MakeRequest> {
    KeyPair::generate().map(|key| key.serialize_pem()).map_err(MakeRequest::MakeKey)
}

/// Asks for a certificate for the public part of `key` (PEM). The request says nothing else: who asks is told who it is.
///
/// # Errors
/// The key is none.
pub fn make_request(key: &str) -> Result<String, MakeRequest> {
    let key = KeyPair::from_pem(key).map_err(MakeRequest::ReadKey)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(MakeRequest::Write)?;
    request.pem().map_err(MakeRequest::Write)
}

/// Reads a request (PEM). Whatever it asks for beside its key is passed over.
///
/// # Errors
/// It is none, or not by who has the key.
pub fn read_request(text: &str) -> Result<RequestedKey, ReadRequest> {
    let der =
        CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).map_err(ReadRequest::Pem)?;
    let request = match X509CertificationRequest::from_der(&der) {
        Ok(([], request)) => request,
        Ok(_) | Err(_) => return Err(ReadRequest::Parse),
    };
    let info = request.certification_request_info.subject_pki.raw;
    let key = SubjectPublicKeyInfo::from_der(info).map_err(|_other| ReadRequest::OtherKind)?;
    if key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
        return Err(ReadRequest::OtherKind);
    }
    request.verify_signature().map_err(|_bad| ReadRequest::Signature)?;
    Ok(RequestedKey { key, digest: digest(info) })
}
