//! How many run etcd: the next step towards it, as a pure function. One step at a time, and none that a quorum could be lost by.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ferrite_cluster::store::EtcdMember;
use ferrite_schema::cluster::MachineId;

/// A member is replaced when its machine was gone for so long: a machine that restarts is back before.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(60);

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Members, as a quorum of etcd has them.
    pub(super) members: Vec<EtcdMember>,
    /// Machines that are alive and may run etcd.
    pub(super) eligible: BTreeSet<MachineId>,
    /// Since when machines of members are gone.
    pub(super) gone: BTreeMap<MachineId, Duration>,
    /// How many should run it.
    pub(super) target: u8,
}

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// This machine learns.
    Add(MachineId),
    /// This learner gets its vote, if it has learned all.
    Promote(u64),
    /// This one is a member no more.
    Remove(u64),
}

/// The next step, if there is one.
pub(super) fn step(seen: &Seen) -> Option<Step> {
    let dead_for = |member: &EtcdMember| {
        member.machine.as_ref().and_then(|machine| seen.gone.get(machine)).copied()
    };
    let dead = |member: &&EtcdMember| dead_for(member).is_some_and(|time| time >= DEAD_AFTER);
    if let Some(learner) = seen.members.iter().find(|member| member.learner) {
        return match dead_for(learner) {
            Some(time) if time >= DEAD_AFTER => Some(Step::Remove(learner.number)),
            None if learner.started => Some(Step::Promote(learner.number)),
            Some(_) | None => None,
        };
    }
    let voters = seen.members.len();
    let away = seen.members.iter().filter(|member| dead_for(member).is_some()).count();
    if let Some(member) = seen.members.iter().find(dead) {
        // The others must be a quorum, and all of them there: etcd looks for the same once more.
        let others_are_well = away == 1 && voters - 1 > voters / 2;
        return others_are_well.then_some(Step::Remove(member.number));
    }
    let candidates: Vec<&MachineId> = seen
        .eligible
        .iter()
        .filter(|machine| {
            seen.members.iter().all(|member| member.machine.as_ref() != Some(machine))
        })
        .collect();
    // An even number tolerates no more than the odd one below it.
    let possible = usize::from(seen.target).min(voters + candidates.len());
    let wanted = if possible % 2 == 0 { possible.saturating_sub(1) } else { possible };
    let first = *candidates.first()?;
    (away == 0 && voters < wanted).then(|| Step::Add(first.clone()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> MachineId {
        format!("{number:032x}").parse().unwrap()
    }

    fn member(number: u8, learner: bool) -> EtcdMember {
        let (machine, urls) = (Some(id(number)), Vec::new());
        EtcdMember { number: number.into(), machine, urls, started: true, learner }
    }

    fn seen(members: &[u8], eligible: &[u8], gone: &[(u8, u64)]) -> Seen {
        Seen {
            members: members.iter().map(|number| member(*number, false)).collect(),
            eligible: eligible.iter().map(|number| id(*number)).collect(),
            gone: gone.iter().map(|(number, s)| (id(*number), Duration::from_secs(*s))).collect(),
            target: 3,
        }
    }

    #[test]
    fn one_becomes_three_step_by_step_and_two_stay_one() {
        assert_eq!(step(&seen(&[1], &[1, 2, 3], &[])), Some(Step::Add(id(2))));
        assert_eq!(step(&seen(&[1, 2], &[1, 2, 3], &[])), Some(Step::Add(id(3))));
        assert_eq!(step(&seen(&[1, 2, 3], &[1, 2, 3, 4], &[])), None);
        assert_eq!(step(&seen(&[1], &[1, 2], &[])), None, "two tolerate nothing");
        let mut learns = seen(&[1], &[1, 2, 3], &[]);
        learns.members.push(member(2, true));
        assert_eq!(step(&learns), Some(Step::Promote(2)));
        learns.members[1].started = false;
        assert_eq!(step(&learns), None, "it has not spoken yet");
        learns.gone.insert(id(2), DEAD_AFTER);
        assert_eq!(step(&learns), Some(Step::Remove(2)));
    }

    #[test]
    fn a_dead_member_is_replaced_and_two_dead_ones_never() {
        assert_eq!(step(&seen(&[1, 2, 3], &[1, 2, 4], &[(3, 59)])), None);
        assert_eq!(step(&seen(&[1, 2, 3], &[1, 2, 4], &[(3, 60)])), Some(Step::Remove(3)));
        assert_eq!(step(&seen(&[1, 2, 3], &[1, 4], &[(3, 60), (2, 1)])), None);
        assert_eq!(step(&seen(&[1, 2], &[1, 4], &[(2, 600)])), None, "one of two is no quorum");
        assert_eq!(step(&seen(&[1, 2], &[1, 2, 4], &[])), Some(Step::Add(id(4))));
    }

    proptest! {
        #[test]
        fn no_step_takes_the_quorum_away(
            members in prop::collection::btree_set(0..9_u8, 1..6),
            eligible in prop::collection::btree_set(0..9_u8, 0..9),
            gone in prop::collection::btree_map(0..9_u8, 0..200_u64, 0..9),
        ) {
            let members: Vec<u8> = members.into_iter().collect();
            let gone: Vec<(u8, u64)> = gone.into_iter().collect();
            let eligible: Vec<u8> =
                eligible.into_iter().filter(|one| gone.iter().all(|(other, _)| other != one)).collect();
            let all = seen(&members, &eligible, &gone);
            let here = members.iter().filter(|one| gone.iter().all(|(other, _)| other != *one)).count();
            match step(&all) {
                Some(Step::Remove(number)) => {
                    prop_assert!(gone.iter().any(|(one, s)| u64::from(*one) == number && *s >= 60));
                    prop_assert!(here > members.len() / 2);
                    prop_assert_eq!(here, members.len() - 1);
                }
                Some(Step::Add(machine)) => {
                    prop_assert_eq!(here, members.len());
                    prop_assert!(all.eligible.contains(&machine));
                }
                Some(Step::Promote(_)) => prop_assert!(false, "nobody learns"),
                None => {}
            }
        }
    }
}
