//! What the engine is told.

use std::collections::{BTreeMap, BTreeSet};

use ferrite_schema::unit;

use crate::names::{MachineId, SpecHash, UnitName};
use crate::records::{self, Assigned, OnLoss, Spec, Target, Transport, Wrong};

/// Something that happened, or is found when a leader begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A machine's record.
    Machine(MachineId, News<MachineFacts>),
    /// Whether a machine is there.
    Presence(MachineId, Presence),
    /// A unit's record, with its version's needs.
    Unit(UnitName, News<UnitFacts>),
    /// All that a machine is to run, as the store has it.
    Assigned(MachineId, BTreeMap<UnitName, Assigned>),
}

/// What is known of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News<T> {
    /// It says this.
    Is(T),
    /// There is none.
    Gone,
    /// There is one that cannot be understood. What it is about stays as it is.
    Unreadable,
}

/// What the engine knows of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFacts {
    /// What units look for.
    pub labels: BTreeMap<String, String>,
    /// What its version understands.
    pub level: u32,
    /// Nothing new is placed on it.
    pub cordoned: bool,
    /// Processor time for units, in thousandths of a processor.
    pub cpus_milli: u64,
    /// Memory for units, in bytes.
    pub memory_bytes: u64,
}

impl From<&records::Machine> for MachineFacts {
    fn from(machine: &records::Machine) -> Self {
        Self {
            labels: machine.labels(),
            level: machine.level,
            cordoned: machine.cordoned,
            cpus_milli: machine.capacity.cpus_milli,
            memory_bytes: machine.capacity.memory_bytes,
        }
    }
}

/// Whether a machine is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Alive,
    /// It says nothing since a moment ago: nothing comes to it, nothing leaves it.
    Suspect,
    /// It is gone: what can run elsewhere does, but for what must not run twice.
    Lost,
    /// It is gone for so long that what must not run twice has ended there, too.
    Ended,
}

impl Presence {
    /// It is gone.
    #[must_use]
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Lost | Self::Ended)
    }
}

/// What the engine knows of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFacts {
    /// What should become of it.
    pub target: Target,
    /// Its version.
    pub spec: SpecHash,
    /// How many of it, where it does not run as itself.
    pub replicas: Option<u32>,
    /// What each instance needs.
    pub needs: Needs,
}

impl UnitFacts {
    /// It must not run twice: it runs as itself, and not as one of several.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        self.replicas.is_none()
    }
}

/// What an instance needs of its machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Lowest level of the machine.
    pub level: u32,
    /// For each label, the values of which it has one.
    pub labels: BTreeMap<String, Vec<String>>,
    /// Processor time, in thousandths of a processor; 0 where it does not say.
    pub cpus_milli: u64,
    /// Memory, in bytes; 0 where it does not say.
    pub memory_bytes: u64,
    /// Ports of the machine that lead into it.
    pub ports: BTreeSet<(u16, Transport)>,
    /// It has data on its machine: once placed it stays there, and waits when the machine is lost.
    pub bound: bool,
}

impl Needs {
    /// What this version of a unit needs.
    ///
    /// # Errors
    /// This version of Ferrite does not understand it.
    pub fn of(spec: &Spec) -> Result<Self, Wrong> {
        let unit = spec.unit()?;
        let named = unit.volumes.iter().any(|volume| volume.name.is_some());
        let bound = match spec.placement.on_loss {
            Some(OnLoss::Wait) => true,
            Some(OnLoss::Move) => false,
            None => named,
        };
        Ok(Self {
            level: spec.level,
            labels: spec.placement.metadata.clone(),
            cpus_milli: unit.resources.cpus.map_or(0, thousandths),
            memory_bytes: unit.resources.memory.map_or(0, |bytes| bytes.0),
            ports: ports(&unit),
            bound,
        })
    }
}

fn ports(unit: &unit::Unit) -> BTreeSet<(u16, Transport)> {
    unit.ports.iter().map(|port| (port.host, port.protocol.into())).collect()
}

/// Processors in thousandths. What a unit may say is checked before: more than nothing, and finite.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and a negative number is nothing"
)]
fn thousandths(cpus: f64) -> u64 {
    (cpus * 1000.0).ceil() as u64
}
