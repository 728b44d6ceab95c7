//! What other nodes say of themselves when they are asked, and whether one of them is this machine once more.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ferrite_cluster::protocol::Standing;
use ferrite_schema::cluster::MachineId;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::hints::is_of_link;
use super::proof::believed;
use super::{Cluster, following, reached};

/// What others have said, and who said nothing.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) standings: BTreeMap<MachineId, Standing>,
    pub(super) addresses: BTreeMap<MachineId, IpAddr>,
    /// Where each was reached, also by an address that means something on one link alone.
    from: BTreeMap<MachineId, SocketAddr>,
    pub(super) silent: BTreeMap<String, String>,
}

impl Heard {
    /// Whether this is to be believed rather than what another one of the same ID has said.
    fn is_nearer(&self, standing: &Standing) -> bool {
        let before = self.standings.get(&standing.machine);
        before.is_none_or(|before| standing.answers || !before.answers)
    }

    /// The ones that serve the cluster, as far as that is believed.
    pub(super) async fn serving(&self, cluster: &Cluster) -> Vec<&Standing> {
        let mut serving = Vec::new();
        for standing in self.standings.values().filter(|standing| standing.serves) {
            if let Some(from) = self.from.get(&standing.machine)
                && believed(cluster, standing, *from).await
            {
                serving.push(standing);
            }
        }
        serving
    }
}

/// Asks everybody whose address is known how it stands.
pub(super) async fn hear(cluster: &Cluster) -> Heard {
    hear_from(cluster, following::addresses(cluster)).await
}

/// Asks whoever is at these addresses.
pub(super) async fn hear_from(cluster: &Cluster, addresses: Vec<String>) -> Heard {
    let mut heard = Heard::default();
    for (address, answer) in ask(cluster, addresses).await {
        match answer {
            // A copy of a machine's disk has its ID, until it knows better; its etcd does not answer.
            Ok((standing, _)) if !heard.is_nearer(&standing) => {
                tracing::debug!(address, machine = %standing.machine, "heard-twice");
            }
            Ok((standing, from)) => {
                cluster.tried(&address, Some((from, &standing.machine)));
                if !is_of_link(from.ip()) {
                    heard.addresses.insert(standing.machine.clone(), from.ip());
                }
                heard.from.insert(standing.machine.clone(), from);
                heard.standings.insert(standing.machine.clone(), standing);
            }
            Err(why) => {
                cluster.tried(&address, None);
                heard.silent.insert(address, why);
            }
        }
    }
    heard
}

type Answer = Result<(Standing, SocketAddr), String>;

async fn ask(cluster: &Cluster, addresses: Vec<String>) -> Vec<(String, Answer)> {
    let Some(identity) = cluster.identity.borrow().clone() else { return Vec::new() };
    let asked = addresses.iter().map(|address| identity.inquire(address));
    let answers = join_all(asked).await;
    let said = |answer: Result<_, _>| answer.map_err(|error| ferrite_schema::chain(&error));
    addresses.into_iter().zip(answers.into_iter().map(said)).collect()
}

/// How long a member on another machine than before looks for that one, and how often. One that was moved, and not copied, serves
/// so much later, once.
const LOOKS_FOR: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(1);
/// How long it waits for its certificate, without which nobody answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why this machine is a copy of another one, if it is: before etcd is begun. Once that was so, it is one until its next boot:
/// whoever was there first may be restarting.
pub(super) async fn living(cluster: &Cluster) -> Option<String> {
    if let Some(why) = cluster.copied.borrow().clone() {
        return Some(why);
    }
    let moved = match cluster.folder.hardware() {
        Ok(before) => before.is_some_and(|before| before != cluster.about.hardware),
        Err(_) => true,
    };
    let mut identity = cluster.identity.subscribe();
    let certified = identity.wait_for(Option::is_some);
    let asks = tokio::time::timeout(PATIENCE, certified).await.is_ok();
    let deadline = Instant::now() + if moved { LOOKS_FOR } else { Duration::ZERO };
    loop {
        let answers = ask(cluster, everywhere(cluster)).await;
        let mut led = false;
        for (address, answer) in &answers {
            let Ok((standing, from)) = answer else { continue };
            led = led || standing.serves && believed(cluster, standing, *from).await;
            if is_other(standing, (cluster.machine(), &cluster.about.boot), moved) {
                let why = format!(
                    "machine {} is alive at {address}, and this is another one with its ID: a copy of its disk. Make STATE of the copy anew (`ferrite machine state recreate`)",
                    cluster.machine()
                );
                cluster.copied.send_replace(Some(why.clone()));
                return Some(why);
            }
        }
        let late = Instant::now() >= deadline;
        if moved && led && !*cluster.linked.borrow() {
            // The cluster knows whether the one that was there first is alive, also where this machine does not reach it.
            if late {
                return Some(
                    "it is on another machine than before, and the cluster has not let it in yet"
                        .to_owned(),
                );
            }
        // Who does not answer may only be out of reach so far: this machine's own network may still be coming up.
        } else if late || asks && answers.iter().all(|(_, answer)| answer.is_ok()) {
            return None;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Where the cluster's machines may be, and this machine itself: its addresses may be the other one's.
fn everywhere(cluster: &Cluster) -> Vec<String> {
    let members = cluster.members();
    let own = members.iter().filter(|member| member.machine == *cluster.machine());
    let mut all = following::addresses(cluster);
    all.extend(own.flat_map(reached));
    all
}

/// Another boot of the same machine answers. To one that is on the machine that it was always on, only another that serves counts:
/// who waits may be the copy.
fn is_other(standing: &Standing, (own, boot): (&MachineId, &str), moved: bool) -> bool {
    let other = standing.boot_id.as_deref().is_some_and(|other| other != boot);
    standing.machine == *own && other && (moved || standing.serves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_elsewhere_where_its_id_serves_in_another_boot() {
        let [own, other] = ["a", "b"].map(|digit| digit.repeat(32).parse::<MachineId>().unwrap());
        let serves = Standing {
            machine: own.clone(),
            boot_id: Some("theirs".to_owned()),
            eligible: true,
            member: true,
            serves: true,
            answers: true,
            epoch: None,
            knows: true,
        };
        for moved in [false, true] {
            assert!(is_other(&serves, (&own, "ours"), moved));
            assert!(!is_other(&serves, (&own, "theirs"), moved), "it is this one");
            assert!(!is_other(&serves, (&other, "ours"), moved));
            let older = Standing { boot_id: None, ..serves.clone() };
            assert!(!is_other(&older, (&own, "ours"), moved), "nobody knows");
            let waits = Standing { serves: false, ..serves.clone() };
            assert_eq!(is_other(&waits, (&own, "ours"), moved), moved);
        }
    }
}
