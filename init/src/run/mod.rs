//! Stage 2: PID 1 in the slot's root, from there until the machine is down.
//!
//! The pure files decide (`machine`, `supervisor`, `shutdown`, `trial`, `slots`), the others do.

pub mod agent_output;
pub mod cgroups;
pub mod children;
pub mod control;
pub mod drivers;
pub mod event_loop;
pub mod finish;
pub mod kernel_call;
pub mod machine;
pub mod platform;
pub mod power_button;
pub mod requests;
pub mod shutdown;
pub mod slot_disk;
pub mod slots;
pub mod state_watch;
pub mod supervisor;
pub mod sysctl;
pub mod trial;

use std::fs;
use std::path::Path;
use std::time::Duration;

use ferrite_layout::boot_params;
use ferrite_layout::slot::Slot;
use ferrite_schema::chain;
use ferrite_schema::names;
use ferrite_schema::timeline::Phase;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::system::{RebootCommand, reboot, sethostname};

use crate::boot::handover::BootState;
use crate::boot::header;
use crate::disk::SystemDisk;
use crate::fatal::{self, report};
use crate::haste;
use crate::log;
use crate::modules::{Hotplug, Loader, Probe, Urgency, autoload};
use crate::state::{self, clock::Clock};
use crate::timeline::{self, Recorder};
use crate::unwritten;
use crate::watchdog;
use event_loop::EventLoop;
use machine::Machine;
use platform::Platform;
use requests::Node;
use slot_disk::SlotDisk;
use state_watch::StateWatch;
use trial::Trial;

/// How long a slot has to become ready, unless the command line says otherwise: etcd
/// elections and a slow first boot fit in many times over.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
/// Name of a node until the agent has read its configuration.
const HOSTNAME: &str = "ferrite";
/// Open files: what a program gets, and what it may ask for.
const OPEN_FILES: Rlimit = Rlimit { current: Some(1024), maximum: Some(524_288) };

/// Brings the machine up from its root, keeps it up, takes it down.
pub fn run(boot: BootState) -> ! {
    let BootState {
        slot,
        unproven,
        persons_choice,
        refused,
        document,
        disk,
        disk_guid,
        watchdogs,
        warnings,
        ..
    } = boot;
    let mut recorder = boot.timeline;
    watchdog::inherit(watchdogs);
    fatal::feed_with(watchdog::feed);
    haste::begin();
    prepare_process();
    log::info(format_args!("Ferrite {} from slot {slot} on {disk}", document.version));
    apply_settings(&mut recorder);
    if let Err(error) = recorder.step(Phase::Init, "control groups", cgroups::make_tree) {
        report(&error);
    }
    let hotplug = load_drivers(&mut recorder);
    watchdog::arm_hardware();
    watchdog::feed();
    let disk = SystemDisk::new(disk).with_identity(disk_guid);
    let mut warnings = warnings;
    // Who cannot mount it will say so when the rest of it is read.
    recorder.step(Phase::Init, "mount OEM", || state::mount_oem(&disk)).ok();
    // Nothing is mounted for writing yet: from here one can still jump.
    let platform = platform::bring_into_effect(&disk, slot, &document);
    if let Platform::LeftOut(problem) = &platform {
        log::warn(format_args!("{problem}"));
        warnings.push(problem.clone());
    }
    let clock = Clock::read();
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let storage =
        match state::bring_up(&disk, clock, &command_line, (&mut recorder, watchdog::feed)) {
            Ok(storage) => storage,
            Err(error) => report(&error),
        };
    watchdog::feed();
    warnings.extend(storage.warnings);
    let now = event_loop::now();
    let in_use = storage.rescue.is_none();
    let state_watch =
        in_use.then(|| StateWatch::begin(storage.errors, storage.checked_lately, now));

    let keys = header::trusted_keys(Path::new(names::SLOT_KEYS_DIR));
    let node = Node {
        slot,
        slots: SlotDisk::new(disk.clone(), keys, refused),
        disk,
        platform,
        recorder,
        ready: false,
        state_recreated: storage.state_recreated,
        rescue: storage.rescue,
        warnings,
        damage_seen: false,
    };
    let doubts = Doubts { unproven, persons_choice, in_use };
    let trial = trial_of(slot, doubts, now, ready_timeout(&command_line));
    match EventLoop::new(Machine::new(trial), node, hotplug, clock) {
        Ok(event_loop) => event_loop.run(state_watch),
        Err(error) => report(&error),
    }
}

/// What there is to say against the running slot, and for it.
struct Doubts {
    /// It was never healthy.
    unproven: bool,
    /// A person named it.
    persons_choice: bool,
    /// It can use STATE.
    in_use: bool,
}

fn trial_of(slot: Slot, doubts: Doubts, now: Duration, timeout: Duration) -> Trial {
    if doubts.persons_choice {
        log::info(format_args!(
            "slot {slot} was asked for by ferrite.slot=: it stays, ready or not"
        ));
        Trial::endless()
    } else if !doubts.in_use && !doubts.unproven {
        // It was healthy, and the other slot has the same STATE.
        Trial::endless()
    } else if !doubts.in_use {
        // It will not become ready; perhaps the other slot's e2fsck or kernel can do more.
        log::warn(format_args!("slot {slot} is on trial and cannot use STATE"));
        Trial::until(now)
    } else {
        log::info(format_args!("slot {slot} has {} s to become ready", timeout.as_secs()));
        Trial::until(now.saturating_add(timeout))
    }
}

/// What only PID 1 itself has: none of it is worth not booting for.
fn prepare_process() {
    let warn = |what: &str, error: &dyn std::fmt::Display| {
        log::warn(format_args!("{what}: {error}"));
    };
    if let Err(error) = reboot(RebootCommand::CadOff) {
        warn("ctrl-alt-del resets at once instead of in order", &error);
    }
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "-1000") {
        warn("PID 1 is not safe from the kernel's out-of-memory killer", &error);
    }
    if let Err(error) = setrlimit(Resource::Nofile, OPEN_FILES) {
        warn("the limit of open files stays as the kernel set it", &error);
    }
    if let Err(error) = sethostname(HOSTNAME.as_bytes()) {
        warn("the hostname is not set", &error);
    }
}

fn apply_settings(recorder: &mut Recorder) {
    let apply = || sysctl::apply(Path::new(sysctl::FILE));
    match recorder.step(Phase::Init, "kernel settings", apply) {
        Ok(count) => recorder.note(format!("{count} settings")),
        Err(error) => log::error(format_args!("the kernel is not hardened: {}", chain(&error))),
    }
    if let Err(error) = unwritten::bound() {
        log::warn(format_args!("memory may hold much that is not written yet: {error}"));
    }
}

fn load_drivers(recorder: &mut Recorder) -> Option<Hotplug> {
    if let Err(error) = autoload::enable() {
        log::warn(format_args!("the kernel cannot ask for modules: {error}"));
    }
    let start = timeline::now();
    match Hotplug::open(Loader::open(Probe::AtOnce)) {
        Ok(mut hotplug) => {
            let devices = Hotplug::devices();
            // Of everything else nothing is waited for: see `run::drivers`.
            let new = hotplug.load_urgent(&devices, |urgency| urgency != Urgency::Rest);
            recorder.end(Phase::Init, "drivers", start);
            if !new.is_empty() {
                recorder.note(new.join(" "));
            }
            Some(hotplug)
        }
        Err(error) => {
            log::error(format_args!("new devices will not be noticed: {error}"));
            None
        }
    }
}

fn ready_timeout(command_line: &str) -> Duration {
    boot_params::value(command_line, boot_params::READY_TIMEOUT_S)
        .and_then(|seconds| seconds.parse().ok())
        .map_or(READY_TIMEOUT, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_may_change_the_ready_timeout() {
        assert_eq!(ready_timeout("quiet ferrite.ready_timeout_s=20"), Duration::from_secs(20));
        assert_eq!(ready_timeout("ferrite.ready_timeout_s=soon"), READY_TIMEOUT);
        assert_eq!(ready_timeout(""), READY_TIMEOUT);
    }
}
