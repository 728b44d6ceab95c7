//! Who may say something of etcd. Every machine of the cluster has a certificate by which it is a node, and could say that it
//! serves, or who the members are: those that believed it would give their data up one after the other. So it counts only from
//! members that this node knows, and from machines that show, where etcd's peers meet, a certificate of the peers' own authority:
//! only machines that may run etcd can have one. Workers have nothing that could be given up, and nothing to compare with.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferrite_cluster::protocol::{Member, Standing};
use ferrite_cluster::store::PEER_PORT;
use ferrite_pki::{Identity, certificates, sentence};
use ferrite_schema::cluster::{MachineId, MachineName};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Cluster, etcd, now_s};

/// What another one gets to show its certificate, and how long after it is asked once more.
const PATIENCE: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_secs(5);
/// A relay that has just begun may not be there yet: people are told after so many times.
const VAIN_MAX: u32 = 3;

/// It is not known to run etcd.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotShown {
    /// This node has none of the peers' certificates itself.
    #[error("only nodes that may run etcd know who else may")]
    Worker,
    #[error("make a certificate of its own")]
    Prepare(#[from] etcd::Prepare),
    #[error("use a certificate of its own: {0}")]
    Own(String),
    #[error("reach {address}")]
    Connect { address: SocketAddr, source: std::io::Error },
    #[error("{address} shows nothing within {} s", PATIENCE.as_secs())]
    Silent { address: SocketAddr },
    #[error("{address} shows no certificate of a member: {why}")]
    Other { address: SocketAddr, why: String },
}

/// Whether what a node at this address says of etcd is believed.
pub(super) async fn believed(cluster: &Cluster, other: &Standing, address: SocketAddr) -> bool {
    if is_known(cluster, &other.machine) {
        return true;
    }
    match shows(cluster, &other.machine, address).await {
        Ok(()) => true,
        Err(why) => {
            let why = ferrite_schema::chain(&why);
            tracing::info!(machine = %other.machine, why, "not-believed-of-etcd");
            false
        }
    }
}

fn is_known(cluster: &Cluster, machine: &MachineId) -> bool {
    cluster.members.borrow().iter().any(|member| member.machine == *machine)
}

/// Has the machine that was reached at this address show that it is etcd's peer.
async fn shows(cluster: &Cluster, machine: &MachineId, at: SocketAddr) -> Result<(), NotShown> {
    let member = cluster.config.member.as_ref().ok_or(NotShown::Worker)?;
    let own = etcd::certificate(&cluster.config, &cluster.whose(), now_s())?;
    let config = config(member.peer_issuer.certificate.as_str(), &own)?;
    let name = MachineName { machine: machine.clone(), cluster: cluster.name().clone() };
    let mut address = at;
    address.set_port(PEER_PORT);
    shows_at(config, &name, address).await
}

/// Believes the peers' authority alone, and is one of them.
fn config(authority: &str, own: &Identity) -> Result<ClientConfig, NotShown> {
    fn failed(error: impl std::fmt::Display) -> NotShown {
        NotShown::Own(error.to_string())
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority).map_err(failed)? {
        roots.add(certificate).map_err(failed)?;
    }
    let chain = certificates(&own.certificate).map_err(failed)?;
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).map_err(failed)?;
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(failed)
}

async fn shows_at(
    config: ClientConfig,
    name: &MachineName,
    address: SocketAddr,
) -> Result<(), NotShown> {
    let server = ServerName::try_from(name.to_string());
    let server = server.map_err(|error| NotShown::Own(error.to_string()))?;
    let shakes = async {
        let connect = |source| NotShown::Connect { address, source };
        let tcp = TcpStream::connect(address).await.map_err(connect)?;
        let shaken = TlsConnector::from(Arc::new(config)).connect(server, tcp).await;
        shaken.map(drop).map_err(|source| {
            let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            NotShown::Other { address, why: inner.map_or_else(|| source.to_string(), sentence) }
        })
    };
    tokio::time::timeout(PATIENCE, shakes).await.map_err(|_elapsed| NotShown::Silent { address })?
}

/// What a relay says of the members, kept until it may say so.
#[derive(Debug, Default)]
struct Said {
    proven: bool,
    waits: Option<(Vec<Member>, bool)>,
}

impl Said {
    /// It says who the members are, `fresh` as a quorum has told it; answers with what of it counts now.
    fn hears(&mut self, members: Vec<Member>, fresh: bool) -> Option<(Vec<Member>, bool)> {
        if self.proven {
            return Some((members, fresh));
        }
        let before = self.waits.as_ref().is_some_and(|(_, fresh)| *fresh);
        self.waits = Some((members, fresh || before));
        None
    }

    /// It has shown that it may; answers with what it said so far.
    fn is_proven(&mut self) -> Option<(Vec<Member>, bool)> {
        self.proven = true;
        self.waits.take()
    }
}

/// What one relay says of who runs etcd, over one link.
#[derive(Debug)]
pub(super) struct Members<'node> {
    cluster: &'node Cluster,
    said: Mutex<Said>,
}

impl<'node> Members<'node> {
    /// As this machine says, or another one.
    pub(super) fn told_by(cluster: &'node Cluster, machine: &MachineId) -> Self {
        let proven = cluster.config.member.is_none()
            || machine == cluster.machine()
            || is_known(cluster, machine);
        Self { cluster, said: Mutex::new(Said { proven, waits: None }) }
    }

    fn said<T>(&self, does: impl FnOnce(&mut Said) -> T) -> T {
        does(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The relay says who they are.
    pub(super) fn hears(&self, members: Vec<Member>, fresh: bool) {
        match self.said(|said| said.hears(members, fresh)) {
            Some((members, fresh)) => self.take(members, fresh),
            // Whoever its members are: this node must not begin another one.
            None => self.cluster.exists(),
        }
    }

    /// Has the relay at this address show that it may say so, until it has. Never ends.
    /// `stands` is told why not, for people, and when that is over.
    pub(super) async fn proves(
        &self,
        (machine, address): (&MachineId, SocketAddr),
        stands: impl Fn(Option<String>),
    ) -> Infallible {
        let mut vain = 0;
        while !self.said(|said| said.proven) {
            match shows(self.cluster, machine, address).await {
                Ok(()) => {
                    stands(None);
                    if let Some((members, fresh)) = self.said(Said::is_proven) {
                        self.take(members, fresh);
                    }
                }
                Err(why) => {
                    vain += 1;
                    let why = ferrite_schema::chain(&why);
                    if vain == VAIN_MAX {
                        tracing::warn!(relay = %machine, why, "members-not-believed");
                        stands(Some(format!(
                            "this node does not know who runs etcd: machine {machine} says so, and does not show that it may: {why}"
                        )));
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        std::future::pending().await
    }

    fn take(&self, members: Vec<Member>, fresh: bool) {
        let (cluster, own) = (self.cluster, self.cluster.machine());
        if fresh && !members.is_empty() && members.iter().all(|member| member.machine != *own) {
            cluster.removed.send_if_modified(|removed| {
                let is = cluster.standing.borrow().as_ref().is_some_and(|one| one.member);
                is && !std::mem::replace(removed, true)
            });
        }
        cluster.know(members);
    }
}

#[cfg(test)]
mod tests {
    use ferrite_pki::{Dates, Issuer, make_root, node_leaf, peer_leaf};
    use rustls::ServerConfig;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn member(digit: &str) -> Member {
        Member { machine: digit.repeat(32).parse().unwrap(), addresses: Vec::new(), learner: false }
    }

    #[test]
    fn what_a_relay_says_counts_once_it_has_shown_that_it_may_say_so() {
        let (old, new) = (vec![member("a")], vec![member("b")]);
        let mut said = Said::default();
        assert_eq!(said.hears(old.clone(), true), None);
        assert_eq!(said.hears(new.clone(), false), None, "nothing so far");
        assert_eq!(said.is_proven(), Some((new, true)), "the last, and a quorum said so");
        assert_eq!(said.hears(old.clone(), false), Some((old, false)));
        assert_eq!(said.is_proven(), None);
    }

    /// A peer's port that shows this, once.
    async fn port(shown: &Identity) -> SocketAddr {
        let chain = certificates(&shown.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            drop(TlsAcceptor::from(Arc::new(config)).accept(tcp).await);
        });
        address
    }

    #[tokio::test]
    async fn only_a_peer_of_that_name_by_the_peers_authority_is_one() {
        let cluster = "c".repeat(32).parse().unwrap();
        let name = |digit: &str| MachineName {
            machine: digit.repeat(32).parse().unwrap(),
            cluster: "dev".parse().unwrap(),
        };
        let dates = Dates::ALWAYS;
        let root = make_root("root", 1, dates).unwrap();
        let signs = Issuer::root(&root).unwrap();
        let below = |subject| signs.make_issuer(subject, dates).unwrap();
        let (peers, nodes) = (below("peers"), below("nodes"));
        let peers_issue = Issuer::below(&peers, &root.certificate).unwrap();
        let nodes_issue = Issuer::below(&nodes, &root.certificate).unwrap();
        let peer = |digit| peers_issue.issue(&peer_leaf(&cluster, &name(digit), now_s())).unwrap();
        let worker = nodes_issue.issue(&node_leaf(&cluster, &name("b"), now_s())).unwrap();
        let asks = async |shown: &Identity| {
            let config = config(&peers.certificate, &peer("a")).unwrap();
            shows_at(config, &name("b"), port(shown).await).await
        };
        asks(&peer("b")).await.unwrap();
        for (shown, what) in [(peer("d"), "another machine"), (worker, "a node")] {
            let refused = asks(&shown).await.unwrap_err();
            assert!(matches!(refused, NotShown::Other { .. }), "{what}: {refused}");
        }
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let config = config(&peers.certificate, &peer("a")).unwrap();
        let refused = shows_at(config, &name("b"), closed).await.unwrap_err();
        assert!(matches!(refused, NotShown::Connect { .. }), "{refused}");
    }
}
