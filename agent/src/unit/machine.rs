//! The life of one unit as a pure step function: no clock, no I/O, no lock.
//!
//! ```text
//!            Start               Started
//!  Loaded ──────────▶ Starting ──────────▶ Running ──Ended──▶ Exited | Failed | BackingOff
//!    ▲                   │  StartFailed        │                                  │
//!    │                   └──▶ BackingOff       │ Stop                        Deadline
//!    └──Ended── Stopping ◀─────────────────────┘                                  ▼
//!                  │ Deadline: kill, and wait for the end                      Starting
//! ```
//!
//! `Start`, `Stop` and `Restart` come from people (API) or from what was wanted before a reboot; `Started`,
//! `StartFailed`, `Ended` and `Lost` from the shim; `Deadline` from the timer that the last effect set.
//! `Stop` interrupts everything: while the shim is still building the container, it is killed. No state is
//! terminal: `Exited` and `Failed` wait for a person.
#![deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]

use std::time::{Duration, Instant};

use ferrite_schema::api::{Exit, UnitState};
use ferrite_schema::unit::RestartPolicy;

/// First delay before another start.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// Longest delay: a unit that never comes up costs the node one start a minute.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A run that lasted this long starts the delays again from the first.
pub const STABLE_AFTER: Duration = Duration::from_secs(30);

const _: () = assert!(BACKOFF_FIRST.as_millis() < BACKOFF_MAX.as_millis());

/// What the machine does not decide itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What is done when the container ends.
    pub restart: RestartPolicy,
    /// What it gets to stop before it is killed.
    pub grace: Duration,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It should run.
    Start,
    /// It should not.
    Stop,
    /// The container's program runs.
    Started {
        /// Its process ID on the node.
        pid: i32,
    },
    /// There is no container.
    StartFailed {
        /// Why, one sentence.
        reason: String,
    },
    /// The container ended.
    Ended {
        /// How.
        exit: Exit,
    },
    /// The shim is gone without a word about the container, which was killed.
    Lost,
    /// The timer that was set last ran out.
    Deadline,
}

/// Something to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start a shim for a new container.
    Launch,
    /// Send the stop signal to the container.
    Signal,
    /// Kill everything in the container.
    Kill,
    /// Send [`Event::Deadline`] at this moment, and forget a timer set before.
    SetTimer(Instant),
    /// Forget the timer.
    ClearTimer,
}

/// Where a unit is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Loaded,
    Starting,
    Running { since: Instant, pid: i32 },
    Stopping { pid: Option<i32>, then_start: bool },
    BackingOff,
    Exited,
    Failed,
}

/// A unit's life.
#[derive(Debug, Clone)]
pub struct Machine {
    policy: Policy,
    state: State,
    backoff: Option<Duration>,
    reason: Option<String>,
    last_exit: Option<Exit>,
    starts: u32,
}

impl Machine {
    /// A unit that is known and not asked to run.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: State::Loaded,
            backoff: None,
            reason: None,
            last_exit: None,
            starts: 0,
        }
    }

    /// A unit whose shim was found alive by a new agent: its next event says more.
    #[must_use]
    pub fn found(policy: Policy) -> Self {
        Self { state: State::Starting, starts: 1, ..Self::new(policy) }
    }

    /// Takes over a changed document; applies from the next decision on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// State for the API.
    #[must_use]
    pub fn state(&self) -> UnitState {
        match self.state {
            State::Loaded => UnitState::Loaded,
            State::Starting => UnitState::Starting,
            State::Running { .. } => UnitState::Running,
            State::Stopping { .. } => UnitState::Stopping,
            State::BackingOff => UnitState::BackingOff,
            State::Exited => UnitState::Exited,
            State::Failed => UnitState::Failed,
        }
    }

    /// Why it is in this state.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Process ID of its container.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        match self.state {
            State::Running { pid, .. } => Some(pid),
            State::Stopping { pid, .. } => pid,
            State::Loaded | State::Starting | State::BackingOff | State::Exited | State::Failed => {
                None
            }
        }
    }

    /// How the last run ended.
    #[must_use]
    pub fn last_exit(&self) -> Option<&Exit> {
        self.last_exit.as_ref()
    }

    /// Starts after the first.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.starts.saturating_sub(1)
    }

    /// Nothing of it runs and nothing will without being asked.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        matches!(self.state, State::Loaded | State::Exited | State::Failed)
    }

    /// Takes one event and says what is to be done.
    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        match event {
            Event::Start => self.start(),
            Event::Stop => self.stop(now),
            Event::Started { pid } => self.started(pid, now),
            Event::StartFailed { reason } => self.start_failed(reason, now),
            Event::Ended { exit } => self.ended(Some(exit), now),
            Event::Lost => self.ended(None, now),
            Event::Deadline => self.deadline(),
        }
    }

    fn start(&mut self) -> Vec<Effect> {
        match &mut self.state {
            State::Loaded | State::Exited | State::Failed => {
                self.backoff = None;
                self.starts = 0;
                self.launch()
            }
            // A person's wish comes before the delay.
            State::BackingOff => {
                let mut effects = vec![Effect::ClearTimer];
                effects.extend(self.launch());
                effects
            }
            State::Stopping { then_start, .. } => {
                *then_start = true;
                Vec::new()
            }
            State::Starting | State::Running { .. } => Vec::new(),
        }
    }

    fn launch(&mut self) -> Vec<Effect> {
        self.state = State::Starting;
        self.reason = None;
        self.starts = self.starts.saturating_add(1);
        vec![Effect::Launch]
    }

    fn stop(&mut self, now: Instant) -> Vec<Effect> {
        match &mut self.state {
            State::Loaded => Vec::new(),
            State::Exited | State::Failed => {
                self.rest();
                Vec::new()
            }
            State::BackingOff => {
                self.rest();
                vec![Effect::ClearTimer]
            }
            State::Starting => {
                self.state = State::Stopping { pid: None, then_start: false };
                vec![Effect::Kill, Effect::SetTimer(now + self.policy.grace)]
            }
            State::Running { pid, .. } => {
                self.state = State::Stopping { pid: Some(*pid), then_start: false };
                vec![Effect::Signal, Effect::SetTimer(now + self.policy.grace)]
            }
            State::Stopping { then_start, .. } => {
                *then_start = false;
                Vec::new()
            }
        }
    }

    fn rest(&mut self) {
        self.state = State::Loaded;
        self.reason = None;
        self.backoff = None;
    }

    fn started(&mut self, pid: i32, now: Instant) -> Vec<Effect> {
        match &mut self.state {
            State::Starting => {
                self.state = State::Running { since: now, pid };
                Vec::new()
            }
            // The stop came while the container was being built: it is not to run.
            State::Stopping { pid: known, .. } => {
                *known = Some(pid);
                vec![Effect::Kill]
            }
            State::Loaded
            | State::Running { .. }
            | State::BackingOff
            | State::Exited
            | State::Failed => Vec::new(),
        }
    }

    fn start_failed(&mut self, reason: String, now: Instant) -> Vec<Effect> {
        match self.state {
            // A shim that fails after the start reports it so too; it killed the container.
            State::Starting | State::Running { .. } => match self.policy.restart {
                RestartPolicy::Never => {
                    self.state = State::Failed;
                    self.reason = Some(reason);
                    Vec::new()
                }
                RestartPolicy::Always | RestartPolicy::OnFailure => self.back_off(reason, now),
            },
            State::Stopping { then_start, .. } => self.stopped(then_start),
            State::Loaded | State::BackingOff | State::Exited | State::Failed => Vec::new(),
        }
    }

    fn ended(&mut self, exit: Option<Exit>, now: Instant) -> Vec<Effect> {
        let since = match self.state {
            State::Starting => None,
            State::Running { since, .. } => Some(since),
            State::Stopping { then_start, .. } => {
                self.last_exit = exit;
                return self.stopped(then_start);
            }
            State::Loaded | State::BackingOff | State::Exited | State::Failed => return Vec::new(),
        };
        if since.is_some_and(|since| now.duration_since(since) >= STABLE_AFTER) {
            self.backoff = None;
        }
        let clean = matches!(exit, Some(Exit::Status { code: 0 }));
        let reason = match &exit {
            Some(exit) => describe(exit),
            None => "its shim was lost; the container was killed".to_owned(),
        };
        self.last_exit = exit;
        let again = match self.policy.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !clean,
            RestartPolicy::Never => false,
        };
        if again {
            return self.back_off(reason, now);
        }
        self.state = if clean { State::Exited } else { State::Failed };
        self.reason = Some(reason);
        Vec::new()
    }

    fn back_off(&mut self, reason: String, now: Instant) -> Vec<Effect> {
        let delay = self.backoff.map_or(BACKOFF_FIRST, |last| (last * 2).min(BACKOFF_MAX));
        self.backoff = Some(delay);
        self.state = State::BackingOff;
        self.reason = Some(format!("{reason}; next start after {:.1} s", delay.as_secs_f64()));
        vec![Effect::SetTimer(now + delay)]
    }

    fn stopped(&mut self, then_start: bool) -> Vec<Effect> {
        self.rest();
        let mut effects = vec![Effect::ClearTimer];
        if then_start {
            effects.extend(self.start());
        }
        effects
    }

    fn deadline(&mut self) -> Vec<Effect> {
        match self.state {
            State::BackingOff => self.launch(),
            State::Stopping { .. } => vec![Effect::Kill],
            State::Loaded
            | State::Starting
            | State::Running { .. }
            | State::Exited
            | State::Failed => Vec::new(),
        }
    }
}

/// How a run ended, for a person.
fn describe(exit: &Exit) -> String {
    match exit {
        Exit::Status { code } => format!("it exited with status {code}"),
        Exit::Signal { signal } => format!("signal {signal} ended it"),
    }
}

#[cfg(test)]
mod tests;
