//! Who runs etcd, as etcd itself has it.

use ferrite_schema::cluster::{MachineId, MachineName};

use super::cluster_store::ClusterStore;
use super::etcd::{Etcd, answered};
use super::problem::StoreProblem;
use crate::keys::Key;

/// Port at which etcd's peers speak to one another.
pub const PEER_PORT: u16 = 2380;
const SCHEME: &str = "https://";

/// A member of etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdMember {
    /// Its number.
    pub number: u64,
    /// The machine that its first address names; absent where somebody else gave it one.
    pub machine: Option<MachineId>,
    /// Its addresses for the other members, as they stand.
    pub urls: Vec<String>,
    /// It has spoken to the others since it was added.
    pub started: bool,
    /// It learns still, and has no vote.
    pub learner: bool,
}

/// The address of a machine's etcd for its peers: a name, since addresses change.
#[must_use]
pub fn peer_url(name: &MachineName) -> String {
    format!("{SCHEME}{name}:{PEER_PORT}")
}

/// The machine whose etcd has this address.
#[must_use]
pub fn machine_of(url: &str) -> Option<MachineId> {
    let (name, port) = url.strip_prefix(SCHEME)?.rsplit_once(':')?;
    (port.parse() == Ok(PEER_PORT)).then(|| MachineName::parse(name))?.map(|name| name.machine)
}

/// All members of an answer, by number.
pub(super) fn members_of(listed: &etcd_client::MemberListResponse) -> Vec<EtcdMember> {
    let member = |member: &etcd_client::Member| {
        let urls = member.peer_urls().to_vec();
        EtcdMember {
            number: member.id(),
            machine: urls.first().and_then(|url| machine_of(url)),
            urls,
            started: !member.name().is_empty(),
            learner: member.is_learner(),
        }
    };
    let mut members: Vec<EtcdMember> = listed.members().iter().map(member).collect();
    members.sort_by_key(|member| member.number);
    members
}

impl Etcd {
    /// All members, by number, as a quorum has them: not older than this call.
    ///
    /// # Errors
    /// etcd does not answer, or there is no quorum.
    pub async fn members(&self) -> Result<Vec<EtcdMember>, StoreProblem> {
        // The library asks for what this member alone knows, which may be old. Once it has answered a linearizable read, it
        // knows all that was decided before.
        self.get(Key::Cluster.bytes().as_slice()).await?;
        let listed = answered(self.client().member_list()).await?;
        Ok(members_of(&listed))
    }

    /// Adds a member that learns and has no vote yet.
    ///
    /// # Errors
    /// etcd does not do it now: it does one such step at a time, and none without a healthy quorum.
    pub async fn add_learner(&self, name: &MachineName) -> Result<(), StoreProblem> {
        let options = etcd_client::MemberAddOptions::new().with_is_learner();
        answered(self.client().member_add([peer_url(name)], Some(options))).await.map(drop)
    }

    /// Gives a learner its vote.
    ///
    /// # Errors
    /// It has not learned all yet, or etcd does not answer.
    pub async fn promote(&self, number: u64) -> Result<(), StoreProblem> {
        answered(self.client().member_promote(number)).await.map(drop)
    }

    /// Takes a member away. Its data is of no more use.
    ///
    /// # Errors
    /// etcd does not do it: the quorum would be lost, or there is none.
    pub async fn remove_member(&self, number: u64) -> Result<(), StoreProblem> {
        answered(self.client().member_remove(number)).await.map(drop)
    }

    /// Lets another member lead.
    ///
    /// # Errors
    /// It is none that could, or this one does not lead.
    pub async fn hand_over(&self, to: u64) -> Result<(), StoreProblem> {
        answered(self.client().move_leader(to)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machines_address_names_it_and_no_other_does() {
        let name = MachineName::parse("0123456789abcdef0123456789abcdef.node.dev").unwrap();
        assert_eq!(machine_of(&peer_url(&name)), Some(name.machine));
        for other in [
            "http://localhost:1",
            "https://0123456789abcdef0123456789abcdef.node.dev",
            "https://x.node.dev:2380",
            "",
        ] {
            assert_eq!(machine_of(other), None, "{other}");
        }
    }
}
