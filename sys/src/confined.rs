//! Starting a process with somebody else's rights: inside a control group, a session, a user and a set of
//! capabilities that are given, and none of the caller's own.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::pipe::PipeFlags;
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

/// What the new process does before it is another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It joins its control group.
    Join,
    /// It leads a session of its own.
    Session,
    /// It takes its terminal.
    Terminal,
    /// It takes its limits.
    Limits,
    /// It becomes its user, with that one's capabilities.
    Rights,
    /// It executes its program: what fails here is the program's affair.
    Execute,
}

impl Step {
    const ALL: [Self; 6] =
        [Self::Join, Self::Session, Self::Terminal, Self::Limits, Self::Rights, Self::Execute];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Join => "put it into its control group",
            Self::Session => "give it a session",
            Self::Terminal => "give it its terminal",
            Self::Limits => "set its limits",
            Self::Rights => "give it its user and its capabilities",
            Self::Execute => "execute it",
        })
    }
}

/// How far a process came. The standard library says by which reason it ended, and not where.
#[derive(Debug)]
pub struct Steps(OwnedFd);

impl Steps {
    /// The last step that was begun; nothing where no process was made, or it failed before it was ours.
    #[must_use]
    pub fn last(&self) -> Option<Step> {
        let mut begun = [0; Step::ALL.len()];
        let count = rustix::io::read(&self.0, &mut begun).unwrap_or(0);
        Step::of(*begun.get(count.checked_sub(1)?)?)
    }
}

/// Makes `command` start its process as `confinement` says, to be killed when its parent ends. What it executes there is
/// `execution`, whatever program the command names: where it cannot, the command is not started, for the kernel's reason.
/// How far it came is asked once.
///
/// # Errors
/// There is no pipe for that.
pub fn confine(
    command: &mut Command,
    confinement: Confinement,
    execution: Execution,
) -> io::Result<Steps> {
    let groups: Vec<Gid> = confinement.groups.iter().copied().map(Gid::from_raw).collect();
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Without a reader, its first word would end the process.
    let listener = reader.try_clone()?;
    let in_child = move || -> io::Result<()> {
        let _listener = &listener;
        let begins = |step: Step| rustix::io::write(&writer, &[step as u8]);
        crate::inherited::close_others_on_exec()?;
        begins(Step::Join)?;
        // "0" is whoever writes.
        rustix::io::write(&confinement.cgroup, b"0")?;
        begins(Step::Session)?;
        rustix::process::setsid()?;
        if confinement.terminal {
            begins(Step::Terminal)?;
            rustix::process::ioctl_tiocsctty(std::io::stdin())?;
        }
        begins(Step::Limits)?;
        for (resource, limit) in &confinement.limits {
            rustix::process::setrlimit(*resource, *limit)?;
        }
        begins(Step::Rights)?;
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
        begins(Step::Execute)?;
        Err(execution.execute().errno.into())
    };
    // SAFETY: between fork and exec the closure only makes system calls on values made before the fork; it
    // neither allocates nor takes a lock, so it is sound even if another thread existed.
    unsafe { command.pre_exec(in_child) };
    Ok(Steps(reader))
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
        confine(&mut command, confinement, execution).unwrap();
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

    #[test]
    fn where_a_process_failed_is_known() {
        let started = |program: &std::ffi::CStr, cgroup: OwnedFd, folder: &str| {
            let mut command = Command::new("/nothing");
            command.current_dir(folder);
            let words = vec![CString::new("x").unwrap()];
            let execution = Execution::new(vec![program.to_owned()], words, Vec::new());
            let confinement = Confinement {
                cgroup,
                terminal: false,
                uid: 1234,
                gid: 2345,
                groups: Vec::new(),
                bounding: CapabilitySet::empty(),
                permitted: CapabilitySet::empty(),
                ambient: CapabilitySet::empty(),
                limits: Vec::new(),
                no_new_privileges: true,
                reaper: None,
            };
            let steps = confine(&mut command, confinement, execution).unwrap();
            let mut child = command.spawn().map_err(|error| error.raw_os_error());
            if let Ok(child) = &mut child {
                child.wait().unwrap();
            }
            (child.err().flatten().map(rustix::io::Errno::from_raw_os_error), steps.last())
        };
        use rustix::io::Errno;
        let (well, gone) = (c"/bin/true", c"/no/such/program");
        assert_eq!(started(well, cgroup(), "/"), (None, Some(Step::Execute)));
        assert_eq!(started(gone, cgroup(), "/"), (Some(Errno::NOENT), Some(Step::Execute)));
        // The same reason, and it is not about the program.
        let cannot = || std::fs::File::open("/proc/self/stat").unwrap().into();
        assert_eq!(started(well, cannot(), "/"), (Some(Errno::BADF), Some(Step::Join)));
        assert_eq!(started(well, cgroup(), "/no/such/folder"), (Some(Errno::NOENT), None));
    }
}
