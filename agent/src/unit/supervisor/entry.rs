//! A unit, as the supervisor has it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_schema::unit::Unit;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::super::machine::{Life, Machine, Policy};
use super::super::record::Record;
use crate::shim::protocol::Command;

/// A unit with its life.
pub(in crate::unit) struct Entry {
    /// Its document.
    pub(in crate::unit) unit: Unit,
    /// The document that its latest container was started with.
    pub(in crate::unit) launched: Option<Unit>,
    pub(in crate::unit) machine: Machine,
    pub(in crate::unit) wanted: bool,
    /// It was made from a template.
    pub(in crate::unit) made: bool,
    pub(in crate::unit) removing: bool,
    pub(in crate::unit) since: SystemTime,
    pub(in crate::unit) stop_signal: i32,
    pub(in crate::unit) addresses: Vec<String>,
    /// When its timer fires next, in seconds since the epoch.
    pub(in crate::unit) next_fire: Option<u64>,
    /// When its timer fired last.
    pub(in crate::unit) fired: Option<u64>,
    /// Its program has run on this node before this boot.
    pub(in crate::unit) ran_before: bool,
    /// Numbers the runs: what an older run's shim says late is not about this one.
    pub(in crate::unit) run: u64,
    pub(in crate::unit) commands: Option<mpsc::Sender<Command>>,
    /// Numbers the timers: one that was replaced may still ring.
    pub(in crate::unit) timer: u64,
    pub(in crate::unit) pull: Option<AbortHandle>,
    pub(in crate::unit) check: Option<AbortHandle>,
    /// What was written down last.
    pub(in crate::unit) written: Option<Record>,
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
        Self {
            launched: record.launched.clone(),
            since: UNIX_EPOCH + Duration::from_secs(record.since_s),
            stop_signal: record.stop_signal,
            addresses: record.addresses.clone(),
            run: record.run,
            written: Some(record),
            ..entry
        }
    }

    fn with_machine(machine: Machine, unit: Unit) -> Self {
        Self {
            machine,
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

    /// Nothing of it was ever begun in this boot.
    pub(super) fn is_new(&self) -> bool {
        *self.machine.life() == Life::default()
    }
}
