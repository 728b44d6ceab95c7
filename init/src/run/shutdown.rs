//! Decides what is done, in which order and for how long, while the machine goes down.
//!
//! ```text
//!        request            services stopped          no process left         finished
//!   Up ──────────▶ Services ────────────────▶ Terminating ─────────▶ Finishing ────────▶ Down
//!                     │ deadline: kill them       │ deadline            ▲   │ deadline     (terminal)
//!                     └──────────────────────────▶│                     │   └─────────────▶
//!                                                 └──▶ Killing ─────────┘
//!                                                       no process left, or deadline
//! ```
//!
//! Nothing interrupts it and every state but the ends has a deadline, so that it takes at most
//! [`LONGEST`]. Sent by: the event loop. A second request changes nothing.

#![deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]

use std::time::Duration;

use ferrite_schema::control::ShutdownMode;

use crate::log::Level;

/// The agent stops every unit in this time, their own grace included.
const SERVICES_GRACE: Duration = Duration::from_secs(60);
/// For whatever still runs after the agent has ended.
const PROCESSES_GRACE: Duration = Duration::from_secs(8);
/// The kernel needs this long to tear down processes that were killed; only a hung device needs longer.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// For writing what is in memory and unmounting.
const FINISH_DEADLINE: Duration = Duration::from_secs(15);

/// What a shutdown takes at most.
pub const LONGEST: Duration = Duration::from_secs(90);

const _: () = assert!(
    SERVICES_GRACE.as_secs()
        + PROCESSES_GRACE.as_secs()
        + KILL_DEADLINE.as_secs()
        + FINISH_DEADLINE.as_secs()
        <= LONGEST.as_secs()
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    Services { mode: ShutdownMode, deadline: Duration },
    Terminating { mode: ShutdownMode, deadline: Duration },
    Killing { mode: ShutdownMode, deadline: Duration },
    Finishing { mode: ShutdownMode, deadline: Duration },
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
    /// No supervised service runs any more.
    ServicesStopped,
    /// PID 1 has no children, and so is alone.
    NoProcessLeft,
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
    /// End every process, report `NoProcessLeft`.
    KillAll,
    /// Write, unmount, report `Finished`.
    Finish,
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
            | State::Killing { deadline, .. }
            | State::Finishing { deadline, .. } => Some(deadline),
        }
    }

    /// Takes an event in and says what to do about it.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        match self.state {
            State::Up => match event {
                Event::Request { mode, reason } => self.begin(mode, &reason, now),
                Event::ServicesStopped
                | Event::NoProcessLeft
                | Event::Finished { .. }
                | Event::Tick => Vec::new(),
            },
            State::Services { mode, deadline } => match event {
                Event::ServicesStopped => self.terminate(mode, now),
                Event::Tick if now >= deadline => self.kill_services(mode, now),
                Event::Request { .. }
                | Event::NoProcessLeft
                | Event::Finished { .. }
                | Event::Tick => Vec::new(),
            },
            State::Terminating { mode, deadline } => match event {
                Event::NoProcessLeft => self.finish(mode, now),
                Event::Tick if now >= deadline => self.kill(mode, now),
                Event::Request { .. }
                | Event::ServicesStopped
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
                | Event::ServicesStopped
                | Event::Finished { .. }
                | Event::Tick => Vec::new(),
            },
            State::Finishing { mode, deadline } => match event {
                Event::Finished { problem: None } => {
                    self.power(mode, Level::Info, "file systems are unmounted".to_owned())
                }
                Event::Finished { problem: Some(problem) } => {
                    self.power(mode, Level::Error, problem)
                }
                Event::Tick if now >= deadline => {
                    let text = format!(
                        "the disk did not take all writes within {} s; going on without",
                        FINISH_DEADLINE.as_secs()
                    );
                    self.power(mode, Level::Error, text)
                }
                Event::Request { .. }
                | Event::ServicesStopped
                | Event::NoProcessLeft
                | Event::Tick => Vec::new(),
            },
            State::Down => match event {
                Event::Request { .. }
                | Event::ServicesStopped
                | Event::NoProcessLeft
                | Event::Finished { .. }
                | Event::Tick => Vec::new(),
            },
        }
    }

    fn begin(&mut self, mode: ShutdownMode, reason: &str, now: Duration) -> Vec<Effect> {
        self.state = State::Services { mode, deadline: now.saturating_add(SERVICES_GRACE) };
        let text = format!("{}: {reason}; stopping units and the agent", verb(mode));
        vec![Effect::Log(Level::Warning, text), Effect::StopServices]
    }

    fn terminate(&mut self, mode: ShutdownMode, now: Duration) -> Vec<Effect> {
        self.state = State::Terminating { mode, deadline: now.saturating_add(PROCESSES_GRACE) };
        vec![Effect::TerminateAll]
    }

    fn kill_services(&mut self, mode: ShutdownMode, now: Duration) -> Vec<Effect> {
        let text = format!(
            "services have not stopped within {} s: killing them",
            SERVICES_GRACE.as_secs()
        );
        let mut effects = vec![Effect::Log(Level::Error, text), Effect::KillServices];
        effects.extend(self.terminate(mode, now));
        effects
    }

    fn kill(&mut self, mode: ShutdownMode, now: Duration) -> Vec<Effect> {
        self.state = State::Killing { mode, deadline: now.saturating_add(KILL_DEADLINE) };
        let text = "some processes ignore the request to end: killing them".to_owned();
        vec![Effect::Log(Level::Warning, text), Effect::KillAll]
    }

    fn finish(&mut self, mode: ShutdownMode, now: Duration) -> Vec<Effect> {
        self.state = State::Finishing { mode, deadline: now.saturating_add(FINISH_DEADLINE) };
        let text = "writing everything to disk and unmounting".to_owned();
        vec![Effect::Log(Level::Info, text), Effect::Finish]
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

const fn verb(mode: ShutdownMode) -> &'static str {
    match mode {
        ShutdownMode::Poweroff => "powering off",
        ShutdownMode::Reboot => "rebooting",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);
    const MODE: ShutdownMode = ShutdownMode::Reboot;

    /// Effects without texts.
    fn step(shutdown: &mut Shutdown, event: Event, now: Duration) -> Vec<Effect> {
        let mut effects = shutdown.step(event, now);
        effects.retain(|effect| !matches!(effect, Effect::Log(..)));
        effects
    }

    fn request() -> Event {
        Event::Request { mode: MODE, reason: "test".to_owned() }
    }

    #[test]
    fn every_event_in_every_state() {
        let later = NOW + Duration::from_secs(1);
        let services = |deadline| State::Services { mode: MODE, deadline };
        let terminating = |deadline| State::Terminating { mode: MODE, deadline };
        let killing = |deadline| State::Killing { mode: MODE, deadline };
        let finishing = |deadline| State::Finishing { mode: MODE, deadline };
        let states = [
            State::Up,
            services(later),
            services(NOW),
            terminating(later),
            terminating(NOW),
            killing(later),
            killing(NOW),
            finishing(later),
            finishing(NOW),
            State::Down,
        ];
        let to_services = (services(NOW + SERVICES_GRACE), vec![Effect::StopServices]);
        let to_terminating = (terminating(NOW + PROCESSES_GRACE), vec![Effect::TerminateAll]);
        let kill_services =
            (terminating(NOW + PROCESSES_GRACE), vec![Effect::KillServices, Effect::TerminateAll]);
        let to_killing = (killing(NOW + KILL_DEADLINE), vec![Effect::KillAll]);
        let to_finishing = (finishing(NOW + FINISH_DEADLINE), vec![Effect::Finish]);
        let to_down = (State::Down, vec![Effect::Power(MODE)]);
        // Where an event changes something; everywhere else it must change nothing.
        let changes: Vec<(State, Event, (State, Vec<Effect>))> = vec![
            (State::Up, request(), to_services),
            (services(later), Event::ServicesStopped, to_terminating.clone()),
            (services(NOW), Event::ServicesStopped, to_terminating),
            (services(NOW), Event::Tick, kill_services),
            (terminating(later), Event::NoProcessLeft, to_finishing.clone()),
            (terminating(NOW), Event::NoProcessLeft, to_finishing.clone()),
            (terminating(NOW), Event::Tick, to_killing),
            (killing(later), Event::NoProcessLeft, to_finishing.clone()),
            (killing(NOW), Event::NoProcessLeft, to_finishing.clone()),
            (killing(NOW), Event::Tick, to_finishing),
            (finishing(later), Event::Finished { problem: None }, to_down.clone()),
            (finishing(NOW), Event::Finished { problem: None }, to_down.clone()),
            (finishing(NOW), Event::Tick, to_down),
        ];
        let events = [
            request(),
            Event::ServicesStopped,
            Event::NoProcessLeft,
            Event::Finished { problem: None },
            Event::Tick,
        ];
        for state in states {
            for event in &events {
                let expected = changes
                    .iter()
                    .find(|(from, cause, _)| *from == state && cause == event)
                    .map_or((state, Vec::new()), |(_, _, expected)| expected.clone());
                let mut shutdown = Shutdown { state };
                let effects = step(&mut shutdown, event.clone(), NOW);
                assert_eq!((shutdown.state, effects), expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn it_ends_in_bounded_time_when_nothing_answers() {
        let mut shutdown = Shutdown::up();
        let mut effects = step(&mut shutdown, request(), NOW);
        let mut now = NOW;
        while let Some(deadline) = shutdown.deadline() {
            now = deadline;
            effects.extend(step(&mut shutdown, Event::Tick, now));
        }
        assert!(now - NOW <= LONGEST, "{:?}", now - NOW);
        assert_eq!(
            effects,
            [
                Effect::StopServices,
                Effect::KillServices,
                Effect::TerminateAll,
                Effect::KillAll,
                Effect::Finish,
                Effect::Power(MODE)
            ]
        );
    }

    #[test]
    fn an_unclean_end_is_said_and_goes_on() {
        let mut shutdown = Shutdown { state: State::Finishing { mode: MODE, deadline: NOW } };
        let effects =
            shutdown.step(Event::Finished { problem: Some("/var is busy".to_owned()) }, NOW);
        assert!(effects.contains(&Effect::Log(Level::Error, "/var is busy".to_owned())));
        assert!(effects.contains(&Effect::Power(MODE)));
    }
}
