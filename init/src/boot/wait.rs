//! Waiting for the system disk.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::disk::SystemDisk;
use crate::disk::search::{self, Choice};
use crate::fatal::fatal;
use crate::log;
use crate::modules::{Hotplug, Probe};
use crate::watchdog::{self, FEED_EVERY};

/// How long a disk may take to appear: slow controllers and USB need 10 to 20 seconds.
const DEADLINE: Duration = Duration::from_secs(60);
/// What drivers of swift disks are loaded and get before all others are tried: NVMe looks for its namespaces beside us. A
/// machine whose system disk is no swift one waits for this long only where it has a swift one as well.
const SWIFT: Duration = Duration::from_millis(500);
/// After this long a person gets to know what is being waited for.
const SAY_AFTER: Duration = Duration::from_secs(3);

/// Returns the system disk as soon as it is there; `swift`: drivers of swift disks found hardware. The kernel's announcements wake us; between them nothing runs.
pub(super) fn for_system_disk(
    hotplug: &mut Hotplug,
    wanted: Option<&str>,
    swift: bool,
) -> SystemDisk {
    let start = Instant::now();
    let mut said = false;
    let mut searching = false;
    loop {
        watchdog::feed();
        let reasons = match search::choose(&search::candidates(), wanted) {
            Choice::Found { name, others } => return found(name, &others),
            Choice::NoneOf(reasons) => reasons,
        };
        let elapsed = start.elapsed();
        if !searching && swift && elapsed < SWIFT {
            wait_for_block_device(hotplug, start + SWIFT);
            continue;
        }
        if !searching {
            // Slow hardware keeps nobody waiting then: whoever waits does so for the disk.
            searching = true;
            hotplug.loader().set_probe(Probe::InBackground);
            hotplug.coldplug();
            continue;
        }
        if elapsed >= DEADLINE {
            fatal(&explain(&reasons, wanted));
        }
        if elapsed >= SAY_AFTER && !said {
            said = true;
            log::warn(format_args!(
                "waiting for the system disk, up to {} s; {}",
                DEADLINE.as_secs(),
                if reasons.is_empty() { "no disk so far".to_owned() } else { reasons.join("; ") }
            ));
        }
        let until = if said { DEADLINE } else { SAY_AFTER };
        wait_for_block_device(hotplug, (start + until).min(Instant::now() + FEED_EVERY));
    }
}

/// Comes back when a block device was announced, or at `end`.
fn wait_for_block_device(hotplug: &mut Hotplug, end: Instant) {
    loop {
        let uevents = match hotplug.handle() {
            Ok(uevents) => uevents,
            Err(error) => fatal(&format!("cannot listen for devices: {error}")),
        };
        if uevents.iter().any(|uevent| uevent.subsystem == "block") {
            return;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::from_borrowed_fd(hotplug.as_fd(), PollFlags::IN)], Some(&timeout))
        {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => fatal(&format!("cannot wait for devices: {error}")),
        }
    }
}

fn found(name: String, others: &[String]) -> SystemDisk {
    if !others.is_empty() {
        log::warn(format_args!(
            "several system disks: using {name}, leaving {}; ferrite.disk=NAME chooses another",
            others.join(", ")
        ));
    }
    log::info(format_args!("system disk is {name}"));
    SystemDisk::new(name)
}

fn explain(reasons: &[String], wanted: Option<&str>) -> String {
    let what = wanted.map_or_else(
        || "no Ferrite system disk found".to_owned(),
        |wanted| format!("the system disk {wanted}, asked for by ferrite.disk=, is not there"),
    );
    if reasons.is_empty() {
        format!("{what}: the kernel sees no disk at all (is the driver missing?)")
    } else {
        format!("{what}: {}", reasons.join("; "))
    }
}
