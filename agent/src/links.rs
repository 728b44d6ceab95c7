//! What the node's links say: warnings for its status, and the boot's wait for an address.

use std::collections::HashMap;

use ferrite_net::news::News;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::control::Step;
use crate::node::Node;

/// Hears the news until nobody tells any.
pub async fn listen(node: &Node, mut news: UnboundedReceiver<News>) {
    let mut waiting = HashMap::new();
    while let Some(heard) = news.recv().await {
        match heard {
            News::Warning(warning) => node.warn(warning),
            News::Standing { about, warning } => node.stand(about, warning),
            News::Lost { .. } => {}
            News::Waits { link } => {
                waiting.insert(link, Step::begin("address by DHCP"));
            }
            News::Addressed { link } => {
                if let Some(step) = waiting.remove(&link) {
                    step.end();
                }
            }
        }
    }
}
