//! What the cluster wants, done.

use std::collections::BTreeMap;

use ferrite_schema::api::{EventKind, Origin, UnitState};

use super::super::assigned::{self, Assigned, NotTaken, Plan, Present};
use super::super::handle::Refusal;
use super::super::machine::Event;
use super::{Entry, Supervisor};

impl Supervisor {
    pub(super) async fn assign(&mut self, wanted: Vec<Assigned>) -> Result<Vec<NotTaken>, Refusal> {
        if self.going_down.is_some() {
            return Err(Refusal::GoingDown);
        }
        let present: BTreeMap<&str, Present<'_>> = self
            .entries
            .iter()
            .map(|(name, entry)| {
                let Entry { origin, ref unit, removing, .. } = *entry;
                (name.as_str(), Present { origin, unit, removing })
            })
            .collect();
        let Plan { forget, take, not_taken } = assigned::plan(&present, wanted);
        // One that the disk does not take keeps no other from being as it should.
        let mut failed = None;
        for name in forget {
            let reason = "the cluster does not want it here any more".to_owned();
            failed = failed.or(self.drop_unit(&name, reason).await.err());
        }
        for one in take {
            failed = failed.or(self.take(one).await.err());
        }
        match failed {
            Some(refusal) => Err(refusal),
            None => Ok(not_taken),
        }
    }

    /// Has a unit of the cluster's rest until it is assigned again.
    pub(super) async fn withhold(&mut self, name: &str, reason: String) -> Result<(), Refusal> {
        let Some(entry) = self.entries.get(name) else { return Ok(()) };
        if entry.origin != Origin::Cluster {
            return Ok(());
        }
        let runs = !entry.machine.at_rest() && !entry.machine.is_asked_to_stop();
        let kept = self.want(name, false).await;
        if runs {
            self.step(name, Event::Stop { reason }).await;
        }
        kept
    }

    /// Lets one unit be as the cluster wants it; touches nothing where it is.
    async fn take(&mut self, Assigned { unit, launched }: Assigned) -> Result<(), Refusal> {
        let name = unit.name.clone();
        let known = self.entries.get(&name);
        let was_wanted = known.is_some_and(|entry| entry.wanted);
        let changed = known.is_none_or(|entry| entry.removing || entry.unit != unit);
        let alive = known.is_some_and(|entry| entry.machine.is_alive());
        let runs_other = alive && known.is_some_and(|entry| entry.launched.as_ref() != Some(&unit));
        let replaced =
            || Event::Stop { reason: "the cluster has another version of it".to_owned() };
        if changed && !alive {
            // Nothing is lost by it, and a successor that finds the new document finds none that has failed with it.
            self.step(&name, replaced()).await;
        }
        if changed {
            // A collector that counted the units before this one must not take its image.
            self.tools.images.mention(&unit.image);
            let document = unit.clone();
            self.in_store(move |store| store.put_assigned(&document)).await?;
        }
        if runs_other {
            // With the grace that it was started with.
            self.step(&name, replaced()).await;
        }
        if changed {
            self.set_document(unit).await;
            self.publish(&name, EventKind::Submitted, "assigned by the cluster".to_owned());
        }
        self.want(&name, launched).await?;
        let Some(entry) = self.entries.get(&name) else { return Ok(()) };
        if launched {
            // One that is done, or failed, by this document stays so.
            let rests = entry.machine.state() == UnitState::Loaded;
            if changed || !was_wanted || rests || entry.machine.is_asked_to_stop() {
                self.step(&name, Event::Start).await;
            }
        } else {
            if !entry.machine.at_rest() {
                let reason = "the cluster does not want it to run".to_owned();
                self.step(&name, Event::Stop { reason }).await;
            }
            self.bring(&name).await;
        }
        Ok(())
    }

    /// Brings the image of a unit that does not run, where it is not here or on its way.
    async fn bring(&mut self, name: &str) {
        let Some(entry) = self.entries.get(name) else { return };
        let on_its_way = entry.pull.as_ref().is_some_and(|pull| !pull.is_finished());
        let image = entry.unit.image.clone();
        if !on_its_way && self.tools.puller.look(&image).await.is_err_and(|error| !error.is_final())
        {
            self.fetch(name);
        }
    }

    async fn set_document(&mut self, unit: ferrite_schema::unit::Unit) {
        let name = unit.name.clone();
        self.take_document(unit).await;
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.origin = Origin::Cluster;
        }
    }
}
