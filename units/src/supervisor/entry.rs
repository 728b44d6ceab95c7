//! A unit, as the supervisor has it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_schema::api::Origin;
use ferrite_schema::shim::Command;
use ferrite_schema::unit::Unit;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::super::handle::Refusal;
use super::super::machine::{Life, Machine, Policy};
use super::super::record::Record;
use super::super::system::SystemUnit;

/// A unit with its life.
pub(crate) struct Entry {
    /// Who wants it here.
    pub(crate) origin: Origin,
    /// What it is, where it is the node's own.
    pub(crate) system: Option<SystemUnit>,
    /// Who waits until it is gone.
    pub(crate) gone: Vec<oneshot::Sender<Result<(), Refusal>>>,
    /// Its document.
    pub(crate) unit: Unit,
    /// The document that its latest container was started with.
    pub(crate) launched: Option<Unit>,
    pub(crate) machine: Machine,
    pub(crate) wanted: bool,
    /// It was made from a template.
    pub(crate) made: bool,
    pub(crate) removing: bool,
    pub(crate) since: SystemTime,
    pub(crate) stop_signal: i32,
    pub(crate) addresses: Vec<String>,
    /// When its timer fires next, in seconds since the epoch.
    pub(crate) next_fire: Option<u64>,
    /// When its timer fired last.
    pub(crate) fired: Option<u64>,
    /// Its program has run on this node before this boot.
    pub(crate) ran_before: bool,
    /// Numbers the runs: what an older run's shim says late is not about this one.
    pub(crate) run: u64,
    pub(crate) commands: Option<mpsc::Sender<Command>>,
    /// Numbers the timers: one that was replaced may still ring.
    pub(crate) timer: u64,
    pub(crate) pull: Option<AbortHandle>,
    pub(crate) check: Option<AbortHandle>,
    /// What was written down last.
    pub(crate) written: Option<Record>,
}

impl Entry {
    /// One that is known and not asked to run.
    pub(super) fn new(unit: Unit) -> Self {
        Self::with_machine(Machine::new(Policy::of(&unit)), unit)
    }

    /// An entry of which an earlier agent wrote down what it knew.
    pub(super) fn of_record(unit: Unit, record: Record) -> Self {
        let machine = Machine::of_life(Policy::of(&unit), record.life.clone());
        let entry = Self::with_machine(machine, unit);
        let mut entry = Self {
            launched: record.launched.clone(),
            origin: record.origin,
            system: record.system.clone(),
            since: UNIX_EPOCH + Duration::from_secs(record.since_s),
            stop_signal: record.stop_signal,
            addresses: record.addresses.clone(),
            run: record.run,
            written: Some(record),
            ..entry
        };
        entry.go_by_document();
        entry
    }

    fn with_machine(machine: Machine, unit: Unit) -> Self {
        Self {
            machine,
            origin: Origin::Local,
            system: None,
            gone: Vec::new(),
            unit,
            launched: None,
            wanted: false,
            made: false,
            removing: false,
            since: SystemTime::now(),
            stop_signal: nix::sys::signal::Signal::SIGTERM as i32,
            addresses: Vec::new(),
            next_fire: None,
            fired: None,
            ran_before: false,
            run: 0,
            commands: None,
            timer: 0,
            pull: None,
            check: None,
            written: None,
        }
    }

    /// Lets its life go by its document, but for the commands around a container that is there: those are of the document that it
    /// was started with.
    pub(super) fn go_by_document(&mut self) {
        let mut policy = Policy::of(&self.unit);
        if let Some(launched) = self.launched.as_ref().filter(|_| self.machine.is_alive()) {
            let launched = Policy::of(launched);
            (policy.pre_start, policy.post_stop) = (launched.pre_start, launched.post_stop);
        }
        self.machine.set_policy(policy);
    }

    /// Nothing of it was ever begun in this boot.
    pub(super) fn is_new(&self) -> bool {
        *self.machine.life() == Life::default()
    }
}
