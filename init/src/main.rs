//! PID 1 of Ferrite; see the library.

use std::path::Path;

use ferrite_init::boot::handover::BootState;
use ferrite_init::{boot, fatal, log, run, timeline};
use ferrite_schema::names;

fn main() {
    let first = timeline::now();
    fatal::install_panic_hook();
    if Path::new(names::BOOT_ID_FILE).exists() {
        boot::run(first);
    }
    log::start();
    match BootState::read() {
        Ok(state) => run::run(state),
        Err(error) => fatal::report(&error),
    }
}
