//! Waiting for the system disk.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use ferrite_layout::slot_header::TrustedKey;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::disk::search::{self, Looked};
use crate::fatal::{fatal, give_up_slowly};
use crate::irreversible::disk::{Candidate, Choice, Kind, Origin, Patience, choose};
use crate::log;
use crate::modules::{Announcements, Hotplug, Probe};
use crate::watchdog::{self, FEED_EVERY};

/// How long a disk may take to appear: slow controllers and USB need 10 to 20 seconds.
const DEADLINE: Duration = Duration::from_secs(60);
/// What drivers of swift disks are loaded and get before all others are tried: NVMe looks for its namespaces beside us. A
/// machine whose system disk is no swift one waits for this long only where it has a swift one as well.
const SWIFT: Duration = Duration::from_millis(500);
/// A disk that the loader came from and that is not there after this long is none that we could use.
const LATE: Duration = Duration::from_secs(25);
/// Where nothing says which disk it is, and one would do: how long no other disk was announced, since the drivers of all were
/// loaded. A port of SATA takes so long to say that there is no disk. Controllers that take longer are why a person or a
/// loader should say it.
const QUIET: Duration = Duration::from_secs(1);
/// After this long a person gets to know what is being waited for.
const SAY_AFTER: Duration = Duration::from_secs(3);

/// The disk that was chosen, and what is known of it.
#[derive(Debug)]
pub(super) struct Found {
    /// It.
    pub(super) disk: Looked,
    /// Another disk has the same identity.
    pub(super) is_double: bool,
}

/// Returns the system disk as soon as it is there; `swift`: drivers of swift disks found hardware. The kernel's announcements
/// wake us; between them nothing runs.
pub(super) fn for_system_disk(
    hotplug: &mut Hotplug,
    (origin, keys): (&Origin, &[TrustedKey]),
    swift: bool,
) -> Found {
    let start = Instant::now();
    let mut said = false;
    let mut searching: Option<Instant> = None;
    let mut looked = search::look(keys);
    let mut last_news = start;
    loop {
        watchdog::feed();
        let candidates: Vec<Candidate> =
            looked.iter().map(|looked| looked.candidate.clone()).collect();
        let now = Instant::now();
        let quiet_from = searching.map(|since| since.max(last_news));
        let patience = patience(now - start, quiet_from.map(|since| now - since));
        let waiting_for = match choose(&candidates, origin, patience) {
            Choice::Use { name, others } => return found(looked, &name, &others),
            Choice::Refuse(reason) => give_up_slowly(&reason),
            Choice::Wait(reason) => reason,
        };
        let is_there = candidates.iter().any(|candidate| candidate.kind == Kind::Trusted);
        if searching.is_none() && is_to_search(now - start, origin, Swift { swift, is_there }) {
            // Slow hardware keeps nobody waiting then: whoever waits does so for the disk.
            hotplug.loader().set_probe(Probe::InBackground);
            hotplug.coldplug();
            searching = Some(Instant::now());
            continue;
        }
        if now - start >= SAY_AFTER && !said {
            said = true;
            let seconds = DEADLINE.as_secs();
            log::warn(format_args!("waiting, up to {seconds} s: {waiting_for}"));
        }
        let end = next_look(start, quiet_from, now).min(now + FEED_EVERY);
        if wait_for_disk(hotplug, end) {
            last_news = Instant::now();
            looked = search::look(keys);
        }
    }
}

/// What is known of disks that answer at once.
#[derive(Debug, Clone, Copy)]
struct Swift {
    /// Their drivers found hardware.
    swift: bool,
    /// A disk that is trusted here is there.
    is_there: bool,
}

/// Whether drivers of all disks are to be loaded now. A disk that is named is there without them, or is waited for; where
/// none is, the one that was faster than all others must not be taken for the only one.
fn is_to_search(waited: Duration, origin: &Origin, Swift { swift, is_there }: Swift) -> bool {
    let may_be_others = is_there && *origin == Origin::Unknown;
    may_be_others || waited >= SWIFT || !swift && !is_there
}

/// `quiet`: how long no disk was announced since drivers of all were loaded; nothing where they were not.
fn patience(waited: Duration, quiet: Option<Duration>) -> Patience {
    if waited >= DEADLINE {
        Patience::Over
    } else if waited >= LATE {
        Patience::Late
    } else if quiet.is_some_and(|quiet| quiet >= QUIET) {
        Patience::Quiet
    } else {
        Patience::Fresh
    }
}

/// The next moment at which time alone changes something.
fn next_look(start: Instant, quiet_from: Option<Instant>, now: Instant) -> Instant {
    [start + SWIFT, start + SAY_AFTER, start + LATE, start + DEADLINE]
        .into_iter()
        .chain(quiet_from.map(|since| since + QUIET))
        .filter(|moment| *moment > now)
        .min()
        .unwrap_or(now + SAY_AFTER)
}

/// Comes back at `end`, or with `true` as soon as the disks are to be looked at again.
fn wait_for_disk(hotplug: &mut Hotplug, end: Instant) -> bool {
    loop {
        match hotplug.handle() {
            Ok(announcements) if is_news(&announcements) => return true,
            Ok(_) => {}
            Err(error) => fatal(&format!("cannot listen for devices: {error}")),
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
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

/// A disk came, changed or went, or that may have been among announcements that were lost. Partitions tell nothing new.
fn is_news(announcements: &Announcements) -> bool {
    let of_disk = |uevent: &crate::modules::uevent::Uevent| {
        uevent.subsystem == "block" && uevent.device_type.as_deref() != Some("partition")
    };
    announcements.lost || announcements.uevents.iter().any(of_disk)
}

fn found(looked: Vec<Looked>, name: &str, others: &[String]) -> Found {
    if !others.is_empty() {
        log::warn(format_args!(
            "there are further Ferrite system disks: {}; they are left alone",
            others.join(", ")
        ));
    }
    let of_name = |looked: &Looked| looked.candidate.name == name;
    let guid = looked.iter().find(|looked| of_name(looked)).and_then(|it| it.candidate.guid);
    let is_double = looked.iter().any(|other| !of_name(other) && other.candidate.guid == guid);
    match looked.into_iter().find(of_name) {
        Some(disk) => {
            log::info(format_args!("system disk is {name}"));
            Found { disk, is_double }
        }
        None => fatal(&format!("the disk {name} was chosen and is not there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::uevent::Uevent;

    #[test]
    fn disks_and_losses_are_news_and_partitions_are_not() {
        let block = |device_type: &str| Uevent {
            subsystem: "block".to_owned(),
            device_type: Some(device_type.to_owned()),
            ..Uevent::default()
        };
        let check = |lost, uevents: Vec<Uevent>, expected| {
            assert_eq!(is_news(&Announcements { uevents, lost }), expected);
        };
        check(false, vec![block("disk")], true);
        check(false, vec![block("partition")], false);
        check(false, vec![Uevent { subsystem: "virtio".to_owned(), ..Uevent::default() }], false);
        check(false, Vec::new(), false);
        // Whatever was lost may have been a disk.
        check(true, Vec::new(), true);
    }

    #[test]
    fn a_disk_that_nobody_named_waits_for_the_drivers_of_all_others() {
        let named = Origin::Device("vda".to_owned());
        let (swift_there, swift_none, none) = (
            Swift { swift: true, is_there: true },
            Swift { swift: true, is_there: false },
            Swift { swift: false, is_there: false },
        );
        let at_once = |origin: &Origin, swift| is_to_search(Duration::ZERO, origin, swift);
        assert!(at_once(&Origin::Unknown, swift_there));
        assert!(!at_once(&named, swift_there));
        for origin in [&Origin::Unknown, &named] {
            assert!(!at_once(origin, swift_none));
            assert!(at_once(origin, none));
            assert!(is_to_search(SWIFT, origin, swift_none));
        }
    }

    #[test]
    fn patience_ends() {
        let seconds = Duration::from_secs;
        assert_eq!(patience(seconds(0), Some(seconds(0))), Patience::Fresh);
        assert_eq!(patience(seconds(1), Some(QUIET)), Patience::Quiet);
        // However quiet it is: drivers of other disks have not been asked.
        assert_eq!(patience(LATE - QUIET, None), Patience::Fresh);
        assert_eq!(patience(LATE, Some(seconds(0))), Patience::Late);
        assert_eq!(patience(DEADLINE, None), Patience::Over);
        let start = Instant::now();
        let mut now = start;
        while patience(now - start, Some(now - start)) != Patience::Over {
            let next = next_look(start, Some(start), now);
            assert!(next > now);
            now = next;
        }
    }
}
