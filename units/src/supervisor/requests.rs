//! What people ask for.

use ferrite_schema::api::{EventKind, Origin, UnitStatus};
use ferrite_schema::unit::{self, Unit, template};
use ferrite_schema::utc;

use super::super::clock;
use super::super::graph::{self, Edges};
use super::super::handle::{Ask, Refusal};
use super::super::machine::Event;
use super::{Entry, Supervisor, status};

impl Supervisor {
    pub(super) async fn answer(&mut self, ask: Ask) -> Result<UnitStatus, Refusal> {
        if self.going_down.is_some() && !matches!(ask, Ask::Get(_)) {
            return Err(Refusal::GoingDown);
        }
        if let Some(name) = ask.changes() {
            self.refuse_of_others(name)?;
        }
        let name = match ask {
            Ask::Put(unit) => self.put(*unit).await?,
            Ask::Get(name) => name,
            Ask::Load(name) => self.load(name).await?,
            Ask::Start(name) => self.start(name).await?,
            Ask::Restart(name) => {
                self.make_instance(&name).await?;
                self.known(&name)?;
                self.step(&name, Event::Stop { reason: "it is being restarted".to_owned() }).await;
                self.start(name).await?
            }
            Ask::Stop(name) => self.stop(name).await?,
            Ask::Unload(name) if self.entries.get(&name).is_some_and(|entry| entry.made) => {
                return self.remove(name).await;
            }
            Ask::Unload(name) => self.stop(name).await?,
            Ask::Remove(name) => return self.remove(name).await,
        };
        self.entries.get(&name).map(|entry| self.status(entry)).ok_or(Refusal::Unknown { name })
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
        match self.entries.get_mut(&name) {
            Some(entry) => {
                entry.unit = unit;
                entry.go_by_document();
                entry.made = false;
                // It was to be forgotten as soon as it stopped: now it is not.
                entry.removing = false;
            }
            None => {
                self.entries.insert(name.clone(), Entry::new(unit));
            }
        }
        self.changed = true;
        self.publish(&name, EventKind::Submitted, "submitted".to_owned());
        Ok(name)
    }

    /// Refuses a document with which units would wait for each other for ever.
    fn refuse_circle(&self, unit: &Unit) -> Result<(), Refusal> {
        if template::is_template(&unit.name) {
            return Ok(());
        }
        let mut edges: Edges<'_> = self
            .entries
            .values()
            .filter(|entry| !entry.removing && !template::is_template(&entry.unit.name))
            .map(|entry| (entry.unit.name.as_str(), graph::edges(&entry.unit)))
            .collect();
        edges.insert(&unit.name, graph::edges(unit));
        match graph::cycle(&edges, &unit.name) {
            Some(circle) => Err(Refusal::Circle { circle }),
            None => Ok(()),
        }
    }

    /// Makes an instance of its template, or makes it anew where it does not run: a template's new version holds
    /// for an instance from its next start by a person on.
    async fn make_instance(&mut self, name: &str) -> Result<(), Refusal> {
        if template::is_template(name) {
            return match self.entries.contains_key(name) {
                true => Err(Refusal::Template { name: name.to_owned() }),
                false => Err(Refusal::Unknown { name: name.to_owned() }),
            };
        }
        let own = self.entries.get(name).is_some_and(|entry| !entry.made);
        let Some(of) = template::template_of(name).filter(|_| !own) else { return Ok(()) };
        let Some(template) = self.entries.get(&of) else { return Ok(()) };
        let unit = unit::instance(&template.unit, name)
            .map_err(|source| Refusal::Instance { name: name.to_owned(), source })?;
        if self.entries.get(name).is_some_and(|entry| entry.unit == unit) {
            return Ok(());
        }
        self.put(unit).await?;
        let made = name.to_owned();
        self.in_store(move |store| store.set_made(&made, true)).await?;
        if let Some(entry) = self.entries.get_mut(name) {
            entry.made = true;
        }
        Ok(())
    }

    async fn load(&mut self, name: String) -> Result<String, Refusal> {
        self.make_instance(&name).await?;
        self.known(&name)?;
        self.fetch(&name);
        Ok(name)
    }

    /// Wants a unit to run, and with it everything that it requires.
    async fn start(&mut self, name: String) -> Result<String, Refusal> {
        let mut order = vec![name.clone()];
        let mut index = 0;
        while let Some(next) = order.get(index).cloned() {
            index += 1;
            self.make_instance(&next).await?;
            let Some(entry) = self.entries.get(&next) else {
                return Err(if next == name {
                    Refusal::Unknown { name }
                } else {
                    Refusal::Missing { name, missing: next }
                });
            };
            if entry.origin != Origin::Local {
                // It is waited for; whether it runs is others' to say.
                continue;
            }
            for required in &entry.unit.requires {
                if !order.contains(required) {
                    order.push(required.clone());
                }
            }
        }
        // What is required first: then nothing waits for a wish that is about to be heard.
        let local = |name: &String| {
            self.entries.get(name).is_some_and(|entry| entry.origin == Origin::Local)
        };
        order.retain(local);
        for next in order.into_iter().rev() {
            self.want(&next, true).await?;
            if let Some(entry) = self.entries.get_mut(&next).filter(|entry| entry.machine.at_rest())
            {
                // A person's start is where a timer begins: nothing was missed before it.
                entry.fired = None;
            }
            let ready = self.entries.get(&next).is_some_and(|entry| entry.machine.is_ready());
            // A oneshot unit that is done is not done again for the sake of another one.
            if next == name || !ready {
                self.step(&next, Event::Start).await;
            }
        }
        Ok(name)
    }

    async fn stop(&mut self, name: String) -> Result<String, Refusal> {
        self.known(&name)?;
        self.want(&name, false).await?;
        let now = clock::epoch_s();
        let noted = name.clone();
        self.in_store(move |store| store.note_stopped(&noted, now)).await;
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
