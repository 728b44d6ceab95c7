//! What follows an event.

use ferrite_schema::api::Exit;
use ferrite_schema::unit::RestartPolicy;

use super::{
    BACKOFF_FIRST, BACKOFF_MAX, Cause, Effect, End, Event, Machine, Moment, Next, RunKind,
    STABLE_AFTER, STARTS_KEPT_MAX, State,
};

impl Machine {
    /// Takes one event and says what is to be done.
    pub fn step(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        match event {
            Event::Start => self.start(),
            Event::Stop { reason } => self.stop(Cause::Asked { reason }, now),
            Event::Met => self.met(),
            Event::Hold { reason } => self.hold(reason, now),
            Event::Note { reason } => self.note(reason),
            Event::Pulled => self.pulled(now),
            Event::PullFailed { reason } => self.pull_failed(reason, now),
            Event::Started { pid } => self.started(pid, now),
            Event::StartFailed { reason } => self.start_failed(reason, now),
            Event::Ended(end) => self.ended(Some(end), now),
            Event::Lost => self.ended(None, now),
            Event::Checked(result) => self.checked(result, now),
            Event::Deadline => self.deadline(now),
        }
    }

    /// What an agent has to do for a unit whose life it read.
    pub fn resume(&mut self, now: Moment) -> Vec<Effect> {
        match &self.life.state {
            State::Waiting => vec![Effect::Await],
            State::Pulling => vec![Effect::Pull],
            State::Run { vitals: Some(_), .. } => vec![Effect::SetTimer(now)],
            // The signal may not have been sent; a second one does no harm.
            State::Stopping { deadline, .. } => vec![Effect::Signal, Effect::SetTimer(*deadline)],
            State::Cleaning { deadline, .. } => vec![Effect::SetTimer(*deadline)],
            State::BackingOff { until } => vec![Effect::SetTimer(*until)],
            State::Scheduled => vec![Effect::Schedule],
            State::Loaded | State::Run { .. } | State::Exited | State::Failed => Vec::new(),
        }
    }

    fn start(&mut self) -> Vec<Effect> {
        match &mut self.life.state {
            State::Loaded | State::Exited | State::Failed => {
                self.life.backoff = None;
                self.life.starts = 0;
                self.life.recent.clear();
                if self.policy.timer {
                    return self.schedule();
                }
                self.begin()
            }
            // A person's wish comes before the delay.
            State::BackingOff { .. } => {
                self.life.recent.clear();
                let mut effects = vec![Effect::ClearTimer];
                effects.extend(self.begin());
                effects
            }
            State::Scheduled => self.fire(),
            State::Stopping { cause, .. } | State::Cleaning { next: Next::Because(cause), .. } => {
                match cause {
                    Cause::Asked { .. } => *cause = Cause::Again,
                    Cause::Again | Cause::Hold { .. } | Cause::Unhealthy { .. } => {}
                }
                Vec::new()
            }
            State::Waiting | State::Pulling | State::Run { .. } | State::Cleaning { .. } => {
                Vec::new()
            }
        }
    }

    fn begin(&mut self) -> Vec<Effect> {
        self.life.state = State::Waiting;
        self.life.reason = None;
        vec![Effect::Await]
    }

    fn schedule(&mut self) -> Vec<Effect> {
        self.life.state = State::Scheduled;
        self.life.tried = true;
        vec![Effect::Schedule]
    }

    fn fire(&mut self) -> Vec<Effect> {
        self.life.backoff = None;
        self.life.recent.clear();
        let mut effects = vec![Effect::ClearTimer, Effect::Fired];
        effects.extend(self.begin());
        effects
    }

    fn met(&mut self) -> Vec<Effect> {
        match self.life.state {
            State::Waiting => {
                self.life.state = State::Pulling;
                self.life.reason = None;
                vec![Effect::Pull]
            }
            State::Loaded
            | State::Pulling
            | State::Run { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => Vec::new(),
        }
    }

    fn note(&mut self, reason: String) -> Vec<Effect> {
        match self.life.state {
            State::Waiting | State::Pulling => self.life.reason = Some(reason),
            State::Loaded
            | State::Run { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => {}
        }
        Vec::new()
    }

    fn pulled(&mut self, now: Moment) -> Vec<Effect> {
        match self.life.state {
            State::Pulling => {
                self.life.starts = self.life.starts.saturating_add(1);
                if self.life.recent.len() >= STARTS_KEPT_MAX {
                    self.life.recent.remove(0);
                }
                self.life.recent.push(now);
                let first =
                    if self.policy.pre_start > 0 { RunKind::PreStart(0) } else { RunKind::Main };
                self.launch(first, now)
            }
            State::Loaded
            | State::Waiting
            | State::Run { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => Vec::new(),
        }
    }

    fn launch(&mut self, kind: RunKind, now: Moment) -> Vec<Effect> {
        self.life.state = State::Run { kind, pid: None, since: now, vitals: None };
        self.life.reason = None;
        vec![Effect::Launch(kind)]
    }

    fn pull_failed(&mut self, reason: String, now: Moment) -> Vec<Effect> {
        match self.life.state {
            State::Pulling => self.decide(false, reason, now),
            State::Loaded
            | State::Waiting
            | State::Run { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => Vec::new(),
        }
    }

    fn stop(&mut self, new: Cause, now: Moment) -> Vec<Effect> {
        match &mut self.life.state {
            State::Loaded | State::Exited | State::Failed => {
                self.rest(new);
                Vec::new()
            }
            State::Waiting | State::BackingOff { .. } | State::Scheduled => {
                self.rest(new);
                vec![Effect::ClearTimer, Effect::Release]
            }
            State::Pulling => {
                self.rest(new);
                vec![Effect::CancelPull, Effect::Release]
            }
            State::Run { kind, pid, .. } => {
                let (kind, pid, deadline) = (*kind, *pid, now + self.policy.grace);
                self.life.state = State::Stopping { kind, pid, deadline, cause: new };
                let first = if pid.is_some() { Effect::Signal } else { Effect::Kill };
                vec![first, Effect::SetTimer(deadline)]
            }
            State::Stopping { cause, .. } => {
                *cause = new;
                Vec::new()
            }
            State::Cleaning { next, .. } => {
                *next = Next::Because(new);
                Vec::new()
            }
        }
    }

    fn hold(&mut self, reason: String, now: Moment) -> Vec<Effect> {
        match self.life.state {
            State::Run { .. } => self.stop(Cause::Hold { reason }, now),
            State::Pulling => {
                self.life.state = State::Waiting;
                self.life.reason = Some(reason);
                vec![Effect::CancelPull, Effect::Await]
            }
            // Each start asks again whether what it requires is there.
            State::Loaded
            | State::Waiting
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => Vec::new(),
        }
    }

    fn rest(&mut self, cause: Cause) {
        self.life.state = State::Loaded;
        self.life.reason = match cause {
            Cause::Asked { reason } | Cause::Hold { reason } | Cause::Unhealthy { reason } => {
                Some(reason)
            }
            Cause::Again => None,
        };
        self.life.backoff = None;
    }

    fn started(&mut self, new: i32, now: Moment) -> Vec<Effect> {
        match &mut self.life.state {
            // A new agent hears it once more from a shim that it found.
            State::Run { pid: known @ Some(_), .. } => {
                *known = Some(new);
                Vec::new()
            }
            State::Run { kind, pid, since, .. } => {
                *pid = Some(new);
                *since = now;
                self.life.ran = true;
                if *kind == RunKind::Main {
                    self.life.tried = true;
                    return self.begin_checks(now);
                }
                Vec::new()
            }
            // The stop came while the container was being built: it is not to run.
            State::Stopping { pid: known @ None, .. } => {
                *known = Some(new);
                vec![Effect::Kill]
            }
            State::Stopping { pid, .. } => {
                *pid = Some(new);
                Vec::new()
            }
            State::Loaded
            | State::Waiting
            | State::Pulling
            | State::Cleaning { .. }
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => Vec::new(),
        }
    }

    fn start_failed(&mut self, reason: String, now: Moment) -> Vec<Effect> {
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

    fn ended(&mut self, end: Option<End>, now: Moment) -> Vec<Effect> {
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
            let deadline = now + self.policy.grace;
            self.life.state = State::Cleaning { index, deadline, next };
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
    fn decide(&mut self, clean: bool, reason: String, now: Moment) -> Vec<Effect> {
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

    fn back_off(&mut self, now: Moment) -> Vec<Effect> {
        let delay = self.life.backoff.map_or(BACKOFF_FIRST, |last| (last * 2).min(BACKOFF_MAX));
        self.life.backoff = Some(delay);
        self.life.state = State::BackingOff { until: now + delay };
        vec![Effect::SetTimer(now + delay)]
    }

    fn deadline(&mut self, now: Moment) -> Vec<Effect> {
        match &self.life.state {
            State::BackingOff { .. } => self.begin(),
            State::Scheduled => self.fire(),
            State::Stopping { .. } | State::Cleaning { .. } => vec![Effect::Kill],
            State::Run { vitals: Some(_), .. } => {
                // Asked again should the answer be lost with an agent: see `resume`.
                debug_assert!(now > Moment::ZERO, "the machine has booted");
                vec![Effect::Check]
            }
            State::Loaded
            | State::Waiting
            | State::Pulling
            | State::Run { .. }
            | State::Exited
            | State::Failed => Vec::new(),
        }
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
