//! What PID 1 answers on its control socket.

use std::io;
use std::time::Duration;

use ferrite_layout::slot::Slot;
use ferrite_layout::state_marks::{StateMarks, StateOrder};
use ferrite_schema::chain;
use ferrite_schema::control::{self, Request, Response, Status};
use ferrite_schema::timeline::Phase;

use super::machine::{Event, Machine};
use super::platform::{self, Platform};
use super::slot_disk::{Outcome, SlotDisk, SlotError};
use crate::disk::SystemDisk;
use crate::haste;
use crate::log;
use crate::state::grow::Grown;
use crate::state::ledger;
use crate::timeline::{self, Recorder};

/// Longest reason for a shutdown that is logged, in characters.
const REASON_MAX_CHARS: usize = 200;

/// What is known about this boot and can be asked for.
#[derive(Debug)]
pub struct Node {
    /// Slot that the root comes from.
    pub slot: Slot,
    /// System disk.
    pub disk: SystemDisk,
    /// Its slots.
    pub slots: SlotDisk,
    /// The platform's kernel arguments.
    pub platform: Platform,
    /// The boot timeline.
    pub recorder: Recorder,
    /// The agent said that the node is as it should be.
    pub ready: bool,
    /// Why STATE was made anew.
    pub state_recreated: Option<String>,
    /// Why STATE could not be used: the node is in its rescue state.
    pub rescue: Option<String>,
    /// What else went wrong during this boot.
    pub warnings: Vec<String>,
    /// Damage of the running root was dealt with.
    pub damage_seen: bool,
}

impl Node {
    /// Answers a request; an event is what the machine must know of it.
    pub fn answer(
        &mut self,
        request: Request,
        machine: &Machine,
        now: Duration,
    ) -> (Response, Option<Event>) {
        match request {
            Request::Status => (Response::Status(self.status(machine, now)), None),
            Request::Timeline => {
                (Response::Timeline(self.recorder.timeline(timeline::now())), None)
            }
            Request::Span { span } => {
                let response = if self.recorder.add(span) {
                    Response::Done
                } else {
                    refused("the step ends before it starts, or the timeline is full")
                };
                (response, None)
            }
            Request::Shutdown { mode, reason } => {
                if machine.is_shutting_down() {
                    return (Response::AlreadySo, None);
                }
                let reason = reason.chars().take(REASON_MAX_CHARS).collect();
                (Response::Done, Some(Event::Shutdown { mode, reason }))
            }
            Request::Stopping { left, within_s } if machine.is_shutting_down() => {
                let within = Duration::from_secs(within_s);
                (Response::Done, Some(Event::Stopping { left, within }))
            }
            Request::Stopping { .. } => (refused("the machine is not going down"), None),
            Request::Ready
            | Request::MarkGood
            | Request::Stage
            | Request::Rollback
            | Request::State { .. }
                if machine.is_shutting_down() =>
            {
                (refused("the machine is going down"), None)
            }
            // A node without STATE is not as it should be, whatever the agent thinks.
            Request::Ready if self.rescue.is_some() => {
                (refused(self.rescue.as_deref().unwrap_or_default()), None)
            }
            Request::Ready => self.become_ready(),
            Request::State { order } => self.order_state(order),
            Request::MarkGood => {
                let result = self.slots.mark_good(self.slot);
                let event = result.is_ok().then_some(Event::SlotProven);
                (self.told("is marked good", self.slot, result), event)
            }
            Request::Stage => {
                let result = self.slots.stage(self.slot);
                (self.told("is next, on trial", self.slot.other(), result), None)
            }
            Request::Rollback => {
                let result = self.slots.roll_back(self.slot);
                (self.told("is next, as it is", self.slot.other(), result), None)
            }
        }
    }

    /// Whether the other slot is worth leaving this one for, which has not become ready; if not, why.
    ///
    /// # Errors
    /// The reason, for a person.
    pub fn other_slot_is_better(&self) -> Result<(), String> {
        match self.slots.judge_not_ready(self.slot) {
            Ok(verdict) => verdict.map_err(|refusal| refusal.to_string()),
            Err(error) => Err(chain(&error)),
        }
    }

    /// The kernel found a damaged block under the root. `true` when the machine should be reset, since the
    /// other slot is next. Acts once: a damaged disk announces itself over and over.
    pub fn root_is_damaged(&mut self) -> bool {
        if std::mem::replace(&mut self.damage_seen, true) {
            return false;
        }
        let slot = self.slot;
        match self.slots.leave_damaged(slot) {
            Ok(Ok(())) => {
                log::error(format_args!(
                    "slot {slot} is damaged on the disk; slot {} goes before it now and is next",
                    slot.other()
                ));
                true
            }
            Ok(Err(refusal)) => {
                self.warn(format!(
                    "slot {slot} is damaged on the disk: running on, since {refusal}; damaged files cannot be read"
                ));
                false
            }
            Err(error) => {
                self.warn(format!(
                    "slot {slot} is damaged on the disk and cannot be left: {}",
                    chain(&error)
                ));
                false
            }
        }
    }

    /// The kernel found damage in STATE: the next boot, which comes now, checks it.
    pub fn state_is_damaged(&mut self, damage: &str) {
        log::error(format_args!("{damage}; restarting to check it"));
        self.mark_state(|marks| StateMarks { damaged: true, ..marks });
    }

    /// STATE has been sound for long: the checks before that do not count any more.
    pub fn state_is_sound(&mut self) {
        self.mark_state(|marks| StateMarks { checks: 0, ..marks });
    }

    /// Notes how growing STATE ended.
    pub fn state_has_grown(&mut self, grown: io::Result<Grown>, start: timeline::Instant) {
        match grown {
            Ok(Grown { from_bytes, to_bytes }) if from_bytes == to_bytes => {}
            Ok(Grown { from_bytes, to_bytes }) => {
                self.recorder.end(Phase::Init, "grow STATE", start);
                let (from, to) = (from_bytes >> 20, to_bytes >> 20);
                log::info(format_args!("STATE grew from {from} to {to} MiB"));
            }
            Err(error) => {
                let sentence = format!("STATE stays smaller than its partition: {error}");
                log::warn(format_args!("{sentence}"));
                self.warnings.push(sentence);
            }
        }
    }

    /// A failure is said; the kernel's own mark in the file system may still be there.
    fn mark_state(&self, change: impl FnOnce(StateMarks) -> StateMarks) -> bool {
        let marked =
            ledger::read(&self.disk).and_then(|marks| ledger::write(&self.disk, change(marks)));
        marked.inspect_err(|error| log::error(format_args!("{}", chain(error)))).is_ok()
    }

    /// Writes the order down where the next boot finds it, and restarts.
    fn order_state(&self, order: control::StateOrder) -> (Response, Option<Event>) {
        let (order, reason) = match order {
            control::StateOrder::Recreate => {
                (StateOrder::Recreate, "STATE is to be made anew, asked through the API")
            }
            control::StateOrder::Check => {
                (StateOrder::Check, "STATE is to be checked, asked through the API")
            }
        };
        if !self.mark_state(|marks| StateMarks { order: Some(order), ..marks }) {
            return (refused("the order cannot be written to the partition table"), None);
        }
        let mode = control::ShutdownMode::Reboot;
        (Response::Done, Some(Event::Shutdown { mode, reason: reason.to_owned() }))
    }

    fn warn(&mut self, sentence: String) {
        log::error(format_args!("{sentence}"));
        self.warnings.push(sentence);
    }

    fn become_ready(&mut self) -> (Response, Option<Event>) {
        let at = timeline::now();
        let outcome = match self.slots.mark_good(self.slot) {
            Ok(outcome) => outcome,
            Err(error) => {
                let reason = chain(&error);
                log::error(format_args!(
                    "the agent is ready, but slot {} cannot be marked good: {reason}",
                    self.slot
                ));
                return (Response::Refused { reason }, None);
            }
        };
        let newly_good = matches!(outcome, Outcome::Done);
        if std::mem::replace(&mut self.ready, true) {
            let response = if newly_good { Response::Done } else { Response::AlreadySo };
            return (response, Some(Event::SlotProven));
        }
        if self.platform == Platform::InEffect
            && let Err(error) = platform::prove(&self.disk)
        {
            self.warn(format!("the platform's kernel arguments are not proven: {}", chain(&error)));
        }
        self.recorder.ready(at);
        log::info(format_args!("ready tsc={} boottime_us={}", at.tsc, at.boottime_us));
        let good = if newly_good { "; it is marked good now" } else { "" };
        log::info(format_args!("the node is ready, running slot {}{good}", self.slot));
        haste::end();
        ferrite_sys::memory::forget_start_up_code();
        (Response::Done, Some(Event::SlotProven))
    }

    /// Logs what came of a verb and says it to the client.
    fn told(&self, done: &str, slot: Slot, result: Result<Outcome, SlotError>) -> Response {
        match result {
            Ok(Outcome::Done) => {
                log::info(format_args!("slot {slot} {done}"));
                Response::Done
            }
            Ok(Outcome::AlreadySo) => Response::AlreadySo,
            Ok(Outcome::Refused(refusal)) => Response::Refused { reason: refusal.to_string() },
            Err(error) => {
                let reason = chain(&error);
                log::error(format_args!("slots are left as they are: {reason}"));
                Response::Refused { reason }
            }
        }
    }

    fn status(&self, machine: &Machine, now: Duration) -> Status {
        let slots = self.slots.status().unwrap_or_else(|error| {
            log::error(format_args!("{}", chain(&error)));
            Vec::new()
        });
        Status {
            slot: self.slot,
            slots,
            ready: self.ready,
            shutting_down: machine.is_shutting_down(),
            services: machine.services(now),
            state_recreated: self.state_recreated.clone(),
            rescue: self.rescue.clone(),
            warnings: self.warnings.clone(),
        }
    }
}

fn refused(reason: &str) -> Response {
    Response::Refused { reason: reason.to_owned() }
}
