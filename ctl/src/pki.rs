//! Certificates of a local cluster: an authority, the node's server certificate and the user's client
//! certificate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

/// First year and last day of every certificate's validity. A guest's clock may stand at 1970 until it has been set, or in
/// 2099 for one boot, and a cluster must not stop to work because it was paused for long; its keys never leave this
/// computer and are deleted with the cluster. The last second of 9999 is how X.509 says "without end" (RFC 5280, 4.1.2.5).
const VALID_FROM_YEAR: i32 = 1970;
const VALID_UNTIL: (i32, u8, u8) = (9999, 12, 31);
const LAST_SECOND_OF_A_DAY: Duration = Duration::from_secs(24 * 60 * 60 - 1);

/// A certificate and its private key, as PEM texts.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Certificate.
    pub certificate: String,
    /// Private key (PKCS #8).
    pub key: String,
}

/// A certificate that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make a certificate for {subject:?}")]
pub struct MakeCertificate {
    subject: String,
    source: rcgen::Error,
}

/// A cluster's authority.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The cluster's name; the authority's own follows from it.
    pub cluster: String,
    /// Its certificate and key.
    pub identity: Identity,
}

/// Makes an authority that signs what is below it and nothing else.
///
/// # Errors
/// The system's random numbers fail.
pub fn make_authority(cluster: &str) -> Result<Authority, MakeCertificate> {
    let params = authority_params(cluster);
    let make = || -> Result<Identity, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    };
    let identity =
        make().map_err(|source| MakeCertificate { subject: authority_subject(cluster), source })?;
    Ok(Authority { cluster: cluster.to_owned(), identity })
}

/// Makes a node's server certificate. The node is reached through a forwarded port of this computer, hence
/// its loopback names beside the node's own.
///
/// # Errors
/// The node's name is no host name, or the authority's key is none.
pub fn make_server(authority: &Authority, node: &str) -> Result<Identity, MakeCertificate> {
    let wrap = |source| MakeCertificate { subject: node.to_owned(), source };
    let mut params = params(node);
    params.subject_alt_names = vec![
        SanType::DnsName(node.try_into().map_err(wrap)?),
        SanType::DnsName("localhost".try_into().map_err(wrap)?),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(authority, params).map_err(wrap)
}

/// Makes a client certificate for `user`.
///
/// # Errors
/// The authority's key is none.
pub fn make_client(authority: &Authority, user: &str) -> Result<Identity, MakeCertificate> {
    let mut params = params(user);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(authority, params).map_err(|source| MakeCertificate { subject: user.to_owned(), source })
}

fn authority_subject(cluster: &str) -> String {
    format!("ferrite cluster {cluster}")
}

fn authority_params(cluster: &str) -> CertificateParams {
    let mut params = params(&authority_subject(cluster));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(subject: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.not_before = rcgen::date_time_ymd(VALID_FROM_YEAR, 1, 1);
    let (year, month, day) = VALID_UNTIL;
    params.not_after = rcgen::date_time_ymd(year, month, day) + LAST_SECOND_OF_A_DAY;
    params
}

fn sign(authority: &Authority, mut params: CertificateParams) -> Result<Identity, rcgen::Error> {
    // What it signs names the authority by subject and key only, and both are as in its certificate.
    let key = KeyPair::from_pem(&authority.identity.key)?;
    let issuer = Issuer::new(authority_params(&authority.cluster), key);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
}

#[cfg(test)]
#[path = "pki_tests.rs"]
mod tests;
