//! Units of the node itself: asked for, started, stopped.

use ferrite_schema::api::{Origin, UnitState};
use ferrite_store::beside::beside;
use tokio::sync::oneshot;

use super::super::handle::{Message, Refusal};
use super::super::machine::Event;
use super::super::secrets::Given;
use super::super::shims::{self, Shim};
use super::super::system::SystemUnit;
use super::{Entry, Supervisor};

impl Supervisor {
    pub(super) async fn run_system(&mut self, system: SystemUnit) -> Result<(), Refusal> {
        if self.going_down.is_some() {
            return Err(Refusal::GoingDown);
        }
        let name = system.name.clone();
        let unit = system.unit().ok_or_else(|| Refusal::NameOfNode { name: name.clone() })?;
        let known = self.entries.get(&name);
        let changed = known.is_none_or(|entry| entry.system.as_ref() != Some(&system));
        if changed {
            // By its older definition, and before a successor could find the new one with what runs by the old one.
            self.step(&name, Event::Stop { reason: "it is defined anew".to_owned() }).await;
        }
        let entry = self.entries.entry(name.clone()).or_insert_with(|| Entry::new(unit.clone()));
        entry.origin = Origin::System;
        entry.unit = unit;
        entry.go_by_document();
        entry.system = Some(system);
        (entry.wanted, entry.removing, entry.ran_before) = (true, false, true);
        for reply in entry.gone.drain(..) {
            drop(reply.send(Ok(())));
        }
        let ends = entry.machine.is_asked_to_stop();
        if changed || ends || entry.machine.state() == UnitState::Loaded {
            self.step(&name, Event::Start).await;
        }
        Ok(())
    }

    pub(super) async fn stop_system(
        &mut self,
        name: String,
        reply: oneshot::Sender<Result<(), Refusal>>,
    ) {
        match self.entries.get_mut(&name) {
            Some(entry) if entry.system.is_some() => {
                entry.gone.push(reply);
                (entry.wanted, entry.removing) = (false, true);
                let reason = "the node does not need it any more".to_owned();
                self.step(&name, Event::Stop { reason }).await;
            }
            Some(_) => drop(reply.send(Err(Refusal::NameOfNode { name }))),
            None => drop(reply.send(Ok(()))),
        }
    }

    /// Starts its shim in the background; [`Message::Launched`] says how it went.
    pub(super) fn launch_system(&mut self, system: SystemUnit, run: u64) {
        let (places, queue, name) =
            (self.tools.places.clone(), self.queue.clone(), system.name.clone());
        let folder = self.run_folder(&name);
        self.tasks.spawn(async move {
            let result = async {
                // It may write a new range of IDs.
                let request = beside(move || system.request(&places)).await;
                let request = request.map_err(|error| ferrite_schema::chain(&error))?;
                let stream = shims::start(&folder, run, &request, &Given::default())
                    .await
                    .map_err(|error| ferrite_schema::chain(&error))?;
                let stop_signal = request.stop_signal;
                let (addresses, notes) = (Vec::new(), Vec::new());
                Ok(Box::new(Shim { stream, stop_signal, addresses, notes }))
            };
            let result = result.await;
            drop(queue.send(Message::Launched { name, run, result }).await);
        });
    }
}
