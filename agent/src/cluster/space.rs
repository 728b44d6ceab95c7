//! What is done when etcd's space is used up: until it is made and the alarm is off, nothing in the cluster can be changed and
//! no machine that was gone comes back. Each member sees to its own etcd, one after the other, and the one that leads raft is
//! the last.

use std::collections::BTreeSet;
use std::time::Duration;

use ferrite_cluster::store::{Etcd, Maintenance, OwnStatus, Refusal, StoreProblem};

use super::etcd::QUOTA_BYTES;
use crate::node::Node;

const ABOUT: &str = "etcd's space";
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The leader of raft makes room after so many looks: it stands still meanwhile, and the others have done it by then.
const LEADER_AFTER: u32 = 3;

/// What is known of the trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// This etcd leads raft.
    leads: bool,
    /// Somebody learns, and would have to begin anew.
    learns: bool,
    /// What is forgotten was.
    compacted: bool,
    /// How often it was looked at since the alarm.
    looks: u32,
    db_bytes: u64,
    used_bytes: u64,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Forgets what was before.
    Compact,
    /// Gives back what is free in the file.
    Defragment,
    /// There is room.
    Disarm,
    /// There is none, and nothing more that could be done here.
    Full,
    /// It is another member's turn.
    Wait,
}

const fn step(seen: Seen) -> Step {
    if seen.leads && !seen.compacted {
        return Step::Compact;
    }
    if seen.leads && seen.looks < LEADER_AFTER {
        return Step::Wait;
    }
    let free = seen.db_bytes.saturating_sub(seen.used_bytes);
    if free > QUOTA_BYTES / 10 {
        return if seen.learns { Step::Wait } else { Step::Defragment };
    }
    match seen.leads {
        true if seen.db_bytes < QUOTA_BYTES / 10 * 9 => Step::Disarm,
        true => Step::Full,
        false => Step::Wait,
    }
}

/// Sees to it. Never ends.
pub(super) async fn tend(store: &Etcd, own: &Maintenance, node: &Node) -> String {
    let (mut looks, mut compacted) = (0, false);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Ok(status) = own.status().await else { continue };
        if !status.is_out_of_space() {
            if looks > 0 {
                tracing::info!("etcd-has-space");
                node.stand(ABOUT.to_owned(), None);
            }
            (looks, compacted) = (0, false);
            continue;
        }
        let does = look(store, &status, (looks, compacted)).await;
        looks = looks.saturating_add(1);
        let done = match does {
            Ok(does) => {
                tracing::warn!(step = ?does, used = status.db_used_bytes, file = status.db_bytes, "etcd-out-of-space");
                node.stand(ABOUT.to_owned(), Some(said(&status, does)));
                let done = carry_out(store, own, &status, does).await;
                compacted |= does == Step::Compact && done.is_ok();
                done
            }
            Err(problem) => Err(problem),
        };
        if let Err(problem) = done {
            tracing::warn!(error = ferrite_schema::chain(&problem), "etcd-space-not-made");
        }
    }
}

async fn look(
    store: &Etcd,
    status: &OwnStatus,
    (looks, compacted): (u32, bool),
) -> Result<Step, StoreProblem> {
    let members = store.members().await?;
    Ok(step(Seen {
        leads: status.leader == Some(status.member),
        learns: members.iter().any(|member| member.learner),
        compacted,
        looks,
        db_bytes: status.db_bytes,
        used_bytes: status.db_used_bytes,
    }))
}

async fn carry_out(
    store: &Etcd,
    own: &Maintenance,
    status: &OwnStatus,
    step: Step,
) -> Result<(), StoreProblem> {
    match step {
        Step::Compact => match store.compact(status.revision).await {
            // Somebody has, up to there or further.
            Err(StoreProblem::Refused(Refusal::Compacted)) => Ok(()),
            compacted => compacted,
        },
        Step::Defragment => own.defragment().await,
        Step::Disarm => {
            let alarmed: BTreeSet<u64> = own.out_of_space().await?;
            for member in alarmed {
                own.disarm(member).await?;
            }
            Ok(())
        }
        Step::Full | Step::Wait => Ok(()),
    }
}

fn said(status: &OwnStatus, step: Step) -> String {
    let mib = |bytes: u64| bytes >> 20;
    let (used, file, all) = (mib(status.db_used_bytes), mib(status.db_bytes), mib(QUOTA_BYTES));
    let what = match step {
        Step::Full => "destroy units that are not needed; nothing is free that could be given back",
        Step::Compact | Step::Defragment | Step::Disarm | Step::Wait => "room is being made",
    };
    format!(
        "etcd's space is used up ({used} MiB in a file of {file} MiB, {all} MiB at most): nothing can be changed in the cluster, and what runs goes on; {what}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Seen = Seen {
        leads: true,
        learns: false,
        compacted: false,
        looks: 0,
        db_bytes: QUOTA_BYTES,
        used_bytes: QUOTA_BYTES / 2,
    };

    #[test]
    fn the_leader_forgets_first_and_makes_room_last() {
        let follower = Seen { leads: false, ..FULL };
        assert_eq!(step(FULL), Step::Compact);
        assert_eq!(step(follower), Step::Defragment);
        let compacted = Seen { compacted: true, looks: 1, ..FULL };
        assert_eq!(step(compacted), Step::Wait);
        let later = Seen { looks: LEADER_AFTER, ..compacted };
        assert_eq!(step(later), Step::Defragment);
        let small = Seen { db_bytes: QUOTA_BYTES / 2, ..later };
        assert_eq!(step(small), Step::Disarm);
        assert_eq!(step(Seen { leads: false, ..small }), Step::Wait);
    }

    #[test]
    fn what_is_full_of_what_is_needed_stays_so_and_nobody_who_learns_is_disturbed() {
        let later = Seen { compacted: true, looks: LEADER_AFTER, ..FULL };
        assert_eq!(step(Seen { used_bytes: QUOTA_BYTES, ..later }), Step::Full);
        assert_eq!(step(Seen { learns: true, ..later }), Step::Wait);
        assert_eq!(step(Seen { learns: true, leads: false, ..later }), Step::Wait);
    }
}
