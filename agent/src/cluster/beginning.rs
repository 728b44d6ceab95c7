//! Whether etcd may be started here, and as what: a pure function of the evidence. An etcd that has lost its data and votes
//! all the same can undo what the cluster has acknowledged, and one that begins again is a second cluster.

use ferrite_schema::cluster::MachineId;

use super::kept::KeptMember;

/// How it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Begins {
    /// A cluster of one.
    New,
    /// Beside these, itself among them.
    Beside(Vec<MachineId>),
}

/// What the cluster says of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// It is no member, or nobody has said.
    Not,
    /// It learns, and has no vote.
    Learner,
    /// It has a vote.
    Voter,
}

/// etcd must not be started. The words say what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum MayNot {
    /// It ran here.
    #[error(
        "etcd ran on this node and its data is gone from STATE: it would vote without remembering what it has agreed to. The other members replace this one by itself, where they are a quorum; if that is lost for good, `ferrite etcd recover`"
    )]
    DataGone,
    /// Only a learner may begin with nothing.
    #[error("etcd has no data here, and the cluster does not say that this node is to learn")]
    NotALearner,
}

/// Decides. `members` is the list that `listed` is of.
pub(super) fn begins(
    kept: &KeptMember,
    has_data: bool,
    listed: Listed,
    members: &[MachineId],
) -> Result<Begins, MayNot> {
    let as_before = || match (kept.founder, kept.beside.is_empty()) {
        (true, _) => Begins::New,
        (false, false) => Begins::Beside(kept.beside.clone()),
        (false, true) => Begins::Beside(members.to_vec()),
    };
    match (has_data, kept.begun, kept.founder, listed) {
        // What is in the data counts; how it begins does not.
        (true, ..) => Ok(as_before()),
        (false, true, ..) => Err(MayNot::DataGone),
        (false, false, true, _) => Ok(Begins::New),
        (false, false, false, Listed::Learner) => Ok(Begins::Beside(members.to_vec())),
        (false, false, false, Listed::Not | Listed::Voter) => Err(MayNot::NotALearner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All evidence that there can be.
    #[test]
    fn without_data_only_a_founder_that_never_ran_and_a_learner_begin() {
        let members: Vec<MachineId> = ["a", "b"].map(|id| id.repeat(32).parse().unwrap()).into();
        let mut began = 0;
        for bits in 0..16_u8 {
            let bit = |number: u8| bits >> number & 1 == 1;
            let (has_data, begun, founder) = (bit(0), bit(1), bit(2));
            let beside = if bit(3) { members.clone() } else { Vec::new() };
            let kept = KeptMember { founder, beside, begun };
            for listed in [Listed::Not, Listed::Learner, Listed::Voter] {
                let verdict = begins(&kept, has_data, listed, &members);
                let may = has_data || !begun && (founder || listed == Listed::Learner);
                assert_eq!(verdict.is_ok(), may, "{kept:?} {has_data} {listed:?}: {verdict:?}");
                // A second cluster: a founder that has run before.
                assert!(!(verdict == Ok(Begins::New) && begun && !has_data));
                began += usize::from(may);
            }
        }
        assert!(began > 20, "{began}");
    }
}
