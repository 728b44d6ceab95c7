//! All that the engine knows: machines, units, and which instance is where.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Event, MachineFacts, Needs, News, Presence, UnitFacts};
use crate::names::{MachineId, UnitName};
use crate::records::{Assigned, Target};

/// All that the engine knows. It is made from nothing but [`Event`]s.
#[derive(Debug, Clone, Default)]
pub struct World {
    machines: BTreeMap<MachineId, Machine>,
    /// Units whose record there is.
    units: BTreeMap<UnitName, News<UnitFacts>>,
    placed: BTreeMap<UnitName, Placed>,
    /// Instances whose place must be looked at again.
    pub(super) unchecked: BTreeSet<UnitName>,
    /// Instances that may want a place, or another one.
    pub(super) unsettled: BTreeSet<UnitName>,
    /// Instances that the store has on a second machine.
    pub(super) duplicates: Vec<(UnitName, MachineId, Assigned)>,
}

/// A machine, as the engine knows it.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// Absent where its record is, or cannot be understood: nothing new comes to it.
    pub(super) facts: Option<MachineFacts>,
    pub(super) presence: Presence,
    /// What is on it, each with what it needs as far as that is known.
    pub(super) instances: BTreeMap<UnitName, Needs>,
    /// How many of each unit are on it.
    units: BTreeMap<UnitName, usize>,
    /// Processor time that is needed there, in thousandths.
    cpus_milli: u128,
    /// Memory that is needed there, in bytes.
    memory_bytes: u128,
}

impl Default for Machine {
    fn default() -> Self {
        // Until it is known, nothing comes to it and nothing leaves it.
        Self {
            facts: None,
            presence: Presence::Suspect,
            instances: BTreeMap::new(),
            units: BTreeMap::new(),
            cpus_milli: 0,
            memory_bytes: 0,
        }
    }
}

impl Machine {
    /// What others than this instance need: processor time in thousandths, and memory in bytes.
    pub(super) fn used_beside(&self, instance: &UnitName) -> (u128, u128) {
        let own = self.instances.get(instance);
        let (cpus_milli, memory_bytes) =
            own.map_or((0, 0), |needs| (needs.cpus_milli.into(), needs.memory_bytes.into()));
        (self.cpus_milli.saturating_sub(cpus_milli), self.memory_bytes.saturating_sub(memory_bytes))
    }

    /// How many there are of the unit that this instance is of, by its name.
    pub(super) fn of_the_unit_of(&self, instance: &UnitName) -> usize {
        self.units.get(&unit_of(instance)).copied().unwrap_or(0)
    }

    fn host(&mut self, instance: &UnitName, needs: Needs) {
        self.part_with(instance);
        self.cpus_milli = self.cpus_milli.saturating_add(needs.cpus_milli.into());
        self.memory_bytes = self.memory_bytes.saturating_add(needs.memory_bytes.into());
        let count = self.units.entry(unit_of(instance)).or_default();
        *count = count.saturating_add(1);
        self.instances.insert(instance.clone(), needs);
    }

    fn part_with(&mut self, instance: &UnitName) {
        (self.cpus_milli, self.memory_bytes) = self.used_beside(instance);
        if self.instances.remove(instance).is_none() {
            return;
        }
        let unit = unit_of(instance);
        let left = self.of_the_unit_of(instance).saturating_sub(1);
        if left == 0 {
            self.units.remove(&unit);
        } else {
            self.units.insert(unit, left);
        }
    }
}

/// The unit that an instance is of, by its name.
fn unit_of(instance: &UnitName) -> UnitName {
    instance.replica_of().map_or_else(|| instance.clone(), |(unit, _)| unit)
}

/// Where an instance is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    pub(super) machine: MachineId,
    pub(super) assigned: Assigned,
}

/// Whose instance a name is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Owner<'a> {
    /// This unit's, which wants it.
    Wanted(&'a UnitName, &'a UnitFacts),
    /// This unit's, which does not.
    Unwanted(&'a UnitName),
    /// That of a unit whose record cannot be understood: it stays as it is.
    Held(&'a UnitName),
    /// Nobody's.
    Nobody,
}

impl World {
    /// A world of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The world of which this is known, with nothing decided.
    #[must_use]
    pub fn of(events: &[Event]) -> Self {
        let mut world = Self::new();
        for event in events {
            world.apply(event);
        }
        world
    }

    /// What a machine is to run.
    #[must_use]
    pub fn assignment(&self, machine: &MachineId) -> BTreeMap<UnitName, Assigned> {
        let instances = self.machines.get(machine).map(|machine| &machine.instances);
        let instances = instances.into_iter().flat_map(BTreeMap::keys);
        instances
            .filter_map(|name| Some((name.clone(), self.placed.get(name)?.assigned.clone())))
            .collect()
    }

    /// The machine that an instance is on.
    #[must_use]
    pub fn machine_of(&self, instance: &UnitName) -> Option<&MachineId> {
        self.placed.get(instance).map(|placed| &placed.machine)
    }

    /// Every instance that has a machine, with it.
    pub fn placements(&self) -> impl Iterator<Item = (&UnitName, &MachineId)> {
        self.placed.iter().map(|(name, placed)| (name, &placed.machine))
    }

    pub(super) fn machines(&self) -> impl Iterator<Item = (&MachineId, &Machine)> {
        self.machines.iter()
    }

    pub(super) fn machine(&self, id: &MachineId) -> Option<&Machine> {
        self.machines.get(id)
    }

    pub(super) fn instances_on(&self, id: &MachineId) -> Vec<UnitName> {
        let machine = self.machines.get(id);
        machine.into_iter().flat_map(|machine| machine.instances.keys().cloned()).collect()
    }

    pub(super) fn placed(&self, instance: &UnitName) -> Option<&Placed> {
        self.placed.get(instance)
    }

    pub(super) fn units(&self) -> impl Iterator<Item = (&UnitName, &News<UnitFacts>)> {
        self.units.iter()
    }

    /// Whose instance this is. A unit of the very name counts before one whose replica it would be.
    pub(super) fn owner(&self, instance: &UnitName) -> Owner<'_> {
        if let Some((name, unit)) = self.units.get_key_value(instance) {
            return match unit {
                News::Is(facts) if facts.replicas.is_none() => owned(name, facts),
                News::Is(_) | News::Gone => Owner::Unwanted(name),
                News::Unreadable => Owner::Held(name),
            };
        }
        let Some((unit, number)) = instance.replica_of() else { return Owner::Nobody };
        match self.units.get_key_value(&unit) {
            Some((name, News::Is(facts)))
                if facts.replicas.is_some_and(|count| number <= count) =>
            {
                if number == 0 {
                    Owner::Unwanted(name)
                } else {
                    owned(name, facts)
                }
            }
            Some((name, News::Is(_) | News::Gone)) => Owner::Unwanted(name),
            Some((name, News::Unreadable)) => Owner::Held(name),
            None => Owner::Nobody,
        }
    }

    /// Instances that a unit wants.
    fn wanted(&self, name: &UnitName) -> Vec<UnitName> {
        let Some(News::Is(facts)) = self.units.get(name) else { return Vec::new() };
        if facts.target == Target::Inactive {
            return Vec::new();
        }
        match facts.replicas {
            None => vec![name.clone()],
            Some(count) => (1..=count)
                .filter_map(|number| name.replica(number))
                .filter(|replica| !self.units.contains_key(replica))
                .collect(),
        }
    }

    /// Instances that have a machine and are, or could be, this unit's.
    fn placed_of(&self, name: &UnitName) -> Vec<UnitName> {
        let own = self.placed.get_key_value(name).map(|(name, _)| name.clone());
        let start = format!("{name}@");
        let replicas = UnitName::try_from(start.clone()).ok().map(|first| {
            let after = self.placed.range(first..);
            after
                .take_while(|(name, _)| name.as_str().starts_with(&start))
                .map(|(name, _)| name.clone())
        });
        own.into_iter().chain(replicas.into_iter().flatten()).collect()
    }

    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Machine(id, news) => {
                let machine = self.machines.entry(id.clone()).or_default();
                machine.facts = match news {
                    News::Is(facts) => Some(facts.clone()),
                    News::Gone | News::Unreadable => None,
                };
                self.unchecked.extend(machine.instances.keys().cloned());
            }
            Event::Presence(id, presence) => {
                let machine = self.machines.entry(id.clone()).or_default();
                machine.presence = *presence;
                self.unchecked.extend(machine.instances.keys().cloned());
            }
            Event::Unit(name, news) => {
                match news {
                    News::Gone => drop(self.units.remove(name)),
                    News::Is(_) | News::Unreadable => {
                        self.units.insert(name.clone(), news.clone());
                    }
                }
                self.look_at_unit(name);
                // A unit of this name takes a replica's place, or leaves it.
                if let Some((unit, _)) = name.replica_of() {
                    self.look_at_unit(&unit);
                }
            }
            Event::Assigned(id, instances) => self.assigned(id, instances),
        }
    }

    fn look_at_unit(&mut self, name: &UnitName) {
        let placed = self.placed_of(name);
        for instance in &placed {
            let needs = self.needs_of(instance);
            let machine = self.placed.get(instance).map(|placed| &placed.machine);
            if let Some(machine) = machine.and_then(|id| self.machines.get_mut(id)) {
                machine.host(instance, needs);
            }
        }
        self.unchecked.extend(placed);
        let wanted = self.wanted(name);
        self.unsettled.extend(wanted);
    }

    fn assigned(&mut self, id: &MachineId, instances: &BTreeMap<UnitName, Assigned>) {
        let before = self.machines.entry(id.clone()).or_default().instances.clone();
        for name in before.keys().filter(|name| !instances.contains_key(*name)) {
            self.remove(name);
            self.unsettled.insert(name.clone());
        }
        self.duplicates.retain(|(_, machine, _)| machine != id);
        for (name, assigned) in instances {
            if self.placed.get(name).is_some_and(|placed| placed.machine != *id) {
                self.duplicates.push((name.clone(), id.clone(), assigned.clone()));
            } else {
                self.put(name, id, assigned.clone());
            }
            self.unchecked.insert(name.clone());
        }
    }

    /// What an instance needs, as far as that is known.
    fn needs_of(&self, instance: &UnitName) -> Needs {
        match self.owner(instance) {
            Owner::Wanted(_, facts) => facts.needs.clone(),
            Owner::Unwanted(_) | Owner::Held(_) | Owner::Nobody => Needs::default(),
        }
    }

    /// Puts an instance onto a machine, away from where it was.
    pub(super) fn put(&mut self, instance: &UnitName, machine: &MachineId, assigned: Assigned) {
        self.remove(instance);
        let needs = self.needs_of(instance);
        self.machines.entry(machine.clone()).or_default().host(instance, needs);
        let placed = Placed { machine: machine.clone(), assigned };
        self.placed.insert(instance.clone(), placed);
    }

    /// Takes an instance from its machine.
    pub(super) fn remove(&mut self, instance: &UnitName) -> Option<Placed> {
        let placed = self.placed.remove(instance)?;
        if let Some(machine) = self.machines.get_mut(&placed.machine) {
            machine.part_with(instance);
        }
        Some(placed)
    }
}

fn owned<'a>(name: &'a UnitName, facts: &'a UnitFacts) -> Owner<'a> {
    if facts.target == Target::Inactive || name.is_template() {
        Owner::Unwanted(name)
    } else {
        Owner::Wanted(name, facts)
    }
}
