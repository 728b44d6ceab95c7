//! What machines ask for, done.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ferrite_schema::api::EventKind;
use ferrite_schema::shim::{Command, Network};
use ferrite_schema::unit::{NetworkMode, Unit};
use ferrite_schema::utc;
use ferrite_store::access::Unusable;
use ferrite_store::beside::beside;
use tokio::net::UnixStream;

use super::super::handle::Message;
use super::super::launch::Prepared;
use super::super::machine::{Effect, Event, Moment, RunKind};
use super::super::shims::{self, Shim};
use super::super::{cgroup, clock, health, launch};
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
            Effect::Release => {
                self.entries.get_mut(name)?.addresses.clear();
                self.tools.containers.detach(name).await;
            }
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

    /// Asks whether the image that is here may be used, which each start asks anew; where it may not as it is, another one
    /// may come from a registry.
    async fn pull(&mut self, name: &str) -> Option<Event> {
        let entry = self.entries.get(name)?;
        if entry.system.is_some() {
            return Some(Event::Pulled);
        }
        let image = entry.unit.image.clone();
        match self.tools.puller.look(&image).await {
            Ok(_) => Some(Event::Pulled),
            Err(problem) if problem.is_final() => {
                Some(Event::PullFailed { reason: ferrite_schema::chain(&problem), may_pass: false })
            }
            Err(problem) => {
                self.fetch(name);
                let why = match problem {
                    Unusable::Absent { .. } => String::new(),
                    problem => format!(", since {}", ferrite_schema::chain(&problem)),
                };
                Some(Event::Note { reason: format!("pulling {image}{why}") })
            }
        }
    }

    /// Brings a unit's image in the background.
    pub(super) fn fetch(&mut self, name: &str) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let (puller, image) = (self.tools.puller.clone(), entry.unit.image.clone());
        let (queue, name) = (self.queue.clone(), name.to_owned());
        let mut progress = puller.watch(&image);
        let asked = image.clone();
        let send = move |event| {
            let (queue, name, image) = (queue.clone(), name.clone(), asked.clone());
            async move { drop(queue.send(Message::Image { name, image, event }).await) }
        };
        let task = self.tasks.spawn(async move {
            let pulled = puller.ensure(&image);
            tokio::pin!(pulled);
            let result = loop {
                tokio::select! {
                    result = &mut pulled => break result,
                    Ok(()) = progress.changed() => {
                        let (done, total) = progress.borrow_and_update().bytes();
                        let reason = format!("pulling {image} ({} of {} MB)", megabytes(done), megabytes(total));
                        send(Event::Note { reason }).await;
                    }
                }
            };
            send(match result {
                Ok(_) => Event::Pulled,
                Err(error) => Event::PullFailed {
                    reason: ferrite_schema::chain(&error),
                    may_pass: error.may_pass(),
                },
            })
            .await;
        });
        if let Some(older) = entry.pull.replace(task) {
            older.abort();
        }
    }

    /// Starts a shim in the background; [`Message::Launched`] says how it went.
    fn launch(&mut self, name: &str, kind: RunKind) {
        let Some(entry) = self.entries.get(name) else { return };
        if let Some(system) = entry.system.clone() {
            return self.launch_system(system, entry.run);
        }
        let unit = self.for_run(entry.launched.as_ref().unwrap_or(&entry.unit), kind);
        let run = entry.run;
        let (puller, layers, places) =
            (self.tools.puller.clone(), self.tools.layers.clone(), self.tools.places.clone());
        let (network, queue) = (self.tools.containers.clone(), self.queue.clone());
        let (folder, name) = (self.run_folder(name), name.to_owned());
        self.tasks.spawn(async move {
            let result = async {
                let unit = unit?;
                let hostname = launch::hostname_of(&unit);
                let files = network
                    .attach(&unit, &hostname)
                    .await
                    .map_err(|error| ferrite_schema::chain(&error))?;
                // It looks at the store, and may write a new range of IDs.
                let prepared = beside(move || launch::prepare(&unit, &puller, &layers, &places));
                let Prepared { mut request, lease, notes } =
                    prepared.await.map_err(|error| ferrite_schema::chain(&error))?;
                let addresses = addresses(&files.network);
                request.network = files.network;
                request.beside = kind != RunKind::Main;
                let own = std::mem::replace(&mut request.mounts, files.mounts);
                request.mounts.extend(own);
                let started = shims::start(&folder, run, &request).await;
                // From here on its layers stand in the run folder, where the collector looks.
                drop(lease);
                let stream = started.map_err(|error| ferrite_schema::chain(&error))?;
                Ok(Box::new(Shim { stream, stop_signal: request.stop_signal, addresses, notes }))
            };
            let result = result.await;
            drop(queue.send(Message::Launched { name, run, result }).await);
        });
    }

    /// The unit as one of its runs has it.
    fn for_run(&self, unit: &Unit, kind: RunKind) -> Result<Unit, String> {
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
        Ok(unit)
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
            NetworkMode::Bridge => entry.addresses.first().and_then(|address| address.parse().ok()),
        };
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let run = entry.run;
        let (folder, cgroup) = (self.run_folder(name), self.cgroup(name));
        let (queue, own) = (self.queue.clone(), name.to_owned());
        let task = self.tasks.spawn(async move {
            let event = Event::Checked(health::look(&folder, &check, address, &cgroup).await);
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
        if let Err(error) = cgroup::kill(&self.cgroup(name)) {
            tracing::warn!(unit = name, %error, "cgroup-kill-failed");
        }
    }

    /// Kills what makes or keeps a container and does not answer. Its connection ends with it, which says the rest.
    fn kill_shim(&self, name: &str) {
        // What it has put into the container's cgroup since the last kill has no keeper any more.
        self.kill(name);
        match shims::kill(&self.tools.places.shim_cgroup, &self.run_folder(name)) {
            // Its start is still on the way to it.
            Ok(0) => {}
            Ok(killed) => tracing::warn!(unit = name, killed, "shim-hangs-killed"),
            Err(error) => tracing::warn!(unit = name, %error, "shim-kill-failed"),
        }
    }

    /// The cgroup of a unit's container.
    pub(super) fn cgroup(&self, name: &str) -> PathBuf {
        let of_node = self.entries.get(name).is_some_and(|entry| entry.system.is_some());
        let places = &self.tools.places;
        let parent = if of_node { &places.system_cgroup } else { &places.unit_cgroup };
        Path::new(cgroup::ROOT).join(parent.trim_start_matches('/')).join(name)
    }

    /// What an event is worth beside the step that it makes.
    pub(super) async fn note(&mut self, name: &str, event: &Event) {
        let first_run = self.entries.get(name).is_some_and(|entry| !entry.ran_before);
        match event {
            Event::Started { .. } if first_run => {
                let ran = name.to_owned();
                self.in_store(move |store| store.note_ran(&ran)).await;
            }
            Event::Ended(end) if end.oom_killed => {
                let message = "the kernel killed something in it for want of memory".to_owned();
                self.publish(name, EventKind::Oom, message);
            }
            _ => {}
        }
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

/// A container's addresses, IPv4 first.
pub(super) fn addresses(network: &Network) -> Vec<String> {
    match network {
        Network::Host | Network::None => Vec::new(),
        Network::Bridge(attachment) => {
            let first = attachment.ipv4.0.to_string();
            std::iter::once(first).chain(attachment.ipv6.map(|(v6, ..)| v6.to_string())).collect()
        }
    }
}
