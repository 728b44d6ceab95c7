//! Kernel parameters that PID 1 obeys. Every other word of the command line is the kernel's.

/// `ferrite.slot=A|B`: boot this slot and spend no try. Set by PID 1 itself across kexec.
pub const SLOT: &str = "ferrite.slot";
/// `ferrite.disk=DEVICE`: the system disk, where looking for it would be wrong (`vda`).
pub const DISK: &str = "ferrite.disk";
/// `ferrite.state=recreate|check`: in this boot make STATE anew, empty, or check it however hopeless it looks.
pub const STATE: &str = "ferrite.state";
/// `ferrite.hold`: on a fatal error stop and keep the message on the screen instead of rebooting.
pub const HOLD: &str = "ferrite.hold";
/// `ferrite.ready_timeout_s=N`: how long an unproven slot has to become ready.
pub const READY_TIMEOUT_S: &str = "ferrite.ready_timeout_s";
/// `ferrite.fatal_delay_s=N`: how long a fatal message stays on the console before the reboot.
pub const FATAL_DELAY_S: &str = "ferrite.fatal_delay_s";
/// `ferrite.kexec_tsc=N`: time-stamp counter when the previous kernel jumped into this one.
pub const KEXEC_TSC: &str = "ferrite.kexec_tsc";

/// Prefix that all of PID 1's parameters share.
pub const PREFIX: &str = "ferrite.";

/// Value of the last `name=value` word in a kernel command line; a bare `name` has the value `""`.
#[must_use]
pub fn value<'line>(command_line: &'line str, name: &str) -> Option<&'line str> {
    command_line.split_ascii_whitespace().rev().find_map(|word| match word.split_once('=') {
        Some((key, value)) if key == name => Some(value),
        None if word == name => Some(""),
        Some(_) | None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_with_the_name_counts() {
        let check =
            |line, expected: Option<&str>| assert_eq!(value(line, SLOT), expected, "{line}");
        check("quiet ferrite.slot=A panic=10", Some("A"));
        check("ferrite.slot=A ferrite.slot=B", Some("B"));
        check("ferrite.slot=B ferrite.slot", Some(""));
        check("ferrite.slot=", Some(""));
        check("ferrite.slot=a=b\n", Some("a=b"));
        check("ferrite.slotty=A xferrite.slot=A", None);
        check("", None);
    }

    #[test]
    fn every_name_has_the_prefix() {
        for name in [SLOT, DISK, STATE, HOLD, READY_TIMEOUT_S, FATAL_DELAY_S, KEXEC_TSC] {
            assert!(name.starts_with(PREFIX), "{name}");
        }
    }
}
