//! What machines ask for, done.

use std::net::{IpAddr, Ipv4Addr};

use ferrite_schema::api::EventKind;
use ferrite_schema::shim::{Command, Network, SharedNetwork};
use ferrite_schema::unit::{NetworkMode, Unit};
use ferrite_schema::utc;
use ferrite_store::beside::beside;
use ferrite_sys::cgroup::Cgroup;
use tokio::net::UnixStream;

use super::super::handle::Message;
use super::super::health::{self, Wrong};
use super::super::joining::{self, Given, Join};
use super::super::launch::Prepared;
use super::super::machine::{Effect, Event, Moment, RunKind};
use super::super::secrets;
use super::super::shims::{self, Shim};
use super::super::{clock, launch};
use super::Supervisor;

impl Supervisor {
    /// Does what a machine asks for. What follows from it at once is returned.
    pub(super) async fn perform(&mut self, name: &str, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Await => self.changed = true,
            Effect::Pull => return self.pull(name).await,
            Effect::CancelPull => {
                if let Some(pull) = self.entries.get_mut(name)?.pull.take() {
                    pull.abort();
                }
            }
            Effect::Launch(kind) => self.launch(name, kind),
            Effect::Signal => {
                let signal = self.entries.get(name)?.stop_signal;
                self.command(name, Command::Signal { signal });
            }
            Effect::Kill => {
                self.command(name, Command::Kill);
                self.kill(name);
            }
            Effect::KillShim => self.kill_shim(name),
            Effect::Check => self.check(name),
            Effect::SetTimer(moment) => self.set_timer(name, moment),
            Effect::Schedule => self.schedule(name).await,
            Effect::Fired => {
                let entry = self.entries.get_mut(name)?;
                let now = clock::epoch_s();
                entry.fired = Some(now);
                self.keep_fired(name, now).await;
            }
            Effect::ClearTimer => self.entries.get_mut(name)?.timer += 1,
            Effect::Release => self.release(name).await,
        }
        None
    }

    /// Goes on with a unit whose life was read.
    pub(super) async fn resume(&mut self, name: &str) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        for effect in entry.machine.resume(clock::now()) {
            if let Some(event) = self.perform(name, effect).await {
                self.step(name, event).await;
            }
        }
    }

    /// Starts the run that an earlier agent had decided for and not begun.
    pub(super) async fn relaunch(&mut self, name: &str, kind: RunKind) {
        let stopping = self
            .entries
            .get(name)
            .is_some_and(|entry| entry.machine.state() == ferrite_schema::api::UnitState::Stopping);
        if stopping && !matches!(kind, RunKind::PostStop(_)) {
            // It was to be stopped before it had begun.
            self.step(name, Event::StartFailed { reason: "it was never started".to_owned() }).await;
            return;
        }
        if let Some(entry) = self.entries.get_mut(name) {
            entry.run += 1;
        }
        self.write_down(name);
        self.launch(name, kind);
    }

    /// Starts a shim in the background; [`Message::Launched`] says how it went.
    fn launch(&mut self, name: &str, kind: RunKind) {
        let Some(entry) = self.entries.get(name) else { return };
        if let Some(system) = entry.system.clone() {
            return self.launch_system(system, entry.run);
        }
        let unit = self.for_run(entry.launched.as_ref().unwrap_or(&entry.unit), kind);
        let unit = unit.and_then(|(unit, secrets)| Ok((self.join(&unit)?, unit, secrets)));
        let run = entry.run;
        if let (Some(entry), Ok((join, ..))) = (self.entries.get_mut(name), &unit) {
            entry.joined = join.as_ref().map(|join| join.run);
        }
        let (puller, layers, places) =
            (self.tools.puller.clone(), self.tools.layers.clone(), self.tools.places.clone());
        let (network, queue) = (self.tools.containers.clone(), self.queue.clone());
        let (folder, name) = (self.run_folder(name), name.to_owned());
        self.tasks.spawn(async move {
            let result = async {
                let (join, mut unit, secrets) = unit?;
                let given = match join.map(|join| join.shared()).transpose()? {
                    Some(shared) => {
                        unit.hostname = Some(shared.hostname.clone());
                        Given::Shared(shared)
                    }
                    None => {
                        let hostname = launch::hostname_of(&unit);
                        let files = network.attach(&unit, &hostname).await;
                        Given::Own(files.map_err(|error| ferrite_schema::chain(&error))?)
                    }
                };
                // It looks at the store, and may write a new range of IDs.
                let prepared = beside(move || launch::prepare(&unit, &puller, &layers, &places));
                let Prepared { mut request, lease, notes } =
                    prepared.await.map_err(|error| ferrite_schema::chain(&error))?;
                given.put_into(&mut request);
                request.secrets = secrets.mounts();
                request.beside = kind != RunKind::Main;
                let addresses = addresses(&request.network);
                let started = shims::start(&folder, run, &request, &secrets).await;
                // From here on its layers stand in the run folder, where the collector looks.
                drop(lease);
                let stream = started.map_err(|error| ferrite_schema::chain(&error))?;
                Ok(Box::new(Shim { stream, stop_signal: request.stop_signal, addresses, notes }))
            };
            let result = result.await;
            drop(queue.send(Message::Launched { name, run, result }).await);
        });
    }

    /// The network that a unit is to share, where it is another's.
    fn join(&self, unit: &Unit) -> Result<Option<Join>, String> {
        let Some(name) = unit.network.unit() else { return Ok(None) };
        let why = |why: &str| format!("share the network of {name}: {why}");
        let other = self.entries.get(name).ok_or_else(|| why("it is not on this node"))?;
        let run = self.look(name).and_then(|other| other.run);
        let run = run.ok_or_else(|| why("it does not run"))?;
        if let Some(refused) = joining::refused(unit, other.lives_by()) {
            return Err(why(&refused));
        }
        Ok(Some(Join { unit: name.to_owned(), run, folder: self.run_folder(name) }))
    }

    /// The unit as one of its runs has it, and what its secrets hold.
    fn for_run(&self, unit: &Unit, kind: RunKind) -> Result<(Unit, secrets::Given), String> {
        let mut unit = unit.clone();
        let command = match kind {
            RunKind::PreStart(index) => unit.pre_start.get(index).cloned(),
            RunKind::PostStop(index) => unit.post_stop.get(index).cloned(),
            RunKind::Main => None,
        };
        if let Some(command) = command {
            unit.entrypoint = Some(Vec::new());
            unit.command = Some(command);
            unit.args = Vec::new();
            (unit.tty, unit.stdin) = (false, false);
        }
        let mut env = std::collections::BTreeMap::new();
        for file in std::mem::take(&mut unit.env_files) {
            let Some(variables) = self.tools.env_files.get(&file) else {
                return Err(format!("the node's configuration has no [env_files] {file}"));
            };
            env.extend(variables.clone());
        }
        env.append(&mut unit.env);
        unit.env = env;
        let secrets = secrets::of(&unit, &self.tools.secrets);
        let secrets = secrets.map_err(|problem| problem.to_string())?;
        Ok((unit, secrets))
    }

    pub(super) async fn launched(
        &mut self,
        name: &str,
        run: u64,
        result: Result<Box<Shim>, String>,
    ) {
        let Some(entry) = self.entries.get_mut(name).filter(|entry| entry.run == run) else {
            return;
        };
        match result {
            Ok(shim) => {
                entry.stop_signal = shim.stop_signal;
                entry.addresses = shim.addresses;
                self.take_notes(name, shim.notes);
                self.write_down(name);
                self.attach(name, shim.stream);
                // A stop that came meanwhile found nobody to kill.
                let stopping = self.entries.get(name).is_some_and(|entry| {
                    entry.machine.state() == ferrite_schema::api::UnitState::Stopping
                        && !matches!(entry.machine.run_kind(), Some(RunKind::PostStop(_)))
                });
                if stopping {
                    self.command(name, Command::Kill);
                }
            }
            Err(reason) => {
                if let Some(RunKind::PostStop(index)) = entry.machine.run_kind() {
                    // Its machine goes on to the next one; somebody should know all the same.
                    let message = format!("post_stop command {} was not run: {reason}", index + 1);
                    self.publish(name, EventKind::State, message);
                }
                self.step(name, Event::StartFailed { reason }).await;
            }
        }
    }

    /// Listens to a shim from now on.
    pub(super) fn attach(&mut self, name: &str, stream: UnixStream) {
        let folder = self.run_folder(name);
        let Some(entry) = self.entries.get_mut(name) else { return };
        let (sender, receiver) = shims::commands();
        entry.commands = Some(sender);
        let (run, queue, name) = (entry.run, self.queue.clone(), name.to_owned());
        let wrap = move |event| Message::Happened { name: name.clone(), run, event };
        self.tasks.spawn(shims::follow(stream, receiver, folder, queue, wrap));
    }

    fn check(&mut self, name: &str) {
        let Some(entry) = self.entries.get(name) else { return };
        let unit = entry.lives_by();
        let Some(check) = unit.health.clone() else { return };
        let address = match unit.network {
            NetworkMode::Host | NetworkMode::None => None,
            NetworkMode::Bridge | NetworkMode::Unit(_) => {
                entry.addresses.first().and_then(|address| address.parse().ok())
            }
        };
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let run = entry.run;
        let (folder, cgroup) = (self.run_folder(name), self.cgroup(name));
        let (queue, own) = (self.queue.clone(), name.to_owned());
        let task = self.tasks.spawn(async move {
            let event = match health::look(&folder, &check, address, cgroup.path()).await {
                Ok(()) => Event::Checked(Ok(())),
                Err(Wrong::Unit(why)) => Event::Checked(Err(why)),
                Err(Wrong::Node(why)) => Event::Unchecked { why },
            };
            let name = own;
            drop(queue.send(Message::Happened { name, run, event }).await);
        });
        let entry = self.entries.get_mut(name);
        if let Some(older) = entry.and_then(|entry| entry.check.replace(task)) {
            older.abort();
        }
    }

    fn set_timer(&mut self, name: &str, moment: Moment) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.timer += 1;
        let message = Message::TimerRang { name: name.to_owned(), timer: entry.timer };
        let queue = self.queue.clone();
        self.tasks.spawn(async move {
            clock::until(moment).await;
            drop(queue.send(message).await);
        });
    }

    async fn keep_fired(&self, name: &str, now: u64) {
        let fired = name.to_owned();
        if let Err(error) = self.in_store(move |store| store.set_fired(&fired, now)).await {
            let error = ferrite_schema::chain(&error);
            tracing::error!(unit = name, error, "timer-not-kept");
        }
    }

    pub(super) async fn schedule(&mut self, name: &str) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.timer += 1;
        let now = clock::epoch_s();
        let Some(unit_timer) = entry.unit.timer.clone() else {
            // Its document has none any more: there is no time to wait for.
            return self.set_timer(name, clock::now());
        };
        let unit_timer = &unit_timer;
        let counts_from = clock::counts_from(unit_timer, entry.fired, now);
        if counts_from != entry.fired && !entry.removing {
            if let Some(fired) = entry.fired {
                let (fired, now) = (utc::text(fired), utc::text(now));
                tracing::warn!(unit = name, fired, now, "timer-fired-in-the-future");
            }
            entry.fired = counts_from;
            self.keep_fired(name, now).await;
        }
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.next_fire = clock::next_fire(unit_timer, counts_from, now).map(|at| at.max(now));
        let Some(at) = entry.next_fire else { return };
        let (name, timer, queue) = (name.to_owned(), entry.timer, self.queue.clone());
        self.tasks.spawn(async move {
            let message = match clock::until_epoch(at).await {
                clock::Woken::Due => Message::TimerRang { name, timer },
                clock::Woken::SetBack => Message::ClockSetBack { name, timer },
            };
            drop(queue.send(message).await);
        });
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
        if let Err(error) = self.cgroup(name).kill() {
            let error = ferrite_schema::chain(&error);
            tracing::warn!(unit = name, error, "cgroup-kill-failed");
        }
    }

    /// Kills what makes or keeps a container and does not answer. Its connection ends with it, which says the rest.
    fn kill_shim(&self, name: &str) {
        // What it has put into the container's cgroup since the last kill has no keeper any more.
        self.kill(name);
        let cgroup = self.tools.places.shim_cgroup_of(name);
        match cgroup.count().and_then(|count| cgroup.kill().map(|()| count)) {
            // Its start is still on the way to it.
            Ok(0) => {}
            Ok(killed) => tracing::warn!(unit = name, killed, "shim-hangs-killed"),
            Err(error) => {
                let error = ferrite_schema::chain(&error);
                tracing::warn!(unit = name, error, "shim-kill-failed");
            }
        }
    }

    /// The cgroup of a unit's container.
    pub(super) fn cgroup(&self, name: &str) -> Cgroup {
        let of_node = self.entries.get(name).is_some_and(|entry| entry.system.is_some());
        let places = &self.tools.places;
        let parent = if of_node { &places.system_cgroup } else { &places.unit_cgroup };
        Cgroup::below_root(&format!("{parent}/{name}"))
    }

    /// What an event is worth beside the step that it makes.
    pub(super) async fn note(&mut self, name: &str, event: &Event) {
        let first_run = self.entries.get(name).is_some_and(|entry| !entry.ran_before);
        match event {
            Event::Started { .. } if first_run => {
                let ran = name.to_owned();
                self.in_store(move |store| store.note_ran(&ran)).await;
            }
            Event::Unchecked { why } => {
                tracing::warn!(unit = name, error = why, "health-not-looked-at");
            }
            Event::Ended(end) if end.oom_killed => {
                let message = "the kernel killed something in it for want of memory".to_owned();
                self.publish(name, EventKind::Oom, message);
            }
            _ => {}
        }
    }
}

/// The run whose network a container shares.
pub(super) fn joined(network: &Network) -> Option<u64> {
    match network {
        Network::Unit(shared) => Some(shared.run),
        Network::Host | Network::None | Network::Bridge(_) => None,
    }
}

/// A container's addresses, IPv4 first.
pub(super) fn addresses(network: &Network) -> Vec<String> {
    match network {
        Network::Host | Network::None | Network::Unit(SharedNetwork { attachment: None, .. }) => {
            Vec::new()
        }
        Network::Bridge(attachment)
        | Network::Unit(SharedNetwork { attachment: Some(attachment), .. }) => {
            let first = attachment.ipv4.0.to_string();
            std::iter::once(first).chain(attachment.ipv6.map(|(v6, ..)| v6.to_string())).collect()
        }
    }
}
