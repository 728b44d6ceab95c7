//! Watchdogs: armed before anything is waited for, fed by whoever makes progress, so that a PID 1 that hangs resets the
//! machine, in either stage, in the jump by kexec, and on the way down.
//!
//! Hardware comes first. Where there is none the kernel's own (`softdog`) takes its place: it sees a PID 1 that hangs, not
//! a kernel that does. It goes as soon as hardware is found. An armed one is handed from stage to stage as an open file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use ferrite_sys::watchdog::Watchdog;
use serde::{Deserialize, Serialize};

use crate::log;
use crate::modules::Loader;

/// Time without feeding until the reset: longer than the 30 s that the kernel's disk drivers give one command before they
/// handle it as an error, short enough that a hung node is back before people notice. Emulated machines on a busy
/// host lose whole seconds, not tens of them.
const TIMEOUT_S: i32 = 60;
/// While the next kernel starts, until its stage 1 arms: on an emulated machine it needs ten seconds, and on a busy host
/// some times that.
const JUMP_TIMEOUT_S: i32 = 180;
/// How often it is fed.
pub const FEED_EVERY: Duration = Duration::from_secs(10);

const CLASS: &str = "/sys/class/watchdog";
/// The module that needs no hardware, and how its device calls itself.
const SOFTWARE_MODULE: &str = "softdog";
const SOFTWARE_IDENTITY: &str = "Software Watchdog";

static ARMED: Mutex<Vec<Armed>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Armed {
    device: String,
    software: bool,
    watchdog: Watchdog,
}

/// One that an earlier stage armed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    device: String,
    software: bool,
    /// Number of the open file.
    file: i32,
}

/// A watchdog of the machine that is not armed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    device: String,
    software: bool,
}

/// What is to be done about the watchdogs that there are.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    arm: Vec<Found>,
    /// Hardware watches: what only software watched is to be let go.
    release_software: bool,
}

/// Arms every watchdog of the machine's hardware. Where none is armed after that, the kernel's own, through `loader`.
pub fn arm(loader: &mut Loader) {
    arm_found(&found(Path::new(CLASS)));
    if is_armed() {
        return;
    }
    match loader.load(SOFTWARE_MODULE) {
        Ok(_) => arm_found(&found(Path::new(CLASS))),
        Err(error) => log::warn(format_args!("{}", ferrite_schema::chain(&error))),
    }
    if !is_armed() {
        log::warn(format_args!("there is no watchdog: a hang of PID 1 will not end by itself"));
    }
}

/// Arms hardware that was found later.
pub fn arm_hardware() {
    let hardware: Vec<Found> =
        found(Path::new(CLASS)).into_iter().filter(|found| !found.software).collect();
    arm_found(&hardware);
}

/// Takes over what an earlier stage armed.
pub fn inherit(all: Vec<Inherited>) {
    let Ok(mut armed) = ARMED.lock() else { return };
    for Inherited { device, software, file } in all {
        match Watchdog::inherit(file) {
            Ok(watchdog) => armed.push(Armed { device, software, watchdog }),
            Err(error) => log::warn(format_args!("{device} is lost between the stages: {error}")),
        }
    }
    drop(armed);
    feed();
}

/// Gives what is armed to the program that this process is about to become.
pub fn hand_over() -> Vec<Inherited> {
    let Ok(mut armed) = ARMED.lock() else { return Vec::new() };
    armed
        .drain(..)
        .filter_map(|Armed { device, software, watchdog }| {
            watchdog.keep_alive().ok();
            let file = watchdog.hand_over().ok()?;
            Some(Inherited { device, software, file })
        })
        .collect()
}

/// Starts the countdown anew.
pub fn feed() {
    if let Ok(armed) = ARMED.try_lock() {
        for one in armed.iter() {
            one.watchdog.keep_alive().ok();
        }
    }
}

/// Before a jump into another kernel, which hardware survives: gives that kernel the time to arm it anew.
pub fn prepare_jump() {
    let Ok(armed) = ARMED.lock() else { return };
    for one in armed.iter().filter(|one| !one.software) {
        if let Err(error) = one.watchdog.set_timeout(JUMP_TIMEOUT_S) {
            log::warn(format_args!("{} keeps its timeout for the jump: {error}", one.device));
        }
        one.watchdog.keep_alive().ok();
    }
}

/// Stops them, where they can be stopped: a machine that is switched off must stay off.
pub fn disarm() {
    if let Ok(mut armed) = ARMED.try_lock() {
        for one in armed.drain(..) {
            one.watchdog.disarm().ok();
        }
    }
}

fn is_armed() -> bool {
    ARMED.lock().is_ok_and(|armed| !armed.is_empty())
}

fn arm_found(found: &[Found]) {
    let Ok(mut armed) = ARMED.lock() else { return };
    let known: Vec<Found> = armed
        .iter()
        .map(|one| Found { device: one.device.clone(), software: one.software })
        .collect();
    let plan = plan(&known, found);
    for Found { device, software } in plan.arm {
        match Watchdog::open(&Path::new("/dev").join(&device)) {
            Ok(watchdog) => {
                say(&device, software, watchdog.set_timeout(TIMEOUT_S));
                armed.push(Armed { device, software, watchdog });
            }
            Err(error) => log::warn(format_args!("{device} cannot be used: {error}")),
        }
    }
    if plan.release_software && armed.iter().any(|one| !one.software) {
        let (software, hardware) = armed.drain(..).partition(|one| one.software);
        *armed = hardware;
        for one in software {
            let one: Armed = one;
            one.watchdog.disarm().ok();
        }
    }
}

fn say(device: &str, software: bool, timeout: Result<i32, rustix::io::Errno>) {
    let kind = if software { "the kernel's own watchdog" } else { "hardware watchdog" };
    match timeout {
        Ok(timeout_s) => log::info(format_args!(
            "{kind} ({device}) armed: resets the machine if PID 1 hangs for {timeout_s} s"
        )),
        Err(error) => {
            log::warn(format_args!("{kind} ({device}) armed with a timeout of its own: {error}"));
        }
    }
}

fn plan(armed: &[Found], found: &[Found]) -> Plan {
    let is_known = |one: &&Found| !armed.iter().any(|known| known.device == one.device);
    let new: Vec<Found> = found.iter().filter(is_known).cloned().collect();
    let hardware = armed.iter().chain(&new).any(|one| !one.software);
    Plan {
        arm: new.into_iter().filter(|one| !hardware || !one.software).collect(),
        release_software: hardware && armed.iter().any(|one| one.software),
    }
}

fn found(class: &Path) -> Vec<Found> {
    let Ok(entries) = fs::read_dir(class) else { return Vec::new() };
    let mut devices: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    devices.sort();
    devices
        .into_iter()
        .filter_map(|path| {
            let device = path.file_name()?.to_str()?.to_owned();
            let identity = fs::read_to_string(path.join("identity")).unwrap_or_default();
            Some(Found { device, software: identity.trim() == SOFTWARE_IDENTITY })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardware(device: &str) -> Found {
        Found { device: device.to_owned(), software: false }
    }

    fn software(device: &str) -> Found {
        Found { device: device.to_owned(), software: true }
    }

    #[test]
    fn hardware_watches_where_there_is_some_and_software_where_there_is_none() {
        let check = |armed: &[Found], found: &[Found], arm: &[Found], release_software| {
            assert_eq!(plan(armed, found), Plan { arm: arm.to_vec(), release_software });
        };
        check(&[], &[], &[], false);
        check(&[], &[software("watchdog0")], &[software("watchdog0")], false);
        check(&[], &[hardware("watchdog0")], &[hardware("watchdog0")], false);
        let both = [software("watchdog0"), hardware("watchdog1")];
        check(&[], &both, &[hardware("watchdog1")], false);
        check(&both[..1], &both, &[hardware("watchdog1")], true);
        check(&both[1..], &both, &[], false);
        check(&both[..1], &both[..1], &[], false);
    }

    #[test]
    fn the_kernel_says_which_is_which() {
        let class = tempfile::tempdir().unwrap();
        for (device, identity) in
            [("watchdog1", "i6300ESB timer\n"), ("watchdog0", "Software Watchdog\n")]
        {
            fs::create_dir(class.path().join(device)).unwrap();
            fs::write(class.path().join(device).join("identity"), identity).unwrap();
        }
        assert_eq!(found(class.path()), [software("watchdog0"), hardware("watchdog1")]);
        assert_eq!(found(&class.path().join("none")), []);
    }
}
