//! `ferrite-container files`: copies files out of a container and into it, as a tar stream.
//!
//! It works *inside* the container's user and mount namespaces, as the container's root: whatever links the
//! container makes, and whenever, they lead to the container's own files. Nothing of the image is executed, and
//! no names of users are looked up. Nothing that is copied in gets set-id bits.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use ferrite_archive::extract::{self, Extract};
use ferrite_archive::pack::{self, Pack, Top};
use ferrite_schema::api::Exit;
use ferrite_schema::shim::{REQUEST, Request};
use ferrite_schema::stream::{self, Decoder, End, FilesRequest, Kind};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::thread::ThreadNameSpaceType;

use super::exec::enter;
use super::privilege;

/// Bytes of what is sent at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Exit status of a copy that failed.
const FAILED: u8 = 1;

/// A copy was not made.
#[derive(Debug, thiserror::Error)]
enum CopyProblem {
    #[error("enter the container")]
    Enter(#[source] io::Error),
    #[error(transparent)]
    Get(Pack),
    #[error("copy to {path}")]
    Put { path: String, source: Extract },
}

/// Serves one copy.
///
/// # Errors
/// The agent does not speak to us.
pub fn run() -> anyhow::Result<()> {
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut reader = BufReader::new(control.try_clone()?);
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    let request: FilesRequest = serde_json::from_slice(&line)?;
    let mut decoder = Decoder::default();
    decoder.feed(reader.buffer());
    let copied = enter_files().map_err(CopyProblem::Enter).and_then(|()| match &request {
        FilesRequest::Get { path } => {
            get(Path::new(path), Outgoing(&control)).map_err(CopyProblem::Get)
        }
        FilesRequest::Put { path } => {
            let payload = Vec::new();
            let incoming = Incoming { stream: &control, decoder, payload, closed: false };
            put(Path::new(path), incoming)
                .map(|()| None)
                .map_err(|source| CopyProblem::Put { path: path.clone(), source })
        }
    });
    let (said, end) = match copied {
        Ok(said) => (said, End::Ended { exit: Exit::Status { code: 0 } }),
        Err(error) => (None, End::Refused { code: FAILED, reason: ferrite_schema::chain(&error) }),
    };
    let mut frame = Vec::new();
    if let Some(said) = said {
        stream::encode(&mut frame, Kind::Stderr, said.as_bytes());
    }
    stream::encode(&mut frame, Kind::Exit, &serde_json::to_vec(&end)?);
    (&control).write_all(&frame)?;
    Ok(())
}

fn enter_files() -> io::Result<()> {
    let made_from: Request = serde_json::from_slice(&std::fs::read(REQUEST)?)?;
    let (pid, pidfd) = enter::container(Path::new(""), &made_from.cgroup)?;
    let files = ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT;
    enter::enter(&pidfd, enter::namespaces(pid)? & files)?;
    Ok(())
}

/// Opens a path of the container; nothing of `/proc` that leads to other processes' files.
fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, "/", folder, Mode::empty())?;
    rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Answers what is to be said about the copy.
fn get(path: &Path, out: Outgoing<'_>) -> Result<Option<String>, Pack> {
    let (parent, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => (parent, name),
        // The root, or a path that ends in `..`.
        _ => (path, OsStr::new(".")),
    };
    let opened = open(parent, OFlags::PATH | OFlags::DIRECTORY);
    let folder = opened.map_err(|errno| Pack::Read {
        // What is missing is often a folder on the way.
        path: parent.to_owned(),
        source: errno.into(),
    })?;
    let top = Top { parent: folder.as_fd(), name, called: Path::new(name), shown: path };
    // A frame for each piece.
    let mut out = BufWriter::with_capacity(PIECE_BYTES, out);
    Ok(pack::pack(&top, &mut out)?.said())
}

/// Into `path` where that is a folder; otherwise the copy gets its name.
fn put(path: &Path, source: Incoming<'_>) -> Result<(), Extract> {
    let failed = |errno: Errno| Extract::Create { path: path.to_owned(), source: errno.into() };
    let folder = OFlags::PATH | OFlags::DIRECTORY;
    let (base, renamed) = match open(path, folder) {
        Ok(base) => (base, None),
        Err(Errno::NOENT | Errno::NOTDIR) => {
            let parent = path.parent().ok_or(failed(Errno::NOENT))?;
            let name = path.file_name().map(|name| name.as_bytes().to_vec());
            (open(parent, folder).map_err(failed)?, name)
        }
        Err(errno) => return Err(failed(errno)),
    };
    // Into a container that shares the node's users, too.
    let _bounded = privilege::keep_to_bounds()
        .map_err(|source| Extract::Create { path: path.to_owned(), source })?;
    // Folders and files get the modes that they are sent with.
    rustix::process::umask(Mode::empty());
    let top = extract::Top::One { sent: None, placed: renamed };
    // What follows the archive's end is read too, so that the sender can finish.
    extract::extract(BufReader::new(source), base.as_fd(), &top)
}

/// Bytes that become frames.
struct Outgoing<'a>(&'a UnixStream);

impl Write for Outgoing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut frames = Vec::new();
        stream::encode(&mut frames, Kind::Stdout, bytes);
        self.0.write_all(&frames)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Frames that become bytes, until the sender closes its stream in order.
struct Incoming<'a> {
    stream: &'a UnixStream,
    decoder: Decoder,
    payload: Vec<u8>,
    closed: bool,
}

impl Read for Incoming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        while self.payload.is_empty() {
            if self.closed {
                return Ok(0);
            }
            let bad = |bad| io::Error::new(io::ErrorKind::InvalidData, bad);
            match self.decoder.frame().map_err(bad)? {
                Some(frame) if frame.kind == Kind::CloseStdin => self.closed = true,
                Some(frame) if frame.kind == Kind::Stdin => self.payload = frame.payload,
                Some(_) => {}
                None => match self.stream.read(&mut chunk)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => self.decoder.feed(chunk.get(..count).unwrap_or_default()),
                },
            }
        }
        let count = buffer.len().min(self.payload.len());
        for (to, from) in buffer.iter_mut().zip(self.payload.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }
}
