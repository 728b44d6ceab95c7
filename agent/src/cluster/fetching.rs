//! Bringing images that other machines of the cluster have. What a machine says of itself is believed as far as its digest goes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ferrite_cluster::protocol::Message;
use ferrite_files::own;
use ferrite_schema::cluster::MachineId;
use ferrite_store::beside::beside;
use ferrite_store::digest::Digest;
use ferrite_store::pull::nearby::{Asked, Brought, Nearby, Take};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::Cluster;
use super::frames::{Broken, Hears};
use super::seeking::{Has, Other, Unanswered, ask, seek};

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
/// Machines that are named where they cannot be asked.
const NAMED_MAX: usize = 3;

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
    fn fetch<'a>(&'a self, manifest: &'a Digest, path: &'a Path, take: Take<'a>) -> Asked<'a> {
        Box::pin(async move {
            // Nobody closes it.
            let _turn = self.fetches.acquire().await;
            match self.cluster.upgrade() {
                Some(cluster) => fetch(&cluster, &manifest.to_string(), path, take).await,
                None => Brought::Nobody,
            }
        })
    }
}

/// What somebody else did not do.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotHad {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error(transparent)]
    Broken(#[from] Broken),
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

/// Brings an image from the first machine that has it and gives it.
async fn fetch(cluster: &Cluster, manifest: &str, path: &Path, take: Take<'_>) -> Brought {
    let Some((mut unasked, mut answers)) = seek(cluster, manifest, |_| true) else {
        return Brought::Perhaps("this machine has no certificate to ask others with".to_owned());
    };
    let mut have = Vec::new();
    let asks = async {
        while let Some((other, found)) = answers.next().await {
            match found {
                Has::Digest(digest) if digest == manifest => have.push(other),
                Has::Digest(_) | Has::Not => drop(unasked.remove(&other.0)),
                // It stays among those of which nothing is known.
                Has::Unknown => {}
            }
        }
    };
    // Those that have not answered by then are not waited for.
    drop(timeout(SEEKS_WITHIN, asks).await);
    for other in have {
        match fetch_from(cluster, &other, manifest, path).await {
            Ok(()) if take().await => return Brought::Taken,
            // What it gives is not the image, and will not be.
            Ok(()) => drop(unasked.remove(&other.0)),
            Err(error) => {
                let error = ferrite_schema::chain(&error);
                tracing::warn!(error, machine = %other.0, "image-not-given");
            }
        }
    }
    brought(&unasked, &cluster.machine_names())
}

/// What it means that nobody gave an image, where nothing is known of these.
fn brought(unasked: &BTreeSet<MachineId>, names: &BTreeMap<MachineId, String>) -> Brought {
    let named = unasked.iter().take(NAMED_MAX);
    let named: Vec<&str> =
        named.map(|one| names.get(one).map_or_else(|| one.as_str(), String::as_str)).collect();
    let more = match unasked.len().saturating_sub(named.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match named.is_empty() {
        true => Brought::Nobody,
        false => {
            let named = named.join(", ");
            Brought::Perhaps(format!("{named}{more} may have it, and gave nothing"))
        }
    }
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
    use crate::cluster::frames::frames;

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

    #[test]
    fn machines_of_which_nothing_is_known_are_named_and_nobody_else_is() {
        let id = |number: u8| -> MachineId { format!("{number:032x}").parse().unwrap() };
        let names = BTreeMap::from([(id(1), "one".to_owned())]);
        let of = |numbers: &[u8]| brought(&numbers.iter().map(|one| id(*one)).collect(), &names);
        assert_eq!(of(&[]), Brought::Nobody);
        let Brought::Perhaps(who) = of(&[1]) else { panic!("nobody") };
        assert_eq!(who, "one may have it, and gave nothing");
        let Brought::Perhaps(who) = of(&[1, 2, 3, 4, 5]) else { panic!("nobody") };
        assert!(who.starts_with("one, 0") && who.contains(" and 2 more may have it"), "{who}");
    }
}
