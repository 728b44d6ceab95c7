//! What a machine is made of, as one digest, and which boot this is: a copy of its disk in another machine has others.

use std::fs;
use std::path::Path;

use ferrite_files::small::read_small_text;

/// What the firmware says of the machine. Network cards are left out: they can be changed while it runs.
const FIRMWARE: [&str; 4] = ["product_uuid", "product_serial", "board_serial", "chassis_serial"];
/// Longest of these, in bytes.
const VALUE_MAX_BYTES: u64 = 4096;

/// Digest of what the machine below `sys` (usually `/sys`) is made of.
#[must_use]
pub fn digest(sys: &Path) -> String {
    let firmware = sys.join("class/dmi/id");
    let value = |name: &str| {
        let text = read_small_text(&firmware.join(name), VALUE_MAX_BYTES).ok().flatten();
        let text = text.map(|text| text.trim().to_owned()).filter(|text| !is_void(text));
        text.map(|text| format!("{name}={text}\n"))
    };
    let mut facts: Vec<String> = FIRMWARE.into_iter().filter_map(value).collect();
    if facts.is_empty() {
        // No firmware tells, or all say the same: the cards are all that there is.
        facts = cards(sys);
    }
    ferrite_pki::digest(facts.concat().as_bytes())
}

/// What firmware says that was given nothing to say: many machines say the same.
fn is_void(text: &str) -> bool {
    const SAID: [&str; 10] = [
        "none",
        "n/a",
        "not specified",
        "not available",
        "not applicable",
        "unknown",
        "default string",
        "to be filled by o.e.m.",
        "system serial number",
        "0123456789",
    ];
    let text = text.to_ascii_lowercase();
    // A UUID of zeros or of ones is none (SMBIOS 7.2.1).
    text.chars().all(|digit| matches!(digit, '0' | 'f' | '-')) || SAID.contains(&text.as_str())
}

fn cards(sys: &Path) -> Vec<String> {
    let entries = fs::read_dir(sys.join("class/net")).into_iter().flatten().flatten();
    let mut all: Vec<String> = entries
        // Those of a device, and not made by the kernel.
        .filter(|entry| entry.path().join("device").exists())
        .filter_map(|entry| {
            read_small_text(&entry.path().join("address"), VALUE_MAX_BYTES).ok().flatten()
        })
        .map(|address| format!("card={}\n", address.trim()))
        .collect();
    all.sort();
    all
}

/// The kernel's ID of this boot, below `proc` (usually `/proc`).
#[must_use]
pub fn boot(proc: &Path) -> String {
    let path = proc.join("sys/kernel/random/boot_id");
    let id = read_small_text(&path, VALUE_MAX_BYTES).ok().flatten().unwrap_or_default();
    // A kernel without one would make every boot alike, and a copy of a machine the machine itself; ours has one.
    match id.trim() {
        "" => "unknown".to_owned(),
        id => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> String {
        let sys = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = sys.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        digest(sys.path())
    }

    #[test]
    fn a_digest_is_of_the_machine_and_not_of_its_cards() {
        let one = machine(&[("class/dmi/id/product_uuid", "a\n")]);
        assert_eq!(one.len(), 64);
        assert_eq!(
            one,
            machine(&[("class/dmi/id/product_uuid", "a\n"), ("class/net/e0/address", "02\n")])
        );
        assert_ne!(one, machine(&[("class/dmi/id/product_uuid", "b\n")]));
        assert_ne!(one, machine(&[("class/dmi/id/product_serial", "a\n")]));
    }

    #[test]
    fn where_no_firmware_tells_the_cards_do() {
        let with =
            |address| machine(&[("class/net/e0/device/x", ""), ("class/net/e0/address", address)]);
        assert_ne!(with("02\n"), with("03\n"));
        assert_eq!(machine(&[]), machine(&[("class/net/veth/address", "02\n")]));
        // As QEMU has it where nobody gives the machine a UUID.
        let void = |address| {
            machine(&[
                ("class/dmi/id/product_uuid", "00000000-0000-0000-0000-000000000000\n"),
                ("class/dmi/id/product_serial", "Not Specified\n"),
                ("class/dmi/id/chassis_serial", "\n"),
                ("class/net/e0/device/x", ""),
                ("class/net/e0/address", address),
            ])
        };
        assert_ne!(void("02\n"), void("03\n"));
        assert_eq!(void("02\n"), with("02\n"));
    }
}
