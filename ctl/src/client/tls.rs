//! TLS towards a node: its certificate must come from the context's authority, and ours is shown to it.

use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::context::Context;

/// Why a context's credentials cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CredentialsError {
    #[error("read the context's {field}: it is not PEM")]
    Pem { field: &'static str, source: pem::Error },
    #[error("read the context's {field}: it holds no certificate")]
    Empty { field: &'static str },
    #[error("use the context's credentials")]
    Use { source: rustls::Error },
}

/// Builds the client side of mutual TLS, version 1.2 or newer.
///
/// # Errors
/// One of the context's PEM texts cannot be used.
pub(super) fn config(context: &Context) -> Result<Arc<ClientConfig>, CredentialsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", &context.ca)? {
        roots.add(certificate).map_err(|source| CredentialsError::Use { source })?;
    }
    let chain = certificates("certificate", &context.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(context.key.as_bytes())
        .map_err(|source| CredentialsError::Pem { field: "key", source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key))
        .map_err(|source| CredentialsError::Use { source })?;
    Ok(Arc::new(config))
}

fn certificates(
    field: &'static str,
    text: &str,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|source| CredentialsError::Pem { field, source })?;
    if found.is_empty() {
        return Err(CredentialsError::Empty { field });
    }
    Ok(found)
}
