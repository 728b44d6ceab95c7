//! Modules that the kernel itself asks for: a file system at its first mount, a packet filter's rule.
//!
//! The kernel then runs a program, by default `/sbin/modprobe`, which Ferrite does not have. PID 1's own
//! program takes its place, in a process of its own.

use std::fs;
use std::io;

use ferrite_schema::names;

use crate::modules::loader::{Loader, Probe};

/// Where the kernel keeps the program's path.
const SETTING: &str = "/proc/sys/kernel/modprobe";

/// Tells the kernel to ask us. A kernel without modules has no such setting and needs none.
///
/// # Errors
/// The kernel does not take the path.
pub fn enable() -> io::Result<()> {
    match fs::write(SETTING, names::INIT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// What the kernel asks for when it runs this program as `PROGRAM -q -- NAME`.
#[must_use]
pub fn requested(mut arguments: impl Iterator<Item = String>) -> Option<String> {
    arguments.next()?;
    let quiet = arguments.next()? == "-q";
    let end_of_options = arguments.next()? == "--";
    let name = arguments.next()?;
    (quiet && end_of_options && arguments.next().is_none()).then_some(name)
}

/// Loads what the kernel asks for, a name or an alias. `false` when nothing for it could be loaded.
#[must_use]
pub fn load(name: &str) -> bool {
    let (_, failures) = Loader::open(Probe::AtOnce).load_for(name);
    failures.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_form_is_a_request() {
        let check = |line: &str, expected: Option<&str>| {
            let found = requested(line.split_whitespace().map(str::to_owned));
            assert_eq!(found.as_deref(), expected, "{line}");
        };
        check("/usr/bin/ferrite-init -q -- fs-overlay", Some("fs-overlay"));
        check("/usr/bin/ferrite-init", None);
        check("/usr/bin/ferrite-init -q fs-overlay", None);
        check("/usr/bin/ferrite-init -q -- a b", None);
        check("/init splash quiet --", None);
    }
}
