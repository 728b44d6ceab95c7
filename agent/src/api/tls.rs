//! Mutual TLS from the node's configuration.

use std::sync::Arc;

use ferrite_schema::node_config::ApiConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::validity::Validity;

/// The configuration's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Tls {
    /// A text is not PEM of what it should be.
    #[error("read [api] {field} as PEM")]
    ReadPem {
        /// Key of the configuration.
        field: &'static str,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A text holds no certificate.
    #[error("find a certificate in [api] {field}")]
    FindCertificate {
        /// Key of the configuration.
        field: &'static str,
    },
    /// The authority cannot be trusted.
    #[error("trust [api] ca")]
    Trust(#[source] rustls::Error),
    /// Clients cannot be checked with it.
    #[error("check clients with [api] ca")]
    CheckClients(#[source] rustls::server::VerifierBuilderError),
    /// Certificate and key are of no use together.
    #[error("use [api] certificate and key")]
    UseIdentity(#[source] rustls::Error),
}

/// A server that lets in only clients with a certificate of the configured authority.
///
/// # Errors
/// The API cannot be served with this configuration.
pub(super) fn server_config(api: &ApiConfig) -> Result<Arc<ServerConfig>, Tls> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", &api.ca)? {
        roots.add(certificate).map_err(Tls::Trust)?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(Tls::CheckClients)?;
    let key = PrivateKeyDer::from_pem_slice(api.key.as_bytes())
        .map_err(|source| Tls::ReadPem { field: "key", source })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Tls::UseIdentity)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates("certificate", &api.certificate)?, key)
        .map_err(Tls::UseIdentity)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What is wrong with the dates of the configured certificates at this time, in seconds since the epoch. They are used all
/// the same: the clock may be what is wrong, and it may be set right later.
pub(super) fn doubts(api: &ApiConfig, now_s: u64) -> Vec<String> {
    [("ca", &api.ca), ("certificate", &api.certificate)]
        .into_iter()
        .flat_map(|(field, text)| {
            let all = certificates(field, text).unwrap_or_default();
            let problem = move |der: CertificateDer<'_>| Validity::of(&der)?.problem(now_s);
            all.into_iter().filter_map(problem).map(move |problem| {
                format!("[api] {field} will not be accepted by clients: {problem}")
            })
        })
        .collect()
}

fn certificates(field: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, Tls> {
    let found = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| Tls::ReadPem { field, source })?;
    if found.is_empty() { Err(Tls::FindCertificate { field }) } else { Ok(found) }
}
