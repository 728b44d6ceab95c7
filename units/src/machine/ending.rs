//! What follows the end of a container: commands after it, and what the restart policy makes of it.

use ferrite_schema::api::Exit;
use ferrite_schema::unit::RestartPolicy;

use super::{
    BACKOFF_FIRST, BACKOFF_MAX, BEGIN_PATIENCE, Cause, Effect, End, Machine, Moment, Next, RunKind,
    STABLE_AFTER, State,
};

impl Machine {
    pub(super) fn start_failed(&mut self, reason: String, now: Moment) -> Vec<Effect> {
        match &self.life.state {
            // A shim that fails after the start reports it so too; it killed the container.
            State::Run { kind: RunKind::PreStart(index), .. } => {
                let reason = format!("pre_start command {}: {reason}", index + 1);
                self.decide(false, reason, now)
            }
            State::Run { .. } => self.decide(false, reason, now),
            State::Stopping { cause, .. } => {
                let next = Next::Because(cause.clone());
                self.clean_up(0, next, now)
            }
            State::Cleaning { index, next, .. } => {
                let (index, next) = (index + 1, next.clone());
                self.clean_up(index, next, now)
            }
            State::Loaded
            | State::Waiting
            | State::Pulling
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => Vec::new(),
        }
    }

    pub(super) fn ended(&mut self, end: Option<End>, now: Moment) -> Vec<Effect> {
        // Nobody else ends what a lost shim has left, and whatever follows must not meet it.
        let left = end.is_none() && self.is_alive();
        let mut effects = if left { vec![Effect::Kill] } else { Vec::new() };
        effects.extend(self.after_end(end, now));
        effects
    }

    fn after_end(&mut self, end: Option<End>, now: Moment) -> Vec<Effect> {
        match self.life.state.clone() {
            State::Run { kind: RunKind::PreStart(index), .. } if is_clean(end.as_ref()) => {
                let next = index + 1;
                let kind = if next < self.policy.pre_start {
                    RunKind::PreStart(next)
                } else {
                    RunKind::Main
                };
                self.launch(kind, now)
            }
            State::Run { kind, pid, since, .. } => {
                if kind == RunKind::Main
                    && pid.is_some()
                    && now.saturating_sub(since) >= STABLE_AFTER
                {
                    self.life.backoff = None;
                }
                let (clean, mut reason) = (is_clean(end.as_ref()), describe(end.as_ref()));
                if let RunKind::PreStart(index) = kind {
                    reason = format!("pre_start command {} failed: {reason}", index + 1);
                }
                self.life.last_end = end;
                self.clean_up(0, Next::Policy { clean, reason }, now)
            }
            State::Stopping { cause, .. } => {
                self.life.last_end = end;
                self.clean_up(0, Next::Because(cause), now)
            }
            State::Cleaning { index, next, .. } => self.clean_up(index + 1, next, now),
            State::Loaded
            | State::Waiting
            | State::Pulling
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => Vec::new(),
        }
    }

    /// Runs the `post_stop` command with this index, or goes on where there is none.
    fn clean_up(&mut self, index: usize, next: Next, now: Moment) -> Vec<Effect> {
        if index < self.policy.post_stop {
            let deadline = now + BEGIN_PATIENCE;
            let (begun, killed) = (false, false);
            self.life.state = State::Cleaning { index, deadline, begun, killed, next };
            return vec![Effect::SetTimer(deadline), Effect::Launch(RunKind::PostStop(index))];
        }
        match next {
            Next::Policy { clean, reason } => self.decide(clean, reason, now),
            Next::Because(Cause::Unhealthy { reason }) => self.decide(false, reason, now),
            Next::Because(Cause::Again) => {
                self.rest(Cause::Again);
                let mut effects = vec![Effect::ClearTimer];
                effects.extend(self.start());
                effects
            }
            Next::Because(Cause::Hold { reason }) => {
                let mut effects = vec![Effect::ClearTimer, Effect::Release];
                effects.extend(self.begin());
                self.life.reason = Some(reason);
                effects
            }
            Next::Because(cause @ Cause::Asked { .. }) => {
                self.rest(cause);
                vec![Effect::ClearTimer, Effect::Release]
            }
        }
    }

    /// What the restart policy and the start limit make of an end.
    pub(super) fn decide(&mut self, clean: bool, reason: String, now: Moment) -> Vec<Effect> {
        self.life.tried = true;
        self.life.reason = Some(reason.clone());
        let again = match self.policy.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !clean,
            RestartPolicy::Never => false,
        };
        if again && let Some(why) = self.beyond_limit(now) {
            self.life.reason = Some(format!("{why}; the last end: {reason}"));
            self.life.state = State::Failed;
            return vec![Effect::ClearTimer, Effect::Release];
        }
        if again {
            return self.back_off(now);
        }
        if self.policy.timer {
            let mut effects = vec![Effect::Release];
            effects.extend(self.schedule());
            return effects;
        }
        self.life.state = if clean { State::Exited } else { State::Failed };
        vec![Effect::ClearTimer, Effect::Release]
    }

    fn beyond_limit(&self, now: Moment) -> Option<String> {
        let (most, within) = self.policy.limit?;
        let counts = |start: &&Moment| within.is_none_or(|within| **start + within > now);
        let starts = self.life.recent.iter().filter(counts).count();
        let span = within.map(|within| format!(" within {} s", within.as_secs()));
        (starts >= most)
            .then(|| format!("start limit reached: {starts} starts{}", span.unwrap_or_default()))
    }

    pub(super) fn back_off(&mut self, now: Moment) -> Vec<Effect> {
        let delay = self.life.backoff.map_or(BACKOFF_FIRST, |last| (last * 2).min(BACKOFF_MAX));
        self.life.backoff = Some(delay);
        self.life.state = State::BackingOff { until: now + delay };
        vec![Effect::SetTimer(now + delay)]
    }
}

fn is_clean(end: Option<&End>) -> bool {
    matches!(end, Some(End { exit: Exit::Status { code: 0 }, .. }))
}

/// How a run ended, for a person.
fn describe(end: Option<&End>) -> String {
    match end {
        Some(End { oom_killed: true, exit: Exit::Signal { .. } }) => {
            "OOM-killed: it needed more memory than it may have".to_owned()
        }
        Some(End { exit, oom_killed }) => {
            let oom = if *oom_killed { " after the kernel OOM-killed some of it" } else { "" };
            match exit {
                Exit::Status { code } => format!("it exited with status {code}{oom}"),
                Exit::Signal { signal } => format!("signal {signal} ended it{oom}"),
            }
        }
        None => "its shim was lost; the container was killed".to_owned(),
    }
}
