//! What people ask for.

use ferrite_schema::api::{EventKind, Origin, UnitState, UnitStatus};
use ferrite_schema::unit::{Unit, template};
use ferrite_schema::utc;

use super::super::clock;
use super::super::graph;
use super::super::handle::{Ask, Refusal};
use super::super::machine::Event;
use super::super::starting::{self, Everyone, Known, Plan};
use super::{Entry, Supervisor, status};

impl Supervisor {
    pub(super) async fn answer(&mut self, ask: Ask) -> Result<UnitStatus, Refusal> {
        if self.going_down.is_some() {
            return Err(Refusal::GoingDown);
        }
        self.refuse_of_others(ask.changes())?;
        let name = match ask {
            Ask::Put(unit) => self.put(*unit).await?,
            Ask::Load(name) => self.load(name).await?,
            Ask::Start(name) => self.start(name, None).await?,
            Ask::Restart(name) => {
                let stop = Event::Stop { reason: "it is being restarted".to_owned() };
                self.start(name, Some(stop)).await?
            }
            Ask::Stop(name) => self.stop(name).await?,
            Ask::Unload(name) if self.entries.get(&name).is_some_and(|entry| entry.made) => {
                return self.remove(name).await;
            }
            Ask::Unload(name) => self.stop(name).await?,
            Ask::Remove(name) => return self.remove(name).await,
        };
        self.shown(&name).ok_or(Refusal::Unknown { name })
    }

    /// What the cluster and the node itself want is theirs to change.
    fn refuse_of_others(&self, name: &str) -> Result<(), Refusal> {
        let name = name.to_owned();
        match self.entries.get(&name).map(|entry| entry.origin) {
            None | Some(Origin::Local) => Ok(()),
            Some(Origin::Cluster) => Err(Refusal::OfCluster { name }),
            Some(Origin::System) => Err(Refusal::OfNode { name }),
        }
    }

    fn known(&self, name: &str) -> Result<(), Refusal> {
        match self.entries.contains_key(name) {
            true => Ok(()),
            false => Err(Refusal::Unknown { name: name.to_owned() }),
        }
    }

    async fn put(&mut self, unit: Unit) -> Result<String, Refusal> {
        self.refuse_circle(&unit)?;
        self.keep(unit).await
    }

    /// Keeps a document with which nobody waits for ever.
    async fn keep(&mut self, unit: Unit) -> Result<String, Refusal> {
        // A collector that counted the units before this one must not take its image.
        self.tools.images.mention(&unit.image);
        let document = unit.clone();
        self.in_store(move |store| store.put(&document)).await?;
        let name = unit.name.clone();
        let made = self.entries.get(&name).is_some_and(|entry| entry.made);
        if made {
            // It was an instance of a template; now it has a document of its own.
            let made = name.clone();
            self.in_store(move |store| store.set_made(&made, false)).await?;
        }
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.made = false;
        }
        self.take_document(unit).await;
        self.publish(&name, EventKind::Submitted, "submitted".to_owned());
        Ok(name)
    }

    /// Lets a unit have this document from now on, and what has no container yet go by it at once.
    pub(super) async fn take_document(&mut self, unit: Unit) {
        self.changed = true;
        let name = unit.name.clone();
        let Some(entry) = self.entries.get_mut(&name) else {
            self.entries.insert(name, Entry::new(unit));
            return;
        };
        let before = std::mem::replace(&mut entry.unit, unit);
        entry.go_by_document();
        // It was to be forgotten as soon as it stopped: now it is not.
        entry.removing = false;
        let is_other = (&before.image, before.pull) != (&entry.unit.image, entry.unit.pull)
            && !entry.machine.at_rest();
        let is_scheduled = entry.machine.state() == UnitState::Scheduled;
        if is_scheduled && before.timer != entry.unit.timer {
            if entry.unit.timer.as_ref().is_some_and(|timer| timer.cron.is_some()) {
                // Times of this calendar that have been were not missed.
                entry.fired = None;
            }
            self.schedule(&name).await;
        }
        if is_other {
            self.step(&name, Event::OtherImage).await;
        }
    }

    /// Refuses a document with which units would wait for each other for ever.
    fn refuse_circle(&self, unit: &Unit) -> Result<(), Refusal> {
        if template::is_template(&unit.name) {
            return Ok(());
        }
        let all = self.everyone();
        let mut edges = starting::edges(&all);
        edges.insert(&unit.name, graph::edges(unit));
        match graph::cycle(&edges, &unit.name) {
            Some(circle) => Err(Refusal::Circle { circle }),
            None => Ok(()),
        }
    }

    fn everyone(&self) -> Everyone<'_> {
        let known = self.entries.iter().map(|(name, entry)| {
            let Entry { origin, ref unit, made, removing, .. } = *entry;
            (name.as_str(), Known { unit, origin, made, removing })
        });
        known.collect()
    }

    /// Makes instances of their templates, all or none.
    async fn make(&mut self, instances: Vec<Unit>) -> Result<(), Refusal> {
        let mut before = Vec::new();
        for unit in instances {
            let name = unit.name.clone();
            let there = self.entries.get(&name).filter(|entry| !entry.removing);
            before.push((name.clone(), there.map(|entry| entry.unit.clone())));
            if let Err(refusal) = self.make_one(unit).await {
                self.unmake(before).await;
                return Err(refusal);
            }
        }
        Ok(())
    }

    async fn make_one(&mut self, unit: Unit) -> Result<(), Refusal> {
        let name = self.keep(unit).await?;
        let made = name.clone();
        self.in_store(move |store| store.set_made(&made, true)).await?;
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.made = true;
        }
        Ok(())
    }

    /// Takes back what was made, as far as STATE lets it: it did not take something else just now.
    async fn unmake(&mut self, made: Vec<(String, Option<Unit>)>) {
        for (name, before) in made {
            let undone = match before {
                Some(unit) => self.make_one(unit).await,
                None => self.drop_unit(&name, "it was not made after all".to_owned()).await,
            };
            if let Err(refusal) = undone {
                let error = ferrite_schema::chain(&refusal);
                tracing::warn!(unit = name, error, "instance-not-taken-back");
            }
        }
    }

    async fn load(&mut self, name: String) -> Result<String, Refusal> {
        let instance = starting::instance(&name, &self.everyone())?;
        if instance.is_none() {
            self.known(&name)?;
            self.refuse_going(&name)?;
        }
        self.make(instance.into_iter().collect()).await?;
        self.fetch(&name);
        Ok(name)
    }

    fn refuse_going(&self, name: &str) -> Result<(), Refusal> {
        match self.entries.get(name).is_some_and(|entry| entry.removing) {
            true => Err(Refusal::Going { name: name.to_owned() }),
            false => Ok(()),
        }
    }

    /// Wants a unit to run, and with it everything that it requires; first stops it, where it is for a restart.
    async fn start(&mut self, name: String, stop: Option<Event>) -> Result<String, Refusal> {
        let Plan { make, order } = starting::plan(&name, &self.everyone())?;
        self.make(make).await?;
        self.want_all(&order).await?;
        if let Some(stop) = stop {
            self.step(&name, stop).await;
        }
        for next in order {
            let Some(entry) = self.entries.get_mut(&next) else { continue };
            if entry.machine.at_rest() {
                // A person's start is where a timer begins: nothing was missed before it.
                entry.fired = None;
            }
            // A oneshot unit that is done is not done again for the sake of another one.
            let is_done = entry.machine.is_ready() || entry.machine.has_done_its_work();
            if next == name || !is_done {
                self.step(&next, Event::Start).await;
            }
        }
        Ok(name)
    }

    /// Wants all of these to run, or none that was not wanted before.
    async fn want_all(&mut self, names: &[String]) -> Result<(), Refusal> {
        let mut wanted = Vec::new();
        for name in names {
            let before = self.entries.get(name).is_some_and(|entry| entry.wanted);
            if let Err(refusal) = self.want(name, true).await {
                for name in wanted {
                    drop(self.want(name, false).await);
                }
                return Err(refusal);
            }
            if !before {
                wanted.push(name);
            }
        }
        Ok(())
    }

    async fn stop(&mut self, name: String) -> Result<String, Refusal> {
        self.known(&name)?;
        self.want(&name, false).await?;
        let now = clock::epoch_s();
        if self.refuse_going(&name).is_ok() {
            let noted = name.clone();
            self.in_store(move |store| store.note_stopped(&noted, now)).await;
        }
        self.step(&name, Event::Stop { reason: stopped(now) }).await;
        Ok(name)
    }

    pub(super) async fn want(&mut self, name: &str, wanted: bool) -> Result<(), Refusal> {
        if self.entries.get(name).is_none_or(|entry| entry.wanted == wanted) {
            return Ok(());
        }
        let kept = name.to_owned();
        self.in_store(move |store| store.want(&kept, wanted)).await?;
        if let Some(entry) = self.entries.get_mut(name) {
            entry.wanted = wanted;
            self.changed = true;
        }
        Ok(())
    }

    async fn remove(&mut self, name: String) -> Result<UnitStatus, Refusal> {
        let instances: Vec<String> = self
            .entries
            .iter()
            .filter(|(other, entry)| {
                entry.made && template::template_of(other).as_deref() == Some(&*name)
            })
            .map(|(other, _)| other.clone())
            .collect();
        if !instances.is_empty() {
            return Err(Refusal::HasInstances { name, instances });
        }
        self.known(&name)?;
        let before = self.entries.get(&name).map(|entry| status::status(entry, None));
        self.drop_unit(&name, "it is being forgotten".to_owned()).await?;
        before.ok_or(Refusal::Unknown { name })
    }

    /// Stops a unit for this reason, and forgets it then.
    pub(super) async fn drop_unit(&mut self, name: &str, reason: String) -> Result<(), Refusal> {
        let removed = name.to_owned();
        self.in_store(move |store| store.remove(&removed)).await?;
        if let Some(entry) = self.entries.get_mut(name) {
            entry.wanted = false;
            entry.removing = true;
            self.step(name, Event::Stop { reason }).await;
        }
        Ok(())
    }
}

/// The reason of a unit that a person stopped.
pub(super) fn stopped(epoch_s: u64) -> String {
    format!("stopped by a person at {}", utc::text(epoch_s))
}
