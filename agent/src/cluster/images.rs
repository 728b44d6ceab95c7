//! Images that machines of the cluster give one another: what somebody imported on one of them runs on all, and what one has
//! pulled the others need no registry for. A machine asks by a digest, and what comes is that or nothing; whatever machine has a
//! certificate of the cluster may ask.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ferrite_cluster::protocol::Message;
use ferrite_schema::api::ExportFormat;
use ferrite_schema::cluster::MachineId;
use ferrite_store::beside::beside;
use ferrite_store::digest::Digest;
use ferrite_store::export;
use ferrite_store::pull::Puller;
use ferrite_store::pull::near::{self, Answer as Taken, Nearby, Take};
use ferrite_store::store::ImageStore;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use super::dial::{Dial, Identity, PATIENCE, Reached};
use super::frames::{Broken, Hears, Says, frames};
use super::{Cluster, at};
use crate::archive;

/// Archives that a machine gives at a time, and most bytes of one that it takes.
const GIVES_MAX: usize = 4;
const ARCHIVE_MAX_BYTES: u64 = 16 << 30;
/// How long somebody who has an image may be busy with others, and how long nothing may come of an archive.
const TURN: Duration = Duration::from_secs(120);
const SILENCE: Duration = Duration::from_secs(30);
/// So much of it comes in this time at least, or it is given up: by the one that takes it, and, a piece at a time, by the one that
/// gives it.
const WINDOW: Duration = Duration::from_secs(30);
const WINDOW_BYTES_MIN: u64 = 1 << 20;
const PIECE_WITHIN: Duration = Duration::from_secs(5);
/// What is left free on STATE when an archive and what is made of it are there.
const FREE_BYTES: u64 = 256 << 20;
/// Images that are fetched from others at a time.
const FETCHES_MAX: usize = 4;
/// How long others are asked who has one: a registry waits for that.
const SEEKS_WITHIN: Duration = Duration::from_secs(5);
/// How many machines are asked who has an image, and how many at once.
const ASKED_MAX: usize = 128;
const ASKED_AT_ONCE: usize = 8;
/// How long all of them are asked what a name means: a person waits.
const MEANS_WITHIN: Duration = Duration::from_secs(5);

/// What this machine has for others.
pub(super) struct Shared {
    images: ImageStore,
    puller: Puller,
    gives: Semaphore,
}

impl fmt::Debug for Shared {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Shared").field("gives", &self.gives).finish_non_exhaustive()
    }
}

/// From now on machines of the cluster give this one images, and it gives them its own.
pub(super) fn share(cluster: &Arc<Cluster>, images: ImageStore, puller: Puller) {
    let fetches = Semaphore::new(FETCHES_MAX);
    puller.look_nearby(Arc::new(Machines { cluster: Arc::downgrade(cluster), fetches }));
    let shared = Shared { images, puller, gives: Semaphore::new(GIVES_MAX) };
    // Its agent begins it once.
    drop(cluster.shared.set(shared));
}

/// It is not given.
#[derive(Debug, thiserror::Error)]
enum NotGiven {
    #[error("this machine has no images for others yet")]
    NotYet,
    #[error("it is not on this machine")]
    Absent,
    #[error("{0}")]
    Unusable(String),
}

/// Answers who has an image.
pub(super) async fn say<C>(cluster: &Cluster, image: &str, says: &mut Says<C>) -> Result<(), Broken>
where
    C: AsyncRead + AsyncWrite,
{
    let found = match cluster.shared.get() {
        Some(shared) => shared.digest(image).await,
        None => Err(NotGiven::NotYet),
    };
    let message = match found {
        Ok(digest) => Message::Image { digest, archive_bytes: 0 },
        Err(why) => Message::Refused { why: why.to_string(), copy: false },
    };
    says.say(&message).await
}

/// Gives an image.
pub(super) async fn give<C>(
    cluster: &Cluster,
    manifest: String,
    says: &mut Says<C>,
) -> Result<(), Broken>
where
    C: AsyncRead + AsyncWrite,
{
    let Some(shared) = cluster.shared.get() else {
        let why = NotGiven::NotYet.to_string();
        return says.say(&Message::Refused { why, copy: false }).await;
    };
    // Nobody closes it.
    let _turn = shared.gives.acquire().await.map_err(io::Error::other)?;
    let plan = match shared.plan(manifest.clone()).await {
        Ok(plan) => plan,
        Err(why) => return says.say(&Message::Refused { why: why.to_string(), copy: false }).await,
    };
    let archive_bytes = plan.archive_bytes();
    says.say(&Message::Image { digest: manifest, archive_bytes }).await?;
    let mut pieces = archive::begin(plan)?;
    while let Some(piece) = pieces.recv().await {
        let sent = timeout(PIECE_WITHIN, says.pass(&piece?)).await;
        sent.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    }
    Ok(())
}

impl Shared {
    /// The digest of an image's manifest that is here.
    async fn digest(&self, image: &str) -> Result<String, NotGiven> {
        if image.starts_with("sha256:") {
            let (images, manifest) = (self.images.clone(), image.to_owned());
            let found = beside(move || near::name_of(&images, &manifest)).await;
            let found = found.map_err(|error| NotGiven::Unusable(ferrite_schema::chain(&error)))?;
            return found.map(|_| image.to_owned()).ok_or(NotGiven::Absent);
        }
        let (puller, name) = (self.puller.clone(), image.to_owned());
        let opened = beside(move || puller.open(&name).map(|opened| opened.record.manifest)).await;
        opened.map_err(|_unusable| NotGiven::Absent)
    }

    async fn plan(&self, manifest: String) -> Result<export::Plan, NotGiven> {
        let (images, puller) = (self.images.clone(), self.puller.clone());
        let plans = move || {
            let said = |error: &(dyn std::error::Error + 'static)| {
                NotGiven::Unusable(ferrite_schema::chain(error))
            };
            let name = near::name_of(&images, &manifest).map_err(|error| said(&error))?;
            let name = name.ok_or(NotGiven::Absent)?;
            export::plan(&images, puller.policy(), &name, ExportFormat::Oci)
                .map_err(|error| said(&error))
        };
        beside(plans).await
    }
}

/// The machines of the cluster, as they may have images.
#[derive(Debug)]
struct Machines {
    cluster: Weak<Cluster>,
    fetches: Semaphore,
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
enum NotHad {
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

/// Asks the machine at one of these addresses.
async fn ask(
    identity: &Identity,
    machine: &MachineId,
    addresses: &[String],
    message: &Message,
) -> Result<(Message, Talk), NotHad> {
    let mut last = NotHad::Silent;
    for address in addresses {
        match identity.reach(address, PATIENCE).await {
            // Somebody else has its address now.
            Ok(reached) if reached.machine != *machine => last = NotHad::Answer,
            Ok(Reached { stream, .. }) => {
                let (mut hears, mut says) = frames(stream);
                says.say(message).await?;
                return match hears.next().await? {
                    Message::Refused { why, .. } => Err(NotHad::Refused(why)),
                    answer => Ok((answer, hears)),
                };
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
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
async fn receive<S: AsyncRead>(
    hears: &mut Hears<S>,
    archive_bytes: u64,
    path: &Path,
) -> Result<(), NotHad> {
    if archive_bytes > ARCHIVE_MAX_BYTES {
        return Err(NotHad::TooLarge(archive_bytes));
    }
    has_room(archive_bytes, path)?;
    let mut file = tokio::fs::File::create(path).await.map_err(NotHad::Keep)?;
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

    use ferrite_schema::node_config::{ClusterConfig, ClusterNetworkConfig, Root};
    use ferrite_store::import;
    use ferrite_store::layer::Layers;
    use ferrite_store::pull::Settings;
    use ferrite_store::signature::Policy;
    use ferrite_store::store::Record;

    use super::*;
    use crate::cluster::About;
    use crate::cluster::meeting;
    use crate::cluster::relay::Guest;

    struct Place {
        folder: tempfile::TempDir,
        images: ImageStore,
        layers: Layers,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let images = ImageStore::open(&folder.path().join("images"));
        let layers = Layers::open(&folder.path().join("layers"));
        Place { folder, images, layers }
    }

    impl Place {
        fn import(&self, archive: &Path) -> Record {
            let stores = (&self.images, &self.layers);
            import::import(archive, Some("hello:1"), stores, &Policy::default()).unwrap().remove(0)
        }
    }

    /// An archive as `docker save` writes it, with one file of so many bytes.
    fn archive(folder: &Path, bytes: usize) -> std::path::PathBuf {
        let mut layer = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes as u64);
        header.set_mode(0o644);
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        layer.append_data(&mut header, "file", &vec![7; bytes][..]).unwrap();
        let layer = layer.into_inner().unwrap();
        let tar_digest = Digest::of(&layer);
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{tar_digest}"]}}}}"#
        );
        let manifest = r#"[{"Config":"c.json","RepoTags":["hello:1"],"Layers":["l.tar"]}]"#;
        let path = folder.join("archive.tar");
        let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
        for (name, content) in [
            ("manifest.json", manifest.as_bytes()),
            ("c.json", config.as_bytes()),
            ("l.tar", &layer),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, content).unwrap();
        }
        builder.finish().unwrap();
        path
    }

    fn cluster(place: &Place) -> Arc<Cluster> {
        let config = ClusterConfig {
            id: "c".repeat(32).parse().unwrap(),
            name: "dev".parse().unwrap(),
            root: Root::Certificate(String::new()),
            token: None,
            join: Vec::new(),
            member: None,
            network: ClusterNetworkConfig::default(),
        };
        let about = About {
            hostname: "one".to_owned(),
            metadata: std::collections::BTreeMap::new(),
            env_files: Vec::new(),
            boot: "b".to_owned(),
            hardware: "h".to_owned(),
            folder: place.folder.path().join("membership"),
        };
        Arc::new(Cluster::new(config, "1".repeat(32).parse().unwrap(), about))
    }

    /// What is answered to one first word; the archive is kept, where one follows.
    async fn answer(cluster: &Cluster, first: Message, keep: &Path) -> Message {
        let (here, there) = tokio::io::duplex(4096);
        let guest = Guest { machine: "2".repeat(32).parse().unwrap(), serial: None };
        let asks = async {
            let (mut hears, mut says) = frames(there);
            says.say(&first).await.unwrap();
            let answer = hears.next().await.unwrap();
            if let Message::Image { archive_bytes, .. } = &answer {
                receive(&mut hears, *archive_bytes, keep).await.unwrap();
            }
            answer
        };
        let (gone, answer) = tokio::join!(meeting::meet(cluster, &guest, here), asks);
        assert!(gone.is_none(), "{gone:?}");
        answer
    }

    #[tokio::test]
    async fn an_image_goes_from_one_machine_to_another_by_its_digest() {
        let (has, wants) = (place(), place());
        let record = has.import(&archive(has.folder.path(), 3_000_000));
        let cluster = cluster(&has);
        let kept = wants.folder.path().join("kept");
        let seek = |image: &str| Message::SeekImage { image: image.to_owned() };
        let refused = |answer| matches!(answer, Message::Refused { .. });
        assert!(refused(answer(&cluster, seek("hello:1"), &kept).await), "it shares nothing yet");
        let puller = Puller::new(has.images.clone(), has.layers.clone(), Settings::default());
        share(&cluster, has.images.clone(), puller);
        for name in ["hello:1", "docker.io/library/hello:1", &record.manifest] {
            let expected = Message::Image { digest: record.manifest.clone(), archive_bytes: 0 };
            assert_eq!(answer(&cluster, seek(name), &kept).await, expected, "{name}");
        }
        let other = format!("sha256:{}", "0".repeat(64));
        for name in ["hello:2", &other, "../../etc/passwd", "sha256:"] {
            assert!(refused(answer(&cluster, seek(name), &kept).await), "{name}");
        }
        let want = |manifest: &str| Message::WantImage { manifest: manifest.to_owned() };
        for name in ["hello:1", &other] {
            assert!(refused(answer(&cluster, want(name), &kept).await), "{name}");
        }
        let given = answer(&cluster, want(&record.manifest), &kept).await;
        assert!(matches!(given, Message::Image { archive_bytes, .. } if archive_bytes > 3_000_000));
        assert_eq!(wants.import(&kept).manifest, record.manifest);
        cluster.copied.send_replace(Some("it is one".to_owned()));
        assert!(refused(answer(&cluster, want(&record.manifest), &kept).await), "a copy");
    }

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
