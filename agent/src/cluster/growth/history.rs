//! For how long what is seen has been so: pure, by the clock of who looks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ferrite_schema::cluster::MachineId;

use super::seen::{BEGINS_WITHIN, Seen};

/// What a leader has seen since when.
#[derive(Debug, Default)]
pub(in crate::cluster) struct History {
    /// Members whose machines are gone.
    gone: BTreeMap<MachineId, Instant>,
    /// The learner that has not spoken, on a machine that is alive.
    silent: Option<(MachineId, Instant)>,
    /// Machines that were asked in vain.
    vain: BTreeSet<MachineId>,
}

impl History {
    /// Takes in who the members are and which machines are alive, and adds to it for how long that has been so.
    pub(in crate::cluster) fn look(
        &mut self,
        seen: &mut Seen,
        alive: &BTreeSet<MachineId>,
        now: Instant,
    ) {
        let machines: BTreeSet<MachineId> =
            seen.members.iter().filter_map(|member| member.machine.clone()).collect();
        self.gone.retain(|machine, _| machines.contains(machine) && !alive.contains(machine));
        for machine in machines.difference(alive) {
            self.gone.entry(machine.clone()).or_insert(now);
        }
        let silent = seen.members.iter().find(|member| member.learner && !member.started);
        let silent = silent.and_then(|member| member.machine.clone());
        let silent = silent.filter(|machine| alive.contains(machine));
        self.silent = silent.map(|machine| match self.silent.take() {
            Some((before, since)) if before == machine => (machine, since),
            _ => (machine, now),
        });
        let age = |since: Instant| now.saturating_duration_since(since);
        seen.silent = self.silent.as_ref().map(|(_, since)| age(*since));
        if let Some((machine, since)) = &self.silent
            && age(*since) >= BEGINS_WITHIN
        {
            self.vain.insert(machine.clone());
        }
        for member in seen.members.iter().filter(|member| member.started) {
            if let Some(machine) = &member.machine {
                self.vain.remove(machine);
            }
        }
        seen.vain.clone_from(&self.vain);
        let gone = self.gone.iter().map(|(machine, since)| (machine.clone(), age(*since)));
        seen.gone = gone.collect();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{id, ids, member, seen};
    use super::*;

    #[test]
    fn who_is_gone_or_silent_is_so_from_when_that_was_seen_first_until_it_is_not() {
        let (mut history, begin) = (History::default(), Instant::now());
        let mut look = |s: u64, alive: &[u8], learner: Option<bool>| {
            let mut all = seen(&[1, 2], &[1, 2, 3], &[]);
            all.members.extend(learner.map(|started| {
                let mut learner = member(3, true);
                learner.started = started;
                learner
            }));
            history.look(&mut all, &ids(alive), begin + Duration::from_secs(s));
            all
        };
        assert_eq!(look(0, &[1, 2, 3], None).gone, [].into());
        assert_eq!(look(10, &[1, 3], None).gone, [(id(2), Duration::ZERO)].into());
        assert_eq!(look(70, &[1, 3], None).gone, [(id(2), Duration::from_secs(60))].into());
        assert_eq!(look(71, &[1, 2, 3], None).gone, [].into());
        assert_eq!(look(80, &[1, 2, 3], Some(false)).silent, Some(Duration::ZERO));
        let late = look(80 + BEGINS_WITHIN.as_secs(), &[1, 2, 3], Some(false));
        assert_eq!((late.silent, late.vain), (Some(BEGINS_WITHIN), ids(&[3])));
        assert_eq!(look(300, &[1, 2, 3], None).vain, ids(&[3]), "it is remembered");
        let away = look(310, &[1, 2], Some(false));
        assert_eq!(away.silent, None, "it is gone, which is another thing");
        assert_eq!(look(320, &[1, 2, 3], Some(true)).vain, ids(&[]), "it has spoken");
    }
}
