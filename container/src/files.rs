//! `ferrite-container files`: copies files out of a container and into it, as a tar stream.
//!
//! It works *inside* the container's user and mount namespaces, as the container's root: whatever links the
//! container makes, and whenever, they lead to the container's own files. Nothing of the image is executed, and
//! no names of users are looked up. Nothing that is copied in gets set-id bits.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use ferrite_archive::extract::{self, Extract, Top};
use ferrite_schema::api::Exit;
use ferrite_schema::shim::{REQUEST, Request};
use ferrite_schema::stream::{self, Decoder, End, FilesRequest, Kind};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use rustix::thread::ThreadNameSpaceType;

use super::exec::enter;

/// Deepest nesting of folders that is copied.
const DEPTH_MAX: usize = 256;
/// Exit status of a copy that failed.
const FAILED: u8 = 1;

/// A copy was not made.
#[derive(Debug, thiserror::Error)]
enum CopyProblem {
    #[error(transparent)]
    Files(io::Error),
    #[error(transparent)]
    Put(Extract),
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
    let copied = enter_files().map_err(CopyProblem::Files).and_then(|()| match &request {
        FilesRequest::Get { path } => {
            get(Path::new(path), Outgoing(&control)).map_err(CopyProblem::Files)
        }
        FilesRequest::Put { path } => {
            let payload = Vec::new();
            let incoming = Incoming { stream: &control, decoder, payload, closed: false };
            put(Path::new(path), incoming).map_err(CopyProblem::Put)
        }
    });
    let end = match copied {
        Ok(()) => End::Ended { exit: Exit::Status { code: 0 } },
        Err(error) => End::Refused { code: FAILED, reason: ferrite_schema::chain(&error) },
    };
    let mut frame = Vec::new();
    stream::encode(&mut frame, Kind::Exit, &serde_json::to_vec(&end)?);
    (&control).write_all(&frame)?;
    Ok(())
}

fn enter_files() -> io::Result<()> {
    let made_from: Request = serde_json::from_slice(&std::fs::read(REQUEST)?)?;
    let (pid, pidfd) = enter::container(&made_from.cgroup)?;
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

fn get(path: &Path, out: Outgoing<'_>) -> io::Result<()> {
    let mut builder = tar::Builder::new(out);
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
            add(&mut builder, &parent, name.as_ref(), Path::new(name), 0)?;
        }
        _ => {
            let root = open(Path::new("/"), OFlags::PATH | OFlags::DIRECTORY)?;
            add(&mut builder, &root, Path::new("."), Path::new("."), 0)?;
        }
    }
    builder.finish()
}

fn add<W: Write>(
    builder: &mut tar::Builder<W>,
    parent: &OwnedFd,
    name: &Path,
    path: &Path,
    depth: usize,
) -> io::Result<()> {
    if depth > DEPTH_MAX {
        let why =
            format!("copy {}: folders in one another deeper than {DEPTH_MAX}", path.display());
        return Err(io::Error::other(why));
    }
    let seen = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let no_follow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(seen.st_mode) {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | no_follow;
            let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            let mut header = header(&rustix::fs::fstat(&folder)?, tar::EntryType::Directory, 0);
            builder.append_data(&mut header, path, io::empty())?;
            for entry in Dir::read_from(&folder)? {
                let entry = entry?;
                let bytes = entry.file_name().to_bytes();
                if bytes != b"." && bytes != b".." {
                    let name = PathBuf::from(OsStr::from_bytes(bytes));
                    add(builder, &folder, &name, &path.join(&name), depth + 1)?;
                }
            }
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | no_follow;
            let file = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            let opened = rustix::fs::fstat(&file)?;
            if FileType::from_raw_mode(opened.st_mode) != FileType::RegularFile {
                return Err(Errno::AGAIN.into());
            }
            let bytes = u64::try_from(opened.st_size).unwrap_or_default();
            let mut header = header(&opened, tar::EntryType::Regular, bytes);
            // A file that shrinks or grows meanwhile still has the length that was said.
            let content = std::fs::File::from(file).chain(io::repeat(0)).take(bytes);
            builder.append_data(&mut header, path, content)?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
            let target = target.to_string_lossy().into_owned();
            let mut header = header(&seen, tar::EntryType::Symlink, 0);
            builder.append_link(&mut header, path, target)?;
        }
        // Devices, pipes and sockets are not content.
        _ => {}
    }
    Ok(())
}

fn header(status: &Stat, kind: tar::EntryType, bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(status.st_mode & 0o7777);
    header.set_uid(status.st_uid.into());
    header.set_gid(status.st_gid.into());
    header.set_mtime(u64::try_from(status.st_mtime).unwrap_or_default());
    header.set_size(bytes);
    header
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
    // Folders and files get the modes that they are sent with.
    rustix::process::umask(Mode::empty());
    let top = Top::One { sent: None, placed: renamed };
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
