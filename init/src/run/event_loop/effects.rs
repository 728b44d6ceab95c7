//! What the machine asks for, done.

use ferrite_schema::chain;
use ferrite_schema::control::ShutdownMode;
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::system::{RebootCommand, reboot};

use super::EventLoop;
use crate::fatal::fatal;
use crate::run::machine::{Effect, Event};
use crate::run::{cgroups, children, finish};
use crate::{log, unwritten, watchdog};

impl EventLoop {
    /// Does it; what came of it at once is returned.
    pub(super) fn execute(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Log(level, text) => log::write(level, format_args!("{text}")),
            Effect::Spawn => return Some(self.spawn()),
            Effect::Terminate { pid } => self.signal(pid, Signal::TERM),
            Effect::Kill { pid } => self.signal(pid, Signal::KILL),
            Effect::TerminateAll => {
                children::signal_everyone(Signal::TERM);
                self.reap_due = true;
            }
            Effect::KillUnits => {
                cgroups::kill(cgroups::UNITS).ok();
                self.reap_due = true;
            }
            Effect::KillAll => {
                for group in [cgroups::UNITS, cgroups::SYSTEM] {
                    cgroups::kill(group).ok();
                }
                children::signal_everyone(Signal::KILL);
                self.reap_due = true;
            }
            Effect::Finish => return self.finish(),
            Effect::CountUnwritten => {
                return Some(Event::Unwritten { bytes: unwritten::bytes() });
            }
            Effect::JudgeOtherSlot => {
                return Some(Event::OtherSlot { can_boot: self.node.other_slot_is_better() });
            }
            Effect::Power(mode) => power(mode),
        }
        None
    }

    fn finish(&mut self) -> Option<Event> {
        match finish::start(self.clock, self.growth.take().map(|(growth, _)| growth)) {
            Ok(pipe) => {
                self.finishing = Some((pipe, Vec::new()));
                None
            }
            Err(error) => {
                let problem = Some(format!("file systems cannot be unmounted: {error}"));
                Some(Event::Finished { problem })
            }
        }
    }

    fn spawn(&mut self) -> Event {
        match children::start_agent(self.output.write_end()) {
            Ok(process) => {
                let pid = process.pid();
                self.agent = Some(process);
                Event::Spawned { pid }
            }
            Err(error) => Event::SpawnFailed { reason: chain(&error) },
        }
    }

    fn signal(&self, pid: i32, signal: Signal) {
        if let Some(agent) = self.agent.as_ref().filter(|agent| agent.pid() == pid)
            && let Err(error) = agent.signal(signal)
            // It ended already; reaping will say so.
            && error != Errno::SRCH
        {
            log::error(format_args!("the agent cannot be signalled: {error}"));
        }
    }
}

fn power(mode: ShutdownMode) -> ! {
    let command = match mode {
        ShutdownMode::Poweroff => {
            watchdog::disarm();
            RebootCommand::PowerOff
        }
        // Left armed: should the reset hang, the watchdog does it.
        ShutdownMode::Reboot => RebootCommand::Restart,
    };
    match reboot(command) {
        Ok(()) => fatal("the kernel neither reset the machine nor switched it off"),
        Err(error) => fatal(&format!("the kernel refuses to go down: {error}")),
    }
}
