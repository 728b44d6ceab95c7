//! The whole of what PID 1 decides while the machine is up: one value, one `step`.
//!
//! Routes events to the service, the shutdown sequence and the slot's trial, and what one of them wants
//! of another. Pure: the event loop carries the effects out.

#![deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]

use std::time::Duration;

use ferrite_schema::control::{ServiceStatus, ShutdownMode};

use super::shutdown::{self, Shutdown};
use super::supervisor::{self, Ended, Service};
use super::trial::{self, Trial};
use crate::log::Level;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The machine is up far enough for services.
    Start,
    /// The service's process runs.
    Spawned {
        /// Process ID.
        pid: i32,
    },
    /// The service could not be started.
    SpawnFailed {
        /// Why, for a person.
        reason: String,
    },
    /// A process ended; most are orphans that nobody knows.
    Ended {
        /// Process ID.
        pid: i32,
        /// How.
        how: Ended,
    },
    /// PID 1 has no children.
    NoProcessLeft,
    /// Somebody wants the machine to go down.
    Shutdown {
        /// How.
        mode: ShutdownMode,
        /// Who and why, for the log.
        reason: String,
    },
    /// The agent says where the stop of the units stands.
    Stopping {
        /// Units that have not stopped yet.
        left: u32,
        /// What they take at most.
        within: Duration,
    },
    /// What memory holds that the disks do not.
    Unwritten {
        /// In bytes.
        bytes: u64,
    },
    /// The running slot is marked successful.
    SlotProven,
    /// The other slot was looked at.
    OtherSlot {
        /// `Err` says why it cannot boot.
        can_boot: Result<(), String>,
    },
    /// File systems are unmounted, or could not be.
    Finished {
        /// What is not clean.
        problem: Option<String>,
    },
    /// Time went on.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start the service, report `Spawned` or `SpawnFailed`.
    Spawn,
    /// Ask a process of ours to end.
    Terminate {
        /// Process ID.
        pid: i32,
    },
    /// End a process of ours.
    Kill {
        /// Process ID.
        pid: i32,
    },
    /// Ask every process to end, report `NoProcessLeft`.
    TerminateAll,
    /// End every process in units' containers, report `NoProcessLeft`.
    KillUnits,
    /// End every process, report `NoProcessLeft`.
    KillAll,
    /// Write and unmount, report `Finished`.
    Finish,
    /// Report `Unwritten`.
    CountUnwritten,
    /// Reset the machine or switch it off.
    Power(ShutdownMode),
    /// See whether the other slot can boot, report `OtherSlot`.
    JudgeOtherSlot,
    /// Tell the person at the console.
    Log(Level, String),
}

/// The machine while it is up and on its way down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    agent: Service,
    shutdown: Shutdown,
    trial: Trial,
}

impl Machine {
    /// A machine whose agent does not run yet.
    #[must_use]
    pub const fn new(trial: Trial) -> Self {
        Self { agent: Service::new("agent"), shutdown: Shutdown::up(), trial }
    }

    /// Takes an event in and says what to do about it.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        match event {
            Event::Start => self.service(supervisor::Event::Start, now),
            Event::Spawned { pid } => self.service(supervisor::Event::Spawned { pid }, now),
            Event::SpawnFailed { reason } => {
                self.service(supervisor::Event::SpawnFailed { reason }, now)
            }
            Event::Ended { pid, how } => self.service(supervisor::Event::Ended { pid, how }, now),
            Event::NoProcessLeft => self.shut_down(shutdown::Event::NoProcessLeft, now),
            Event::Shutdown { mode, reason } => {
                self.shut_down(shutdown::Event::Request { mode, reason }, now)
            }
            Event::Stopping { left, within } => {
                self.shut_down(shutdown::Event::Stopping { left, within }, now)
            }
            Event::Unwritten { bytes } => self.shut_down(shutdown::Event::Unwritten { bytes }, now),
            Event::SlotProven => self.trial(trial::Event::Ready, now),
            Event::OtherSlot { can_boot } => self.trial(trial::Event::OtherSlot { can_boot }, now),
            Event::Finished { problem } => {
                self.shut_down(shutdown::Event::Finished { problem }, now)
            }
            Event::Tick => {
                let mut effects = self.service(supervisor::Event::Tick, now);
                // On its way down, the machine has no trial to fail.
                if !self.shutdown.has_begun() {
                    effects.extend(self.trial(trial::Event::Tick, now));
                }
                effects.extend(self.shut_down(shutdown::Event::Tick, now));
                effects
            }
        }
    }

    /// When `Tick` is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let trial = self.trial.deadline().filter(|_| !self.shutdown.has_begun());
        [self.agent.deadline(), trial, self.shutdown.deadline()].into_iter().flatten().min()
    }

    /// The machine is going down.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.shutdown.has_begun()
    }

    /// Supervised services, as clients of the control socket see them.
    #[must_use]
    pub fn services(&self, now: Duration) -> Vec<ServiceStatus> {
        vec![self.agent.status(now)]
    }

    fn service(&mut self, event: supervisor::Event, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        for effect in self.agent.step(event, now) {
            match effect {
                supervisor::Effect::Spawn => effects.push(Effect::Spawn),
                supervisor::Effect::Terminate { pid } => effects.push(Effect::Terminate { pid }),
                supervisor::Effect::Kill { pid } => effects.push(Effect::Kill { pid }),
                supervisor::Effect::Log(level, text) => effects.push(Effect::Log(level, text)),
                supervisor::Effect::Stopped => {
                    effects.extend(self.shut_down(shutdown::Event::ServicesStopped, now));
                }
            }
        }
        effects
    }

    fn shut_down(&mut self, event: shutdown::Event, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        for effect in self.shutdown.step(event, now) {
            match effect {
                shutdown::Effect::StopServices => {
                    effects.extend(self.service(supervisor::Event::Stop, now));
                }
                shutdown::Effect::KillServices => {
                    effects.extend(self.service(supervisor::Event::Kill, now));
                }
                shutdown::Effect::TerminateAll => effects.push(Effect::TerminateAll),
                shutdown::Effect::KillUnits => effects.push(Effect::KillUnits),
                shutdown::Effect::KillAll => effects.push(Effect::KillAll),
                shutdown::Effect::Finish => effects.push(Effect::Finish),
                shutdown::Effect::CountUnwritten => effects.push(Effect::CountUnwritten),
                shutdown::Effect::Power(mode) => effects.push(Effect::Power(mode)),
                shutdown::Effect::Log(level, text) => effects.push(Effect::Log(level, text)),
            }
        }
        effects
    }

    fn trial(&mut self, event: trial::Event, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        for effect in self.trial.step(event, now) {
            match effect {
                trial::Effect::JudgeOtherSlot => effects.push(Effect::JudgeOtherSlot),
                trial::Effect::GiveUp => {
                    let reason =
                        "this slot has not become ready in its time, and the other slot can boot";
                    effects.extend(self.shut_down(
                        shutdown::Event::Request {
                            mode: ShutdownMode::Reboot,
                            reason: reason.to_owned(),
                        },
                        now,
                    ));
                }
                trial::Effect::Stay { reason } => effects.push(Effect::Log(
                    Level::Error,
                    format!(
                        "this slot has not become ready in its time; staying, since the other slot \
                         cannot boot: {reason}"
                    ),
                )),
            }
        }
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(10);

    /// Effects without texts.
    fn step(machine: &mut Machine, event: Event, now: Duration) -> Vec<Effect> {
        let mut effects = machine.step(event, now);
        effects.retain(|effect| !matches!(effect, Effect::Log(..)));
        effects
    }

    fn running(trial: Trial) -> Machine {
        let mut machine = Machine::new(trial);
        assert_eq!(step(&mut machine, Event::Start, NOW), [Effect::Spawn]);
        assert_eq!(step(&mut machine, Event::Spawned { pid: 7 }, NOW), []);
        machine
    }

    fn reboot() -> Event {
        Event::Shutdown { mode: ShutdownMode::Reboot, reason: "test".to_owned() }
    }

    fn ended(pid: i32) -> Event {
        Event::Ended { pid, how: Ended::Status(0) }
    }

    #[test]
    fn an_orderly_way_down() {
        let mut machine = running(Trial::endless());
        assert_eq!(step(&mut machine, reboot(), NOW), [Effect::Terminate { pid: 7 }]);
        assert!(machine.is_shutting_down());
        assert_eq!(step(&mut machine, ended(8), NOW), []);
        assert_eq!(step(&mut machine, ended(7), NOW), [Effect::TerminateAll]);
        assert_eq!(step(&mut machine, Event::NoProcessLeft, NOW), [Effect::Finish]);
        assert_eq!(
            step(&mut machine, Event::Finished { problem: None }, NOW),
            [Effect::Power(ShutdownMode::Reboot)]
        );
    }

    #[test]
    fn an_agent_that_ignores_the_request_is_killed_and_not_started_again() {
        let mut machine = running(Trial::endless());
        step(&mut machine, reboot(), NOW);
        let deadline = machine.deadline().unwrap();
        assert_eq!(
            step(&mut machine, Event::Tick, deadline),
            [Effect::Kill { pid: 7 }, Effect::TerminateAll]
        );
        assert_eq!(step(&mut machine, ended(7), deadline), []);
        assert_eq!(machine.services(NOW)[0].pid, None);
    }

    #[test]
    fn an_agent_that_waits_for_its_restart_does_not_delay_the_way_down() {
        let mut machine = running(Trial::endless());
        step(&mut machine, ended(7), NOW);
        assert_eq!(step(&mut machine, reboot(), NOW), [Effect::TerminateAll]);
        let much_later = NOW + Duration::from_secs(1);
        assert_eq!(step(&mut machine, Event::Tick, much_later), []);
    }

    #[test]
    fn a_slot_that_does_not_become_ready_is_left_if_there_is_another() {
        let deadline = NOW + Duration::from_secs(300);
        let mut machine = running(Trial::until(deadline));
        assert_eq!(machine.deadline(), Some(deadline));
        assert_eq!(step(&mut machine, Event::Tick, deadline), [Effect::JudgeOtherSlot]);
        let mut stranded = machine.clone();
        assert_eq!(
            step(&mut machine, Event::OtherSlot { can_boot: Ok(()) }, deadline),
            [Effect::Terminate { pid: 7 }]
        );
        let empty = Event::OtherSlot { can_boot: Err("it is empty".to_owned()) };
        assert_eq!(step(&mut stranded, empty, deadline), []);
        assert!(!stranded.is_shutting_down());
    }

    #[test]
    fn a_ready_slot_has_no_deadline() {
        let mut machine = running(Trial::until(NOW));
        step(&mut machine, Event::SlotProven, NOW);
        assert_eq!(machine.deadline(), None);
        assert_eq!(step(&mut machine, Event::Tick, NOW), []);
    }

    #[test]
    fn a_trial_does_not_fail_on_the_way_down() {
        let mut machine = running(Trial::until(NOW + Duration::from_secs(1)));
        step(&mut machine, reboot(), NOW);
        assert_eq!(step(&mut machine, Event::Tick, NOW + Duration::from_secs(2)), []);
    }

    #[test]
    fn whatever_happens_a_machine_that_goes_down_gets_down() {
        use proptest::prelude::*;
        let event = prop_oneof![
            Just(Event::Start),
            (6..9i32).prop_map(|pid| Event::Spawned { pid }),
            Just(Event::SpawnFailed { reason: String::new() }),
            (6..9i32).prop_map(ended),
            Just(Event::NoProcessLeft),
            Just(Event::SlotProven),
            Just(Event::OtherSlot { can_boot: Ok(()) }),
            Just(Event::Finished { problem: None }),
            (0..4u64).prop_map(|mib| Event::Unwritten { bytes: mib << 20 }),
            Just(Event::Tick),
            Just(reboot()),
        ];
        proptest!(|(events in proptest::collection::vec((event, 0..40u64), 0..60))| {
            let mut machine = Machine::new(Trial::until(NOW));
            let mut now = NOW;
            let mut power = 0;
            for (event, wait_s) in events {
                now += Duration::from_secs(wait_s);
                let effects = machine.step(event, now);
                power += effects.iter().filter(|e| matches!(e, Effect::Power(_))).count();
            }
            power += machine.step(reboot(), now).iter().filter(|e| matches!(e, Effect::Power(_))).count();
            let begun = now;
            while let Some(deadline) = machine.deadline() {
                now = now.max(deadline);
                let effects = machine.step(Event::Tick, now);
                power += effects.iter().filter(|e| matches!(e, Effect::Power(_))).count();
                prop_assert!(now - begun <= shutdown::LONGEST);
            }
            prop_assert_eq!(power, 1);
        });
    }
}
