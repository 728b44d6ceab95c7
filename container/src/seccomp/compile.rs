//! From a profile (runtime-spec, "Seccomp") to instructions, by libseccomp.

mod newer;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek};

use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use libseccomp::error::SeccompError;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use rustix::fs::MemfdFlags;

/// What a denied call answers unless the profile says otherwise.
const EPERM: i32 = 1;
/// libseccomp's level for a search tree in place of a list.
const TREE: u32 = 2;

/// A profile has no program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileProblem {
    #[error("compile the filter of system calls: {architecture:?} is not known")]
    Architecture { architecture: Arch },
    #[error("compile the filter of system calls: {errno} is no error number")]
    Errno { errno: u32 },
    #[error("compile the filter of system calls for {call}")]
    Rule { call: String, source: SeccompError },
    #[error("compile the filter of system calls")]
    Compile(#[from] SeccompError),
    #[error("hold the compiled filter")]
    Hold(#[source] io::Error),
}

/// The instructions, eight bytes each (`struct sock_filter`). Calls that libseccomp has no number for are answered before
/// its program ([`newer`]).
pub(super) fn compile(profile: &LinuxSeccomp) -> Result<Vec<u8>, CompileProblem> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut filter = ScmpFilterContext::new(default)?;
    filter.set_ctl_optimize(TREE)?;
    let wanted = profile.architectures().iter().flatten();
    let architectures =
        wanted.map(|&wanted| architecture(wanted)).collect::<Result<Vec<_>, _>>()?;
    for architecture in &architectures {
        filter.add_arch(*architecture)?;
    }
    let mut listed = Vec::new();
    for call in profile.syscalls().iter().flatten() {
        let action = action(call.action(), call.errno_ret())?;
        if call.args().as_ref().is_none_or(Vec::is_empty) {
            listed.extend(call.names().iter().map(|name| (name.clone(), action)));
        }
        // What the default says already, libseccomp refuses as a rule.
        if action != default {
            add(&mut filter, action, call)?;
        }
    }
    let mut program = newer::before(&architectures, default, &listed);
    program.extend(export(&filter)?);
    Ok(program)
}

fn add(
    filter: &mut ScmpFilterContext,
    action: ScmpAction,
    call: &LinuxSyscall,
) -> Result<(), CompileProblem> {
    let arguments = call.args().as_deref().unwrap_or_default();
    let conditions: Vec<ScmpArgCompare> = arguments.iter().map(condition).collect();
    let mut seen = HashSet::new();
    // Two conditions on one argument are alternatives to runc, from which profiles come.
    let alternatives = !arguments.iter().all(|argument| seen.insert(argument.index()));
    for name in call.names() {
        let Ok(number) = ScmpSyscall::from_name(name) else { continue };
        let added = if conditions.is_empty() {
            filter.add_rule(action, number).map(drop)
        } else if alternatives {
            conditions.iter().try_for_each(|condition| {
                filter.add_rule_conditional(action, number, &[*condition]).map(drop)
            })
        } else {
            filter.add_rule_conditional(action, number, &conditions).map(drop)
        };
        added.map_err(|source| CompileProblem::Rule { call: name.clone(), source })?;
    }
    Ok(())
}

fn condition(argument: &LinuxSeccompArg) -> ScmpArgCompare {
    let operator = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => ScmpCompareOp::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => ScmpCompareOp::Less,
        LinuxSeccompOperator::ScmpCmpLe => ScmpCompareOp::LessOrEqual,
        LinuxSeccompOperator::ScmpCmpEq => ScmpCompareOp::Equal,
        LinuxSeccompOperator::ScmpCmpGe => ScmpCompareOp::GreaterEqual,
        LinuxSeccompOperator::ScmpCmpGt => ScmpCompareOp::Greater,
        // The specification has the mask first, libseccomp beside the operator.
        LinuxSeccompOperator::ScmpCmpMaskedEq => ScmpCompareOp::MaskedEqual(argument.value()),
    };
    let datum = match argument.op() {
        LinuxSeccompOperator::ScmpCmpMaskedEq => argument.value_two().unwrap_or(0),
        _ => argument.value(),
    };
    // An index above 5 libseccomp refuses.
    let index = u32::try_from(argument.index()).unwrap_or(u32::MAX);
    ScmpArgCompare::new(index, operator, datum)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<ScmpAction, CompileProblem> {
    let number = |errno: u32| i32::try_from(errno).map_err(|_big| CompileProblem::Errno { errno });
    let errno = errno.map_or(Ok(EPERM), number)?;
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            ScmpAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno),
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActTrace => {
            let errno = u16::try_from(errno)
                .map_err(|_big| CompileProblem::Errno { errno: errno.unsigned_abs() })?;
            ScmpAction::Trace(errno)
        }
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
    })
}

fn architecture(architecture: Arch) -> Result<ScmpArch, CompileProblem> {
    // One of the names is libseccomp's own, with `SCMP_ARCH_` before it.
    let name = serde_json::to_value(architecture).ok();
    name.and_then(|name| name.as_str()?.parse().ok())
        .ok_or(CompileProblem::Architecture { architecture })
}

fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>, CompileProblem> {
    let held = rustix::fs::memfd_create("filter", MemfdFlags::CLOEXEC)
        .map_err(|errno| CompileProblem::Hold(errno.into()))?;
    filter.export_bpf(&held)?;
    let mut file = File::from(held);
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(CompileProblem::Hold)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
