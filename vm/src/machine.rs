//! What a machine is: a plain description, from which its QEMU command line follows.

use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::switch::mac::Mac;

/// The kernel of an image as loaders know it, a bzImage.
const KERNEL: &str = "kernel";
/// The same kernel as an ELF file, in images whose kernel was built with them.
const VMLINUX: &str = "vmlinux";

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Name, for people: process list and messages.
    pub name: String,
    /// Its directory (see the crate's documentation); must exist.
    pub directory: PathBuf,
    /// Virtual processors.
    pub cpus: u8,
    /// Memory.
    pub memory_mib: u32,
    /// How it boots.
    pub boot: Boot,
    /// Disks; firmware tries them in this order.
    pub disks: Vec<Disk>,
    /// Files handed over through fw_cfg.
    pub fw_cfg: Vec<FwCfg>,
    /// Its network card.
    pub network: Card,
    /// Ports of the guest that are reachable on the host's 127.0.0.1, each at a port that QEMU takes from
    /// the kernel (no race) and [`crate::running::Running::forwarded_port`] tells. With [`Card::User`] alone: a switch
    /// publishes ports itself.
    pub forwards: Vec<u16>,
    /// How guest time passes.
    pub timing: Timing,
    /// What the hardware's clock says when the machine is switched on.
    pub clock: Clock,
    /// A hardware watchdog.
    pub watchdog: bool,
    /// A graphics adapter, for what the screen console shows; costs boot time.
    pub screen: bool,
    /// Ends with the process that started it, or lives on.
    pub lifetime: Lifetime,
    /// Further QEMU arguments, at the end.
    pub extra_arguments: Vec<String>,
}

/// A machine's network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Card {
    /// It has none.
    None,
    /// A network of its own, with QEMU as the way out.
    User,
    /// The network of a [`crate::switch::Switch`]. QEMU connects when the switch is there, and again when it comes
    /// again: either may start first.
    Cable {
        /// The switch's socket for the machine ([`crate::switch::cable_socket`]); relative to the machine's directory
        /// or absolute, and then at most 107 bytes long.
        socket: PathBuf,
        /// The card's address, which says to the switch who the machine is.
        mac: Mac,
    },
}

/// How a machine boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// QEMU loads the kernel itself.
    Direct {
        /// Kernel: a bzImage, or an ELF file with a PVH entry.
        kernel: PathBuf,
        /// Initramfs.
        initramfs: Option<PathBuf>,
        /// Kernel command line.
        command_line: String,
    },
    /// SeaBIOS boots the first disk.
    Bios,
    /// OVMF boots the first disk.
    Uefi,
}

impl Boot {
    /// Name of the kernel that QEMU loads itself, in the folder of an image: `vmlinux` where there is one, which begins at
    /// its PVH entry and has nothing to unpack, else `kernel`, the bzImage.
    #[must_use]
    pub fn kernel_in(image: &Path) -> &'static str {
        if image.join(VMLINUX).is_file() { VMLINUX } else { KERNEL }
    }
}

/// A file handed to the guest through fw_cfg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FwCfg {
    /// Name: `opt/org.ferrite/…`.
    pub name: String,
    /// The file; relative to the machine's directory or absolute.
    pub file: PathBuf,
}

/// How guest time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// As the host's does.
    Real,
    /// By instructions (`-icount shift=0,sleep=off`): one per nanosecond, so that the guest's time-stamp
    /// counter measures work, whatever the host's load. Needs one processor; never uses KVM.
    Instructions,
}

/// What the hardware's clock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clock {
    /// The host's time.
    Host,
    /// This moment of UTC: `2099-01-01T00:00:00`.
    At(String),
}

/// How long a machine lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// In a session of its own, until somebody ends it: `ferrite cluster up`.
    Detached,
    /// Killed when its [`crate::running::Running`] is dropped and, by the kernel, when the *thread* that
    /// started it ends, however that happens: tests.
    Bound,
}
