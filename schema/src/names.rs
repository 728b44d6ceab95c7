//! Paths and names that several programs must agree on.

/// Directory of run-time state; a tmpfs that PID 1 mounts.
pub const RUN_DIR: &str = "/run/ferrite";
/// Where every container is put together, each in a mount namespace of its own; nothing is kept here, and everybody may
/// pass through.
pub const CONTAINER_DIR: &str = "/run/ferrite-container";
/// PID 1's control socket (`SOCK_SEQPACKET`, one JSON message per packet, see [`crate::control`]).
pub const CONTROL_SOCKET: &str = "/run/ferrite/init.sock";
/// Public keys that may sign slots, in the initramfs and in the root: `NAME.pub`, 64 hexadecimal digits.
pub const SLOT_KEYS_DIR: &str = "/etc/ferrite/slot-keys";
/// Boot ID of the running initramfs (see `ferrite_layout::slot_header::SlotDocument::boot_id`).
pub const BOOT_ID_FILE: &str = "/boot-id";
/// Kernel command line that the running initramfs was built with.
pub const COMMAND_LINE_FILE: &str = "/command-line";
/// STATE's mount point.
pub const STATE_DIR: &str = "/var";
/// What the agent keeps across boots.
pub const LIB_DIR: &str = "/var/lib/ferrite";
/// Where the node keeps its membership in its cluster, and what it was told there; on STATE.
pub const MEMBERSHIP_DIR: &str = "/var/lib/ferrite/cluster";
/// Where the node puts what it can neither use nor remove; on STATE.
pub const QUARANTINE_DIR: &str = "/var/lib/ferrite/quarantine";
/// Empty files that hold inodes for the node itself; on STATE.
pub const RESERVE_DIR: &str = "/var/lib/ferrite/reserve";
/// Beginning of the name of a volume that is being filled, beside the others: names of volumes never start with a dot.
pub const VOLUME_UNFINISHED: &str = ".new-";
/// The machine's ID: 32 hexadecimal digits, made on first boot.
pub const MACHINE_ID_FILE: &str = "/var/lib/ferrite/machine-id";
/// OEM's mount point (read-only), while it is read.
pub const OEM_DIR: &str = "/oem";
/// The cloud-config on the OEM partition.
pub const OEM_FILE: &str = "cloud-config.toml";
/// Kernel arguments of the platform, on the OEM partition.
pub const OEM_KERNEL_ARGUMENTS: &str = "/oem/kernel-args";
/// Where PID 1 leaves what the OEM partition's cloud-config says: it holds keys, and others could read it on a partition.
pub const OEM_CLOUD_CONFIG: &str = "/run/ferrite/oem-cloud-config.toml";
/// The cloud-config that QEMU hands over through fw_cfg.
pub const FW_CFG_CLOUD_CONFIG: &str =
    "/sys/firmware/qemu_fw_cfg/by_name/opt/org.ferrite/cloud-config/raw";
/// Name of that fw_cfg entry on QEMU's command line.
pub const FW_CFG_CLOUD_CONFIG_NAME: &str = "opt/org.ferrite/cloud-config";
/// The agent in the root file system.
pub const AGENT: &str = "/usr/bin/ferrite-agent";
/// What makes containers and joins them, static.
pub const CONTAINER: &str = "/usr/bin/ferrite-container";
/// What waits for a container, in the root file system.
pub const SHIM: &str = "/usr/bin/ferrite-shim";
/// PID 1 in the root file system.
pub const INIT: &str = "/usr/bin/ferrite-init";
/// Version, variant and build of the running root, as `os-release(5)`.
pub const OS_RELEASE: &str = "/usr/lib/os-release";
/// Empty STATE file system, written where STATE is destroyed: see `ferrite_layout::sparse`.
pub const STATE_TEMPLATE: &str = "/usr/share/ferrite/state.template";
/// Checks and repairs a damaged STATE.
pub const E2FSCK: &str = "/usr/sbin/e2fsck";
/// Port of the node's API.
pub const API_PORT: u16 = 7443;
/// Port of the cluster's network between nodes, UDP.
pub const MESH_PORT: u16 = 51820;
/// Port at which nodes that look for their cluster call one another on a link, UDP.
pub const BEACON_PORT: u16 = 51821;

/// Hexadecimal digits of a machine's ID.
pub const MACHINE_ID_DIGITS: usize = 32;

/// This may be a machine's ID: 32 hexadecimal digits in lower case, as `machine-id(5)` has them.
#[must_use]
pub fn is_machine_id(text: &str) -> bool {
    text.len() == MACHINE_ID_DIGITS
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
