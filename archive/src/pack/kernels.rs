//! File systems that show what the kernel knows, and hold nobody's files.

/// Their numbers and names.
///
/// # Source
/// `include/uapi/linux/magic.h`; for three `fs/fuse/control.c`, `fs/configfs/mount.c` and `ipc/mqueue.c`.
const KERNELS: [(u32, &str); 20] = [
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x6367_7270, "cgroup2"),
    (0x0027_e0eb, "cgroup"),
    (0x1cd1, "devpts"),
    (0x1980_0202, "mqueue"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0x6265_6570, "configfs"),
    (0x6573_5543, "fusectl"),
    (0xcafe_4a11, "bpf"),
    (0x6165_676c, "pstore"),
    (0xde5e_81e4, "efivarfs"),
    (0x4249_4e4d, "binfmt_misc"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x4341_5d53, "smackfs"),
    (0x5a3c_69f0, "apparmorfs"),
    (0x6e73_6673, "nsfs"),
    (0x0765_5821, "resctrl"),
];

/// What the kernel calls a file system of this kind, where it is one of its own.
pub(super) fn name(kind: impl TryInto<i64>) -> Option<&'static str> {
    // The kernel's numbers have 32 bits, whatever sign its word has on this machine.
    let kind = u32::try_from(kind.try_into().ok()? & 0xffff_ffff).ok()?;
    KERNELS.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name)
}
