//! The hardware watchdog: armed as soon as there is one, fed by the event loop and by nobody else, so that
//! a PID 1 that hangs resets the machine.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use ferrite_sys::watchdog::Watchdog;

use crate::log;

/// Time without feeding until the reset: longer than any write to a slow disk, short enough that a hung
/// node is back before people notice.
const TIMEOUT_S: i32 = 30;
/// How often it is fed.
pub const FEED_EVERY: Duration = Duration::from_secs(10);

const DEVICE: &str = "/dev/watchdog0";

static ARMED: Mutex<Option<Watchdog>> = Mutex::new(None);

/// Arms the machine's watchdog if it has one and it is not armed yet.
pub fn arm() {
    let Ok(mut armed) = ARMED.lock() else { return };
    let path = Path::new(DEVICE);
    if armed.is_some() || !path.exists() {
        return;
    }
    match Watchdog::open(path) {
        Ok(watchdog) => {
            match watchdog.set_timeout(TIMEOUT_S) {
                Ok(timeout_s) => log::info(format_args!(
                    "hardware watchdog armed: resets the machine if PID 1 hangs for {timeout_s} s"
                )),
                Err(error) => log::warn(format_args!(
                    "hardware watchdog armed with a timeout of its own: {error}"
                )),
            }
            *armed = Some(watchdog);
        }
        Err(error) => log::warn(format_args!("hardware watchdog cannot be used: {error}")),
    }
}

/// Starts its countdown anew.
pub fn feed() {
    if let Ok(armed) = ARMED.try_lock()
        && let Some(watchdog) = armed.as_ref()
    {
        watchdog.keep_alive().ok();
    }
}

/// Stops it, where it can be stopped: a machine that is switched off must stay off.
pub fn disarm() {
    if let Ok(mut armed) = ARMED.try_lock()
        && let Some(watchdog) = armed.take()
    {
        watchdog.disarm().ok();
    }
}
