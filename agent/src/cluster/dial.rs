//! Reaches other nodes of the cluster by address, and believes only certificates of it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrite_cluster::protocol::{Inquiry, Message, PROTOCOL, Standing};
use ferrite_pki::{NodeVerifier, Pin, certificates, facts, sentence};
use ferrite_schema::cluster::{ClusterId, ClusterName, MachineId};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::frames::{Broken, frames};
use crate::join::work::Membership;

/// What another node gets for everything up to its first answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// A node was not reached. The words say what to do, where there is something.
#[derive(Debug, thiserror::Error)]
pub(super) enum Dial {
    /// It is not there.
    #[error("reach {address}")]
    Connect { address: String, source: io::Error },
    /// It says nothing.
    #[error("{address} does not answer within {} s", within.as_secs_f32())]
    Deadline { address: String, within: Duration },
    /// Who answers is not believed, or does not believe us.
    #[error(
        "{address} is not believed to be a node of this cluster, or does not believe this one: {why}"
    )]
    Believe { address: String, why: String },
    /// It is a node, and has no such door.
    #[error("{address} does not speak {PROTOCOL}")]
    NoDoor { address: String },
    /// It broke off.
    #[error("speak to {address}")]
    Broke { address: String, source: Broken },
    /// It says something else.
    #[error("{address} answers something else than it was asked")]
    Answer { address: String },
    /// This node's own certificate is of no use.
    #[error("use this node's certificate")]
    Own(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How this node is known to its fellows, and whom it believes.
#[derive(Clone)]
pub(super) struct Identity {
    config: Arc<ClientConfig>,
    cluster: ClusterId,
    machine: MachineId,
    boot_id: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Identity").field("machine", &self.machine).finish_non_exhaustive()
    }
}

/// A node that was reached.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) machine: MachineId,
    pub(super) address: SocketAddr,
}

impl Identity {
    /// With this certificate, in this cluster.
    pub(super) fn new(
        membership: &Membership,
        (id, name): (ClusterId, ClusterName),
        (machine, boot_id): (MachineId, String),
    ) -> Result<Self, Dial> {
        let own = |error: &dyn fmt::Display| Dial::Own(error.to_string().into());
        let chain = certificates(&membership.certificate).map_err(|error| own(&error))?;
        // The root comes last, whoever gave the certificate; it was checked to be the pinned one.
        let root = chain.last().cloned().ok_or_else(|| own(&"it is empty"))?;
        let key = PrivateKeyDer::from_pem_slice(membership.key.as_bytes())
            .map_err(|error| own(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pinned = (id.clone(), name);
        let verifier = NodeVerifier::new(Pin::Root(root), pinned, None, Arc::clone(&provider));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| own(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain, key)
            .map_err(|error| own(&error))?;
        config.alpn_protocols = vec![PROTOCOL.as_bytes().to_vec()];
        Ok(Self { config: Arc::new(config), cluster: id, machine, boot_id })
    }

    /// The node at `address` (`HOST:PORT`), whichever it is. It gets `connects` for its first word, that somebody is there at
    /// all.
    pub(super) async fn reach(&self, address: &str, connects: Duration) -> Result<Reached, Dial> {
        let reached = tokio::time::timeout(PATIENCE, self.reach_it(address, connects)).await;
        reached.map_err(|_elapsed| silent(address, PATIENCE))?
    }

    async fn reach_it(&self, address: &str, connects: Duration) -> Result<Reached, Dial> {
        let at = || address.to_owned();
        let connect = |source| Dial::Connect { address: at(), source };
        let tcp = tokio::time::timeout(connects, TcpStream::connect(address)).await;
        let tcp = tcp.map_err(|_elapsed| silent(address, connects))?.map_err(connect)?;
        let peer = tcp.peer_addr().map_err(connect)?;
        crate::api::server::watch_over(&tcp).map_err(connect)?;
        // By which name it is reached means nothing; TLS wants one to send, and this one is nobody's.
        let name = ServerName::try_from("node").map_err(|error| Dial::Own(error.into()))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(name, tcp).await.map_err(|source| {
            let none =
                rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
            let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            if inner == Some(&none) {
                return Dial::NoDoor { address: at() };
            }
            let why = inner.map_or_else(|| source.to_string(), sentence);
            Dial::Believe { address: at(), why }
        })?;
        let shown = stream.get_ref().1;
        if shown.alpn_protocol() != Some(PROTOCOL.as_bytes()) {
            return Err(Dial::NoDoor { address: at() });
        }
        let leaf = shown.peer_certificates().and_then(|all| all.first());
        let machine = leaf.and_then(|leaf| facts(leaf).ok()?.machine).map(|name| name.machine);
        let machine = machine.ok_or_else(|| Dial::NoDoor { address: at() })?;
        Ok(Reached { stream, machine, address: peer })
    }

    /// How the node at `address` stands to the cluster; with it comes the address at which it was reached.
    pub(super) async fn inquire(&self, address: &str) -> Result<(Standing, SocketAddr), Dial> {
        let asked = tokio::time::timeout(PATIENCE, self.inquire_it(address)).await;
        asked.map_err(|_elapsed| silent(address, PATIENCE))?
    }

    async fn inquire_it(&self, address: &str) -> Result<(Standing, SocketAddr), Dial> {
        let reached = self.reach_it(address, PATIENCE).await?;
        let at = || address.to_owned();
        let broke = |source| Dial::Broke { address: at(), source };
        let (mut hears, mut says) = frames(reached.stream);
        let (cluster, machine) = (self.cluster.to_string(), self.machine.clone());
        let boot_id = Some(self.boot_id.clone());
        says.say(&Message::Inquire(Inquiry { cluster, machine, boot_id })).await.map_err(broke)?;
        match hears.next().await.map_err(broke)? {
            // It speaks for itself only.
            Message::Standing(standing) if standing.machine == reached.machine => {
                Ok((standing, reached.address))
            }
            _ => Err(Dial::Answer { address: at() }),
        }
    }
}

fn silent(address: &str, within: Duration) -> Dial {
    Dial::Deadline { address: address.to_owned(), within }
}
