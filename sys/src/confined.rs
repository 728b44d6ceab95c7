//! Starting a process with somebody else's rights: inside a control group, a session, a user and a set of
//! capabilities that are given, and none of the caller's own.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Gid, Resource, Rlimit, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::execute::Execution;
use crate::reaper::{self, Reaper};

/// What a process may be. Numbers of users and groups are those of the caller's user namespace.
#[derive(Debug)]
pub struct Confinement {
    /// Its control group's `cgroup.procs`, open for writing.
    pub cgroup: OwnedFd,
    /// Its controlling terminal, already its standard input.
    pub terminal: bool,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Capabilities that it and what it executes can ever have.
    pub bounding: CapabilitySet,
    /// Capabilities that it has.
    pub permitted: CapabilitySet,
    /// Those of them that survive the execution of a program by anybody but root.
    pub ambient: CapabilitySet,
    /// Limits.
    pub limits: Vec<(Resource, Rlimit)>,
    /// It can never get more than this through what it executes.
    pub no_new_privileges: bool,
    /// What is its parent there, where it has one of its own.
    pub reaper: Option<Reaper>,
}

/// Makes `command` start its process as `confinement` says, to be killed when its parent ends. What it executes there is
/// `execution`, whatever program the command names: where it cannot, the command is not started, for the kernel's reason.
pub fn confine(command: &mut Command, confinement: Confinement, execution: Execution) {
    let groups: Vec<Gid> = confinement.groups.iter().copied().map(Gid::from_raw).collect();
    let in_child = move || -> io::Result<()> {
        crate::inherited::close_others_on_exec()?;
        // "0" is whoever writes.
        rustix::io::write(&confinement.cgroup, b"0")?;
        rustix::process::setsid()?;
        if confinement.terminal {
            rustix::process::ioctl_tiocsctty(std::io::stdin())?;
        }
        for (resource, limit) in &confinement.limits {
            rustix::process::setrlimit(*resource, *limit)?;
        }
        become_user(&confinement, &groups)?;
        if confinement.no_new_privileges {
            rustix::thread::set_no_new_privs(true)?;
        }
        // After the change of user, which would undo it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if let Some(reaper) = &confinement.reaper {
            reaper::leave_to(reaper)?;
            // It is not handed on to a child.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        }
        Err(execution.execute().errno.into())
    };
    // SAFETY: between fork and exec the closure only makes system calls on values made before the fork; it
    // neither allocates nor takes a lock, so it is sound even if another thread existed.
    unsafe { command.pre_exec(in_child) };
}

fn become_user(confinement: &Confinement, groups: &[Gid]) -> io::Result<()> {
    for capability in CapabilitySet::all().difference(confinement.bounding) {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The kernel is older than the capability.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // Of this one thread, which is the child's only one; libc's own would signal threads that a fork left behind.
    rustix::thread::set_thread_groups(groups)?;
    let gid = Gid::from_raw(confinement.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_keep_capabilities(true)?;
    let uid = Uid::from_raw(confinement.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_keep_capabilities(false)?;
    let sets = CapabilitySets {
        effective: confinement.permitted,
        permitted: confinement.permitted,
        inheritable: confinement.ambient,
    };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::clear_ambient_capability_set()?;
    for capability in confinement.ambient {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// `as_root` in the name of a test has `scripts/test` run it in a machine, whoever runs the others.
#[cfg(test)]
mod as_root {
    use std::ffi::CString;

    use super::*;

    fn cgroup() -> OwnedFd {
        std::fs::File::options().write(true).open("/dev/null").unwrap().into()
    }

    #[test]
    fn the_child_has_nothing_but_what_it_was_given() {
        let mut command = Command::new("/nothing");
        let words = ["cat", "/proc/self/status", "/proc/self/limits"];
        let words = words.map(|word| CString::new(word).unwrap()).to_vec();
        let execution = Execution::new(vec![c"/bin/cat".to_owned()], words, Vec::new());
        let kept = CapabilitySet::KILL;
        let limit = Rlimit { current: Some(77), maximum: Some(77) };
        let confinement = Confinement {
            cgroup: cgroup(),
            terminal: false,
            uid: 1234,
            gid: 2345,
            groups: vec![7, 9],
            bounding: kept,
            permitted: CapabilitySet::empty(),
            ambient: CapabilitySet::empty(),
            limits: vec![(Resource::Nofile, limit)],
            no_new_privileges: true,
            reaper: None,
        };
        confine(&mut command, confinement, execution);
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        for line in [
            "Uid:\t1234\t1234\t1234\t1234",
            "Gid:\t2345\t2345\t2345\t2345",
            "Groups:\t7 9",
            "NoNewPrivs:\t1",
            "CapPrm:\t0000000000000000",
            "CapBnd:\t0000000000000020",
        ] {
            assert!(text.contains(line), "{line:?} is missing in {text}");
        }
        assert!(text.contains("Max open files            77                   77"), "{text}");
    }
}
