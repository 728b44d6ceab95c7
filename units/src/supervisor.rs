//! The one task that owns all units: it takes events from people, shims and timers, asks each unit's state
//! machine what follows, and does that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_net::containers::Containers;
use ferrite_schema::api::{EventKind, UnitState};
use ferrite_schema::node_config::Secret;
use ferrite_store::layer::Layers;
use ferrite_store::pull::Puller;
use ferrite_store::store::ImageStore;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::graph::{self, Other};
use super::handle::{Look, Message, Stopping};
use super::launch::Places;
use super::machine::Event;
use super::readiness::{self, Seen, Settled};
use super::record::{self, Record};
use super::store::UnitStore;
use crate::events::Events;

pub use super::handle::{Refusal, Units};
use entry::Entry;

mod adopt;
mod assign;
mod effects;
mod entry;
mod forget;
mod going_down;
mod images;
mod looks;
mod notes;
mod requests;
mod status;
mod system;

/// Messages waiting for the supervisor. Senders wait when it is full.
const QUEUE_MAX: usize = 256;
/// What the supervisor works with.
#[derive(Debug)]
pub struct Tools {
    /// Documents and wishes.
    pub store: UnitStore,
    /// Images.
    pub images: ImageStore,
    /// Unpacked layers.
    pub layers: Layers,
    /// Brings images that are not here.
    pub puller: Puller,
    /// Addresses, names and published ports.
    pub containers: Containers,
    /// Folders of containers.
    pub places: Places,
    /// Where lives are written down for the agent's successor; a tmpfs.
    pub records: PathBuf,
    /// Environment files of the node's configuration.
    pub env_files: BTreeMap<String, BTreeMap<String, String>>,
    /// What the node's configuration gives units as files.
    pub secrets: BTreeMap<String, Secret>,
    /// Who wants to know what happens.
    pub events: Events,
}

/// The supervisor's own state.
struct Supervisor {
    tools: Tools,
    entries: BTreeMap<String, Entry>,
    queue: mpsc::Sender<Message>,
    /// Held by whoever answers them just now: the loop, or what waits for the disk on its behalf.
    looks: Mutex<mpsc::Receiver<Look>>,
    settled: watch::Sender<Settled>,
    tasks: JoinSet<()>,
    going_down: Option<GoingDown>,
    stopping: watch::Sender<Option<Stopping>>,
    /// Somebody's readiness changed: others may be waiting for it.
    changed: bool,
    /// What others see of some unit may have changed.
    stirred: bool,
    changes: watch::Sender<u64>,
}

/// All units are being stopped.
struct GoingDown {
    reply: oneshot::Sender<Vec<String>>,
    /// Those that were asked to.
    asked: BTreeSet<String>,
}

/// Takes over the units that are stored and the containers that run, and starts what should run. The future
/// that is returned is the supervisor: it works while it is polled and never ends.
pub async fn begin(tools: Tools) -> (Units, Vec<String>, impl Future<Output = ()>) {
    let (queue, messages) = mpsc::channel(QUEUE_MAX);
    let (look_queue, looks) = mpsc::channel(QUEUE_MAX);
    let (settled, settled_receiver) = watch::channel(Settled::default());
    let (stopping, stopping_receiver) = watch::channel(None);
    let (changes, changes_receiver) = watch::channel(0);
    let (stored, mut warnings) = tools.store.load();
    if let Err(error) = tools.places.ids.look() {
        warnings.push(format!("units cannot start: {}", ferrite_schema::chain(&error)));
    }
    let mut supervisor = Supervisor {
        tools,
        entries: BTreeMap::new(),
        queue: queue.clone(),
        looks: Mutex::new(looks),
        settled,
        tasks: JoinSet::new(),
        going_down: None,
        stopping,
        changed: true,
        stirred: false,
        changes,
    };
    supervisor.adopt_all(stored).await;
    supervisor.reconcile().await;
    supervisor.report_settled();
    let units = Units {
        queue,
        looks: look_queue,
        settled: settled_receiver,
        stopping: stopping_receiver,
        changes: changes_receiver,
    };
    (units, warnings, supervisor.work(messages))
}

impl Supervisor {
    async fn work(mut self, mut messages: mpsc::Receiver<Message>) {
        let deadline = tokio::time::sleep(Duration::MAX);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::StopAll(reply)) => {
                        self.going_down = Some(GoingDown { reply, asked: BTreeSet::new() });
                        self.stirred = true;
                        self.abandon_starts().await;
                    }
                    Some(message) => self.handle(message).await,
                    None => return,
                },
                Some(look) = self.looks.get_mut().recv() => {
                    self.show(look);
                    continue;
                }
                Some(_) = self.tasks.join_next() => {}
                () = &mut deadline, if self.going_down.is_some() => self.finish(),
            }
            self.reconcile().await;
            self.report_settled();
            if let Some(longest) = self.stop_next().await {
                deadline.as_mut().reset(tokio::time::Instant::now() + longest);
            }
            if std::mem::take(&mut self.stirred) {
                self.changes.send_modify(|number| *number = number.wrapping_add(1));
            }
            if self.entries.values().all(|entry| entry.machine.at_rest()) {
                self.finish();
            }
        }
    }

    /// Says where the units stand, for whoever judges whether the node is ready.
    fn report_settled(&self) {
        // The node's own units speak neither for it nor against it.
        let units = self.entries.values().filter(|entry| entry.system.is_none());
        let seen = units.map(|entry| Seen {
            wanted: entry.wanted,
            state: entry.machine.state(),
            tried: entry.machine.tried(),
            ran: entry.machine.ran(),
            // One whose image the node's own rules forbid says nothing about the OS.
            ran_before: entry.ran_before && !self.is_forbidden(entry),
        });
        let settled = readiness::settled(seen);
        self.settled.send_if_modified(|current| std::mem::replace(current, settled) != settled);
    }

    async fn handle(&mut self, message: Message) {
        self.stirred = true;
        match message {
            Message::Ask(ask, reply) => {
                let answer = self.answer(ask).await;
                drop(reply.send(answer));
            }
            Message::Happened { name, run, event } => {
                if self.entries.get(&name).is_some_and(|entry| entry.run == run) {
                    self.step(&name, event).await;
                }
            }
            Message::Image { name, image, event } => {
                // It may have another image by now.
                if self.entries.get(&name).is_some_and(|entry| entry.unit.image == image) {
                    self.step(&name, event).await;
                }
            }
            Message::Unasked { name, image, why } => {
                if self.entries.get(&name).is_some_and(|entry| entry.unit.image == image) {
                    self.note_unasked(&name, why);
                }
            }
            Message::Launched { name, run, result } => self.launched(&name, run, result).await,
            Message::TimerRang { name, timer } => {
                if self.entries.get(&name).is_some_and(|entry| entry.timer == timer) {
                    self.step(&name, Event::Deadline).await;
                }
            }
            Message::ClockSetBack { name, timer } => {
                let current = self.entries.get(&name).filter(|entry| entry.timer == timer);
                if current.is_some_and(|entry| entry.machine.state() == UnitState::Scheduled) {
                    self.schedule(&name).await;
                }
            }
            Message::StopAll(_) => {}
            Message::Assign(wanted, reply) => {
                let answer = self.assign(wanted).await;
                drop(reply.send(answer));
            }
            Message::Withhold { name, reason, reply } => {
                let answer = self.withhold(&name, reason).await;
                drop(reply.send(answer));
            }
            Message::RunSystem(unit, reply) => {
                let answer = self.run_system(*unit).await;
                drop(reply.send(answer));
            }
            Message::StopSystem(name, reply) => self.stop_system(name, reply).await,
        }
    }

    /// It was tried and did not run, and could not have: the node's rules are against its image.
    fn is_forbidden(&self, entry: &Entry) -> bool {
        let idle = entry.wanted && entry.machine.tried() && !entry.machine.ran();
        idle && self.tools.puller.objection(&entry.unit.image).is_some()
    }

    /// What the node's rules say against the image that a unit's container runs on. Rules hold for starts: what ran before an
    /// agent with other rules came goes on running, and says so.
    fn objection(&self, entry: &Entry) -> Option<String> {
        let pulled = entry.machine.is_alive() && entry.system.is_none();
        let launched = entry.launched.as_ref().filter(|_| pulled)?;
        let objection = self.tools.puller.objection(&launched.image)?;
        Some(ferrite_schema::chain(&objection))
    }

    fn look(&self, name: &str) -> Option<Other> {
        let entry = self.entries.get(name)?;
        let (state, ready) = (entry.machine.state(), entry.machine.is_ready());
        let run = (state == UnitState::Running).then_some(entry.run);
        Some(Other { wanted: entry.wanted, ready, state, run })
    }

    /// Lets those go on who waited for what has come to be, and stops those whose requirements are gone.
    async fn reconcile(&mut self) {
        while std::mem::take(&mut self.changed) && self.going_down.is_none() {
            let mut due = Vec::new();
            for (name, entry) in &self.entries {
                let unit = entry.lives_by();
                if entry.machine.state() == UnitState::Waiting {
                    match graph::blocked(unit, |other| self.look(other)) {
                        None => due.push((name.clone(), Event::Met)),
                        Some(reason) if entry.machine.reason().as_ref() != Some(&reason) => {
                            due.push((name.clone(), Event::Note { reason }));
                        }
                        Some(_) => {}
                    }
                } else if (!unit.requires.is_empty() || unit.network.unit().is_some())
                    && (entry.machine.is_alive() || entry.machine.state() == UnitState::Pulling)
                    && let Some(reason) =
                        graph::bereft(unit, entry.joined, |other| self.look(other))
                {
                    due.push((name.clone(), Event::Hold { reason }));
                }
            }
            for (name, event) in due {
                self.step(&name, event).await;
            }
        }
    }

    /// Steps a unit's machine, does what it says, and goes on with events that doing it made.
    async fn step(&mut self, name: &str, event: Event) {
        let Some(entry) = self.entries.get(name) else { return };
        let (state, health) = (entry.machine.state(), entry.machine.health());
        let reason_before = entry.machine.reason();
        let (cause, before) = (format!("{event:?}"), self.look(name));
        self.note(name, &event).await;
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(entry) = self.entries.get_mut(name) else { return };
            let effects = entry.step(event, super::clock::now());
            if entry.machine.state() != state {
                entry.since = SystemTime::now();
            }
            self.write_down(name);
            for effect in effects {
                events.extend(self.perform(name, effect).await);
            }
        }
        let Some(entry) = self.entries.get(name) else { return };
        let (after, reason) = (entry.machine.state(), entry.machine.reason());
        // One that waits says so when it is known for what.
        let told = match after {
            UnitState::Waiting => reason.is_some() && reason != reason_before,
            _ => after != state,
        };
        if told {
            tracing::info!(unit = name, from = ?state, to = ?after, why = cause, "unit-state");
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            self.publish(name, EventKind::State, format!("{}{reason}", after.word()));
        }
        if let Some(now) = entry.machine.health()
            && Some(now) != health
        {
            self.publish(name, EventKind::Health, now.word().to_owned());
        }
        // Others see only what `look` shows.
        self.changed |= self.look(name) != before;
        if self.entries.get(name).is_some_and(|entry| entry.removing && entry.machine.at_rest()) {
            self.forget(name).await;
        }
    }

    fn publish(&self, name: &str, kind: EventKind, message: String) {
        self.tools.events.publish(Some(name), kind, message);
    }

    /// Writes the unit's life down for the agent's successor, where it has changed.
    fn write_down(&mut self, name: &str) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let record = Record {
            life: entry.machine.life().clone(),
            run: entry.run,
            since_s: entry.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            launched: entry.launched.clone(),
            stop_signal: entry.stop_signal,
            addresses: entry.addresses.clone(),
            image_notes: entry.image_notes.clone(),
            origin: entry.origin,
            system: entry.system.clone(),
        };
        if entry.written.as_ref() == Some(&record) {
            return;
        }
        match record::write(&self.tools.records, name, &record) {
            Ok(()) => entry.written = Some(record),
            Err(error) => tracing::warn!(unit = name, %error, "unit-record-not-written"),
        }
    }

    /// Does something with the store of units, which waits for the disk.
    async fn in_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&UnitStore) -> T + Send + 'static,
    ) -> T {
        let store = self.tools.store.clone();
        self.beside(move || work(&store)).await
    }

    fn run_folder(&self, name: &str) -> PathBuf {
        self.tools.places.run.join(name)
    }
}
