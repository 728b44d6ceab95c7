//! Programs are run as the kernel would run them, and compared with what their profile says.

use ferrite_sys::seccomp::{Instruction, instructions};
use libcontainer::oci_spec::runtime::{
    Capability, LinuxSeccompArgBuilder, LinuxSeccompBuilder, LinuxSyscallBuilder,
};

use super::super::profile::profile;
use super::*;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
/// The bit that x32 has in its numbers.
const X32: i32 = 0x4000_0000;
const ALLOWED: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
/// More than there are numbers of calls, and than are looked at one by one.
const NUMBERS: i32 = 1100;

struct Call {
    architecture: u32,
    number: i32,
    arguments: [u64; 6],
}

/// What a program answers. The kernel shows it `struct seccomp_data`, in words of 32 bits.
fn run(program: &[Instruction], call: &Call) -> u32 {
    let mut words = vec![call.number.cast_unsigned(), call.architecture, 0, 0];
    for argument in call.arguments {
        words.extend([(argument & 0xffff_ffff) as u32, (argument >> 32) as u32]);
    }
    let (mut accumulator, mut next) = (0_u32, 0_usize);
    loop {
        let Instruction { code, if_true, if_false, operand } = program[next];
        next += 1;
        let holds = match code {
            0x20 => {
                accumulator = words[operand as usize / 4];
                continue;
            }
            0x54 => {
                accumulator &= operand;
                continue;
            }
            0x06 => return operand,
            0x05 => {
                next += operand as usize;
                continue;
            }
            0x15 => accumulator == operand,
            0x25 => accumulator > operand,
            0x35 => accumulator >= operand,
            0x45 => accumulator & operand != 0,
            other => panic!("{other:#x}"),
        };
        next += usize::from(if holds { if_true } else { if_false });
    }
}

fn compiled(profile: &LinuxSeccomp) -> Vec<Instruction> {
    instructions(&compile(profile).unwrap()).unwrap()
}

fn native(number: i32, first: u64) -> Call {
    Call { architecture: X86_64, number, arguments: [first, 0, 0, 0, 0, 0] }
}

fn number(name: &str) -> i32 {
    ScmpSyscall::from_name(name).unwrap().into()
}

/// What a profile's program is to answer to a call, where its arguments do not matter: a call that nobody knows is not
/// there, one that is known and not listed is forbidden.
fn expected(profile: &LinuxSeccomp, wanted: i32, architecture: ScmpArch) -> Option<u32> {
    let known = ScmpSyscall::from(wanted).get_name_by_arch(architecture).ok();
    let newer = || newer::NEWER.iter().find(|(_, number)| number.cast_signed() == wanted);
    let newer = || newer().map(|(name, _)| (*name).to_owned());
    let name = known.clone().or_else(newer).unwrap_or_default();
    let calls = profile.syscalls().as_ref().unwrap();
    let mut rules = calls.iter().filter(|call| call.names().contains(&name));
    let first = rules.clone().next();
    if rules.any(|call| call.args().is_some()) {
        return None;
    }
    Some(match first {
        Some(call) if call.action() == LinuxSeccompAction::ScmpActAllow => ALLOWED,
        Some(call) => ERRNO | call.errno_ret().unwrap(),
        None if known.is_some() => ERRNO | 1,
        None => ERRNO | 38,
    })
}

#[test]
fn every_call_is_answered_as_the_profile_says() {
    for capabilities in [vec![], vec![Capability::SysAdmin, Capability::SysTime]] {
        let profile = profile(&capabilities).unwrap();
        let program = compiled(&profile);
        for wanted in 0..NUMBERS {
            let Some(expected) = expected(&profile, wanted, ScmpArch::X8664) else { continue };
            assert_eq!(run(&program, &native(wanted, 0)), expected, "{wanted}");
        }
    }
}

#[test]
fn a_call_that_nobody_knows_is_not_there_and_one_that_is_listed_is() {
    let program = compiled(&profile(&[]).unwrap());
    let on = |architecture, number| Call { architecture, number, arguments: [0; 6] };
    // Whatever libseccomp this was built with: `cachestat`, `statmount` and what came with them are listed.
    for number in [451, 452, 457, 458, 462, 463, 466] {
        for architecture in [X86_64, X86] {
            assert_eq!(run(&program, &on(architecture, number)), ALLOWED, "{number}");
        }
    }
    for number in [336, 400, 600, 1000, 1023, 1024, 1_000_000, X32 - 1] {
        assert_eq!(run(&program, &native(number, 0)), ERRNO | 38, "{number}");
    }
    for number in [600, 1000, 1_000_000] {
        assert_eq!(run(&program, &on(X86, number)), ERRNO | 38, "{number}");
    }
    // Known, and meant: `kexec_load`, `add_key`, `pivot_root`, `io_uring_setup`, `userfaultfd`.
    for number in [246, 248, 155, 425, 323] {
        assert_eq!(run(&program, &native(number, 0)), ERRNO | 1, "{number}");
    }
}

#[test]
fn a_default_that_lets_through_or_says_that_nothing_is_there_stays() {
    let of = |action, errno: Option<u32>| {
        let default = LinuxSeccompBuilder::default().default_action(action);
        let profile = match errno {
            Some(errno) => default.default_errno_ret(errno).build().unwrap(),
            None => default.build().unwrap(),
        };
        run(&compiled(&profile), &native(1000, 0))
    };
    assert_eq!(of(LinuxSeccompAction::ScmpActAllow, None), ALLOWED);
    assert_eq!(of(LinuxSeccompAction::ScmpActLog, None), 0x7ffc_0000);
    assert_eq!(of(LinuxSeccompAction::ScmpActErrno, Some(38)), ERRNO | 38);
    assert_eq!(of(LinuxSeccompAction::ScmpActErrno, Some(13)), ERRNO | 38);
    assert_eq!(of(LinuxSeccompAction::ScmpActErrno, None), ERRNO | 38);
    assert_eq!(of(LinuxSeccompAction::ScmpActKillProcess, None), ERRNO | 38);
}

#[test]
fn arguments_decide_where_the_profile_says_so() {
    let program = compiled(&profile(&[]).unwrap());
    let (fork, new_user, new_network) = (0x11, 0x1000_0000, 0x4000_0000);
    for (name, argument, expected) in [
        ("clone", fork, ALLOWED),
        ("clone", 0x003d_0f00, ALLOWED),
        ("clone", fork | new_user, ERRNO | 1),
        ("clone", fork | new_network, ERRNO | 1),
        ("socket", 2, ALLOWED),
        ("socket", 40, ERRNO | 1),
        // The kernel looks at the lower half alone.
        ("socket", (1 << 32) | 40, ERRNO | 1),
        ("socket", (0xffff_ffff << 32) | 40, ERRNO | 1),
        ("personality", 0, ALLOWED),
        ("personality", 0xffff_ffff, ALLOWED),
        ("personality", 0x0040_0000, ERRNO | 1),
    ] {
        let answer = run(&program, &native(number(name), argument));
        assert_eq!(answer, expected, "{name}({argument:#x})");
    }
}

#[test]
fn other_architectures_have_their_own_numbers_or_none() {
    let program = compiled(&profile(&[]).unwrap());
    let on = |architecture, number| Call { architecture, number, arguments: [0; 6] };
    // `read` and `mount` of 32-bit programs.
    assert_eq!(run(&program, &on(X86, 3)), ALLOWED);
    assert_eq!(run(&program, &on(X86, 21)), ERRNO | 1);
    assert_ne!(run(&program, &on(0xc000_00b7, 63)), ALLOWED);
    // The numbers of x32, of which every one is a call of x86-64 with another bit.
    for number in 0..NUMBERS {
        assert_ne!(run(&program, &on(X86_64, X32 | number)), ALLOWED, "{number}");
    }
}

#[test]
fn no_architecture_has_a_way_to_the_hypervisors_sockets() {
    let (socket_32, socketcall) = (359, 102);
    for capabilities in [vec![], vec![Capability::SysAdmin]] {
        let program = compiled(&profile(&capabilities).unwrap());
        let call = |architecture, number, first| Call {
            architecture,
            number,
            arguments: [first, 1, 0, 0, 0, 0],
        };
        for high in [0, 1 << 32, 1 << 63] {
            for family in 0..64 {
                let expected = if family == 40 { ERRNO | 1 } else { ALLOWED };
                for (architecture, number) in [(X86_64, number("socket")), (X86, socket_32)] {
                    let answer = run(&program, &call(architecture, number, high | family));
                    assert_eq!(answer, expected, "{architecture:#x} {family}");
                }
            }
            // Its second argument points to the family: whatever the first says, it is not there.
            for sub in 0..32 {
                let answer = run(&program, &call(X86, socketcall, high | sub));
                assert_eq!(answer, ERRNO | 38, "{sub}");
            }
        }
    }
}

/// A 32-bit program may make the calls that a 64-bit one may, under their own numbers, and no others.
#[test]
fn every_32_bit_call_is_answered_as_the_profile_says() {
    let profile = profile(&[]).unwrap();
    let program = compiled(&profile);
    for wanted in 0..NUMBERS {
        let Some(expected) = expected(&profile, wanted, ScmpArch::X86) else { continue };
        // What `ipc` does says its first argument; libseccomp allows each of its parts, and the whole is listed.
        let call = Call { architecture: X86, number: wanted, arguments: [0; 6] };
        assert_eq!(run(&program, &call), expected, "{wanted}");
    }
}

fn one(
    operator: LinuxSeccompOperator,
    indices: &[usize],
    value: u64,
    two: u64,
) -> Vec<Instruction> {
    let arguments = indices
        .iter()
        .enumerate()
        .map(|(order, index)| {
            LinuxSeccompArgBuilder::default()
                .index(*index)
                .value(value + order as u64)
                .value_two(two)
                .op(operator)
                .build()
                .unwrap()
        })
        .collect::<Vec<_>>();
    let call = LinuxSyscallBuilder::default()
        .names(vec!["getpid".to_owned(), "no_such_call".to_owned()])
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(13_u32)
        .args(arguments)
        .build()
        .unwrap();
    let profile = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActAllow)
        .syscalls(vec![call])
        .build()
        .unwrap();
    compiled(&profile)
}

#[test]
fn each_operator_compares_as_specified() {
    use LinuxSeccompOperator::{
        ScmpCmpEq, ScmpCmpGe, ScmpCmpGt, ScmpCmpLe, ScmpCmpLt, ScmpCmpMaskedEq, ScmpCmpNe,
    };
    let big = 1 << 32;
    for (operator, value, two, yes, no) in [
        (ScmpCmpEq, big, 0, vec![big], vec![0, big + 1]),
        (ScmpCmpNe, big, 0, vec![0, big + 1], vec![big]),
        (ScmpCmpLt, big, 0, vec![0, big - 1], vec![big, big + 1]),
        (ScmpCmpLe, big, 0, vec![0, big], vec![big + 1]),
        (ScmpCmpGe, big, 0, vec![big, big + 1], vec![big - 1]),
        (ScmpCmpGt, big, 0, vec![big + 1], vec![big]),
        (ScmpCmpMaskedEq, 0xf0, 0x20, vec![0x20, 0x2f], vec![0x30, 0]),
    ] {
        let program = one(operator, &[0], value, two);
        for (arguments, expected) in [(yes, ERRNO | 13), (no, ALLOWED)] {
            for argument in arguments {
                let answer = run(&program, &native(number("getpid"), argument));
                assert_eq!(answer, expected, "{operator:?} {argument:#x}");
            }
        }
    }
}

#[test]
fn conditions_on_one_argument_are_alternatives_and_on_several_all_hold() {
    let either = one(LinuxSeccompOperator::ScmpCmpEq, &[0, 0], 7, 0);
    for (argument, expected) in [(7, ERRNO | 13), (8, ERRNO | 13), (9, ALLOWED)] {
        assert_eq!(run(&either, &native(number("getpid"), argument)), expected);
    }
    let both = one(LinuxSeccompOperator::ScmpCmpEq, &[0, 1], 7, 0);
    let mut call = native(number("getpid"), 7);
    assert_eq!(run(&both, &call), ALLOWED);
    call.arguments[1] = 8;
    assert_eq!(run(&both, &call), ERRNO | 13);
}
