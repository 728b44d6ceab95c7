//! All that a node does for its cluster, beside one another.

use std::sync::Arc;

use ferrite_net::containers::Containers;
use tokio::sync::mpsc;

use super::{Cluster, beacon, fence, following, images, meeting, member, network};
use crate::api::server::Visitor;
use crate::node::Node;

/// Works. Never ends.
pub(crate) async fn work(
    cluster: &Arc<Cluster>,
    node: &Node,
    visitors: mpsc::Receiver<Visitor>,
    containers: &Containers,
) {
    match cluster.folder.members() {
        Ok(Some(members)) => drop(cluster.members.send_replace(members)),
        Ok(None) => {}
        Err(why) => node.warn(why),
    }
    images::share(cluster, node.images.clone(), node.puller.clone());
    let (meets, calls) = (meeting::receive(cluster, visitors), beacon::call(cluster));
    tokio::join!(meets, calls, member::live(cluster, node), fence::work(cluster, node), async {
        // What the node says of itself has its key: without it, others would take it out of the network.
        network::begin(cluster, node, containers).await;
        tokio::join!(network::follow(cluster, node, containers), following::follow(cluster, node),)
    },);
}
