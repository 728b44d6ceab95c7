//! What other nodes of the cluster are answered.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ferrite_cluster::protocol::{Member, Message};
use ferrite_cluster::records::ADDRESSES_MAX;
use ferrite_cluster::store::Etcd;
use ferrite_schema::cluster::MachineId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::frames::{Broken, Says, frames};
use super::relay::{self, Guest, Relay};
use super::{Cluster, Terms, images, member};
use crate::api::server::Visitor;

/// What a node gets for its first word.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers all nodes that come, until nobody sends any. A machine has one link: the newer one, since it knows that the older
/// one is dead.
pub(super) async fn receive(cluster: &Arc<Cluster>, mut visitors: mpsc::Receiver<Visitor>) {
    let mut talks = JoinSet::new();
    let mut said = Said::default();
    let mut of: BTreeMap<MachineId, Vec<AbortHandle>> = BTreeMap::new();
    loop {
        tokio::select! {
            visitor = visitors.recv() => {
                let Some(visitor) = visitor else { return };
                let (cluster, machine) = (Arc::clone(cluster), visitor.machine.clone());
                let talk = talks.spawn(async move {
                    let guest = Guest { machine: visitor.machine, serial: Some(visitor.serial) };
                    let said = meet(&cluster, &guest, visitor.stream).await;
                    (guest.machine, visitor.address, said)
                });
                let open = of.entry(machine).or_default();
                open.retain(|talk| !talk.is_finished());
                open.push(talk);
                // One that asks only is gone at once; more than a few are somebody's mistake.
                if open.len() > TALKS_MAX {
                    open.remove(0).abort();
                }
            }
            Some(ended) = talks.join_next() => {
                // One that was cut off says nothing.
                if let Ok((machine, address, Some(gone))) = ended {
                    said.log(machine, address, gone);
                }
            }
        }
    }
}

/// Most connections of one machine: it may ask at all addresses of this one at once, while it is linked.
const TALKS_MAX: usize = 2 * ADDRESSES_MAX;

/// Why a node is there no more.
#[derive(Debug)]
pub(super) enum Gone {
    /// It was refused.
    Refused(String),
    /// Something else.
    Ended(String),
}

impl Gone {
    /// The words.
    pub(super) fn why(self) -> String {
        let (Self::Refused(why) | Self::Ended(why)) = self;
        why
    }
}

/// What was logged: one that is refused comes again each second, and says nothing new.
#[derive(Debug, Default)]
struct Said(BTreeMap<(MachineId, IpAddr), String>);

impl Said {
    fn log(&mut self, machine: MachineId, address: SocketAddr, gone: Gone) {
        match gone {
            Gone::Ended(why) => tracing::info!(%machine, %address, why, "node-gone"),
            Gone::Refused(why) => {
                if self.0.len() >= SAID_MAX {
                    self.0.clear();
                }
                let of = (machine, address.ip());
                if self.0.get(&of) != Some(&why) {
                    tracing::warn!(machine = %of.0, %address, why, "node-refused");
                    self.0.insert(of, why);
                }
            }
        }
    }
}

/// Most refusals that are remembered.
const SAID_MAX: usize = 1000;

/// Answers one node. Answers with why that ended, where more was wanted than an answer.
pub(super) async fn meet<C>(cluster: &Cluster, guest: &Guest, stream: C) -> Option<Gone>
where
    C: AsyncRead + AsyncWrite + fmt::Debug,
{
    let (mut hears, mut says) = frames(stream);
    let first = match tokio::time::timeout(PATIENCE, hears.next()).await {
        Ok(Ok(first)) => first,
        Ok(Err(broken)) => return Some(Gone::Ended(ferrite_schema::chain(&broken))),
        Err(_) => return Some(Gone::Ended("it says nothing".to_owned())),
    };
    let revoked = cluster.is_revoked(guest.serial.as_ref());
    let answered: Result<(), Broken> = match first {
        // Before anything else: it hears that it is so from every machine of the cluster.
        _ if revoked => return Some(shut_out(guest, &mut says).await),
        Message::Inquire(inquiry) => {
            let standing = cluster.standing.borrow().clone();
            let copied = is_copy(cluster);
            let answered = match standing {
                // Where it is must not be taken for where the other one is.
                _ if copied => says.say(&refusal(COPY)).await,
                Some(standing) => says.say(&Message::Standing(standing)).await,
                None => {
                    let why = "this node does not know yet how it stands to the cluster";
                    says.say(&refusal(why)).await
                }
            };
            let other = inquiry.boot_id.is_some_and(|boot| boot != cluster.about.boot);
            if other && guest.machine == *cluster.machine() {
                let why = "it has this machine's ID, and is in another boot: one of both is a copy of the other's disk";
                return Some(Gone::Refused(why.to_owned()));
            }
            answered
        }
        Message::Hello(hello) => {
            let (store, terms) = (cluster.store(), *cluster.terms.borrow());
            if let (Some(store), Some(terms)) = (store, terms) {
                let fresh = match member::look(cluster, &store).await {
                    Ok(fresh) => fresh,
                    Err(problem) => return Some(Gone::Ended(ferrite_schema::chain(&problem))),
                };
                let relay = relay_of(cluster, store, (terms, fresh));
                let mut members = cluster.store.subscribe();
                let over = members.wait_for(Option::is_none);
                let end = tokio::select! {
                    end = relay::serve(&relay, guest, hello, (hears, says)) => end,
                    _ = over => relay::End::Over,
                };
                let why = ferrite_schema::chain(&end);
                return Some(match end {
                    relay::End::Refused(_) | relay::End::Copy(_) => Gone::Refused(why),
                    _ => Gone::Ended(why),
                });
            }
            refuse(&mut says, cluster.members()).await
        }
        // Whatever it has may be another one's.
        Message::SeekImage { .. } | Message::WantImage { .. } if is_copy(cluster) => {
            says.say(&refusal(COPY)).await
        }
        Message::SeekImage { image } => images::say(cluster, &image, &mut says).await,
        Message::WantImage { manifest } => images::give(cluster, manifest, &mut says).await,
        _ => says.say(&refusal("a node begins with `hello` or `inquire`")).await,
    };
    match answered {
        Ok(()) => None,
        Err(broken) => Some(Gone::Ended(ferrite_schema::chain(&broken))),
    }
}

/// What this member is for nodes that come.
fn relay_of(cluster: &Cluster, store: Etcd, (terms, fresh): (Terms, Vec<Member>)) -> Relay<Etcd> {
    Relay {
        store,
        cluster: cluster.id().clone(),
        machine: cluster.machine().clone(),
        epoch: terms.epoch,
        ttl: terms.ttl,
        election: terms.election,
        fresh,
        members: cluster.members.subscribe(),
        told: cluster.told.subscribe(),
    }
}

/// Says that its certificate was revoked.
async fn shut_out<C: AsyncRead + AsyncWrite>(guest: &Guest, says: &mut Says<C>) -> Gone {
    let why = format!(
        "the certificate of machine {} was revoked: make its STATE anew (`ferrite machine reset`), so that it comes as another machine with a token",
        guest.machine
    );
    let refused = Message::Refused { why, copy: false, revoked: true };
    match says.say(&refused).await {
        Ok(()) => Gone::Refused("its certificate was revoked".to_owned()),
        Err(broken) => Gone::Ended(ferrite_schema::chain(&broken)),
    }
}

const COPY: &str = "this machine is a copy of another one";

fn is_copy(cluster: &Cluster) -> bool {
    cluster.copied.borrow().is_some()
}

fn refusal(why: &str) -> Message {
    Message::Refused { why: why.to_owned(), copy: false, revoked: false }
}

/// Says that this node is no relay, and who may be one.
pub(super) async fn refuse<C>(says: &mut Says<C>, members: Vec<Member>) -> Result<(), Broken>
where
    C: AsyncRead + AsyncWrite,
{
    if !members.is_empty() {
        says.say(&Message::Members { members, fresh: false }).await?;
    }
    says.say(&refusal("this node runs no etcd now: ask another one")).await
}
