//! `ferrite unit cp`: files between this computer and a unit's container.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ferrite_schema::stream::{End, FilesRequest, Kind};
use tokio::sync::mpsc;

use crate::client::{Client, FrameStream};
use crate::failure::Failure;
use crate::session::Session;

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
            let client = session.client()?;
            session.wait_for(fetch(&client, (name, path), to))
        }
        (Side::Here(from), Side::Container(name, path)) => {
            let client = session.client()?;
            session.wait_for(send(&client, from, (name, path)))
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
    let FrameStream { mut incoming, outgoing: _outgoing } =
        client.files(name, &FilesRequest::Get { path: path.to_owned() }).await?;
    let (sender, receiver) = mpsc::channel(PIECES);
    let (folder, renamed) = target(to);
    let unpacking =
        std::thread::spawn(move || unpack(Pieces::new(receiver), &folder, renamed.as_deref()));
    let end = loop {
        let Some(frame) = incoming.next().await? else { break None };
        match frame.kind {
            // An unpacker that gave up says why at the end.
            Kind::Stdout => drop(sender.send(frame.payload).await),
            Kind::Exit => break serde_json::from_slice(&frame.payload).ok(),
            _ => {}
        }
    };
    drop(sender);
    let unpacked = unpacking.join().unwrap_or_else(|_panic| Err(io::ErrorKind::Other.into()));
    ended(name, end)?;
    unpacked.map_err(|source| Failure::Write { path: to.to_owned(), source })
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

/// The folder to unpack in, and the copy's name there unless it keeps its own.
fn target(to: &Path) -> (PathBuf, Option<PathBuf>) {
    if to.is_dir() {
        return (to.to_owned(), None);
    }
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    (parent.unwrap_or(Path::new(".")).to_owned(), to.file_name().map(PathBuf::from))
}

/// The archive comes from a container, which may put anything into it: nothing is written outside `folder`.
fn unpack(source: impl Read, folder: &Path, renamed: Option<&Path>) -> io::Result<()> {
    // Into a new folder first: no link that is here already leads out of that.
    let staging = tempfile::Builder::new().prefix(".ferrite-cp-").tempdir_in(folder)?;
    let mut archive = tar::Archive::new(source);
    archive.set_overwrite(false);
    archive.set_preserve_permissions(false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if (kind.is_dir() || kind.is_file() || kind.is_symlink())
            && !entry.unpack_in(staging.path())?
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the archive leads outside"));
        }
    }
    for entry in fs::read_dir(staging.path())? {
        let entry = entry?;
        let name = renamed.map_or_else(|| entry.file_name().into(), PathBuf::from);
        fs::rename(entry.path(), folder.join(name))?;
    }
    Ok(())
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
    fn an_archive_that_leads_outside_is_refused() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "out", "/tmp").unwrap();
        let mut file = tar::Header::new_gnu();
        file.set_size(1);
        file.set_mode(0o644);
        builder.append_data(&mut file, "out/ferrite-cp-escaped", &b"x"[..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert!(unpack(bytes.as_slice(), folder.path(), None).is_err());
        assert!(!Path::new("/tmp/ferrite-cp-escaped").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_copy_keeps_its_name_or_gets_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/f"), "content").unwrap();
        let mut archive = Vec::new();
        pack(&folder.path().join("a"), &mut archive).unwrap();
        unpack(archive.as_slice(), folder.path(), Some(Path::new("b"))).unwrap();
        assert_eq!(fs::read(folder.path().join("b/f")).unwrap(), b"content");
    }

    #[test]
    fn sides() {
        assert!(matches!(side("web:/etc"), Side::Container("web", "/etc")));
        for text in ["./web:/etc", "web", "/etc", "web:etc"] {
            assert!(matches!(side(text), Side::Here(_)), "{text}");
        }
    }
}
