//! Going on alone, when a quorum is lost for good: what `recovery` decides, done. And what tells machines of the old cluster
//! that come back that it was done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ferrite_cluster::keys::Key;
use ferrite_cluster::records::{Cluster as Record, decode, encode};
use ferrite_cluster::store::{
    ClusterStore, Compare, Etcd, EtcdMember, Maintenance, Operation, Outcome, OwnStatus,
    StoreProblem, Transaction,
};
use ferrite_schema::cluster::MachineId;
use ferrite_store::beside::beside;
use tokio::time::Instant;

use super::recovery::{self, MayNot, Overtaken, Phase, Recovery, Seen};
use super::{Cluster, etcd, hearing};
use crate::node::Node;

/// How long an etcd that is alone may take to lead itself: it reads all its data first, on a slow disk.
const ALONE_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often others are asked whether a part of the cluster has gone on without this one.
const NEWER_EVERY: Duration = Duration::from_secs(60);

/// A member that serves the cluster, as far as that is heard.
async fn served(cluster: &Cluster) -> Option<MachineId> {
    let heard = hearing::hear(cluster).await;
    heard.serving(cluster).await.first().map(|other| other.machine.clone())
}

/// What is left on this machine.
#[derive(Debug)]
pub(crate) struct Remains {
    /// Its etcd; or why it does not answer.
    pub(crate) status: Result<OwnStatus, String>,
    /// The members, as its data has them.
    pub(crate) members: Vec<EtcdMember>,
    /// The cluster's epoch in its data.
    pub(crate) epoch: Option<u64>,
    /// A recovery is under way.
    pub(crate) under_way: bool,
}

/// It is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOrdered {
    #[error(transparent)]
    MayNot(#[from] MayNot),
    #[error("what etcd has here is not known: {0}")]
    Unknown(String),
}

/// What is left here, as far as etcd says it without the others.
pub(crate) async fn remains(cluster: &Cluster) -> Remains {
    let mut remains = Remains {
        status: Err(String::new()),
        members: Vec::new(),
        epoch: None,
        // What is kept about it and cannot be read is one that is under way.
        under_way: !matches!(cluster.folder.recovery(), Ok(None)),
    };
    if let Err(problem) = ask(&mut remains).await {
        remains.status = Err(ferrite_schema::chain(&problem));
    }
    remains
}

async fn ask(remains: &mut Remains) -> Result<(), StoreProblem> {
    let own = Maintenance::at(&etcd::socket()).await?;
    remains.status = Ok(own.status().await?);
    remains.members = own.members_it_knows().await?;
    let entry = own.value_it_has(&Key::Cluster.bytes()).await?;
    let record = entry.and_then(|value| decode::<Record>(&Key::Cluster, &value).ok());
    remains.epoch = record.map(|record| record.epoch);
    Ok(())
}

/// Whether this etcd answers for itself: also while it knows no leader.
pub(super) async fn answers() -> bool {
    match Maintenance::at(&etcd::socket()).await {
        Ok(own) => own.status().await.is_ok(),
        Err(_) => false,
    }
}

/// Orders that this member goes on alone, with the data of the revision that was named. Answers with the cluster's epoch when that
/// is done.
///
/// # Errors
/// A quorum is there, or may be; or this is no data to go on with.
pub(crate) async fn order(cluster: &Arc<Cluster>, named: i64) -> Result<u64, NotOrdered> {
    let unknown = |why: &str| NotOrdered::Unknown(why.to_owned());
    let read = cluster.folder.recovery().map_err(NotOrdered::Unknown)?;
    if let Some(under_way) = read {
        return Ok(under_way.epoch);
    }
    let left = remains(cluster).await;
    let status = left.status.map_err(NotOrdered::Unknown)?;
    let epoch = left.epoch.ok_or_else(|| unknown("the cluster's record is not understood"))?;
    let voters: BTreeSet<MachineId> = left
        .members
        .iter()
        .filter(|member| !member.learner)
        .filter_map(|member| member.machine.clone())
        .collect();
    let heard = hearing::hear(cluster).await;
    let answer = heard.standings.values().filter(|other| {
        other.machine != *cluster.machine() && other.answers && voters.contains(&other.machine)
    });
    let votes = voters.contains(cluster.machine());
    let served = !heard.serving(cluster).await.is_empty();
    recovery::may(&Seen {
        revision: status.revision.0,
        named,
        voters: left.members.iter().filter(|member| !member.learner).count(),
        votes,
        answer: answer.count() + usize::from(votes),
        led: status.leader.is_some() || served,
    })?;
    let kept = Recovery { phase: Phase::Ordered, epoch: epoch.saturating_add(1) };
    let kept_it = cluster.folder.keep_recovery(Some(&kept));
    kept_it.map_err(|error| NotOrdered::Unknown(ferrite_schema::chain(&error)))?;
    tracing::warn!(revision = named, epoch = kept.epoch, "recovery-ordered");
    cluster.recovery_ordered.send_replace(());
    Ok(kept.epoch)
}

/// Gives a recovery up that is under way and was overtaken: somebody serves, so that a quorum has come back. `true` where it was,
/// and nothing had been done.
pub(super) async fn overtaken(
    cluster: &Cluster,
    node: &Node,
    kept: &Recovery,
) -> Result<bool, String> {
    let follows = recovery::overtaken(kept);
    let led = match Maintenance::at(&etcd::socket()).await {
        Ok(own) => own.status().await.is_ok_and(|status| status.leader.is_some()),
        Err(_) => false,
    };
    // etcd that was forced already leads itself, and nobody else.
    let led = led && follows == Overtaken::Forgotten;
    let by = served(cluster).await;
    if by.is_none() && !led {
        return Ok(false);
    }
    tracing::warn!(by = ?by, ?follows, "recovery-overtaken");
    if follows == Overtaken::GivenUp {
        cluster.removed.send_replace(true);
        return Err(
            "a quorum is there again, and etcd may be alone here already: what it has is given up"
                .to_owned(),
        );
    }
    node.warn(
        "the recovery of etcd that was ordered here was not done: a quorum is there again"
            .to_owned(),
    );
    cluster.folder.keep_recovery(None).map_err(|error| ferrite_schema::chain(&error))?;
    Ok(true)
}

/// Stops etcd, and sets a copy of all that it has aside.
pub(super) async fn copy(node: &Node) -> Result<(), String> {
    node.units.stop_system(etcd::NAME).await.map_err(|error| ferrite_schema::chain(&error))?;
    let copied = beside(etcd::copy_aside).await;
    let said = copied.map_err(|error| ferrite_schema::chain(&error))?;
    node.warn(said);
    Ok(())
}

/// Runs etcd once as the only member, until it leads itself.
pub(super) async fn force(node: &Node, arguments: Vec<String>) -> Result<(), String> {
    let unit = etcd::unit(etcd::alone(arguments));
    node.units.run_system(unit).await.map_err(|error| ferrite_schema::chain(&error))?;
    let until = Instant::now() + ALONE_WITHIN;
    loop {
        let why = match is_alone().await {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => why.to_owned(),
            Err(problem) => ferrite_schema::chain(&problem),
        };
        if Instant::now() > until {
            return Err(format!("it is not alone yet: {why}"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether etcd is the only member and leads; why not.
async fn is_alone() -> Result<Option<&'static str>, StoreProblem> {
    let own = Maintenance::at(&etcd::socket()).await?;
    let status = own.status().await?;
    let members = own.members_it_knows().await?;
    Ok(match members.as_slice() {
        [one] if one.number == status.member => {
            (status.leader != Some(status.member)).then_some("it does not lead yet")
        }
        _ => Some("other members are in its data still"),
    })
}

/// The step is done.
pub(super) fn note(cluster: &Cluster, kept: &Recovery) -> Result<(), String> {
    let next = recovery::done(kept);
    cluster.folder.keep_recovery(next.as_ref()).map_err(|error| ferrite_schema::chain(&error))?;
    tracing::warn!(done = ?kept.phase, "recovery-goes-on");
    Ok(())
}

/// Raises the cluster's epoch, where that is what is left to do: what anybody knew before counts for nothing.
pub(super) async fn raise(cluster: &Cluster, store: &Etcd) -> Result<(), String> {
    let Some(kept) = cluster.folder.recovery()? else { return Ok(()) };
    if kept.phase != Phase::Forced {
        return Err("it is about to go on alone".to_owned());
    }
    if let Some(other) = served(cluster).await {
        // A quorum came back while this machine was cut off in the middle of it, or others went on: what is here is nobody's.
        cluster.removed.send_replace(true);
        return Err(format!("machine {other} serves the cluster again"));
    }
    let said = |problem: StoreProblem| ferrite_schema::chain(&problem);
    let (_, entry) = store.get(&Key::Cluster.bytes()).await.map_err(said)?;
    let entry = entry.ok_or("the cluster's record is gone")?;
    let refused = |refused: ferrite_cluster::records::Refused| ferrite_schema::chain(&refused);
    let mut record: Record = decode(&Key::Cluster, &entry.value).map_err(refused)?;
    if record.epoch < kept.epoch {
        record.epoch = kept.epoch;
        let value = encode(&Key::Cluster, &record).map_err(refused)?;
        let key = Key::Cluster.bytes();
        let raises = Transaction {
            compares: vec![Compare::mod_revision(key.clone(), entry.mod_revision)],
            operations: vec![Operation::Put { key, value, lease: None }],
        };
        match store.transact(raises).await.map_err(said)? {
            Outcome::Done(_) => {}
            Outcome::Failed(_) => return Err("the cluster's record has just changed".to_owned()),
        }
    }
    note(cluster, &kept)?;
    tracing::warn!(epoch = record.epoch, "recovered");
    Ok(())
}

/// Asks everybody whether a part of the cluster was recovered without this one: then this one's data is of a cluster that is
/// given up, however many members it has.
pub(super) async fn look_for_newer(cluster: &Cluster, epoch: u64) -> Result<(), String> {
    let heard = hearing::hear(cluster).await;
    let serving = heard.serving(cluster).await;
    let newer = serving.into_iter().filter(|other| other.epoch > Some(epoch));
    let Some(newest) = newer.max_by_key(|other| other.epoch) else { return Ok(()) };
    let why = format!(
        "the cluster was recovered without this machine (epoch {}, and its data is of {epoch}), as machine {} says",
        newest.epoch.unwrap_or(0),
        newest.machine
    );
    tracing::warn!(why, "given-up");
    cluster.removed.send_replace(true);
    Err(why)
}

/// The same from time to time; ends where it was.
pub(super) async fn keep_looking_for_newer(cluster: &Cluster, epoch: u64) -> String {
    loop {
        tokio::time::sleep(NEWER_EVERY).await;
        if let Err(why) = look_for_newer(cluster, epoch).await {
            return why;
        }
    }
}
