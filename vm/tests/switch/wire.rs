//! A machine's end of a cable, for tests that look at frames.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ferrite_vm::switch::cable_socket;
use ferrite_vm::switch::client::Client;

/// Long enough for a computer that does much else.
pub(crate) const SOON: Duration = Duration::from_secs(50);
pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];
/// A type of frames that nobody uses, so that the gateway has nothing to say about them.
const KIND: [u8; 2] = [0x88, 0xb5];

pub(crate) struct Plug(pub(crate) UnixStream);

impl Plug {
    /// Connects, and waits until the switch has it.
    pub(crate) fn new(folder: &Path, machine: &str) -> Self {
        let stream = UnixStream::connect(cable_socket(folder, machine)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut client = Client::connect(folder).unwrap();
        while !client
            .status()
            .unwrap()
            .machines
            .iter()
            .any(|one| one.name == machine && one.plugged)
        {}
        Self(stream)
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length, frame].concat()).unwrap();
    }

    /// Says `text` from the machine `from` to `to`.
    pub(crate) fn say(&mut self, to: [u8; 6], from: u8, text: &str) {
        self.send(&[&to[..], &mac(from), &KIND, text.as_bytes()].concat());
    }

    /// The next frame of the tests' own type; what the gateway says is left out.
    pub(crate) fn hear(&mut self) -> String {
        // The gateway says something each minute, which no wait for one read would outlast.
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < SOON, "nothing is heard");
            let mut length = [0; 4];
            self.0.read_exact(&mut length).unwrap();
            let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
            self.0.read_exact(&mut frame).unwrap();
            if frame[12..14] == KIND {
                return String::from_utf8(frame[14..].to_vec()).unwrap();
            }
        }
    }

    /// The switch has closed it.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

pub(crate) fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}
