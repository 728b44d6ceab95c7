//! What one etcd says of itself, and a copy of all that it has. It is asked alone: also while it learns, or is cut off from the
//! others, when it answers nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use etcd_client as client;
use etcd_client::ConnectOptions;

use super::entry::Revision;
use super::etcd::{answered, client_at, problem};
use super::membership::{EtcdMember, members_of};
use super::problem::StoreProblem;

/// Length of the SHA-256 that etcd sends behind a snapshot.
const DIGEST_BYTES: u64 = 32;
/// Longest that it may stand still to make its file smaller.
const DEFRAGMENT_PATIENCE: Duration = Duration::from_secs(300);

/// One etcd, over its Unix socket.
#[derive(Clone)]
pub struct Maintenance {
    client: client::MaintenanceClient,
    own: client::Client,
}

impl std::fmt::Debug for Maintenance {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Maintenance").finish_non_exhaustive()
    }
}

/// An etcd as it sees itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnStatus {
    /// Its number.
    pub member: u64,
    /// The number of the leader; `None` where it knows none.
    pub leader: Option<u64>,
    /// It learns still, and has no vote.
    pub learner: bool,
    /// Its version.
    pub version: String,
    /// Revision of its data.
    pub revision: Revision,
    /// Rises with every election.
    pub raft_term: u64,
    /// The last entry that it has heard of.
    pub raft_index: u64,
    /// The last entry that is in its data.
    pub raft_applied: u64,
    /// Size of its database's file.
    pub db_bytes: u64,
    /// How much of that is used.
    pub db_used_bytes: u64,
    /// Alarms, and what else it says is wrong.
    pub problems: Vec<String>,
}

impl OwnStatus {
    /// Some member's space is used up, so that nothing can be written.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        self.problems.iter().any(|problem| problem.starts_with("alarm NOSPACE "))
    }
}

impl Maintenance {
    /// Names the socket. It is connected when it is first used.
    ///
    /// # Errors
    /// The path is none for a socket.
    pub async fn at(socket: &Path) -> Result<Self, StoreProblem> {
        let client = client_at(socket, ConnectOptions::new()).await?;
        Ok(Self { client: client.maintenance_client(), own: client })
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self) -> Result<OwnStatus, StoreProblem> {
        let status = answered(self.client.clone().status()).await?;
        let header = status.header();
        let size = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
        Ok(OwnStatus {
            member: header.map_or(0, client::ResponseHeader::member_id),
            leader: Some(status.leader()).filter(|leader| *leader != 0),
            learner: status.is_learner(),
            version: status.version().to_owned(),
            revision: header.map_or(Revision::NONE, |header| Revision(header.revision())),
            raft_term: status.raft_term(),
            raft_index: status.raft_index(),
            raft_applied: status.raft_applied_index(),
            db_bytes: size(status.db_size()),
            db_used_bytes: size(status.raft_used_db_size()),
            problems: status.errors().iter().map(|words| readable(words)).collect(),
        })
    }

    /// Gives back what is free in its file; it stands still meanwhile.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn defragment(&self) -> Result<(), StoreProblem> {
        let mut client = self.client.clone();
        match tokio::time::timeout(DEFRAGMENT_PATIENCE, client.defragment()).await {
            Ok(done) => done.map(drop).map_err(problem),
            Err(_) => Err(StoreProblem::Unavailable {
                why: format!("it has not answered for {} s", DEFRAGMENT_PATIENCE.as_secs()),
            }),
        }
    }

    /// Numbers of the members whose space is used up: they keep all of them from writing.
    ///
    /// # Errors
    /// No quorum answers.
    pub async fn out_of_space(&self) -> Result<BTreeSet<u64>, StoreProblem> {
        let mut client = self.client.clone();
        let asked = client.alarm(client::AlarmAction::Get, client::AlarmType::Nospace, None);
        let answer = answered(asked).await?;
        let alarms = answer.alarms().iter();
        let nospace = |alarm: &&client::AlarmMember| alarm.alarm() == client::AlarmType::Nospace;
        Ok(alarms.filter(nospace).map(client::AlarmMember::member_id).collect())
    }

    /// A member has space again.
    ///
    /// # Errors
    /// No quorum answers.
    pub async fn disarm(&self, member: u64) -> Result<(), StoreProblem> {
        let mut client = self.client.clone();
        let mut of = client::AlarmOptions::new();
        of.with_member(member);
        let (off, nospace) = (client::AlarmAction::Deactivate, client::AlarmType::Nospace);
        answered(client.alarm(off, nospace, Some(of))).await.map(drop)
    }

    /// The members, as it has them itself: without the others, and so perhaps not all that there are now.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn members_it_knows(&self) -> Result<Vec<EtcdMember>, StoreProblem> {
        let listed = answered(self.own.cluster_client().member_list()).await?;
        Ok(members_of(&listed))
    }

    /// A key's value, as it has it itself.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn value_it_has(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreProblem> {
        let options = client::GetOptions::new().with_serializable();
        let mut found = answered(self.own.kv_client().get(key, Some(options))).await?;
        Ok(found.take_kvs().pop().map(|entry| entry.into_key_value().1))
    }

    /// Begins a copy of all that it has at this moment.
    ///
    /// # Errors
    /// It does not answer, or sends nothing.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreProblem> {
        let mut stream = answered(self.client.clone().snapshot()).await?;
        let first = answered(stream.message()).await?.ok_or_else(|| StoreProblem::Unavailable {
            why: "it has sent nothing of its snapshot".to_owned(),
        })?;
        let piece = first.blob().to_vec();
        let sent = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let total_bytes = sent.saturating_add(first.remaining_bytes()).saturating_add(DIGEST_BYTES);
        Ok(Snapshot { stream, first: Some(piece), total_bytes })
    }
}

/// A copy of all that an etcd has, as it comes: its database, and after it the SHA-256 of that.
#[derive(Debug)]
pub struct Snapshot {
    stream: client::SnapshotStreaming,
    first: Option<Vec<u8>>,
    total_bytes: u64,
}

impl Snapshot {
    /// How much will have come at the end, the SHA-256 with it.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// etcd has broken off, or is silent.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, StoreProblem> {
        if let Some(piece) = self.first.take() {
            return Ok(Some(piece));
        }
        let message = answered(self.stream.message()).await?;
        Ok(message.map(|message| message.blob().to_vec()))
    }
}

/// What etcd says is wrong. An alarm it writes as `memberID:10276657743932975437 alarm:NOSPACE `, with a number that nothing else
/// shows.
fn readable(words: &str) -> String {
    let alarm = || {
        let (member, kind) = words.trim().strip_prefix("memberID:")?.split_once(" alarm:")?;
        let member: u64 = member.parse().ok()?;
        Some(format!("alarm {kind} of member {member:x}"))
    };
    alarm().unwrap_or_else(|| words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn alarms_are_said_with_the_members_number_as_it_is_shown_elsewhere() {
        for (words, expected) in [
            (
                "memberID:10276657743932975437 alarm:NOSPACE ",
                "alarm NOSPACE of member 8e9e05c52164694d",
            ),
            ("etcdserver: no leader", "etcdserver: no leader"),
            ("memberID:many alarm:NOSPACE", "memberID:many alarm:NOSPACE"),
        ] {
            assert_eq!(readable(words), expected);
        }
    }
}
