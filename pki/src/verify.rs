//! Whether who answers is a node of the cluster: its certificate must come from the pinned root and name a machine of the
//! cluster. By which address it was reached means nothing.

use std::fmt;
use std::sync::Arc;

use ferrite_schema::cluster::{ClusterId, ClusterName, MachineId, Role};
use ferrite_schema::utc;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use crate::facts::{ReadCertificate, facts, fingerprint};

/// What is known of the cluster's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// It.
    Root(CertificateDer<'static>),
    /// SHA-256 of it.
    Fingerprint([u8; 32]),
}

/// Why a peer is not believed to be a node of the cluster.
#[derive(thiserror::Error)]
pub enum Unbelieved {
    /// Its certificate cannot be read.
    #[error("read its certificate")]
    Read(#[source] ReadCertificate),
    /// It shows no root with the pinned fingerprint.
    #[error(
        "it shows no certificate with the fingerprint of this cluster's root: another cluster answers there, or somebody else"
    )]
    OtherRoot,
    /// Its certificate names no machine.
    #[error("its certificate names no machine: it is no node of a cluster")]
    NoMachine,
    /// Another cluster's.
    #[error(
        "it is a node of another cluster: its certificate is of cluster {theirs:?}, and this is {ours:?}"
    )]
    OtherCluster {
        /// Whose it is.
        theirs: String,
        /// Whose it should be.
        ours: String,
    },
    /// Another machine.
    #[error("it is machine {found}, and not {expected}")]
    OtherMachine {
        /// Who it is.
        found: MachineId,
        /// Who it should be.
        expected: MachineId,
    },
}

/// rustls shows it so inside of its own errors: people read that.
impl fmt::Debug for Unbelieved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&ferrite_schema::chain(self))
    }
}

/// What a person is told where a handshake with a node has failed, or its certificate is not believed.
#[must_use]
pub fn sentence(error: &Error) -> String {
    use CertificateError::{
        BadSignature, ExpiredContext, NotValidYetContext, Other, UnknownIssuer,
    };
    let Error::InvalidCertificate(why) = error else { return error.to_string() };
    let said = |word, bound: &UnixTime, time: &UnixTime| {
        let [bound, time] = [bound, time].map(|time| utc::text(time.as_secs()));
        format!("its certificate is valid {word} {bound}, and the clock here says {time}")
    };
    match why {
        Other(OtherError(why)) => ferrite_schema::chain(&**why),
        UnknownIssuer | BadSignature => {
            "the root of this cluster has not vouched for it: another cluster answers there, or somebody else".to_owned()
        }
        ExpiredContext { time, not_after } => said("until", not_after, time),
        NotValidYetContext { time, not_before } => said("from", not_before, time),
        _ => error.to_string(),
    }
}

/// Believes nodes of one cluster, or one of them.
#[derive(Debug)]
pub struct NodeVerifier {
    pin: Pin,
    cluster: (ClusterId, ClusterName),
    machine: Option<MachineId>,
    provider: Arc<CryptoProvider>,
}

impl NodeVerifier {
    /// Believes any node of this cluster, or only `machine`.
    #[must_use]
    pub const fn new(
        pin: Pin,
        cluster: (ClusterId, ClusterName),
        machine: Option<MachineId>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self { pin, cluster, machine, provider }
    }

    /// The name that the certificate has, where it is a node's of this cluster.
    fn name(&self, end_entity: &CertificateDer<'_>) -> Result<String, Unbelieved> {
        let read = facts(end_entity).map_err(Unbelieved::Read)?;
        let (id, name) = &self.cluster;
        let machine = read.machine.ok_or(Unbelieved::NoMachine)?;
        let Some((cluster, Role::Node)) = read.role else { return Err(Unbelieved::NoMachine) };
        if (&cluster, &machine.cluster) != (id, name) {
            let theirs = format!("{} ({cluster})", machine.cluster);
            return Err(Unbelieved::OtherCluster { theirs, ours: format!("{name} ({id})") });
        }
        match &self.machine {
            Some(expected) if *expected != machine.machine => {
                Err(Unbelieved::OtherMachine { found: machine.machine, expected: expected.clone() })
            }
            Some(_) | None => Ok(machine.to_string()),
        }
    }

    fn root<'shown>(
        &'shown self,
        intermediates: &'shown [CertificateDer<'shown>],
    ) -> Result<&'shown CertificateDer<'shown>, Unbelieved> {
        match &self.pin {
            Pin::Root(root) => Ok(root),
            Pin::Fingerprint(pinned) => intermediates
                .iter()
                .find(|shown| fingerprint(shown) == *pinned)
                .ok_or(Unbelieved::OtherRoot),
        }
    }
}

fn refused(why: Unbelieved) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _reached_by: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = self.name(end_entity).map_err(refused)?;
        let root = self.root(intermediates).map_err(refused)?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        let provider = Arc::clone(&self.provider);
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let name = ServerName::try_from(name).map_err(|_no_name| refused(Unbelieved::NoMachine))?;
        chain.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
