//! Growing STATE to its partition while it is in use, beside everything else.
//!
//! In steps, so that a machine that goes down does not wait for terabytes: what was grown stays, and the next boot
//! goes on. The kernel makes each step whole, also over a power cut.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};

use ferrite_schema::names;
use rustix::pipe::{PipeFlags, pipe_with};

use super::superblock::{self, Superblock};

/// Growing by less than this is not worth a write: the last group of blocks may be unusable anyway.
const GROW_MIN_BYTES: u64 = 1024 * 1024;
/// How much is added at a time: some seconds on a slow disk.
const STEP_BYTES: u64 = 32 << 30;

/// Reads of a superblock that may be changing.
const READS_MAX: usize = 10;

/// Growth on its way.
#[derive(Debug)]
pub struct Growth {
    stop: Arc<AtomicBool>,
    /// Ends with the work.
    pipe: OwnedFd,
    result: Receiver<io::Result<Grown>>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grown {
    /// Size before, in bytes.
    pub from_bytes: u64,
    /// Size after.
    pub to_bytes: u64,
}

impl Growth {
    /// Begins to grow the file system that is mounted as STATE to the whole of `device`.
    ///
    /// # Errors
    /// There is no room for a pipe or a thread.
    pub fn begin(device: PathBuf) -> io::Result<Self> {
        let (pipe, end) = pipe_with(PipeFlags::CLOEXEC)?;
        let (done, result) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        std::thread::Builder::new().name("grow".to_owned()).spawn(move || {
            done.send(grow(&device, &asked)).ok();
            drop(end);
        })?;
        Ok(Self { stop, pipe, result })
    }

    /// What came of it, once its descriptor says that it has ended; waits where it has not.
    ///
    /// # Errors
    /// The kernel refuses; the file system stays as large as it is then.
    pub fn end(self) -> io::Result<Grown> {
        self.result.recv().unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    }

    /// Ends it after the step that it is at, and waits for that.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.end().ok();
    }
}

impl AsFd for Growth {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

fn grow(device: &Path, stop: &AtomicBool) -> io::Result<Grown> {
    let mut file = File::open(device)?;
    let partition_bytes = file.seek(SeekFrom::End(0))?;
    let superblock = read_superblock(&file)?;
    let bytes = |blocks| blocks * superblock.block_bytes;
    let mut blocks = superblock.blocks;
    for step in steps(superblock, partition_bytes) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let root = File::open(names::STATE_DIR)?;
        ferrite_sys::ext4::resize(root.as_fd(), step)?;
        blocks = step;
    }
    Ok(Grown { from_bytes: bytes(superblock.blocks), to_bytes: bytes(blocks) })
}

/// The kernel changes the superblock of a mounted file system before it makes the checksum; a read may fall between.
fn read_superblock(file: &File) -> io::Result<Superblock> {
    for _ in 0..READS_MAX {
        let mut bytes = vec![0; superblock::SIZE_BYTES];
        file.read_exact_at(&mut bytes, superblock::OFFSET_BYTES)?;
        if let Some(superblock) = superblock::parse(&bytes) {
            return Ok(superblock);
        }
    }
    Err(io::Error::other("its superblock cannot be understood"))
}

/// The sizes to grow to, one after the other, in blocks.
fn steps(superblock: Superblock, partition_bytes: u64) -> impl Iterator<Item = u64> {
    let whole = partition_bytes / superblock.block_bytes;
    let more_bytes = whole.saturating_sub(superblock.blocks) * superblock.block_bytes;
    let step = STEP_BYTES / superblock.block_bytes;
    let mut blocks = superblock.blocks;
    std::iter::from_fn(move || {
        if more_bytes < GROW_MIN_BYTES || blocks >= whole {
            return None;
        }
        blocks = blocks.saturating_add(step).min(whole);
        Some(blocks)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(blocks: u64, partition_blocks: u64) -> Vec<u64> {
        let superblock = Superblock {
            block_bytes: 4096,
            blocks,
            has_errors: false,
            group: 0,
            first_block: 0,
            descriptor_bytes: 64,
            inode_bytes: 256,
            descriptor_blocks: 1,
        };
        steps(superblock, partition_blocks * 4096).collect()
    }

    #[test]
    fn a_file_system_grows_only_when_it_is_worth_it() {
        assert_eq!(sizes(1000, 1000), [0; 0]);
        assert_eq!(sizes(1000, 1255), [0; 0]);
        assert_eq!(sizes(1000, 1256), [1256]);
        assert_eq!(sizes(1000, 999), [0; 0]);
    }

    #[test]
    fn much_is_grown_in_steps_and_to_the_end() {
        let step = STEP_BYTES / 4096;
        let whole = 1000 + 2 * step + 5;
        assert_eq!(sizes(1000, whole), [1000 + step, 1000 + 2 * step, whole]);
    }
}
