//! This node's part in the cluster's network, and the services that it answers for: what it is told is carried out, and kept
//! on STATE, so that a node without its cluster goes on with what it knew.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ferrite_cluster::catalogue::Catalogue;
use ferrite_cluster::protocol::PeersSnapshot;
use ferrite_cluster::records::Transport;
use ferrite_net::containers::Containers;
use ferrite_net::mesh::{Mesh, Peer};
use ferrite_net::services::{Instance, Services};
use ferrite_net::underlay::Underlay;
use ferrite_schema::cluster::MachineId;
use ferrite_schema::cluster_network::{CLUSTER_PREFIX6, MeshTransport};
use ferrite_schema::node_config::ClusterNetworkConfig;
use ferrite_schema::unit::Protocol;
use ferrite_store::beside::beside;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::kept::KeptServices;
use super::{Cluster, Heard, now_s};
use crate::node::Node;

/// What is kept of services is as old as this at most, while they change.
const KEEP_EVERY: Duration = Duration::from_secs(5);
/// How often the node's own addresses are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A network that the kernel did not take is tried again after this long.
const AGAIN: Duration = Duration::from_secs(5);
const ABOUT: &str = "cluster network";
const ABOUT_KEY: &str = "cluster network key";
const ABOUT_WISHES: &str = "cluster network wishes";

/// Goes on with what was kept, and makes this node's end of the network.
pub(super) async fn begin(cluster: &Cluster, node: &Node, containers: &Containers) {
    remember(cluster, node);
    if needs_key(cluster) {
        open(cluster, node, containers).await;
    }
}

/// Carries out whatever is told. Never ends.
pub(super) async fn follow(cluster: &Cluster, node: &Node, containers: &Containers) {
    tokio::join!(join(cluster, node, containers), answer(cluster, containers));
}

/// WireGuard carries packets to others, as far as this node knows.
fn needs_key(cluster: &Cluster) -> bool {
    let told = cluster.peers.borrow();
    let told = told.as_ref().and_then(|told| told.networks.parse().ok());
    let wanted = cluster.config.network.transport.unwrap_or_default();
    told.map_or(wanted, |network| network.transport) == MeshTransport::WireGuard
}

/// Makes this node's end of the network, unless it is made; whether it is.
async fn open(cluster: &Cluster, node: &Node, containers: &Containers) -> bool {
    if cluster.mesh_key.get().is_some() {
        return true;
    }
    match containers.open_mesh(cluster.folder.mesh_key()).await {
        Ok(key) => {
            drop(cluster.mesh_key.set(BASE64_STANDARD.encode(key)));
            node.stand(ABOUT_KEY.to_owned(), None);
            true
        }
        Err(error) => {
            let why = ferrite_schema::chain(&error);
            let said = format!("units of this node are not reached from other machines: {why}");
            node.stand(ABOUT_KEY.to_owned(), Some(said));
            false
        }
    }
}

/// Goes on with what was kept, until more is told.
fn remember(cluster: &Cluster, node: &Node) {
    match cluster.folder.peers() {
        Ok(Some(peers)) => drop(cluster.peers.send_replace(Some(peers))),
        Ok(None) => {}
        Err(why) => node.warn(why),
    }
    match cluster.folder.services() {
        Ok(Some(kept)) => {
            let heard = Heard { catalogue: kept.catalogue.into(), as_of_s: Some(kept.as_of_s) };
            cluster.services.send_replace(Some(heard));
        }
        Ok(None) => {}
        Err(why) => node.warn(why),
    }
}

/// Makes the network what is told, and again where the node's own addresses change.
async fn join(cluster: &Cluster, node: &Node, containers: &Containers) {
    let mut told = cluster.peers.subscribe();
    let mut kept = None;
    // However often something is told, it is looked.
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let snapshot = told.borrow_and_update().clone();
        let opened = !needs_key(cluster) || open(cluster, node, containers).await;
        let mut wait = (!opened).then_some(AGAIN);
        if let Some(snapshot) = &snapshot {
            if kept.as_ref() != Some(snapshot) {
                let (folder, told) = (cluster.folder.clone(), snapshot.clone());
                match beside(move || folder.keep_peers(&told)).await {
                    Ok(()) => kept = Some(snapshot.clone()),
                    Err(error) => {
                        tracing::warn!(error = ferrite_schema::chain(&error), "peers-not-kept");
                    }
                }
            }
            match mesh(cluster.machine(), snapshot) {
                Ok(Some(mesh)) => {
                    node.stand(ABOUT.to_owned(), None);
                    node.stand(
                        ABOUT_WISHES.to_owned(),
                        unfulfilled(&cluster.config.network, &mesh),
                    );
                    let (number, peers) = (mesh.number, mesh.peers.len());
                    match containers.join(mesh).await {
                        Ok(()) => tracing::info!(number, peers, "cluster-network-joined"),
                        // The network says itself what is wrong.
                        Err(_) => wait = Some(AGAIN),
                    }
                }
                Ok(None) => {}
                Err(why) => node.stand(ABOUT.to_owned(), Some(why)),
            }
        }
        let changes = changes(containers, snapshot.is_some(), &mut looks);
        tokio::select! {
            changed = told.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
            }
            () = changes => {}
            () = after(wait) => {}
        }
    }
}

/// Ends when the node's own addresses are others; never where that is of no interest. Until then it is looked whether the others
/// answer at theirs.
async fn changes(containers: &Containers, matters: bool, looks: &mut Interval) {
    let before = Underlay::look().ok();
    loop {
        looks.tick().await;
        if !matters {
            continue;
        }
        if let Err(error) = containers.look_at_peers().await {
            tracing::debug!(error = ferrite_schema::chain(&error), "peers-not-looked-at");
        }
        if Underlay::look().ok() != before {
            return;
        }
    }
}

async fn after(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// The node's networks in the cluster's; none until it has a number.
pub(super) fn own(cluster: &Cluster) -> Vec<(IpAddr, u8)> {
    let snapshot = cluster.peers.borrow().clone();
    let mesh = snapshot.and_then(|snapshot| mesh(cluster.machine(), &snapshot).ok().flatten());
    mesh.map_or_else(Vec::new, |mesh| mesh.own().to_vec())
}

/// The network as this machine takes part in it; nothing while it has no number.
fn mesh(own: &MachineId, snapshot: &PeersSnapshot) -> Result<Option<Mesh>, String> {
    let network = snapshot.networks.parse().map_err(|wrong| {
        format!("the cluster's networks are not understood: {}: {}", wrong.field, wrong.why)
    })?;
    let number = snapshot.peers.get(own).and_then(|peer| peer.number);
    let Some(number) = number else { return Ok(None) };
    let others = snapshot.peers.iter().filter(|(id, _)| *id != own);
    let peers = others.map(|(_, peer)| Peer {
        name: peer.name.clone(),
        number: peer.number,
        key: peer.key.as_ref().and_then(|key| key_of(key)),
        addresses: peer.addresses.clone(),
        mtu: peer.mtu,
    });
    let (ipv4, ipv6, transport) = (network.ipv4.parts(), network.ipv6.address(), network.transport);
    Ok(Some(Mesh { ipv4, ipv6, transport, number, peers: peers.collect() }))
}

/// What the node's configuration wants of the network and the cluster has not: it was decided when the cluster was begun.
fn unfulfilled(wanted: &ClusterNetworkConfig, mesh: &Mesh) -> Option<String> {
    let ((ipv4, prefix), ipv6) = (mesh.ipv4, mesh.ipv6);
    let ipv4 = (wanted.ipv4.map(|own| own.to_string()), format!("{ipv4}/{prefix}"));
    let ipv6 = (wanted.ipv6.map(|own| own.to_string()), format!("{ipv6}/{CLUSTER_PREFIX6}"));
    let transport = (wanted.transport.map(|own| own.to_string()), mesh.transport.to_string());
    let differs = [("ipv4", ipv4), ("ipv6", ipv6), ("transport", transport)].into_iter();
    let differs = differs.filter_map(|(key, (wanted, has))| {
        let wanted = wanted.filter(|wanted| *wanted != has)?;
        Some(format!("{key} = \"{wanted}\", where the cluster has \"{has}\""))
    });
    let differs: Vec<String> = differs.collect();
    (!differs.is_empty()).then(|| {
        format!(
            "[cluster.network] says {}: what the cluster was begun with counts, so change the configuration",
            differs.join(" and ")
        )
    })
}

/// A key in base64. One that is none is as good as none.
fn key_of(text: &str) -> Option<[u8; 32]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// Answers for the services that are told, and keeps them now and then.
async fn answer(cluster: &Cluster, containers: &Containers) {
    let (mut told, mut peers) = (cluster.services.subscribe(), cluster.peers.subscribe());
    let mut keep_at: Option<Instant> = None;
    loop {
        let heard = told.borrow_and_update().clone();
        let machines = peers.borrow_and_update().clone();
        if let Some(heard) = &heard {
            containers.know(Some(services(&heard.catalogue, machines.as_ref())));
        }
        tokio::select! {
            changed = told.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                keep_at = keep_at.or_else(|| Some(Instant::now() + KEEP_EVERY));
            }
            Ok(()) = peers.changed() => {}
            () = at(keep_at) => {
                keep_at = None;
                if let Some(heard) = heard {
                    let as_of_s = heard.as_of_s.unwrap_or_else(now_s);
                    let kept = KeptServices { as_of_s, catalogue: Catalogue::clone(&heard.catalogue) };
                    let folder = cluster.folder.clone();
                    if let Err(error) = beside(move || folder.keep_services(&kept)).await {
                        tracing::warn!(error = ferrite_schema::chain(&error), "services-not-kept");
                    }
                }
            }
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The catalogue, as the resolver wants it.
fn services(catalogue: &Catalogue, peers: Option<&PeersSnapshot>) -> Services {
    let services = catalogue.services.iter().map(|(name, instances)| {
        let instances = instances.iter().map(|(instance, endpoint)| {
            let ports = endpoint.ports.iter().map(|port| {
                let protocol = match port.protocol {
                    Transport::Tcp => Protocol::Tcp,
                    Transport::Udp => Protocol::Udp,
                };
                (port.port, protocol)
            });
            Instance {
                name: instance.to_string(),
                addresses: endpoint.addresses.clone(),
                ports: ports.collect(),
            }
        });
        (name.clone(), instances.collect())
    });
    let mut machines = BTreeMap::new();
    for peer in peers.iter().flat_map(|peers| peers.peers.values()) {
        machines.entry(peer.name.clone()).or_insert_with(|| peer.addresses.clone());
    }
    Services { services: services.collect(), machines }
}

#[cfg(test)]
mod tests {
    use ferrite_cluster::protocol::Peer as Told;
    use ferrite_cluster::records::{Networks, Rest};

    use super::*;

    fn id(digit: &str) -> MachineId {
        digit.repeat(32).parse().unwrap()
    }

    fn snapshot(ipv4: &str, own: Option<u16>) -> PeersSnapshot {
        let peer = |number, key: &str| Told {
            name: "dev".to_owned(),
            number,
            key: Some(key.to_owned()),
            addresses: vec![[10, 0, 0, 1].into()],
            mtu: None,
        };
        let key = BASE64_STANDARD.encode([7; 32]);
        let (ipv4, ipv6) = (ipv4.to_owned(), "fd00:1:2::/48".to_owned());
        PeersSnapshot {
            networks: Networks { ipv4, ipv6, transport: None, level: None, rest: Rest::new() },
            peers: [
                (id("a"), peer(own, &key)),
                (id("b"), peer(Some(9), &key)),
                (id("c"), peer(Some(10), "bm9uZQ==")),
            ]
            .into(),
        }
    }

    #[test]
    fn a_machine_takes_part_once_it_has_a_number_and_others_by_their_keys() {
        let mesh = |snapshot: &PeersSnapshot| super::mesh(&id("a"), snapshot);
        assert_eq!(mesh(&snapshot("10.112.0.0/12", None)), Ok(None));
        let joined = mesh(&snapshot("10.112.0.0/12", Some(4))).unwrap().unwrap();
        assert_eq!((joined.number, joined.ipv4.1), (4, 12));
        let keys: Vec<_> = joined.peers.iter().map(|peer| (peer.number, peer.key)).collect();
        assert_eq!(keys, [(Some(9), Some([7; 32])), (Some(10), None)]);
        for wrong in ["10.112.0.1/12", "10.112.0.0", "10.112.0.0/25", "x/12"] {
            let said = mesh(&snapshot(wrong, Some(4))).unwrap_err();
            assert!(said.contains("networks.ipv4"), "{wrong}: {said}");
        }
        let mut other = snapshot("10.112.0.0/12", Some(4));
        other.networks.transport = Some("routes".to_owned());
        assert_eq!(mesh(&other).unwrap().unwrap().transport, MeshTransport::Routes);
        other.networks.transport = Some("vxlan".to_owned());
        assert!(mesh(&other).unwrap_err().contains("networks.transport"), "nothing is guessed");
    }

    #[test]
    fn wishes_that_come_too_late_are_named_and_others_are_not() {
        let mesh = mesh(&id("a"), &snapshot("10.112.0.0/12", Some(4))).unwrap().unwrap();
        let none = ClusterNetworkConfig::default();
        assert_eq!(unfulfilled(&none, &mesh), None);
        let same = ClusterNetworkConfig {
            ipv4: Some("10.112.0.0/12".parse().unwrap()),
            ipv6: Some("fd00:1:2::/48".parse().unwrap()),
            transport: Some(MeshTransport::WireGuard),
        };
        assert_eq!(unfulfilled(&same, &mesh), None);
        let late = ClusterNetworkConfig {
            ipv4: Some("10.64.0.0/12".parse().unwrap()),
            transport: Some(MeshTransport::Routes),
            ..same
        };
        let said = unfulfilled(&late, &mesh).unwrap();
        for words in [
            "ipv4 = \"10.64.0.0/12\", where the cluster has \"10.112.0.0/12\"",
            "transport = \"routes\", where the cluster has \"wireguard\"",
        ] {
            assert!(said.contains(words), "{said}");
        }
        assert!(!said.contains("ipv6"), "{said}");
    }
}
