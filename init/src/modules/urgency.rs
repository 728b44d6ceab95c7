//! Which drivers are loaded when: by where a module lies in the kernel's tree, which says what it drives.

/// What is waiting for a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Everything that could hang: it is armed first.
    Watchdog,
    /// Stage 1, for a disk that answers at once.
    SwiftDisk,
    /// The agent: network, configuration, the buses on which those are. A person who presses the power button: what is
    /// pressed before its driver is there is lost.
    Node,
    /// Stage 1, where no swift disk is the system's. Otherwise nobody.
    Rest,
}

/// Drivers of disks that are there as soon as they are loaded, without ports to be searched: virtio, NVMe, Xen. What the
/// processor has for dm-verity's hashes comes along: every block of the root goes through it.
const SWIFT_DISKS: [&str; 3] =
    ["kernel/drivers/block/", "kernel/drivers/nvme/", "kernel/arch/x86/crypto/sha256"];
/// What a node needs to become ready. A bus comes along, since a card may be behind it.
const NODE: [&str; 10] = [
    "kernel/drivers/acpi/button",
    "kernel/drivers/input/evdev",
    "kernel/drivers/net/",
    "kernel/drivers/firmware/",
    "kernel/drivers/char/hw_random/",
    "kernel/drivers/virtio/virtio_mmio",
    "kernel/drivers/pci/",
    "kernel/drivers/hv/",
    "kernel/drivers/xen/",
    "kernel/net/",
];
const WATCHDOGS: &str = "kernel/drivers/watchdog/";

impl Urgency {
    /// Of the module at `path`, relative to the folder of the kernel's modules.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let below = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        if path.starts_with(WATCHDOGS) {
            Self::Watchdog
        } else if below(&SWIFT_DISKS) {
            Self::SwiftDisk
        } else if below(&NODE) {
            Self::Node
        } else {
            Self::Rest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_who_waits() {
        for (path, expected) in [
            ("kernel/drivers/watchdog/i6300esb.ko", Urgency::Watchdog),
            ("kernel/drivers/block/virtio_blk.ko", Urgency::SwiftDisk),
            ("kernel/drivers/nvme/host/nvme.ko.xz", Urgency::SwiftDisk),
            ("kernel/arch/x86/crypto/sha256-ssse3.ko", Urgency::SwiftDisk),
            ("kernel/arch/x86/crypto/aesni-intel.ko", Urgency::Rest),
            ("kernel/drivers/net/virtio_net.ko", Urgency::Node),
            ("kernel/drivers/net/ethernet/intel/igb/igb.ko", Urgency::Node),
            ("kernel/drivers/firmware/qemu_fw_cfg.ko", Urgency::Node),
            ("kernel/drivers/ata/ahci.ko", Urgency::Rest),
            ("kernel/drivers/scsi/virtio_scsi.ko", Urgency::Rest),
            ("kernel/drivers/virtio/virtio_balloon.ko", Urgency::Rest),
            ("kernel/drivers/acpi/button.ko", Urgency::Node),
            ("kernel/drivers/input/mouse/psmouse.ko", Urgency::Rest),
            ("", Urgency::Rest),
        ] {
            assert_eq!(Urgency::of(path), expected, "{path}");
        }
    }
}
