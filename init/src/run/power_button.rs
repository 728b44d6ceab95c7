//! Power buttons: input devices of the kernel that have a power key.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::log;

const DEVICES_DIR: &str = "/dev/input";
const CLASS_DIR: &str = "/sys/class/input";
/// `KEY_POWER` of `linux/input-event-codes.h`.
const KEY_POWER: u16 = 116;
/// `EV_KEY`.
const EVENT_KEY: u16 = 1;
/// Value of a key event: pressed, not released or repeated.
const PRESSED: i32 = 1;
/// Size of `struct input_event` on 64-bit machines.
const EVENT_BYTES: usize = 24;
/// Where type, code and value are in it, after two 64-bit words of time.
const EVENT_TIME_BYTES: usize = 16;
/// Machines have one or two; a keyboard may have another.
const BUTTONS_MAX: usize = 8;

/// The machine's power buttons.
#[derive(Debug, Default)]
pub struct PowerButtons {
    open: Vec<(String, File)>,
}

impl PowerButtons {
    /// Opens every button that is there.
    pub fn open_all(&mut self) {
        for entry in fs::read_dir(DEVICES_DIR).into_iter().flatten().flatten() {
            self.open(&entry.file_name().to_string_lossy());
        }
    }

    /// Opens an input device, such as `event3`, if it has a power key.
    pub fn open(&mut self, name: &str) {
        if !name.starts_with("event")
            || self.open.len() >= BUTTONS_MAX
            || self.open.iter().any(|(open, _)| open == name)
        {
            return;
        }
        let device = Path::new(CLASS_DIR).join(name).join("device");
        let keys = fs::read_to_string(device.join("capabilities/key")).unwrap_or_default();
        if !has_key(&keys, KEY_POWER) {
            return;
        }
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let path = Path::new(DEVICES_DIR).join(name);
        match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => {
                let label = fs::read_to_string(device.join("name")).unwrap_or_default();
                log::debug(format_args!("power key found device={name} name={}", label.trim()));
                self.open.push((name.to_owned(), file));
            }
            Err(error) => {
                log::warn(format_args!("power button {name} cannot be used: {error}"));
            }
        }
    }

    /// What to poll for reading.
    pub fn to_poll(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open.iter().map(|(_, file)| file.as_fd())
    }

    /// Reads what the buttons say; `true` when one was pressed. A button that is gone is forgotten.
    pub fn take_press(&mut self) -> bool {
        let mut pressed = false;
        self.open.retain_mut(|(_, file)| {
            let mut buffer = [0; EVENT_BYTES * 16];
            match file.read(&mut buffer) {
                Ok(length) => {
                    pressed |= buffer
                        .get(..length)
                        .unwrap_or_default()
                        .chunks_exact(EVENT_BYTES)
                        .any(is_power_press);
                    length > 0
                }
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            }
        });
        pressed
    }
}

fn is_power_press(event: &[u8]) -> bool {
    let Some([type0, type1, code0, code1, value @ ..]) = event.get(EVENT_TIME_BYTES..) else {
        return false;
    };
    let value = value.first_chunk().map_or(0, |value| i32::from_ne_bytes(*value));
    u16::from_ne_bytes([*type0, *type1]) == EVENT_KEY
        && u16::from_ne_bytes([*code0, *code1]) == KEY_POWER
        && value == PRESSED
}

/// Whether a key is in a bit map as sysfs prints it: words of 64 bits in hexadecimal, the highest first.
fn has_key(bitmap: &str, key: u16) -> bool {
    bitmap
        .split_ascii_whitespace()
        .rev()
        .nth(usize::from(key / 64))
        .and_then(|word| u64::from_str_radix(word, 16).ok())
        .is_some_and(|word| word & (1 << (key % 64)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut bytes = vec![0xaa; EVENT_TIME_BYTES];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        assert_eq!(bytes.len(), EVENT_BYTES);
        bytes
    }

    #[test]
    fn only_pressing_the_power_key_counts() {
        assert!(is_power_press(&event(EVENT_KEY, KEY_POWER, PRESSED)));
        assert!(!is_power_press(&event(EVENT_KEY, KEY_POWER, 0)));
        assert!(!is_power_press(&event(EVENT_KEY, 30, PRESSED)));
        assert!(!is_power_press(&event(0, KEY_POWER, PRESSED)));
        assert!(!is_power_press(&[0; 8]));
    }

    #[test]
    fn a_devices_keys_are_read_from_sysfs() {
        // A PC's power button: bit 52 of the second word.
        assert!(has_key("10000000000000 0\n", KEY_POWER));
        assert!(!has_key("1000000000000 0\n", KEY_POWER));
        assert!(!has_key("10000000000000\n", KEY_POWER));
        assert!(!has_key("", KEY_POWER));
    }
}
