//! TLS of the node's port: what the node shows, and whom it lets in. A lone node has it from its configuration, a node of a
//! cluster from its certificate there.

use std::sync::Arc;

use ferrite_cluster::protocol;
use ferrite_pki::facts;
use ferrite_schema::cluster::{ClusterId, Role};
use ferrite_schema::join::PROTOCOL;
use ferrite_schema::node_config::ApiConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::peer::Terms;
use crate::join::work::Membership;

/// The certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Tls {
    /// A text is not PEM of what it should be.
    #[error("read {what} as PEM")]
    ReadPem {
        /// Which.
        what: &'static str,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A text holds no certificate.
    #[error("find a certificate in {what}")]
    FindCertificate {
        /// Which.
        what: &'static str,
    },
    /// The authority cannot be trusted.
    #[error("trust {what}")]
    Trust {
        /// Which.
        what: &'static str,
        /// Why.
        source: rustls::Error,
    },
    /// Clients cannot be checked with it.
    #[error("check clients with it")]
    CheckClients(#[source] rustls::server::VerifierBuilderError),
    /// Certificate and key are of no use together.
    #[error("use {what} and its key")]
    UseIdentity {
        /// Which.
        what: &'static str,
        /// Why.
        source: rustls::Error,
    },
}

const CA: &str = "[api] ca";
const CERTIFICATE: &str = "[api] certificate";
const KEY: &str = "[api] key";
const HTTP: &[u8] = b"http/1.1";
const MEMBERSHIP: &str = "the node's certificate of its cluster";

/// The ways in through the node's port.
#[derive(Debug, Clone)]
pub struct Doors {
    /// For peers with a certificate.
    pub(super) api: Arc<ServerConfig>,
    /// What is asked of these beside what TLS asks.
    pub(super) terms: Terms,
    /// For machines that want in; there is one where the node can show that it is of a cluster.
    pub(super) join: Option<Arc<ServerConfig>>,
    /// For nodes of the same cluster.
    pub(super) nodes: Option<Arc<ServerConfig>>,
}

/// What a server shows.
struct Shown {
    what: &'static str,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Doors {
    /// Of a lone node: only clients with a certificate of the configured authority come in.
    ///
    /// # Errors
    /// The API cannot be served with this configuration.
    pub fn alone(api: &ApiConfig) -> Result<Self, Tls> {
        let terms = Terms { cluster: None, without_role: Some(Role::Admin) };
        let config = mutual(&certificates(CA, &api.ca)?, of_config(api)?, HTTP)?;
        Ok(Self { api: config, terms, join: None, nodes: None })
    }

    /// Of a node of a cluster: clients come in with a certificate that its root vouches for. Where the configuration has an
    /// `[api]` of its own, that is what is shown, and its authority's clients come in too.
    ///
    /// # Errors
    /// The API cannot be served with these.
    pub fn of_cluster(
        api: Option<&ApiConfig>,
        cluster: &ClusterId,
        membership: &Membership,
    ) -> Result<Self, Tls> {
        let mut trusted = certificates(MEMBERSHIP, &membership.certificate)?;
        // The root comes last, whoever gave the certificate; it was checked to be the pinned one.
        let mut trusted = trusted.split_off(trusted.len().saturating_sub(1));
        // Whatever the API shows, to its fellows a node shows who it is among them.
        let nodes = Some(mutual(&trusted, of_cluster(membership)?, protocol::PROTOCOL.as_bytes())?);
        let shown = match api {
            Some(api) => {
                trusted.extend(certificates(CA, &api.ca)?);
                of_config(api)?
            }
            None => of_cluster(membership)?,
        };
        let without_role = api.map(|_| Role::Admin);
        let terms = Terms { cluster: Some(cluster.clone()), without_role };
        let join = Some(one_sided(of_cluster(membership)?)?);
        Ok(Self { api: mutual(&trusted, shown, HTTP)?, terms, join, nodes })
    }
}

impl Doors {
    /// Of a node whose STATE belongs to another cluster than its configuration: for people alone, of the cluster whose certificate this
    /// is. It is no node of either.
    ///
    /// # Errors
    /// The API cannot be served with these.
    pub fn estranged(cluster: &ClusterId, membership: &Membership) -> Result<Self, Tls> {
        let whole = Self::of_cluster(None, cluster, membership)?;
        Ok(Self { join: None, nodes: None, ..whole })
    }
}

fn of_config(api: &ApiConfig) -> Result<Shown, Tls> {
    let key = PrivateKeyDer::from_pem_slice(api.key.as_bytes())
        .map_err(|source| Tls::ReadPem { what: KEY, source })?;
    Ok(Shown { what: CERTIFICATE, chain: certificates(CERTIFICATE, &api.certificate)?, key })
}

fn of_cluster(membership: &Membership) -> Result<Shown, Tls> {
    let key = PrivateKeyDer::from_pem_slice(membership.key.as_bytes())
        .map_err(|source| Tls::ReadPem { what: MEMBERSHIP, source })?;
    Ok(Shown { what: MEMBERSHIP, chain: certificates(MEMBERSHIP, &membership.certificate)?, key })
}

/// A server of one protocol that lets in only clients with a certificate that one of `trusted` vouches for.
fn mutual(
    trusted: &[CertificateDer<'static>],
    shown: Shown,
    protocol: &[u8],
) -> Result<Arc<ServerConfig>, Tls> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        let trust = |source| Tls::Trust { what: "the authority of clients", source };
        roots.add(certificate.clone()).map_err(trust)?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(Tls::CheckClients)?;
    let used = |source| Tls::UseIdentity { what: shown.what, source };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(used)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(shown.chain, shown.key)
        .map_err(used)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

/// A server for machines that have no certificate yet.
fn one_sided(shown: Shown) -> Result<Arc<ServerConfig>, Tls> {
    let used = |source| Tls::UseIdentity { what: shown.what, source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(used)?
        .with_no_client_auth()
        .with_single_cert(shown.chain, shown.key)
        .map_err(used)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// What is wrong with the dates of the configured certificates at this time, in seconds since the epoch. They are used all
/// the same: the clock may be what is wrong, and it may be set right later.
pub(super) fn doubts(api: &ApiConfig, now_s: u64) -> Vec<String> {
    [(CA, &api.ca), (CERTIFICATE, &api.certificate)]
        .into_iter()
        .flat_map(|(what, text)| {
            let all = certificates(what, text).unwrap_or_default();
            let problem = move |der: CertificateDer<'_>| {
                let dates = facts(&der).ok()?.dates;
                (!dates.contain(now_s)).then(|| dates.sentence(now_s))
            };
            all.into_iter()
                .filter_map(problem)
                .map(move |problem| format!("{what} will not be accepted by clients: {problem}"))
        })
        .collect()
}

fn certificates(what: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, Tls> {
    let found = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| Tls::ReadPem { what, source })?;
    if found.is_empty() { Err(Tls::FindCertificate { what }) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use ferrite_pki::{Dates, make_root};

    use super::*;

    #[test]
    fn dates_that_a_clock_is_outside_of_are_said_and_others_are_not() {
        let api = |dates| {
            let root = make_root("root", 0, dates).unwrap();
            ApiConfig { ca: root.certificate.clone(), certificate: root.certificate, key: root.key }
        };
        for now_s in [0, 1_790_000_000, 4_070_908_800] {
            assert_eq!(doubts(&api(Dates::ALWAYS), now_s), Vec::<String>::new());
        }
        let short = api(Dates { from_s: 1_788_220_800, until_s: 1_796_083_200 });
        assert!(doubts(&short, 1_790_000_000).is_empty());
        for now_s in [1_754_697_600, 1_788_220_799, 1_796_083_201] {
            assert_eq!(doubts(&short, now_s).len(), 2);
        }
        assert_eq!(
            doubts(&short, 1_924_992_000).first().unwrap(),
            "[api] ca will not be accepted by clients: it is valid from 2026-09-01 00:00:00 UTC to 2026-12-01 00:00:00 \
             UTC, and this node's clock says 2031-01-01 00:00:00 UTC"
        );
    }
}
