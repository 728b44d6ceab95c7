//! Keeps STATE from filling up with images that nobody uses.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ferrite_schema::names;
use ferrite_schema::node_config::{COLLECT_BELOW_PERCENT, COLLECT_UNTIL_PERCENT, ImagesConfig};
use ferrite_store::collect::{self, Collect, Needs, free_percent};

use crate::cluster::wanted;
use crate::node::Node;

/// How often the free space is looked at: a pull that fills STATE in less fails by itself and is tried again.
const LOOK: Duration = Duration::from_secs(30);

/// Who needs what on this node now.
///
/// # Errors
/// What a container runs on cannot be read.
pub async fn needs(node: &Node) -> Result<Needs, Collect> {
    // Before the units are asked: whoever begins after that is counted as well.
    let census = node.images.census();
    let documents = node.units.documents().await;
    let units: Vec<_> = documents.units.into_iter().map(|unit| (unit.name, unit.image)).collect();
    let images = node.images.clone();
    let run = Path::new(names::RUN_DIR).join("units");
    let work = move || {
        let mut needs = Needs::new(&images, census, &units, &run)?;
        needs.unknown = documents.unknown;
        Ok(needs)
    };
    // The task is joined here and does not panic; without an answer nothing would be needed, so it is asked again.
    match tokio::task::spawn_blocking(work).await {
        Ok(needs) => needs,
        Err(_) => std::future::pending().await,
    }
}

/// The same, with what other machines may need of what was imported here.
///
/// # Errors
/// See [`needs`].
pub async fn needs_of_all(node: &Node) -> Result<Needs, Collect> {
    let mut needs = needs(node).await?;
    needs.elsewhere = wanted(node.cluster.as_deref()).await;
    Ok(needs)
}

/// Removes images while STATE is short of space, and once at the start what an interrupted removal left. Never ends.
pub async fn work(node: &Arc<Node>, config: &ImagesConfig) {
    let below = u64::from(config.collect_below_percent.unwrap_or(COLLECT_BELOW_PERCENT));
    let until = u64::from(config.collect_until_percent.unwrap_or(COLLECT_UNTIL_PERCENT));
    let folder = node.layers.root().to_owned();
    let mut first = true;
    loop {
        if free_percent(&folder) < below || first {
            let wanted = if first { 0 } else { until };
            first = false;
            round(node, wanted).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn round(node: &Arc<Node>, until_percent: u64) {
    let needs = needs_of_all(node).await;
    let node = Arc::clone(node);
    let work = move || {
        let needs = needs?;
        let folder = node.layers.root().to_owned();
        let enough = || free_percent(&folder) >= until_percent;
        collect::prune(&node.images, &node.layers, &needs, enough)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(pruned)) if pruned.images.is_empty() && pruned.freed_bytes == 0 => {}
        Ok(Ok(pruned)) => {
            tracing::info!(
                images = pruned.images.join(","),
                freed_bytes = pruned.freed_bytes,
                "images-collected"
            );
        }
        Ok(Err(Collect::Busy)) | Err(_) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = ferrite_schema::chain(&error), "images-not-collected")
        }
    }
}
