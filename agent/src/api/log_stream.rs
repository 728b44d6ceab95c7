//! A unit's log as a stream of bytes: what is there, and, if asked, what is written from then on.

use std::fs::{self, File};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use futures_util::Stream;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::logs::{CURRENT, PREVIOUS};

/// Read and sent at once.
const CHUNK_BYTES: usize = 32 * 1024;

struct Tail {
    path: PathBuf,
    /// The older file, until it is read.
    previous: Option<File>,
    current: Option<File>,
    watch: Option<AsyncFd<OwnedFd>>,
}

/// Opens the log in `folder`; a unit that never ran has an empty one.
pub(super) fn open(
    folder: &Path,
    follow: bool,
) -> io::Result<impl Stream<Item = io::Result<Vec<u8>>> + use<>> {
    let watch = if follow {
        fs::create_dir_all(folder)?;
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, folder, events)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd keeps the descriptor open"
        )]
        Some(AsyncFd::new(watch)?)
    } else {
        None
    };
    // This order: a rotation in between is then seen twice rather than never.
    let path = folder.join(CURRENT);
    let current = open_optional(&path)?;
    let previous = open_optional(&folder.join(PREVIOUS))?;
    let previous = match (&previous, &current) {
        (Some(older), Some(newer)) if older.metadata()?.ino() == newer.metadata()?.ino() => None,
        _ => previous,
    };
    let tail = Tail { path, previous, current, watch };
    Ok(futures_util::stream::try_unfold(tail, |mut tail| async move {
        Ok(tail.next().await?.map(|chunk| (chunk, tail)))
    }))
}

fn open_optional(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Tail {
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(chunk) = read(self.previous.as_mut())? {
                return Ok(Some(chunk));
            }
            self.previous = None;
            if let Some(chunk) = read(self.current.as_mut())? {
                return Ok(Some(chunk));
            }
            let Some(watch) = &self.watch else { return Ok(None) };
            let newest = open_optional(&self.path)?;
            let rotated = match (&self.current, &newest) {
                (Some(old), Some(new)) => old.metadata()?.ino() != new.metadata()?.ino(),
                (old, new) => old.is_none() && new.is_some(),
            };
            if rotated {
                // The last lines of the old file may have come between its end and the look at the new one.
                self.previous = std::mem::replace(&mut self.current, newest);
                continue;
            }
            let mut guard = watch.readable().await?;
            // What changed is found by reading; the events themselves only wake.
            let drained = guard.try_io(|watch| drain(watch.get_ref()));
            if let Ok(result) = drained {
                result?;
            }
        }
    }
}

fn read(file: Option<&mut File>) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = file else { return Ok(None) };
    let mut chunk = vec![0; CHUNK_BYTES];
    let count = file.read(&mut chunk)?;
    chunk.truncate(count);
    Ok((count > 0).then_some(chunk))
}

fn drain(watch: &OwnedFd) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    loop {
        reader.next()?;
        if reader.is_buffer_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::pin::pin;

    use futures_util::StreamExt;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn both_files_are_read_in_order_and_the_stream_ends() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(PREVIOUS), "a\n").unwrap();
        fs::write(folder.path().join(CURRENT), "b\n").unwrap();
        let chunks: Vec<_> =
            runtime().block_on(open(folder.path(), false).unwrap().collect::<Vec<_>>());
        let all: Vec<u8> = chunks.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(all, b"a\nb\n");
        let none = open(&folder.path().join("never-ran"), false).unwrap();
        assert_eq!(runtime().block_on(none.count()), 0);
    }

    #[test]
    fn following_sees_new_lines_and_rotation() {
        let folder = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let mut stream = pin!(open(folder.path(), true).unwrap());
            let current = folder.path().join(CURRENT);
            let mut file = File::create(&current).unwrap();
            file.write_all(b"1\n").unwrap();
            assert_eq!(stream.next().await.unwrap().unwrap(), b"1\n");
            file.write_all(b"2\n").unwrap();
            fs::rename(&current, folder.path().join(PREVIOUS)).unwrap();
            fs::write(&current, b"3\n").unwrap();
            assert_eq!(stream.next().await.unwrap().unwrap(), b"2\n");
            assert_eq!(stream.next().await.unwrap().unwrap(), b"3\n");
        });
    }
}
