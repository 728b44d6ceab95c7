//! Taking over what an earlier agent left: documents, lives, shims.

use ferrite_schema::api::{EventKind, Origin, UnitState};

use super::super::clock;
use super::super::machine::{Event, Machine, Policy, RunKind};
use super::super::record;
use super::super::shims::{self, Found};
use super::super::store::Stored;
use super::effects::{addresses, joined};
use super::{Entry, Supervisor, requests};

impl Supervisor {
    /// Takes over all units. First all are known, then each goes on: none misses one that it depends on.
    pub(super) async fn adopt_all(&mut self, stored: Vec<Stored>) {
        let mut names = Vec::new();
        for stored in stored {
            let name = stored.unit.name.clone();
            let record = record::read(&self.tools.records, &name);
            let mut entry = match record {
                Some(record) => Entry::of_record(stored.unit, record),
                None => Entry::new(stored.unit),
            };
            entry.origin = if stored.assigned { Origin::Cluster } else { Origin::Local };
            entry.wanted = stored.wanted;
            entry.made = stored.made;
            entry.ran_before = stored.ran;
            entry.fired = stored.fired;
            if let (false, true, Some(at)) = (stored.wanted, entry.is_new(), stored.stopped) {
                entry.machine.step(Event::Stop { reason: requests::stopped(at) }, clock::now());
            }
            self.entries.insert(name.clone(), entry);
            names.push(name);
        }
        names.extend(self.take_forgotten());
        for name in names {
            self.adopt(&name).await;
            if self
                .entries
                .get(&name)
                .is_some_and(|entry| entry.removing && entry.machine.at_rest())
            {
                self.forget(&name).await;
            }
        }
    }

    /// Units whose document is gone, but that the earlier agent had not stopped yet: they are still to be.
    fn take_forgotten(&mut self) -> Vec<String> {
        let mut names = record::names(&self.tools.records);
        // One whose document is there but not understood goes on as it is; a warning says so.
        names.retain(|name| !self.entries.contains_key(name) && !self.tools.store.holds(name));
        for name in &names {
            let known = record::read(&self.tools.records, name);
            let unit = known.as_ref().and_then(|record| record.launched.clone());
            let (Some(known), Some(unit)) = (known, unit) else {
                record::remove(&self.tools.records, name);
                continue;
            };
            let mut entry = Entry::of_record(unit, known);
            // The node's own are asked for again by whoever needs them; until then they go on.
            entry.wanted = entry.system.is_some();
            entry.removing = !entry.wanted;
            // Nothing more is to be kept about it.
            entry.ran_before = true;
            self.entries.insert(name.clone(), entry);
        }
        names
    }

    /// Goes on with a unit where the earlier agent ended; starts it where there was none.
    async fn adopt(&mut self, name: &str) {
        let Some(entry) = self.entries.get(name) else { return };
        let (known, wanted, run) = (entry.written.is_some(), entry.wanted, entry.run);
        let kind = entry.machine.run_kind();
        if kind.is_some() || !known {
            let found = shims::find(&self.run_folder(name), known.then_some(run)).await;
            if !known && !matches!(found, Found::Nothing) {
                self.take_unknown(name);
            }
            tracing::info!(unit = name, ?found, "unit-found");
            self.take_found(name, found, kind).await;
        }
        self.resume(name).await;
        let Some(entry) = self.entries.get(name) else { return };
        // Not wanted any more: its stop was cut short by the end of the earlier agent.
        if !wanted && !entry.machine.at_rest() {
            let reason = "it should not run".to_owned();
            self.step(name, Event::Stop { reason }).await;
        } else if wanted && entry.machine.state() == UnitState::Loaded {
            self.step(name, Event::Start).await;
        }
    }

    /// A shim of which nothing was written down: an agent of an older version started it.
    fn take_unknown(&mut self, name: &str) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.machine = Machine::found(Policy::of(&entry.unit), clock::now());
        entry.launched = Some(entry.unit.clone());
    }

    /// What is known of a container once its shim is started: the earlier agent may have ended before it wrote it
    /// down.
    fn recall(&mut self, name: &str) {
        let request = shims::request(&self.run_folder(name));
        let Some((entry, request)) = self.entries.get_mut(name).zip(request) else { return };
        entry.stop_signal = request.stop_signal;
        entry.addresses = addresses(&request.network);
        entry.joined = joined(&request.network);
        self.write_down(name);
    }

    async fn take_found(&mut self, name: &str, found: Found, kind: Option<RunKind>) {
        match (found, kind) {
            (Found::Alive(stream), _) => {
                self.recall(name);
                self.attach(name, stream);
                let objection = self.entries.get(name).and_then(|entry| self.objection(entry));
                if let Some(objection) = objection {
                    tracing::warn!(unit = name, error = objection, "unit-image-not-allowed");
                    let message =
                        format!("it keeps running, but is not started again: {objection}");
                    self.publish(name, EventKind::Image, message);
                }
            }
            (Found::Ended(outcome), _) => {
                let event = shims::event_of(outcome);
                self.step(name, event).await;
            }
            (Found::Lost, _) => self.step(name, Event::Lost).await,
            // The earlier agent had decided for this run and ended before it began.
            (Found::Nothing, Some(kind)) => self.relaunch(name, kind).await,
            (Found::Nothing, None) => {}
        }
    }
}
