//! The network of the node's units, as the supervisor sees it: a unit is attached before its container is
//! started, and detached when it is at rest.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferrite_schema::node_config::NetworkConfig;
use ferrite_schema::unit::{NetworkMode, Unit};
use tokio::sync::{mpsc, oneshot, watch};

use super::addresses::{self, Addresses};
use super::attachments::{Attachments, Plan, Wish};
use super::bridge;
use super::dns::{self, Catalogue, Names, Resolver, Upstream};
use super::mesh::{Flat, Mesh};
use crate::news::{Renamed, Teller};
use crate::services::Services;

pub use super::attachments::{AttachProblem, AttachmentFiles};

/// Requests waiting for the network's thread. Senders wait when it is full.
const QUEUE_MAX: usize = 64;
/// Stack of that thread.
const STACK_BYTES: usize = 256 * 1024;
/// How long units of a node wait for its network in the cluster, once after the agent's start.
const MESH_MAX: Duration = Duration::from_secs(60);
const ABOUT_MESH: &str = "the cluster's network";

/// Where the network keeps and finds things.
#[derive(Debug, Clone)]
pub struct Places {
    /// Folder of units' files, in memory.
    pub folder: PathBuf,
    /// Folder of the shims' run folders.
    pub runs: PathBuf,
    /// Where the node's name servers are.
    pub resolv_conf: PathBuf,
    /// Addresses of the cluster's machines as they were known last: what those have for one another is not for units, from the
    /// first moment on.
    pub machines: BTreeSet<IpAddr>,
    /// The cluster's network, where plain routes led to other machines in it: what speaks then goes on as it was.
    pub flat: Option<Flat>,
}

#[derive(Debug)]
enum Ask {
    Attach(Wish, oneshot::Sender<Result<AttachmentFiles, AttachProblem>>),
    Detach(String, oneshot::Sender<()>),
    OpenMesh(PathBuf, oneshot::Sender<Result<[u8; 32], AttachProblem>>),
    Join(Box<Mesh>, oneshot::Sender<Result<(), AttachProblem>>),
    LookAtPeers(oneshot::Sender<Result<(), AttachProblem>>),
    /// The node's name servers are others now.
    NamesChanged,
}

/// The network of the node's units. Clones are the same network.
#[derive(Debug, Clone)]
pub struct Containers {
    queue: mpsc::Sender<Ask>,
    names: Arc<Mutex<Names>>,
    /// Units may be attached: the node's network is known.
    known: Arc<watch::Sender<bool>>,
}

impl Containers {
    /// Begins to own the units' network, and takes over what an earlier agent left of it. The future that is
    /// returned answers for units' names, and tells units that run what the node's name servers are whenever `renamed`
    /// says that they are others; it works while it is polled and never ends, and tells `teller` where it cannot.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn begin(
        config: &NetworkConfig,
        machine_id: &str,
        places: Places,
        (teller, renamed): (Teller, Renamed),
    ) -> std::io::Result<(Self, impl Future<Output = ()> + use<>)> {
        let ipv6 = bridge::has_ipv6()
            .then(|| config.ipv6_network().unwrap_or_else(|| addresses::private_ipv6(machine_id)));
        let default = NetworkConfig::default();
        // What is configured was checked when it was read.
        let network = config.ipv4_network().or_else(|| default.ipv4_network());
        let (network, prefix) = network.ok_or(std::io::ErrorKind::InvalidInput)?;
        let names = Names::new(config.domain.clone(), (network, prefix), ipv6);
        let names = Arc::new(Mutex::new(names));
        let plan = Plan {
            addresses: Addresses::new(network, prefix, ipv6),
            domain: config.domain.clone(),
            folder: places.folder,
            runs: places.runs,
            machines: places.machines,
            flat: places.flat,
            resolv_conf: places.resolv_conf.clone(),
        };
        let attachments = Attachments::new(plan, Arc::clone(&names));
        let configured = config.name_servers.clone();
        let own_names = Arc::clone(&names);
        let (queue, asked) = mpsc::channel(QUEUE_MAX);
        let (laid, mut is_laid) = watch::channel(Vec::new());
        let told = teller.clone();
        // It ends with the last handle.
        std::thread::Builder::new()
            .name("network".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || work(attachments, asked, &laid, &told))?;
        let told_of_names = tell_of_names(queue.downgrade(), renamed);
        let serve = async move {
            loop {
                // The thread lives as long as there are handles; without it nobody has a name.
                let gateways = match is_laid.wait_for(|gateways| !gateways.is_empty()).await {
                    Ok(gateways) => gateways.clone(),
                    Err(_) => std::future::pending().await,
                };
                let found = places.resolv_conf.clone();
                let upstream = Upstream::new(configured.clone(), found, gateways.clone());
                let resolver = Arc::new(Resolver::new(Arc::clone(&names), upstream));
                tokio::select! {
                    () = dns::serve(resolver, &gateways, &teller) => {}
                    _ = is_laid.wait_for(|others| *others != gateways) => {}
                }
            }
        };
        let answer = async move {
            tokio::join!(serve, told_of_names);
        };
        Ok((Self { queue, names: own_names, known: Arc::new(watch::Sender::new(true)) }, answer))
    }

    /// The node belongs to a cluster: units that want a network wait for the node's own in the cluster, for a while.
    pub fn expect_mesh(&self) {
        self.known.send_replace(false);
    }

    /// Makes this node's end of the cluster's network, with the key that is kept in the file `key`; answers with the public
    /// one.
    ///
    /// # Errors
    /// The kernel or the disk refuses.
    pub async fn open_mesh(&self, key: PathBuf) -> Result<[u8; 32], AttachProblem> {
        self.ask(|reply| Ask::OpenMesh(key, reply)).await?
    }

    /// The cluster's network is this from now on.
    ///
    /// # Errors
    /// The kernel refuses; what was there before may be there in part.
    pub async fn join(&self, mesh: Mesh) -> Result<(), AttachProblem> {
        let joined = self.ask(|reply| Ask::Join(Box::new(mesh), reply)).await?;
        self.known.send_replace(true);
        joined
    }

    /// Looks how the cluster's machines answer, and tries those that do not at the next of their addresses. It is for every ten
    /// seconds or so.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn look_at_peers(&self) -> Result<(), AttachProblem> {
        self.ask(Ask::LookAtPeers).await?
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Result<T, AttachProblem> {
        let (reply, answer) = oneshot::channel();
        let gone = |_closed| AttachProblem::GoingDown;
        self.queue.send(ask(reply)).await.map_err(gone)?;
        answer.await.map_err(|_closed| AttachProblem::GoingDown)
    }

    /// Gives a unit its address, its files, its name in DNS, and publishes its ports. A unit that has them already
    /// keeps its address; its ports become those that are given here.
    ///
    /// # Errors
    /// The unit has no network; no later call of [`Self::detach`] is needed.
    pub async fn attach(
        &self,
        unit: &Unit,
        hostname: &str,
    ) -> Result<AttachmentFiles, AttachProblem> {
        let wish = Wish {
            unit: unit.name.clone(),
            hostname: hostname.to_owned(),
            mode: unit.network.clone(),
            ports: unit.ports.clone(),
            metadata: unit.metadata_service,
        };
        if wish.mode == NetworkMode::Bridge {
            let mut known = self.known.subscribe();
            // Without it the unit has a network of this node alone.
            drop(tokio::time::timeout(MESH_MAX, known.wait_for(|known| *known)).await);
            self.known.send_replace(true);
        }
        self.ask(|reply| Ask::Attach(wish, reply)).await?
    }

    /// Lets units find these services and machines by name, and no others: `None` where the node is in no cluster, or
    /// knows nothing of it yet. It holds until it is called again.
    pub fn know(&self, services: Option<Services>) {
        let catalogue = services.as_ref().map(Catalogue::new);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let before = names.know(catalogue);
        // There may be much to free, and the resolver waits.
        drop(names);
        drop(before);
    }

    /// Takes away everything that [`Self::attach`] gave, as often as it is called.
    pub async fn detach(&self, unit: &str) {
        // With the thread goes what it knew; the next agent clears what is left.
        drop(self.ask(|reply| Ask::Detach(unit.to_owned(), reply)).await);
    }
}

/// Lets the network's thread know of each change. Its end is not waited for: who holds the network holds that.
async fn tell_of_names(queue: mpsc::WeakSender<Ask>, mut renamed: Renamed) {
    while renamed.changed().await.is_ok() {
        let Some(queue) = queue.upgrade() else { return };
        if queue.send(Ask::NamesChanged).await.is_err() {
            return;
        }
    }
}

/// The network's thread.
fn work(
    mut attachments: Attachments,
    mut asked: mpsc::Receiver<Ask>,
    laid: &watch::Sender<Vec<IpAddr>>,
    teller: &Teller,
) {
    if let Err(error) = attachments.take_over() {
        tracing::error!(error = ferrite_schema::chain(&error), "units-network-not-taken-over");
    }
    show(&attachments, laid);
    while let Some(ask) = asked.blocking_recv() {
        match ask {
            Ask::Attach(wish, reply) => {
                let answer = attachments.attach(&wish);
                show(&attachments, laid);
                // Nobody waits any more: the unit is detached when it comes to rest.
                drop(reply.send(answer));
            }
            Ask::Detach(unit, reply) => {
                attachments.detach(&unit);
                if let Some(mesh) = attachments.may_join() {
                    // What did not work stands in the node's status.
                    drop(join(&mut attachments, mesh, teller));
                    show(&attachments, laid);
                }
                // Nobody waits any more: then nobody needs to know.
                let _told = reply.send(());
            }
            Ask::OpenMesh(key, reply) => drop(reply.send(attachments.open_mesh(&key))),
            Ask::LookAtPeers(reply) => drop(reply.send(attachments.look_at_peers())),
            Ask::NamesChanged => attachments.refresh(),
            Ask::Join(mesh, reply) => {
                let joined = join(&mut attachments, *mesh, teller);
                show(&attachments, laid);
                let _told = reply.send(joined);
            }
        }
    }
}

fn join(attachments: &mut Attachments, mesh: Mesh, teller: &Teller) -> Result<(), AttachProblem> {
    let joined = attachments.join(mesh);
    let said = match &joined {
        Ok(doubts) => (!doubts.is_empty()).then(|| doubts.join("; ")),
        Err(problem) => Some(ferrite_schema::chain(problem)),
    };
    teller.stand(ABOUT_MESH.to_owned(), said.map(|said| format!("the cluster's network: {said}")));
    joined.map(drop)
}

/// Where units ask for names from now on.
fn show(attachments: &Attachments, laid: &watch::Sender<Vec<IpAddr>>) {
    let gateways = if attachments.is_laid() { attachments.gateways() } else { Vec::new() };
    laid.send_if_modified(|before| {
        let other = *before != gateways;
        *before = gateways;
        other
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news;

    /// A network whose files are in this folder, what answers for it, and who says that name servers are others.
    fn begin(
        folder: &std::path::Path,
    ) -> (Containers, impl Future<Output = ()> + use<>, watch::Sender<()>) {
        let places = Places {
            folder: folder.join("net"),
            runs: folder.join("runs"),
            resolv_conf: folder.join("resolv.conf"),
            machines: BTreeSet::new(),
            flat: None,
        };
        let (teller, _news) = news::channel();
        let (changes, renamed) = watch::channel(());
        let config = NetworkConfig::default();
        let begun = Containers::begin(&config, "id", places, (teller, renamed)).unwrap();
        (begun.0, begun.1, changes)
    }

    #[tokio::test]
    async fn a_unit_that_runs_is_told_of_a_lease_that_comes() {
        let folder = tempfile::tempdir().unwrap();
        let (containers, answers, changes) = begin(folder.path());
        let text = "name = \"host\"\nimage = \"a\"\nnetwork = \"host\"\n";
        let unit = ferrite_schema::unit::parse(text).unwrap();
        containers.attach(&unit, "host").await.unwrap();
        let lease = "nameserver 192.0.2.1\nsearch a.example\n";
        std::fs::write(folder.path().join("resolv.conf"), lease).unwrap();
        changes.send_replace(());
        let is_told = async {
            // What is asked comes in its order.
            while std::fs::read_to_string(folder.path().join("net/host/resolv.conf")).unwrap()
                != lease
            {
                containers.detach("other").await;
            }
        };
        tokio::select! {
            () = answers => panic!("it never ends"),
            told = tokio::time::timeout(Duration::from_secs(20), is_told) => told.unwrap(),
        }
    }

    #[tokio::test]
    async fn what_is_known_of_the_cluster_is_known_to_the_resolver_until_it_is_told_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (containers, ..) = begin(folder.path());
        let knows = || {
            let names = containers.names.lock().unwrap();
            names.clone().know(None).is_some_and(|known| known.knows("web"))
        };
        assert!(!knows());
        let services = [("web".to_owned(), vec![])].into();
        containers.clone().know(Some(Services { services, ..Services::default() }));
        assert!(knows());
        containers.know(Some(Services::default()));
        assert!(!knows());
        containers.know(None);
        assert!(!knows());
    }
}
