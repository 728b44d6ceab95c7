//! The one task that owns all units: it takes events from people, shims and timers, asks each unit's state
//! machine what follows, and does that.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrite_schema::api::{EventKind, UnitState, UnitStatus};
use ferrite_schema::unit::Unit;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::launch::{self, Places};
use super::machine::{Effect, Event, Machine, Policy};
use super::shims::{self, Found};
use super::store::{UnitStore, UnitStoreProblem};
use crate::events::Events;
use crate::image::layer::Layers;
use crate::image::pull::Puller;
use crate::image::store::ImageStore;
use crate::net::containers::Containers;
use crate::shim::protocol::Command;

/// Messages waiting for the supervisor. Senders wait when it is full.
const QUEUE_MAX: usize = 256;
/// What a stop of everything gets beyond the longest grace: kills, last output, cgroups.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Why a request about a unit was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No such unit.
    #[error("there is no unit {name}")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The machine is going down.
    #[error("the machine is going down")]
    GoingDown,
    /// STATE did not take it.
    #[error(transparent)]
    Store(#[from] UnitStoreProblem),
}

/// Something asked by a person.
#[derive(Debug)]
enum Ask {
    Put(Box<Unit>),
    Get(String),
    Start(String),
    Stop(String),
    Remove(String),
}

#[derive(Debug)]
enum Message {
    Ask(Ask, oneshot::Sender<Result<UnitStatus, Refusal>>),
    List(oneshot::Sender<Vec<UnitStatus>>),
    Definition(String, oneshot::Sender<Option<Unit>>),
    Happened { name: String, run: u64, event: Event },
    TimerRang { name: String, timer: u64 },
    StopAll(oneshot::Sender<Vec<String>>),
}

/// A handle that others speak to the supervisor through.
#[derive(Debug, Clone)]
pub struct Units {
    queue: mpsc::Sender<Message>,
    settled: watch::Receiver<bool>,
}

impl Units {
    async fn ask(&self, ask: Ask) -> Result<UnitStatus, Refusal> {
        let (reply, answer) = oneshot::channel();
        // The supervisor ends only with the program.
        self.queue.send(Message::Ask(ask, reply)).await.map_err(|_closed| Refusal::GoingDown)?;
        answer.await.map_err(|_closed| Refusal::GoingDown)?
    }

    /// Keeps a unit; one that runs goes on as it was started.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn put(&self, unit: Unit) -> Result<UnitStatus, Refusal> {
        self.ask(Ask::Put(Box::new(unit))).await
    }

    /// A unit's status.
    ///
    /// # Errors
    /// There is no such unit.
    pub async fn get(&self, name: &str) -> Result<UnitStatus, Refusal> {
        self.ask(Ask::Get(name.to_owned())).await
    }

    /// A unit as it was submitted.
    ///
    /// # Errors
    /// There is no such unit.
    pub async fn definition(&self, name: &str) -> Result<Unit, Refusal> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Definition(name.to_owned(), reply);
        self.queue.send(message).await.map_err(|_closed| Refusal::GoingDown)?;
        let unit = answer.await.map_err(|_closed| Refusal::GoingDown)?;
        unit.ok_or_else(|| Refusal::Unknown { name: name.to_owned() })
    }

    /// Wants a unit to run.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn start(&self, name: &str) -> Result<UnitStatus, Refusal> {
        self.ask(Ask::Start(name.to_owned())).await
    }

    /// Wants a unit not to run.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn stop(&self, name: &str) -> Result<UnitStatus, Refusal> {
        self.ask(Ask::Stop(name.to_owned())).await
    }

    /// Stops a unit and forgets it.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn remove(&self, name: &str) -> Result<UnitStatus, Refusal> {
        self.ask(Ask::Remove(name.to_owned())).await
    }

    /// All units, by name.
    pub async fn list(&self) -> Vec<UnitStatus> {
        let (reply, answer) = oneshot::channel();
        match self.queue.send(Message::List(reply)).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Stops everything because the machine goes down; wishes stay as they are. Returns the names of the units
    /// that were still there when the time was over.
    pub async fn stop_all(&self) -> Vec<String> {
        let (reply, answer) = oneshot::channel();
        match self.queue.send(Message::StopAll(reply)).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Waits until every unit that should run does, or has done what it should.
    pub async fn settled(&mut self) {
        // The sender lives as long as the program.
        drop(self.settled.wait_for(|settled| *settled).await);
    }
}

/// What the supervisor works with.
#[derive(Debug)]
pub struct Tools {
    /// Documents and wishes.
    pub store: UnitStore,
    /// Images.
    pub images: ImageStore,
    /// Unpacked layers.
    pub layers: Layers,
    /// What brings images that are not here.
    pub puller: Puller,
    /// Folders of containers.
    pub places: Places,
    /// Who wants to know what happens.
    pub events: Events,
    /// The units' network.
    pub containers: Containers,
}

struct Entry {
    unit: Unit,
    machine: Machine,
    wanted: bool,
    removing: bool,
    since: SystemTime,
    stop_signal: i32,
    /// Numbers the runs: what an older run's shim says late is not about this one.
    run: u64,
    commands: Option<mpsc::Sender<Command>>,
    /// Numbers the timers: one that was replaced may still ring.
    timer: u64,
}

/// The supervisor's own state.
struct Supervisor {
    tools: Tools,
    entries: BTreeMap<String, Entry>,
    queue: mpsc::Sender<Message>,
    settled: watch::Sender<bool>,
    tasks: JoinSet<()>,
    going_down: Option<oneshot::Sender<Vec<String>>>,
}

/// Takes over the units that are stored and the containers that run, and starts what should run. The future
/// that is returned is the supervisor: it works while it is polled and never ends.
///
/// # Errors
/// The stored units cannot be read.
pub async fn begin(
    tools: Tools,
) -> Result<(Units, Vec<String>, impl Future<Output = ()>), UnitStoreProblem> {
    let (queue, messages) = mpsc::channel(QUEUE_MAX);
    let (settled, settled_receiver) = watch::channel(false);
    let (stored, warnings) = tools.store.load()?;
    let mut supervisor = Supervisor {
        tools,
        entries: BTreeMap::new(),
        queue: queue.clone(),
        settled,
        tasks: JoinSet::new(),
        going_down: None,
    };
    for stored in stored {
        supervisor.adopt(stored.unit, stored.wanted).await;
    }
    supervisor.report_settled();
    Ok((Units { queue, settled: settled_receiver }, warnings, supervisor.work(messages)))
}

fn policy(unit: &Unit) -> Policy {
    Policy { restart: unit.restart_policy(), grace: Duration::from_secs(unit.stop_grace_s.into()) }
}

impl Supervisor {
    async fn work(mut self, mut messages: mpsc::Receiver<Message>) {
        let deadline = tokio::time::sleep(Duration::MAX);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::StopAll(reply)) => {
                        deadline.as_mut().reset(tokio::time::Instant::now() + self.longest_grace());
                        self.going_down = Some(reply);
                        self.stop_all().await;
                    }
                    Some(message) => self.handle(message).await,
                    None => return,
                },
                Some(_) = self.tasks.join_next() => {}
                () = &mut deadline, if self.going_down.is_some() => self.finish(),
            }
            self.report_settled();
            if self.entries.values().all(|entry| entry.machine.at_rest()) {
                self.finish();
            }
        }
    }

    fn longest_grace(&self) -> Duration {
        let grace = self.entries.values().map(|entry| policy(&entry.unit).grace).max();
        grace.unwrap_or_default() + STOP_MARGIN
    }

    async fn stop_all(&mut self) {
        let names: Vec<String> = self.entries.keys().cloned().collect();
        for name in names {
            self.step(&name, Event::Stop).await;
        }
    }

    /// Answers the one who waits for everything to be stopped.
    fn finish(&mut self) {
        if let Some(reply) = self.going_down.take() {
            let left = self.entries.iter().filter(|(_, entry)| !entry.machine.at_rest());
            // Nobody waits any more: then nobody needs the answer.
            drop(reply.send(left.map(|(name, _)| name.clone()).collect()));
        }
    }

    fn report_settled(&self) {
        let as_it_should = |entry: &Entry| {
            !entry.wanted || matches!(entry.machine.state(), UnitState::Running | UnitState::Exited)
        };
        let settled = self.entries.values().all(as_it_should);
        self.settled.send_if_modified(|current| std::mem::replace(current, settled) != settled);
    }

    async fn handle(&mut self, message: Message) {
        match message {
            Message::Ask(ask, reply) => {
                let answer = self.answer(ask).await;
                drop(reply.send(answer));
            }
            Message::List(reply) => {
                drop(reply.send(self.entries.values().map(status).collect()));
            }
            Message::Definition(name, reply) => {
                drop(reply.send(self.entries.get(&name).map(|entry| entry.unit.clone())));
            }
            Message::Happened { name, run, event } => {
                if self.entries.get(&name).is_some_and(|entry| entry.run == run) {
                    self.step(&name, event).await;
                }
            }
            Message::TimerRang { name, timer } => {
                if self.entries.get(&name).is_some_and(|entry| entry.timer == timer) {
                    self.step(&name, Event::Deadline).await;
                }
            }
            Message::StopAll(_) => {}
        }
    }

    async fn answer(&mut self, ask: Ask) -> Result<UnitStatus, Refusal> {
        if self.going_down.is_some() && !matches!(ask, Ask::Get(_)) {
            return Err(Refusal::GoingDown);
        }
        let name = match ask {
            Ask::Put(unit) => self.put(*unit)?,
            Ask::Get(name) => name,
            Ask::Start(name) => self.wish(name, true).await?,
            Ask::Stop(name) => self.wish(name, false).await?,
            Ask::Remove(name) => return self.remove(name).await,
        };
        self.entries.get(&name).map(status).ok_or(Refusal::Unknown { name })
    }

    fn put(&mut self, unit: Unit) -> Result<String, Refusal> {
        self.tools.store.put(&unit)?;
        let name = unit.name.clone();
        match self.entries.get_mut(&name) {
            Some(entry) => {
                entry.machine.set_policy(policy(&unit));
                entry.unit = unit;
                // It was to be forgotten as soon as it stopped: now it is not.
                entry.removing = false;
            }
            None => {
                self.entries.insert(name.clone(), new_entry(unit, false));
            }
        }
        Ok(name)
    }

    async fn wish(&mut self, name: String, wanted: bool) -> Result<String, Refusal> {
        let Some(entry) = self.entries.get_mut(&name) else {
            return Err(Refusal::Unknown { name });
        };
        if entry.wanted != wanted {
            self.tools.store.want(&name, wanted)?;
            entry.wanted = wanted;
        }
        self.step(&name, if wanted { Event::Start } else { Event::Stop }).await;
        Ok(name)
    }

    async fn remove(&mut self, name: String) -> Result<UnitStatus, Refusal> {
        let Some(entry) = self.entries.get_mut(&name) else {
            return Err(Refusal::Unknown { name });
        };
        self.tools.store.remove(&name)?;
        entry.wanted = false;
        entry.removing = true;
        let before = status(entry);
        self.step(&name, Event::Stop).await;
        Ok(before)
    }

    /// Takes over a stored unit, and the container that an earlier agent left.
    async fn adopt(&mut self, unit: Unit, wanted: bool) {
        let name = unit.name.clone();
        let folder = self.run_folder(&name);
        let mut entry = new_entry(unit, wanted);
        let prepared = launch::prepare(
            &entry.unit,
            &self.tools.images,
            &self.tools.layers,
            &self.tools.places,
        );
        if let Ok(prepared) = prepared {
            entry.stop_signal = prepared.stop_signal;
        }
        let found = shims::find(&folder).await;
        if !matches!(found, Found::Nothing) {
            entry.machine = Machine::found(policy(&entry.unit));
            tracing::info!(unit = name, ?found, "unit-found");
        }
        self.entries.insert(name.clone(), entry);
        match found {
            Found::Nothing => {}
            Found::Alive(stream) => self.attach(&name, stream),
            Found::Ended(outcome) => self.step(&name, shims::event_of(outcome)).await,
            Found::Lost => {
                self.kill(&name);
                self.step(&name, Event::Lost).await;
            }
        }
        // Not wanted any more: its stop was cut short by the end of the earlier agent.
        let at_rest = self.entries.get(&name).is_some_and(|entry| entry.machine.at_rest());
        if wanted && at_rest {
            let ended =
                self.entries.get(&name).is_some_and(|entry| entry.machine.last_exit().is_some());
            if !ended {
                self.step(&name, Event::Start).await;
            }
        } else if !wanted {
            self.step(&name, Event::Stop).await;
        }
    }

    fn run_folder(&self, name: &str) -> PathBuf {
        self.tools.places.run.join(name)
    }

    /// Steps a unit's machine, does what it says, and goes on with events that doing it made.
    async fn step(&mut self, name: &str, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let Some(entry) = self.entries.get_mut(name) else { return };
            let (before, cause) = (entry.machine.state(), format!("{event:?}"));
            let effects = entry.machine.step(event, Instant::now());
            let after = entry.machine.state();
            if before != after {
                entry.since = SystemTime::now();
                tracing::info!(unit = name, from = ?before, to = ?after, why = cause, "unit-state");
                let reason = entry.machine.reason().map(|reason| format!(": {reason}"));
                let message = format!("{}{}", after.word(), reason.unwrap_or_default());
                self.tools.events.publish(Some(name), EventKind::State, message);
            }
            for effect in effects {
                let made = self.perform(name, effect).await;
                next = next.or(made);
            }
        }
        if self.entries.get(name).is_some_and(|entry| entry.machine.at_rest()) {
            self.tools.containers.detach(name).await;
        }
        if self.entries.get(name).is_some_and(|entry| entry.removing && entry.machine.at_rest()) {
            self.entries.remove(name);
            for folder in
                [&self.tools.places.run, &self.tools.places.scratch, &self.tools.places.logs]
            {
                // What stays is overwritten by a unit of the same name.
                drop(std::fs::remove_dir_all(folder.join(name)));
            }
            if let Err(error) = self.tools.places.ids.release(name) {
                tracing::warn!(unit = name, error = crate::chain(&error), "ids-not-released");
            }
        }
    }

    async fn perform(&mut self, name: &str, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Launch => self.launch(name).await,
            Effect::Signal => {
                let signal = self.entries.get(name)?.stop_signal;
                self.command(name, Command::Signal { signal });
                None
            }
            Effect::Kill => {
                self.command(name, Command::Kill);
                self.kill(name);
                None
            }
            Effect::SetTimer(until) => {
                let entry = self.entries.get_mut(name)?;
                entry.timer += 1;
                let message = Message::TimerRang { name: name.to_owned(), timer: entry.timer };
                let queue = self.queue.clone();
                self.tasks.spawn(async move {
                    tokio::time::sleep_until(until.into()).await;
                    drop(queue.send(message).await);
                });
                None
            }
            Effect::ClearTimer => {
                self.entries.get_mut(name)?.timer += 1;
                None
            }
        }
    }

    async fn launch(&mut self, name: &str) -> Option<Event> {
        let folder = self.run_folder(name);
        let entry = self.entries.get_mut(name)?;
        let prepared = launch::prepare(
            &entry.unit,
            &self.tools.images,
            &self.tools.layers,
            &self.tools.places,
        );
        let mut prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Some(Event::StartFailed { reason: crate::chain(&error) }),
        };
        entry.stop_signal = prepared.stop_signal;
        let (hostname, unit) = (&prepared.request.hostname, &entry.unit);
        let attached = self.tools.containers.attach(name, hostname, unit.network, &unit.ports).await;
        match attached {
            Ok(attached) => {
                prepared.request.network = attached.network;
                prepared.request.mounts.splice(0..0, attached.mounts);
            }
            Err(error) => return Some(Event::StartFailed { reason: crate::chain(&error) }),
        }
        match shims::start(&folder, &prepared.request).await {
            Ok(stream) => {
                self.attach(name, stream);
                None
            }
            Err(error) => Some(Event::StartFailed { reason: crate::chain(&error) }),
        }
    }

    /// Listens to a shim from now on.
    fn attach(&mut self, name: &str, stream: tokio::net::UnixStream) {
        let folder = self.run_folder(name);
        let Some(entry) = self.entries.get_mut(name) else { return };
        let (sender, receiver) = shims::commands();
        entry.commands = Some(sender);
        entry.run += 1;
        let (run, queue, name) = (entry.run, self.queue.clone(), name.to_owned());
        let wrap = move |event| Message::Happened { name: name.clone(), run, event };
        self.tasks.spawn(shims::follow(stream, receiver, folder, queue, wrap));
    }

    fn command(&self, name: &str, command: Command) {
        let commands = self.entries.get(name).and_then(|entry| entry.commands.as_ref());
        let sent = commands.map(|commands| commands.try_send(command));
        if let Some(Err(error)) = sent {
            tracing::debug!(unit = name, %error, "shim-command-dropped");
        }
    }

    /// Kills a container even where its shim cannot: while it is being built, or when the shim is gone.
    fn kill(&self, name: &str) {
        let cgroup = self.tools.places.unit_cgroup.trim_start_matches('/');
        let path = PathBuf::from("/sys/fs/cgroup").join(cgroup).join(name).join("cgroup.kill");
        match std::fs::write(&path, "1") {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(unit = name, %error, "cgroup-kill-failed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

fn new_entry(unit: Unit, wanted: bool) -> Entry {
    Entry {
        machine: Machine::new(policy(&unit)),
        unit,
        wanted,
        removing: false,
        since: SystemTime::now(),
        stop_signal: nix::sys::signal::Signal::SIGTERM as i32,
        run: 0,
        commands: None,
        timer: 0,
    }
}

fn status(entry: &Entry) -> UnitStatus {
    UnitStatus {
        name: entry.unit.name.clone(),
        image: entry.unit.image.clone(),
        state: entry.machine.state(),
        reason: entry.machine.reason().map(str::to_owned),
        pid: entry.machine.pid(),
        restarts: entry.machine.restarts(),
        last_exit: entry.machine.last_exit().cloned(),
        since_s: entry.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        notes: launch::notes(&entry.unit),
    }
}
