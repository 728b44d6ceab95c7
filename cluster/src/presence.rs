//! When a machine that says nothing any more is lost: a pure step function.
//!
//! A machine whose `alive` is gone is *suspect*, and a moment later *lost*. **The brake**: where many are gone at once, it is
//! more likely the network or the leader itself, and moving would do harm; then a TTL more passes first. The same holds after
//! the leader's own clock jumped, for everybody, and for a machine that this leader has never seen: it may be on its way back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::engine::Presence;
use crate::names::MachineId;

/// A moment, as the time since one that stays the same.
pub type Moment = Duration;

/// A machine counts its last renewal for as much longer than the lease as etcd takes to elect a leader this often, so that an election
/// ends nothing that must not run twice.
const ELECTIONS: u32 = 4;
/// What must not run twice is given this long at least from a machine's last renewal.
const LIMIT_MIN: Duration = Duration::from_secs(4);
/// Beyond that it is waited so long for it to have ended: clocks are read in whole seconds, and a killed process takes its time.
pub const FENCE_MARGIN: Duration = Duration::from_secs(3);

/// Times of a cluster, by which a machine is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long leases last.
    pub ttl: Duration,
    /// Within which etcd elects a leader.
    pub election: Duration,
}

impl Times {
    /// So old may a machine's last renewal be while it runs what must not run twice.
    #[must_use]
    pub fn fence(self) -> Duration {
        self.ttl.saturating_add(self.election.saturating_mul(ELECTIONS)).max(LIMIT_MIN)
    }

    /// So long after the end of its lease has that ended there. The lease ends no earlier than the machine's count of it.
    #[must_use]
    pub fn ended_after(self) -> Duration {
        self.fence().saturating_sub(self.ttl).saturating_add(FENCE_MARGIN)
    }
}

/// From suspect to lost.
pub const SUSPECT_FOR: Duration = Duration::from_secs(2);

/// As many may go at once without more ado, however few machines there are.
const FEW: usize = 2;
/// Beyond a fifth of all machines the brake holds.
const SHARE: usize = 5;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// Its `alive` is there.
    Appeared(MachineId),
    /// Its `alive` is not there.
    Vanished(MachineId),
    /// There is no record of it any more.
    Forgotten(MachineId),
    /// The leader was paused, or its clock was set: it may have missed anything.
    ClockJumped,
    /// Time has passed.
    Tick,
}

/// Which machines are there.
#[derive(Debug, Clone)]
pub struct Presences {
    ttl: Duration,
    /// From the end of a lease until what must not run twice has ended; where that is of no interest nobody hears of it.
    ends: Option<Duration>,
    machines: BTreeMap<MachineId, Seen>,
    /// Who vanished when, for as long as it counts.
    vanished: VecDeque<(Moment, MachineId)>,
    /// Nobody is lost before.
    not_before: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Alive,
    Suspect { since: Moment, unseen: bool },
    Lost { since: Moment },
    Ended,
}

impl Presences {
    /// Nobody is known. Leases last for `ttl`.
    #[must_use]
    pub const fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            ends: None,
            machines: BTreeMap::new(),
            vanished: VecDeque::new(),
            not_before: Moment::ZERO,
        }
    }

    /// Likewise, for who gives to others what must not run twice.
    #[must_use]
    pub fn ending(times: Times) -> Self {
        Self { ends: Some(times.ended_after()), ..Self::new(times.ttl) }
    }

    /// Takes in what happened and answers with what changed.
    pub fn step(&mut self, sign: &Sign, now: Moment) -> Vec<(MachineId, Presence)> {
        let mut changed = Vec::new();
        match sign {
            Sign::Appeared(id) => {
                let before = self.machines.insert(id.clone(), Seen::Alive);
                if before != Some(Seen::Alive) {
                    changed.push((id.clone(), Presence::Alive));
                }
            }
            Sign::Vanished(id) => {
                let seen = self.machines.get(id);
                if matches!(seen, None | Some(Seen::Alive)) {
                    let unseen = seen.is_none();
                    self.machines.insert(id.clone(), Seen::Suspect { since: now, unseen });
                    self.vanished.push_back((now, id.clone()));
                    changed.push((id.clone(), Presence::Suspect));
                }
            }
            Sign::Forgotten(id) => drop(self.machines.remove(id)),
            Sign::ClockJumped => self.not_before = now.saturating_add(self.ttl),
            Sign::Tick => {}
        }
        self.forget(now);
        let due: Vec<MachineId> =
            self.suspects().filter(|(_, at)| *at <= now).map(|(id, _)| id.clone()).collect();
        for id in due {
            // By the end of its lease, as it was seen: for one that was away before, since it is looked for.
            let since = match self.machines.get(&id) {
                Some(Seen::Suspect { since, .. }) => *since,
                Some(Seen::Alive | Seen::Lost { .. } | Seen::Ended) | None => now,
            };
            self.machines.insert(id.clone(), Seen::Lost { since });
            changed.push((id, Presence::Lost));
        }
        let due: Vec<MachineId> =
            self.ending_at().filter(|(_, at)| *at <= now).map(|(id, _)| id.clone()).collect();
        for id in due {
            self.machines.insert(id.clone(), Seen::Ended);
            changed.push((id, Presence::Ended));
        }
        changed
    }

    /// Everybody that is known.
    pub fn known(&self) -> impl Iterator<Item = (&MachineId, Presence)> {
        self.machines.iter().map(|(id, seen)| {
            let presence = match seen {
                Seen::Alive => Presence::Alive,
                Seen::Suspect { .. } => Presence::Suspect,
                Seen::Lost { .. } => Presence::Lost,
                Seen::Ended => Presence::Ended,
            };
            (id, presence)
        })
    }

    /// When the next [`Sign::Tick`] changes something.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.suspects().chain(self.ending_at()).map(|(_, at)| at).min()
    }

    /// The brake holds somebody now.
    #[must_use]
    pub fn braked(&self) -> bool {
        let alive = self.alive();
        self.machines.values().any(|seen| match seen {
            Seen::Suspect { since, .. } => self.many(*since, alive),
            Seen::Alive | Seen::Lost { .. } | Seen::Ended => false,
        })
    }

    /// Suspects, and when each is lost.
    fn suspects(&self) -> impl Iterator<Item = (&MachineId, Moment)> {
        let alive = self.alive();
        self.machines.iter().filter_map(move |(id, seen)| match seen {
            Seen::Suspect { since, unseen } => {
                let braked = *unseen || self.many(*since, alive);
                let brake = if braked { self.ttl } else { Duration::ZERO };
                let at = since.saturating_add(SUSPECT_FOR).saturating_add(brake);
                Some((id, at.max(self.not_before)))
            }
            Seen::Alive | Seen::Lost { .. } | Seen::Ended => None,
        })
    }

    /// Lost machines, and when what must not run twice has ended on each.
    fn ending_at(&self) -> impl Iterator<Item = (&MachineId, Moment)> {
        let ends = self.ends;
        self.machines.iter().filter_map(move |(id, seen)| match seen {
            Seen::Lost { since } => Some((id, since.saturating_add(ends?))),
            Seen::Alive | Seen::Suspect { .. } | Seen::Ended => None,
        })
    }

    fn alive(&self) -> usize {
        self.machines.values().filter(|seen| **seen == Seen::Alive).count()
    }

    /// Within some TTL around `moment` more vanished than [`FEW`] and than their share of all.
    fn many(&self, moment: Moment, alive: usize) -> bool {
        let starts = self.vanished.iter().map(|(at, _)| *at);
        let starts = starts.filter(|at| *at <= moment && moment <= at.saturating_add(self.ttl));
        starts.into_iter().any(|start| {
            let end = start.saturating_add(self.ttl);
            let within = self.vanished.iter().filter(|(at, _)| start <= *at && *at <= end);
            let gone: BTreeSet<&MachineId> = within.map(|(_, id)| id).collect();
            // Those that are back already vanished all the same.
            let all = gone.len().saturating_add(alive);
            gone.len() > FEW && gone.len().saturating_mul(SHARE) > all
        })
    }

    fn forget(&mut self, now: Moment) {
        let counts = self.ttl.saturating_mul(2).saturating_add(SUSPECT_FOR);
        while self.vanished.front().is_some_and(|(at, _)| at.saturating_add(counts) < now) {
            self.vanished.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(5);

    fn id(number: usize) -> MachineId {
        format!("{number:032x}").parse().unwrap()
    }

    fn s(seconds: u64) -> Moment {
        Moment::from_secs(seconds)
    }

    fn alive(count: usize) -> Presences {
        let mut presences = Presences::new(TTL);
        for number in 0..count {
            presences.step(&Sign::Appeared(id(number)), s(0));
        }
        presences
    }

    #[test]
    fn one_that_vanishes_is_lost_after_a_moment_and_may_come_back_before() {
        let mut presences = alive(3);
        let suspect = presences.step(&Sign::Vanished(id(1)), s(10));
        assert_eq!(suspect, [(id(1), Presence::Suspect)]);
        assert_eq!(presences.deadline(), Some(s(12)));
        assert_eq!(presences.step(&Sign::Appeared(id(1)), s(11)), [(id(1), Presence::Alive)]);
        assert_eq!(presences.deadline(), None);
        presences.step(&Sign::Vanished(id(1)), s(20));
        assert_eq!(presences.step(&Sign::Tick, s(22)), [(id(1), Presence::Lost)]);
    }

    #[test]
    fn when_many_vanish_at_once_a_ttl_more_passes() {
        // Two of three are few; three of ten are not.
        for (count, vanish, lost_at) in [(3, 2, 12), (10, 3, 17), (15, 3, 12), (14, 3, 17)] {
            let mut presences = alive(count);
            for number in 0..vanish {
                presences.step(&Sign::Vanished(id(number)), s(10));
            }
            assert_eq!(presences.deadline(), Some(s(lost_at)), "{vanish} of {count}");
            assert_eq!(presences.braked(), lost_at == 17);
            assert_eq!(presences.step(&Sign::Tick, s(lost_at)).len(), vanish);
        }
    }

    #[test]
    fn after_a_jump_of_its_own_clock_the_leader_waits() {
        let mut presences = alive(5);
        presences.step(&Sign::ClockJumped, s(10));
        presences.step(&Sign::Vanished(id(0)), s(10));
        assert_eq!(presences.deadline(), Some(s(15)));
    }

    #[test]
    fn one_that_was_away_before_the_leader_came_may_be_on_its_way_back() {
        let mut presences = alive(1);
        presences.step(&Sign::Vanished(id(7)), s(10));
        assert_eq!(presences.deadline(), Some(s(17)));
        assert!(!presences.braked(), "nobody need know");
        presences.step(&Sign::Appeared(id(7)), s(16));
        presences.step(&Sign::Vanished(id(7)), s(20));
        assert_eq!(presences.deadline(), Some(s(22)));
    }

    #[test]
    fn what_must_not_run_twice_has_ended_some_time_after_the_lease() {
        let times = Times { ttl: TTL, election: s(1) };
        assert_eq!((times.fence(), times.ended_after()), (s(9), s(7)));
        let slow = Times { ttl: s(12), election: Duration::from_millis(2500) };
        assert_eq!((slow.fence(), slow.ended_after()), (s(22), s(13)));
        let none = Times { ttl: Duration::ZERO, election: Duration::ZERO };
        assert_eq!((none.fence(), none.ended_after()), (s(4), s(7)));
        let mut presences = Presences::ending(times);
        presences.step(&Sign::Appeared(id(1)), s(0));
        presences.step(&Sign::Vanished(id(1)), s(10));
        assert_eq!(presences.step(&Sign::Tick, s(12)), [(id(1), Presence::Lost)]);
        assert_eq!(presences.deadline(), Some(s(17)));
        assert_eq!(presences.step(&Sign::Tick, s(16)), []);
        assert_eq!(presences.step(&Sign::Tick, s(17)), [(id(1), Presence::Ended)]);
        assert_eq!(presences.deadline(), None);
        assert_eq!(presences.step(&Sign::Vanished(id(1)), s(18)), [], "it is gone already");
        assert_eq!(presences.step(&Sign::Appeared(id(1)), s(19)), [(id(1), Presence::Alive)]);
        // Nobody has looked for long: both at once, in their order.
        presences.step(&Sign::Vanished(id(1)), s(30));
        let both = [(id(1), Presence::Lost), (id(1), Presence::Ended)];
        assert_eq!(presences.step(&Sign::Tick, s(60)), both);
    }

    #[derive(Debug, Clone)]
    enum Happens {
        Appears(usize),
        Vanishes(usize),
        Jumps,
        Passes,
    }

    fn happens() -> impl Strategy<Value = (u64, Happens)> {
        let what = prop_oneof![
            4 => (0..8_usize).prop_map(Happens::Appears),
            6 => (0..8_usize).prop_map(Happens::Vanishes),
            1 => Just(Happens::Jumps),
            4 => Just(Happens::Passes),
        ];
        (0..3_000_u64, what)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Beside a diary of all that happened: nobody is lost too early, nobody too late, nobody for nothing.
        #[test]
        fn nobody_is_lost_too_early_or_kept_for_ever(
            all in prop::collection::vec(happens(), 1..40)
        ) {
            let mut presences = Presences::new(TTL);
            let (mut now, mut jumped) = (s(1000), None);
            let mut diary: Vec<(Moment, usize)> = Vec::new();
            let mut gone: BTreeMap<usize, Moment> = BTreeMap::new();
            let mut there: BTreeSet<usize> = BTreeSet::new();
            let (mut seen, mut unseen) = (BTreeSet::new(), BTreeSet::new());
            for (ms, what) in all {
                now += Duration::from_millis(ms);
                let sign = match what {
                    Happens::Appears(number) => {
                        gone.remove(&number);
                        there.insert(number);
                        seen.insert(number);
                        unseen.remove(&number);
                        Sign::Appeared(id(number))
                    }
                    Happens::Vanishes(number) => {
                        there.remove(&number);
                        if seen.insert(number) {
                            unseen.insert(number);
                        }
                        if gone.insert(number, now).is_none() {
                            diary.push((now, number));
                        } else {
                            // It was gone before.
                            let first = diary.iter().rev().find(|(_, other)| *other == number);
                            gone.insert(number, first.unwrap().0);
                        }
                        Sign::Vanished(id(number))
                    }
                    Happens::Jumps => {
                        jumped = Some(now);
                        Sign::ClockJumped
                    }
                    Happens::Passes => Sign::Tick,
                };
                for (lost, presence) in presences.step(&sign, now) {
                    if presence != Presence::Lost {
                        continue;
                    }
                    let number = (0..8).find(|number| id(*number) == lost).unwrap();
                    let since = gone[&number];
                    prop_assert!(now >= since + SUSPECT_FOR, "{number} too early");
                    let held = !unseen.contains(&number) || now >= since + SUSPECT_FOR + TTL;
                    prop_assert!(held, "{number} may be on its way back");
                    prop_assert!(jumped.is_none_or(|at| now >= at + TTL), "{number} after a jump");
                    // Anybody whose disappearance is no more than a TTL away, all on one side, was held, too.
                    for side in [since.saturating_sub(TTL)..=since, since..=since + TTL] {
                        let with = diary.iter().filter(|(at, _)| side.contains(at));
                        let with: BTreeSet<usize> = with.map(|(_, number)| *number).collect();
                        let many = with.len() > 2 && with.len() * 5 > with.len() + there.len();
                        prop_assert!(!many || now >= since + SUSPECT_FOR + TTL, "{number} braked");
                    }
                }
                for (number, since) in &gone {
                    let latest = (*since + SUSPECT_FOR + TTL).max(jumped.unwrap_or_default() + TTL);
                    let lost = presences.known().any(|it| it == (&id(*number), Presence::Lost));
                    prop_assert!(lost || now < latest, "{number} is not lost for ever");
                }
                for number in &there {
                    let alive = presences.known().any(|it| it == (&id(*number), Presence::Alive));
                    prop_assert!(alive, "{number} is there");
                }
            }
        }
    }
}
