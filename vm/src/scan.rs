//! Finds lines on a console that tell of trouble.

/// What kind of trouble a line tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The kernel gave up.
    Panic,
    /// A bug in the kernel or a driver, or memory corruption.
    KernelBug,
    /// The kernel warns of something that should not be.
    Warning,
    /// A process crashed or was killed for memory.
    Crash,
    /// Something hangs.
    Hang,
    /// A disk or file system reports errors, or verity found other bytes than were built.
    Storage,
    /// PID 1 gave up.
    Fatal,
}

/// A line that tells of trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its number, counted from 1.
    pub line_number: usize,
    /// What it tells of.
    pub kind: Kind,
    /// The line.
    pub line: String,
}

/// Words of trouble, as the kernel and PID 1 write them. Capitals matter: `oops=panic` on a command line is
/// none.
const SIGNS: [(&str, Kind); 25] = [
    ("Kernel panic", Kind::Panic),
    ("Oops:", Kind::KernelBug),
    ("BUG:", Kind::KernelBug),
    ("kernel BUG at", Kind::KernelBug),
    ("general protection fault", Kind::KernelBug),
    ("Unable to handle", Kind::KernelBug),
    ("Call Trace:", Kind::KernelBug),
    ("Bad page state", Kind::KernelBug),
    ("list_add corruption", Kind::KernelBug),
    ("list_del corruption", Kind::KernelBug),
    ("UBSAN:", Kind::KernelBug),
    ("WARNING:", Kind::Warning),
    ("segfault at", Kind::Crash),
    ("traps: ", Kind::Crash),
    ("Out of memory:", Kind::Crash),
    ("Attempted to kill init", Kind::Crash),
    ("panicked at", Kind::Crash),
    ("blocked for more than", Kind::Hang),
    ("detected stall", Kind::Hang),
    ("soft lockup", Kind::Hang),
    ("I/O error", Kind::Storage),
    ("EXT4-fs error", Kind::Storage),
    ("EXT4-fs warning", Kind::Storage),
    ("is corrupted", Kind::Storage),
    ("ferrite-init: FATAL", Kind::Fatal),
];

/// What programs say in Rust when they have a defect: never expected, whatever else the line says.
const DEFECT: &str = "panicked at";

/// Every line with a sign of trouble, except those that contain one of `expected`.
pub fn scan<'line>(lines: impl Iterator<Item = &'line str>, expected: &[&str]) -> Vec<Problem> {
    lines
        .enumerate()
        .filter(|(_, line)| {
            line.contains(DEFECT) || !expected.iter().any(|known| line.contains(known))
        })
        .filter_map(|(index, line)| {
            let (_, kind) = SIGNS.iter().find(|(sign, _)| line.contains(sign))?;
            Some(Problem { line_number: index + 1, kind: *kind, line: line.to_owned() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<Kind>) {
        let found = scan(std::iter::once(line), &[]).first().map(|problem| problem.kind);
        assert_eq!(found, expected, "{line:?}");
    }

    #[test]
    fn real_lines_are_told_apart() {
        let table = [
            (
                "[    1.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
                Some(Kind::Panic),
            ),
            (
                "[    1.0] Oops: general protection fault, probably for non-canonical address",
                Some(Kind::KernelBug),
            ),
            (
                "[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000000",
                Some(Kind::KernelBug),
            ),
            ("[    1.0] BUG: unable to handle page fault for address: ffff", Some(Kind::KernelBug)),
            ("[    1.0] kernel BUG at mm/slub.c:448!", Some(Kind::KernelBug)),
            ("[    1.0] Call Trace:", Some(Kind::KernelBug)),
            (
                "[    1.0] WARNING: CPU: 0 PID: 1 at fs/namespace.c:1 foo+0x1/0x2",
                Some(Kind::Warning),
            ),
            ("[    1.0] etcd[12]: segfault at 0 ip 0000 sp 0000 error 4", Some(Kind::Crash)),
            (
                "[    1.0] traps: agent[9] general protection fault ip:1 sp:2 error:0",
                Some(Kind::KernelBug),
            ),
            ("[    1.0] traps: agent[9] trap invalid opcode ip:1 sp:2 error:0", Some(Kind::Crash)),
            ("[    1.0] Out of memory: Killed process 99 (x)", Some(Kind::Crash)),
            ("thread 'main' panicked at agent/src/main.rs:1:1:", Some(Kind::Crash)),
            (
                "[  121.0] INFO: task kworker/0:1 blocked for more than 120 seconds.",
                Some(Kind::Hang),
            ),
            ("[   22.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", Some(Kind::Hang)),
            ("[   22.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s!", Some(Kind::KernelBug)),
            ("[    1.0] I/O error, dev vda, sector 0 op 0x0:(READ)", Some(Kind::Storage)),
            ("[    1.0] EXT4-fs error (device vda1): ext4_lookup:1", Some(Kind::Storage)),
            (
                "[    1.0] device-mapper: verity: 254:0: data block 7 is corrupted",
                Some(Kind::Storage),
            ),
            ("ferrite-init: FATAL: no slot can boot", Some(Kind::Fatal)),
            (
                "[    0.0] Kernel command line: console=ttyS0 oops=panic panic=10 panic_on_warn=0",
                None,
            ),
            ("[    0.4] EXT4-fs (vda1): mounted filesystem r/w with ordered data mode", None),
            ("ferrite-init: warning: STATE is recreated", None),
            ("[    0.0] x86/bugs: Spectre V2 : Mitigation: Retpolines", None),
            ("", None),
        ];
        for (line, expected) in table {
            check(line, expected);
        }
    }

    #[test]
    fn expected_trouble_is_left_out_and_lines_are_counted() {
        let lines = ["ok", "I/O error, dev vdb", "I/O error, dev vda", "BUG: x"];
        let found = scan(lines.into_iter(), &["dev vdb"]);
        let numbers: Vec<_> = found.iter().map(|problem| problem.line_number).collect();
        assert_eq!(numbers, [3, 4]);
        assert_eq!(found[0].line, "I/O error, dev vda");
    }

    #[test]
    fn a_defect_of_our_programs_is_never_expected() {
        let line = "ferrite-init: agent: thread 'main' panicked at agent/src/main.rs:1:1:";
        let found = scan(std::iter::once(line), &["agent", "panicked at"]);
        assert_eq!(found.len(), 1);
    }
}
