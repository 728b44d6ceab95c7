//! The one way in which PID 1 gives up: say why, sync, wait so that a person can read it, reset the
//! machine. The slot counters then do their work.
//!
//! Nothing here can fail, panic or return. Where even reset is refused the process ends, which makes
//! the kernel panic, which resets the machine through `panic=`.

use std::error::Error;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ferrite_layout::boot_params;
use rustix::event::Timespec;
use rustix::system::RebootCommand;

use crate::log::{self, Level};
use crate::unwritten;

/// How long the message stays on the console by default: long enough to read, or to photograph.
const DELAY: Duration = Duration::from_secs(10);
/// How long it stays where only a person can help: a machine that resets at speed for ever can neither be read nor helped.
const SLOW_DELAY: Duration = Duration::from_secs(300);
/// Longest delay that the command line may ask for; a typing error must not hang a machine.
const DELAY_MAX: Duration = Duration::from_secs(3600);
/// A disk that took nothing of our writes in this time will not take them.
const SYNC_STEP: Duration = Duration::from_secs(10);
/// How often a hardware watchdog is fed while waiting; well below its timeout.
const FEED_EVERY: Duration = Duration::from_secs(5);

static ENTERED: AtomicBool = AtomicBool::new(false);
static FEED: OnceLock<fn()> = OnceLock::new();

/// Makes panics end in [`fatal`].
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(String::new, |place| format!(" ({}:{})", place.file(), place.line()));
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        fatal(&format!("a defect in ferrite-init itself: {text}{place}"));
    }));
}

/// Names the function that feeds the hardware watchdog while a fatal message is shown.
pub fn feed_with(feed: fn()) {
    FEED.set(feed).ok();
}

/// Gives up because of `error`; says the whole chain of causes.
pub fn report(error: &dyn Error) -> ! {
    fatal(&ferrite_schema::chain(error))
}

/// Gives up because of what `sentence` says in plain words.
pub fn fatal(sentence: &str) -> ! {
    end(sentence, DELAY)
}

/// Gives up where a restart alone hardly helps; leaves time for a person to read why, and to do something about it.
pub fn give_up_slowly(sentence: &str) -> ! {
    end(sentence, SLOW_DELAY)
}

fn end(sentence: &str, delay: Duration) -> ! {
    if rustix::process::getpid() != rustix::process::Pid::INIT {
        // Not PID 1: a test or a curious person. Their machine is not ours to reset.
        log::write(Level::Critical, format_args!("FATAL: {sentence}"));
        std::process::abort();
    }
    if ENTERED.swap(true, Ordering::SeqCst) {
        reset();
    }
    log::start();
    log::write(Level::Critical, format_args!("FATAL: {sentence}"));
    if !sync_within(SYNC_STEP) {
        log::error(format_args!(
            "the disk took no more writes for {} s; going on without",
            SYNC_STEP.as_secs()
        ));
    }
    let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    match plan(&command_line, delay) {
        Plan::Hold => hold(),
        Plan::ResetAfter(delay) => count_down(delay),
    }
    reset()
}

/// Writes everything to disk; `false` when in a time of `step` it did not become less.
///
/// `sync(2)` has no deadline of its own, so a second thread waits for it. It does nothing else.
pub fn sync_within(step: Duration) -> bool {
    let (done, finished) = mpsc::channel();
    let spawned = std::thread::Builder::new().name("sync".to_owned()).spawn(move || {
        rustix::fs::sync();
        done.send(()).ok();
    });
    let mut left_bytes = u64::MAX;
    while spawned.is_ok() {
        if let Some(feed) = FEED.get() {
            feed();
        }
        match finished.recv_timeout(step) {
            Ok(()) => return true,
            Err(_) => {
                let bytes = unwritten::bytes();
                if bytes >= left_bytes {
                    return false;
                }
                left_bytes = bytes;
            }
        }
    }
    false
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Hold,
    ResetAfter(Duration),
}

fn plan(command_line: &str, default: Duration) -> Plan {
    if boot_params::value(command_line, boot_params::HOLD).is_some() {
        return Plan::Hold;
    }
    let delay = boot_params::value(command_line, boot_params::FATAL_DELAY_S)
        .and_then(|seconds| seconds.parse().ok())
        .map_or(default, Duration::from_secs);
    Plan::ResetAfter(delay.min(DELAY_MAX))
}

fn hold() -> ! {
    log::write(
        Level::Critical,
        format_args!("holding, as ferrite.hold asks; ctrl-alt-del or the reset button restarts"),
    );
    rustix::system::reboot(RebootCommand::CadOn).ok();
    loop {
        wait(FEED_EVERY);
    }
}

fn count_down(delay: Duration) {
    let end = Instant::now() + delay;
    let mut said = false;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // Rounded, since waking up takes its time.
        let left_s = (left + Duration::from_millis(500)).as_secs();
        // Once, and the last seconds: the message above must stay on the screen.
        if left_s <= 5 || !said {
            said = true;
            log::error(format_args!("restarting in {left_s} s"));
        }
        wait(left.min(if left_s > 5 { FEED_EVERY } else { Duration::from_secs(1) }));
    }
}

fn wait(time: Duration) {
    if let Some(feed) = FEED.get() {
        feed();
    }
    let timeout = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(1),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    rustix::event::poll(&mut [], Some(&timeout)).ok();
}

fn reset() -> ! {
    log::write(Level::Critical, format_args!("restarting now"));
    rustix::system::reboot(RebootCommand::Restart).ok();
    std::fs::write("/proc/sysrq-trigger", "b").ok();
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_decides_what_happens_after_the_message() {
        let check = |command_line, expected| assert_eq!(plan(command_line, DELAY), expected);
        check("quiet", Plan::ResetAfter(DELAY));
        check("ferrite.fatal_delay_s=2", Plan::ResetAfter(Duration::from_secs(2)));
        check("ferrite.fatal_delay_s=0", Plan::ResetAfter(Duration::ZERO));
        check("ferrite.fatal_delay_s=soon", Plan::ResetAfter(DELAY));
        check("ferrite.fatal_delay_s=99999999999", Plan::ResetAfter(DELAY_MAX));
        check("ferrite.fatal_delay_s=2 ferrite.hold", Plan::Hold);
        assert_eq!(plan("", SLOW_DELAY), Plan::ResetAfter(SLOW_DELAY));
        assert_eq!(
            plan("ferrite.fatal_delay_s=2", SLOW_DELAY),
            Plan::ResetAfter(Duration::from_secs(2))
        );
    }

    #[derive(Debug, thiserror::Error)]
    #[error("mount STATE")]
    struct Outer {
        source: std::io::Error,
    }

    #[test]
    fn a_report_names_every_cause_once() {
        let error = Outer { source: std::io::Error::other("no medium") };
        assert_eq!(ferrite_schema::chain(&error), "mount STATE: no medium");
    }
}
