//! Nodes that look for their cluster call one another on their links. What is heard becomes a hint; who is believed, TLS
//! decides. While nobody looks, nothing is said.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ferrite_net::multicast::{Datagram, Group, at_port};
use ferrite_schema::names::{API_PORT, BEACON_PORT};

use self::message::{Beacon, Whose};
use self::pace::{Event, Pace, Situation};
use super::Cluster;

mod message;
mod pace;

/// How often the node's links are looked at: a new one is called on soon, and no number of datagrams makes it more often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Likewise while the node does not look for anybody.
const LOOK_SELDOM: Duration = Duration::from_secs(10);

/// Calls and hears. Never ends.
pub(super) async fn call(cluster: &Cluster) {
    let whose = Whose::of(cluster.id());
    let mut group = Group::at(BEACON_PORT);
    let mut pace = Pace::default();
    let begin = Instant::now();
    let mut linked = cluster.linked.subscribe();
    let mut store = cluster.store.subscribe();
    let mut standing = cluster.standing.subscribe();
    let mut identity = cluster.identity.subscribe();
    let mut look_at = Duration::ZERO;
    loop {
        let is = situation(cluster);
        pace.step(Event::Is(is), begin.elapsed(), chance());
        if begin.elapsed() >= look_at {
            look(&mut group);
            look_at = begin.elapsed() + if is.seeks { LOOK_EVERY } else { LOOK_SELDOM };
        }
        let next = pace.deadline().map_or(look_at, |at| at.min(look_at));
        let pause = next.saturating_sub(begin.elapsed());
        // Senders of all these live as long as the cluster's handle.
        tokio::select! {
            datagram = group.next() => {
                if let Some(event) = hear(cluster, whose, &datagram) {
                    pace.step(event, begin.elapsed(), chance());
                }
            }
            () = tokio::time::sleep(pause) => {}
            Ok(()) = linked.changed() => {}
            Ok(()) = store.changed() => {}
            Ok(()) = standing.changed() => {}
            Ok(()) = identity.changed() => {}
        }
        if pace.step(Event::Time, begin.elapsed(), chance()) {
            group.send(&said(cluster, whose).encode());
        }
    }
}

fn look(group: &mut Group) {
    if let Err(error) = group.look() {
        tracing::debug!(%error, "links-not-read");
    }
}

/// How the node is. One that has a link needs nobody, unless it is a member that hears no quorum; one that has no certificate yet
/// would lead others to somebody whom they do not believe.
fn situation(cluster: &Cluster) -> Situation {
    let standing = cluster.standing.borrow().clone();
    let serves = cluster.store.borrow().is_some();
    let linked = *cluster.linked.borrow();
    let member = standing.is_some_and(|standing| standing.member);
    let known = cluster.identity.borrow().is_some();
    // What a copy says would be taken for where the other one is.
    let copied = cluster.copied.borrow().is_some();
    let seeks = known && !copied && !serves && (member || !linked);
    Situation { seeks, serves, eligible: cluster.config.member.is_some() }
}

fn said(cluster: &Cluster, whose: Whose) -> Beacon {
    let Situation { seeks, serves, eligible } = situation(cluster);
    Beacon { whose, machine: cluster.machine().clone(), seeks, serves, eligible }
}

/// Takes in what came; what that is for this node's own calls.
fn hear(cluster: &Cluster, whose: Whose, datagram: &Datagram) -> Option<Event> {
    let beacon = Beacon::decode(&datagram.bytes)?;
    if beacon.whose != whose || beacon.machine == *cluster.machine() {
        return None;
    }
    let mut new = false;
    // Nobody looks for one that cannot become a member.
    if beacon.eligible {
        let address: SocketAddr = at_port(datagram.from, API_PORT);
        let who = (&beacon.machine, beacon.serves);
        new = cluster.hints.send_if_modified(|hints| hints.heard(address, who, Instant::now()));
        if new {
            tracing::debug!(%address, machine = %beacon.machine, serves = beacon.serves, "beacon-heard");
        }
    }
    beacon.seeks.then_some(Event::Seeks { new })
}

/// A number of this node's own. Where none can be drawn, nodes call at the same time, and that is all.
fn chance() -> u32 {
    let mut bytes = [0; 4];
    let flags = rustix::rand::GetRandomFlags::NONBLOCK;
    match rustix::rand::getrandom(&mut bytes, flags) {
        Ok(_) => u32::from_ne_bytes(bytes),
        Err(_) => u32::MAX / 2,
    }
}
