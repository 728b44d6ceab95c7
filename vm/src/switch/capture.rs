//! A capture of every frame that arrives at the switch, before any fault, with the host's clock.
//!
//! The file is a pcap with nanoseconds, all numbers in this computer's little-endian order:
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 4 | `0xa1b23c4d` |
//! | 4 | 2, 2 | version 2, 4 |
//! | 8 | 8 | zero |
//! | 16 | 4 | longest frame |
//! | 20 | 4 | 1, Ethernet |
//!
//! and then each frame behind 16 bytes: seconds and nanoseconds since 1970, bytes here, bytes on the wire.
//! Source: draft-ietf-opsawg-pcap.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::framing::FRAME_MAX_BYTES;

/// The capture's file in a network's folder.
pub const CAPTURE: &str = "capture.pcap";
/// What was captured before it became too long.
pub const CAPTURE_BEFORE: &str = "capture.1.pcap";
/// A capture is put aside when it is this long, and the one before it goes: a network left running fills no disk.
const FILE_MAX_BYTES: u64 = 256 << 20;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
/// Bytes kept before they are written. Whoever watches the file sees them at the latest when the switch is idle.
const BUFFER_BYTES: usize = 256 << 10;

/// A capture.
#[derive(Debug)]
pub struct Capture {
    folder: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
}

impl Capture {
    /// Begins one in `folder`, in place of an older one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let file = File::create(folder.join(CAPTURE))?;
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let header = header();
        file.write_all(&header)?;
        file.flush()?;
        Ok(Self { folder: folder.to_owned(), file, bytes: length(&header) })
    }

    /// Adds a frame that arrived at `moment`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, moment: SystemTime, frame: &[u8]) -> io::Result<()> {
        self.add_until(FILE_MAX_BYTES, moment, frame)
    }

    fn add_until(&mut self, max: u64, moment: SystemTime, frame: &[u8]) -> io::Result<()> {
        let head = frame_header(moment, frame);
        let bytes = length(&head) + length(frame);
        if self.bytes + bytes > max {
            self.file.flush()?;
            fs::rename(self.folder.join(CAPTURE), self.folder.join(CAPTURE_BEFORE))?;
            *self = Self::create(&self.folder)?;
        }
        self.bytes += bytes;
        self.file.write_all(&head)?;
        self.file.write_all(frame)
    }

    /// Writes what is still kept.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn header() -> Vec<u8> {
    let longest = u32::try_from(FRAME_MAX_BYTES).unwrap_or(u32::MAX);
    let mut bytes = MAGIC_NANOSECONDS.to_le_bytes().to_vec();
    bytes.extend([2, 0, 4, 0]);
    bytes.extend([0; 8]);
    bytes.extend(longest.to_le_bytes());
    bytes.extend(ETHERNET.to_le_bytes());
    bytes
}

fn frame_header(moment: SystemTime, frame: &[u8]) -> Vec<u8> {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
    let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    [seconds, since.subsec_nanos(), bytes, bytes].into_iter().flat_map(u32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// An Ethernet frame of a type that nobody uses.
    const FRAME: &[u8] = b"\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x88\xb5hello";

    fn tcpdump(file: &Path) -> String {
        // Over its standard input: a host's profile may keep it away from our folder.
        let mut command = Command::new("tcpdump");
        command.args(["-r", "-", "-n", "-e", "--time-stamp-precision=nano", "-tt"]);
        let output = command.stdin(File::open(file).unwrap()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn tcpdump_reads_it_to_the_nanosecond() {
        let folder = tempfile::tempdir().unwrap();
        let mut capture = Capture::create(folder.path()).unwrap();
        let moment = UNIX_EPOCH + Duration::new(1_795_903_200, 123_456_789);
        capture.add(moment, FRAME).unwrap();
        capture.add(moment + Duration::from_nanos(1), FRAME).unwrap();
        capture.flush().unwrap();
        let said = tcpdump(&folder.path().join(CAPTURE));
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("ethertype")).collect();
        assert_eq!(lines.len(), 2, "{said}");
        let from = "1795903200.123456789 02:00:00:00:00:01 > 02:00:00:00:00:02";
        assert!(lines[0].starts_with(from), "{said}");
        assert!(lines[0].contains("0x88b5") && lines[0].contains("length 19"), "{said}");
        assert!(lines[1].starts_with("1795903200.123456790 "), "{said}");
    }

    #[test]
    fn a_long_one_is_put_aside_and_both_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut capture = Capture::create(folder.path()).unwrap();
        for _ in 0..25 {
            capture.add_until(24 + 10 * 35, UNIX_EPOCH, FRAME).unwrap();
        }
        capture.flush().unwrap();
        let frames = |name| tcpdump(&folder.path().join(name)).matches("ethertype").count();
        assert_eq!((frames(CAPTURE_BEFORE), frames(CAPTURE)), (10, 5));
    }
}
