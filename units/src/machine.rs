//! The life of one unit as a pure step function: no clock, no I/O, no lock.
//!
//! ```text
//!             Start                Met            Pulled                Started
//!  Loaded ───────────▶ Waiting ─────────▶ Pulling ──────▶ Run(pre-start…, main) ──▶ running ─┐
//!    ▲ │ (timer)          ▲ ▲                │ PullFailed     │ StartFailed, failed            │ Ended, Lost
//!    │ └──▶ Scheduled ────┘ │ Deadline       ▼                ▼                                ▼
//!    │        ▲  Deadline   └─────────── BackingOff ◀── policy ◀── Run(post-stop…) ◀───────────┤
//!    │        └────────────────────────────────────────── │                                    │
//!    │                                     Exited | Failed ◀                                   │
//!    └── Ended ── Stopping ◀── Stop, Hold, unhealthy ──────────────────────────────────────────┘
//!                    │ Deadline: kill, and wait for the end; once more: kill its shim
//! ```
//!
//! `Start` and `Stop` come from people (API) or from what was wanted before a reboot; `Met` and `Hold` from the
//! units that this one depends on; `Pulled` and `PullFailed` from the image store; `Started`, `StartFailed`,
//! `Ended` and `Lost` from the shim; `Checked` from the health check; `Deadline` from the timer that the last
//! effect set. `Stop` interrupts everything: while the shim is still building the container, it is killed. `Start`
//! is never lost: what is on its way to rest begins anew from there. No state is terminal: `Exited` and `Failed`
//! wait for a person.
//!
//! A [`Life`] can be written down and read again by the agent's successor: times are since the machine's boot.
#![deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]

use std::time::Duration;

use ferrite_schema::api::{Exit, HealthState};
use ferrite_schema::unit::{RestartPolicy, Unit};
use serde::{Deserialize, Serialize};

mod ending;
mod health;
mod step;
mod view;

/// A moment, as the time since the machine's boot: it means the same to the agent's successor.
pub type Moment = Duration;

/// First delay before another start.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// Longest delay: a unit that never comes up costs the node one start a minute.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A run that lasted this long starts the delays again from the first.
pub const STABLE_AFTER: Duration = Duration::from_secs(30);
/// How long an image that could not be had for a reason that may pass is tried again, whatever the restart policy says: a
/// network that comes up, or a registry that is overloaded, takes no longer.
pub const PULL_PATIENCE: Duration = Duration::from_secs(600);
/// How long a container's processes and its shim have after a kill. What takes longer hangs, in a mount or a disk.
pub const KILL_PATIENCE: Duration = Duration::from_secs(15);
/// How long a container for a command after the program may take to be made, before the command's own time begins: on a busy
/// disk, with many layers, more than most commands need.
pub const BEGIN_PATIENCE: Duration = Duration::from_secs(60);
/// Starts that are remembered for the start limit.
pub const STARTS_KEPT_MAX: usize = 1000;

const _: () = assert!(BACKOFF_FIRST.as_millis() < BACKOFF_MAX.as_millis());

/// What the machine does not decide itself: its unit's document, as far as it concerns its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What is done when the container ends.
    pub restart: RestartPolicy,
    /// What it gets to stop before it is killed.
    pub grace: Duration,
    /// It does its work and ends.
    pub oneshot: bool,
    /// It is started by the clock.
    pub timer: bool,
    /// Most starts, and within which time.
    pub limit: Option<(usize, Option<Duration>)>,
    /// Commands before it.
    pub pre_start: usize,
    /// Commands after it.
    pub post_stop: usize,
    /// How its health is looked at.
    pub health: Option<HealthPolicy>,
}

/// How a unit's health is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthPolicy {
    /// Failures do not count for this long after the start.
    pub start_period: Duration,
    /// From one check to the next.
    pub interval: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

impl Policy {
    /// What a unit's document says.
    #[must_use]
    pub fn of(unit: &Unit) -> Self {
        let seconds = |count: u32| Duration::from_secs(count.into());
        Self {
            restart: unit.restart_policy(),
            grace: seconds(unit.stop_grace_s),
            oneshot: unit.oneshot,
            timer: unit.timer.is_some(),
            limit: unit.start_limit.map(|limit| {
                let starts = usize::try_from(limit.starts).unwrap_or(usize::MAX);
                (starts.min(STARTS_KEPT_MAX), limit.within_s.map(seconds))
            }),
            pre_start: unit.pre_start.len(),
            post_stop: unit.post_stop.len(),
            health: unit.health.as_ref().map(|health| HealthPolicy {
                start_period: seconds(health.start_period_s),
                interval: seconds(health.interval_s),
                retries: health.retries,
            }),
        }
    }
}

/// Which of a unit's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// The command of `pre_start` with this index.
    PreStart(usize),
    /// The unit itself.
    Main,
    /// The command of `post_stop` with this index.
    PostStop(usize),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Exit status or signal.
    pub exit: Exit,
    /// The kernel killed something in it for want of memory.
    pub oom_killed: bool,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It should run.
    Start,
    /// It should not.
    Stop {
        /// Why, one sentence.
        reason: String,
    },
    /// What it depends on is as it must be.
    Met,
    /// What it requires is gone: it is to stop and wait.
    Hold {
        /// Why, one sentence.
        reason: String,
    },
    /// Says more about why it is not on its way yet.
    Note {
        /// One sentence.
        reason: String,
    },
    /// Its document names another image.
    OtherImage,
    /// Its image is here.
    Pulled,
    /// Its image cannot be had.
    PullFailed {
        /// Why, one sentence.
        reason: String,
        /// It may be had later, as it is asked for.
        may_pass: bool,
    },
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
    Ended(End),
    /// The shim is gone without a word about the container, which may run on.
    Lost,
    /// Its health was looked at; what was wrong.
    Checked(Result<(), String>),
    /// Its health could not be looked at, and that is the node's fault.
    Unchecked {
        /// Why, one sentence.
        why: String,
    },
    /// The timer that was set last ran out.
    Deadline,
}

/// Something to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send [`Event::Met`] as soon as what it depends on is as it must be.
    Await,
    /// Send [`Event::Pulled`] when the image is here.
    Pull,
    /// Nobody waits for the image any more.
    CancelPull,
    /// Start a shim for a new container.
    Launch(RunKind),
    /// Send the stop signal to the container.
    Signal,
    /// Kill everything in the container.
    Kill,
    /// Kill the shim, which does not say that the container has ended.
    KillShim,
    /// Look at its health and send [`Event::Checked`], or [`Event::Unchecked`].
    Check,
    /// Send [`Event::Deadline`] at this moment, and forget a timer set before.
    SetTimer(Moment),
    /// Send [`Event::Deadline`] when its timer says so, and forget a timer set before.
    Schedule,
    /// Its timer's time has come: remember when.
    Fired,
    /// Forget the timer.
    ClearTimer,
    /// Give back its addresses and published ports.
    Release,
}

/// Why a container is being stopped, and so what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Cause {
    /// It should not run.
    Asked { reason: String },
    /// It should stop, and then it should run.
    Again,
    /// What it requires is gone.
    Hold { reason: String },
    /// It is not well.
    Unhealthy { reason: String },
}

/// What follows the last `post_stop` command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Next {
    Because(Cause),
    Policy { clean: bool, reason: String },
}

/// What is known about a container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Vitals {
    state: HealthState,
    failures: u32,
    /// Failures count again from this moment on.
    counts_from: Moment,
    /// Since when it fails, and how.
    failing: Option<(Moment, String)>,
}

/// Where a unit is in its life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    #[default]
    Loaded,
    Waiting,
    Pulling,
    Run {
        kind: RunKind,
        pid: Option<i32>,
        since: Moment,
        vitals: Option<Vitals>,
    },
    Stopping {
        kind: RunKind,
        pid: Option<i32>,
        deadline: Moment,
        /// The container was killed: what the deadline ends next is its shim.
        #[serde(default)]
        killed: bool,
        cause: Cause,
    },
    /// The commands of `post_stop`.
    Cleaning {
        index: usize,
        /// Of its container's beginning, and then of the command.
        deadline: Moment,
        #[serde(default)]
        begun: bool,
        #[serde(default)]
        killed: bool,
        next: Next,
    },
    BackingOff {
        until: Moment,
    },
    Scheduled,
    Exited,
    Failed,
}

/// What of a unit's life outlives the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    state: State,
    reason: Option<String>,
    backoff: Option<Duration>,
    last_end: Option<End>,
    /// Since when its image cannot be had.
    #[serde(default)]
    unpulled_since: Option<Moment>,
    /// Starts since a person asked for one.
    starts: u32,
    /// When the latest were.
    recent: Vec<Moment>,
    /// It came to a verdict in this boot: it ran, or it could not.
    tried: bool,
    /// One of its containers' programs ran in this boot.
    ran: bool,
}

/// A unit's life.
#[derive(Debug, Clone)]
pub struct Machine {
    policy: Policy,
    life: Life,
}

impl Machine {
    /// A unit that is known and not asked to run.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, life: Life::default() }
    }

    /// A unit whose life was written down by an earlier agent. What is to be done about it now says
    /// [`Machine::resume`].
    #[must_use]
    pub fn of_life(policy: Policy, life: Life) -> Self {
        Self { policy, life }
    }

    /// A unit whose shim was found alive and of which nothing was written down.
    #[must_use]
    pub fn found(policy: Policy, now: Moment) -> Self {
        let state = State::Run { kind: RunKind::Main, pid: None, since: now, vitals: None };
        Self { policy, life: Life { state, starts: 1, ..Life::default() } }
    }

    /// What is to be written down for the agent's successor.
    #[must_use]
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// Takes over a changed document; applies from the next decision on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }
}

#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod meeting_tests;
#[cfg(test)]
mod tests;
