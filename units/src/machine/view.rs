//! What others see of a unit's life.

use ferrite_schema::api::{HealthState, UnitState};

use super::{Cause, End, Machine, Moment, Next, RunKind, State};

impl Machine {
    /// State for the API.
    #[must_use]
    pub fn state(&self) -> UnitState {
        match &self.life.state {
            State::Loaded => UnitState::Loaded,
            State::Waiting => UnitState::Waiting,
            State::Pulling => UnitState::Pulling,
            State::Run { kind: RunKind::Main, pid: Some(_), .. } => UnitState::Running,
            State::Run { .. } => UnitState::Starting,
            State::Stopping { .. } | State::Cleaning { .. } => UnitState::Stopping,
            State::BackingOff { .. } => UnitState::BackingOff,
            State::Scheduled => UnitState::Scheduled,
            State::Exited => UnitState::Exited,
            State::Failed => UnitState::Failed,
        }
    }

    /// Why it is in this state.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match &self.life.state {
            State::Run { kind: RunKind::PreStart(index), .. } => Some(format!(
                "running pre_start command {} of {}",
                index + 1,
                self.policy.pre_start
            )),
            State::Cleaning { index, .. } => Some(format!(
                "running post_stop command {} of {}",
                index + 1,
                self.policy.post_stop
            )),
            State::Stopping { cause, .. } => match cause {
                Cause::Asked { reason } | Cause::Hold { reason } | Cause::Unhealthy { reason } => {
                    Some(reason.clone())
                }
                Cause::Again => Some("it is being restarted".to_owned()),
            },
            State::Loaded
            | State::Waiting
            | State::Pulling
            | State::Run { .. }
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => self.life.reason.clone(),
        }
    }

    /// Which container it has, or is about to have.
    #[must_use]
    pub fn run_kind(&self) -> Option<RunKind> {
        match &self.life.state {
            State::Run { kind, .. } | State::Stopping { kind, .. } => Some(*kind),
            State::Cleaning { index, .. } => Some(RunKind::PostStop(*index)),
            State::Loaded
            | State::Waiting
            | State::Pulling
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => None,
        }
    }

    /// Process ID of its container.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        match &self.life.state {
            State::Run { pid, .. } | State::Stopping { pid, .. } => *pid,
            State::Loaded
            | State::Waiting
            | State::Pulling
            | State::Cleaning { .. }
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => None,
        }
    }

    /// When a delayed start is.
    #[must_use]
    pub fn until(&self) -> Option<Moment> {
        match &self.life.state {
            State::BackingOff { until } => Some(*until),
            State::Loaded
            | State::Waiting
            | State::Pulling
            | State::Run { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => None,
        }
    }

    /// How the last run ended.
    #[must_use]
    pub fn last_end(&self) -> Option<&End> {
        self.life.last_end.as_ref()
    }

    /// Starts after the first.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.life.starts.saturating_sub(1)
    }

    /// It was asked to stop, has not ended yet, and nobody has asked for it since.
    #[must_use]
    pub fn is_asked_to_stop(&self) -> bool {
        matches!(
            self.life.state,
            State::Stopping { cause: Cause::Asked { .. }, .. }
                | State::Cleaning { next: Next::Because(Cause::Asked { .. }), .. }
        )
    }

    /// It has done its work; only its commands after it still run.
    #[must_use]
    pub fn has_done_its_work(&self) -> bool {
        let done = matches!(
            self.life.state,
            State::Cleaning { next: Next::Policy { clean: true, .. }, .. }
        );
        done && self.policy.oneshot
    }

    /// Nothing of it runs and nothing will without being asked.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        matches!(self.life.state, State::Loaded | State::Exited | State::Failed)
    }

    /// It has a container, or had one that is still being cleaned up after.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.run_kind().is_some()
    }

    /// It came to a verdict in this boot: it ran, or it could not for a reason that is its own.
    #[must_use]
    pub fn tried(&self) -> bool {
        self.life.tried
    }

    /// One of its containers' programs ran in this boot.
    #[must_use]
    pub fn ran(&self) -> bool {
        self.life.ran
    }

    /// Those who depend on it may go on: it runs and is well, or has done its work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match &self.life.state {
            State::Run { kind: RunKind::Main, pid: Some(_), vitals, .. } => {
                !self.policy.oneshot
                    && vitals.as_ref().is_none_or(|vitals| vitals.state == HealthState::Healthy)
            }
            State::Exited => self.policy.oneshot,
            State::Scheduled => true,
            State::Loaded
            | State::Waiting
            | State::Pulling
            | State::Run { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::BackingOff { .. }
            | State::Failed => false,
        }
    }
}
