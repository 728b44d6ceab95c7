//! What this computer offers for running machines: a QEMU that is new enough, hardware virtualisation that
//! really works, firmware, disk space.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kvm;

/// Oldest QEMU that runs our guests: 7.2 corrupts 6.12 kernels at random without KVM.
pub const QEMU_OLDEST_MAJOR: u32 = 8;

/// Where distributions keep UEFI firmware: code and the template of its variables.
const FIRMWARE_FILES: [(&str, &str); 4] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
];

/// How guest instructions are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceleration {
    /// By the processor.
    Kvm,
    /// By translation: works everywhere, 10 to 30 times slower.
    Tcg,
}

/// UEFI firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// Read-only code.
    pub code: PathBuf,
    /// Template of the variables; every machine gets a copy.
    pub variables: PathBuf,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// `qemu-system-x86_64`.
    pub qemu: PathBuf,
    /// `qemu-img`.
    pub qemu_img: PathBuf,
    /// QEMU's version.
    pub version: Version,
    /// The faster of the ways that work.
    pub acceleration: Acceleration,
    /// `None` where no UEFI firmware is installed; BIOS and direct boot work without.
    pub firmware: Option<Firmware>,
}

/// QEMU's version: major, minor, micro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The option of a `-netdev stream` that connects again after a tenth of a second, or after one second where QEMU
    /// counts in those. It connects when the other end comes, even if it was not there at first.
    #[must_use]
    pub fn reconnect_option(self) -> &'static str {
        if self >= Self(9, 2, 0) { "reconnect-ms=100" } else { "reconnect=1" }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What this computer lacks. Each message says how to mend it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum HostError {
    #[error(
        "find {program}: not in PATH; install QEMU (`scripts/setup`, or the packages qemu-system-x86 and qemu-utils)"
    )]
    FindProgram { program: &'static str },
    #[error("run {}", path.display())]
    Run { path: PathBuf, source: io::Error },
    #[error("read the version of {}: it said {output:?}", path.display())]
    ReadVersion { path: PathBuf, output: String },
    #[error(
        "use QEMU {found}: older than {QEMU_OLDEST_MAJOR}, such a QEMU corrupts our guests; install a newer one \
         (`scripts/setup` takes it from backports on Debian 12)"
    )]
    TooOld { found: Version },
    #[error(
        "find UEFI firmware: none is installed; install the package ovmf, or boot with bios or direct"
    )]
    FindFirmware,
    #[error("read free space at {}", path.display())]
    ReadSpace { path: PathBuf, source: io::Error },
    #[error(
        "find disk space: {} has {} MiB free and {} MiB are needed; delete something or choose another folder",
        path.display(), free_bytes >> 20, needed_bytes >> 20
    )]
    FindSpace { path: PathBuf, free_bytes: u64, needed_bytes: u64 },
}

impl Host {
    /// Looks for everything. Tries KVM out with a tiny guest: a `/dev/kvm` that exists may still not run
    /// one. `FERRITE_QEMU` and `FERRITE_ACCEL` (`kvm` or `tcg`) override what is found.
    ///
    /// # Errors
    /// QEMU is absent, cannot run or is too old.
    pub fn probe() -> Result<Self, HostError> {
        let qemu = match std::env::var_os("FERRITE_QEMU") {
            Some(path) => PathBuf::from(path),
            None => find_program("qemu-system-x86_64")?,
        };
        let qemu_img = find_program("qemu-img")?;
        let version = read_version(&qemu)?;
        if version.0 < QEMU_OLDEST_MAJOR {
            return Err(HostError::TooOld { found: version });
        }
        let acceleration = match std::env::var("FERRITE_ACCEL").as_deref() {
            Ok("kvm") => Acceleration::Kvm,
            Ok("tcg") => Acceleration::Tcg,
            Ok(_) | Err(_) if kvm::works(&qemu) => Acceleration::Kvm,
            Ok(_) | Err(_) => Acceleration::Tcg,
        };
        Ok(Self { qemu, qemu_img, version, acceleration, firmware: find_firmware() })
    }

    /// The firmware.
    ///
    /// # Errors
    /// None is installed.
    pub fn firmware(&self) -> Result<&Firmware, HostError> {
        self.firmware.as_ref().ok_or(HostError::FindFirmware)
    }
}

/// Checks that the file system of `path`, or of its closest parent that exists, has room.
///
/// # Errors
/// It has not, or cannot be asked.
pub fn require_space(path: &Path, needed_bytes: u64) -> Result<(), HostError> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let space = rustix::fs::statvfs(existing).map_err(|errno| HostError::ReadSpace {
        path: existing.to_owned(),
        source: errno.into(),
    })?;
    let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    if free_bytes < needed_bytes {
        return Err(HostError::FindSpace { path: existing.to_owned(), free_bytes, needed_bytes });
    }
    Ok(())
}

fn find_program(program: &'static str) -> Result<PathBuf, HostError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/local/bin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or(HostError::FindProgram { program })
}

fn read_version(qemu: &Path) -> Result<Version, HostError> {
    let output = Command::new(qemu)
        .arg("--version")
        .output()
        .map_err(|source| HostError::Run { path: qemu.to_owned(), source })?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    parse_version(&output).ok_or_else(|| HostError::ReadVersion { path: qemu.to_owned(), output })
}

/// Reads `QEMU emulator version 10.0.2 (Debian …)`.
fn parse_version(output: &str) -> Option<Version> {
    let number = output.split_once("version ")?.1;
    let end = number.find(|character: char| character != '.' && !character.is_ascii_digit());
    let mut parts = number.get(..end.unwrap_or(number.len()))?.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    let micro = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    Some(Version(major, minor, micro))
}

fn find_firmware() -> Option<Firmware> {
    FIRMWARE_FILES
        .map(|(code, variables)| Firmware { code: code.into(), variables: variables.into() })
        .into_iter()
        .find(|firmware| firmware.code.is_file() && firmware.variables.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, expected: Option<Version>) {
        assert_eq!(parse_version(output), expected, "{output:?}");
    }

    #[test]
    fn versions_of_distributions_are_read() {
        check(
            "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright",
            Some(Version(10, 0, 2)),
        );
        check(
            "QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7+deb12u14)\n",
            Some(Version(7, 2, 17)),
        );
        check("QEMU emulator version 9.1.50\n", Some(Version(9, 1, 50)));
        check("QEMU emulator version 8.2", Some(Version(8, 2, 0)));
        check("QEMU emulator version 10.1.0-rc2", Some(Version(10, 1, 0)));
        check("version", None);
        check("no such thing", None);
        check("", None);
    }

    #[test]
    fn the_oldest_version_is_a_boundary() {
        assert!(Version(7, 9, 9) < Version(QEMU_OLDEST_MAJOR, 0, 0));
        assert!(Version(10, 0, 0) > Version(9, 9, 9), "numbers are compared as numbers");
    }

    #[test]
    fn reconnecting_is_asked_for_as_the_version_understands_it() {
        assert_eq!(Version(9, 1, 50).reconnect_option(), "reconnect=1");
        assert_eq!(Version(9, 2, 0).reconnect_option(), "reconnect-ms=100");
    }

    #[test]
    fn space_is_asked_of_the_closest_existing_parent() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("a/b/c");
        require_space(&absent, 1).unwrap();
        let error = require_space(&absent, u64::MAX).unwrap_err();
        assert!(matches!(error, HostError::FindSpace { path, .. } if path == folder.path()));
    }
}
