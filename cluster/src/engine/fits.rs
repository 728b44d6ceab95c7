//! Whether an instance may be on a machine: the predicates of [`super::plan`] and [`super::why`].

use std::fmt;

use super::facts::{Needs, Presence};
use super::world::Machine;
use crate::names::UnitName;
use crate::records::Transport;

/// Most instances of a machine: with the longest names they fit into its record with room for what newer versions write.
pub const INSTANCES_MAX: usize = 1000;

/// Why an instance may not be on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// Nothing, or nothing intelligible, is known about it.
    Unknown,
    /// It is not there for sure.
    NotAlive(Presence),
    /// Nothing new is placed on it.
    Cordoned,
    /// Its version understands less than the unit says.
    Level {
        /// What the unit needs.
        needed: u32,
        /// What it understands.
        has: u32,
    },
    /// It has not one of the values that the unit wants of a label.
    Label {
        /// The label.
        key: String,
        /// What it has.
        has: Option<String>,
    },
    /// Another instance there has the port.
    Port {
        /// The port.
        port: u16,
        /// Its transport.
        transport: Transport,
        /// Whose it is.
        by: UnitName,
    },
    /// It has as many instances as its record holds.
    Full,
    /// It has too little memory left.
    Memory {
        /// What the unit needs, in bytes.
        needed: u64,
        /// What is left, in bytes.
        left: u64,
    },
    /// It has too little processor time left.
    Cpus {
        /// What the unit needs, in thousandths.
        needed: u64,
        /// What is left, in thousandths.
        left: u64,
    },
}

/// The instance may come to the machine.
pub(super) fn fits(instance: &UnitName, needs: &Needs, machine: &Machine) -> Result<(), Unfit> {
    let facts = machine.facts.as_ref().ok_or(Unfit::Unknown)?;
    if machine.presence != Presence::Alive {
        return Err(Unfit::NotAlive(machine.presence));
    }
    if facts.cordoned {
        return Err(Unfit::Cordoned);
    }
    holds(instance, needs, machine)?;
    if machine.instances.len() >= INSTANCES_MAX && !machine.instances.contains_key(instance) {
        return Err(Unfit::Full);
    }
    let (cpus_milli, memory_bytes) = machine.used_beside(instance);
    // Who asks for nothing is content with nothing.
    let left = left(facts.memory_bytes, memory_bytes);
    if needs.memory_bytes > left {
        return Err(Unfit::Memory { needed: needs.memory_bytes, left });
    }
    let left = self::left(facts.cpus_milli, cpus_milli);
    if needs.cpus_milli > left {
        return Err(Unfit::Cpus { needed: needs.cpus_milli, left });
    }
    Ok(())
}

/// The instance may stay on the machine. Fewer than [`fits`] asks for: a machine that is cordoned, silent, or says that it has
/// less than before keeps what it runs.
pub(super) fn holds(instance: &UnitName, needs: &Needs, machine: &Machine) -> Result<(), Unfit> {
    let Some(facts) = &machine.facts else { return Ok(()) };
    if facts.level < needs.level {
        return Err(Unfit::Level { needed: needs.level, has: facts.level });
    }
    for (key, values) in &needs.labels {
        let has = facts.labels.get(key);
        if !has.is_some_and(|has| values.contains(has)) {
            return Err(Unfit::Label { key: key.clone(), has: has.cloned() });
        }
    }
    if needs.ports.is_empty() {
        return Ok(());
    }
    for (other, theirs) in machine.instances.iter().filter(|(other, _)| *other != instance) {
        if let Some((port, transport)) = needs.ports.intersection(&theirs.ports).next() {
            return Err(Unfit::Port { port: *port, transport: *transport, by: other.clone() });
        }
    }
    Ok(())
}

fn left(all: u64, used: u128) -> u64 {
    u64::try_from(u128::from(all).saturating_sub(used)).unwrap_or(0)
}

impl fmt::Display for Unfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => out.write_str("its record is missing or cannot be understood"),
            Self::NotAlive(Presence::Lost | Presence::Ended) => out.write_str("it is lost"),
            Self::NotAlive(Presence::Suspect | Presence::Alive) => {
                out.write_str("it has said nothing for a moment")
            }
            Self::Cordoned => out.write_str("it is cordoned"),
            Self::Level { needed, has } => {
                write!(out, "the unit needs level {needed}, and it understands {has}: update it")
            }
            Self::Label { key, has: Some(has) } => write!(out, "its {key} is {has}"),
            Self::Label { key, has: None } => write!(out, "it has no {key}"),
            Self::Port { port, transport: Transport::Tcp, by } => {
                write!(out, "{by} has its TCP port {port}")
            }
            Self::Port { port, transport: Transport::Udp, by } => {
                write!(out, "{by} has its UDP port {port}")
            }
            Self::Full => write!(out, "it has {INSTANCES_MAX} units, which is the most"),
            Self::Memory { needed, left } => {
                let mib = |bytes: u64| bytes >> 20;
                write!(
                    out,
                    "the unit needs {} MiB of memory, and {} are left",
                    mib(*needed),
                    mib(*left)
                )
            }
            Self::Cpus { needed, left } => write!(
                out,
                "the unit needs {}.{:03} processors, and {}.{:03} are left",
                needed / 1000,
                needed % 1000,
                left / 1000,
                left % 1000
            ),
        }
    }
}
