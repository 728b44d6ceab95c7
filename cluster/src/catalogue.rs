//! The catalogue: which instances of which services are ready, and where. A pure view of what machines report and of which are
//! there; every member computes it for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::engine::Presence;
use crate::names::{MachineId, UnitName};
use crate::records::{ServicePort, State};

/// Where an instance is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The machine.
    pub machine: MachineId,
    /// Its addresses in the cluster's network.
    pub addresses: Vec<IpAddr>,
    /// Its ports at those.
    pub ports: Vec<ServicePort>,
}

/// Instances of a service that are ready, by name. Empty, the service is known and nobody answers for it.
pub type Service = BTreeMap<UnitName, Endpoint>;

/// All services, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// By name; a name that is not there is unknown.
    pub services: BTreeMap<String, Service>,
}

/// What changed between two catalogues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Services that changed, as they are now; none where it is unknown now.
    pub changed: BTreeMap<String, Option<Service>>,
}

impl Delta {
    /// Nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// What follows `self` is taken into it, so that both are sent as one.
    pub fn merge(&mut self, later: Self) {
        self.changed.extend(later.changed);
    }
}

impl Catalogue {
    /// What leads from this one to `later`.
    #[must_use]
    pub fn difference(&self, later: &Self) -> Delta {
        let changed = later.services.iter().filter(|(name, service)| {
            self.services.get(*name).is_none_or(|before| before != *service)
        });
        let mut changed: BTreeMap<String, Option<Service>> =
            changed.map(|(name, service)| (name.clone(), Some(service.clone()))).collect();
        let gone = self.services.keys().filter(|name| !later.services.contains_key(*name));
        changed.extend(gone.map(|name| (name.clone(), None)));
        Delta { changed }
    }

    /// Takes in what changed.
    pub fn apply(&mut self, delta: Delta) {
        for (name, service) in delta.changed {
            match service {
                Some(service) => drop(self.services.insert(name, service)),
                None => drop(self.services.remove(&name)),
            }
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// What a machine reports; `None` where there is no such record any more. One that cannot be understood is not told: what
    /// was known of the machine stays.
    State(MachineId, Option<State>),
    /// Whether a machine is there.
    Presence(MachineId, Presence),
    /// The brake holds, or does not any more: while it does, machines that are gone keep their answers.
    Brake(bool),
}

/// The view of a member.
#[derive(Debug, Clone, Default)]
pub struct View {
    states: BTreeMap<MachineId, State>,
    alive: BTreeSet<MachineId>,
    /// Machines that have just gone, and are not lost yet.
    suspects: BTreeSet<MachineId>,
    /// Machines that the brake holds in the catalogue.
    held: BTreeSet<MachineId>,
    braked: bool,
    catalogue: Catalogue,
}

impl View {
    /// The catalogue as it is now.
    #[must_use]
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Machines that have reported.
    pub(crate) fn machines(&self) -> impl Iterator<Item = &MachineId> {
        self.states.keys()
    }

    /// Takes in what happened and answers with what changed.
    pub fn step(&mut self, events: &[Event]) -> Delta {
        let mut touched = BTreeSet::new();
        for event in events {
            match event {
                Event::State(id, state) => {
                    touched.extend(self.services_of(id));
                    match state {
                        Some(state) => drop(self.states.insert(id.clone(), state.clone())),
                        None => drop(self.states.remove(id)),
                    }
                    touched.extend(self.services_of(id));
                }
                Event::Presence(id, presence) => {
                    self.presence(id, *presence);
                    touched.extend(self.services_of(id));
                }
                Event::Brake(true) => {
                    self.braked = true;
                    // Those that went first, too: it was the same that took them.
                    self.held.extend(self.suspects.iter().cloned());
                    for id in &self.suspects {
                        touched.extend(self.services_of(id));
                    }
                }
                Event::Brake(false) => {
                    self.braked = false;
                    for id in std::mem::take(&mut self.held) {
                        touched.extend(self.services_of(&id));
                    }
                }
            }
        }
        let mut delta = Delta::default();
        for name in touched {
            let service = self.service(&name);
            if service.as_ref() != self.catalogue.services.get(&name) {
                delta.changed.insert(name, service);
            }
        }
        self.catalogue.apply(delta.clone());
        delta
    }

    fn presence(&mut self, id: &MachineId, presence: Presence) {
        match presence {
            Presence::Alive => {
                self.alive.insert(id.clone());
                self.suspects.remove(id);
                self.held.remove(id);
            }
            Presence::Suspect => {
                if self.alive.remove(id) {
                    self.suspects.insert(id.clone());
                    if self.braked {
                        self.held.insert(id.clone());
                    }
                }
            }
            Presence::Lost | Presence::Ended => {
                self.alive.remove(id);
                self.suspects.remove(id);
                self.held.remove(id);
            }
        }
    }

    fn services_of(&self, id: &MachineId) -> BTreeSet<String> {
        let instances = self.states.get(id).map(|state| &state.instances);
        let names = instances.into_iter().flat_map(BTreeMap::keys);
        names.map(|name| name.service().to_owned()).collect()
    }

    fn service(&self, name: &str) -> Option<Service> {
        let mut known = false;
        let mut service = Service::new();
        for (id, state) in &self.states {
            let there = self.alive.contains(id) || self.held.contains(id);
            for (instance, report) in &state.instances {
                if instance.service() != name {
                    continue;
                }
                known = true;
                if there && report.ready && !report.addresses.is_empty() {
                    let endpoint = Endpoint {
                        machine: id.clone(),
                        addresses: report.addresses.clone(),
                        ports: report.ports.clone(),
                    };
                    service.insert(instance.clone(), endpoint);
                }
            }
        }
        known.then_some(service)
    }
}

#[cfg(test)]
mod tests;
