//! The node's port: the API behind it, whoever gives the certificates, and the node's membership in its cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ferrite_net::containers::Containers;
use ferrite_schema::cluster::ClusterId;
use ferrite_schema::names;
use ferrite_schema::node_config::NodeConfig;
use tokio::sync::{mpsc, watch};

use crate::api;
use crate::api::cutting::Revoked;
use crate::api::server::{Ending, Serve, Server, Visitor};
use crate::api::tls::Doors;
use crate::cluster;
use crate::control::Step;
use crate::join::hardware;
use crate::join::kept::Folder;
use crate::join::service::Door;
use crate::join::work::{self, Membership, Settings, Told};
use crate::node::Node;
use crate::readiness::Api;

/// Until the API's port, which somebody else has, is tried again.
const API_AGAIN: Duration = Duration::from_secs(3);
/// Nodes that have come and were not met yet.
const VISITORS_MAX: usize = 64;

/// What the port shows; nothing until there is a certificate.
pub(crate) type Doorway = watch::Sender<Option<Doors>>;

/// The port, where the configuration asks for it, and who is answered at it besides the API's users.
pub(crate) struct Port {
    server: Option<Result<Server, Serve>>,
    callers: Callers,
    /// The node has had a certificate, or needs none of its cluster.
    was_certified: bool,
}

/// Machines that want in, nodes of the cluster, and who is not let in.
struct Callers {
    lets_in: Option<Router>,
    nodes: Option<mpsc::Sender<Visitor>>,
    revoked: Option<Revoked>,
}

impl Callers {
    /// They are answered at this port.
    fn at(&self, mut server: Server) -> Server {
        if let Some(router) = &self.lets_in {
            server = server.letting_in(router.clone());
        }
        if let Some(revoked) = &self.revoked {
            server = server.refusing(revoked.clone());
        }
        match &self.nodes {
            Some(nodes) => server.meeting(nodes.clone()),
            None => server,
        }
    }
}

/// Listens for the API, where the configuration asks for it; with it come what decides what is shown, and nodes of the cluster.
pub(crate) async fn listen(
    config: &NodeConfig,
    node: &Node,
) -> (Doorway, Port, mpsc::Receiver<Visitor>) {
    let doorway = Doorway::new(None);
    let (meets, visitors) = mpsc::channel(VISITORS_MAX);
    // In its rescue state a node has no part in the cluster, and nothing to tell it.
    let takes_part = node.rescue.is_none();
    let lets_in = if takes_part { door(config, node).map(Door::router) } else { None };
    let revoked = node.cluster.as_ref().map(|cluster| cluster.watch_revoked());
    let callers = Callers { lets_in, nodes: takes_part.then_some(meets), revoked };
    let server = opened(config, node, &doorway).await;
    let was_certified =
        config.api.is_some() || Folder::at(Path::new(names::MEMBERSHIP_DIR)).was_certified();
    (doorway, Port { server, callers, was_certified }, visitors)
}

/// The port, open; nothing where the configuration asks for none.
async fn opened(
    config: &NodeConfig,
    node: &Node,
    doorway: &Doorway,
) -> Option<Result<Server, Serve>> {
    match (&config.api, &config.cluster) {
        (Some(api), _) => match Doors::alone(api) {
            Ok(doors) => drop(doorway.send_replace(Some(doors))),
            Err(error) => return Some(Err(error.into())),
        },
        // The node's certificate comes from its cluster.
        (None, Some(_)) => {}
        (None, None) => {
            node.warn("no API is served: the configuration has no [api]".to_owned());
            return None;
        }
    }
    let step = Step::begin("api");
    let server = Server::listen(doorway.subscribe(), names::API_PORT).await;
    step.end();
    Some(server)
}

/// What lets machines in, on a node that may be a member.
fn door(config: &NodeConfig, node: &Node) -> Option<Door> {
    let (config, cluster) = (config.cluster.as_ref()?, node.cluster.as_ref()?);
    config.member.as_ref()?;
    match Door::open(config, cluster.knowledge()) {
        Ok(door) => Some(door),
        Err(error) => {
            node.warn(format!("this node lets no machines in: {}", ferrite_schema::chain(&error)));
            None
        }
    }
}

/// Serves the API until `ending` says so; a port that somebody else has for now is tried again.
pub(crate) async fn serve(
    node: &Arc<Node>,
    Port { mut server, callers, was_certified }: Port,
    doorway: &Doorway,
    seen: watch::Sender<Api>,
    mut ending: Ending,
) {
    let about = "api".to_owned();
    let mut told = None;
    loop {
        match server.take() {
            None => return ending.comes().await,
            Some(Ok(server)) => {
                tracing::info!(port = names::API_PORT, "api-listening");
                node.stand(about, None);
                let serve = callers.at(server).serve(api::router(Arc::clone(node)), ending);
                tokio::pin!(serve);
                tokio::select! {
                    () = &mut serve => return,
                    () = opens(doorway, was_certified, &seen) => {}
                }
                return serve.await;
            }
            Some(Err(error)) => {
                let why = ferrite_schema::chain(&error);
                seen.send_replace(Api::Failed(why.clone()));
                if told.as_ref() != Some(&why) {
                    node.stand(about.clone(), Some(format!("no API is served: {why}")));
                    told = Some(why);
                }
                if matches!(error, Serve::Listen { .. }) {
                    tokio::select! {
                        () = tokio::time::sleep(API_AGAIN) => {}
                        () = ending.comes() => return,
                    }
                    server = Some(Server::listen(doorway.subscribe(), names::API_PORT).await);
                }
            }
        }
    }
}

/// Says whether the port lets people in; ends when it does.
async fn opens(doorway: &Doorway, was_certified: bool, seen: &watch::Sender<Api>) {
    let mut doors = doorway.subscribe();
    if doors.borrow_and_update().is_none() {
        let why = "this node has no certificate of its cluster yet".to_owned();
        seen.send_replace(if was_certified { Api::Failed(why) } else { Api::Waits(why) });
    }
    // The sender is the agent's for its whole life.
    doors.wait_for(Option::is_some).await.ok();
    seen.send_replace(Api::Listens);
}

/// Keeps the node in its cluster; never ends. A node without `[cluster]` has nothing to do.
pub(crate) async fn belong(
    config: &NodeConfig,
    node: &Node,
    doorway: &Doorway,
    (visitors, containers): (mpsc::Receiver<Visitor>, Containers),
) {
    let Some(cluster) = &config.cluster else { return std::future::pending().await };
    let news = News { config, node, doorway };
    if let Some(why) = &node.rescue {
        // It would be another machine with each boot, with nothing on it that runs, and a vote that it forgets.
        let mut said =
            format!("this node does not join its cluster while its STATE cannot be used: {why}");
        if cluster.member.is_none() && config.api.is_none() {
            // Its certificate is on STATE, and it has no issuer to give it another one.
            said.push_str(
                ". Its certificate is there too, so that the API lets nobody in: give it an [api] by OEM or fw_cfg, \
                 or order what becomes of STATE on the kernel's command line (ferrite.state=)",
            );
        }
        node.stand("cluster without STATE".to_owned(), Some(said));
    }
    if node.rescue.is_some() && cluster.member.is_none() {
        return std::future::pending().await;
    }
    let Some(known) = &node.cluster else {
        news.stand(Some("this node cannot join its cluster without a machine ID".to_owned()));
        return std::future::pending().await;
    };
    let settings = Settings {
        config: cluster.clone(),
        machine: known.machine().clone(),
        folder: names::MEMBERSHIP_DIR.into(),
        hardware: hardware::digest(Path::new("/sys")),
        boot: hardware::boot(Path::new("/proc")),
    };
    let estranged = work::is_foreign(&settings.config, &settings.folder);
    let certifies = work::work(settings, &news);
    // In its rescue state it has an issuer, so that its operators reach it. What is on STATE of another cluster, etcd's data with
    // it, is not for this one.
    if node.rescue.is_some() || estranged {
        return certifies.await;
    }
    tokio::join!(certifies, cluster::work(known, node, visitors, &containers));
}

/// What becomes of what membership tells.
struct News<'agent> {
    config: &'agent NodeConfig,
    node: &'agent Node,
    doorway: &'agent Doorway,
}

impl Told for News<'_> {
    fn stand(&self, warning: Option<String>) {
        self.node.stand("cluster".to_owned(), warning);
    }

    fn warn(&self, warning: String) {
        self.node.warn(warning);
    }

    fn estranged(&self, why: &str, reached: Option<(ClusterId, Membership)>) {
        // Whoever is let in by `[api]` is let in by that.
        let (None, Some((cluster, membership))) = (&self.config.api, reached) else { return };
        drop(self.node.estranged.set(why.to_owned()));
        match Doors::estranged(&cluster, &membership) {
            Ok(doors) => drop(self.doorway.send_replace(Some(doors))),
            Err(error) => self.node.warn(format!(
                "this node is not reached by anybody: {}",
                ferrite_schema::chain(&error)
            )),
        }
    }

    fn member(&self, membership: Membership) {
        let Some(cluster) = &self.config.cluster else { return };
        if let Some(known) = &self.node.cluster {
            known.certified(&membership, self.node);
        }
        match Doors::of_cluster(self.config.api.as_ref(), &cluster.id, &membership) {
            Ok(doors) => drop(self.doorway.send_replace(Some(doors))),
            Err(error) => self.node.warn(format!(
                "the node's certificate of its cluster cannot be served: {}",
                ferrite_schema::chain(&error)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use ferrite_pki::{Dates, make_root};
    use ferrite_schema::node_config::ApiConfig;

    use super::*;

    /// What is seen with no door, and once there is one.
    async fn seen(was_certified: bool) -> (Api, Api) {
        let doorway = Doorway::new(None);
        let (sender, mut receiver) = watch::channel(Api::Unasked);
        let opens = opens(&doorway, was_certified, &sender);
        tokio::pin!(opens);
        let shut = tokio::select! {
            biased;
            () = &mut opens => panic!("it opens without a certificate"),
            _ = receiver.changed() => receiver.borrow_and_update().clone(),
        };
        let root = make_root("root", 0, Dates::ALWAYS).unwrap();
        let api = ApiConfig {
            ca: root.certificate.clone(),
            certificate: root.certificate,
            key: root.key,
        };
        doorway.send_replace(Some(Doors::alone(&api).unwrap()));
        opens.await;
        let open = receiver.borrow().clone();
        (shut, open)
    }

    #[tokio::test]
    async fn a_port_that_lets_nobody_in_is_not_called_open() {
        let (shut, open) = seen(true).await;
        assert!(matches!(shut, Api::Failed(_)), "{shut:?}");
        assert_eq!(open, Api::Listens);
        let (shut, open) = seen(false).await;
        assert!(matches!(shut, Api::Waits(_)), "{shut:?}");
        assert_eq!(open, Api::Listens);
    }
}
