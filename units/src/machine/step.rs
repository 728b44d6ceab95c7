//! What follows an event.

use super::{
    Cause, Effect, Event, KILL_PATIENCE, Machine, Moment, Next, PULL_PATIENCE, RunKind,
    STARTS_KEPT_MAX, State,
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
            Event::OtherImage => self.other_image(),
            Event::Pulled => self.pulled(now),
            Event::PullFailed { reason, may_pass } => self.pull_failed(reason, may_pass, now),
            Event::Started { pid } => self.started(pid, now),
            Event::StartFailed { reason } => self.start_failed(reason, now),
            Event::Ended(end) => self.ended(Some(end), now),
            Event::Lost => self.ended(None, now),
            Event::Checked(result) => self.checked(result, now),
            Event::Unchecked { .. } => self.unchecked(now),
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

    pub(super) fn start(&mut self) -> Vec<Effect> {
        match &mut self.life.state {
            State::Loaded | State::Exited | State::Failed => {
                self.life.backoff = None;
                self.life.unpulled_since = None;
                self.life.starts = 0;
                self.life.recent.clear();
                if self.policy.timer {
                    return self.schedule();
                }
                self.begin()
            }
            // A person's wish comes before the delay.
            State::BackingOff { .. } => {
                self.life.unpulled_since = None;
                self.life.recent.clear();
                let mut effects = vec![Effect::ClearTimer];
                effects.extend(self.begin());
                effects
            }
            State::Scheduled => self.fire(),
            State::Stopping { cause, .. } | State::Cleaning { next: Next::Because(cause), .. } => {
                match cause {
                    Cause::Asked { .. } | Cause::Unhealthy { .. } => *cause = Cause::Again,
                    Cause::Again | Cause::Hold { .. } => {}
                }
                Vec::new()
            }
            // It ended by itself; only its commands after it still run.
            State::Cleaning { next: next @ Next::Policy { .. }, .. } => {
                *next = Next::Because(Cause::Again);
                Vec::new()
            }
            State::Waiting | State::Pulling | State::Run { .. } => Vec::new(),
        }
    }

    pub(super) fn begin(&mut self) -> Vec<Effect> {
        self.life.state = State::Waiting;
        self.life.reason = None;
        vec![Effect::Await]
    }

    pub(super) fn schedule(&mut self) -> Vec<Effect> {
        self.life.state = State::Scheduled;
        self.life.tried = true;
        vec![Effect::Schedule]
    }

    fn fire(&mut self) -> Vec<Effect> {
        self.life.backoff = None;
        self.life.unpulled_since = None;
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

    /// Its delays, and how long it has been waited for, were the other one's.
    fn other_image(&mut self) -> Vec<Effect> {
        self.life.unpulled_since = None;
        self.life.backoff = None;
        match self.life.state {
            State::Pulling => vec![Effect::CancelPull, Effect::Pull],
            State::BackingOff { .. } => {
                let mut effects = vec![Effect::ClearTimer];
                effects.extend(self.begin());
                effects
            }
            State::Loaded
            | State::Waiting
            | State::Run { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => Vec::new(),
        }
    }

    fn pulled(&mut self, now: Moment) -> Vec<Effect> {
        match self.life.state {
            State::Pulling => {
                if self.life.unpulled_since.take().is_some() {
                    // The delays were its image's, not its own.
                    self.life.backoff = None;
                }
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

    pub(super) fn launch(&mut self, kind: RunKind, now: Moment) -> Vec<Effect> {
        self.life.state = State::Run { kind, pid: None, since: now, vitals: None };
        self.life.reason = None;
        vec![Effect::Launch(kind)]
    }

    fn pull_failed(&mut self, reason: String, may_pass: bool, now: Moment) -> Vec<Effect> {
        match self.life.state {
            State::Pulling => {
                let since = *self.life.unpulled_since.get_or_insert(now);
                if may_pass && now.saturating_sub(since) < PULL_PATIENCE {
                    // Nothing of it has failed yet: its restart policy is not asked.
                    self.life.tried = true;
                    self.life.reason = Some(reason);
                    return self.back_off(now);
                }
                self.decide(false, reason, now)
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
                let (kind, pid) = (*kind, *pid);
                // What has not begun gets no grace.
                let killed = pid.is_none();
                let (first, patience) = match killed {
                    true => (Effect::Kill, KILL_PATIENCE),
                    false => (Effect::Signal, self.policy.grace),
                };
                let deadline = now + patience;
                self.life.state = State::Stopping { kind, pid, deadline, killed, cause: new };
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

    pub(super) fn rest(&mut self, cause: Cause) {
        self.life.state = State::Loaded;
        self.life.reason = match cause {
            Cause::Asked { reason } | Cause::Hold { reason } | Cause::Unhealthy { reason } => {
                Some(reason)
            }
            Cause::Again => None,
        };
        self.life.backoff = None;
        self.life.unpulled_since = None;
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
            // The command's own time begins, but for one that was killed meanwhile.
            State::Cleaning { deadline, begun: begun @ false, killed: false, .. } => {
                (*begun, *deadline) = (true, now + self.policy.grace);
                vec![Effect::SetTimer(*deadline)]
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

    fn deadline(&mut self, now: Moment) -> Vec<Effect> {
        match &mut self.life.state {
            State::BackingOff { .. } => self.begin(),
            State::Scheduled => self.fire(),
            State::Stopping { deadline, killed, .. } | State::Cleaning { deadline, killed, .. } => {
                let first = if *killed { Effect::KillShim } else { Effect::Kill };
                (*killed, *deadline) = (true, now + KILL_PATIENCE);
                vec![first, Effect::SetTimer(*deadline)]
            }
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
