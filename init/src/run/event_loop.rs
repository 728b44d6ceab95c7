//! Waits for whatever happens, tells the [`Machine`], and does what it says. Decides nothing.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use ferrite_schema::control::{Response, ShutdownMode};
use ferrite_schema::names;
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Uid;
use rustix::time::ClockId;

use super::agent_output::AgentOutput;
use super::children::{self, Process, Reaped};
use super::control::{ControlSocket, MakeSocket, Received};
use super::machine::{Event, Machine};
use super::power_button::PowerButtons;
use super::requests::Node;
use super::state_watch::StateWatch;
use super::{drivers, finish};
use crate::boot::root;
use crate::disk::STATE_PARTITION;
use crate::fatal::fatal;
use crate::log;
use crate::modules::Hotplug;
use crate::state::clock::Clock;
use crate::state::grow::Growth;
use crate::timeline::{self, Instant};
use crate::watchdog;

mod effects;

/// Processes reaped per turn: ten thousand orphans must not keep the watchdog hungry.
const REAP_BATCH: usize = 4096;

/// The loop could not begin.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StartLoop {
    #[error("receive signals as data")]
    Signals { source: nix::Error },
    #[error("make the pipe for the agent's output")]
    Output { source: Errno },
    #[error(transparent)]
    Control(#[from] MakeSocket),
}

/// Everything that can be waited for, and the machine.
#[derive(Debug)]
pub struct EventLoop {
    machine: Machine,
    node: Node,
    signals: SignalFd,
    control: ControlSocket,
    output: AgentOutput,
    buttons: PowerButtons,
    hotplug: Option<Hotplug>,
    clock: Clock,
    /// Absent in the rescue state.
    state_watch: Option<StateWatch>,
    growth: Option<(Growth, Instant)>,
    agent: Option<Process>,
    finishing: Option<(OwnedFd, Vec<u8>)>,
    feed_due: Duration,
    /// Drivers that nobody waits for are to be loaded by then, or as soon as the node is ready.
    drivers_due: Option<Duration>,
    reap_due: bool,
}

/// What a descriptor in the poll set belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Agent,
    Output,
    Hotplug,
    Button,
    StateErrors,
    Growth,
    Finish,
    Listener,
    Client(usize),
}

/// Time that never jumps.
#[must_use]
pub fn now() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::Monotonic);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

impl EventLoop {
    /// Opens everything that is waited for.
    ///
    /// # Errors
    /// Says what could not be opened; a machine without it would be out of control.
    pub fn new(
        machine: Machine,
        node: Node,
        hotplug: Option<Hotplug>,
        clock: Clock,
    ) -> Result<Self, StartLoop> {
        // SIGINT: ctrl-alt-del. SIGPWR: the power is failing. SIGTERM: what kernels and habits send.
        let mask: SigSet =
            [NixSignal::SIGCHLD, NixSignal::SIGINT, NixSignal::SIGTERM, NixSignal::SIGPWR]
                .into_iter()
                .collect();
        mask.thread_block().map_err(|source| StartLoop::Signals { source })?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|source| StartLoop::Signals { source })?;
        let control = ControlSocket::open(Path::new(names::CONTROL_SOCKET), Uid::ROOT)?;
        let output = AgentOutput::new(now()).map_err(|source| StartLoop::Output { source })?;
        let mut buttons = PowerButtons::default();
        buttons.open_all();
        Ok(Self {
            machine,
            node,
            signals,
            control,
            output,
            buttons,
            hotplug,
            clock,
            state_watch: None,
            growth: None,
            agent: None,
            finishing: None,
            feed_due: Duration::ZERO,
            drivers_due: Some(now().saturating_add(drivers::LATEST)),
            // Orphans may have ended before SIGCHLD was ours.
            reap_due: true,
        })
    }

    /// Runs until the machine is down. `state_watch` watches STATE, where it is in use.
    pub fn run(mut self, state_watch: Option<StateWatch>) -> ! {
        self.state_watch = state_watch;
        self.handle(Event::Start);
        if self.state_watch.is_some() {
            self.grow_state();
        }
        // Damage that was found before anybody listened for it.
        if root::is_root_damaged() {
            self.leave_damaged_root();
        }
        loop {
            for source in self.wait() {
                self.serve(source);
            }
            if self.reap_due {
                self.reap();
            }
            self.control.sweep();
            let now = now();
            if self.output.deadline().is_some_and(|due| now >= due) {
                self.output.forward(now);
            }
            if now >= self.feed_due {
                watchdog::feed();
                self.look_at_state();
                self.feed_due = now.saturating_add(watchdog::FEED_EVERY);
            }
            if self.drivers_due.is_some_and(|due| self.node.ready || now >= due) {
                self.drivers_due = None;
                if let Err(error) = drivers::start() {
                    log::warn(format_args!("further drivers are not loaded: {error}"));
                }
            }
            if self.machine.deadline().is_some_and(|due| now >= due) {
                self.handle(Event::Tick);
            }
        }
    }

    /// Waits for a descriptor or the next deadline and returns what is ready.
    fn wait(&self) -> Vec<Source> {
        let polled = self.poll_set();
        let mut fds: Vec<PollFd<'_>> =
            polled.iter().map(|(source, fd)| poll_for(*source, *fd)).collect();
        match poll(&mut fds, Some(&self.timeout())) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => fatal(&format!("cannot wait for events any more: {error}")),
        }
        polled
            .iter()
            .zip(fds)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|((source, _), _)| *source)
            .collect()
    }

    fn poll_set(&self) -> Vec<(Source, BorrowedFd<'_>)> {
        let mut all = vec![(Source::Signals, self.signals.as_fd())];
        all.extend(self.agent.iter().map(|agent| (Source::Agent, agent.as_fd())));
        all.extend(self.output.to_poll().map(|pipe| (Source::Output, pipe)));
        all.extend(self.hotplug.iter().map(|hotplug| (Source::Hotplug, hotplug.as_fd())));
        all.extend(self.buttons.to_poll().map(|button| (Source::Button, button)));
        let state_errors = self.state_watch.as_ref().and_then(StateWatch::to_poll);
        all.extend(state_errors.map(|count| (Source::StateErrors, count)));
        all.extend(self.growth.iter().map(|(growth, _)| (Source::Growth, growth.as_fd())));
        all.extend(self.finishing.iter().map(|(pipe, _)| (Source::Finish, pipe.as_fd())));
        all.extend(self.control.to_poll().enumerate().map(|(place, fd)| {
            (place.checked_sub(1).map_or(Source::Listener, Source::Client), fd)
        }));
        all
    }

    fn timeout(&self) -> Timespec {
        let deadlines = [
            self.machine.deadline(),
            self.output.deadline(),
            self.drivers_due,
            Some(self.feed_due),
        ];
        let due = deadlines.into_iter().flatten().min().unwrap_or(self.feed_due);
        let left = if self.reap_due { Duration::ZERO } else { due.saturating_sub(now()) };
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        }
    }

    fn serve(&mut self, source: Source) {
        match source {
            Source::Signals => self.take_signals(),
            Source::Agent => self.reap(),
            Source::Output => self.output.forward(now()),
            Source::Hotplug => self.take_announcements(),
            Source::Button => {
                if self.buttons.take_press() {
                    self.shut_down(ShutdownMode::Poweroff, "the power button was pressed");
                }
            }
            Source::StateErrors => self.look_at_state(),
            Source::Growth => self.take_growth(),
            Source::Finish => self.take_result(),
            Source::Listener => self.control.accept(),
            Source::Client(index) => self.serve_client(index),
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
            match NixSignal::try_from(number) {
                Ok(NixSignal::SIGCHLD) => self.reap(),
                Ok(NixSignal::SIGINT) => {
                    self.shut_down(ShutdownMode::Reboot, "ctrl-alt-del was pressed");
                }
                Ok(NixSignal::SIGPWR) => {
                    self.shut_down(ShutdownMode::Poweroff, "the power supply says that it fails");
                }
                Ok(NixSignal::SIGTERM) => {
                    self.shut_down(ShutdownMode::Poweroff, "PID 1 was asked to end by a signal");
                }
                // Nothing else is in the mask.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Reaps whatever has ended; goes on in the next turn when that is very much.
    fn reap(&mut self) {
        self.reap_due = false;
        for _ in 0..REAP_BATCH {
            match children::reap() {
                Reaped::Ended { pid, how } => {
                    if self.agent.as_ref().is_some_and(|agent| agent.pid() == pid) {
                        self.agent = None;
                        // What it said last explains its end.
                        self.output.forward(now());
                    }
                    self.handle(Event::Ended { pid, how });
                }
                Reaped::NoneEnded => return,
                Reaped::Alone => {
                    self.handle(Event::NoProcessLeft);
                    return;
                }
            }
        }
        self.reap_due = true;
    }

    fn take_announcements(&mut self) {
        let Some(hotplug) = &mut self.hotplug else { return };
        let announcements = match hotplug.handle() {
            Ok(announcements) => announcements,
            Err(error) => {
                log::error(format_args!("new devices are not noticed any more: {error}"));
                self.hotplug = None;
                return;
            }
        };
        if announcements.lost {
            // Each of these may have been among them.
            self.buttons.open_all();
            watchdog::arm_hardware();
            if root::is_root_damaged() {
                self.leave_damaged_root();
            }
        }
        for uevent in announcements.uevents {
            if uevent.is_damage() {
                self.leave_damaged_root();
            }
            if uevent.action != "add" {
                continue;
            }
            match (uevent.subsystem.as_str(), uevent.device_name.as_deref()) {
                ("input", Some(device)) => {
                    self.buttons.open(device.strip_prefix("input/").unwrap_or(device));
                }
                ("watchdog", Some(_)) => watchdog::arm_hardware(),
                _ => {}
            }
        }
    }

    fn leave_damaged_root(&mut self) {
        if self.node.root_is_damaged() {
            self.shut_down(ShutdownMode::Reboot, "the running slot is damaged");
        }
    }

    /// STATE has time to grow: whoever needs the room now waits no longer than he did before it was mounted.
    fn grow_state(&mut self) {
        let start = timeline::now();
        match Growth::begin(self.node.disk.partition_path(STATE_PARTITION)) {
            Ok(growth) => self.growth = Some((growth, start)),
            Err(error) => {
                log::warn(format_args!("STATE stays smaller than its partition: {error}"));
            }
        }
    }

    fn take_growth(&mut self) {
        if let Some((growth, start)) = self.growth.take() {
            self.node.state_has_grown(growth.end(), start);
        }
    }

    fn look_at_state(&mut self) {
        let Some(watch) = &mut self.state_watch else { return };
        if self.machine.is_shutting_down() {
            return;
        }
        if let Some(damage) = watch.damage() {
            self.node.state_is_damaged(&damage);
            self.shut_down(ShutdownMode::Reboot, &damage);
        } else if watch.is_sound_for_long(now()) {
            self.node.state_is_sound();
        }
    }

    fn take_result(&mut self) {
        if let Some((pipe, text)) = &mut self.finishing
            && let Some(result) = finish::take_result(pipe, text)
        {
            self.finishing = None;
            self.handle(Event::Finished { problem: result.err() });
        }
    }

    fn serve_client(&mut self, index: usize) {
        let (response, event) = match self.control.receive(index) {
            Received::Request(request) => self.node.answer(request, &self.machine, now()),
            Received::NotARequest(problem) => {
                (Response::Refused { reason: format!("not a request: {problem}") }, None)
            }
            Received::Nothing => return,
        };
        self.control.respond(index, &response);
        if let Some(event) = event {
            self.handle(event);
        }
    }

    fn shut_down(&mut self, mode: ShutdownMode, reason: &str) {
        self.handle(Event::Shutdown { mode, reason: reason.to_owned() });
    }

    /// Tells the machine, does what it says, and tells it what came of that.
    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.machine.step(event, now()) {
                events.extend(self.execute(effect));
            }
        }
    }
}

/// A count in sysfs is always readable; that it changed is a priority event.
fn poll_for(source: Source, fd: BorrowedFd<'_>) -> PollFd<'_> {
    let events = if source == Source::StateErrors { PollFlags::PRI } else { PollFlags::IN };
    PollFd::from_borrowed_fd(fd, events)
}
