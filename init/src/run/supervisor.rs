//! Decides when a supervised service is started, started again, or left alone.
//!
//! ```text
//!          start            spawned            ended
//!   Idle ────────▶ Starting ────────▶ Running ────────▶ BackingOff ──┐
//!                     ▲  │ spawn failed                    ▲         │ tick
//!                     │  └─────────────────────────────────┘         │
//!                     └───────────────────────────────────────────────┘
//!   any state, stop: Running ─▶ Stopping ─ended─▶ Stopped; every other ─▶ Stopped (terminal)
//! ```
//!
//! Every end of a service is unexpected while the machine is up, so the exit status decides nothing.
//! Sent by: the event loop (`Start`, `Spawned`, `SpawnFailed`, `Ended`, `Tick`), the shutdown sequence
//! (`Stop`, `Kill`).

#![deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]

use std::fmt;
use std::time::Duration;

use ferrite_schema::control::{ServiceState, ServiceStatus};

use crate::log::Level;

/// First delay before a restart: long enough that a service which dies at once costs little, short
/// enough that nobody notices a single crash.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// Longest delay: a node that can heal does so within this time of the cause going away.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A service that ran this long counts as healthy: its next failure is a first one.
const STABLE_AFTER: Duration = Duration::from_secs(60);

const _: () = assert!(BACKOFF_MAX.as_millis() < STABLE_AFTER.as_millis());

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {signal}"),
            },
        }
    }
}

/// What a service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Starting,
    Running { pid: i32, since: Duration },
    BackingOff { until: Duration },
    Stopping { pid: i32 },
    Stopped,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The machine is up far enough.
    Start,
    /// Its process runs.
    Spawned {
        /// Process ID.
        pid: i32,
    },
    /// It could not be started.
    SpawnFailed {
        /// Why, for a person.
        reason: String,
    },
    /// Its process ended.
    Ended {
        /// Process ID.
        pid: i32,
        /// How.
        how: Ended,
    },
    /// Time went on.
    Tick,
    /// The machine goes down: end in order.
    Stop,
    /// The machine goes down and waited long enough.
    Kill,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start the process, then report `Spawned` or `SpawnFailed`.
    Spawn,
    /// Ask the process to end.
    Terminate {
        /// Process ID.
        pid: i32,
    },
    /// End the process.
    Kill {
        /// Process ID.
        pid: i32,
    },
    /// The service has stopped for good.
    Stopped,
    /// Tell the person at the console.
    Log(Level, String),
}

/// A supervised service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    name: &'static str,
    state: State,
    starts: u32,
    failures_in_row: u32,
    last_exit: Option<String>,
}

impl Service {
    /// A service that does not run yet.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, state: State::Idle, starts: 0, failures_in_row: 0, last_exit: None }
    }

    /// Takes an event in and says what to do about it.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        match self.state {
            State::Idle => match event {
                Event::Start => self.spawn(),
                Event::Stop | Event::Kill => self.stopped(),
                Event::Tick
                | Event::Spawned { .. }
                | Event::SpawnFailed { .. }
                | Event::Ended { .. } => Vec::new(),
            },
            State::Starting => match event {
                Event::Spawned { pid } => self.running(pid, now),
                Event::SpawnFailed { reason } => {
                    self.back_off(format!("could not be started: {reason}"), now)
                }
                Event::Stop | Event::Kill => self.stopped(),
                Event::Start | Event::Tick | Event::Ended { .. } => Vec::new(),
            },
            State::Running { pid, since } => match event {
                Event::Ended { pid: ended, how } if ended == pid => {
                    if now.saturating_sub(since) >= STABLE_AFTER {
                        self.failures_in_row = 0;
                    }
                    self.back_off(how.to_string(), now)
                }
                Event::Stop => {
                    self.state = State::Stopping { pid };
                    vec![Effect::Terminate { pid }]
                }
                Event::Kill => {
                    self.state = State::Stopping { pid };
                    vec![Effect::Kill { pid }]
                }
                Event::Start
                | Event::Tick
                | Event::Spawned { .. }
                | Event::SpawnFailed { .. }
                | Event::Ended { .. } => Vec::new(),
            },
            State::BackingOff { until } => match event {
                Event::Tick if now >= until => self.spawn(),
                Event::Stop | Event::Kill => self.stopped(),
                Event::Start
                | Event::Tick
                | Event::Spawned { .. }
                | Event::SpawnFailed { .. }
                | Event::Ended { .. } => Vec::new(),
            },
            State::Stopping { pid } => match event {
                Event::Ended { pid: ended, how } if ended == pid => self.ended_as_asked(how),
                Event::Kill => vec![Effect::Kill { pid }],
                Event::Start
                | Event::Tick
                | Event::Stop
                | Event::Spawned { .. }
                | Event::SpawnFailed { .. }
                | Event::Ended { .. } => Vec::new(),
            },
            // A process that was being started while the stop came in must not survive it.
            State::Stopped => match event {
                Event::Spawned { pid } => vec![Effect::Kill { pid }],
                Event::Stop | Event::Kill => vec![Effect::Stopped],
                Event::Start | Event::Tick | Event::SpawnFailed { .. } | Event::Ended { .. } => {
                    Vec::new()
                }
            },
        }
    }

    /// When `Tick` is due.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::BackingOff { until } => Some(until),
            State::Idle
            | State::Starting
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Stopped => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What a client of the control socket sees.
    #[must_use]
    pub fn status(&self, now: Duration) -> ServiceStatus {
        let (state, pid, backoff) = match self.state {
            State::Idle | State::Starting => (ServiceState::BackingOff, None, Some(Duration::ZERO)),
            State::Running { pid, .. } | State::Stopping { pid } => {
                (ServiceState::Running, Some(pid), None)
            }
            State::BackingOff { until } => {
                (ServiceState::BackingOff, None, Some(until.saturating_sub(now)))
            }
            State::Stopped => (ServiceState::Stopped, None, None),
        };
        ServiceStatus {
            name: self.name.to_owned(),
            state,
            pid,
            restarts: self.starts.saturating_sub(1),
            last_exit: self.last_exit.clone(),
            backoff_ms: backoff
                .map(|backoff| u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    fn spawn(&mut self) -> Vec<Effect> {
        self.state = State::Starting;
        self.starts = self.starts.saturating_add(1);
        vec![Effect::Spawn]
    }

    fn running(&mut self, pid: i32, now: Duration) -> Vec<Effect> {
        self.state = State::Running { pid, since: now };
        let again = match self.starts {
            0 | 1 => String::new(),
            starts => format!(" again, restart {}", starts - 1),
        };
        vec![Effect::Log(Level::Info, format!("{} started{again} pid={pid}", self.name))]
    }

    fn back_off(&mut self, reason: String, now: Duration) -> Vec<Effect> {
        let delay = delay(self.failures_in_row);
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        self.state = State::BackingOff { until: now.saturating_add(delay) };
        let name = self.name;
        let mut text = format!("{name}: {reason}; starting it again in {} ms", delay.as_millis());
        if self.failures_in_row > 1 {
            text.push_str(&format!(" (failure {} in a row)", self.failures_in_row));
        }
        self.last_exit = Some(reason);
        vec![Effect::Log(Level::Error, text)]
    }

    fn ended_as_asked(&mut self, how: Ended) -> Vec<Effect> {
        self.last_exit = Some(how.to_string());
        let log = format!("{} has stopped ({how})", self.name);
        let mut effects = vec![Effect::Log(Level::Info, log)];
        effects.extend(self.stopped());
        effects
    }

    fn stopped(&mut self) -> Vec<Effect> {
        self.state = State::Stopped;
        vec![Effect::Stopped]
    }
}

/// Delay after `failures_before` failures in a row: doubles up to [`BACKOFF_MAX`].
fn delay(failures_before: u32) -> Duration {
    1u32.checked_shl(failures_before)
        .and_then(|factor| BACKOFF_FIRST.checked_mul(factor))
        .map_or(BACKOFF_MAX, |delay| delay.min(BACKOFF_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn service(state: State) -> Service {
        Service { state, ..Service::new("agent") }
    }

    /// Effects without texts, and the state afterwards.
    fn after(state: State, event: Event, now: Duration) -> (Vec<&'static str>, State) {
        let mut service = service(state);
        let effects = service
            .step(event, now)
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Spawn => Some("spawn"),
                Effect::Terminate { pid: 7 } => Some("terminate"),
                Effect::Kill { pid: 7 } => Some("kill"),
                Effect::Terminate { .. } | Effect::Kill { .. } => Some("wrong process"),
                Effect::Stopped => Some("stopped"),
                Effect::Log(..) => None,
            })
            .collect();
        (effects, service.state)
    }

    #[test]
    fn every_event_in_every_state() {
        let now = S(100);
        let running = State::Running { pid: 7, since: S(90) };
        let waiting = State::BackingOff { until: S(101) };
        let due = State::BackingOff { until: S(100) };
        let stopping = State::Stopping { pid: 7 };
        let first = State::BackingOff { until: now + BACKOFF_FIRST };
        let started = State::Running { pid: 7, since: now };
        let states =
            [State::Idle, State::Starting, running, waiting, due, stopping, State::Stopped];
        let spawned = || Event::Spawned { pid: 7 };
        let failed = || Event::SpawnFailed { reason: "no such file".to_owned() };
        let ended = |pid| Event::Ended { pid, how: Ended::Status(1) };
        // Where an event changes something; everywhere else it must change nothing.
        let mut changes: Vec<(State, Event, Vec<&str>, State)> = vec![
            (State::Idle, Event::Start, vec!["spawn"], State::Starting),
            (State::Starting, spawned(), vec![], started),
            (State::Starting, failed(), vec![], first),
            (running, ended(7), vec![], first),
            (running, Event::Stop, vec!["terminate"], stopping),
            (running, Event::Kill, vec!["kill"], stopping),
            (due, Event::Tick, vec!["spawn"], State::Starting),
            (stopping, ended(7), vec!["stopped"], State::Stopped),
            (stopping, Event::Kill, vec!["kill"], stopping),
            (State::Stopped, spawned(), vec!["kill"], State::Stopped),
        ];
        for state in [State::Idle, State::Starting, waiting, due, State::Stopped] {
            changes.push((state, Event::Stop, vec!["stopped"], State::Stopped));
            changes.push((state, Event::Kill, vec!["stopped"], State::Stopped));
        }
        let events = [
            Event::Start,
            spawned(),
            failed(),
            ended(7),
            ended(8),
            Event::Tick,
            Event::Stop,
            Event::Kill,
        ];
        for state in states {
            for event in &events {
                let expected = changes
                    .iter()
                    .find(|(from, cause, ..)| *from == state && cause == event)
                    .map_or((vec![], state), |(.., effects, to)| (effects.clone(), *to));
                assert_eq!(after(state, event.clone(), now), expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn a_crash_loop_backs_off_up_to_a_bound_and_a_stable_run_resets_it() {
        let mut service = Service::new("agent");
        let mut now = Duration::ZERO;
        let mut delays = Vec::new();
        service.step(Event::Start, now);
        for _ in 0..10 {
            service.step(Event::Spawned { pid: 7 }, now);
            service.step(Event::Ended { pid: 7, how: Ended::Status(1) }, now);
            let due = service.deadline().unwrap();
            delays.push((due - now).as_millis());
            now = due;
            assert_eq!(service.step(Event::Tick, now), [Effect::Spawn]);
        }
        assert_eq!(delays, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        service.step(Event::Spawned { pid: 7 }, now);
        now += STABLE_AFTER;
        service.step(Event::Ended { pid: 7, how: Ended::Signal(9) }, now);
        assert_eq!(service.deadline(), Some(now + BACKOFF_FIRST));
    }

    #[test]
    fn a_crash_loop_can_be_seen() {
        let mut service = Service::new("agent");
        service.step(Event::Start, S(1));
        service.step(Event::Spawned { pid: 7 }, S(1));
        service.step(Event::Ended { pid: 7, how: Ended::Status(3) }, S(2));
        service.step(Event::Tick, S(3));
        service.step(Event::Spawned { pid: 8 }, S(3));
        let log = service.step(Event::Ended { pid: 8, how: Ended::Signal(9) }, S(4));
        let text = "agent: killed by SIGKILL; starting it again in 500 ms (failure 2 in a row)";
        assert_eq!(log, [Effect::Log(Level::Error, text.to_owned())]);
        assert_eq!(
            service.status(S(4)),
            ServiceStatus {
                name: "agent".to_owned(),
                state: ServiceState::BackingOff,
                pid: None,
                restarts: 1,
                last_exit: Some("killed by SIGKILL".to_owned()),
                backoff_ms: Some(500),
            }
        );
    }

    #[test]
    fn signals_without_a_name_are_numbered() {
        assert_eq!(Ended::Signal(40).to_string(), "killed by signal 40");
    }
}
