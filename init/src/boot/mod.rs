//! Stage 1: from the kernel's hand, in the initramfs, to the slot's own PID 1.
//!
//! Responsible for: early mounts, modules for the disk, finding the disk, choosing and checking the slot, the way
//! into it. Every end that is not the slot's PID 1 or another kernel is [`crate::fatal`].

pub mod damage;
pub mod handover;
pub mod header;
pub mod kexec;
pub mod mounts;
pub mod plan;
pub mod root;
mod wait;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use ferrite_layout::attributes::SlotAttributes;
use ferrite_layout::boot_params;
use ferrite_layout::gpt::Table;
use ferrite_layout::slot::{Reason, Slot};
use ferrite_layout::slot_header::{SlotDocument, TrustedKey};
use ferrite_schema::names;
use ferrite_schema::timeline::Phase;

use crate::boot::handover::BootState;
use crate::boot::plan::{Attempt, Plan, Verdict, Way};
use crate::disk::{DiskError, SystemDisk};
use crate::fatal::{self, chain, fatal, report};
use crate::haste;
use crate::log;
use crate::modules::{Hotplug, Loader, Probe, Urgency};
use crate::timeline::{self, Instant, Recorder};
use crate::watchdog;

/// Modules that the way into a root needs and that no device asks for. A kernel that has them built in has no
/// files for them, which is fine.
const NEEDED_MODULES: [&str; 3] = ["dm_mod", "dm_verity", "erofs"];

/// Why a slot was not booted.
#[derive(Debug, thiserror::Error)]
enum SlotFailure {
    #[error(transparent)]
    Header(#[from] header::LoadHeader),
    #[error(transparent)]
    Kexec(#[from] kexec::KexecError),
    #[error(transparent)]
    Root(#[from] root::OpenRoot),
    #[error("this kernel is not the slot's although an earlier one jumped here for it")]
    Stray,
    #[error("spend a try")]
    Spend { source: DiskError },
}

impl SlotFailure {
    const fn verdict(&self) -> Verdict {
        match self {
            Self::Header(error) => error.verdict(),
            Self::Kexec(error) => error.verdict(),
            Self::Root(error) => error.verdict(),
            Self::Stray | Self::Spend { .. } => Verdict::Doubtful,
        }
    }
}

/// What a boot knows while it looks for a slot.
struct Boot {
    disk: SystemDisk,
    table: Table,
    command_line: String,
    boot_id: String,
    keys: Vec<TrustedKey>,
    warnings: Vec<String>,
    recorder: Recorder,
}

/// Runs stage 1. `first` was read by PID 1's first instructions.
pub fn run(first: Instant) -> ! {
    log::info(format_args!("pid1 tsc={}", first.tsc));
    if let Err(error) = mounts::mount_kernel_file_systems() {
        log::start();
        report(&error);
    }
    log::start();
    fatal::feed_with(watchdog::feed);
    haste::begin();
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let number = |name| boot_params::value(&command_line, name).and_then(|text| text.parse().ok());
    let mut recorder = Recorder::start(first, number(boot_params::KEXEC_TSC));
    recorder.end(Phase::Initramfs, "early mounts", first);

    let wanted = boot_params::value(&command_line, boot_params::DISK);
    let disk = find_disk(&mut recorder, wanted);
    let table = match recorder.step(Phase::Initramfs, "partition table", || disk.settle()) {
        Ok(table) => table,
        Err(error) => report(&error),
    };
    let boot_id = fs::read_to_string(names::BOOT_ID_FILE).unwrap_or_default().trim().to_owned();
    let keys = header::trusted_keys(Path::new(names::SLOT_KEYS_DIR));
    Boot { disk, table, command_line, boot_id, keys, warnings: Vec::new(), recorder }
        .choose_and_go()
}

fn find_disk(recorder: &mut Recorder, wanted: Option<&str>) -> SystemDisk {
    let start = timeline::now();
    let hotplug = Hotplug::open(Loader::open(Probe::AtOnce));
    let mut hotplug = match hotplug {
        Ok(hotplug) => hotplug,
        Err(error) => fatal(&format!("cannot listen for devices: {error}")),
    };
    let devices = Hotplug::devices();
    let mut new = hotplug.load_urgent(&devices, |urgency| urgency == Urgency::Watchdog);
    watchdog::arm(hotplug.loader());
    for module in NEEDED_MODULES {
        match hotplug.loader().load(module) {
            Ok(loaded) => new.extend(loaded),
            Err(error) => log::warn(format_args!("{}", chain(&error))),
        }
    }
    let swift = hotplug.load_urgent(&devices, |urgency| urgency == Urgency::SwiftDisk);
    let is_swift = !swift.is_empty();
    new.extend(swift);
    recorder.end(Phase::Initramfs, "modules", start);
    recorder.note(new.join(" "));
    let start = timeline::now();
    let disk = wait::for_system_disk(&mut hotplug, wanted, is_swift);
    recorder.end(Phase::Initramfs, "system disk", start);
    recorder.note(disk.name().to_owned());
    disk
}

impl Boot {
    fn choose_and_go(mut self) -> ! {
        let attributes = |slot| self.table.slot(slot).unwrap_or_default();
        let pinned = boot_params::value(&self.command_line, boot_params::SLOT)
            .and_then(|text| text.parse().ok());
        let mut plan = Plan::new(attributes(Slot::A), attributes(Slot::B), pinned);
        while let Some(attempt) = plan.next() {
            say(attempt, attributes_of(&self.table, attempt.slot));
            let failure = self.try_slot(attempt);
            let verdict = failure.verdict();
            self.warn(format!("slot {} cannot be booted: {}", attempt.slot, chain(&failure)));
            if let Some(given_up) = plan.failed(attempt.slot, verdict) {
                self.give_up(attempt.slot, given_up);
            }
        }
        fatal(&format!(
            "no slot on {} can be booted; install the system anew or start it from another disk. {}",
            self.disk.name(),
            self.warnings.join("; ")
        ))
    }

    /// Goes into a slot; comes back only when that is impossible.
    fn try_slot(&mut self, attempt: Attempt) -> SlotFailure {
        watchdog::feed();
        match self.enter(attempt) {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    fn enter(&mut self, attempt: Attempt) -> Result<std::convert::Infallible, SlotFailure> {
        if let Some(attributes) = attempt.spend {
            let start = timeline::now();
            self.write_attributes(attempt.slot, attributes)
                .map_err(|source| SlotFailure::Spend { source })?;
            self.recorder.end(Phase::Initramfs, "spend a try", start);
        }
        let kern = self.disk.partition_path(attempt.slot.kern_partition());
        let start = timeline::now();
        let document = header::load(&kern, &self.keys)?;
        self.recorder.end(Phase::Initramfs, "slot signature", start);
        self.recorder.note(format!("slot {} version {}", attempt.slot, document.version));
        if document.development {
            log::warn(format_args!("slot {} is signed with a development key", attempt.slot));
        }
        // Only for the slot that it names: falling back to the other one is a jump of its own.
        let jumped = attempt.pinned
            && boot_params::value(&self.command_line, boot_params::KEXEC_TSC).is_some();
        match plan::way(jumped, &document.boot_id, &self.boot_id) {
            Way::Stray => Err(SlotFailure::Stray),
            Way::Kexec => self.jump(attempt.slot, &kern, &document),
            Way::Root => self.enter_root(attempt, &document),
        }
    }

    fn jump(
        &self,
        slot: Slot,
        kern: &Path,
        document: &SlotDocument,
    ) -> Result<std::convert::Infallible, SlotFailure> {
        log::info(format_args!("slot {slot} has another kernel: loading it"));
        let tsc = timeline::now().tsc;
        let command_line = kexec::command_line(&document.cmdline, &self.command_line, slot, tsc);
        kexec::load(kern, document, &command_line)?;
        watchdog::prepare_jump();
        log::info(format_args!(
            "jumping into the kernel of slot {slot} (version {})",
            document.version
        ));
        Err(kexec::jump().into())
    }

    fn enter_root(
        &mut self,
        attempt: Attempt,
        document: &SlotDocument,
    ) -> Result<std::convert::Infallible, SlotFailure> {
        let start = timeline::now();
        let partition = self.disk.partition_path(attempt.slot.root_partition());
        root::open(&partition, &document.root)?;
        self.recorder.end(Phase::Initramfs, "verity and root", start);
        log::info(format_args!(
            "slot {} version {}: root verified and mounted",
            attempt.slot, document.version
        ));
        let state = BootState {
            slot: attempt.slot,
            reason: attempt.reason,
            unproven: !attributes_of(&self.table, attempt.slot).successful,
            version: document.version.clone(),
            variant: document.variant.clone(),
            disk: self.disk.name().to_owned(),
            warnings: self.warnings.clone(),
            timeline: self.recorder.clone(),
            watchdogs: Vec::new(),
        };
        hand_over(state)
    }

    fn give_up(&mut self, slot: Slot, attributes: SlotAttributes) {
        match self.write_attributes(slot, attributes) {
            Ok(()) => self.warn(format!("slot {slot} is given up for good: its priority is now 0")),
            Err(error) => {
                self.warn(format!("slot {slot} cannot be marked as bad: {}", chain(&error)))
            }
        }
    }

    fn write_attributes(
        &mut self,
        slot: Slot,
        attributes: SlotAttributes,
    ) -> Result<(), DiskError> {
        if self.table.set_slot(slot, attributes).is_ok() {
            self.disk.write_table(&self.table)?;
        }
        Ok(())
    }

    fn warn(&mut self, sentence: String) {
        log::error(format_args!("{sentence}"));
        self.warnings.push(sentence);
    }
}

/// Leaves the initramfs for good. Failing here leaves a machine between two roots: only a reset helps, and
/// counts as a failed try.
fn hand_over(mut state: BootState) -> ! {
    state.watchdogs = watchdog::hand_over();
    if let Err(error) = state.write() {
        report(&error);
    }
    if let Err(error) = mounts::switch_root() {
        report(&error);
    }
    let error = Command::new(names::INIT).env_clear().exec();
    fatal(&format!("cannot start {}: {error}", names::INIT))
}

fn attributes_of(table: &Table, slot: Slot) -> SlotAttributes {
    table.slot(slot).unwrap_or_default()
}

fn say(attempt: Attempt, attributes: SlotAttributes) {
    let slot = attempt.slot;
    match (attempt.pinned, attempt.reason) {
        (true, _) => log::info(format_args!("slot {slot}: named by the kernel command line")),
        (false, Reason::Successful) => {
            log::info(format_args!(
                "slot {slot}: it was healthy before (priority {})",
                attributes.priority
            ));
        }
        (false, Reason::Trial) => log::info(format_args!(
            "slot {slot}: on trial, spending one of {} tries (priority {})",
            attributes.tries, attributes.priority
        )),
        (false, Reason::LastResort) => log::warn(format_args!(
            "slot {slot}: never healthy and without tries, but nothing better is left"
        )),
    }
}
