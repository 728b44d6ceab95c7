//! Decides when a slot that does not become ready is left, proven before or not.
//!
//! ```text
//!   OnTrial ──deadline──▶ Judging ──other slot can boot──▶ GivenUp (terminal)
//!      │                     │ it cannot
//!      │ ready               ▼
//!      └──────▶ Ready  ◀── Stranded      ready: from every state but GivenUp
//! ```
//!
//! Sent by: the event loop. `Ready` comes after the slot's attributes were written.

#![deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    OnTrial { deadline: Duration },
    Judging,
    Stranded,
    GivenUp,
    Ready,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The running slot became ready and is marked successful.
    Ready,
    /// The other slot was looked at.
    OtherSlot {
        /// `Err` says why it cannot boot, for a person.
        can_boot: Result<(), String>,
    },
    /// Time went on.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// See whether the other slot can boot, report `OtherSlot`.
    JudgeOtherSlot,
    /// Reboot: this slot has had its time.
    GiveUp,
    /// Stay: there is nothing better.
    Stay {
        /// Why the other slot cannot boot.
        reason: String,
    },
}

/// The running slot's trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    state: State,
}

impl Trial {
    /// A slot that stays, ready or not.
    #[must_use]
    pub const fn endless() -> Self {
        Self { state: State::Ready }
    }

    /// A slot that must become ready until `deadline`.
    #[must_use]
    pub const fn until(deadline: Duration) -> Self {
        Self { state: State::OnTrial { deadline } }
    }

    /// When `Tick` is due.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::OnTrial { deadline } => Some(deadline),
            State::Judging | State::Stranded | State::GivenUp | State::Ready => None,
        }
    }

    /// Takes an event in and says what to do about it.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        match self.state {
            State::OnTrial { deadline } => match event {
                Event::Ready => self.succeed(),
                Event::Tick if now >= deadline => {
                    self.state = State::Judging;
                    vec![Effect::JudgeOtherSlot]
                }
                Event::Tick | Event::OtherSlot { .. } => Vec::new(),
            },
            State::Judging => match event {
                Event::Ready => self.succeed(),
                Event::OtherSlot { can_boot: Ok(()) } => {
                    self.state = State::GivenUp;
                    vec![Effect::GiveUp]
                }
                Event::OtherSlot { can_boot: Err(reason) } => {
                    self.state = State::Stranded;
                    vec![Effect::Stay { reason }]
                }
                Event::Tick => Vec::new(),
            },
            State::Stranded => match event {
                Event::Ready => self.succeed(),
                Event::Tick | Event::OtherSlot { .. } => Vec::new(),
            },
            State::GivenUp | State::Ready => match event {
                Event::Ready | Event::Tick | Event::OtherSlot { .. } => Vec::new(),
            },
        }
    }

    fn succeed(&mut self) -> Vec<Effect> {
        self.state = State::Ready;
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_in_every_state() {
        let now = Duration::from_secs(300);
        let early = State::OnTrial { deadline: Duration::from_secs(301) };
        let due = State::OnTrial { deadline: now };
        let states = [early, due, State::Judging, State::Stranded, State::GivenUp, State::Ready];
        let bad = || Event::OtherSlot { can_boot: Err("it is empty".to_owned()) };
        let good = || Event::OtherSlot { can_boot: Ok(()) };
        let events = [Event::Ready, Event::Tick, good(), bad()];
        let stay = Effect::Stay { reason: "it is empty".to_owned() };
        let changes = [
            (early, Event::Ready, State::Ready, vec![]),
            (due, Event::Ready, State::Ready, vec![]),
            (due, Event::Tick, State::Judging, vec![Effect::JudgeOtherSlot]),
            (State::Judging, Event::Ready, State::Ready, vec![]),
            (State::Judging, good(), State::GivenUp, vec![Effect::GiveUp]),
            (State::Judging, bad(), State::Stranded, vec![stay]),
            (State::Stranded, Event::Ready, State::Ready, vec![]),
        ];
        for state in states {
            for event in &events {
                let expected = changes
                    .iter()
                    .find(|(from, cause, ..)| *from == state && cause == event)
                    .map_or((state, vec![]), |(_, _, to, effects)| (*to, effects.clone()));
                let mut trial = Trial { state };
                let effects = trial.step(event.clone(), now);
                assert_eq!((trial.state, effects), expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn only_a_running_trial_has_a_deadline() {
        assert_eq!(Trial::endless().deadline(), None);
        let deadline = Duration::from_secs(5);
        assert_eq!(Trial::until(deadline).deadline(), Some(deadline));
    }
}
