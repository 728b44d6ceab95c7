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
use uuid::Uuid;

use crate::log;
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
    #[error(
        "the running kernel refuses to load the slot's: under Secure Boot (lockdown) it takes only what the firmware's keys \
         have signed. That says nothing against the slot, and costs it nothing"
    )]
    Refused { source: Errno },
    #[error("jump into the slot's kernel")]
    Jump { source: Errno },
}

/// What `kexec_file_load(2)` says where it looked at the caller's rights or the kernel's signature and did not like them:
/// lockdown and other security modules, a signature that is missing, not understood, or by a key that is not known, not
/// valid any more or revoked. A kernel without kexec at all is as little the slot's fault.
const REFUSALS: [Errno; 10] = [
    Errno::PERM,
    Errno::ACCESS,
    Errno::NODATA,
    Errno::NOPKG,
    Errno::BADMSG,
    Errno::NOKEY,
    Errno::KEYREJECTED,
    Errno::KEYEXPIRED,
    Errno::KEYREVOKED,
    Errno::NOSYS,
];

/// Loads kernel and initramfs out of the KERN partition `path`, checking their hashes, so that
/// [`jump`] can go there.
///
/// # Errors
/// The partition cannot be read, does not hold what was signed, or the running kernel refuses
/// ([`KexecError::Refused`]) or cannot use it.
pub fn load(path: &Path, document: &SlotDocument, command_line: &str) -> Result<(), KexecError> {
    let kernel = copy_checked(path, "kernel", &document.kernel)?;
    let initramfs = copy_checked(path, "initramfs", &document.initramfs)?;
    let too_long = KexecError::CommandLine { length: command_line.len() };
    if command_line.len() >= COMMAND_LINE_MAX_BYTES {
        return Err(too_long);
    }
    let command_line = CString::new(command_line).ok().ok_or(too_long)?;
    ferrite_sys::kexec::load(kernel.as_fd(), initramfs.as_fd(), &command_line).map_err(not_loaded)
}

/// Whether the kernel refused to load another, or could not.
fn not_loaded(source: Errno) -> KexecError {
    if REFUSALS.contains(&source) {
        KexecError::Refused { source }
    } else {
        KexecError::Load { source }
    }
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

/// What the next kernel is told. What comes later wins, so a person's word goes before the platform's, and both before the
/// slot's own.
#[derive(Debug, Clone)]
pub struct CommandLine<'parts> {
    /// The slot's own, which are signed.
    pub slots_own: &'parts str,
    /// A person's, see [`boot_params::persons`].
    pub persons: &'parts [&'parts str],
    /// The platform's: its words, and the fingerprint that says that they are there.
    pub oem: Option<(&'parts [&'parts str], &'parts str)>,
    /// The slot that is pinned.
    pub slot: Slot,
    /// The disk that is pinned.
    pub disk: Uuid,
    /// Counter of the jump.
    pub tsc: u64,
}

impl CommandLine<'_> {
    /// Puts it together. Where the kernel cannot take that much, what is not the slot's or PID 1's own is left out, loudly: a
    /// node with a typing error in its arguments must come up.
    #[must_use]
    pub fn build(&self) -> String {
        let whole = self.with(|_| true);
        if whole.len() < COMMAND_LINE_MAX_BYTES {
            return whole;
        }
        log::error(format_args!(
            "the kernel command line would have {} bytes, and the kernel takes {}: leaving out what is neither the \
             slot's own nor Ferrite's",
            whole.len(),
            COMMAND_LINE_MAX_BYTES - 1
        ));
        self.with(|word| word.starts_with(boot_params::PREFIX))
    }

    fn with(&self, keep: impl Fn(&str) -> bool) -> String {
        let pinned = [boot_params::SLOT, boot_params::DISK, boot_params::KEXEC_TSC];
        let is_set_anew = |word: &str| {
            let name = boot_params::name(word);
            pinned.contains(&name) || name == boot_params::ARGUMENTS
        };
        let (oem, fingerprint) = self.oem.unzip();
        let mut words: Vec<String> =
            boot_params::words(self.slots_own).map(str::to_owned).collect();
        let added = oem.into_iter().flatten().chain(self.persons).filter(|word| keep(word));
        words.extend(added.map(|word| (*word).to_owned()));
        words.retain(|word| !is_set_anew(word));
        // Also where the words themselves were too long: so that nobody tries again in vain.
        words.extend(
            fingerprint.map(|fingerprint| format!("{}={fingerprint}", boot_params::ARGUMENTS)),
        );
        words.push(format!("{}={}", boot_params::SLOT, self.slot));
        words.push(format!("{}={}", boot_params::DISK, self.disk));
        words.push(format!("{}={}", boot_params::KEXEC_TSC, self.tsc));
        words.join(" ")
    }
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

    fn line<'parts>(slots_own: &'parts str, persons: &'parts [&'parts str]) -> CommandLine<'parts> {
        CommandLine {
            slots_own,
            persons,
            oem: None,
            slot: Slot::B,
            disk: Uuid::from_u128(5),
            tsc: 77,
        }
    }

    const PINS: &str =
        "ferrite.slot=B ferrite.disk=00000000-0000-0000-0000-000000000005 ferrite.kexec_tsc=77";

    #[test]
    fn what_a_person_and_the_platform_gave_goes_along_and_slot_and_disk_are_pinned() {
        let running = "console=ttyS0 BOOT_IMAGE=x ferrite.hold nomodeset ferrite.fatal_delay_s=2 console=ttyS1 \
                       ferrite.kexec_tsc=1 ferrite.slot=A ferrite.disk=vda";
        let persons = boot_params::persons(running, "console=ttyS0");
        let own = "console=ttyS0 panic=10 ferrite.slot=A";
        let expected = format!(
            "console=ttyS0 panic=10 ferrite.hold nomodeset ferrite.fatal_delay_s=2 console=ttyS1 {PINS}"
        );
        assert_eq!(line(own, &persons).build(), expected);
        // The next kernel, which was built with the slot's own, finds the same words again.
        assert_eq!(boot_params::persons(&expected, "console=ttyS0 panic=10"), persons);
        let oem: &[&str] = &["mitigations=off"];
        let with_oem = CommandLine { oem: Some((oem, "1f")), ..line("quiet", &["nomodeset"]) };
        assert_eq!(
            with_oem.build(),
            format!("quiet mitigations=off nomodeset ferrite.arguments=1f {PINS}")
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_shortened_and_keeps_what_is_needed() {
        let long = "x".repeat(COMMAND_LINE_MAX_BYTES);
        let built = line("quiet panic=10", &[&long, "ferrite.hold"]).build();
        assert_eq!(built, format!("quiet panic=10 ferrite.hold {PINS}"));
    }

    #[test]
    fn a_refusal_is_told_from_a_kernel_that_is_none() {
        let is_refusal = |errno| matches!(not_loaded(errno), KexecError::Refused { .. });
        // Under lockdown; with a signature by a key that this machine does not know; with none, where one must be.
        for errno in [Errno::PERM, Errno::NOKEY, Errno::KEYREJECTED, Errno::NODATA] {
            assert!(is_refusal(errno), "{errno}");
        }
        for errno in [Errno::NOEXEC, Errno::NOMEM, Errno::IO, Errno::ADDRNOTAVAIL, Errno::INVAL] {
            assert!(!is_refusal(errno), "{errno}");
        }
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
        let short = copy_checked(&path, "kernel", &blob(good.clone(), CHUNK_BYTES + 4));
        assert!(matches!(short, Err(KexecError::Hash { .. })));
        let long = copy_checked(&path, "kernel", &blob(good, CHUNK_BYTES + 6));
        assert!(matches!(long, Err(KexecError::Read { .. })));
    }
}
