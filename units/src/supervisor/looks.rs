//! What people see of the units. Looks change nothing, so that they are answered in the middle of anything that waits for the
//! disk: one document that a slow disk has not taken yet keeps nobody from the others.

use ferrite_net::naming;
use ferrite_schema::api::UnitStatus;
use ferrite_store::beside::beside;

use super::super::handle::{Documents, Look};
use super::{Entry, Supervisor, status};

impl Supervisor {
    /// Does what waits for the disk, and answers those who look meanwhile.
    pub(super) async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let work = beside(work);
        tokio::pin!(work);
        let mut looks = self.looks.lock().await;
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(look) = looks.recv() => self.show(look),
            }
        }
    }

    pub(super) fn show(&self, look: Look) {
        match look {
            Look::Unit(name, reply) => drop(reply.send(self.shown(&name))),
            Look::All(reply) => {
                drop(reply.send(self.entries.values().map(|entry| self.status(entry)).collect()));
            }
            Look::Definition(name, reply) => {
                drop(reply.send(self.entries.get(&name).map(|entry| entry.unit.clone())));
            }
            Look::Documents(reply) => drop(reply.send(self.documents())),
        }
    }

    /// A unit alone, with what others say of it.
    pub(super) fn shown(&self, name: &str) -> Option<UnitStatus> {
        let entry = self.entries.get(name)?;
        let mut status = self.status(entry);
        // Not in a list of all, which would compare each with each.
        if entry.system.is_none() {
            let units = self.entries.values().filter(|other| other.system.is_none());
            status.notes.extend(naming::notes(&entry.unit, units.map(|other| &other.unit)));
        }
        Some(status)
    }

    /// Every document that something here goes by.
    fn documents(&self) -> Documents {
        let of = |entry: &Entry| {
            let other = Some(entry.lives_by()).filter(|document| **document != entry.unit);
            std::iter::once(entry.unit.clone()).chain(other.cloned()).collect::<Vec<_>>()
        };
        let of_the_nodes = self.entries.values().filter(|entry| entry.system.is_none());
        let unknown = self.tools.store.unknown(|name| self.entries.contains_key(name));
        Documents { units: of_the_nodes.flat_map(of).collect(), unknown }
    }

    pub(super) fn status(&self, entry: &Entry) -> UnitStatus {
        let record = self.tools.images.get(&entry.unit.image).ok().flatten();
        let mut status = status::status(entry, record.map(|record| record.manifest));
        if let Some(objection) = self.objection(entry) {
            status::note_objection(&mut status, &objection);
        }
        status
    }
}
