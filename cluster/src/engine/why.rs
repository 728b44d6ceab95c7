//! Where an instance is and why, for people.

use std::fmt;

use super::facts::{News, Presence};
use super::fits::{Unfit, fits, holds};
use super::world::{Owner, World};
use crate::names::{MachineId, UnitName};
use crate::records::Cause;

/// Where an instance is and why, or why it is nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// No unit has an instance of this name.
    Unknown,
    /// The unit's record, or its version's, cannot be understood: it stays as it is.
    Unreadable {
        /// The unit.
        unit: UnitName,
        /// Where it is.
        machine: Option<MachineId>,
    },
    /// Nobody wants it.
    Unwanted {
        /// The unit.
        unit: UnitName,
    },
    /// It is on a machine.
    Placed {
        /// The machine.
        machine: MachineId,
        /// Why it came there.
        cause: Cause,
        /// Why it should not be there any more, where it stays for its data's sake.
        against: Option<Unfit>,
    },
    /// Its data is on a machine that is not there.
    WaitsForVolume {
        /// The machine.
        machine: MachineId,
    },
    /// It must not run twice, and its machine, which is lost, may run it still.
    Ends {
        /// The machine.
        machine: MachineId,
    },
    /// No machine may have it.
    Nowhere {
        /// The machine that it was on, which is lost.
        lost: Option<MachineId>,
        /// Every machine, with what speaks against it.
        machines: Vec<(MachineId, Unfit)>,
    },
    /// A machine may have it, and gets it with the next plan.
    Coming,
}

/// Where an instance is and why.
#[must_use]
pub fn why(world: &World, instance: &UnitName) -> Why {
    let facts = match world.owner(instance) {
        Owner::Nobody => return Why::Unknown,
        Owner::Unwanted(unit) => return Why::Unwanted { unit: unit.clone() },
        Owner::Held(unit) => {
            let machine = world.machine_of(instance).cloned();
            return Why::Unreadable { unit: unit.clone(), machine };
        }
        Owner::Wanted(_, facts) => facts,
    };
    let placed = world.placed(instance);
    let lost = match placed.and_then(|placed| Some((placed, world.machine(&placed.machine)?))) {
        Some((placed, machine)) if !machine.presence.is_lost() => {
            let against = holds(instance, &facts.needs, machine).err();
            let cause = placed.assigned.cause.clone();
            return Why::Placed { machine: placed.machine.clone(), cause, against };
        }
        Some((placed, _)) if facts.needs.bound => {
            return Why::WaitsForVolume { machine: placed.machine.clone() };
        }
        Some((placed, _)) => Some(placed.machine.clone()),
        None => None,
    };
    let waits = lost.as_ref().and_then(|id| world.machine(id));
    let waits = waits.is_some_and(|machine| machine.presence == Presence::Lost);
    let mut machines = Vec::new();
    for (id, machine) in world.machines() {
        match fits(instance, &facts.needs, machine) {
            Ok(()) => {
                return match lost {
                    Some(machine) if waits && facts.is_single() => Why::Ends { machine },
                    Some(_) | None => Why::Coming,
                };
            }
            Err(unfit) => machines.push((id.clone(), unfit)),
        }
    }
    Why::Nowhere { lost, machines }
}

impl World {
    /// Units whose record, or whose version's, cannot be understood.
    pub fn unreadable_units(&self) -> impl Iterator<Item = &UnitName> {
        self.units().filter(|(_, news)| **news == News::Unreadable).map(|(name, _)| name)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => out.write_str("there is no such unit"),
            Self::Unreadable { unit, machine: Some(machine) } => {
                write!(out, "it stays on {machine}: the record of {unit} cannot be understood")
            }
            Self::Unreadable { unit, machine: None } => {
                write!(out, "it is not placed: the record of {unit} cannot be understood")
            }
            Self::Unwanted { unit } => {
                write!(out, "nobody wants it: see the target and the replicas of {unit}")
            }
            Self::Placed { machine, cause, against: None } => {
                write!(out, "it is on {machine}: {}", reason(cause))
            }
            Self::Placed { machine, against: Some(against), .. } => {
                write!(out, "it stays on {machine} because its volume is there, although {against}")
            }
            Self::WaitsForVolume { machine } => {
                write!(out, "it waits for its volume, which is on {machine}; that machine is lost")
            }
            Self::Ends { machine } => write!(
                out,
                "its machine {machine} is lost, and it must not run twice: it begins elsewhere once it has ended there for certain, which takes some seconds"
            ),
            Self::Nowhere { lost, machines } => {
                match lost {
                    Some(lost) => {
                        write!(out, "its machine {lost} is lost and no other may have it")?
                    }
                    None => out.write_str("no machine may have it")?,
                }
                if machines.is_empty() {
                    out.write_str(": there is none")?;
                }
                for (index, (machine, unfit)) in machines.iter().enumerate() {
                    let start = if index == 0 { ": " } else { "; " };
                    write!(out, "{start}{machine}: {unfit}")?;
                }
                Ok(())
            }
            Self::Coming => out.write_str("it is about to be placed"),
        }
    }
}

fn reason(cause: &Cause) -> &str {
    match cause {
        Cause::Wanted => "it had the fewest units of those that may have it",
        Cause::Unwanted => "nobody wants it any more",
        Cause::MachineLost => "the machine that it was on was lost",
        Cause::ConstraintBroken => "the machine that it was on must not have it any more",
        Cause::Changed => "it was changed there",
        Cause::Duplicate => "it was on two machines",
        Cause::Other(word) => word,
    }
}
