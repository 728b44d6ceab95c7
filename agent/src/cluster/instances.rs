//! The cluster's instances on this node: units of its supervisor, and what is said of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ferrite_cluster::names::{SpecHash, UnitName};
use ferrite_cluster::records::{
    Assigned, Condition, InstanceState, Rest, ServicePort, Spec, State, Target,
};
use ferrite_net::underlay::in_network;
use ferrite_schema::api::{Origin, UnitState, UnitStatus};
use ferrite_schema::unit::{NetworkMode, Unit};
use ferrite_units::assigned::Assigned as Wanted;
use ferrite_units::supervisor::Units;
use tokio::sync::watch;

use super::errand::Instances;
use super::{Cluster, fence, network};
use crate::node::Node;

const ABOUT: &str = "cluster units";

/// This node's units, for the cluster.
pub(super) struct Supervised<'node> {
    pub(super) node: &'node Node,
    pub(super) cluster: &'node Cluster,
}

impl Supervised<'_> {
    const fn units(&self) -> &Units {
        &self.node.units
    }
}

/// The unit as its instance runs.
fn instance(name: &UnitName, spec: &Spec) -> Result<Unit, String> {
    let mut unit = spec.unit().map_err(|wrong| format!("{}: {}", wrong.field, wrong.why))?;
    unit.name = name.to_string();
    if let Some(digest) = &spec.image
        && !unit.image.contains('@')
    {
        unit.image = format!("{}@{digest}", unit.image);
    }
    Ok(unit)
}

/// Where instances of this node are reached from others.
struct Reach {
    /// The node's networks in the cluster's.
    networks: Vec<(IpAddr, u8)>,
    /// The node itself.
    node: Vec<IpAddr>,
}

impl Reach {
    /// Those of a unit's addresses that lead to it from anywhere in the cluster.
    fn of(&self, status: &UnitStatus, network: &NetworkMode) -> Vec<IpAddr> {
        if *network == NetworkMode::Host {
            return self.node.clone();
        }
        let own = status.addresses.iter().filter_map(|address| address.parse().ok());
        own.filter(|address| {
            self.networks.iter().any(|(network, prefix)| in_network(*address, *network, *prefix))
        })
        .collect()
    }
}

fn said(status: &UnitStatus, spec: SpecHash, addresses: Vec<IpAddr>) -> InstanceState {
    let ports = status.ports.iter().filter_map(|port| port_of(port)).collect();
    InstanceState {
        spec,
        state: Condition::Known(status.state),
        ready: status.ready,
        addresses,
        ports,
        exit: status.last_exit.clone(),
        done: status.ready && status.state == UnitState::Exited,
        rest: Rest::new(),
    }
}

/// `8080→80/tcp`: the container's.
fn port_of(words: &str) -> Option<ServicePort> {
    use ferrite_cluster::records::Transport;
    let (port, protocol) = words.rsplit_once('→')?.1.split_once('/')?;
    let protocol = if protocol == "udp" { Transport::Udp } else { Transport::Tcp };
    Some(ServicePort { port: port.parse().ok()?, protocol })
}

impl Instances for Supervised<'_> {
    async fn state(&self, specs: &BTreeMap<UnitName, SpecHash>) -> State {
        let all = self.units().list().await;
        let of_cluster = all.iter().filter(|status| status.origin == Origin::Cluster);
        let underlay = self.cluster.underlay();
        let reach = Reach {
            networks: network::own(self.cluster),
            node: underlay.addresses.iter().map(|(address, _)| *address).collect(),
        };
        let instances = of_cluster.filter_map(|status| {
            let name: UnitName = status.name.parse().ok()?;
            let spec = specs.get(&name)?.clone();
            let unit = self.cluster.folder.spec(&spec).and_then(|spec| spec.unit().ok());
            let mode = unit.map_or(NetworkMode::Bridge, |unit| unit.network);
            Some((name, said(status, spec, reach.of(status, &mode))))
        });
        State { instances: instances.collect(), rest: Rest::new() }.fitting()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.units().changes()
    }

    async fn assign(&self, wanted: BTreeMap<UnitName, (Assigned, Spec)>) {
        let all = wanted.iter().map(|(name, (assigned, spec))| (name, assigned, spec));
        let singles = fence::singles(all);
        self.cluster.fence.guard(singles.clone());
        // One that must not run twice is known here, and does not run before it may.
        let open = self.cluster.fence.is_open();
        let (mut units, mut troubles) = (Vec::new(), Vec::new());
        for (name, (assigned, spec)) in &wanted {
            match instance(name, spec) {
                Ok(unit) => {
                    let may = open || !singles.contains(name);
                    let launched = may && assigned.target == Target::Launched;
                    units.push(Wanted { unit, launched });
                }
                Err(why) => troubles.push(format!("{name} cannot be understood here: {why}")),
            }
        }
        if !troubles.is_empty() {
            // Taking the others for all of it would stop these.
            let why = format!("the cluster's units stay as they are: {}", troubles.join("; "));
            self.node.stand(ABOUT.to_owned(), Some(why));
            return;
        }
        match self.units().assign(units).await {
            Ok(left) => {
                troubles.extend(left.iter().map(|left| format!("{}: {}", left.name, left.why)));
            }
            Err(refusal) => troubles.push(ferrite_schema::chain(&refusal)),
        }
        let said = (!troubles.is_empty())
            .then(|| format!("the cluster's units are not all here: {}", troubles.join("; ")));
        self.node.stand(ABOUT.to_owned(), said);
    }
}

#[cfg(test)]
mod tests {
    use ferrite_cluster::records::{Placement, Transport};

    use super::*;

    #[test]
    fn an_instance_has_its_own_name_and_its_images_digest() {
        let unit = serde_json::json!({"name": "web", "image": "web:1"});
        let digest = format!("sha256:{}", "ab".repeat(32));
        let spec = Spec {
            level: 1,
            unit,
            image: Some(digest.clone()),
            placement: Placement::default(),
            rest: Rest::new(),
        };
        let made = instance(&"web@2".parse().unwrap(), &spec).unwrap();
        assert_eq!((made.name.as_str(), made.image), ("web@2", format!("web:1@{digest}")));
    }

    #[test]
    fn ports_are_those_of_the_container() {
        assert_eq!(
            port_of("8080→80/tcp"),
            Some(ServicePort { port: 80, protocol: Transport::Tcp })
        );
        assert_eq!(
            port_of("[::1]:8080→53/udp"),
            Some(ServicePort { port: 53, protocol: Transport::Udp })
        );
        assert_eq!(port_of("8080"), None);
    }
}
