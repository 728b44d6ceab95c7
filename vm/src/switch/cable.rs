//! One port's socket: QEMU connects, and frames go both ways.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::framing::{Decoder, encode};
use super::port::Frame;

/// Bytes that wait for a machine that reads slowly, or not at all while it is paused; beyond, frames are lost, as a
/// switch loses them.
const WAITING_MAX_BYTES: usize = 1 << 20;
/// Bytes taken at once, so that no machine keeps the others waiting.
const PIECE_BYTES: usize = 128 << 10;

/// A port's socket.
#[derive(Debug)]
pub(crate) struct Cable {
    listener: UnixListener,
    /// Who is connected.
    plugged: Option<Plugged>,
    /// Frames for the machine that were lost because it did not take them.
    overrun: u64,
}

#[derive(Debug)]
struct Plugged {
    stream: UnixStream,
    /// What is being read.
    piece: Vec<u8>,
    decoder: Decoder,
    /// Encoded frames, of which `sent` bytes are gone.
    waiting: Vec<u8>,
    sent: usize,
}

impl Cable {
    /// Listens at `path`, in place of a socket that was left there.
    ///
    /// # Errors
    /// It cannot be bound.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let listener = bind(path)?;
        Ok(Self { listener, plugged: None, overrun: 0 })
    }

    /// Somebody is connected.
    #[must_use]
    pub(crate) fn is_plugged(&self) -> bool {
        self.plugged.is_some()
    }

    /// Frames that were lost because the machine did not take them.
    #[must_use]
    pub(crate) fn overrun(&self) -> u64 {
        self.overrun
    }

    /// What to wait for: a connection, and where there is one, its frames (always) and room in it (the flag).
    pub(crate) fn waits_for(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let stream = self.plugged.as_ref();
        let stream = stream.map(|plugged| (plugged.stream.as_fd(), !plugged.waiting.is_empty()));
        [(self.listener.as_fd(), false)].into_iter().chain(stream)
    }

    /// Takes a new connection, if there is one. It takes the place of an older one: a machine that connects anew has
    /// given the old one up.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn accept(&mut self) -> io::Result<()> {
        let Some((stream, _)) = unless_blocked(self.listener.accept())? else { return Ok(()) };
        stream.set_nonblocking(true)?;
        let (piece, decoder) = (vec![0; PIECE_BYTES], Decoder::default());
        self.plugged = Some(Plugged { stream, piece, decoder, waiting: Vec::new(), sent: 0 });
        Ok(())
    }

    /// Takes the frames that have come. A stream that ended, broke or holds no frames is unplugged.
    pub(crate) fn receive(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let Some(plugged) = &mut self.plugged else { return frames };
        if !plugged.receive(&mut frames) {
            self.plugged = None;
        }
        frames
    }

    /// Takes a frame for the machine.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        let Some(plugged) = &mut self.plugged else { return };
        let is_full = plugged.waiting.len() - plugged.sent > WAITING_MAX_BYTES;
        if is_full || !encode(frame, &mut plugged.waiting) {
            self.overrun += 1;
        }
    }

    /// Sends what waits, as much as the machine takes.
    pub(crate) fn flush(&mut self) {
        if self.plugged.as_mut().is_some_and(|plugged| !plugged.flush()) {
            self.plugged = None;
        }
    }
}

impl Plugged {
    /// False where nothing more will come.
    fn receive(&mut self, frames: &mut Vec<Frame>) -> bool {
        let length = match unless_blocked(self.stream.read(&mut self.piece)) {
            Ok(None) => return true,
            Ok(Some(length)) if length > 0 => length,
            Ok(Some(_)) | Err(_) => return false,
        };
        self.decoder.push(self.piece.get(..length).unwrap_or_default());
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// False where nobody takes anything any more.
    fn flush(&mut self) -> bool {
        while let Some(rest) = self.waiting.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match unless_blocked(self.stream.write(rest)) {
                Ok(None) => break,
                Ok(Some(length)) => self.sent += length,
                Err(_) => return false,
            }
        }
        self.waiting.drain(..self.sent);
        self.sent = 0;
        true
    }
}

/// Listens at `path`, which may be longer than a socket's address, in place of a socket that was left there.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let (folder, name) = split(path)?;
    let listener = UnixListener::bind(Path::new(&short(&folder)).join(name))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects to the socket at `path`, which may be longer than a socket's address.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let (folder, name) = split(path)?;
    UnixStream::connect(Path::new(&short(&folder)).join(name))
}

fn split(path: &Path) -> io::Result<(File, &std::ffi::OsStr)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok((File::open(folder.unwrap_or(Path::new(".")))?, name))
}

fn short(folder: &File) -> String {
    format!("/proc/self/fd/{}", folder.as_raw_fd())
}

/// `None` where the kernel has nothing now.
pub(crate) fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        },
    }
}
