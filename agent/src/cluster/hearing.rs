//! Asks the other nodes how they stand to the cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ferrite_cluster::protocol::Standing;
use ferrite_schema::cluster::MachineId;
use futures_util::future::join_all;

use super::{Cluster, following};

/// What others have said, and who said nothing.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) standings: BTreeMap<MachineId, Standing>,
    pub(super) addresses: BTreeMap<MachineId, IpAddr>,
    pub(super) silent: BTreeMap<String, String>,
}

/// Asks everybody whose address is known how it stands.
pub(super) async fn hear(cluster: &Cluster) -> Heard {
    let mut heard = Heard::default();
    let Some(identity) = cluster.identity.borrow().clone() else { return heard };
    let addresses = following::addresses(cluster);
    let asked = addresses.iter().map(|address| identity.inquire(address));
    let answers = join_all(asked).await;
    for (address, answer) in addresses.iter().zip(answers) {
        match answer {
            Ok((standing, from)) => {
                heard.addresses.insert(standing.machine.clone(), from.ip());
                heard.standings.insert(standing.machine.clone(), standing);
            }
            Err(error) => {
                heard.silent.insert(address.clone(), ferrite_schema::chain(&error));
            }
        }
    }
    heard
}
