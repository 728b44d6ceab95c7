//! What the rest of the agent goes by of what is kept on STATE, before anybody of the cluster is heard.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use ferrite_cluster::names::UnitName;
use ferrite_cluster::records::{Assigned, Spec};
use ferrite_net::mesh::Flat;
use ferrite_schema::cluster_network::MeshTransport;
use ferrite_schema::join::ClusterRecord;

use super::fence;
use super::kept::Folder;

/// The cluster that what is kept in `folder` is of; none where nothing is kept, or where it cannot be read.
pub(crate) fn kept_cluster(folder: &Path) -> Option<ClusterRecord> {
    crate::join::kept::Folder::at(folder).record()
}

/// Certificates that open nothing any more, as they are kept; none where that cannot be read: a relay tells them again.
pub(super) fn kept_revoked(folder: &Folder) -> BTreeSet<String> {
    match folder.revoked() {
        Ok(kept) => kept.unwrap_or_default(),
        Err(why) => {
            tracing::error!(why, "revocations-not-read");
            BTreeSet::new()
        }
    }
}

/// Addresses of the cluster's machines, as they are kept in `folder`; none where nothing is kept, or where it cannot be read.
pub(crate) fn kept_addresses(folder: &Path) -> BTreeSet<IpAddr> {
    let kept = Folder::at(folder).peers().ok().flatten();
    kept.into_iter()
        .flat_map(|kept| kept.peers.into_values())
        .flat_map(|peer| peer.addresses)
        .collect()
}

/// The cluster's network as it is kept in `folder`, where plain routes lead to others in it; none where nothing is kept, or where
/// it cannot be read.
pub(crate) fn kept_flat(folder: &Path) -> Option<Flat> {
    let kept = Folder::at(folder).peers().ok().flatten()?;
    let network = kept.networks.parse().ok()?;
    let flat = Flat { ipv4: network.ipv4.parts(), ipv6: network.ipv6.address() };
    (network.transport == MeshTransport::Routes).then_some(flat)
}

/// What must not run twice of what this node was last told to run; nothing where that cannot be read, since it is not begun then.
pub(super) fn singles(folder: &Folder) -> BTreeSet<UnitName> {
    let Ok(Some(kept)) = folder.assignment() else { return BTreeSet::new() };
    let all = kept.assignment.instances.into_iter();
    let known: Vec<(UnitName, Assigned, Spec)> = all
        .filter_map(|(name, assigned)| {
            let spec = folder.spec(&assigned.spec)?;
            Some((name, assigned, spec))
        })
        .collect();
    fence::singles(known.iter().map(|(name, assigned, spec)| (name, assigned, spec)))
}
