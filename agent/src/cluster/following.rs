//! This node's way to the cluster: which relay it is linked to, one after the other, for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrite_cluster::catalogue::Catalogue;
use ferrite_cluster::protocol::{Member, PeersSnapshot, Welcome};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::candidates::{Candidates, Known};
use super::dial::{Identity, PATIENCE, Reached};
use super::errand::Instances;
use super::instances::Supervised;
use super::link::{self, End, Following, News, Own};
use super::meeting::{self, Gone};
use super::proof::Members;
use super::race::{self, Pace};
use super::relay::Guest;
use super::{Cluster, Heard, at, now_s, reached};
use crate::node::Node;

/// After all were tried in vain: so long at most, and at least so long whatever is heard.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_LEAST: Duration = Duration::from_millis(250);
/// How relays are tried: beside one another, each a little after the one before.
const PACE: Pace = Pace { apart: Duration::from_millis(250), at_once: 4 };
/// Once this node has had a link, its time runs: a relay gets this part of the TTL to be there at all, and this for its first
/// word, twice as much with each time that all were tried in vain, and never more than a first one.
const CONNECTS: u32 = 8;
const WELCOMES: u32 = 4;
const WELCOMES_MAX: Duration = Duration::from_secs(10);
/// Most addresses that are tried at a time.
const HEARD_OF_MAX: usize = 256;
/// What an in-process link holds.
const INSIDE_BYTES: usize = 256 * 1024;
const ABOUT: &str = "cluster link";
const ABOUT_MEMBERS: &str = "cluster members";

/// Keeps this node linked. Never ends.
pub(super) async fn follow(cluster: &Arc<Cluster>, node: &Node) {
    let mut following = Following::begin(cluster.folder.clone());
    let mut identity = cluster.identity.subscribe();
    let mut store = cluster.store.subscribe();
    let own = Own {
        cluster: cluster.id().clone(),
        machine: cluster.machine().clone(),
        boot_id: cluster.about.boot.clone(),
        record: &|| cluster.record(),
        fence: &cluster.fence,
    };
    let way = Way { cluster, node, own, chance: RandomState::new() };
    let (mut candidates, mut hurry) = (Candidates::default(), Hurry::default());
    loop {
        let known = match identity.wait_for(Option::is_some).await {
            Ok(known) => known.clone(),
            Err(_) => return std::future::pending().await,
        };
        let Some(known) = known else { continue };
        let mut hints = cluster.hints.subscribe();
        let serves = store.borrow_and_update().is_some();
        let pass = if cluster.copied.borrow().is_some() {
            Pass::default()
        } else if serves {
            way.inside(&mut following).await
        } else {
            way.pass(&known, &mut following, (&mut candidates, &hurry)).await
        };
        hurry.passed(&pass);
        if pass.held() {
            continue;
        }
        let mut whys = pass.whys;
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
        pause(&mut store, &mut hints).await;
    }
}

/// Waits before all are tried again; no longer than until this node serves, or does no more, or somebody calls. Senders of both
/// live as long as the cluster's handle.
async fn pause<S, H>(store: &mut watch::Receiver<S>, hints: &mut watch::Receiver<H>) {
    let heard = async {
        tokio::time::sleep(AGAIN_AT_LEAST).await;
        drop(hints.changed().await);
    };
    tokio::select! {
        () = tokio::time::sleep(AGAIN) => {}
        () = heard => {}
        Ok(()) = store.changed() => {}
    }
}

/// Does something until this node serves itself; nothing comes of it then.
async fn unless_serving<S, T>(
    store: &mut watch::Receiver<Option<S>>,
    does: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        done = does => Some(done),
        // Its sender lives as long as the cluster's handle.
        _ = store.wait_for(Option::is_some) => None,
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

/// Where somebody may be who knows how the cluster is.
pub(super) fn addresses(cluster: &Cluster) -> Vec<String> {
    known(cluster).likely()
}

/// Where a relay may be.
fn known(cluster: &Cluster) -> Known {
    let own = cluster.machine();
    let members = cluster.members();
    let members = members.iter().filter(|member| member.machine != *own).flat_map(reached);
    let peers = cluster.peers.borrow();
    let others = peers.iter().flat_map(|told| &told.peers).filter(|(machine, _)| *machine != own);
    Known {
        members: members.collect(),
        hints: cluster.hints.borrow().addresses(Instant::now()),
        join: cluster.config.join.iter().map(ToString::to_string).collect(),
        others: others.flat_map(|(_, peer)| &peer.addresses).map(|one| at(*one)).collect(),
    }
}

/// What became of one time that the node tried to be linked.
#[derive(Debug, Default)]
struct Pass {
    /// Why there is no link, or none any more.
    whys: BTreeSet<String>,
    /// A relay has welcomed the node: when, and with which TTL.
    welcomed: Option<(Instant, Duration)>,
    /// This node serves itself now.
    nearer: bool,
}

impl Pass {
    /// There was a link, or there can be one at once: nothing is to be waited for.
    fn held(&self) -> bool {
        // What ends at once would do so again.
        self.nearer || self.welcomed.is_some_and(|(since, _)| since.elapsed() >= AGAIN)
    }
}

/// How long a relay is waited for.
#[derive(Debug, Default)]
struct Hurry {
    /// The TTL, once it is known.
    ttl: Option<Duration>,
    /// So many times all were tried in vain since.
    vain: u32,
}

impl Hurry {
    fn passed(&mut self, pass: &Pass) {
        match pass.welcomed {
            Some((_, ttl)) => *self = Self { ttl: Some(ttl), vain: 0 },
            None if pass.nearer => {}
            None => self.vain = self.vain.saturating_add(1),
        }
    }

    fn part(&self, of: u32, most: Duration) -> Duration {
        let doubled = 1 << self.vain.min(8);
        self.ttl.map_or(most, |ttl| (ttl / of).saturating_mul(doubled).min(most))
    }

    fn connects(&self) -> Duration {
        self.part(CONNECTS, PATIENCE)
    }

    fn welcomes(&self) -> Duration {
        self.part(WELCOMES, WELCOMES_MAX)
    }
}

struct Way<'node> {
    cluster: &'node Arc<Cluster>,
    node: &'node Node,
    own: Own<'node>,
    /// This node's own order among equals.
    chance: RandomState,
}

impl Way<'_> {
    /// Links up with the node's own relay.
    async fn inside(&self, following: &mut Following) -> Pass {
        let (here, there) = tokio::io::duplex(INSIDE_BYTES);
        let own = Guest { machine: self.cluster.machine().clone(), serial: None };
        let meets = meeting::meet(self.cluster, &own, there);
        let welcomed = watch::Sender::new(None);
        let members = Members::told_by(self.cluster, self.cluster.machine());
        let runs = self.run(here, "this node", following, (&welcomed, &members));
        tokio::pin!(runs, meets);
        // The other end may wait for etcd for long; nobody waits for it.
        let (end, said) = tokio::select! {
            end = &mut runs => (end, None),
            said = &mut meets => (runs.await, said),
        };
        let mut pass = Pass { welcomed: *welcomed.borrow(), ..Pass::default() };
        pass.whys.insert(format!("this node: {}", ferrite_schema::chain(&end)));
        pass.whys.extend(said.map(Gone::why));
        pass
    }

    /// Links up by way of another node, the first that can be a relay, until that ends or all were tried.
    async fn pass(
        &self,
        identity: &Identity,
        following: &mut Following,
        (candidates, hurry): (&mut Candidates, &Hurry),
    ) -> Pass {
        let mut pass = Pass::default();
        let mut store = self.cluster.store.subscribe();
        let known = known(self.cluster);
        let mut waiting = candidates.order(&known, |address| self.chance.hash_one(address));
        let connects = hurry.connects();
        let mut heard_of: BTreeSet<String> = waiting.iter().cloned().collect();
        loop {
            let begin = async |address: String| identity.reach(&address, connects).await;
            let failed = |address: String, why| {
                pass.whys.insert(ferrite_schema::chain(&why));
                candidates.failed(&address);
                self.cluster.tried(&address, None);
            };
            let raced = race::first(&mut waiting, PACE, begin, failed);
            let Some(next) = unless_serving(&mut store, raced).await else {
                pass.nearer = true;
                return pass;
            };
            let Some((address, there)) = next else { return pass };
            // Whatever comes of it: when this node looks again, there are better ones.
            candidates.failed(&address);
            if there.machine == *self.cluster.machine() {
                continue;
            }
            self.cluster.tried(&address, Some((there.address, &there.machine)));
            let welcomed = watch::Sender::new(None);
            let end = self.over(there, &address, following, (&welcomed, hurry.welcomes())).await;
            pass.whys.insert(format!("{address}: {}", ferrite_schema::chain(&end)));
            pass.nearer = matches!(end, End::Nearer);
            pass.welcomed = *welcomed.borrow();
            if pass.nearer || pass.welcomed.is_some() {
                return pass;
            }
            // What it knows of members is a hint, as good as any other.
            let elsewhere = std::mem::take(&mut following.elsewhere);
            for address in elsewhere.iter().flat_map(reached) {
                if heard_of.len() < HEARD_OF_MAX && heard_of.insert(address.clone()) {
                    waiting.push_front(address);
                }
            }
        }
    }

    /// Is linked with the node at `address`, if that can be a relay.
    async fn over(
        &self,
        reached: Reached,
        address: &str,
        following: &mut Following,
        (welcomed, patience): (&watch::Sender<Option<(Instant, Duration)>>, Duration),
    ) -> End {
        let mut store = self.cluster.store.subscribe();
        let mut welcome = welcomed.subscribe();
        let silent = async {
            let came = tokio::time::timeout(patience, welcome.wait_for(Option::is_some)).await;
            if came.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        let members = Members::told_by(self.cluster, &reached.machine);
        let stands = |why| self.node.stand(ABOUT_MEMBERS.to_owned(), why);
        let proves = members.proves((&reached.machine, reached.address), stands);
        let linked = async {
            tokio::select! {
                end = self.run(reached.stream, address, following, (welcomed, &members)) => end,
                () = silent => End::Silent(patience),
                never = proves => match never {},
            }
        };
        let end = unless_serving(&mut store, linked).await.unwrap_or(End::Nearer);
        self.ended();
        end
    }

    fn ended(&self) {
        self.node.stand(ABOUT_MEMBERS.to_owned(), None);
        self.cluster.linked.send_if_modified(|linked| std::mem::replace(linked, false));
        lapse(self.cluster);
    }

    async fn run<C>(
        &self,
        stream: C,
        relay: &str,
        following: &mut Following,
        (welcomed, told): (&watch::Sender<Option<(Instant, Duration)>>, &Members<'_>),
    ) -> End
    where
        C: AsyncRead + AsyncWrite + fmt::Debug,
    {
        let instances = Supervised { node: self.node, cluster: self.cluster };
        let mut welcome = |welcome: &Welcome| {
            tracing::info!(relay, machine = %welcome.relay, epoch = welcome.epoch, "linked");
            let ttl = Duration::from_secs(welcome.ttl_s.max(1).into());
            welcomed.send_replace(Some((Instant::now(), ttl)));
            self.cluster.linked.send_if_modified(|linked| !std::mem::replace(linked, true));
            self.node.stand(ABOUT.to_owned(), None);
        };
        let mut members = |members: Vec<Member>, fresh: bool| told.hears(members, fresh);
        let mut peers = |peers: PeersSnapshot| {
            self.cluster.peers.send_if_modified(|before| {
                before.replace(peers.clone()).is_none_or(|before| before != peers)
            });
        };
        let mut revoked = |serials| self.cluster.know_revoked(serials);
        let mut services = |catalogue: &Catalogue| {
            let heard = Heard { catalogue: Arc::new(catalogue.clone()), as_of_s: None };
            self.cluster.services.send_replace(Some(heard));
        };
        let mut news = News {
            welcome: &mut welcome,
            members: &mut members,
            peers: &mut peers,
            revoked: &mut revoked,
            services: &mut services,
        };
        let end = link::run(stream, &self.own, &instances, following, &mut news).await;
        for (about, why) in std::mem::take(&mut following.troubles) {
            self.node.warn(format!("the cluster's {about}: {why}"));
        }
        let why = ferrite_schema::chain(&end);
        match end {
            End::Copy(_) => self.give_up(following).await,
            End::Revoked(_) => {
                following.renounce();
                self.give_up(following).await;
            }
            _ => {}
        }
        match &end {
            // All are asked in turn until one is a relay.
            End::Refused(_) => tracing::debug!(relay, why, "link-refused"),
            _ => tracing::info!(relay, why, "link-ended"),
        }
        self.ended();
        end
    }

    /// This machine is a copy of one that is alive, or one that the cluster has forgotten. What the cluster wants is not run here,
    /// and nobody is told that its network is here now; volumes and images stay.
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
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_relay_gets_a_part_of_the_ttl_and_more_where_all_were_tried_in_vain() {
        let mut hurry = Hurry::default();
        hurry.passed(&Pass::default());
        assert_eq!((hurry.connects(), hurry.welcomes()), (PATIENCE, WELCOMES_MAX), "no hurry yet");
        let ttl = Duration::from_secs(5);
        let linked = Pass { welcomed: Some((Instant::now(), ttl)), ..Pass::default() };
        hurry.passed(&linked);
        assert_eq!((hurry.connects(), hurry.welcomes()), (ttl / 8, ttl / 4));
        hurry.passed(&Pass { nearer: true, ..Pass::default() });
        assert_eq!(hurry.connects(), ttl / 8);
        hurry.passed(&Pass::default());
        assert_eq!((hurry.connects(), hurry.welcomes()), (ttl / 4, ttl / 2));
        for _ in 0..100 {
            hurry.passed(&Pass::default());
        }
        assert_eq!((hurry.connects(), hurry.welcomes()), (PATIENCE, WELCOMES_MAX));
    }

    /// However long the attempts would take, and the pause between them.
    #[tokio::test]
    async fn a_node_that_serves_is_not_kept_from_being_its_own_relay() {
        let (store, hints) = (watch::Sender::new(None), watch::Sender::new(()));
        let (mut seen, mut heard) = (store.subscribe(), hints.subscribe());
        let long = std::future::pending::<()>();
        let (done, _) = tokio::join!(unless_serving(&mut seen, long), async {
            store.send_replace(Some(()));
        });
        assert_eq!(done, None);
        seen.mark_unchanged();
        hints.send_replace(());
        let waits = pause(&mut seen, &mut heard).now_or_never();
        assert!(waits.is_none(), "whoever calls does not hurry it beyond measure");
        store.send_replace(Some(()));
        assert!(pause(&mut seen, &mut heard).now_or_never().is_some());
    }

    #[test]
    fn nothing_is_waited_for_where_there_was_a_link_unless_it_ended_at_once() {
        let (now, ttl) = (Instant::now(), Duration::from_secs(5));
        let welcomed = |since| Pass { welcomed: Some((since, ttl)), ..Pass::default() };
        assert!(!Pass::default().held() && !welcomed(now).held());
        assert!(welcomed(now.checked_sub(2 * AGAIN).unwrap()).held());
        assert!(Pass { nearer: true, ..Pass::default() }.held());
    }
}
