//! PID 1 of Ferrite; see the library.

use std::path::Path;
use std::process::ExitCode;

use ferrite_init::boot::handover::BootState;
use ferrite_init::modules::autoload;
use ferrite_init::run::{drivers, kernel_call};
use ferrite_init::{boot, fatal, log, run, timeline};
use ferrite_schema::names;

fn main() -> ExitCode {
    if !rustix::process::getpid().is_init() {
        return serve_kernel();
    }
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

/// The kernel runs this program as its `modprobe` and for what a hypervisor wants, and PID 1 for drivers that nobody waits
/// for; there is nothing else to run it for.
fn serve_kernel() -> ExitCode {
    if let Some(mode) = kernel_call::asked_for(std::env::args()) {
        return kernel_call::pass_on(mode).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    if drivers::are_asked_for(std::env::args()) {
        drivers::load_all();
        return ExitCode::SUCCESS;
    }
    match autoload::requested(std::env::args()) {
        Some(name) if autoload::load(&name) => ExitCode::SUCCESS,
        Some(_) | None => ExitCode::FAILURE,
    }
}
