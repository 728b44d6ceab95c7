//! How many run etcd: the next step towards it, as a pure function. One step at a time, and none that a quorum could be lost by.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use ferrite_cluster::store::EtcdMember;
use ferrite_schema::cluster::MachineId;

mod history;
mod seen;

pub(super) use history::History;
use seen::BEGINS_WITHIN;
pub(super) use seen::Seen;

/// A member is replaced when its machine was gone for so long: a machine that restarts is back before.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(60);

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// This machine learns.
    Add(MachineId),
    /// This learner gets its vote, if it has learned all.
    Promote(u64),
    /// This one leads etcd from now on.
    HandOver(u64),
    /// This one is a member no more.
    Remove(u64),
}

/// The next step, if there is one.
pub(super) fn step(seen: &Seen) -> Option<Step> {
    let target = usize::from(seen.target);
    let voters: Vec<&EtcdMember> = seen.members.iter().filter(|member| !member.learner).collect();
    if let Some(learner) = seen.members.iter().find(|member| member.learner) {
        let needed = voters.len() < target;
        return match seen.health(learner) {
            Health::Dead => Some(Step::Remove(learner.number)),
            Health::Well if !needed => Some(Step::Remove(learner.number)),
            Health::Well if learner.started => Some(Step::Promote(learner.number)),
            // It holds others up: none can learn, and no dead one is replaced. Where there are none, it has its time.
            Health::Well
                if seen.is_late() && (seen.others_can_learn() || seen.has_dead(&voters)) =>
            {
                Some(Step::Remove(learner.number))
            }
            Health::Well | Health::Away => None,
        };
    }
    let away = voters.iter().filter(|member| seen.health(member) != Health::Well).count();
    if let Some(member) = voters.iter().find(|member| seen.health(member) == Health::Dead) {
        // The others must be a quorum, and all of them there: etcd looks for the same once more.
        let others_are_well = away == 1 && voters.len() - 1 > voters.len() / 2;
        return others_are_well.then_some(Step::Remove(member.number));
    }
    if away > 0 {
        return None;
    }
    if voters.len() > target {
        return seen.fewer(&voters);
    }
    let candidates: Vec<&MachineId> = seen.candidates().collect();
    // An even number tolerates no more than the odd one below it.
    let possible = target.min(voters.len() + candidates.len());
    let wanted = if possible % 2 == 0 { possible.saturating_sub(1) } else { possible };
    let last =
        |machine: &&&MachineId| (seen.vain.contains(**machine), seen.cordoned.contains(**machine));
    let first = candidates.iter().min_by_key(last)?;
    (voters.len() < wanted).then(|| Step::Add((*first).clone()))
}

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    /// It may come back.
    Away,
    /// It is to be replaced.
    Dead,
}

/// How much a member is worth where one is too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Its configuration says that it is to run etcd no more.
    NotEligible,
    Cordoned,
    Good,
}

impl Seen {
    /// Machines that could become members.
    fn candidates(&self) -> impl Iterator<Item = &MachineId> {
        self.eligible.iter().filter(|machine| {
            !self.broken.contains(*machine)
                && self.members.iter().all(|member| member.machine.as_ref() != Some(machine))
        })
    }

    fn is_late(&self) -> bool {
        self.silent.is_some_and(|time| time >= BEGINS_WITHIN)
    }

    fn others_can_learn(&self) -> bool {
        self.candidates().any(|machine| !self.vain.contains(machine))
    }

    fn has_dead(&self, voters: &[&EtcdMember]) -> bool {
        voters.iter().any(|member| self.health(member) == Health::Dead)
    }

    fn health(&self, member: &EtcdMember) -> Health {
        let Some(machine) = &member.machine else { return Health::Well };
        if self.broken.contains(machine) {
            return Health::Dead;
        }
        match self.gone.get(machine) {
            None => Health::Well,
            Some(time) if *time >= DEAD_AFTER => Health::Dead,
            Some(_) => Health::Away,
        }
    }

    /// In which order members are taken away: the one that leads is the last of its kind, and otherwise the lowest ID.
    fn worth<'a>(&self, member: &'a EtcdMember) -> (Worth, bool, Reverse<Option<&'a MachineId>>) {
        let machine = member.machine.as_ref();
        let is_in = |all: &BTreeSet<MachineId>| machine.is_some_and(|one| all.contains(one));
        let worth = match (is_in(&self.eligible), is_in(&self.cordoned)) {
            (false, _) => Worth::NotEligible,
            (true, true) => Worth::Cordoned,
            (true, false) => Worth::Good,
        };
        (worth, member.number == self.leader, Reverse(machine))
    }

    /// One member less of those that are all well. The one that leads etcd stays until another one does.
    fn fewer(&self, voters: &[&EtcdMember]) -> Option<Step> {
        let least = voters.iter().min_by_key(|member| self.worth(member))?;
        if least.number != self.leader {
            return Some(Step::Remove(least.number));
        }
        let best = voters.iter().max_by_key(|member| self.worth(member))?;
        (best.number != self.leader).then_some(Step::HandOver(best.number))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn id(number: u8) -> MachineId {
        format!("{number:032x}").parse().unwrap()
    }

    pub(super) fn member(number: u8, learner: bool) -> EtcdMember {
        let (machine, urls) = (Some(id(number)), Vec::new());
        EtcdMember { number: number.into(), machine, urls, started: true, learner }
    }

    pub(super) fn seen(members: &[u8], eligible: &[u8], gone: &[(u8, u64)]) -> Seen {
        Seen {
            members: members.iter().map(|number| member(*number, false)).collect(),
            leader: members.first().copied().unwrap_or(0).into(),
            eligible: ids(eligible),
            cordoned: BTreeSet::new(),
            broken: BTreeSet::new(),
            gone: gone.iter().map(|(number, s)| (id(*number), Duration::from_secs(*s))).collect(),
            silent: None,
            vain: BTreeSet::new(),
            target: 3,
        }
    }

    pub(super) fn ids(numbers: &[u8]) -> BTreeSet<MachineId> {
        numbers.iter().map(|number| id(*number)).collect()
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
        learns.target = 1;
        assert_eq!(step(&learns), Some(Step::Remove(2)), "there are enough already");
        learns.target = 3;
        learns.members[1].started = false;
        assert_eq!(step(&learns), None, "it has not spoken yet");
        learns.silent = Some(BEGINS_WITHIN);
        assert_eq!(step(&learns), Some(Step::Remove(2)), "it never will");
        let mut again = seen(&[1], &[1, 2, 3], &[]);
        again.vain = ids(&[2]);
        assert_eq!(step(&again), Some(Step::Add(id(3))));
        learns.vain = ids(&[2, 3]);
        assert_eq!(step(&learns), None, "nobody else would do better");
        learns.gone.insert(id(1), DEAD_AFTER);
        assert_eq!(step(&learns), Some(Step::Remove(2)), "one is to be replaced");
        learns.gone.clear();
        (learns.silent, learns.vain) = (None, BTreeSet::new());
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

    #[test]
    fn a_member_that_says_that_its_data_is_gone_is_replaced_at_once_and_comes_back_when_it_says_so_no_more()
     {
        let mut all = seen(&[1, 2, 3], &[1, 2, 3], &[]);
        all.broken = ids(&[3]);
        assert_eq!(step(&all), Some(Step::Remove(3)));
        all.broken = ids(&[2, 3]);
        assert_eq!(step(&all), None, "the other one is no quorum");
        let mut without = seen(&[1, 2], &[1, 2, 3], &[]);
        without.broken = ids(&[3]);
        assert_eq!(step(&without), None, "it would have to forget first");
        without.broken.clear();
        assert_eq!(step(&without), Some(Step::Add(id(3))));
    }

    #[test]
    fn three_become_one_step_by_step_and_the_one_that_leads_hands_over_before_it_goes() {
        let mut all = seen(&[1, 2, 3], &[1, 2, 3], &[]);
        all.target = 1;
        assert_eq!(step(&all), Some(Step::Remove(3)));
        all.leader = 3;
        assert_eq!(step(&all), Some(Step::Remove(2)), "who leads stays as long as it is as good");
        all.cordoned = ids(&[3]);
        assert_eq!(step(&all), Some(Step::HandOver(1)));
        all.leader = 1;
        assert_eq!(step(&all), Some(Step::Remove(3)));
        all.eligible = ids(&[1, 3]);
        assert_eq!(step(&all), Some(Step::Remove(2)), "it may not run etcd any more");
        let mut two = seen(&[1, 2], &[2], &[]);
        two.target = 1;
        assert_eq!(step(&two), Some(Step::HandOver(2)));
        two.leader = 2;
        assert_eq!(step(&two), Some(Step::Remove(1)));
        two.gone.insert(id(1), Duration::from_secs(1));
        assert_eq!(step(&two), None, "it might be the only one that knows");
    }

    #[test]
    fn a_cordoned_machine_becomes_a_member_last() {
        let mut all = seen(&[3], &[1, 2, 3], &[]);
        all.cordoned = ids(&[1]);
        assert_eq!(step(&all), Some(Step::Add(id(2))));
        let mut all = seen(&[2, 3], &[1, 2, 3], &[]);
        all.cordoned = ids(&[1]);
        assert_eq!(step(&all), Some(Step::Add(id(1))));
    }

    /// Any state that there can be, by numbers of machines.
    fn any() -> impl Strategy<Value = Seen> {
        let some = || prop::collection::btree_set(0..9_u8, 0..9);
        let gone = prop::collection::btree_map(0..9_u8, 0..200_u64, 0..4);
        let members = prop::collection::btree_set(0..9_u8, 1..8);
        let broken = prop::collection::btree_set(0..9_u8, 0..2);
        let target = prop::sample::select(vec![1_u8, 3, 5, 7]);
        let last = (0..7_usize, prop::bool::weighted(0.3), prop::bool::ANY);
        (members, some(), some(), broken, gone, target, last).prop_map(
            |(members, eligible, cordoned, broken, gone, target, (leader, learns, started))| {
                let all = |set: BTreeSet<u8>| set.into_iter().collect::<Vec<_>>();
                let (members, gone) = (all(members), gone.into_iter().collect::<Vec<_>>());
                let mut seen = seen(&members, &all(eligible), &gone);
                seen.eligible.retain(|machine| !seen.gone.contains_key(machine));
                (seen.cordoned, seen.target) = (ids(&all(cordoned)), target);
                seen.broken = ids(&all(broken));
                if learns && seen.members.len() > 1 {
                    let last = seen.members.last_mut().unwrap();
                    (last.learner, last.started) = (true, started);
                }
                let voters = seen.members.iter().filter(|member| !member.learner);
                let numbers: Vec<u64> = voters.map(|member| member.number).collect();
                seen.leader = numbers[leader % numbers.len()];
                seen
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_step_takes_the_quorum_away(all in any()) {
            let voters: Vec<&EtcdMember> = all.members.iter().filter(|one| !one.learner).collect();
            let is_away = |member: &EtcdMember| {
                let machine = member.machine.as_ref().unwrap();
                all.gone.contains_key(machine) || all.broken.contains(machine)
            };
            let here = voters.iter().filter(|member| !is_away(member)).count();
            match step(&all) {
                Some(Step::Remove(number)) => {
                    prop_assert!(number != all.leader || is_away(
                        voters.iter().find(|one| one.number == number).unwrap()));
                    let Some(one) = voters.iter().find(|one| one.number == number) else {
                        // A learner has no vote.
                        return Ok(());
                    };
                    let machine = one.machine.as_ref().unwrap();
                    let dead = all.gone.get(machine).is_some_and(|time| *time >= DEAD_AFTER)
                        || all.broken.contains(machine);
                    prop_assert!(here > voters.len() / 2);
                    // All others are well, and they are there after it as before.
                    prop_assert_eq!(here, voters.len() - usize::from(is_away(one)));
                    if !dead {
                        prop_assert!(!is_away(one) && voters.len() > usize::from(all.target));
                    }
                }
                Some(Step::HandOver(to)) => {
                    prop_assert_eq!(here, voters.len());
                    prop_assert!(to != all.leader && voters.len() > usize::from(all.target));
                    prop_assert!(voters.iter().any(|one| one.number == to));
                }
                Some(Step::Add(machine)) => {
                    prop_assert_eq!(here, all.members.len());
                    prop_assert!(all.eligible.contains(&machine) && !all.broken.contains(&machine));
                    prop_assert!(voters.len() < usize::from(all.target));
                }
                Some(Step::Promote(number)) => {
                    prop_assert!(all.members.iter().any(|one| one.number == number && one.learner));
                    prop_assert!(voters.len() < usize::from(all.target));
                }
                None => {}
            }
        }

        /// Where all are well, the steps end, at the odd number that there can be or the one that was asked for.
        #[test]
        fn the_steps_lead_to_the_target_and_end(mut all in any()) {
            all.gone.clear();
            all.broken.clear();
            let mut steps = 0;
            while let Some(step) = step(&all) {
                steps += 1;
                prop_assert!(steps < 50, "{all:?}");
                match step {
                    Step::Add(machine) => {
                        let number = u8::from_str_radix(machine.as_str(), 16).unwrap();
                        all.members.push(member(number, true));
                    }
                    Step::Promote(number) => {
                        let mut one = all.members.iter_mut().filter(|one| one.number == number);
                        one.next().unwrap().learner = false;
                    }
                    Step::HandOver(to) => all.leader = to,
                    Step::Remove(number) => all.members.retain(|one| one.number != number),
                }
            }
            let voters = all.members.iter().filter(|one| !one.learner).count();
            let target = usize::from(all.target);
            prop_assert!(voters <= target, "{all:?}");
            let others = |machine: &&MachineId| {
                all.members.iter().all(|one| one.machine.as_ref() != Some(machine))
            };
            let candidates = all.eligible.iter().filter(others).count();
            let stuck = all.members.iter().any(|one| one.learner && !one.started);
            prop_assert!(voters == target || stuck || candidates < 2 , "{all:?}");
        }
    }
}
