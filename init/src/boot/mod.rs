//! Stage 1: from the kernel's hand, in the initramfs, to the slot's own PID 1.
//!
//! Responsible for: early mounts, modules for the disk, finding the disk, choosing and checking the slot, the way
//! into it. Every end that is not the slot's PID 1 or another kernel is [`crate::fatal`]. Until a trusted key has vouched
//! for a slot of the disk, nothing is written to it.

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
use ferrite_layout::slot::starts::{self, STARTS_MAX};
use ferrite_layout::slot::{Reason, Slot};
use ferrite_layout::slot_header::{SlotDocument, TrustedKey};
use ferrite_schema::chain;
use ferrite_schema::names;
use ferrite_schema::timeline::Phase;

use crate::boot::handover::BootState;
use crate::boot::kexec::CommandLine;
use crate::boot::plan::{Attempt, Plan, Way};
use crate::boot::wait::Found;
use crate::disk::{DiskError, SystemDisk, origin};
use crate::fatal::{self, fatal, give_up_slowly, report};
use crate::haste;
use crate::irreversible::slots::{Slots, Usable};
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
    #[error("write what the start costs the slot")]
    Spend { source: DiskError },
    #[error("it is not on this disk")]
    Absent,
}

/// What a boot knows while it looks for a slot.
struct Boot {
    disk: SystemDisk,
    table: Table,
    /// What the slots hold, of those that a trusted key vouches for.
    documents: Vec<(Slot, SlotDocument)>,
    command_line: String,
    boot_id: String,
    /// The slot whose kernel the running one refuses to load.
    refused: Option<Slot>,
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

    let keys = header::trusted_keys(Path::new(names::SLOT_KEYS_DIR));
    let Found { disk: looked, is_double } = find_disk(&mut recorder, &command_line, &keys);
    let name = looked.candidate.name;
    let Some(table) = looked.table else {
        fatal(&format!("the disk {name} was chosen and has no partition table"))
    };
    let disk = SystemDisk::new(name);
    let settle = || disk.settle(table, is_double);
    let table = match recorder.step(Phase::Initramfs, "partition table", settle) {
        Ok(table) => table,
        Err(error) => report(&error),
    };
    let disk = disk.with_identity(table.disk_guid());
    let boot_id = fs::read_to_string(names::BOOT_ID_FILE).unwrap_or_default().trim().to_owned();
    let mut boot = Boot {
        disk,
        table,
        documents: Vec::new(),
        command_line,
        boot_id,
        refused: None,
        warnings: Vec::new(),
        recorder,
    };
    for (slot, header) in looked.slots {
        match header {
            Ok(document) => boot.documents.push((slot, document)),
            Err(error) => boot.distrust(slot, &error),
        }
    }
    boot.choose_and_go()
}

fn find_disk(recorder: &mut Recorder, command_line: &str, keys: &[TrustedKey]) -> Found {
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
    // While disks are looked for.
    let origin = origin::find(command_line, hotplug.loader());
    recorder.end(Phase::Initramfs, "modules", start);
    recorder.note(new.join(" "));
    let start = timeline::now();
    let found = wait::for_system_disk(&mut hotplug, (&origin, keys), is_swift);
    recorder.end(Phase::Initramfs, "system disk", start);
    recorder.note(found.disk.candidate.name.clone());
    found
}

impl Boot {
    fn choose_and_go(mut self) -> ! {
        let attributes = |slot| self.table.slot(slot).unwrap_or_default();
        let slots = Slots { a: attributes(Slot::A), b: attributes(Slot::B) };
        let usable =
            Usable { a: self.document(Slot::A).is_some(), b: self.document(Slot::B).is_some() };
        let pinned = boot_params::value(&self.command_line, boot_params::SLOT)
            .and_then(|text| text.parse().ok());
        let mut plan = Plan::new(slots, usable, pinned);
        while let Some(attempt) = plan.next_attempt() {
            self.say(attempt);
            let failure = self.try_slot(attempt);
            self.warn(format!("slot {} cannot be booted: {}", attempt.slot, chain(&failure)));
            let (change, not_written) =
                if matches!(failure, SlotFailure::Kexec(kexec::KexecError::Refused { .. })) {
                    self.refused = Some(attempt.slot);
                    (plan.refused(attempt), "its start was counted and stays so")
                } else {
                    (plan.failed(attempt), "that is counted nowhere")
                };
            if let Some(slots) = change
                && let Err(error) = self.write_slots(slots)
            {
                self.warn(format!("{not_written}: {}", chain(&error)));
            }
        }
        give_up_slowly(&format!(
            "no slot on {} can be booted; install the system anew or start it from another disk. {}",
            self.disk.name(),
            self.warnings.join("; ")
        ))
    }

    fn document(&self, slot: Slot) -> Option<&SlotDocument> {
        self.documents.iter().find(|(of, _)| *of == slot).map(|(_, document)| document)
    }

    /// A slot that is empty is nothing to tell; one that is not trusted here is passed over and left as it is.
    fn distrust(&mut self, slot: Slot, error: &header::LoadHeader) {
        if self.table.slot(slot).is_some_and(|attributes| attributes.priority > 0) {
            self.warn(format!("slot {slot} is not used: {}; it is left as it is", chain(error)));
        }
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
        let document = self.document(attempt.slot).ok_or(SlotFailure::Absent)?.clone();
        self.pay(attempt)?;
        let kern = self.disk.partition_path(attempt.slot.kern_partition());
        self.recorder.note(format!("slot {} version {}", attempt.slot, document.version));
        if document.development {
            log::warn(format_args!("slot {} is signed with a development key", attempt.slot));
        }
        // Only for the slot that it names: falling back to the other one is a jump of its own.
        let jumped = attempt.pinned
            && boot_params::value(&self.command_line, boot_params::KEXEC_TSC).is_some();
        match plan::way(jumped, &document.boot_id, &self.boot_id) {
            Way::Stray => Err(SlotFailure::Stray),
            Way::Kexec => self.jump(attempt, &kern, &document),
            Way::Root => self.enter_root(attempt, &document, jumped),
        }
    }

    /// Writes what the start costs. Only a slot on trial is not started without: the others were healthy, or there is nothing
    /// better, and a disk that takes no writes is no reason to be unreachable.
    fn pay(&mut self, attempt: Attempt) -> Result<(), SlotFailure> {
        let Some(slots) = attempt.write else { return Ok(()) };
        let start = timeline::now();
        let result = self.write_slots(slots);
        self.recorder.end(Phase::Initramfs, "count the start", start);
        match result {
            Ok(()) => Ok(()),
            Err(source) if attempt.reason == Reason::Trial => Err(SlotFailure::Spend { source }),
            Err(error) => {
                self.warn(format!(
                    "the start of slot {} is not counted: {}",
                    attempt.slot,
                    chain(&error)
                ));
                Ok(())
            }
        }
    }

    fn jump(
        &self,
        attempt: Attempt,
        kern: &Path,
        document: &SlotDocument,
    ) -> Result<std::convert::Infallible, SlotFailure> {
        let slot = attempt.slot;
        log::info(format_args!("slot {slot} has another kernel: loading it"));
        let tsc = timeline::now().tsc;
        let built_with = fs::read_to_string(names::COMMAND_LINE_FILE).unwrap_or_default();
        let mut persons = boot_params::persons(&self.command_line, &built_with);
        if attempt.pinned && !persons.contains(&boot_params::STAY) {
            persons.push(boot_params::STAY);
        }
        let command_line = CommandLine {
            slots_own: &document.cmdline,
            persons: &persons,
            oem: None,
            slot,
            disk: self.table.disk_guid(),
            tsc,
        };
        kexec::load(kern, document, &command_line.build())?;
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
        jumped: bool,
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
            persons_choice: (attempt.pinned && !jumped)
                || boot_params::value(&self.command_line, boot_params::STAY).is_some(),
            unproven: !attributes_of(&self.table, attempt.slot).successful,
            refused: self.refused,
            document: document.clone(),
            disk: self.disk.name().to_owned(),
            disk_guid: self.table.disk_guid(),
            warnings: self.warnings.clone(),
            timeline: self.recorder.clone(),
            watchdogs: Vec::new(),
        };
        hand_over(state)
    }

    fn write_slots(&mut self, slots: Slots) -> Result<(), DiskError> {
        for slot in Slot::ALL {
            // A slot that the disk does not have is none whose attributes could have changed.
            self.table.set_slot(slot, slots.get(slot)).ok();
        }
        self.disk.write_table(&self.table)
    }

    fn say(&mut self, attempt: Attempt) {
        if let Some(demoted) = attempt.demoted {
            self.warn(format!(
                "slot {demoted} has started {STARTS_MAX} times and not become ready; slot {} goes before it now",
                attempt.slot
            ));
        }
        say(attempt, attributes_of(&self.table, attempt.slot));
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
        (false, Reason::Successful) if starts::failed(attributes) > 0 => log::warn(format_args!(
            "slot {slot}: it was healthy before, but not after its last {} starts (priority {})",
            starts::failed(attributes),
            attributes.priority
        )),
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
