//! What the name of an image means now, for all machines that are to run it: a digest.

use std::time::Duration;

use ferrite_schema::cluster::MachineId;
use ferrite_schema::unit::PullPolicy;
use ferrite_store::digest::Digest;
use ferrite_store::pull::{Pull, Puller};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::Cluster;
use super::seeking::{Has, seek};

/// How long a registry is asked what an image's name means now. Where it does not say, each machine asks for itself, later.
const RESOLVES_WITHIN: Duration = Duration::from_secs(5);
const KEEPS_WITHIN: Duration = Duration::from_secs(2);
/// How long all members are asked what a name means: a person waits.
const MEANS_WITHIN: Duration = Duration::from_secs(5);

/// Whether a name may mean one thing now and another one later, and is the same for all instances.
pub(crate) fn may_change(image: &str) -> bool {
    !image.contains('@') && !image.contains('%')
}

/// The digest that a unit's image means now: on this machine, else in its registry, else on a member; with `pull = "always"` in
/// its registry first, and with "never" not there. All instances run the same, until the unit is submitted again.
pub(crate) async fn pinned(
    puller: &Puller,
    cluster: Option<&Cluster>,
    (image, policy): (&str, PullPolicy),
) -> Option<String> {
    if !may_change(image) {
        return None;
    }
    let resolves = async {
        let digest = puller.resolve(image, policy).await?;
        // What is here now is kept under that name, too: the other one may mean something else soon.
        if policy != PullPolicy::Always && puller.look(image).await.is_ok() {
            let pinned = format!("{image}@{digest}");
            drop(timeout(KEEPS_WITHIN, puller.bring(&pinned, policy)).await);
        }
        Ok::<_, Pull>(digest)
    };
    match timeout(RESOLVES_WITHIN, resolves).await {
        Ok(Ok(digest)) => return Some(digest),
        Ok(Err(error)) => {
            let error = ferrite_schema::chain(&error);
            tracing::info!(error, image, "image-not-resolved");
        }
        Err(_) => tracing::info!(image, "image-not-resolved-in-time"),
    }
    // A registry that does not say keeps nothing from running: then as without its wish.
    if policy == PullPolicy::Always
        && let Ok(digest) = puller.resolve(image, PullPolicy::Never).await
    {
        return Some(digest);
    }
    means(cluster?, image).await
}

/// What a name means to members that have an image of it; the first one that answers counts. Others are not asked: whoever says what
/// a name means says what all machines run.
async fn means(cluster: &Cluster, name: &str) -> Option<String> {
    let members = cluster.members();
    let is_member = |machine: &MachineId| members.iter().any(|one| one.machine == *machine);
    let asks = async {
        let (_, mut answers) = seek(cluster, name, is_member)?;
        loop {
            if let (_, Has::Digest(digest)) = answers.next().await? {
                let digest: Digest = digest.parse().ok()?;
                return Some(digest.to_string());
            }
        }
    };
    timeout(MEANS_WITHIN, asks).await.ok().flatten()
}
