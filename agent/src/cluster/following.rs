//! This node's way to the cluster: which relay it is linked to, one after the other, for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ferrite_cluster::catalogue::Catalogue;
use ferrite_cluster::protocol::{Member, PeersSnapshot, Welcome};
use tokio::io::{AsyncRead, AsyncWrite};

use super::dial::Identity;
use super::errand::Instances;
use super::instances::Supervised;
use super::link::{self, End, Following, News, Own};
use super::meeting::{self, Gone};
use super::relay::Guest;
use super::{Cluster, Heard, now_s, reached};
use crate::node::Node;

/// After all were tried in vain.
const AGAIN: Duration = Duration::from_secs(1);
/// What an in-process link holds.
const INSIDE_BYTES: usize = 256 * 1024;
const ABOUT: &str = "cluster link";

/// Keeps this node linked. Never ends.
pub(super) async fn follow(cluster: &Arc<Cluster>, node: &Node) {
    let mut following = Following::begin(cluster.folder.clone());
    let mut identity = cluster.identity.subscribe();
    let own = Own {
        cluster: cluster.id().clone(),
        machine: cluster.machine().clone(),
        boot_id: cluster.about.boot.clone(),
        record: &|| cluster.record(),
    };
    let way = Way { cluster, node, own };
    loop {
        let known = match identity.wait_for(Option::is_some).await {
            Ok(known) => known.clone(),
            Err(_) => return std::future::pending().await,
        };
        let Some(known) = known else { continue };
        let mut whys = BTreeSet::new();
        if cluster.store().is_some() {
            let (here, there) = tokio::io::duplex(INSIDE_BYTES);
            let own = Guest { machine: cluster.machine().clone(), serial: None };
            let meets = meeting::meet(cluster, &own, there);
            let runs = way.run(here, "this node", &mut following);
            tokio::pin!(runs, meets);
            // The other end may wait for etcd for long; nobody waits for it.
            let (end, said) = tokio::select! {
                end = &mut runs => (end, None),
                said = &mut meets => (runs.await, said),
            };
            whys.insert(format!("this node: {}", ferrite_schema::chain(&end)));
            whys.extend(said.map(Gone::why));
        } else {
            for address in addresses(cluster) {
                whys.extend(way.over(&known, &address, &mut following).await);
                lapse(cluster);
                if cluster.store().is_some() {
                    break;
                }
            }
        }
        lapse(cluster);
        let copied = cluster.copied.borrow().clone();
        if let Some(why) = copied {
            way.give_up(&mut following).await;
            whys.insert(why);
        }
        let runs = match std::mem::take(&mut following.given_up) {
            true => "runs nothing for it",
            false => "runs what it ran",
        };
        let said = whys.into_iter().collect::<Vec<_>>().join("; ");
        node.stand(
            ABOUT.to_owned(),
            Some(format!("this node is not linked to its cluster, and {runs}: {said}")),
        );
        tokio::time::sleep(AGAIN).await;
    }
}

/// Nothing is heard any more: what is known of services was so until now.
fn lapse(cluster: &Cluster) {
    cluster.services.send_if_modified(|known| match known {
        Some(heard) if heard.as_of_s.is_none() => {
            heard.as_of_s = Some(now_s());
            true
        }
        _ => false,
    });
}

/// Where a relay may be: members first, then those that the configuration names.
pub(super) fn addresses(cluster: &Cluster) -> Vec<String> {
    let members = cluster.members();
    let others = members.iter().filter(|member| member.machine != *cluster.machine());
    let known = others.flat_map(reached);
    let joins = cluster.config.join.iter().map(ToString::to_string);
    let mut seen = BTreeSet::new();
    known.chain(joins).filter(|address| seen.insert(address.clone())).collect()
}

struct Way<'node> {
    cluster: &'node Arc<Cluster>,
    node: &'node Node,
    own: Own<'node>,
}

impl Way<'_> {
    /// Links up by way of the node at `address`, if that can be a relay; answers with why it is none, or none any more.
    async fn over(
        &self,
        identity: &Identity,
        address: &str,
        following: &mut Following,
    ) -> Option<String> {
        let reached = match identity.reach(address).await {
            Ok(reached) if reached.machine == *self.cluster.machine() => return None,
            Ok(reached) => reached,
            Err(error) => return Some(ferrite_schema::chain(&error)),
        };
        let mut store = self.cluster.store.subscribe();
        let end = tokio::select! {
            end = self.run(reached.stream, address, following) => end,
            // Its sender lives as long as the cluster's handle.
            _ = store.wait_for(Option::is_some) => End::Nearer,
        };
        Some(format!("{address}: {}", ferrite_schema::chain(&end)))
    }

    async fn run<C>(&self, stream: C, relay: &str, following: &mut Following) -> End
    where
        C: AsyncRead + AsyncWrite + fmt::Debug,
    {
        let instances = Supervised { node: self.node, cluster: self.cluster };
        let mut welcome = |welcome: &Welcome| {
            tracing::info!(relay, machine = %welcome.relay, epoch = welcome.epoch, "linked");
            self.node.stand(ABOUT.to_owned(), None);
        };
        let mut members = |members: Vec<Member>, fresh: bool| self.heard(members, fresh);
        let mut peers = |peers: PeersSnapshot| {
            self.cluster.peers.send_if_modified(|before| {
                before.replace(peers.clone()).is_none_or(|before| before != peers)
            });
        };
        let mut services = |catalogue: &Catalogue| {
            let heard = Heard { catalogue: Arc::new(catalogue.clone()), as_of_s: None };
            self.cluster.services.send_replace(Some(heard));
        };
        let mut news = News {
            welcome: &mut welcome,
            members: &mut members,
            peers: &mut peers,
            services: &mut services,
        };
        let end = link::run(stream, &self.own, &instances, following, &mut news).await;
        for (about, why) in std::mem::take(&mut following.troubles) {
            self.node.warn(format!("the cluster's {about}: {why}"));
        }
        let why = ferrite_schema::chain(&end);
        if matches!(end, End::Copy(_)) {
            self.give_up(following).await;
        }
        match &end {
            // All are asked in turn until one is a relay.
            End::Refused(_) => tracing::debug!(relay, why, "link-refused"),
            _ => tracing::info!(relay, why, "link-ended"),
        }
        end
    }

    /// This machine is a copy of one that is alive. What the cluster wants of that one is not run here, and nobody is told that
    /// its network is here now; volumes and images stay.
    async fn give_up(&self, following: &mut Following) {
        following.forget();
        Supervised { node: self.node, cluster: self.cluster }.assign(BTreeMap::new()).await;
        let own = self.cluster.machine();
        self.cluster.peers.send_if_modified(|told| match told {
            Some(told) if told.peers.keys().any(|machine| machine != own) => {
                told.peers.retain(|machine, _| machine == own);
                true
            }
            _ => false,
        });
    }

    /// Who runs etcd, as a relay says.
    fn heard(&self, members: Vec<Member>, fresh: bool) {
        let own = self.cluster.machine();
        if fresh && !members.is_empty() && members.iter().all(|member| member.machine != *own) {
            self.cluster.removed.send_if_modified(|removed| {
                let is = self.cluster.standing.borrow().as_ref().is_some_and(|one| one.member);
                is && !std::mem::replace(removed, true)
            });
        }
        self.cluster.know(members);
    }
}
