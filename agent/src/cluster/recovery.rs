//! A quorum is lost for good: one of those that are left goes on alone, by an order. Whether that may be, and how far it is, as
//! pure functions; what is done is in `recovering`.
//!
//! ```text
//!   order ──▶ Ordered ──▶ Copied ──▶ Forcing ──▶ Forced ──▶ (nothing: a member like any other)
//!                │                      │          │
//!      etcd's data is copied            │          │ the epoch is raised, and only then others are let in
//!             etcd is started alone, once, with `--force-new-cluster`
//! ```
//!
//! Each step is on STATE before the next begins, and each can be done again after a cut. Force is used in `Forcing` alone. Nobody
//! has been let in then: this member neither leads nor answers before the last step is done, so that forcing once more takes
//! nobody's vote away.

use serde::{Deserialize, Serialize};

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// It is wanted; etcd's data is as it was.
    Ordered,
    /// A copy of that data is set aside.
    Copied,
    /// etcd may be alone in its cluster.
    Forcing,
    /// etcd is alone in its cluster.
    Forced,
}

/// A recovery as it is kept on STATE while it is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recovery {
    /// How far it is.
    pub(super) phase: Phase,
    /// The cluster's epoch when it is done. It is named, and not counted up, so that doing it twice does it once.
    pub(super) epoch: u64,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Copies the data, and sets the copy aside.
    Copy,
    /// Remembers that it begins.
    Commit,
    /// Runs etcd alone until it leads itself.
    Force,
    /// Runs etcd as ever, and raises the epoch before anything else.
    Raise,
    /// Runs etcd as ever.
    Plain,
}

/// What follows from what is kept.
pub(super) const fn act(kept: Option<&Recovery>) -> Act {
    match kept {
        None => Act::Plain,
        Some(Recovery { phase: Phase::Ordered, .. }) => Act::Copy,
        Some(Recovery { phase: Phase::Copied, .. }) => Act::Commit,
        Some(Recovery { phase: Phase::Forcing, .. }) => Act::Force,
        Some(Recovery { phase: Phase::Forced, .. }) => Act::Raise,
    }
}

/// What is kept once that is done.
pub(super) const fn done(kept: &Recovery) -> Option<Recovery> {
    let epoch = kept.epoch;
    match kept.phase {
        Phase::Ordered => Some(Recovery { phase: Phase::Copied, epoch }),
        Phase::Copied => Some(Recovery { phase: Phase::Forcing, epoch }),
        Phase::Forcing => Some(Recovery { phase: Phase::Forced, epoch }),
        Phase::Forced => None,
    }
}

/// What follows where somebody serves the cluster while it is under way: a quorum has come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overtaken {
    /// The order is forgotten: etcd's data is as it was.
    Forgotten,
    /// etcd is alone already, or may be: what it has is nobody's any more, and this machine learns anew.
    GivenUp,
}

/// What follows from what is kept.
pub(super) const fn overtaken(kept: &Recovery) -> Overtaken {
    match kept.phase {
        Phase::Ordered | Phase::Copied => Overtaken::Forgotten,
        // etcd may have been forced, and the machine cut off before that was kept.
        Phase::Forcing | Phase::Forced => Overtaken::GivenUp,
    }
}

/// What is known when it is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Revision of this etcd's data, and the one that was named to whoever ordered it.
    pub(super) revision: i64,
    pub(super) named: i64,
    /// Members with a vote, this one among them where it has one.
    pub(super) voters: usize,
    pub(super) votes: bool,
    /// Voters whose etcd answers, this one among them.
    pub(super) answer: usize,
    /// It knows a leader.
    pub(super) led: bool,
}

/// It is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MayNot {
    /// There is nothing to mend.
    #[error(
        "etcd has a leader here, so that a quorum is there: nothing is lost, and nothing is given up"
    )]
    Led,
    /// There is nothing to mend, or it mends itself.
    #[error(
        "{answer} of {voters} members answer: they are a quorum, or will be within seconds; `ferrite etcd status` says what keeps them"
    )]
    Enough {
        /// Voters whose etcd answers.
        answer: usize,
        /// All.
        voters: usize,
    },
    /// It may lack anything.
    #[error("this machine's etcd has no vote: it may have learned a part of the data only")]
    NoVote,
    /// It is not what somebody has agreed to.
    #[error("etcd's data here is of revision {revision}, and {named} was named: look again")]
    Other {
        /// What it is.
        revision: i64,
        /// What was named.
        named: i64,
    },
}

/// Whether it may be.
pub(super) const fn may(seen: &Seen) -> Result<(), MayNot> {
    let Seen { revision, named, voters, votes, answer, led } = *seen;
    if led {
        return Err(MayNot::Led);
    }
    if !votes {
        return Err(MayNot::NoVote);
    }
    if answer > voters / 2 {
        return Err(MayNot::Enough { answer, voters });
    }
    if revision != named {
        return Err(MayNot::Other { revision, named });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_given_up_while_a_quorum_is_there_or_could_be() {
        let lost = Seen { revision: 9, named: 9, voters: 3, votes: true, answer: 1, led: false };
        assert_eq!(may(&lost), Ok(()));
        assert_eq!(may(&Seen { led: true, ..lost }), Err(MayNot::Led));
        assert_eq!(may(&Seen { answer: 2, ..lost }), Err(MayNot::Enough { answer: 2, voters: 3 }));
        assert_eq!(may(&Seen { voters: 4, answer: 2, ..lost }), Ok(()), "half is none");
        assert_eq!(may(&Seen { votes: false, ..lost }), Err(MayNot::NoVote));
        let other = Seen { revision: 10, ..lost };
        assert_eq!(may(&other), Err(MayNot::Other { revision: 10, named: 9 }));
        assert!(may(&Seen { voters: 1, ..lost }).is_err(), "alone it is a quorum");
    }

    /// A machine: what is on its disk, and what became of etcd.
    #[derive(Debug, Clone)]
    struct Machine {
        kept: Option<Recovery>,
        /// Voters besides itself, of which the first two are dead.
        others: usize,
        let_in: usize,
        epoch: u64,
        copies_before_force: bool,
        copied: bool,
        forced: usize,
        given_up: bool,
    }

    /// What befalls it.
    #[derive(Debug, Clone, Copy)]
    enum Fate {
        /// It goes on, and is cut off after so many parts of a step.
        Cut(usize),
        /// The others are back, and serve.
        Overtaken,
    }

    impl Machine {
        fn meet(&mut self, fate: Fate) {
            let Some(kept) = &self.kept else {
                return match fate {
                    Fate::Cut(parts) => self.step(parts),
                    // It is done: whoever comes back is given up.
                    Fate::Overtaken => {}
                };
            };
            match fate {
                _ if self.given_up => {}
                Fate::Cut(parts) => self.step(parts),
                Fate::Overtaken => match overtaken(kept) {
                    Overtaken::Forgotten => {
                        assert_eq!(self.forced, 0, "it is alone, and nobody would know");
                        self.kept = None;
                    }
                    Overtaken::GivenUp => self.given_up = true,
                },
            }
        }

        /// One step, cut off after so many of its parts. A part is whole or was not.
        fn step(&mut self, parts: usize) {
            let mut parts = parts;
            let mut goes_on = || {
                parts = parts.saturating_sub(1);
                parts > 0
            };
            match act(self.kept.as_ref()) {
                Act::Copy => self.copied = true,
                Act::Commit => {}
                Act::Force => {
                    assert_eq!(self.let_in, 0, "those that were let in lose their vote");
                    self.copies_before_force &= self.copied;
                    (self.others, self.forced) = (0, self.forced + 1);
                }
                Act::Raise => {
                    assert_eq!(self.others, 0, "it is not alone");
                    self.epoch = self.epoch.max(self.kept.as_ref().unwrap().epoch);
                }
                Act::Plain => {
                    // It has no quorum where the dead ones are members still.
                    self.let_in += usize::from(self.others == 0);
                    return;
                }
            }
            if goes_on() {
                self.kept = done(self.kept.as_ref().unwrap());
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_cut_off_it_is_forced_before_others_are_let_in_and_never_after(
            fates in prop::collection::vec(
                prop_oneof![4 => (1..4_usize).prop_map(Fate::Cut), 1 => Just(Fate::Overtaken)], 0..12
            )
        ) {
            let mut machine = Machine {
                kept: Some(Recovery { phase: Phase::Ordered, epoch: 8 }),
                others: 2, let_in: 0, epoch: 7, copies_before_force: true, copied: false, forced: 0,
                given_up: false,
            };
            for fate in fates {
                machine.meet(fate);
                prop_assert!(machine.let_in == 0 || machine.epoch == 8);
            }
            if machine.given_up || machine.others > 0 && machine.kept.is_none() {
                // Others serve, and it neither does nor will beside them.
                prop_assert!(machine.let_in == 0);
                prop_assert!(machine.given_up || machine.forced == 0);
                return Ok(());
            }
            for _ in 0..5 {
                machine.step(usize::MAX);
            }
            prop_assert!(machine.let_in > 0 && machine.kept.is_none());
            prop_assert!(machine.copies_before_force && machine.forced >= 1);
            prop_assert_eq!(machine.epoch, 8);
            let forced = machine.forced;
            machine.step(usize::MAX);
            prop_assert_eq!(machine.forced, forced);
        }
    }
}
