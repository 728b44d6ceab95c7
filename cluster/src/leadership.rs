//! Who leads: a pure step function of each member.
//!
//! Leadership follows raft: the member whose etcd leads takes the key `leader` at once, by comparing its revision. What is safe
//! about it is the fence and not any clock: every decision compares the revision that the key has since (see [`Fence`]), so that
//! nothing of a former leader comes through. For the same reason a leader whose etcd leads no more goes on until another one
//! has taken the key: until then nobody else decides.
//!
//! etcd outlives its agent. Where raft is led beside an agent that is gone, and whoever has the key is gone, too, any member
//! takes it ([`is_vacant`]), until an agent is beside raft's leader again.
//!
//! ```text
//!         Raft: beside us; Vacant                Took
//!  Following ──────────────────────▶ Taking ────────────▶ Leading
//!      ▲                                │                    │
//!      └──────── TakeFailed ────────────┘                    │
//!      └──────── Record of a later revision ─────────────────┘
//! ```
#![deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]

use crate::keys::Key;
use crate::names::MachineId;
use crate::records::{Leader, Refused, Rest, encode};
use crate::store::{Compare, Operation, Revision, Transaction};

/// The revision of `leader` that a leader took. Nothing that it guards is carried out once another one took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence(pub Revision);

impl Fence {
    /// The comparison that makes a transaction this leader's.
    #[must_use]
    pub fn compare(self) -> Compare {
        Compare::mod_revision(Key::Leader.bytes(), self.0)
    }
}

/// The key `leader` as the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Revision of the change that made it so; [`Revision::NONE`] where there never was one.
    pub changed: Revision,
    /// There is such a key.
    pub exists: bool,
}

impl Seen {
    /// What a comparison must find.
    const fn expected(self) -> Revision {
        if self.exists { self.changed } else { Revision::NONE }
    }
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The member that leads raft, as our own etcd says; `None` while there is none.
    Raft(Option<u64>),
    /// The key `leader`, as it was read or watched.
    Record(Seen),
    /// As long as the key is what it was at this change, nobody decides that is there ([`is_vacant`]).
    Vacant(Revision),
    /// The key is ours, since this revision.
    Took(Revision),
    /// It is not, or nobody knows: it must be read again.
    TakeFailed,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Carry out [`take`] with this revision, and send [`Event::Took`] or [`Event::TakeFailed`].
    Take {
        /// What the key must be.
        expected: Revision,
    },
    /// Read the key and send [`Event::Record`].
    Read,
    /// Decide, with this fence.
    Lead(Fence),
    /// Decide no more.
    StepDown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Following,
    Taking,
    Leading(Fence),
}

/// One member's part in it.
#[derive(Debug, Clone)]
pub struct Leadership {
    /// Our own etcd's number.
    member: u64,
    raft_leader: Option<u64>,
    /// Absent until it was read.
    seen: Option<Seen>,
    state: State,
}

impl Leadership {
    /// A member that knows nothing yet.
    #[must_use]
    pub const fn new(member: u64) -> Self {
        Self { member, raft_leader: None, seen: None, state: State::Following }
    }

    /// The fence of this member, while it leads.
    #[must_use]
    pub const fn leads(&self) -> Option<Fence> {
        match self.state {
            State::Leading(fence) => Some(fence),
            State::Following | State::Taking => None,
        }
    }

    /// Takes in what happened and answers with what is to be done, in this order.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Raft(leader) => self.raft_leader = leader,
            Event::Record(seen) => {
                // A watch may lag behind what we did ourselves.
                if self.seen.is_none_or(|known| known.changed <= seen.changed) {
                    self.seen = Some(seen);
                }
            }
            Event::Vacant(changed) => {
                let same = |seen: &Seen| seen.changed == changed;
                return match (self.state, self.seen.filter(same)) {
                    (State::Following, Some(seen)) => {
                        self.state = State::Taking;
                        vec![Effect::Take { expected: seen.expected() }]
                    }
                    (State::Following | State::Taking | State::Leading(_), _) => Vec::new(),
                };
            }
            Event::Took(revision) => {
                let seen = Seen { changed: revision, exists: true };
                // The watch may have told of a later one before the answer came.
                if self.seen.is_none_or(|known| known.changed <= revision) {
                    self.seen = Some(seen);
                }
                return match self.state {
                    State::Taking => {
                        let fence = Fence(revision);
                        self.state = State::Leading(fence);
                        let mut effects = vec![Effect::Lead(fence)];
                        effects.extend(self.look());
                        effects
                    }
                    State::Following | State::Leading(_) => Vec::new(),
                };
            }
            Event::TakeFailed => {
                return match self.state {
                    State::Taking => {
                        self.state = State::Following;
                        self.seen = None;
                        vec![Effect::Read]
                    }
                    State::Following | State::Leading(_) => Vec::new(),
                };
            }
        }
        self.look()
    }

    fn look(&mut self) -> Vec<Effect> {
        let Some(seen) = self.seen else { return Vec::new() };
        let beside = self.raft_leader == Some(self.member);
        match self.state {
            State::Taking => Vec::new(),
            State::Leading(fence) if seen.changed <= fence.0 => Vec::new(),
            State::Leading(_) => {
                self.state = State::Following;
                let mut effects = vec![Effect::StepDown];
                effects.extend(self.look());
                effects
            }
            State::Following if beside => {
                self.state = State::Taking;
                vec![Effect::Take { expected: seen.expected() }]
            }
            State::Following => Vec::new(),
        }
    }
}

/// Nobody decides: neither the machine that has `leader` nor the one whose etcd leads raft is among those that are there.
/// Where either is not known nobody knows.
#[must_use]
pub fn is_vacant(
    holder: Option<&MachineId>,
    raft_leader: Option<&MachineId>,
    alive: impl Fn(&MachineId) -> bool,
) -> bool {
    [holder, raft_leader].into_iter().all(|machine| machine.is_some_and(|machine| !alive(machine)))
}

/// The transaction by which a member takes `leader`.
///
/// # Errors
/// Never in practice: the record is small.
pub fn take(machine: &MachineId, expected: Revision) -> Result<Transaction, Refused> {
    let record = Leader { machine: machine.clone(), rest: Rest::new() };
    let value = encode(&Key::Leader, &record)?;
    Ok(Transaction {
        compares: vec![Compare::mod_revision(Key::Leader.bytes(), expected)],
        operations: vec![Operation::Put { key: Key::Leader.bytes(), value, lease: None }],
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{ClusterStore, Memory, Outcome};

    const NEVER: Seen = Seen { changed: Revision::NONE, exists: false };

    fn at(revision: i64) -> Seen {
        Seen { changed: Revision(revision), exists: true }
    }

    fn leading() -> Leadership {
        let mut member = Leadership::new(1);
        member.step(Event::Record(NEVER));
        let take = member.step(Event::Raft(Some(1)));
        assert_eq!(take, [Effect::Take { expected: Revision::NONE }]);
        assert_eq!(member.step(Event::Took(Revision(5))), [Effect::Lead(Fence(Revision(5)))]);
        member
    }

    #[test]
    fn the_member_beside_the_raft_leader_takes_the_key_and_nobody_else_does() {
        leading();
        let mut other = Leadership::new(2);
        other.step(Event::Record(NEVER));
        assert_eq!(other.step(Event::Raft(Some(1))), []);
        assert_eq!(other.step(Event::Raft(None)), []);
        // Whoever it is that has it.
        other.step(Event::Record(at(5)));
        assert_eq!(other.step(Event::Raft(Some(2))), [Effect::Take { expected: Revision(5) }]);
    }

    #[test]
    fn a_leader_goes_on_until_another_one_took_the_key() {
        let mut member = leading();
        assert_eq!(member.step(Event::Raft(Some(2))), []);
        // The watch tells what it did itself, and what was before.
        assert_eq!(member.step(Event::Record(at(5))), []);
        assert_eq!(member.step(Event::Record(at(3))), []);
        assert_eq!(member.step(Event::Record(at(9))), [Effect::StepDown]);
        assert_eq!(member.leads(), None);
    }

    #[test]
    fn a_key_that_somebody_deleted_is_taken_again() {
        let mut member = leading();
        let gone = Seen { changed: Revision(8), exists: false };
        let effects = member.step(Event::Record(gone));
        assert_eq!(effects, [Effect::StepDown, Effect::Take { expected: Revision::NONE }]);
    }

    #[test]
    fn one_that_came_too_late_reads_before_it_tries_again() {
        let mut member = Leadership::new(1);
        member.step(Event::Record(NEVER));
        member.step(Event::Raft(Some(1)));
        assert_eq!(member.step(Event::Record(at(4))), [], "it is at it");
        assert_eq!(member.step(Event::TakeFailed), [Effect::Read]);
        assert_eq!(member.step(Event::Raft(Some(1))), [], "it has not read");
        assert_eq!(member.step(Event::Record(at(4))), [Effect::Take { expected: Revision(4) }]);
        // Another one took it while the answer was on its way.
        member.step(Event::Record(at(7)));
        let effects = member.step(Event::Took(Revision(6)));
        let take = Effect::Take { expected: Revision(7) };
        assert_eq!(effects, [Effect::Lead(Fence(Revision(6))), Effect::StepDown, take]);
    }

    #[test]
    fn where_nobody_is_there_that_should_decide_another_one_does_until_somebody_is() {
        let mut other = Leadership::new(2);
        other.step(Event::Record(at(5)));
        other.step(Event::Raft(Some(1)));
        assert_eq!(other.step(Event::Vacant(Revision(4))), [], "it is another's meanwhile");
        let take = other.step(Event::Vacant(Revision(5)));
        assert_eq!(take, [Effect::Take { expected: Revision(5) }]);
        assert_eq!(other.step(Event::Vacant(Revision(5))), [], "it is at it");
        assert_eq!(other.step(Event::Took(Revision(9))), [Effect::Lead(Fence(Revision(9)))]);
        assert_eq!(other.step(Event::Vacant(Revision(9))), [], "it is itself there");
        assert_eq!(other.step(Event::Raft(Some(1))), []);
        // Whoever is beside raft's leader is back.
        assert_eq!(other.step(Event::Record(at(12))), [Effect::StepDown]);
    }

    #[test]
    fn vacant_is_what_nobody_has_that_is_there() {
        let (one, two) = (machine(1), machine(2));
        let alive = |id: &MachineId| *id == machine(2);
        assert!(is_vacant(Some(&one), Some(&one), alive));
        assert!(!is_vacant(Some(&two), Some(&one), alive), "it decides, wherever raft is led");
        assert!(!is_vacant(Some(&one), Some(&two), alive), "it will take the key");
        assert!(!is_vacant(None, Some(&one), alive) && !is_vacant(Some(&one), None, alive));
    }

    /// Members around one store, each of which hears late.
    struct Cluster {
        store: Memory,
        members: Vec<(Leadership, Vec<Event>, Vec<Effect>)>,
        raft: Option<usize>,
    }

    fn machine(number: usize) -> MachineId {
        format!("{number:032x}").parse().unwrap()
    }

    fn ready<F: Future>(future: F) -> F::Output {
        // Memory never waits in these.
        futures_util::FutureExt::now_or_never(future).unwrap()
    }

    impl Cluster {
        fn read(&self) -> Seen {
            let entry = ready(self.store.get(&Key::Leader.bytes())).unwrap().1;
            entry.map_or(NEVER, |entry| Seen { changed: entry.mod_revision, exists: true })
        }

        /// Carries out one effect of a member, or lets it hear one event.
        fn go_on(&mut self, number: usize) {
            let (member, events, effects) = &mut self.members[number];
            if effects.is_empty() {
                if !events.is_empty() {
                    let event = events.remove(0);
                    effects.extend(member.step(event));
                }
                return;
            }
            match effects.remove(0) {
                Effect::Take { expected } => {
                    let outcome =
                        ready(self.store.transact(take(&machine(number), expected).unwrap()))
                            .unwrap();
                    events.push(match outcome {
                        Outcome::Done(revision) => Event::Took(revision),
                        Outcome::Failed(_) => Event::TakeFailed,
                    });
                    let seen = self.read();
                    for (_, events, _) in &mut self.members {
                        events.push(Event::Record(seen));
                    }
                }
                Effect::Read => {
                    let seen = self.read();
                    self.members[number].1.push(Event::Record(seen));
                }
                Effect::Lead(_) | Effect::StepDown => {}
            }
        }

        /// A decision of a member, whatever it believes.
        fn decide(&self, number: usize) -> Option<(Fence, bool)> {
            let fence = self.members[number].0.leads()?;
            let decision = Transaction { compares: vec![fence.compare()], operations: Vec::new() };
            let outcome = ready(self.store.transact(decision)).unwrap();
            Some((fence, matches!(outcome, Outcome::Done(_))))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// However late everybody hears: of all that lead, one's decisions come through; and when raft is at rest, it is the
        /// member beside its leader, and all others know.
        #[test]
        fn one_decides_at_a_time_and_in_the_end_it_is_raft_s_leader(
            steps in prop::collection::vec((0..5_usize, 0..4_usize), 0..120), last in 0..3_usize,
        ) {
            let mut cluster = Cluster { store: Memory::new(), members: Vec::new(), raft: None };
            for number in 0..3_u64 {
                let known = vec![Event::Record(NEVER)];
                cluster.members.push((Leadership::new(number), known, Vec::new()));
            }
            let hear = |cluster: &mut Cluster, leader: Option<usize>| {
                cluster.raft = leader;
                for (_, events, _) in &mut cluster.members {
                    events.push(Event::Raft(leader.map(|number| number as u64)));
                }
            };
            for (what, number) in steps {
                match (what, number) {
                    (0, 3) => hear(&mut cluster, None),
                    // However wrong.
                    (3, number) if number < 3 => {
                        let vacant = Event::Vacant(cluster.read().changed);
                        cluster.members[number].1.push(vacant);
                    }
                    (0, number) => hear(&mut cluster, Some(number)),
                    (_, 3) => {}
                    (_, number) => cluster.go_on(number),
                }
                let through: Vec<usize> =
                    (0..3).filter(|number| cluster.decide(*number).is_some_and(|(_, done)| done)).collect();
                prop_assert!(through.len() <= 1, "{through:?}");
            }
            hear(&mut cluster, Some(last));
            for _ in 0..400 {
                (0..3).for_each(|number| cluster.go_on(number));
            }
            let leads = |number: usize| cluster.decide(number).is_some_and(|(_, done)| done);
            prop_assert!(leads(last));
            for number in (0..3).filter(|number| *number != last) {
                prop_assert_eq!(cluster.members[number].0.leads(), None);
            }
        }
    }
}
