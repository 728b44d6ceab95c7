//! A blob's tar on its way into a folder: one thread decompresses and hashes, another makes files.

use std::io::{self, BufRead, Read};
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rustix::fs::Mode;

use super::digest::{Digest, Hashing};
use super::unpack::below::Below;
use super::unpack::{self, Limits, Unpack, Unpacked};

/// Bytes of a piece: large against a system call, small against a processor's cache.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces between the threads.
const PIECES: usize = 8;

/// A tar could not be applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Pipeline {
    /// The blob cannot be decompressed.
    #[error("decompress")]
    Decompress(#[source] io::Error),
    /// The tar is refused, or the disk takes no more.
    #[error(transparent)]
    Unpack(#[from] Unpack),
    /// There can be no further thread, or it cannot be set up.
    #[error("begin to unpack")]
    Begin(#[source] io::Error),
}

/// Applies the tar that `reader` gives to a folder over `below`; returns its digest and what is in it.
pub(super) fn run(
    reader: impl Read,
    root: BorrowedFd<'_>,
    below: &Below,
    limits: &Limits,
) -> Result<(Digest, Unpacked), Pipeline> {
    let (full, filled) = sync_channel(PIECES);
    let (used, empty) = sync_channel(PIECES);
    for _ in 0..PIECES {
        // There is room for as many.
        drop(used.send(Vec::new()));
    }
    thread::scope(|scope| {
        let work = move || {
            own_umask()?;
            let pieces = Pieces { filled, used, current: Vec::new(), at: 0 };
            Ok(unpack::unpack(pieces, root, below, limits)?)
        };
        let unpacking = thread::Builder::new().name("unpack".to_owned());
        let unpacking = unpacking.spawn_scoped(scope, work).map_err(Pipeline::Begin)?;
        let read = feed(reader, &full, &empty);
        drop((full, empty));
        let unpacked = unpacking
            .join()
            .unwrap_or_else(|_panicked| Err(Pipeline::Begin(io::ErrorKind::Interrupted.into())));
        match (read, unpacked) {
            // Where the blob is cut, the tar is too: the first is the reason.
            (Err(error), _) => Err(Pipeline::Decompress(error)),
            (Ok(_), Err(error)) => Err(error),
            (Ok(digest), Ok(bytes)) => Ok((digest, bytes)),
        }
    })
}

/// Gives this thread a umask of its own, which is 0: files get their modes when they are created, and nobody else's
/// files do.
fn own_umask() -> Result<(), Pipeline> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)
        .map_err(|errno| Pipeline::Begin(errno.into()))?;
    rustix::process::umask(Mode::empty());
    Ok(())
}

fn feed(
    reader: impl Read,
    full: &SyncSender<Vec<u8>>,
    empty: &Receiver<Vec<u8>>,
) -> io::Result<Digest> {
    let mut reader = Hashing::new(reader);
    // Both ends go away together: with a reader that gave up, there is nothing more to do.
    while let Ok(mut piece) = empty.recv() {
        piece.resize(PIECE_BYTES, 0);
        let mut length = 0;
        while length < PIECE_BYTES {
            let room = piece.get_mut(length..).unwrap_or_default();
            match reader.read(room) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        piece.truncate(length);
        if length == 0 || full.send(piece).is_err() {
            break;
        }
    }
    Ok(reader.finish().0)
}

/// What one thread filled, for the other to read.
struct Pieces {
    filled: Receiver<Vec<u8>>,
    used: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.current.len() {
            let next = self.filled.recv().unwrap_or_default();
            let used = std::mem::replace(&mut self.current, next);
            self.at = 0;
            // Where the other side has ended, nobody needs it any more.
            drop(self.used.try_send(used));
        }
        Ok(self.current.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }
}
