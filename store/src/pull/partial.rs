//! A blob that is still coming in: a file that survives the agent, and a thread that writes and hashes it.
//!
//! Nothing in a partial file is believed: what it holds is hashed again when it is continued, and the digest of the
//! whole decides.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ferrite_files::own;
use hyper::body::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::digest::{Digest, Hashing};

/// Pieces on their way to the disk: enough to keep both sides busy, little enough to forget about.
const QUEUE_MAX: usize = 64;
/// Bytes read at once while a file is hashed again.
const BUFFER_BYTES: usize = 256 * 1024;

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write {}", path.display())]
pub struct WritePartial {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The writing side. Dropping it leaves what came so far in the file.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    pieces: mpsc::Sender<Bytes>,
    end: oneshot::Receiver<io::Result<(Digest, u64)>>,
}

impl Partial {
    /// Bytes that are in the file already.
    #[must_use]
    pub fn length(path: &Path) -> u64 {
        let file = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file);
        file.map_or(0, |meta| meta.len())
    }

    /// Opens the file to continue behind its first `keep_bytes`.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn open(path: &Path, keep_bytes: u64) -> Result<Self, WritePartial> {
        let (pieces, queue) = mpsc::channel(QUEUE_MAX);
        let (say, end) = oneshot::channel();
        let file = path.to_owned();
        let work = move || {
            // Nobody listens any more where the pull was given up.
            drop(say.send(write(&file, keep_bytes, queue)));
        };
        std::thread::Builder::new()
            .name("blob".to_owned())
            .spawn(work)
            .map_err(|source| WritePartial { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), pieces, end })
    }

    /// Appends a piece. Whether it could be written is said by [`Self::finish`].
    pub async fn push(&self, piece: Bytes) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    /// Ends the file, flushed to the disk, and says what it holds.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn finish(self) -> Result<(Digest, u64), WritePartial> {
        drop(self.pieces);
        let end = self.end.await.unwrap_or_else(|_gone| Err(io::ErrorKind::Interrupted.into()));
        end.map_err(|source| WritePartial { path: self.path, source })
    }
}

fn write(
    path: &Path,
    keep_bytes: u64,
    mut queue: mpsc::Receiver<Bytes>,
) -> io::Result<(Digest, u64)> {
    let mut file = own::open(path)?;
    file.set_len(keep_bytes)?;
    file.seek(SeekFrom::Start(0))?;
    let mut hashing = Hashing::new(file);
    reread(&mut hashing, keep_bytes)?;
    while let Some(piece) = queue.blocking_recv() {
        hashing.write_all(&piece)?;
    }
    let (digest, bytes, file) = hashing.finish();
    file.sync_all()?;
    Ok((digest, bytes))
}

fn reread(hashing: &mut Hashing<File>, bytes: u64) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut left = bytes;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = hashing.read(buffer.get_mut(..room).unwrap_or_default())?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left = left.saturating_sub(count as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_continued_and_hashed_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let first = Partial::open(&path, 0).unwrap();
        assert!(first.push(Bytes::from_static(b"hello wrong")).await);
        first.finish().await.unwrap();
        assert_eq!(Partial::length(&path), 11);
        let second = Partial::open(&path, 6).unwrap();
        assert!(second.push(Bytes::from_static(b"world")).await);
        let (digest, bytes) = second.finish().await.unwrap();
        assert_eq!((digest, bytes), (Digest::of(b"hello world"), 11));
        assert_eq!(std::fs::read(&path).unwrap(), b"hello world");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_said_so() {
        let partial = Partial::open(Path::new("/nonexistent-folder/a"), 0).unwrap();
        assert!(partial.finish().await.is_err());
    }

    #[tokio::test]
    async fn what_is_no_file_is_nothing_to_go_on_with() {
        for kind in ["a folder", "a FIFO", "a link"] {
            let folder = tempfile::tempdir().unwrap();
            let (path, elsewhere) = (folder.path().join("a"), folder.path().join("elsewhere"));
            std::fs::write(&elsewhere, "another's").unwrap();
            match kind {
                "a folder" => std::fs::create_dir_all(path.join("deep")).unwrap(),
                "a FIFO" => {
                    let made = std::process::Command::new("mkfifo").arg(&path).status();
                    assert!(made.unwrap().success());
                }
                _ => std::os::unix::fs::symlink(&elsewhere, &path).unwrap(),
            }
            let partial = Partial::open(&path, Partial::length(&path)).unwrap();
            assert!(partial.push(Bytes::from_static(b"whole")).await);
            let (digest, bytes) = partial.finish().await.unwrap();
            assert_eq!((digest, bytes), (Digest::of(b"whole"), 5), "{kind}");
            assert_eq!(std::fs::read(&path).unwrap(), b"whole", "{kind}");
            assert_eq!(std::fs::read(&elsewhere).unwrap(), b"another's", "{kind}");
        }
    }
}
