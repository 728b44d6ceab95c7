//! The moment at which something happened, as the time-stamp counter has it: for boot times under `-icount`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::ExitCode;

/// Says `probe: EVENT tsc=N` in the kernel log; on the console where there is no kernel log yet. As PID 1 it
/// then stays, since the kernel panics when PID 1 ends.
pub(crate) fn stamp(event: &str) -> io::Result<ExitCode> {
    let line = format!("probe: {event} tsc={}\n", ferrite_sys::tsc::read());
    // Priority 1 (alert): on the console whatever its log level.
    match OpenOptions::new().write(true).open("/dev/kmsg") {
        Ok(mut log) => log.write_all(format!("<1>{line}").as_bytes())?,
        Err(_no_device_files) => io::stdout().write_all(line.as_bytes())?,
    }
    while std::process::id() == 1 {
        std::thread::park();
    }
    Ok(ExitCode::SUCCESS)
}
