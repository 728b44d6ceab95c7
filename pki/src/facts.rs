//! What a certificate says. Whether it may be believed is `verify`'s to say, and rustls's.

use ferrite_schema::cluster::{ClusterId, MachineName, NotOne, Role};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::dates::Dates;
use crate::secret::digest;

/// A certificate cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadCertificate {
    /// A text is no PEM of one.
    #[error("it is no PEM text of a certificate")]
    Pem(#[source] pem::Error),
    /// A text holds none.
    #[error("there is no certificate in it")]
    Nothing,
    /// Its bytes are none.
    #[error("its bytes are no certificate")]
    Parse,
    /// A role that this version does not know, or two of them.
    #[error("read its role")]
    Role(#[source] NotOne),
    /// Nobody has two.
    #[error("it gives two roles")]
    TwoRoles,
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whom it is for, for people; empty where it does not say.
    pub subject: String,
    /// Host names.
    pub names: Vec<String>,
    /// The machine that it is for.
    pub machine: Option<MachineName>,
    /// What its holder may do in which cluster.
    pub role: Option<(ClusterId, Role)>,
    /// Serial number, as hexadecimal digits.
    pub serial: String,
    /// When it is good.
    pub dates: Dates,
    /// SHA-256 of its key, as [`crate::RequestedKey::digest`].
    pub key: String,
    /// It may certify others.
    pub certifies: bool,
}

/// Reads a certificate (DER).
///
/// # Errors
/// It is none, or its role is not known here.
pub fn facts(der: &[u8]) -> Result<Facts, ReadCertificate> {
    let certificate = match X509Certificate::from_der(der) {
        Ok(([], certificate)) => certificate,
        Ok(_) | Err(_) => return Err(ReadCertificate::Parse),
    };
    let common_name = certificate.subject().iter_common_name().next();
    let alternative =
        certificate.subject_alternative_name().map_err(|_twice| ReadCertificate::Parse)?;
    let alternative = alternative.map_or(&[][..], |found| &found.value.general_names);
    let mut names = Vec::new();
    let mut role = None;
    for name in alternative {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::URI(uri) => {
                let Some(found) = Role::of_uri(uri) else { continue };
                if role.replace(found.map_err(ReadCertificate::Role)?).is_some() {
                    return Err(ReadCertificate::TwoRoles);
                }
            }
            _ => {}
        }
    }
    let seconds = |time: &x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    let validity = certificate.validity();
    Ok(Facts {
        subject: common_name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned(),
        machine: names.iter().find_map(|name| MachineName::parse(name)),
        names,
        role,
        serial: hex::encode(certificate.raw_serial()),
        dates: Dates {
            from_s: seconds(&validity.not_before),
            until_s: seconds(&validity.not_after),
        },
        key: digest(certificate.public_key().raw),
        certifies: certificate.is_ca(),
    })
}

/// The certificates of a PEM text, one at least.
///
/// # Errors
/// There is none, or something else.
pub fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, ReadCertificate> {
    let found = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(ReadCertificate::Pem)?;
    if found.is_empty() { Err(ReadCertificate::Nothing) } else { Ok(found) }
}

/// SHA-256 of a certificate (DER).
#[must_use]
pub fn fingerprint(der: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, der).as_ref());
    bytes
}

/// What the first certificate of a PEM text says: the leaf's, by custom.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn first_facts(text: &str) -> Result<Facts, ReadCertificate> {
    let all = certificates(text)?;
    all.first().ok_or(ReadCertificate::Nothing).and_then(|first| facts(first))
}

/// Whether the first certificate of one PEM text is signed with the key of another's first.
///
/// # Errors
/// One of them cannot be read.
pub fn is_signed_by(text: &str, above: &str) -> Result<bool, ReadCertificate> {
    let (text, above) = (certificates(text)?, certificates(above)?);
    let read =
        |all: &'_ [CertificateDer<'static>]| all.first().cloned().ok_or(ReadCertificate::Nothing);
    let (der, above) = (read(&text)?, read(&above)?);
    let parse = |der| X509Certificate::from_der(der).map_err(|_none| ReadCertificate::Parse);
    let ((_, signed), (_, above)) = (parse(&der)?, parse(&above)?);
    Ok(signed.verify_signature(Some(above.public_key())).is_ok())
}
