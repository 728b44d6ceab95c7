//! Which machine's etcd goes on alone when a quorum is lost for good, and what that costs: a pure function of what each machine
//! says.

use std::cmp::Reverse;

use ferrite_schema::api::{EtcdMember, EtcdRemains, EtcdStatus};
use serde::Serialize;

/// What a machine said, or its address and why it said nothing.
pub(crate) type Said = Result<EtcdRemains, (String, String)>;

/// Nothing is recovered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRecovered {
    /// It is not lost.
    #[error(
        "etcd of {name} has a leader, so that a quorum is there: nothing is lost, and nothing is given up"
    )]
    Led {
        /// The machine.
        name: String,
    },
    /// It need not be lost.
    #[error(
        "{} of {voters} members answer ({}): they are a quorum, or will be within seconds",
        names.len(),
        names.join(", ")
    )]
    Enough {
        /// Machines whose etcd answers.
        names: Vec<String>,
        /// Members with a vote.
        voters: usize,
    },
    /// Nobody has anything.
    #[error("no machine has an etcd that answers and had a vote: {}", whys.join("; "))]
    Nothing {
        /// What each says.
        whys: Vec<String>,
    },
    /// It was ordered, and given up again.
    #[error("{name} has not done what was ordered: a quorum is there again")]
    Overtaken {
        /// The machine.
        name: String,
    },
    /// They have been parted before.
    #[error(
        "etcd of {} and of {} are of different epochs of the cluster: the later one was recovered already, and the earlier one is given up",
        names.0,
        names.1
    )]
    Parted {
        /// Two machines.
        names: (String, String),
    },
}

/// What becomes of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Fate {
    pub(crate) machine_name: String,
    /// ID of its machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) machine: Option<String>,
    /// Revision of its data, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<i64>,
    /// Its data is used; all others are given up.
    pub(crate) used: bool,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Plan {
    /// The machine whose etcd goes on.
    pub(crate) machine: String,
    pub(crate) machine_name: String,
    /// Revision of its data.
    pub(crate) revision: i64,
    /// It was ordered before, and is under way.
    pub(crate) under_way: bool,
    pub(crate) members: Vec<Fate>,
    /// Why others said nothing, by address.
    pub(crate) silent: Vec<String>,
}

/// Decides: of those that had a vote and answer, the one that knows most.
pub(crate) fn weigh(said: &[Said]) -> Result<Plan, NotRecovered> {
    let all: Vec<&EtcdRemains> = said.iter().filter_map(|said| said.as_ref().ok()).collect();
    let silent: Vec<String> = said
        .iter()
        .filter_map(|said| said.as_ref().err())
        .map(|(address, why)| format!("{address}: {why}"))
        .collect();
    let has = |remains: &&&EtcdRemains| remains.status.is_some();
    if let Some(under_way) = all.iter().find(|remains| remains.recovering) {
        return Ok(plan(under_way, &all, silent, true));
    }
    let led = |status: &EtcdStatus| status.leader.is_some();
    if let Some(one) = all.iter().find(|remains| remains.status.as_ref().is_some_and(led)) {
        return Err(NotRecovered::Led { name: one.machine_name.clone() });
    }
    let has_vote = |of: &EtcdRemains, member: &EtcdRemains| {
        voters(of).any(|one| one.machine.as_ref() == Some(&member.machine))
    };
    let candidates = all.iter().filter(has).filter(|remains| has_vote(remains, remains));
    let knows = |remains: &EtcdRemains| {
        let status = remains.status.as_ref();
        status.map(|status| (remains.epoch, status.revision, status.raft_index))
    };
    // Of equal ones the lowest ID, so that asking again gives the same.
    let best = candidates.max_by_key(|remains| (knows(remains), Reverse(&remains.machine)));
    let Some(best) = best else {
        let reason = |remains: &&EtcdRemains| {
            let why = remains.problem.as_deref().unwrap_or("its etcd had no vote");
            format!("{}: {why}", remains.machine_name)
        };
        let whys = all.iter().map(reason).chain(silent).collect();
        return Err(NotRecovered::Nothing { whys });
    };
    let answer: Vec<&&EtcdRemains> =
        all.iter().filter(has).filter(|remains| has_vote(best, remains)).collect();
    if let Some(other) = answer.iter().find(|other| other.epoch != best.epoch) {
        let names = (best.machine_name.clone(), other.machine_name.clone());
        return Err(NotRecovered::Parted { names });
    }
    let count = voters(best).count();
    if answer.len() > count / 2 {
        let names = answer.iter().map(|remains| remains.machine_name.clone()).collect();
        return Err(NotRecovered::Enough { names, voters: count });
    }
    Ok(plan(best, &all, silent, false))
}

/// The epoch that a machine which went on alone answers for the cluster in, once it does; `ordered` is the one that it was to reach.
///
/// # Errors
/// It gave the recovery up.
pub(crate) fn reached(remains: &EtcdRemains, ordered: u64) -> Result<Option<u64>, NotRecovered> {
    match remains.epoch {
        _ if remains.recovering => Ok(None),
        // The epoch is raised before the recovery is over.
        Some(epoch) if epoch < ordered => {
            Err(NotRecovered::Overtaken { name: remains.machine_name.clone() })
        }
        epoch => Ok(epoch.filter(|_| remains.serves)),
    }
}

fn voters(remains: &EtcdRemains) -> impl Iterator<Item = &EtcdMember> {
    remains.members.iter().filter(|member| !member.learner)
}

fn plan(best: &EtcdRemains, all: &[&EtcdRemains], silent: Vec<String>, under_way: bool) -> Plan {
    let fate = |member: &EtcdMember| {
        let own = all.iter().find(|one| member.machine.as_ref() == Some(&one.machine));
        let name = own.map(|one| one.machine_name.clone()).or_else(|| member.machine_name.clone());
        let unnamed = || member.machine.clone().unwrap_or_else(|| member.urls.join(" "));
        Fate {
            machine_name: name.unwrap_or_else(unnamed),
            machine: member.machine.clone(),
            revision: own.and_then(|one| one.status.as_ref()).map(|status| status.revision),
            used: member.machine.as_ref() == Some(&best.machine),
        }
    };
    Plan {
        machine: best.machine.clone(),
        machine_name: best.machine_name.clone(),
        revision: best.status.as_ref().map_or(0, |status| status.revision),
        under_way,
        members: best.members.iter().map(fate).collect(),
        silent,
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
