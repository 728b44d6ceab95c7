//! TLS towards a node: its certificate must come from the context's authority, and ours is shown to it. A node of a cluster
//! is believed by its name, whatever the address is.

use std::sync::Arc;

use ferrite_pki::{NodeVerifier, Pin};
use ferrite_schema::cluster::MachineId;
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

/// Builds the client side of mutual TLS, version 1.2 or newer. Of a cluster any node is believed, or only `machine`.
///
/// # Errors
/// One of the context's PEM texts cannot be used.
pub(super) fn config(
    context: &Context,
    machine: Option<MachineId>,
) -> Result<Arc<ClientConfig>, CredentialsError> {
    let chain = certificates("certificate", &context.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(context.key.as_bytes())
        .map_err(|source| CredentialsError::Pem { field: "key", source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let authorities = certificates("ca", &context.ca)?;
    let used = |source| CredentialsError::Use { source };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(used)?;
    let builder = match (&context.cluster, authorities.first()) {
        (Some(cluster), Some(root)) => {
            let cluster = (cluster.id.clone(), cluster.name.clone());
            let verifier = NodeVerifier::new(Pin::Root(root.clone()), cluster, machine, provider);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        (None, _) | (_, None) => {
            let mut roots = RootCertStore::empty();
            authorities.into_iter().try_for_each(|one| roots.add(one)).map_err(used)?;
            builder.with_root_certificates(roots)
        }
    };
    builder.with_client_auth_cert(chain, key).map(Arc::new).map_err(used)
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
