//! `ferrite unit cp`: files between this computer and a unit's container.

mod destination;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use ferrite_archive::pack::{self, Pack, Passed, Top};
use ferrite_schema::stream::{End, FilesRequest, Kind};
use rustix::fs::{Mode, OFlags};
use tokio::sync::mpsc;

use super::ending::told_to_end;
use crate::client::{Client, FrameStream, Incoming};
use crate::failure::Failure;
use crate::screen;
use crate::session::Session;

use self::destination::Destination;

/// Pieces of the archive on their way.
const PIECES: usize = 8;
/// Size of a piece.
const PIECE_BYTES: usize = 64 * 1024;

/// One side of a copy.
enum Side<'a> {
    Container(&'a str, &'a str),
    Here(&'a Path),
}

/// Copies; exactly one of the two names a container.
pub(super) fn run(from: &str, to: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    let said = match (side(from), side(to)) {
        (Side::Container(name, path), Side::Here(to)) => {
            let (client, name) = session.client_of_unit(name)?;
            session.wait_for(fetch(&client, (&name, path), to))?
        }
        (Side::Here(from), Side::Container(name, path)) => {
            let (client, name) = session.client_of_unit(name)?;
            session.wait_for(send(&client, from, (&name, path)))?
        }
        (Side::Here(_), Side::Here(_)) | (Side::Container(..), Side::Container(..)) => {
            return Err(Failure::CopySides);
        }
    };
    if let Some(said) = said {
        // It is the container who named what is in it.
        drop(writeln!(session.err, "{}", screen::visible_in_line(&said)));
    }
    Ok(())
}

/// What is to be said about a copy that was made.
type Said = Option<String>;

/// `NAME:PATH` is a container's; a path here that holds a colon can be written as `./a:b`.
fn side(text: &str) -> Side<'_> {
    match text.split_once(':') {
        Some((name, path)) if !name.is_empty() && !name.contains('/') && path.starts_with('/') => {
            Side::Container(name, path)
        }
        Some(_) | None => Side::Here(Path::new(text)),
    }
}

async fn fetch(client: &Client, (name, path): (&str, &str), to: &Path) -> Result<Said, Failure> {
    // What cannot be written is said before anything is asked for.
    let destination = Destination::open(to, Path::new(path))?;
    let stream = client.files(name, &FilesRequest::Get { path: path.to_owned() }).await?;
    receive(stream, destination, (name, to), told_to_end()).await
}

/// However this ends, nothing stays here but a whole copy.
async fn receive(
    stream: FrameStream,
    destination: Destination,
    (name, to): (&str, &Path),
    interrupt: impl Future<Output = io::Result<()>>,
) -> Result<Said, Failure> {
    let FrameStream { mut incoming, outgoing: _outgoing } = stream;
    let (sender, receiver) = mpsc::channel(PIECES);
    let unpacking =
        std::thread::spawn(move || destination.stage(BufReader::new(Pieces::new(receiver))));
    let came = tokio::select! {
        // It hears of signals from its first look on, and until then there is hardly anything to clean up.
        told = interrupt => told.map_err(|source| Failure::Runtime { source }).map(|()| None),
        end = take(&mut incoming, sender) => end.map(Some),
    };
    // Its pieces end here in any case. What it made meanwhile goes with it.
    let staged = unpacking.join().unwrap_or_else(|_panic| {
        Err(Failure::Write { path: to.to_owned(), source: io::ErrorKind::Other.into() })
    });
    let (end, said) = came?.ok_or_else(|| Failure::CopyInterrupted { path: to.to_owned() })?;
    match (&end, staged) {
        // The node's reason comes first: what came before it is no whole copy.
        (Some(End::Refused { .. } | End::Detached), _) | (None, Ok(_)) => ended(name, end)?,
        (_, Err(failure)) => return Err(failure),
        (Some(End::Ended { .. }), Ok(staged)) => staged.place()?,
    }
    Ok(said)
}

/// Passes on what the node sends, until it says how it went or nobody takes it any more; and what it has to say about it.
async fn take(
    incoming: &mut Incoming,
    sender: mpsc::Sender<Vec<u8>>,
) -> Result<(Option<End>, Said), Failure> {
    let mut said = None;
    while let Some(frame) = incoming.next().await? {
        match frame.kind {
            Kind::Exit => return Ok((serde_json::from_slice(&frame.payload).ok(), said)),
            Kind::Stderr => said = Some(String::from_utf8_lossy(&frame.payload).into_owned()),
            // Whoever unpacks gave up, and says why.
            Kind::Stdout if sender.send(frame.payload).await.is_err() => return Ok((None, None)),
            _ => {}
        }
    }
    Ok((None, None))
}

async fn send(client: &Client, from: &Path, (name, path): (&str, &str)) -> Result<Said, Failure> {
    let source = Source::open(from)?;
    let stream = client.files(name, &FilesRequest::Put { path: path.to_owned() }).await?;
    deliver(stream, source, name).await
}

/// Sends while it listens: a node that refuses the copy says so at once, and reads no more.
async fn deliver(stream: FrameStream, source: Source, name: &str) -> Result<Said, Failure> {
    let FrameStream { mut incoming, mut outgoing } = stream;
    let mut said = None;
    let (sender, mut pieces) = mpsc::channel(PIECES);
    // It ends at its end, or when nobody takes its pieces.
    let mut packing = Some(std::thread::spawn(move || source.pack(Sink(sender))));
    loop {
        tokio::select! {
            frame = incoming.next() => match frame? {
                Some(frame) if frame.kind == Kind::Exit => {
                    ended(name, serde_json::from_slice(&frame.payload).ok())?;
                    return Ok(said);
                }
                Some(_) => {}
                None => return Err(broken_off(name)),
            },
            () = outgoing.advance(), if !outgoing.is_idle() => {}
            piece = pieces.recv(), if packing.is_some() && outgoing.is_idle() => match piece {
                Some(piece) => outgoing.queue(Kind::Stdin, &piece),
                None => {
                    match packing.take().map(JoinHandle::join) {
                        Some(Ok(packed)) => {
                            said = packed?.said();
                            outgoing.queue(Kind::CloseStdin, &[]);
                        }
                        // It broke off here; nobody waits for the rest.
                        Some(Err(_)) => return Err(broken_off(name)),
                        None => {}
                    }
                }
            },
        }
    }
}

fn ended(name: &str, end: Option<End>) -> Result<(), Failure> {
    match end {
        Some(End::Ended { .. }) => Ok(()),
        Some(End::Refused { reason, .. }) => {
            let what = format!("cannot be copied from or to: {reason}");
            Err(Failure::Unit { name: name.to_owned(), what })
        }
        Some(End::Detached) | None => Err(broken_off(name)),
    }
}

fn broken_off(name: &str) -> Failure {
    let what = "closed the stream before the copy was whole".to_owned();
    Failure::Unit { name: name.to_owned(), what }
}

/// What is copied from here.
struct Source {
    parent: OwnedFd,
    name: OsString,
    shown: PathBuf,
}

impl Source {
    /// Looks at it, so that what is missing is said before anything is asked for.
    fn open(from: &Path) -> Result<Self, Failure> {
        let failed = |source| Failure::Read { path: from.to_owned(), source };
        fs::symlink_metadata(from).map_err(failed)?;
        let parent = from.parent().filter(|path| !path.as_os_str().is_empty());
        let (parent, name) = match from.file_name() {
            Some(name) => (parent.unwrap_or(Path::new(".")), name),
            // The root of this computer, `.` or `..`.
            None => (from, OsStr::new(".")),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(parent, flags, Mode::empty());
        let folder = folder.map_err(|errno| failed(errno.into()))?;
        Ok(Self { parent: folder, name: name.to_owned(), shown: from.to_owned() })
    }

    fn pack(&self, sink: Sink) -> Result<Passed, Pack> {
        let called = Path::new(&self.name);
        let top = Top { parent: self.parent.as_fd(), name: &self.name, called, shown: &self.shown };
        pack::pack(&top, io::BufWriter::with_capacity(PIECE_BYTES, sink))
    }
}

/// Pieces that arrive, as something to read.
struct Pieces {
    receiver: mpsc::Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Pieces {
    fn new(receiver: mpsc::Receiver<Vec<u8>>) -> Self {
        Self { receiver, piece: io::Cursor::new(Vec::new()) }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
    }
}

/// Something to write to, whose pieces are sent on.
struct Sink(mpsc::Sender<Vec<u8>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(bytes.to_vec());
        sent.map(|()| bytes.len()).map_err(|_closed| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
