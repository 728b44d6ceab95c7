//! Images that this machine gives others of the cluster: what somebody imported on one of them runs on all, and what one has pulled
//! the others need no registry for. A machine asks by a digest, and what comes is that or nothing; whatever machine has a certificate
//! of the cluster may ask.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ferrite_cluster::protocol::Message;
use ferrite_schema::api::ExportFormat;
use ferrite_store::beside::beside;
use ferrite_store::export;
use ferrite_store::pull::Puller;
use ferrite_store::pull::nearby;
use ferrite_store::store::ImageStore;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Cluster;
use super::fetching::Machines;
use super::frames::{Broken, Says};
use crate::archive;

/// Archives that a machine gives at a time.
const GIVES_MAX: usize = 4;
/// How long a piece of one may take: who is slower than that is not waited for.
const PIECE_WITHIN: Duration = Duration::from_secs(5);

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
    puller.look_nearby(Arc::new(Machines::of(cluster)));
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

/// Answers who has an image. Where this machine cannot say, it does not answer: that it has none would be believed.
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
        Err(why @ NotGiven::Absent) => {
            Message::Refused { why: why.to_string(), copy: false, revoked: false }
        }
        Err(why @ (NotGiven::NotYet | NotGiven::Unusable(_))) => {
            tracing::debug!(error = why.to_string(), image, "image-not-answered-for");
            return Ok(());
        }
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
        return says.say(&Message::Refused { why, copy: false, revoked: false }).await;
    };
    // Nobody closes it.
    let _turn = shared.gives.acquire().await.map_err(io::Error::other)?;
    let plan = match shared.plan(manifest.clone()).await {
        Ok(plan) => plan,
        Err(why) => {
            return says
                .say(&Message::Refused { why: why.to_string(), copy: false, revoked: false })
                .await;
        }
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
            let found = beside(move || nearby::name_of(&images, &manifest)).await;
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
            let name = nearby::name_of(&images, &manifest).map_err(|error| said(&error))?;
            let name = name.ok_or(NotGiven::Absent)?;
            export::plan(&images, puller.policy(), &name, ExportFormat::Oci)
                .map_err(|error| said(&error))
        };
        beside(plans).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use ferrite_schema::node_config::{ClusterConfig, ClusterNetworkConfig, Root};
    use ferrite_store::digest::Digest;
    use ferrite_store::import;
    use ferrite_store::layer::Layers;
    use ferrite_store::pull::Settings;
    use ferrite_store::signature::Policy;
    use ferrite_store::store::Record;

    use super::*;
    use crate::cluster::fetching::receive;
    use crate::cluster::frames::frames;
    use crate::cluster::relay::Guest;
    use crate::cluster::{About, meeting};

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
        answered(cluster, first, keep).await.unwrap()
    }

    /// The same, where there may be no answer.
    async fn answered(cluster: &Cluster, first: Message, keep: &Path) -> Option<Message> {
        let (here, there) = tokio::io::duplex(4096);
        let guest = Guest { machine: "2".repeat(32).parse().unwrap(), serial: None };
        let asks = async {
            let (mut hears, mut says) = frames(there);
            says.say(&first).await.unwrap();
            let answer = hears.next().await.ok()?;
            if let Message::Image { archive_bytes, .. } = &answer {
                receive(&mut hears, *archive_bytes, keep).await.unwrap();
            }
            Some(answer)
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
        let not_yet = answered(&cluster, seek("hello:1"), &kept).await;
        assert_eq!(not_yet, None, "it shares nothing yet, and does not say that it has none");
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
}
