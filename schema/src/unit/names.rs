//! Words that the kernel knows and units use: capabilities, limits, signals.

/// Capabilities without `CAP_`.
pub const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Limits without `RLIMIT_`, in lower case.
pub const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Signals without `SIG` and their numbers on x86-64 and arm64.
pub const SIGNALS: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Other names of some of them.
const ALIASES: [(&str, &str); 3] = [("CLD", "CHLD"), ("IOT", "ABRT"), ("POLL", "IO")];
/// Real-time signals that programs may use; the C library keeps two before them for itself.
const REAL_TIME_FIRST: i32 = 34;
/// The last signal that there is.
const REAL_TIME_LAST: i32 = 64;

/// Longest name of a unit.
pub const NAME_MAX_BYTES: usize = 64;

/// This may be a unit's name: `web`, the template `web@`, its instance `web@1`. Never a path.
#[must_use]
pub fn is_unit_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let (prefix, instance) = name.split_once('@').unwrap_or((name, ""));
    name.len() <= NAME_MAX_BYTES
        && prefix.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && prefix.bytes().chain(instance.bytes()).all(fits)
}

/// This may be the name of something that units name and that is a file or a folder somewhere: a volume, a secret.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    !name.contains('@') && is_unit_name(name)
}

/// A signal by its number from 1 to 64 or by its name, in any case and with or without `SIG`: `SIGTERM`, `term`, `15`,
/// `SIGRTMIN+3`. Programs of images are written for the C library's numbers, which begin its real-time signals at 34.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=REAL_TIME_LAST).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let alias = ALIASES.iter().find(|(other, _)| *other == name).map(|(_, known)| *known);
    let name = alias.unwrap_or(name);
    let named = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    named.or_else(|| real_time(name))
}

/// `RTMIN`, `RTMIN+3`, `RTMAX-2`, `RTMAX`.
fn real_time(name: &str) -> Option<i32> {
    let steps = |text: &str, sign: char| {
        let Some(digits) = text.strip_prefix(sign) else { return text.is_empty().then_some(0) };
        // A second sign is one too many.
        let digits = Some(digits).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<i32>().ok().filter(|steps| *steps <= REAL_TIME_LAST - REAL_TIME_FIRST)
    };
    match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => Some(REAL_TIME_FIRST + steps(rest, '+')?),
        (None, Some(rest)) => Some(REAL_TIME_LAST - steps(rest, '-')?),
        (None, None) => None,
    }
}
