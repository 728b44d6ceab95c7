//! STATE: from a partition that may hold anything to a mounted file system, or to the knowledge that it has to be left
//! alone. Every step is decided by [`crate::irreversible::state::next`] and carried out here, beside the watchdog.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrite_layout::boot_params;
use ferrite_layout::state_marks::{StateMarks, StateOrder};
use ferrite_schema::chain;
use ferrite_schema::names;
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::errors::ErrorCount;
use super::patience::{Stalled, Watch};
use super::{check, ledger, look, template};
use crate::disk::{STATE_PARTITION, SystemDisk};
use crate::fatal::fatal;
use crate::irreversible::state::{
    Act, Backup, Cause, Checked, Evidence, Giver, Made, Mounted, Order, Problem, next,
};
use crate::log;

/// `/var` has no device nodes, no set-user-ID files and no programs of the system's. What containers execute
/// is seen through their own overlay mounts, which have their own flags.
const MOUNT_FLAGS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::RELATIME);
/// The last part of STATE is for who has `CAP_SYS_RESOURCE`, and not for the user 0: overlayfs writes a container's root in
/// the name of who mounted it, which is the node's root, without that capability.
const MOUNT_OPTIONS: &CStr = c"errors=remount-ro,resuid=65534,prjquota";
/// For a STATE that an older version made: it has no projects, and nothing else is wrong with it.
const MOUNT_OPTIONS_WITHOUT_QUOTAS: &CStr = c"errors=remount-ro,resuid=65534";
/// For remembering that a disk hangs, on that disk.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What became of STATE.
#[derive(Debug)]
pub struct Volume {
    /// It was made anew; says why.
    pub recreated: Option<Cause>,
    /// It was damaged and is repaired; says how.
    pub repaired: Option<String>,
    /// It is not mounted, and why.
    pub problem: Option<Problem>,
    /// What is remembered about it now.
    pub marks: StateMarks,
    /// The kernel's count of errors in it, and what it was when it was mounted.
    pub errors: Option<(ErrorCount, u64)>,
}

/// The order on the kernel's command line.
///
/// # Errors
/// It is none that there is.
pub fn order_on(command_line: &str) -> Result<Option<Order>, String> {
    let what = match boot_params::value(command_line, boot_params::STATE) {
        None => return Ok(None),
        Some("recreate") => StateOrder::Recreate,
        Some("check") => StateOrder::Check,
        Some(other) => {
            return Err(format!(
                "{}={other} is not obeyed: it can be recreate or check",
                boot_params::STATE
            ));
        }
    };
    Ok(Some(Order { what, by: Giver::CommandLine }))
}

/// Gets STATE mounted on /var, or finds out that it must be left alone. `order` is what the command line says.
#[must_use]
pub fn bring_up(disk: &SystemDisk, order: Option<Order>, feed: fn()) -> Volume {
    let device = disk.partition_path(STATE_PARTITION);
    let marks = ledger::read(disk).unwrap_or_else(|error| {
        log::error(format_args!("{}", chain(&error)));
        StateMarks::default()
    });
    let watch = Watch::new(&device, feed);
    Work { disk: disk.clone(), device, watch, marks, repaired: None }.run(order)
}

/// The work on the way.
struct Work {
    disk: SystemDisk,
    device: PathBuf,
    watch: Watch,
    /// As they are on the disk.
    marks: StateMarks,
    repaired: Option<String>,
}

impl Work {
    fn run(mut self, order: Option<Order>) -> Volume {
        let before = self.marks;
        let device = self.device.clone();
        let content = self.beside("looking at it", move || look::look(&device));
        let ordered = before.order.map(|what| Order { what, by: Giver::Api });
        let mut evidence = Evidence {
            order: order.or(ordered),
            damaged: before.damaged,
            checks_before: before.checks,
            ..Evidence::new(content)
        };
        let problem = loop {
            match next(&evidence) {
                Act::Use => break None,
                Act::Rescue(problem) => break Some(problem),
                Act::Mount => evidence.mounted = Some(self.mount()),
                Act::Recreate(cause) => evidence.made = Some(self.recreate(cause)),
                Act::Check { from } => {
                    let may = evidence.runs > 0 || self.count_check(&evidence);
                    evidence.runs += 1;
                    evidence.mounted = None;
                    evidence.checked = Some(if may { self.check(from) } else { uncounted() });
                }
            }
        };
        let marks = match &problem {
            None => StateMarks { order: None, damaged: false, ..self.marks },
            // An order to make it anew stands until it is obeyed; nothing else is remembered of a check that
            // came to an end, since a newer or older e2fsck may see it differently.
            Some(_) => StateMarks {
                order: before.order.filter(|order| *order == StateOrder::Recreate),
                ..before
            },
        };
        self.remember(marks);
        // What a check has left standing is no news later.
        let errors = ErrorCount::open(&self.device).ok().map(|count| {
            let before = count.read();
            (count, before)
        });
        let recreated = match (&evidence.made, &evidence.order) {
            (Some(Made::Done), Some(Order { what: StateOrder::Recreate, by })) => {
                Some(Cause::Ordered(*by))
            }
            (Some(Made::Done), _) => Some(Cause::Zeros),
            (Some(Made::Failed { .. }) | None, _) => None,
        };
        Volume { recreated, repaired: self.repaired, problem, marks: self.marks, errors }
    }

    fn mount(&mut self) -> Mounted {
        let device = self.device.clone();
        let mounted = self.beside("mounting it", move || mount_on(&device));
        if let Mounted::Refused { why } | Mounted::Impossible { why } = &mounted {
            log::warn(format_args!("STATE is not mounted: {why}"));
        }
        mounted
    }

    /// Counts the check before it begins, so that one that never ends is not begun for ever.
    fn count_check(&mut self, evidence: &Evidence) -> bool {
        let ordered = evidence.order.is_some_and(|order| order.what == StateOrder::Check);
        let checks = if ordered { 0 } else { self.marks.checks };
        self.remember(StateMarks { order: None, damaged: true, checks: checks.saturating_add(1) })
    }

    fn check(&mut self, from: Option<Backup>) -> Checked {
        let device = self.device.clone();
        match from {
            None => log::warn(format_args!("STATE needs a check; running e2fsck")),
            Some(Backup { block, .. }) => log::warn(format_args!(
                "STATE has lost its superblock; running e2fsck with the backup in block {block}"
            )),
        }
        let (checked, lines) = self.beside("checking it", move || check::check(device, from));
        match &checked {
            Checked::Sound => {
                log::warn(format_args!("STATE is repaired, or was sound"));
                let said = lines.last().map_or_else(String::new, |line| format!(": {line}"));
                self.repaired = Some(format!("STATE was checked and repaired by e2fsck{said}"));
            }
            Checked::ErrorsLeft => log::error(format_args!("e2fsck leaves errors in STATE")),
            Checked::Unreadable { why } => log::error(format_args!("STATE cannot be read: {why}")),
            Checked::Failed { why } => log::error(format_args!("e2fsck could not work: {why}")),
        }
        checked
    }

    /// Makes it anew and takes the order back, before anything can be written to it.
    fn recreate(&mut self, cause: Cause) -> Made {
        log::error(format_args!("making STATE on {} anew, EMPTY: {cause}", self.device.display()));
        let device = self.device.clone();
        let made = self.beside("making it anew", move || {
            template::recreate(&device, Path::new(names::STATE_TEMPLATE))
        });
        if let Err(error) = made {
            return Made::Failed { why: chain(&error) };
        }
        match ledger::write(&self.disk, StateMarks::default()) {
            Ok(()) => self.marks = StateMarks::default(),
            // The next boot would make it anew again, with all that was put there until then.
            Err(error) if self.marks.order.is_some() => {
                return Made::Failed { why: format!("the order stands: {}", chain(&error)) };
            }
            Err(error) => log::error(format_args!("{}", chain(&error))),
        }
        Made::Done
    }

    /// `false` where the disk does not take it.
    fn remember(&mut self, marks: StateMarks) -> bool {
        if marks != self.marks {
            match ledger::write(&self.disk, marks) {
                Ok(()) => self.marks = marks,
                Err(error) => log::error(format_args!("{}", chain(&error))),
            }
        }
        marks == self.marks
    }

    fn beside<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match self.watch.beside(work) {
            Ok(result) => result,
            Err(stalled) => self.give_up(what, stalled),
        }
    }

    /// Remembers, where the disk still takes it, and resets the machine: whoever hangs in the kernel stays there.
    fn give_up(&self, what: &str, stalled: Stalled) -> ! {
        let (disk, marks) = (self.disk.clone(), self.marks);
        let counted = StateMarks { damaged: true, checks: marks.checks.saturating_add(1), ..marks };
        let (done, written) = std::sync::mpsc::channel();
        let begun = std::thread::Builder::new().spawn(move || {
            done.send(ledger::write(&disk, counted).is_ok()).ok();
        });
        if begun.is_err() || written.recv_timeout(LAST_WORDS) != Ok(true) {
            log::error(format_args!("that STATE hangs cannot be remembered"));
        }
        fatal(&format!("STATE on {}: {what}: {stalled}", self.device.display()))
    }
}

fn uncounted() -> Checked {
    let why = "the partition table takes no writes, so that nobody could count the checks";
    Checked::Failed { why: why.to_owned() }
}

fn mount_on(device: &Path) -> Mounted {
    let with = |options| mount(device, names::STATE_DIR, "ext4", MOUNT_FLAGS, options);
    let mounted = match with(MOUNT_OPTIONS) {
        Err(Errno::INVAL) => with(MOUNT_OPTIONS_WITHOUT_QUOTAS),
        mounted => mounted,
    };
    match mounted {
        Ok(()) if is_read_only() => {
            unmount(names::STATE_DIR, UnmountFlags::empty()).ok();
            Mounted::Refused { why: "the kernel mounts it read-only".to_owned() }
        }
        Ok(()) => Mounted::Done,
        Err(error) if is_about_us(error) => Mounted::Impossible { why: error.to_string() },
        Err(error) => Mounted::Refused { why: error.to_string() },
    }
}

/// Errors of mount(2) that say nothing about what is on the disk: no driver, no memory, no device, no permission.
const fn is_about_us(error: Errno) -> bool {
    matches!(
        error,
        Errno::NODEV
            | Errno::NOMEM
            | Errno::BUSY
            | Errno::ACCESS
            | Errno::PERM
            | Errno::NOENT
            | Errno::NXIO
            | Errno::NOTBLK
            | Errno::MFILE
            | Errno::NFILE
    )
}

/// STATE, which is mounted, cannot be written.
#[must_use]
pub fn is_read_only() -> bool {
    rustix::fs::statvfs(names::STATE_DIR)
        .is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Images are all alike, to the last bit; the file systems of two nodes must not be.
pub fn give_own_identity() {
    let mut uuid = [0; 16];
    let result = rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty())
        .map_err(io::Error::from)
        .and_then(|_| File::open(names::STATE_DIR))
        .and_then(|root| {
            // Version 4, variant 1, as RFC 9562 wants a random identity.
            let [_, _, _, _, _, _, version, _, variant, ..] = &mut uuid;
            *version = *version & 0x0f | 0x40;
            *variant = *variant & 0x3f | 0x80;
            Ok(ferrite_sys::ext4::set_uuid(root.as_fd(), uuid)?)
        });
    if let Err(error) = result {
        log::debug(format_args!("STATE keeps the identity of the image: {}", chain(&error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_orders_what_there_is() {
        let order = |line| order_on(line).map(|order| order.map(|order| order.what));
        assert_eq!(order("quiet"), Ok(None));
        assert_eq!(order("ferrite.state=recreate"), Ok(Some(StateOrder::Recreate)));
        assert_eq!(
            order("ferrite.state=recreate ferrite.state=check"),
            Ok(Some(StateOrder::Check))
        );
        for word in ["ferrite.state", "ferrite.state=", "ferrite.state=Recreate"] {
            assert!(order(word).is_err(), "{word}");
        }
    }

    #[test]
    fn only_what_the_disk_holds_is_a_reason_to_check_it() {
        for error in [Errno::NODEV, Errno::NOMEM, Errno::BUSY] {
            assert!(is_about_us(error), "{error}");
        }
        // Linux: EUCLEAN, EFSBADCRC (EBADMSG), EINVAL for bad geometry or features, EIO, EROFS.
        for error in [Errno::UCLEAN, Errno::BADMSG, Errno::INVAL, Errno::IO, Errno::ROFS] {
            assert!(!is_about_us(error), "{error}");
        }
    }
}
