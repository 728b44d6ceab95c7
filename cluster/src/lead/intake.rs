//! What the store has, as the engine's events: pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{Event, MachineFacts, Needs, News, UnitFacts};
use crate::keys::Key;
use crate::names::{MachineId, SpecHash, UnitName};
use crate::presence::Sign;
use crate::records::{Assignment, Machine, Record, Refused, Spec, Unit, decode};
use crate::store::{Change, Entry, Revision};

/// What follows from a change of the store.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tiding {
    /// For the engine.
    Event(Event),
    /// For the watch over machines.
    Sign(Sign),
    /// The key `leader` was changed by this revision.
    Leader(Revision),
}

/// An assignment as the store has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Stored {
    /// Revision that last changed it; none where there is none.
    pub(super) revision: Revision,
    pub(super) assignment: Assignment,
}

/// What a leader remembers of the store beside the engine's world.
#[derive(Debug, Default)]
pub(super) struct Intake {
    units: BTreeMap<UnitName, Unit>,
    specs: BTreeMap<SpecHash, Spec>,
    stored: BTreeMap<MachineId, Stored>,
    alive: BTreeSet<MachineId>,
    machines: BTreeSet<MachineId>,
    /// Machines whose record came, and whose `alive` may come in the same piece.
    registered: BTreeSet<MachineId>,
    refused: BTreeMap<Key, String>,
}

impl Intake {
    /// What cannot be understood, and why.
    pub(super) fn refused(&self) -> &BTreeMap<Key, String> {
        &self.refused
    }

    /// An assignment cannot be understood: what runs is not known, so that nothing can be decided.
    pub(super) fn blocked(&self) -> bool {
        self.refused.keys().any(|key| matches!(key, Key::Assign(_)))
    }

    /// What the store has for a machine.
    pub(super) fn stored(&self, machine: &MachineId) -> Stored {
        self.stored.get(machine).cloned().unwrap_or_default()
    }

    /// The leader wrote a machine's assignment itself.
    pub(super) fn wrote(&mut self, machine: &MachineId, stored: Stored) {
        self.stored.insert(machine.clone(), stored);
    }

    /// What was there when the leader began: machines without `alive` are looked at, too.
    pub(super) fn begin(&mut self, entries: &[Entry]) -> Vec<Tiding> {
        let changes: Vec<Change> = entries.iter().cloned().map(Change::Put).collect();
        let mut tidings = self.changes(&changes);
        let known = self.stored.keys().filter(|id| !self.machines.contains(*id)).cloned();
        let silent: Vec<MachineId> = known.filter(|id| !self.alive.contains(id)).collect();
        tidings.extend(silent.into_iter().map(|id| Tiding::Sign(Sign::Vanished(id))));
        tidings
    }

    /// What follows from changes that came in one piece. A machine joins in one transaction: only when all of it was looked at
    /// is one silent that has a record.
    pub(super) fn changes(&mut self, changes: &[Change]) -> Vec<Tiding> {
        let mut tidings: Vec<Tiding> =
            changes.iter().flat_map(|change| self.change(change)).collect();
        let registered = std::mem::take(&mut self.registered);
        let silent = registered.into_iter().filter(|id| !self.alive.contains(id));
        tidings.extend(silent.map(|id| Tiding::Sign(Sign::Vanished(id))));
        tidings
    }

    /// What follows from a change.
    fn change(&mut self, change: &Change) -> Vec<Tiding> {
        let Ok(key) = Key::parse(change.key()) else { return Vec::new() };
        let value = match change {
            Change::Put(entry) => Some(entry.value.as_slice()),
            Change::Delete { .. } => None,
        };
        match key {
            Key::Leader => vec![Tiding::Leader(change.revision())],
            Key::Machine(ref id) => self.machine(&key, id, value),
            Key::Alive(ref id) => vec![Tiding::Sign(self.presence(id, value.is_some()))],
            Key::Unit(ref name) => {
                let unit = self.read::<Unit>(&key, value);
                match unit {
                    Some(unit) => drop(self.units.insert(name.clone(), unit)),
                    None => drop(self.units.remove(name)),
                }
                vec![Tiding::Event(self.unit(name))]
            }
            Key::Spec(ref hash) => {
                match self.read::<Spec>(&key, value) {
                    Some(spec) => drop(self.specs.insert(hash.clone(), spec)),
                    None => drop(self.specs.remove(hash)),
                }
                let of =
                    |(name, unit): (&UnitName, &Unit)| (unit.spec == *hash).then(|| name.clone());
                let names: Vec<UnitName> = self.units.iter().filter_map(of).collect();
                names.iter().map(|name| Tiding::Event(self.unit(name))).collect()
            }
            Key::Assign(ref id) => self.assigned(&key, id, value, change.revision()),
            // Nothing is decided by these.
            Key::Cluster
            | Key::State(_)
            | Key::Net(_)
            | Key::Token(_)
            | Key::Admission(_)
            | Key::Revoked(_)
            | Key::Access(_)
            | Key::Forgotten(_) => Vec::new(),
        }
    }

    /// The record, where there is one that can be understood; what is wrong with it is remembered.
    fn read<R: Record>(&mut self, key: &Key, value: Option<&[u8]>) -> Option<R> {
        self.refused.remove(key);
        match decode(key, value?) {
            Ok(record) => Some(record),
            Err(Refused { field, why, .. }) => {
                self.refused.insert(key.clone(), format!("{field}: {why}"));
                None
            }
        }
    }

    fn machine(&mut self, key: &Key, id: &MachineId, value: Option<&[u8]>) -> Vec<Tiding> {
        let record = self.read::<Machine>(key, value);
        let news = match &record {
            Some(machine) => News::Is(MachineFacts::from(machine)),
            None if value.is_some() => News::Unreadable,
            None => News::Gone,
        };
        if value.is_some() {
            self.machines.insert(id.clone());
            self.registered.insert(id.clone());
        } else {
            self.machines.remove(id);
        }
        vec![Tiding::Event(Event::Machine(id.clone(), news))]
    }

    fn presence(&mut self, id: &MachineId, there: bool) -> Sign {
        if there {
            self.alive.insert(id.clone());
            Sign::Appeared(id.clone())
        } else {
            self.alive.remove(id);
            Sign::Vanished(id.clone())
        }
    }

    /// A unit with its version, which may come later.
    fn unit(&mut self, name: &UnitName) -> Event {
        let key = Key::Unit(name.clone());
        let Some(unit) = self.units.get(name) else {
            let gone = !self.refused.contains_key(&key);
            return Event::Unit(name.clone(), if gone { News::Gone } else { News::Unreadable });
        };
        let needs = match self.specs.get(&unit.spec) {
            Some(spec) => {
                Needs::of(spec).map_err(|wrong| format!("{}: {}", wrong.field, wrong.why))
            }
            None => Err(format!("spec: {} is not there, or cannot be understood", unit.spec)),
        };
        let news = match needs {
            Ok(needs) => {
                self.refused.remove(&key);
                News::Is(UnitFacts {
                    target: unit.target,
                    spec: unit.spec.clone(),
                    replicas: unit.replicas,
                    needs,
                })
            }
            Err(why) => {
                self.refused.insert(key, why);
                News::Unreadable
            }
        };
        Event::Unit(name.clone(), news)
    }

    fn assigned(
        &mut self,
        key: &Key,
        id: &MachineId,
        value: Option<&[u8]>,
        revision: Revision,
    ) -> Vec<Tiding> {
        // What the leader wrote itself comes back, perhaps after it wrote more.
        if self.stored.get(id).is_some_and(|stored| revision <= stored.revision) {
            return Vec::new();
        }
        let record = self.read::<Assignment>(key, value);
        if value.is_some() && record.is_none() {
            return Vec::new();
        }
        let revision = if value.is_some() { revision } else { Revision::NONE };
        let assignment = record.unwrap_or_default();
        let event = Event::Assigned(id.clone(), assignment.instances.clone());
        self.stored.insert(id.clone(), Stored { revision, assignment });
        vec![Tiding::Event(event)]
    }
}
