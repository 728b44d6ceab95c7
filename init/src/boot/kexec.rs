//! Jumping into a slot's own kernel.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use ferrite_layout::boot_params;
use ferrite_layout::slot::Slot;
use ferrite_layout::slot_header::{Blob, SlotDocument};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::system::RebootCommand;
use sha2::{Digest as _, Sha256};

use crate::boot::plan::Verdict;
use crate::watchdog;

/// Bytes copied and hashed at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Longest command line that the kernel takes on x86-64, with its final zero.
const COMMAND_LINE_MAX_BYTES: usize = 2048;

/// Why the jump did not come about.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum KexecError {
    #[error("read the {what} from {path}")]
    Read { what: &'static str, path: PathBuf, source: io::Error },
    #[error("keep the {what} in memory")]
    Keep { what: &'static str, source: io::Error },
    #[error(
        "check the {what} in {path}: its SHA-256 is {found}, the signed header says {expected}"
    )]
    Hash { what: &'static str, path: PathBuf, expected: String, found: String },
    #[error(
        "build the command line: {length} bytes, at most {COMMAND_LINE_MAX_BYTES} are possible, and no zero"
    )]
    CommandLine { length: usize },
    #[error("load the slot's kernel for kexec")]
    Load { source: Errno },
    #[error("jump into the slot's kernel")]
    Jump { source: Errno },
}

impl KexecError {
    /// Whether the slot's content is to blame.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match self {
            // ENOEXEC: hashes are right, and still it is no kernel.
            Self::Hash { .. } | Self::CommandLine { .. } | Self::Load { source: Errno::NOEXEC } => {
                Verdict::Bad
            }
            Self::Read { .. } | Self::Keep { .. } | Self::Load { .. } | Self::Jump { .. } => {
                Verdict::Doubtful
            }
        }
    }
}

/// Loads kernel and initramfs out of the KERN partition `path`, checking their hashes, so that
/// [`jump`] can go there.
///
/// # Errors
/// The partition cannot be read, does not hold what was signed, or the running kernel refuses.
pub fn load(path: &Path, document: &SlotDocument, command_line: &str) -> Result<(), KexecError> {
    let kernel = copy_checked(path, "kernel", &document.kernel)?;
    let initramfs = copy_checked(path, "initramfs", &document.initramfs)?;
    let too_long = KexecError::CommandLine { length: command_line.len() };
    if command_line.len() >= COMMAND_LINE_MAX_BYTES {
        return Err(too_long);
    }
    let command_line = CString::new(command_line).ok().ok_or(too_long)?;
    ferrite_sys::kexec::load(kernel.as_fd(), initramfs.as_fd(), &command_line)
        .map_err(|source| KexecError::Load { source })
}

/// Jumps into the loaded kernel. Returns only when that fails.
#[must_use]
pub fn jump() -> KexecError {
    rustix::fs::sync();
    match rustix::system::reboot(RebootCommand::Kexec) {
        Ok(()) => KexecError::Jump { source: Errno::AGAIN },
        Err(source) => KexecError::Jump { source },
    }
}

/// Command line for the slot's kernel: its own, then PID 1's parameters of the running one, then the
/// slot pinned and the counter of the jump. The last of a name wins, so what a person gave goes along.
#[must_use]
pub fn command_line(slots_own: &str, running: &str, slot: Slot, tsc: u64) -> String {
    let replaced = |word: &str| {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        name == boot_params::SLOT || name == boot_params::KEXEC_TSC
    };
    let mut words: Vec<String> = slots_own
        .split_ascii_whitespace()
        .filter(|word| !replaced(word))
        .map(str::to_owned)
        .collect();
    let own = running
        .split_ascii_whitespace()
        .filter(|word| word.starts_with(boot_params::PREFIX) && !replaced(word));
    for word in own {
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words.push(format!("{}={slot}", boot_params::SLOT));
    words.push(format!("{}={tsc}", boot_params::KEXEC_TSC));
    words.join(" ")
}

/// Copies a blob into memory while hashing: what was checked is what will run, whatever the disk does later.
fn copy_checked(path: &Path, what: &'static str, blob: &Blob) -> Result<OwnedFd, KexecError> {
    let read = |source| KexecError::Read { what, path: path.to_owned(), source };
    let keep = |source| KexecError::Keep { what, source };
    let mut partition = File::open(path).map_err(read)?;
    partition.seek(SeekFrom::Start(blob.offset_bytes)).map_err(read)?;
    let memory = rustix::fs::memfd_create(what, MemfdFlags::CLOEXEC)
        .map_err(|source| keep(source.into()))?;
    let mut memory = File::from(memory);
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = blob.size_bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let Some(part) = chunk.get_mut(..length) else { break };
        partition.read_exact(part).map_err(read)?;
        hasher.update(&*part);
        memory.write_all(part).map_err(keep)?;
        // A slow disk makes progress; one that hangs does not come here.
        watchdog::feed();
        left -= u64::try_from(length).unwrap_or(left);
    }
    let found = hex::encode(hasher.finalize());
    if found != blob.sha256 {
        return Err(KexecError::Hash {
            what,
            path: path.to_owned(),
            expected: blob.sha256.clone(),
            found,
        });
    }
    Ok(memory.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persons_parameters_go_along_and_the_slot_is_pinned() {
        let line = command_line(
            "console=ttyS0 ferrite.hold ferrite.slot=A",
            "BOOT_IMAGE=x ferrite.hold ferrite.fatal_delay_s=2 quiet ferrite.kexec_tsc=1 ferrite.slot=A",
            Slot::B,
            77,
        );
        assert_eq!(
            line,
            "console=ttyS0 ferrite.hold ferrite.fatal_delay_s=2 ferrite.slot=B ferrite.kexec_tsc=77"
        );
    }

    #[test]
    fn a_blob_is_used_only_with_the_right_hash() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kern");
        let mut content = vec![0; 4096];
        content.extend_from_slice(&vec![9; CHUNK_BYTES + 5]);
        std::fs::write(&path, &content).unwrap();
        let blob = |sha256: String, size: usize| Blob {
            offset_bytes: 4096,
            size_bytes: u64::try_from(size).unwrap(),
            sha256,
        };
        let good = hex::encode(Sha256::digest(&content[4096..]));
        let mut copied = Vec::new();
        let memory = copy_checked(&path, "kernel", &blob(good.clone(), CHUNK_BYTES + 5)).unwrap();
        let mut memory = File::from(memory);
        memory.rewind().unwrap();
        memory.read_to_end(&mut copied).unwrap();
        assert_eq!(copied, content[4096..]);
        let verdict =
            |blob| copy_checked(&path, "kernel", &blob).err().map(|error| error.verdict());
        assert_eq!(verdict(blob(good.clone(), CHUNK_BYTES + 4)), Some(Verdict::Bad));
        assert_eq!(verdict(blob(good, CHUNK_BYTES + 6)), Some(Verdict::Doubtful));
    }
}
