//! Asking the other machines of the cluster who has an image.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::time::Duration;

use ferrite_cluster::protocol::Message;
use ferrite_schema::cluster::MachineId;
use futures_util::{StreamExt, stream};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::dial::{Dial, Identity, PATIENCE, Reached};
use super::frames::{Broken, Hears, frames};
use super::race::{self, Pace};
use super::{Cluster, at};

/// A machine's addresses are tried beside one another, each a little after the one before.
const PACE: Pace = Pace { apart: Duration::from_millis(250), at_once: 4 };
/// How many machines are asked who has an image, and how many at once.
const ASKED_MAX: usize = 128;
const ASKED_AT_ONCE: usize = 8;

/// Somebody else does not answer a question.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error(transparent)]
    Dial(#[from] Dial),
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("{0}")]
    Refused(String),
    #[error("another machine has its address")]
    Answer,
    #[error("it has no address")]
    Nowhere,
}

pub(super) type Addresses = Vec<String>;
/// Another machine, and where it is.
pub(super) type Other = (MachineId, Addresses);

/// What another machine says of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Has {
    /// It has it, and this is its manifest's digest.
    Digest(String),
    /// It does not.
    Not,
    /// It says nothing, or cannot say it now.
    Unknown,
}

/// Asks other machines who has an image: who is asked, and answers as they come. Nothing where this one has no certificate.
pub(super) fn seek<A>(
    cluster: &Cluster,
    image: &str,
    asked: A,
) -> Option<(BTreeSet<MachineId>, impl stream::Stream<Item = (Other, Has)> + Unpin + use<A>)>
where
    A: Fn(&MachineId) -> bool,
{
    let identity = cluster.identity.borrow().clone()?;
    let others = others(cluster, asked);
    let all = others.iter().map(|(machine, _)| machine.clone()).collect();
    let asks = others.into_iter().map(move |(machine, addresses)| {
        let (identity, image) = (identity.clone(), image.to_owned());
        async move {
            let message = Message::SeekImage { image };
            let answer = timeout(PATIENCE, ask(&identity, &machine, &addresses, &message)).await;
            let has = match answer {
                Ok(Ok((Message::Image { digest, .. }, _))) => Has::Digest(digest),
                Ok(Err(Unanswered::Refused(_))) => Has::Not,
                Ok(_) | Err(_) => Has::Unknown,
            };
            ((machine, addresses), has)
        }
    });
    let asks: Vec<_> = asks.collect();
    Some((all, Box::pin(stream::iter(asks).buffer_unordered(ASKED_AT_ONCE))))
}

/// Where other machines are, each one's addresses, in this node's own order: not all ask the same first.
fn others(cluster: &Cluster, asked: impl Fn(&MachineId) -> bool) -> Vec<Other> {
    let chance = RandomState::new();
    let peers = cluster.peers.borrow();
    let peers = peers.iter().flat_map(|told| &told.peers);
    let own = |machine: &MachineId| machine == cluster.machine();
    let mut others: Vec<(u64, Other)> = peers
        .filter(|(machine, peer)| !own(machine) && asked(machine) && !peer.addresses.is_empty())
        .map(|(machine, peer)| {
            let addresses = peer.addresses.iter().map(|one| at(*one)).collect();
            (chance.hash_one(machine), (machine.clone(), addresses))
        })
        .collect();
    others.sort_unstable();
    others.into_iter().map(|(_, other)| other).take(ASKED_MAX).collect()
}

pub(super) type Talk = Hears<TlsStream<TcpStream>>;

/// Asks a machine at the first of its addresses where it is reached.
pub(super) async fn ask(
    identity: &Identity,
    machine: &MachineId,
    addresses: &[String],
    message: &Message,
) -> Result<(Message, Talk), Unanswered> {
    let mut last = Unanswered::Nowhere;
    let mut waiting: VecDeque<String> = addresses.iter().cloned().collect();
    let begin = async |address: String| match identity.reach(&address, PATIENCE).await {
        Ok(reached) if reached.machine == *machine => Ok(reached),
        // Somebody else has its address now.
        Ok(_) => Err(Unanswered::Answer),
        Err(error) => Err(error.into()),
    };
    let raced = race::first(&mut waiting, PACE, begin, |_address, why| last = why).await;
    let Some((_, Reached { stream, .. })) = raced else { return Err(last) };
    let (mut hears, mut says) = frames(stream);
    says.say(message).await?;
    match hears.next().await? {
        Message::Refused { why, .. } => Err(Unanswered::Refused(why)),
        answer => Ok((answer, hears)),
    }
}
