//! What a member tells every node: the catalogue, and who is in the cluster's network. A pure view of the store's content;
//! every member has its own, leader or not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::catalogue::{self, Catalogue, View};
use crate::engine::Presence;
use crate::keys::Key;
use crate::names::MachineId;
use crate::numbers;
use crate::presence::{Moment, Presences, Sign};
use crate::protocol::{Peer, PeersSnapshot};
use crate::records::{Cluster, Machine, Networks, State, decode};
use crate::store::{Change, Entry};

/// The view.
#[derive(Debug, Clone)]
pub struct Outlook {
    presences: Presences,
    braked: bool,
    view: View,
    networks: Option<Networks>,
    machines: BTreeMap<MachineId, Machine>,
    numbers: BTreeMap<u16, MachineId>,
    revoked: BTreeSet<String>,
}

impl Outlook {
    /// Looks at all that is there. Leases of machines last for `ttl`.
    #[must_use]
    pub fn begin(entries: &[Entry], ttl: Duration, now: Moment) -> Self {
        let mut outlook = Self {
            presences: Presences::new(ttl),
            braked: false,
            view: View::default(),
            networks: None,
            machines: BTreeMap::new(),
            numbers: BTreeMap::new(),
            revoked: BTreeSet::new(),
        };
        let changes: Vec<Change> = entries.iter().cloned().map(Change::Put).collect();
        outlook.changes(&changes, now);
        outlook
    }

    /// Looks at all that is there again, where changes were missed. Who was there and is not has gone just now; who was gone before
    /// is gone since then, so that what the brake holds it goes on holding.
    pub fn again(&mut self, entries: &[Entry], now: Moment) {
        let there: BTreeSet<Key> =
            entries.iter().filter_map(|entry| Key::parse(&entry.key).ok()).collect();
        let alive = self.presences.known().filter(|(_, presence)| *presence == Presence::Alive);
        let known = alive.map(|(id, _)| Key::Alive(id.clone()));
        let known = known.chain(self.machines.keys().cloned().map(Key::Machine));
        let known = known.chain(self.view.machines().cloned().map(Key::State));
        let known = known.chain(self.numbers.keys().copied().map(Key::Net));
        let known: Vec<Key> = known.chain(self.revoked.iter().cloned().map(Key::Revoked)).collect();
        for key in known.into_iter().filter(|key| !there.contains(key)) {
            self.change(key, None, now);
        }
        let changes: Vec<Change> = entries.iter().cloned().map(Change::Put).collect();
        self.changes(&changes, now);
    }

    /// Takes in changes of the store. What cannot be understood changes nothing of what was known.
    pub fn changes(&mut self, changes: &[Change], now: Moment) {
        for change in changes {
            let Ok(key) = Key::parse(change.key()) else { continue };
            let entry = match change {
                Change::Put(entry) => Some(entry),
                Change::Delete { .. } => None,
            };
            self.change(key, entry, now);
        }
    }

    fn change(&mut self, key: Key, entry: Option<&Entry>, now: Moment) {
        let value = entry.map(|entry| entry.value.as_slice());
        match key {
            Key::Cluster => {
                if let Some(Ok(cluster)) = value.map(|value| decode::<Cluster>(&key, value)) {
                    self.networks = Some(cluster.networks);
                }
            }
            Key::Machine(ref id) => match value.map(|value| decode::<Machine>(&key, value)) {
                Some(Ok(machine)) => drop(self.machines.insert(id.clone(), machine)),
                Some(Err(_)) => {}
                None => drop(self.machines.remove(id)),
            },
            Key::Alive(id) => {
                let there = entry.is_some();
                self.sign(&if there { Sign::Appeared(id) } else { Sign::Vanished(id) }, now);
            }
            Key::State(ref id) => match value.map(|value| decode::<State>(&key, value)) {
                Some(Ok(state)) => {
                    self.view.step(&[catalogue::Event::State(id.clone(), Some(state))]);
                }
                Some(Err(_)) => {}
                None => drop(self.view.step(&[catalogue::Event::State(id.clone(), None)])),
            },
            Key::Net(number) => match entry {
                Some(entry) => match numbers::read(number, entry) {
                    Some(net) if net.forgotten => drop(self.numbers.remove(&number)),
                    Some(net) => drop(self.numbers.insert(number, net.machine)),
                    None => {}
                },
                None => drop(self.numbers.remove(&number)),
            },
            // Whatever is there says that it is revoked, understood or not.
            Key::Revoked(serial) => match entry {
                Some(_) => drop(self.revoked.insert(serial)),
                None => drop(self.revoked.remove(&serial)),
            },
            Key::Leader
            | Key::Unit(_)
            | Key::Spec(_)
            | Key::Assign(_)
            | Key::Token(_)
            | Key::Admission(_)
            | Key::Access(_)
            | Key::Forgotten(_) => {}
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment) {
        self.sign(&Sign::Tick, now);
    }

    /// When the next [`Self::tick`] may change something.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.presences.deadline()
    }

    fn sign(&mut self, sign: &Sign, now: Moment) {
        let changed = self.presences.step(sign, now);
        let braked = self.presences.braked();
        let mut events = Vec::new();
        if braked && !self.braked {
            events.push(catalogue::Event::Brake(true));
        }
        let presences = changed.into_iter();
        events.extend(presences.map(|(id, presence)| catalogue::Event::Presence(id, presence)));
        if !braked && self.braked {
            events.push(catalogue::Event::Brake(false));
        }
        self.braked = braked;
        self.view.step(&events);
    }

    /// Which services are answered for by whom.
    #[must_use]
    pub const fn catalogue(&self) -> &Catalogue {
        self.view.catalogue()
    }

    /// Serial numbers of certificates that open nothing any more.
    #[must_use]
    pub const fn revoked(&self) -> &BTreeSet<String> {
        &self.revoked
    }

    /// Who is in the cluster's network; nothing before the cluster has one. A machine with several numbers, which nobody
    /// gives, has the lowest.
    #[must_use]
    pub fn peers(&self) -> Option<PeersSnapshot> {
        let mut of: BTreeMap<&MachineId, u16> = BTreeMap::new();
        for (number, id) in &self.numbers {
            of.entry(id).or_insert(*number);
        }
        let peers = self.machines.iter().map(|(id, machine)| {
            let peer = Peer {
                name: machine.name.clone(),
                number: of.get(id).copied(),
                key: machine.mesh_key.clone(),
                addresses: machine.addresses.clone(),
                mtu: machine.mtu,
            };
            (id.clone(), peer)
        });
        Some(PeersSnapshot { networks: self.networks.clone()?, peers: peers.collect() })
    }
}

#[cfg(test)]
#[path = "outlook/tests.rs"]
mod tests;
