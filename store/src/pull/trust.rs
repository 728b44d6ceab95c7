//! Whom the node trusts: certificate authorities per host, and where its configuration allows plain HTTP.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ferrite_schema::host;
use ferrite_schema::node_config::RegistryConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::address::Origin;

/// Where the system's authorities are: Debian's place, and the image's own.
const SYSTEM_AUTHORITIES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/usr/share/ca-certificates.crt"];

/// Certificates to check with cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustProblem {
    /// The configured text is not PEM.
    #[error("read the ca of [registries.{host:?}] as PEM")]
    Read {
        /// The host.
        host: String,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The configured text holds no certificate that can be trusted.
    #[error("find a certificate in the ca of [registries.{host:?}]")]
    Find {
        /// The host.
        host: String,
    },
    /// The TLS library refuses.
    #[error("set up TLS")]
    SetUp(#[source] rustls::Error),
}

/// The configuration of hosts.
pub struct Trust {
    hosts: BTreeMap<String, RegistryConfig>,
    system: Vec<PathBuf>,
    made: Mutex<HashMap<String, Arc<ClientConfig>>>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Trust").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl Trust {
    /// Trusts the system's authorities, and for each host its own. A host that is configured under several spellings has
    /// what any of them says, first what its own does.
    #[must_use]
    pub fn new(configured: BTreeMap<String, RegistryConfig>) -> Self {
        let (own, others): (Vec<_>, Vec<_>) = configured
            .into_iter()
            .filter_map(|(host, config)| Some((host::canonical(&host)?, host, config)))
            .partition(|(canonical, host, _)| canonical == host);
        let mut hosts = BTreeMap::<String, RegistryConfig>::new();
        for (host, _, config) in own.into_iter().chain(others) {
            hosts.entry(host).or_default().complete(config);
        }
        let system = SYSTEM_AUTHORITIES.iter().map(PathBuf::from).collect();
        Self { hosts, system, made: Mutex::default() }
    }

    /// What the configuration says of a host, however it is spelled.
    #[must_use]
    pub fn host(&self, authority: &str) -> Option<&RegistryConfig> {
        self.hosts.get(&host::canonical(authority)?)
    }

    /// What the configuration says of a server. The port counts: another service on the same machine is a stranger.
    #[must_use]
    pub fn server(&self, origin: &Origin) -> Option<&RegistryConfig> {
        let full = || format!("{}:{}", origin.authority(), origin.port);
        self.host(&origin.authority()).or_else(|| self.host(&full()))
    }

    /// Whether the server may be spoken to without TLS.
    #[must_use]
    pub fn allows_plain_http(&self, origin: &Origin) -> bool {
        self.server(origin).is_some_and(|config| config.plain_http)
    }

    /// TLS for a server.
    ///
    /// # Errors
    /// Its own authority cannot be used.
    pub fn tls(&self, origin: &Origin) -> Result<Arc<ClientConfig>, TrustProblem> {
        let own = self.server(origin).and_then(|config| config.ca.as_deref());
        // Hosts without an authority of their own share one.
        let key = own.map(|_| origin.authority()).unwrap_or_default();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = made.get(&key) {
            return Ok(Arc::clone(config));
        }
        let mut roots = self.system_roots();
        if let Some(pem) = own {
            add(&mut roots, pem, &key)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustProblem::SetUp)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        made.insert(key, Arc::clone(&config));
        Ok(config)
    }

    fn system_roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let pem = self.system.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default();
        // A single odd certificate among a hundred takes nothing from the others.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        roots
    }
}

fn add(roots: &mut RootCertStore, pem: &str, host: &str) -> Result<(), TrustProblem> {
    let mut count = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate =
            certificate.map_err(|source| TrustProblem::Read { host: host.to_owned(), source })?;
        roots.add(certificate).map_err(TrustProblem::SetUp)?;
        count += 1;
    }
    if count == 0 { Err(TrustProblem::Find { host: host.to_owned() }) } else { Ok(()) }
}
