//! `ferrite unit cp`: files between this computer and a unit's container.

mod destination;

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use ferrite_schema::stream::{End, FilesRequest, Kind};
use tokio::sync::mpsc;

use crate::client::{Client, FrameStream};
use crate::failure::Failure;
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
    match (side(from), side(to)) {
        (Side::Container(name, path), Side::Here(to)) => {
            let (client, name) = session.client_of_unit(name)?;
            session.wait_for(fetch(&client, (&name, path), to))
        }
        (Side::Here(from), Side::Container(name, path)) => {
            let (client, name) = session.client_of_unit(name)?;
            session.wait_for(send(&client, from, (&name, path)))
        }
        (Side::Here(_), Side::Here(_)) | (Side::Container(..), Side::Container(..)) => {
            Err(Failure::CopySides)
        }
    }
}

/// `NAME:PATH` is a container's; a path here that holds a colon can be written as `./a:b`.
fn side(text: &str) -> Side<'_> {
    match text.split_once(':') {
        Some((name, path)) if !name.is_empty() && !name.contains('/') && path.starts_with('/') => {
            Side::Container(name, path)
        }
        Some(_) | None => Side::Here(Path::new(text)),
    }
}

async fn fetch(client: &Client, (name, path): (&str, &str), to: &Path) -> Result<(), Failure> {
    // What cannot be written is said before anything is asked for.
    let destination = Destination::open(to, Path::new(path))?;
    let FrameStream { mut incoming, outgoing: _outgoing } =
        client.files(name, &FilesRequest::Get { path: path.to_owned() }).await?;
    let (sender, receiver) = mpsc::channel(PIECES);
    let unpacking =
        std::thread::spawn(move || destination.stage(BufReader::new(Pieces::new(receiver))));
    let end = loop {
        let Some(frame) = incoming.next().await? else { break None };
        match frame.kind {
            Kind::Stdout => match sender.send(frame.payload).await {
                Ok(()) => {}
                // Whoever unpacks gave up, and says why below.
                Err(_) => break None,
            },
            Kind::Exit => break serde_json::from_slice(&frame.payload).ok(),
            _ => {}
        }
    };
    drop(sender);
    let staged = unpacking.join().unwrap_or_else(|_panic| {
        Err(Failure::Write { path: to.to_owned(), source: io::ErrorKind::Other.into() })
    });
    match (&end, staged) {
        // The node's reason comes first: what came before it is no whole copy.
        (Some(End::Refused { .. } | End::Detached), _) | (None, Ok(_)) => ended(name, end),
        (_, Err(failure)) => Err(failure),
        (Some(End::Ended { .. }), Ok(staged)) => staged.place(),
    }
}

async fn send(client: &Client, from: &Path, (name, path): (&str, &str)) -> Result<(), Failure> {
    let failed = |source| Failure::Read { path: from.to_owned(), source };
    fs::symlink_metadata(from).map_err(failed)?;
    let FrameStream { mut incoming, mut outgoing } =
        client.files(name, &FilesRequest::Put { path: path.to_owned() }).await?;
    let (sender, mut receiver) = mpsc::channel(PIECES);
    let source = from.to_owned();
    let packing = std::thread::spawn(move || pack(&source, Sink(sender)));
    while let Some(piece) = receiver.recv().await {
        if outgoing.send_frame(Kind::Stdin, &piece).await.is_err() {
            // The other direction says why.
            break;
        }
    }
    drop(receiver);
    let packed = packing.join().unwrap_or_else(|_panic| Err(io::ErrorKind::Other.into()));
    if packed.is_ok() {
        drop(outgoing.send_frame(Kind::CloseStdin, &[]).await);
    }
    let mut end = None;
    while let Some(frame) = incoming.next().await? {
        if frame.kind == Kind::Exit {
            end = serde_json::from_slice(&frame.payload).ok();
            break;
        }
    }
    ended(name, end)?;
    packed.map_err(failed)
}

fn ended(name: &str, end: Option<End>) -> Result<(), Failure> {
    let what = match end {
        Some(End::Ended { .. }) => return Ok(()),
        Some(End::Refused { reason, .. }) => format!("cannot be copied from or to: {reason}"),
        Some(End::Detached) | None => "closed the stream before the copy was whole".to_owned(),
    };
    Err(Failure::Unit { name: name.to_owned(), what })
}

fn pack(from: &Path, sink: impl Write) -> io::Result<()> {
    let mut builder = tar::Builder::new(io::BufWriter::with_capacity(PIECE_BYTES, sink));
    builder.follow_symlinks(false);
    let whole = fs::canonicalize(
        from.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new(".")),
    )?;
    let name = from.file_name().map_or_else(|| PathBuf::from("."), PathBuf::from);
    if fs::symlink_metadata(from)?.is_dir() {
        builder.append_dir_all(&name, from)?;
    } else {
        builder.append_path_with_name(whole.join(&name), &name)?;
    }
    builder.into_inner()?.flush()
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
mod tests {
    use super::*;

    #[test]
    fn sides() {
        assert!(matches!(side("web:/etc"), Side::Container("web", "/etc")));
        for text in ["./web:/etc", "web", "/etc", "web:etc"] {
            assert!(matches!(side(text), Side::Here(_)), "{text}");
        }
    }
}
