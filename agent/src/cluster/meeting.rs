//! What other nodes of the cluster are answered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ferrite_cluster::protocol::{Member, Message};
use ferrite_schema::cluster::MachineId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::frames::{Broken, Says, frames};
use super::relay::{self, Guest, Relay};
use super::{Cluster, member};
use crate::api::server::Visitor;

/// What a node gets for its first word.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers all nodes that come, until nobody sends any. A machine has one link: the newer one, since it knows that the older
/// one is dead.
pub(super) async fn receive(cluster: &Arc<Cluster>, mut visitors: mpsc::Receiver<Visitor>) {
    let mut talks = JoinSet::new();
    let mut of: BTreeMap<MachineId, Vec<AbortHandle>> = BTreeMap::new();
    loop {
        tokio::select! {
            visitor = visitors.recv() => {
                let Some(visitor) = visitor else { return };
                let (cluster, machine) = (Arc::clone(cluster), visitor.machine.clone());
                let talk = talks.spawn(async move {
                    let guest = Guest { machine: visitor.machine, serial: Some(visitor.serial) };
                    let said = meet(&cluster, &guest, visitor.stream).await;
                    if let Some(why) = said {
                        tracing::info!(machine = %guest.machine, address = %visitor.address, why, "node-gone");
                    }
                });
                let open = of.entry(machine).or_default();
                open.retain(|talk| !talk.is_finished());
                open.push(talk);
                // One that asks only is gone at once; more than a few are somebody's mistake.
                if open.len() > TALKS_MAX {
                    open.remove(0).abort();
                }
            }
            Some(_) = talks.join_next() => {}
        }
    }
}

/// Most connections of one machine.
const TALKS_MAX: usize = 8;

/// Answers one node. Answers with why that ended, where more was wanted than an answer.
pub(super) async fn meet<C>(cluster: &Cluster, guest: &Guest, stream: C) -> Option<String>
where
    C: AsyncRead + AsyncWrite + fmt::Debug,
{
    let (mut hears, mut says) = frames(stream);
    let first = match tokio::time::timeout(PATIENCE, hears.next()).await {
        Ok(Ok(first)) => first,
        Ok(Err(broken)) => return Some(ferrite_schema::chain(&broken)),
        Err(_) => return Some("it says nothing".to_owned()),
    };
    let answered: Result<(), Broken> = match first {
        Message::Inquire(_) => {
            let standing = cluster.standing.borrow().clone();
            match standing {
                Some(standing) => says.say(&Message::Standing(standing)).await,
                None => {
                    let why = "this node does not know yet how it stands to the cluster".to_owned();
                    says.say(&Message::Refused { why }).await
                }
            }
        }
        Message::Hello(hello) => {
            let (store, terms) = (cluster.store(), *cluster.terms.borrow());
            if let (Some(store), Some(terms)) = (store, terms) {
                let fresh = match member::look(cluster, &store).await {
                    Ok(fresh) => fresh,
                    Err(problem) => return Some(ferrite_schema::chain(&problem)),
                };
                let relay = Relay {
                    store,
                    cluster: cluster.id().clone(),
                    machine: cluster.machine().clone(),
                    epoch: terms.epoch,
                    ttl: terms.ttl,
                    fresh,
                    members: cluster.members.subscribe(),
                    told: cluster.told.subscribe(),
                };
                let mut members = cluster.store.subscribe();
                let over = members.wait_for(Option::is_none);
                let end = tokio::select! {
                    end = relay::serve(&relay, guest, hello, (hears, says)) => end,
                    _ = over => relay::End::Over,
                };
                return Some(ferrite_schema::chain(&end));
            }
            refuse(&mut says, cluster.members()).await
        }
        _ => {
            let why = "a node begins with `hello` or `inquire`".to_owned();
            says.say(&Message::Refused { why }).await
        }
    };
    match answered {
        Ok(()) => None,
        Err(broken) => Some(ferrite_schema::chain(&broken)),
    }
}

/// Says that this node is no relay, and who may be one.
pub(super) async fn refuse<C>(says: &mut Says<C>, members: Vec<Member>) -> Result<(), Broken>
where
    C: AsyncRead + AsyncWrite,
{
    if !members.is_empty() {
        says.say(&Message::Members { members, fresh: false }).await?;
    }
    let why = "this node runs no etcd now: ask another one".to_owned();
    says.say(&Message::Refused { why }).await
}
