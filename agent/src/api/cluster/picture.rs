//! What a listing of the whole store says. A record that cannot be understood is a problem of its own and of nothing else.

use std::collections::{BTreeMap, BTreeSet};

use ferrite_cluster::engine::World;
use ferrite_cluster::keys::Key;
use ferrite_cluster::lead::look;
use ferrite_cluster::names::{MachineId, SpecHash, UnitName};
use ferrite_cluster::records::{
    Assigned, Assignment, Cluster, InstanceState, Leader, Machine, Record, Spec, State, Unit,
    decode,
};
use ferrite_cluster::store::{Entry, Listing, Revision};

/// A record, or why it is none.
pub(super) type Read<R> = Result<R, String>;

/// The cluster at one moment.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) revision: Revision,
    pub(super) cluster: Option<(Revision, Read<Cluster>)>,
    pub(super) leader: Option<MachineId>,
    pub(super) records: BTreeMap<MachineId, (Revision, Read<Machine>)>,
    pub(super) alive: BTreeSet<MachineId>,
    pub(super) units: BTreeMap<UnitName, (Revision, Read<Unit>)>,
    pub(super) specs: BTreeMap<SpecHash, Read<Spec>>,
    /// Where each instance is to be, or is still.
    pub(super) assigned: BTreeMap<UnitName, (MachineId, Assigned)>,
    /// What machines say of what they run.
    pub(super) states: BTreeMap<MachineId, State>,
    /// For whoever asks why.
    pub(super) world: World,
    /// By key.
    pub(super) problems: BTreeMap<String, String>,
}

impl Picture {
    /// Understands a listing of everything below [`ferrite_cluster::keys::PREFIX`].
    pub(super) fn of(listing: &Listing) -> Self {
        let looked = look(listing);
        let mut picture = Self {
            revision: listing.revision,
            cluster: None,
            leader: None,
            records: BTreeMap::new(),
            alive: BTreeSet::new(),
            units: BTreeMap::new(),
            specs: BTreeMap::new(),
            assigned: BTreeMap::new(),
            states: BTreeMap::new(),
            world: looked.world,
            problems: BTreeMap::new(),
        };
        for entry in &listing.entries {
            match Key::parse(&entry.key) {
                Ok(key) => picture.take(&key, entry),
                Err(unknown) => drop(picture.problems.insert(unknown.key, unknown.why)),
            }
        }
        for (key, why) in looked.refused {
            picture.problems.entry(key.to_string()).or_insert(why);
        }
        picture
    }

    fn take(&mut self, key: &Key, entry: &Entry) {
        match key {
            Key::Cluster => self.cluster = Some((entry.mod_revision, self.read(key, entry))),
            Key::Leader => {
                self.leader = self.read::<Leader>(key, entry).ok().map(|leader| leader.machine);
            }
            Key::Machine(id) => {
                let record = self.read(key, entry);
                self.records.insert(id.clone(), (entry.mod_revision, record));
            }
            // It is there, whatever it says.
            Key::Alive(id) => drop(self.alive.insert(id.clone())),
            Key::Unit(name) => {
                let unit = self.read(key, entry);
                self.units.insert(name.clone(), (entry.mod_revision, unit));
            }
            Key::Spec(hash) => {
                let spec = self.read(key, entry);
                self.specs.insert(hash.clone(), spec);
            }
            Key::Assign(id) => {
                let assignment: Assignment = self.read(key, entry).unwrap_or_default();
                for (name, assigned) in assignment.instances {
                    self.assigned.entry(name).or_insert_with(|| (id.clone(), assigned));
                }
            }
            Key::State(id) => {
                if let Ok(state) = self.read(key, entry) {
                    self.states.insert(id.clone(), state);
                }
            }
            Key::Net(_)
            | Key::Token(_)
            | Key::Admission(_)
            | Key::Revoked(_)
            | Key::Access(_)
            | Key::Forgotten(_) => {}
        }
    }

    fn read<R: Record>(&mut self, key: &Key, entry: &Entry) -> Read<R> {
        decode(key, &entry.value).map_err(|refused| {
            let why = format!("{}: {}", refused.field, refused.why);
            self.problems.insert(key.to_string(), why.clone());
            why
        })
    }

    /// Every machine of which anything is known.
    pub(super) fn machines(&self) -> impl Iterator<Item = &MachineId> {
        let assigned = self.assigned.values().map(|(id, _)| id);
        let all = self.records.keys().chain(&self.alive).chain(self.states.keys()).chain(assigned);
        all.collect::<BTreeSet<_>>().into_iter()
    }

    /// The machine's name for people; its ID where it has none.
    pub(super) fn name_of(&self, id: &MachineId) -> String {
        match self.records.get(id) {
            Some((_, Ok(machine))) => machine.name.clone(),
            Some((_, Err(_))) | None => id.to_string(),
        }
    }

    /// What a machine says of an instance: the one that is to run it, or one that does all the same.
    pub(super) fn said_of(&self, name: &UnitName) -> Option<(&MachineId, &InstanceState)> {
        let on = |id| {
            let (id, state) = self.states.get_key_value(id)?;
            state.instances.get(name).map(|instance| (id, instance))
        };
        match self.assigned.get(name) {
            Some((id, _)) => on(id),
            None => self.states.keys().filter(|id| self.alive.contains(id)).find_map(on),
        }
    }

    /// What somebody said of machines by their IDs, with their names.
    pub(super) fn with_names(&self, words: &str) -> String {
        let mut words = words.to_owned();
        for (id, (_, record)) in &self.records {
            if let Ok(machine) = record {
                words = words.replace(id.as_str(), &machine.name);
            }
        }
        words
    }
}
