//! Drivers that nobody waits for, loaded beside everything else by a second call of PID 1's own program: some look for
//! hardware for seconds, and PID 1 is to feed the watchdog meanwhile.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use ferrite_schema::chain;
use ferrite_schema::names;

use crate::log;
use crate::modules::{Hotplug, Loader, Probe};

/// A node that is not ready by then gets them all the same: keyboards, power buttons and further disks are among them.
pub const LATEST: Duration = Duration::from_secs(30);
/// Asks this program, which the kernel calls as `PROGRAM -q -- NAME`, for all drivers.
const ALL: &str = "--drivers";

/// Starts the process that loads them. Its end is an orphan's.
///
/// # Errors
/// It cannot be started.
pub fn start() -> io::Result<()> {
    let mut command = Command::new(names::INIT);
    command.arg(ALL).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop)
}

/// This program was called to load them.
#[must_use]
pub fn are_asked_for(mut arguments: impl Iterator<Item = String>) -> bool {
    arguments.nth(1).is_some_and(|word| word == ALL) && arguments.next().is_none()
}

/// Loads drivers for all devices that there are. What they bring up is announced to PID 1.
pub fn load_all() {
    log::start();
    let mut loader = Loader::open(Probe::AtOnce);
    for device in Hotplug::devices() {
        for failure in loader.load_for(&device).1 {
            log::warn(format_args!("{}", chain(&failure)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_word_asks() {
        let check = |line: &str, expected| {
            let words = line.split_whitespace().map(str::to_owned);
            assert_eq!(are_asked_for(words), expected, "{line}");
        };
        check("/usr/bin/ferrite-init --drivers", true);
        check("/usr/bin/ferrite-init -q -- fs-overlay", false);
        check("/usr/bin/ferrite-init --drivers now", false);
        check("/usr/bin/ferrite-init", false);
    }
}
