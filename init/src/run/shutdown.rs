//! Decides what is done, in which order and for how long, while the machine goes down.
//!
//! ```text
//!        request            services stopped          no process left           finished
//!   Up ──────────▶ Services ────────────────▶ Terminating ───────────▶ Finishing ────────▶ Down
//!                    │ ▲ │ deadline: kill them   │ deadline            ▲  │ ▲ │ deadline    (terminal)
//!                    └─┘ └──────────────────────▶│                     │  └─┘ └─────────────▶
//!             fewer units left                   └▶ KillingUnits ─▶ Killing  less left to write
//!                                                        no process left, or deadline
//! ```
//!
//! Nothing interrupts it and every state but the ends has a deadline. Deadlines follow progress: the agent says how long
//! what is left of the units takes, and is believed as long as fewer are left each time; the disk gets more time as
//! long as less is left to write. Without any progress it takes at most [`LONGEST`]. A second request changes nothing.
//! Sent by: the event loop.

#![deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]

use std::time::Duration;

use ferrite_schema::control::ShutdownMode;

use crate::log::Level;

/// What the agent gets to say how long the units take, and to stop those that take less.
const SERVICES_GRACE: Duration = Duration::from_secs(60);
/// What it gets beyond what it said: its own end.
const SERVICES_MARGIN: Duration = Duration::from_secs(10);
/// Longest that it is believed at once: the longest grace that a unit may have.
const SERVICES_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// For whatever still runs after the agent has ended.
const PROCESSES_GRACE: Duration = Duration::from_secs(8);
/// The kernel needs this long to tear down processes that were killed; only a hung device needs longer. Units come first,
/// so that those who keep their logs live to write them.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// A disk that is written to takes [`WRITTEN_MIN_BYTES`] in this time, or it takes nothing any more: error handling of
/// the kernel's disk drivers gives up and goes on after 30 s.
const FINISH_STEP: Duration = Duration::from_secs(30);
/// See [`FINISH_STEP`]. Slow cards write more in a second.
const WRITTEN_MIN_BYTES: u64 = 1024 * 1024;

/// What a shutdown takes at most where nothing answers and nothing gets less.
pub const LONGEST: Duration = Duration::from_secs(150);

const _: () = assert!(
    SERVICES_GRACE.as_secs()
        + PROCESSES_GRACE.as_secs()
        + 2 * KILL_DEADLINE.as_secs()
        + 2 * FINISH_STEP.as_secs()
        <= LONGEST.as_secs()
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    /// `left`: units, as the agent said last.
    Services {
        mode: ShutdownMode,
        deadline: Duration,
        left: Option<u32>,
    },
    Terminating {
        mode: ShutdownMode,
        deadline: Duration,
    },
    KillingUnits {
        mode: ShutdownMode,
        deadline: Duration,
    },
    Killing {
        mode: ShutdownMode,
        deadline: Duration,
    },
    /// `unwritten`: bytes, when they were counted last. `counting`: they are to be counted again.
    Finishing {
        mode: ShutdownMode,
        deadline: Duration,
        unwritten: Option<u64>,
        counting: bool,
    },
    Down,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants the machine to go down.
    Request {
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
    /// No supervised service runs any more.
    ServicesStopped,
    /// PID 1 has no children, and so is alone.
    NoProcessLeft,
    /// What memory holds that the disks do not.
    Unwritten {
        /// In bytes.
        bytes: u64,
    },
    /// Memory is written and file systems are unmounted, or could not be.
    Finished {
        /// What is not clean, for a person.
        problem: Option<String>,
    },
    /// Time went on.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask services to end, report `ServicesStopped`.
    StopServices,
    /// End services now.
    KillServices,
    /// Ask every process to end, report `NoProcessLeft`.
    TerminateAll,
    /// End every process in units' containers, report `NoProcessLeft`.
    KillUnits,
    /// End every process, report `NoProcessLeft`.
    KillAll,
    /// Write, unmount, report `Finished`.
    Finish,
    /// Report `Unwritten`.
    CountUnwritten,
    /// Reset the machine or switch it off.
    Power(ShutdownMode),
    /// Tell the person at the console.
    Log(Level, String),
}

/// The way down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    state: State,
}

impl Shutdown {
    /// The machine is up.
    #[must_use]
    pub const fn up() -> Self {
        Self { state: State::Up }
    }

    /// The machine is going down.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.state != State::Up
    }

    /// When `Tick` is due.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Up | State::Down => None,
            State::Services { deadline, .. }
            | State::Terminating { deadline, .. }
            | State::KillingUnits { deadline, .. }
            | State::Killing { deadline, .. }
            | State::Finishing { deadline, .. } => Some(deadline),
        }
    }

    /// Takes an event in and says what to do about it.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        match self.state {
            State::Up => match event {
                Event::Request { mode, reason } => self.begin(mode, &reason, now),
                Event::Stopping { .. }
                | Event::ServicesStopped
                | Event::NoProcessLeft
                | Event::Unwritten { .. }
                | Event::Finished { .. }
                | Event::Tick => Vec::new(),
            },
            State::Services { mode, deadline, left } => {
                self.step_services(event, now, mode, (deadline, left))
            }
            State::Terminating { mode, deadline } => match event {
                Event::NoProcessLeft => self.finish(mode, now),
                Event::Tick if now >= deadline => self.kill_units(mode, now),
                Event::Request { .. }
                | Event::Stopping { .. }
                | Event::ServicesStopped
                | Event::Unwritten { .. }
                | Event::Finished { .. }
                | Event::Tick => Vec::new(),
            },
            State::KillingUnits { mode, deadline } => match event {
                Event::NoProcessLeft => self.finish(mode, now),
                Event::Tick if now >= deadline => self.kill(mode, now),
                Event::Request { .. }
                | Event::Stopping { .. }
                | Event::ServicesStopped
                | Event::Unwritten { .. }
                | Event::Finished { .. }
                | Event::Tick => Vec::new(),
            },
            State::Killing { mode, deadline } => match event {
                Event::NoProcessLeft => self.finish(mode, now),
                Event::Tick if now >= deadline => {
                    let text = "some processes cannot be killed; going on without them".to_owned();
                    let mut effects = vec![Effect::Log(Level::Error, text)];
                    effects.extend(self.finish(mode, now));
                    effects
                }
                Event::Request { .. }
                | Event::Stopping { .. }
                | Event::ServicesStopped
                | Event::Unwritten { .. }
                | Event::Finished { .. }
                | Event::Tick => Vec::new(),
            },
            State::Finishing { mode, deadline, unwritten, counting } => {
                self.step_finishing(event, now, mode, (deadline, unwritten, counting))
            }
            State::Down => match event {
                Event::Request { .. }
                | Event::Stopping { .. }
                | Event::ServicesStopped
                | Event::NoProcessLeft
                | Event::Unwritten { .. }
                | Event::Finished { .. }
                | Event::Tick => Vec::new(),
            },
        }
    }

    fn step_services(
        &mut self,
        event: Event,
        now: Duration,
        mode: ShutdownMode,
        (deadline, known): (Duration, Option<u32>),
    ) -> Vec<Effect> {
        match event {
            Event::Stopping { left, within } if known.is_none_or(|known| left < known) => {
                self.wait_for_units(mode, left, within, now)
            }
            Event::ServicesStopped => self.terminate(mode, known.map(|_| deadline), now),
            Event::Tick if now >= deadline => self.kill_services(mode, now),
            Event::Request { .. }
            | Event::Stopping { .. }
            | Event::NoProcessLeft
            | Event::Unwritten { .. }
            | Event::Finished { .. }
            | Event::Tick => Vec::new(),
        }
    }

    fn step_finishing(
        &mut self,
        event: Event,
        now: Duration,
        mode: ShutdownMode,
        (deadline, unwritten, counting): (Duration, Option<u64>, bool),
    ) -> Vec<Effect> {
        match event {
            Event::Finished { problem: None } => {
                self.power(mode, Level::Info, "file systems are unmounted".to_owned())
            }
            Event::Finished { problem: Some(problem) } => self.power(mode, Level::Error, problem),
            Event::Unwritten { bytes } if counting => {
                self.judge_progress(mode, (unwritten, bytes), now)
            }
            Event::Tick if now >= deadline && counting => {
                self.power(mode, Level::Error, STUCK.to_owned())
            }
            Event::Tick if now >= deadline => {
                let deadline = now.saturating_add(FINISH_STEP);
                self.state = State::Finishing { mode, deadline, unwritten, counting: true };
                vec![Effect::CountUnwritten]
            }
            Event::Request { .. }
            | Event::Stopping { .. }
            | Event::ServicesStopped
            | Event::NoProcessLeft
            | Event::Unwritten { .. }
            | Event::Tick => Vec::new(),
        }
    }

    fn begin(&mut self, mode: ShutdownMode, reason: &str, now: Duration) -> Vec<Effect> {
        let deadline = now.saturating_add(SERVICES_GRACE);
        self.state = State::Services { mode, deadline, left: None };
        let text = format!("{}: {reason}; stopping units and the agent", verb(mode));
        vec![Effect::Log(Level::Warning, text), Effect::StopServices]
    }

    fn wait_for_units(
        &mut self,
        mode: ShutdownMode,
        left: u32,
        within: Duration,
        now: Duration,
    ) -> Vec<Effect> {
        let within = within.min(SERVICES_MAX).saturating_add(SERVICES_MARGIN);
        self.state =
            State::Services { mode, deadline: now.saturating_add(within), left: Some(left) };
        if left == 0 {
            return Vec::new();
        }
        let text = format!("waiting for {left} units to stop, up to {} s", within.as_secs());
        vec![Effect::Log(Level::Info, text)]
    }

    /// `promised`: until when the units would have had to stop, had the agent not ended.
    fn terminate(
        &mut self,
        mode: ShutdownMode,
        promised: Option<Duration>,
        now: Duration,
    ) -> Vec<Effect> {
        let grace = now.saturating_add(PROCESSES_GRACE);
        let deadline = promised.map_or(grace, |promised| promised.max(grace));
        self.state = State::Terminating { mode, deadline };
        vec![Effect::TerminateAll]
    }

    fn kill_services(&mut self, mode: ShutdownMode, now: Duration) -> Vec<Effect> {
        let text = "services have not stopped in their time: killing them".to_owned();
        let mut effects = vec![Effect::Log(Level::Error, text), Effect::KillServices];
        effects.extend(self.terminate(mode, None, now));
        effects
    }

    fn kill_units(&mut self, mode: ShutdownMode, now: Duration) -> Vec<Effect> {
        self.state = State::KillingUnits { mode, deadline: now.saturating_add(KILL_DEADLINE) };
        let text = "some processes ignore the request to end: killing them".to_owned();
        vec![Effect::Log(Level::Warning, text), Effect::KillUnits]
    }

    fn kill(&mut self, mode: ShutdownMode, now: Duration) -> Vec<Effect> {
        self.state = State::Killing { mode, deadline: now.saturating_add(KILL_DEADLINE) };
        vec![Effect::KillAll]
    }

    fn finish(&mut self, mode: ShutdownMode, now: Duration) -> Vec<Effect> {
        let deadline = now.saturating_add(FINISH_STEP);
        self.state = State::Finishing { mode, deadline, unwritten: None, counting: false };
        let text = "writing everything to disk and unmounting".to_owned();
        vec![Effect::Log(Level::Info, text), Effect::Finish]
    }

    /// More time for a disk that takes what it is given.
    fn judge_progress(
        &mut self,
        mode: ShutdownMode,
        (before, bytes): (Option<u64>, u64),
        now: Duration,
    ) -> Vec<Effect> {
        if before.is_some_and(|before| bytes.saturating_add(WRITTEN_MIN_BYTES) > before) {
            return self.power(
                mode,
                Level::Error,
                format!("{STUCK}; {} MiB are lost", bytes >> 20),
            );
        }
        let deadline = now.saturating_add(FINISH_STEP);
        self.state = State::Finishing { mode, deadline, unwritten: Some(bytes), counting: false };
        let text = format!("still writing to disk: {} MiB are left", bytes >> 20);
        vec![Effect::Log(Level::Warning, text)]
    }

    fn power(&mut self, mode: ShutdownMode, level: Level, text: String) -> Vec<Effect> {
        self.state = State::Down;
        let goodbye = match mode {
            ShutdownMode::Poweroff => "switching the power off",
            ShutdownMode::Reboot => "resetting the machine",
        };
        vec![
            Effect::Log(level, text),
            Effect::Log(Level::Warning, goodbye.to_owned()),
            Effect::Power(mode),
        ]
    }
}

const STUCK: &str = "the disk takes no more writes; going on without";

const fn verb(mode: ShutdownMode) -> &'static str {
    match mode {
        ShutdownMode::Poweroff => "powering off",
        ShutdownMode::Reboot => "rebooting",
    }
}

#[cfg(test)]
mod tests;
