//! Images that other machines of the cluster have: who has one, and bringing it. What a machine says of itself is believed as far as
//! its digest goes; what a name means only members are asked.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ferrite_cluster::protocol::Message;
use ferrite_files::own;
use ferrite_schema::cluster::MachineId;
use ferrite_store::beside::beside;
use ferrite_store::digest::Digest;
use ferrite_store::pull::near::{Answer as Taken, Nearby, Take};
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use super::dial::{Dial, Identity, PATIENCE, Reached};
use super::frames::{Broken, Hears, frames};
use super::race::{self, Pace};
use super::{Cluster, at};

/// Most bytes of an archive that is taken.
const ARCHIVE_MAX_BYTES: u64 = 16 << 30;
/// How long somebody who has an image may be busy with others, and how long nothing may come of an archive.
const TURN: Duration = Duration::from_secs(120);
const SILENCE: Duration = Duration::from_secs(30);
/// So much of it comes in this time at least, or it is given up.
const WINDOW: Duration = Duration::from_secs(30);
const WINDOW_BYTES_MIN: u64 = 1 << 20;
/// What is left free on STATE when an archive and what is made of it are there.
const FREE_BYTES: u64 = 256 << 20;
/// Images that are fetched from others at a time.
const FETCHES_MAX: usize = 4;
/// How long others are asked who has one: a registry waits for that.
const SEEKS_WITHIN: Duration = Duration::from_secs(5);
/// A machine's addresses are tried beside one another, each a little after the one before.
const PACE: Pace = Pace { apart: Duration::from_millis(250), at_once: 4 };
/// How many machines are asked who has an image, and how many at once.
const ASKED_MAX: usize = 128;
const ASKED_AT_ONCE: usize = 8;
/// How long all of them are asked what a name means: a person waits.
const MEANS_WITHIN: Duration = Duration::from_secs(5);

/// The machines of the cluster, as they may have images.
#[derive(Debug)]
pub(super) struct Machines {
    cluster: Weak<Cluster>,
    fetches: Semaphore,
}

impl Machines {
    /// Those of this cluster.
    pub(super) fn of(cluster: &Arc<Cluster>) -> Self {
        Self { cluster: Arc::downgrade(cluster), fetches: Semaphore::new(FETCHES_MAX) }
    }
}

impl Nearby for Machines {
    fn fetch<'a>(&'a self, manifest: &'a Digest, path: &'a Path, take: Take<'a>) -> Taken<'a> {
        Box::pin(async move {
            // Nobody closes it.
            let _turn = self.fetches.acquire().await;
            match self.cluster.upgrade() {
                Some(cluster) => fetch(&cluster, &manifest.to_string(), path, take).await,
                None => false,
            }
        })
    }
}

/// What somebody else did not do.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotHad {
    #[error(transparent)]
    Dial(#[from] Dial),
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("{0}")]
    Refused(String),
    #[error("it answers something else than it was asked")]
    Answer,
    #[error("nothing comes")]
    Silent,
    #[error("its archive has {0} bytes, and {ARCHIVE_MAX_BYTES} are the most")]
    TooLarge(u64),
    #[error(
        "there is no room for it: it needs {needed} bytes with what is made of it, and {free} are free"
    )]
    NoRoom { needed: u64, free: u64 },
    #[error("its archive ends early")]
    CutOff,
    #[error("keep its archive")]
    Keep(#[source] io::Error),
}

/// What a name means to members that have an image of it; the first one that answers counts. Others are not asked: whoever says what
/// a name means says what all machines run.
pub(crate) async fn means(cluster: &Cluster, name: &str) -> Option<String> {
    let members = cluster.members();
    let is_member = |machine: &MachineId| members.iter().any(|one| one.machine == *machine);
    let asks = async {
        let mut answers = seek(cluster, name, is_member)?;
        loop {
            if let (_, Some(digest)) = answers.next().await? {
                let digest: Digest = digest.parse().ok()?;
                return Some(digest.to_string());
            }
        }
    };
    timeout(MEANS_WITHIN, asks).await.ok().flatten()
}

type Addresses = Vec<String>;
/// Another machine, and where it is.
type Other = (MachineId, Addresses);

/// Asks other machines who has an image; answers come as they come.
fn seek<A>(
    cluster: &Cluster,
    image: &str,
    asked: A,
) -> Option<impl stream::Stream<Item = (Other, Option<String>)> + Unpin + use<A>>
where
    A: Fn(&MachineId) -> bool,
{
    let identity = cluster.identity.borrow().clone()?;
    let asks = others(cluster, asked).into_iter().map(move |(machine, addresses)| {
        let (identity, image) = (identity.clone(), image.to_owned());
        async move {
            let message = Message::SeekImage { image };
            let answer = timeout(PATIENCE, ask(&identity, &machine, &addresses, &message)).await;
            let digest = match answer {
                Ok(Ok((Message::Image { digest, .. }, _))) => Some(digest),
                Ok(_) | Err(_) => None,
            };
            ((machine, addresses), digest)
        }
    });
    let asks: Vec<_> = asks.collect();
    Some(Box::pin(stream::iter(asks).buffer_unordered(ASKED_AT_ONCE)))
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

type Talk = Hears<TlsStream<TcpStream>>;

/// Asks a machine at the first of its addresses where it is reached.
async fn ask(
    identity: &Identity,
    machine: &MachineId,
    addresses: &[String],
    message: &Message,
) -> Result<(Message, Talk), NotHad> {
    let mut last = NotHad::Silent;
    let mut waiting: VecDeque<String> = addresses.iter().cloned().collect();
    let begin = async |address: String| match identity.reach(&address, PATIENCE).await {
        Ok(reached) if reached.machine == *machine => Ok(reached),
        // Somebody else has its address now.
        Ok(_) => Err(NotHad::Answer),
        Err(error) => Err(error.into()),
    };
    let raced = race::first(&mut waiting, PACE, begin, |_address, why| last = why).await;
    let Some((_, Reached { stream, .. })) = raced else { return Err(last) };
    let (mut hears, mut says) = frames(stream);
    says.say(message).await?;
    match hears.next().await? {
        Message::Refused { why, .. } => Err(NotHad::Refused(why)),
        answer => Ok((answer, hears)),
    }
}

/// Brings an image from the first machine that has it and gives it.
async fn fetch(cluster: &Cluster, manifest: &str, path: &Path, take: Take<'_>) -> bool {
    let Some(mut answers) = seek(cluster, manifest, |_| true) else { return false };
    let mut have = Vec::new();
    let asks = async {
        while let Some((other, found)) = answers.next().await {
            if found.as_deref() == Some(manifest) {
                have.push(other);
            }
        }
    };
    // Those that have not answered by then are not waited for.
    drop(timeout(SEEKS_WITHIN, asks).await);
    for other in have {
        match fetch_from(cluster, &other, manifest, path).await {
            Ok(()) if take().await => return true,
            Ok(()) => {}
            Err(error) => {
                let error = ferrite_schema::chain(&error);
                tracing::warn!(error, machine = %other.0, "image-not-given");
            }
        }
    }
    false
}

async fn fetch_from(
    cluster: &Cluster,
    (machine, addresses): &Other,
    manifest: &str,
    path: &Path,
) -> Result<(), NotHad> {
    let identity = cluster.identity.borrow().clone().ok_or(NotHad::Silent)?;
    let message = Message::WantImage { manifest: manifest.to_owned() };
    let answer = timeout(TURN, ask(&identity, machine, addresses, &message)).await;
    let (answer, mut hears) = answer.map_err(|_elapsed| NotHad::Silent)??;
    let Message::Image { archive_bytes, .. } = answer else { return Err(NotHad::Answer) };
    receive(&mut hears, archive_bytes, path).await
}

/// Whether an archive, its blobs and about as much of its layers find room.
fn has_room(archive_bytes: u64, path: &Path) -> Result<(), NotHad> {
    let folder = path.parent().unwrap_or(path);
    let stat = rustix::fs::statvfs(folder).map_err(|errno| NotHad::Keep(errno.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed = archive_bytes.saturating_mul(3).saturating_add(FREE_BYTES);
    if free < needed { Err(NotHad::NoRoom { needed, free }) } else { Ok(()) }
}

/// Keeps an archive that comes.
pub(super) async fn receive<S: AsyncRead>(
    hears: &mut Hears<S>,
    archive_bytes: u64,
    path: &Path,
) -> Result<(), NotHad> {
    if archive_bytes > ARCHIVE_MAX_BYTES {
        return Err(NotHad::TooLarge(archive_bytes));
    }
    has_room(archive_bytes, path)?;
    // What another machine gave may be there.
    let own = path.to_owned();
    let made = beside(move || own::create(&own)).await;
    let mut file = tokio::fs::File::from_std(made.map_err(NotHad::Keep)?);
    let mut left = archive_bytes;
    let (mut since, mut in_window) = (Instant::now(), 0_u64);
    while left > 0 {
        if since.elapsed() >= WINDOW {
            if in_window < WINDOW_BYTES_MIN {
                return Err(NotHad::Silent);
            }
            (since, in_window) = (Instant::now(), 0);
        }
        let bytes = timeout(SILENCE, hears.bytes()).await.map_err(|_elapsed| NotHad::Silent)??;
        let come = bytes.len().try_into().unwrap_or(u64::MAX);
        if come == 0 {
            return Err(NotHad::CutOff);
        }
        // What comes behind it is nothing of it.
        let taken = come.min(left);
        let bytes = bytes.get(..usize::try_from(taken).unwrap_or(0)).unwrap_or_default();
        file.write_all(bytes).await.map_err(NotHad::Keep)?;
        left -= taken;
        in_window += taken;
    }
    file.flush().await.map_err(NotHad::Keep)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn what_ends_early_and_what_is_too_large_is_refused_and_what_comes_behind_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        for (said, sent, fits) in [(5, 5, true), (5, 9, true), (6, 5, false), (u64::MAX, 5, false)]
        {
            let (here, there) = tokio::io::duplex(64);
            let (_, mut says) = frames(here);
            says.pass(&vec![1; sent]).await.unwrap();
            drop(says);
            let (mut hears, _says) = frames(there);
            let received = receive(&mut hears, said, &path).await;
            assert_eq!(received.is_ok(), fits, "{said} {sent}: {received:?}");
            assert!(!fits || fs::read(&path).unwrap().len() == 5, "{said} {sent}");
        }
    }
}
