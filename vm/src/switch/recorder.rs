//! Beacons: what machines say to nobody in particular, recorded with the host's clock.
//!
//! A machine sends UDP to port 9999 of the gateway or, better, to everybody (255.255.255.255 or `ff02::1`), for which
//! it needs no answer from anybody. It is heard where its frame enters the switch, before any fault: a machine whose
//! cable is cut is heard, too. When it was is the host's to say: a guest's clock lies after a pause.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::topology::RECORDER_PORT;
use super::wire;

/// The history's file in a network's folder, a beacon per line.
pub const HISTORY: &str = "history.jsonl";
/// Beacons recorded at most: a machine that does nothing else fills no memory.
const BEACONS_MAX: usize = 1 << 20;

/// What a machine said, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beacon {
    /// When it was heard, by the host's clock, in nanoseconds since 1970.
    pub at_ns: u64,
    /// Who: whose cable it came from, whatever its addresses say.
    pub machine: String,
    /// What.
    pub text: String,
}

/// Reads the history of the network with this folder.
///
/// # Errors
/// There is none, or a line is no beacon: the switch is just writing it.
pub fn history(folder: &Path) -> io::Result<Vec<Beacon>> {
    let text = fs::read_to_string(folder.join(HISTORY))?;
    let beacons = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
    Ok(beacons?)
}

/// What is recorded.
#[derive(Debug)]
pub(crate) struct Recorder {
    file: BufWriter<File>,
    beacons: Vec<Beacon>,
}

impl Recorder {
    pub(crate) fn create(folder: &Path) -> io::Result<Self> {
        let file = BufWriter::new(File::create(folder.join(HISTORY))?);
        Ok(Self { file, beacons: Vec::new() })
    }

    /// Records a beacon.
    pub(crate) fn add(&mut self, moment: SystemTime, machine: &str, text: &[u8]) -> io::Result<()> {
        if self.beacons.len() >= BEACONS_MAX {
            return Ok(());
        }
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let at_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let text = String::from_utf8_lossy(text).into_owned();
        let beacon = Beacon { at_ns, machine: machine.to_owned(), text };
        serde_json::to_writer(&mut self.file, &beacon)?;
        self.file.write_all(b"\n")?;
        self.beacons.push(beacon);
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Beacons from number `first` on.
    pub(crate) fn since(&self, first: usize) -> &[Beacon] {
        self.beacons.get(first..).unwrap_or_default()
    }
}

/// What a frame says to the recorder, if it does.
pub(crate) fn beacon(frame: &[u8], gateway: impl Fn(IpAddr) -> bool) -> Option<&[u8]> {
    let datagram = wire::datagram(frame)?;
    let for_all = match datagram.destination {
        IpAddr::V4(address) => address.is_broadcast() || address.is_multicast(),
        IpAddr::V6(address) => address.is_multicast(),
    };
    let is_meant =
        datagram.destination_port == RECORDER_PORT && (for_all || gateway(datagram.destination));
    is_meant.then_some(datagram.payload)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::mac::Mac;
    use super::super::wire::{Ends, udp_frame};
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    fn sent_to(address: Ipv4Addr, port: u16) -> Vec<u8> {
        let source = (Mac([2; 6]), Ipv4Addr::new(192, 168, 1, 10), 4000);
        udp_frame(Ends { source, destination: (Mac([4; 6]), address, port) }, b"alive 1")
    }

    #[test]
    fn beacons_are_for_the_recorder_or_for_all() {
        let own = |address| address == IpAddr::from(GATEWAY);
        for address in [GATEWAY, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)] {
            let frame = sent_to(address, RECORDER_PORT);
            assert_eq!(beacon(&frame, own), Some(&b"alive 1"[..]), "{address}");
        }
        assert_eq!(beacon(&sent_to(GATEWAY, RECORDER_PORT + 1), own), None);
        assert_eq!(beacon(&sent_to(Ipv4Addr::new(192, 168, 1, 11), RECORDER_PORT), own), None);
        let mut damaged = sent_to(GATEWAY, RECORDER_PORT);
        damaged[45] ^= 1;
        assert_eq!(beacon(&damaged, own), None);
    }

    #[test]
    fn what_is_recorded_is_in_the_file_and_there_is_an_end_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::create(folder.path()).unwrap();
        let moment = UNIX_EPOCH + Duration::from_nanos(12);
        for _ in 0..BEACONS_MAX + 5 {
            recorder.add(moment, "one", b"a \xff").unwrap();
        }
        recorder.flush().unwrap();
        let text = std::fs::read_to_string(folder.path().join(HISTORY)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), BEACONS_MAX);
        let first: Beacon = serde_json::from_str(lines[0]).unwrap();
        let expected =
            Beacon { at_ns: 12, machine: "one".to_owned(), text: "a \u{fffd}".to_owned() };
        assert_eq!((&first, recorder.since(BEACONS_MAX - 1)), (&expected, &[expected.clone()][..]));
    }
}
