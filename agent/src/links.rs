//! What the node's links say: warnings for its status, the boot's wait for an address, and whether there is one.

use std::collections::{BTreeSet, HashMap};

use ferrite_net::news::News;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::control::Step;
use crate::node::Node;

/// Hears the news until nobody tells any; `any` says whether a link has an address.
pub async fn listen(node: &Node, mut news: UnboundedReceiver<News>, any: watch::Sender<bool>) {
    let mut waiting = HashMap::new();
    let mut addressed = BTreeSet::new();
    while let Some(heard) = news.recv().await {
        match heard {
            News::Warning(warning) => node.warn(warning),
            News::Standing { about, warning } => node.stand(about, warning),
            News::Waits { link } => {
                waiting.insert(link, Step::begin("address by DHCP"));
            }
            News::Addressed { link } => {
                if let Some(step) = waiting.remove(&link) {
                    step.end();
                }
                addressed.insert(link);
            }
            News::Lost { link } => drop(addressed.remove(&link)),
        }
        let now = !addressed.is_empty();
        any.send_if_modified(|before| std::mem::replace(before, now) != now);
    }
}
