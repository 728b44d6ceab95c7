//! Making certificates: roots, issuers below them, and leaves.

use std::time::Duration;

use ferrite_schema::cluster::{ClusterId, MachineName, Role};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::dates::{Dates, WITHOUT_END_S};
use crate::facts::{ReadCertificate, facts};
use crate::secret::{DrawSecret, draw};

/// How long a node's certificate is good. It renews it when two thirds are over.
pub const NODE_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Bytes of a serial number: the most that RFC 5280, 4.1.2.2, has, less what others may prepend.
const SERIAL_BYTES: usize = 16;

/// A certificate, with what its receivers need of those above it, and its private key; PEM texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Certificates.
    pub certificate: String,
    /// Private key (PKCS #8).
    pub key: String,
}

/// A log never shows the key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// A certificate that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make a certificate for {subject:?}")]
pub struct MakeCertificate {
    subject: String,
    source: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("write it")]
    Write(#[source] rcgen::Error),
    #[error(transparent)]
    Draw(#[from] DrawSecret),
}

/// What is to certify others cannot.
#[derive(Debug, thiserror::Error)]
pub enum UseIssuer {
    /// The key is none.
    #[error("read the issuer's key")]
    ReadKey(#[source] rcgen::Error),
    /// The certificate is none.
    #[error("read the issuer's certificate")]
    ReadCertificate(#[source] ReadCertificate),
    /// The certificate's subject or key identifier is not one that a leaf can refer to.
    #[error("refer to the issuer's certificate")]
    Refer(#[source] rcgen::Error),
    /// It certifies nothing.
    #[error(
        "the issuer's certificate is none that may certify others: give the one that `ferrite config new` wrote"
    )]
    NoIssuer,
    /// They do not belong together.
    #[error(
        "the issuer's key is not that of its certificate: give both as `ferrite config new` wrote them"
    )]
    OtherKey,
}

/// What a certificate's holder may be in TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uses {
    /// A server.
    Server,
    /// A client.
    Client,
    /// Both.
    Both,
}

/// A name by which a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// A host name, or a machine's.
    Dns(String),
    /// An address. Only clusters on this computer have them.
    Address(std::net::IpAddr),
}

/// What a certificate says that certifies nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Whom it is for, for people.
    pub subject: String,
    /// Names of a server.
    pub names: Vec<Name>,
    /// What the holder may do in which cluster.
    pub role: Option<(ClusterId, Role)>,
    /// What the holder may be.
    pub uses: Uses,
    /// When it is good.
    pub dates: Dates,
}

/// A node's: server and client, by its machine's name.
#[must_use]
pub fn node_leaf(cluster: &ClusterId, name: &MachineName, now_s: u64) -> Leaf {
    Leaf {
        // The machine's name is longer than a common name may be (64).
        subject: name.machine.to_string(),
        names: vec![Name::Dns(name.to_string())],
        role: Some((cluster.clone(), Role::Node)),
        uses: Uses::Both,
        dates: Dates::lasting(now_s, NODE_LIFE),
    }
}

/// An etcd peer's: as a node's, with a role that opens no door of the API.
#[must_use]
pub fn peer_leaf(cluster: &ClusterId, name: &MachineName, now_s: u64) -> Leaf {
    Leaf { role: Some((cluster.clone(), Role::Peer)), ..node_leaf(cluster, name, now_s) }
}

/// A person's.
#[must_use]
pub fn user_leaf(cluster: &ClusterId, user: &str, role: Role, dates: Dates) -> Leaf {
    Leaf {
        subject: user.to_owned(),
        names: Vec::new(),
        role: Some((cluster.clone(), role)),
        uses: Uses::Client,
        dates,
    }
}

/// Makes a root with `below` levels of issuers under it.
///
/// # Errors
/// The system's random numbers fail.
pub fn make_root(subject: &str, below: u8, dates: Dates) -> Result<Identity, MakeCertificate> {
    let make = || {
        let params = authority(subject, below, dates)?;
        let key = KeyPair::generate().map_err(Cause::Write)?;
        let certificate = params.self_signed(&key).map_err(Cause::Write)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    };
    make().map_err(|source| MakeCertificate { subject: subject.to_owned(), source })
}

/// A certificate that certifies others, with its key.
pub struct Issuer {
    issuer: rcgen::Issuer<'static, KeyPair>,
    /// What is sent behind whatever it certifies; empty for a root, which everybody has.
    chain: String,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Issuer").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl Issuer {
    /// A root: what it certifies is sent alone.
    ///
    /// # Errors
    /// Certificate or key are none, or do not belong together.
    pub fn root(identity: &Identity) -> Result<Self, UseIssuer> {
        Self::read(identity, String::new())
    }

    /// An issuer below `root` (PEM): what it certifies is sent with both, so that who knows no more than the root's
    /// fingerprint can follow.
    ///
    /// # Errors
    /// Certificate or key are none, or do not belong together.
    pub fn below(identity: &Identity, root: &str) -> Result<Self, UseIssuer> {
        Self::read(identity, [identity.certificate.as_str(), root].map(with_newline).concat())
    }

    fn read(identity: &Identity, chain: String) -> Result<Self, UseIssuer> {
        let der = CertificateDer::from_pem_slice(identity.certificate.as_bytes())
            .map_err(|source| UseIssuer::ReadCertificate(ReadCertificate::Pem(source)))?;
        let read = facts(&der).map_err(UseIssuer::ReadCertificate)?;
        let key = KeyPair::from_pem(&identity.key).map_err(UseIssuer::ReadKey)?;
        if !read.certifies {
            return Err(UseIssuer::NoIssuer);
        }
        if read.key != crate::secret::digest(&key.subject_public_key_info()) {
            return Err(UseIssuer::OtherKey);
        }
        let issuer = rcgen::Issuer::from_ca_cert_der(&der, key).map_err(UseIssuer::Refer)?;
        Ok(Self { issuer, chain })
    }

    /// Makes an issuer below this one.
    ///
    /// # Errors
    /// The system's random numbers fail.
    pub fn make_issuer(&self, subject: &str, dates: Dates) -> Result<Identity, MakeCertificate> {
        let make = || {
            let params = authority(subject, 0, dates)?;
            self.sign_with_new_key(params)
        };
        make().map_err(|source| MakeCertificate { subject: subject.to_owned(), source })
    }

    /// Makes a leaf and its key.
    ///
    /// # Errors
    /// A name is no host name, or the system's random numbers fail.
    pub fn issue(&self, leaf: &Leaf) -> Result<Identity, MakeCertificate> {
        let make = || {
            let identity = self.sign_with_new_key(leaf_params(leaf)?)?;
            let certificate = identity.certificate + &self.chain;
            Ok(Identity { certificate, ..identity })
        };
        make().map_err(|source| MakeCertificate { subject: leaf.subject.clone(), source })
    }

    /// Certifies a key that somebody else has; answers with the certificates (PEM).
    ///
    /// # Errors
    /// A name is no host name, or the system's random numbers fail.
    pub fn certify(
        &self,
        leaf: &Leaf,
        key: &impl PublicKeyData,
    ) -> Result<String, MakeCertificate> {
        let make = || {
            let signed = leaf_params(leaf)?.signed_by(key, &self.issuer).map_err(Cause::Write)?;
            Ok(signed.pem() + &self.chain)
        };
        make().map_err(|source| MakeCertificate { subject: leaf.subject.clone(), source })
    }

    fn sign_with_new_key(&self, params: CertificateParams) -> Result<Identity, Cause> {
        let key = KeyPair::generate().map_err(Cause::Write)?;
        let signed = params.signed_by(&key, &self.issuer).map_err(Cause::Write)?;
        Ok(Identity { certificate: signed.pem(), key: key.serialize_pem() })
    }
}

fn with_newline(text: &str) -> String {
    format!("{}\n", text.trim())
}

fn authority(subject: &str, below: u8, dates: Dates) -> Result<CertificateParams, Cause> {
    let mut params = params(subject, dates)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn leaf_params(leaf: &Leaf) -> Result<CertificateParams, Cause> {
    let mut params = params(&leaf.subject, leaf.dates)?;
    for name in &leaf.names {
        params.subject_alt_names.push(match name {
            Name::Dns(name) => SanType::DnsName(name.as_str().try_into().map_err(Cause::Write)?),
            Name::Address(address) => SanType::IpAddress(*address),
        });
    }
    if let Some((cluster, role)) = &leaf.role {
        let uri = role.uri(cluster).as_str().try_into().map_err(Cause::Write)?;
        params.subject_alt_names.push(SanType::URI(uri));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match leaf.uses {
        Uses::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Uses::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Uses::Both => {
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        }
    };
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(subject: &str, dates: Dates) -> Result<CertificateParams, Cause> {
    let moment = |seconds: u64| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.min(WITHOUT_END_S))
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.not_before = moment(dates.from_s);
    params.not_after = moment(dates.until_s);
    // Where none is given it follows from the key, and a renewed certificate could not be told from the one before.
    let mut serial = hex::decode(draw(SERIAL_BYTES)?).unwrap_or_default();
    if let Some(first) = serial.first_mut() {
        // Positive, and as long as every other.
        *first = (*first & 0x3f) | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}
