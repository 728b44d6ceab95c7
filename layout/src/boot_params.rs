//! Kernel parameters that PID 1 obeys, and whose the words of a kernel command line are.
//!
//! | words | whose | after a kexec |
//! |---|---|---|
//! | in the command line that the image was built with | the slot's | replaced by the next slot's own, which are signed |
//! | [`SLOT`], [`DISK`], [`KEXEC_TSC`], [`ARGUMENTS`] | PID 1's, or a person's | set anew |
//! | what loaders add: [`LOADERS`] | the loader's | left out |
//! | every other | a person's | go along, behind the slot's own, in their order |

/// `ferrite.slot=A|B`: boot this slot and spend no try. Set by PID 1 itself across kexec.
pub const SLOT: &str = "ferrite.slot";
/// `ferrite.stay`: the slot is not left for want of readiness. Set by PID 1 itself across kexec where a person named the
/// slot.
pub const STAY: &str = "ferrite.stay";
/// `ferrite.disk=DEVICE` or `ferrite.disk=GUID`: the system disk, by kernel name (`vda`) or by its GPT identity. Set by
/// PID 1 itself across kexec.
pub const DISK: &str = "ferrite.disk";
/// `ferrite.state=recreate|check`: in this boot make STATE anew, empty, or check it however hopeless it looks.
pub const STATE: &str = "ferrite.state";
/// `ferrite.hold`: on a fatal error stop and keep the message on the screen instead of rebooting.
pub const HOLD: &str = "ferrite.hold";
/// `ferrite.ready_timeout_s=N`: how long a slot has to become ready.
pub const READY_TIMEOUT_S: &str = "ferrite.ready_timeout_s";
/// `ferrite.fatal_delay_s=N`: how long a fatal message stays on the console before the reboot.
pub const FATAL_DELAY_S: &str = "ferrite.fatal_delay_s";
/// `ferrite.kexec_tsc=N`: time-stamp counter when the previous kernel jumped into this one.
pub const KEXEC_TSC: &str = "ferrite.kexec_tsc";
/// `ferrite.arguments=FINGERPRINT`: the kernel arguments of the OEM partition are in this command line. Set by PID 1.
pub const ARGUMENTS: &str = "ferrite.arguments";

/// Words that loaders add for the kernel that they start.
pub const LOADERS: [&str; 3] = ["BOOT_IMAGE", "initrd", FAT_SERIAL];
/// `FSUUID=XXXX-XXXX`: serial number of the FAT file system that syslinux came from.
pub const FAT_SERIAL: &str = "FSUUID";

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

/// Words of a command line as the kernel takes it apart: blanks between double quotes separate nothing.
pub fn words(command_line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    command_line
        .split(move |character: char| {
            quoted ^= character == '"';
            character.is_ascii_whitespace() && !quoted
        })
        .filter(|word| !word.is_empty())
}

/// Name of a word: what stands before its first `=`.
#[must_use]
pub fn name(word: &str) -> &str {
    word.split_once('=').map_or(word, |(name, _)| name)
}

/// The words that a person gave, in their order: those of the `running` command line that neither its own image
/// (`built_with`), nor PID 1, nor a loader put there. A word that the image has too counts where it is there once more.
#[must_use]
pub fn persons<'line>(running: &'line str, built_with: &str) -> Vec<&'line str> {
    let mut images: Vec<&str> = words(built_with).collect();
    let not_persons = [SLOT, DISK, KEXEC_TSC, ARGUMENTS];
    words(running)
        .filter(|word| match images.iter().position(|image| image == word) {
            Some(place) => {
                images.remove(place);
                false
            }
            None => !not_persons.contains(&name(word)) && !LOADERS.contains(&name(word)),
        })
        .collect()
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
        let names =
            [SLOT, STAY, DISK, STATE, HOLD, READY_TIMEOUT_S, FATAL_DELAY_S, KEXEC_TSC, ARGUMENTS];
        for name in names {
            assert!(name.starts_with(PREFIX), "{name}");
        }
    }

    #[test]
    fn quotes_hold_a_word_together() {
        let check = |line, expected: &[&str]| {
            assert_eq!(words(line).collect::<Vec<_>>(), expected, "{line}");
        };
        check("  a  b=1\tc\n", &["a", "b=1", "c"]);
        check("dyndbg=\"file x +p; y\" quiet", &["dyndbg=\"file x +p; y\"", "quiet"]);
        check("open=\"never closed", &["open=\"never closed"]);
        check("", &[]);
    }

    #[test]
    fn what_a_person_gave_is_what_is_left() {
        let built_with = "console=tty0 console=ttyS0,115200 panic=10";
        let check = |running, expected: &[&str]| {
            assert_eq!(persons(running, built_with), expected, "{running}");
        };
        check("console=tty0 console=ttyS0,115200 panic=10", &[]);
        check(
            "BOOT_IMAGE=linux console=tty0 console=ttyS0,115200 panic=10 nomodeset console=ttyS1 FSUUID=12AB-34CD \
             initrd=initrd ferrite.hold ferrite.slot=A ferrite.disk=vda ferrite.kexec_tsc=9",
            &["nomodeset", "console=ttyS1", "ferrite.hold"],
        );
        // Said once more, to make it the last one.
        check("console=tty0 console=ttyS0,115200 panic=10 console=tty0", &["console=tty0"]);
        check("panic=30 console=tty0", &["panic=30"]);
    }
}
