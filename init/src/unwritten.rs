//! What memory holds that the disks do not: how much it may be, and how much it is.
//!
//! The kernel lets a fifth of memory wait to be written: on a machine with 64 GiB more than a disk writes in minutes, and
//! as much is lost with the power, or waited for on the way down. It is bounded to what any disk writes in the time that
//! one deadline of the way down gives it.

use std::fs;
use std::io;

const MEMORY: &str = "/proc/meminfo";
/// From here on, whoever writes waits for the disk.
const LIMIT: &str = "/proc/sys/vm/dirty_bytes";
/// From here on, the kernel writes in the background.
const BACKGROUND: &str = "/proc/sys/vm/dirty_background_bytes";

/// A memory card or a worn disk writes 10 MB/s, and so this in half a minute.
const LIMIT_MAX_BYTES: u64 = 256 << 20;
/// Less than this makes every write wait: a small machine's tenth.
const LIMIT_MIN_BYTES: u64 = 8 << 20;

/// Bytes that are to be written, or are being written.
#[must_use]
pub fn bytes() -> u64 {
    let text = fs::read_to_string(MEMORY).unwrap_or_default();
    field(&text, "Dirty").unwrap_or_default() + field(&text, "Writeback").unwrap_or_default()
}

/// Bounds how much may be to be written.
///
/// # Errors
/// The kernel does not take it, or does not say how much memory there is.
pub fn bound() -> io::Result<()> {
    let text = fs::read_to_string(MEMORY)?;
    let memory_bytes = field(&text, "MemTotal").ok_or(io::ErrorKind::InvalidData)?;
    let (limit, background) = limits(memory_bytes);
    // This one first: the kernel keeps it below the other.
    fs::write(BACKGROUND, background.to_string())?;
    fs::write(LIMIT, limit.to_string())
}

/// A tenth of memory within bounds, and a quarter of that.
fn limits(memory_bytes: u64) -> (u64, u64) {
    let limit = (memory_bytes / 10).clamp(LIMIT_MIN_BYTES, LIMIT_MAX_BYTES);
    (limit, limit / 4)
}

/// A field of `/proc/meminfo`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotal:        1014452 kB\nDirty:               88 kB\nWriteback:            12 kB\n\
                    WritebackTmp:         7 kB\nHugePages_Total:       3\n";
        assert_eq!(field(text, "MemTotal"), Some(1_014_452 * 1024));
        assert_eq!(field(text, "Dirty"), Some(88 * 1024));
        assert_eq!(field(text, "Writeback"), Some(12 * 1024));
        assert_eq!(field(text, "HugePages_Total"), None);
        assert_eq!(field("", "Dirty"), None);
    }

    #[test]
    fn what_may_wait_is_bounded_on_machines_of_every_size() {
        assert_eq!(limits(32 << 20).0, LIMIT_MIN_BYTES);
        assert_eq!(limits(512 << 20).0, (512 << 20) / 10);
        assert_eq!(limits(1 << 40), (LIMIT_MAX_BYTES, LIMIT_MAX_BYTES / 4));
    }
}
