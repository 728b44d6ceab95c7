//! What checks of a unit's health lead to.

use std::time::Duration;

use ferrite_schema::api::HealthState;

use super::{Cause, Effect, Machine, Moment, RunKind, State, Vitals};

/// Until it is well for the first time a unit is looked at this often: others wait for it.
const EAGER: Duration = Duration::from_secs(1);

impl Machine {
    /// What is known about its health, where it has a check and runs.
    #[must_use]
    pub fn health(&self) -> Option<HealthState> {
        match &self.life.state {
            State::Run { vitals, .. } => vitals.as_ref().map(|vitals| vitals.state),
            State::Stopping { cause: Cause::Unhealthy { .. }, .. } => Some(HealthState::Unhealthy),
            State::Loaded
            | State::Waiting
            | State::Pulling
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => None,
        }
    }

    /// Since when its check fails, and how.
    #[must_use]
    pub fn failing(&self) -> Option<(Moment, &str)> {
        match &self.life.state {
            State::Run { vitals: Some(vitals), .. } => {
                vitals.failing.as_ref().map(|(since, why)| (*since, why.as_str()))
            }
            State::Loaded
            | State::Waiting
            | State::Pulling
            | State::Run { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::BackingOff { .. }
            | State::Scheduled
            | State::Exited
            | State::Failed => None,
        }
    }

    /// The first look at a container that has just been started.
    pub(super) fn begin_checks(&mut self, now: Moment) -> Vec<Effect> {
        let Some(policy) = self.policy.health else { return Vec::new() };
        if let State::Run { kind: RunKind::Main, vitals, .. } = &mut self.life.state {
            *vitals = Some(Vitals {
                state: HealthState::Starting,
                failures: 0,
                counts_from: now + policy.start_period + policy.interval,
                failing: None,
            });
            return vec![Effect::SetTimer(now + policy.interval.min(EAGER))];
        }
        Vec::new()
    }

    pub(super) fn checked(&mut self, result: Result<(), String>, now: Moment) -> Vec<Effect> {
        let Some(policy) = self.policy.health else { return Vec::new() };
        let State::Run { kind: RunKind::Main, pid, vitals: Some(vitals), .. } =
            &mut self.life.state
        else {
            return Vec::new();
        };
        match result {
            Ok(()) => {
                vitals.state = HealthState::Healthy;
                vitals.failures = 0;
                vitals.failing = None;
                self.life.tried = true;
            }
            Err(why) => {
                let since = vitals.failing.as_ref().map_or(now, |(since, _)| *since);
                vitals.failing = Some((since, why.clone()));
                if vitals.state == HealthState::Healthy || now >= vitals.counts_from {
                    vitals.failures += 1;
                    vitals.counts_from = now + policy.interval;
                }
                if vitals.failures >= policy.retries {
                    let reason = format!(
                        "its health check failed {} times in a row within {} s: {why}",
                        vitals.failures,
                        (now - since).as_secs().max(1)
                    );
                    let (deadline, pid) = (now + self.policy.grace, *pid);
                    let cause = Cause::Unhealthy { reason };
                    self.life.tried = true;
                    let (kind, killed) = (RunKind::Main, false);
                    self.life.state = State::Stopping { kind, pid, deadline, killed, cause };
                    return vec![Effect::Signal, Effect::SetTimer(deadline)];
                }
            }
        }
        vec![Effect::SetTimer(now + delay(vitals.state, policy.interval))]
    }

    /// The node could not look: nothing is known, and it looks again.
    pub(super) fn unchecked(&self, now: Moment) -> Vec<Effect> {
        let Some(policy) = self.policy.health else { return Vec::new() };
        match &self.life.state {
            State::Run { kind: RunKind::Main, vitals: Some(vitals), .. } => {
                vec![Effect::SetTimer(now + delay(vitals.state, policy.interval))]
            }
            State::Loaded
            | State::Waiting
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
}

/// Until the next look.
fn delay(state: HealthState, interval: Duration) -> Duration {
    match state {
        HealthState::Starting => interval.min(EAGER),
        HealthState::Healthy | HealthState::Unhealthy => interval,
    }
}
