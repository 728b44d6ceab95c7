//! System calls that libseccomp has no number for: those that came after it, and those that there are not.
//!
//! A program that tries a new call falls back to an old one where it hears that there is no such call, and fails where it
//! hears that it may not make it. So what nobody could know when the profile was written, or compiled, is answered as a
//! kernel answers that does not have it; what a profile leaves out although it is known stays forbidden.

use ferrite_sys::seccomp::Instruction;
use libseccomp::{ScmpAction, ScmpArch, ScmpSyscall};

/// `ENOSYS`: there is no such call.
const ENOSYS: i32 = 38;
/// `SECCOMP_RET_ERRNO`, with the error number in its lower half.
const ERRNO: u32 = 0x0005_0000;
/// Calls since Linux 6.0, which have one number on all architectures: whatever libseccomp was built here, a profile's word
/// about them holds (`arch/x86/entry/syscalls/syscall_64.tbl`).
pub(super) const NEWER: [(&str, u32); 21] = [
    ("set_mempolicy_home_node", 450),
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
    ("listns", 470),
];
/// Numbers that are looked at one by one; beyond them libseccomp knows none.
const NUMBERS: u32 = 1024;
/// Numbers from here on are another architecture's on x86-64 (x32), or negative.
const NUMBERS_END: u32 = 0x4000_0000;

/// Where the kernel shows a filter the call's number and its architecture (`struct seccomp_data`).
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_I386`.
const ARCHITECTURES: [(ScmpArch, u32); 2] =
    [(ScmpArch::X8664, 0xc000_003e), (ScmpArch::X86, 0x4000_0003)];

/// Loads a word; jumps always; where equal; where not less; where greater; answers.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const NOT_LESS: u16 = 0x35;
const GREATER: u16 = 0x25;
const ANSWER: u16 = 0x06;

/// What answers for such calls, and hands all others on to the program that comes after it.
pub(super) fn before(
    architectures: &[ScmpArch],
    default: ScmpAction,
    listed: &[(String, ScmpAction)],
) -> Vec<u8> {
    let mut program = Vec::new();
    for (architecture, token) in ARCHITECTURES {
        // This machine's own is always among them; calls of others the program after this one does not take at all.
        if architecture != ScmpArch::X8664 && !architectures.contains(&architecture) {
            continue;
        }
        let answers = answers(architecture, listed);
        let unknown = if hides(default) { unknown(architecture) } else { Vec::new() };
        let section = section(&answers, &unknown);
        program.extend([step(LOAD, ARCHITECTURE_AT), compare(EQUAL, token, 1, 0)]);
        program.push(skip(&section));
        program.extend(section);
    }
    program.iter().flat_map(bytes).collect()
}

/// What the default says of a call forbids it, and is not already that there is none.
fn hides(default: ScmpAction) -> bool {
    match default {
        ScmpAction::Errno(errno) => errno != ENOSYS,
        ScmpAction::KillThread | ScmpAction::KillProcess | ScmpAction::Trap => true,
        _ => false,
    }
}

/// Numbers and answers of the calls that a profile lists, and libseccomp does not know there.
fn answers(architecture: ScmpArch, listed: &[(String, ScmpAction)]) -> Vec<(u32, u32)> {
    let strange = |name: &str| ScmpSyscall::from_name_by_arch(name, architecture).is_err();
    let known = listed.iter().filter_map(|(name, action)| {
        let (_, number) = NEWER.iter().find(|(newer, _)| newer == name)?;
        Some((*number, answer(*action)?)).filter(|_| strange(name))
    });
    known.collect()
}

/// Runs of numbers that libseccomp has no call for: the first and the last of each.
fn unknown(architecture: ScmpArch) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in 0..NUMBERS {
        let call = ScmpSyscall::from(number.cast_signed());
        if call.get_name_by_arch(architecture).is_ok() {
            continue;
        }
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    if let Some((_, last)) = runs.last_mut().filter(|(_, last)| *last == NUMBERS - 1) {
        *last = NUMBERS_END - 1;
    }
    runs
}

fn section(answers: &[(u32, u32)], unknown: &[(u32, u32)]) -> Vec<Instruction> {
    let mut body = Vec::new();
    for (number, answer) in answers {
        body.extend([compare(EQUAL, *number, 0, 1), step(ANSWER, *answer)]);
    }
    for (first, last) in unknown {
        body.extend([compare(NOT_LESS, *first, 0, 2), compare(GREATER, *last, 1, 0)]);
        body.push(step(ANSWER, ERRNO | ENOSYS.unsigned_abs()));
    }
    // Most calls are older than all of these.
    let lowest =
        answers.iter().chain(unknown).map(|(first, _)| *first).min().unwrap_or(NUMBERS_END);
    let mut section = vec![step(LOAD, NUMBER_AT), compare(NOT_LESS, lowest, 1, 0), skip(&body)];
    section.extend(body);
    section
}

/// What the kernel takes an action as; none for those that need more than a program.
fn answer(action: ScmpAction) -> Option<u32> {
    match action {
        ScmpAction::Allow => Some(0x7fff_0000),
        ScmpAction::Log => Some(0x7ffc_0000),
        ScmpAction::Errno(errno) => u16::try_from(errno).ok().map(|errno| ERRNO | u32::from(errno)),
        ScmpAction::Trace(data) => Some(0x7ff0_0000 | u32::from(data)),
        ScmpAction::Trap => Some(0x0003_0000),
        ScmpAction::KillThread => Some(0),
        ScmpAction::KillProcess => Some(0x8000_0000),
        _ => None,
    }
}

fn step(code: u16, operand: u32) -> Instruction {
    compare(code, operand, 0, 0)
}

fn compare(code: u16, operand: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, operand }
}

/// Jumps over all of these.
fn skip(over: &[Instruction]) -> Instruction {
    step(JUMP, u32::try_from(over.len()).unwrap_or(u32::MAX))
}

fn bytes(instruction: &Instruction) -> [u8; 8] {
    let Instruction { code, if_true, if_false, operand } = instruction;
    let ([a, b], [c, d, e, f]) = (code.to_ne_bytes(), operand.to_ne_bytes());
    [a, b, *if_true, *if_false, c, d, e, f]
}
