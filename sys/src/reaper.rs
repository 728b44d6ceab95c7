//! A parent for a program that this process is about to execute: a small program of the node's, which takes this process's
//! place, collects what ends, passes signals on, and ends as its child does.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, Signal};

/// First words of the reaper's command; the number of its child follows, and that of an open file where it has one.
const NAME: &CStr = c"ferrite-shim";
const VERB: &CStr = c"reap";
/// Longest number with a NUL.
const NUMBER_MAX_BYTES: usize = 12;
/// The reaper's words, and the zero at their end.
const WORDS_MAX: usize = 5;

/// What becomes a program's parent.
#[derive(Debug)]
pub struct Reaper {
    /// The program that collects, open; nothing can be written through it.
    pub program: OwnedFd,
    /// A control group for its child alone, where that has one.
    pub apart: Option<Apart>,
}

/// A control group of which nothing is left when a program has ended.
#[derive(Debug)]
pub struct Apart {
    /// Its `cgroup.procs`, open for writing.
    pub processes: OwnedFd,
    /// Its `cgroup.kill`, open for writing: for the reaper, once its child has ended.
    pub kill: OwnedFd,
}

/// Forks. Comes back in the child, which leads a process group of its own, in the foreground of its terminal where standard
/// input is one, and hears the signals that this process heard; this process itself executes the reaper, with no environment
/// and every signal held back until that asks for it, so that none is lost.
///
/// For processes with one thread. Neither allocates nor takes a lock, so that what was forked may call it.
///
/// # Errors
/// In this process: it could not fork, or not execute the reaper, and then its child is killed. In the child: it could not be
/// set apart.
pub fn leave_to(reaper: &Reaper) -> Result<(), Errno> {
    let mut heard = SigSet::empty();
    change_mask(&SigSet::all(), Some(&mut heard))?;
    if reaper.apart.is_some() {
        // Before the child is there, which hands on to its own children that there is one.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    let Some(child) = fork()? else {
        begin(reaper)?;
        return change_mask(&heard, None);
    };
    let refused = become_reaper(reaper, child);
    // It fails only where the child has ended.
    rustix::process::kill_process(child, Signal::KILL).unwrap_or_default();
    Err(refused)
}

fn change_mask(to: &SigSet, from: Option<&mut SigSet>) -> Result<(), Errno> {
    nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(to), from)
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// The child, where this is its parent.
fn fork() -> Result<Option<Pid>, Errno> {
    let flags = libc::c_long::from(libc::SIGCHLD);
    let none = 0_usize;
    // SAFETY: as `fork` of a process with one thread: the child gets a copy of the memory, in which nobody was about to
    // change anything, and goes on with system calls up to the execution of a program.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    if result == 0 {
        return Ok(None);
    }
    let pid = i32::try_from(result).ok().and_then(Pid::from_raw).filter(|_| result > 0);
    pid.map_or_else(|| Err(crate::last_errno()), |pid| Ok(Some(pid)))
}

/// Sets the child apart from its parent.
fn begin(reaper: &Reaper) -> Result<(), Errno> {
    if let Some(apart) = &reaper.apart {
        // "0" is whoever writes.
        rustix::io::write(&apart.processes, b"0")?;
    }
    // What is typed at a terminal, and what a program sends to its whole group, the reaper would pass on a second time.
    rustix::process::setpgid(None, None)?;
    // Those of a group in the background may do this as long as they hold SIGTTOU back, as is done here.
    // SAFETY: 0 is no −1, and it is used for this call only, which fails where it is not open.
    let stdin = unsafe { BorrowedFd::borrow_raw(0) };
    match rustix::termios::tcsetpgrp(stdin, rustix::process::getpid()) {
        // Standard input is no terminal, or another session's; or closed.
        Ok(()) | Err(Errno::NOTTY | Errno::BADF) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Comes back only where it does not work.
fn become_reaper(reaper: &Reaper, child: Pid) -> Errno {
    let (mut pid, mut kill) = ([0; NUMBER_MAX_BYTES], [0; NUMBER_MAX_BYTES]);
    let Some(pid) = number(&mut pid, child.as_raw_nonzero().get()) else { return Errno::INVAL };
    let mut words = [ptr::null(); WORDS_MAX];
    let mut given = [Some(NAME), Some(VERB), Some(pid), None];
    if let [.., last] = &mut given
        && let Some(apart) = &reaper.apart
    {
        if let Err(errno) = rustix::io::fcntl_setfd(&apart.kill, FdFlags::empty()) {
            return errno;
        }
        *last = number(&mut kill, apart.kill.as_raw_fd());
    }
    for (word, given) in words.iter_mut().zip(given.iter().flatten()) {
        *word = given.as_ptr();
    }
    execute(reaper.program.as_fd(), &words)
}

fn number(space: &mut [u8; NUMBER_MAX_BYTES], number: i32) -> Option<&CStr> {
    write!(&mut space[..], "{number}\0").ok()?;
    CStr::from_bytes_until_nul(space).ok()
}

fn execute(program: BorrowedFd<'_>, words: &[*const libc::c_char; WORDS_MAX]) -> Errno {
    let nothing: [*const libc::c_char; 1] = [ptr::null()];
    let (program, path) = (program.as_raw_fd(), c"".as_ptr());
    let (words, environment) = (words.as_ptr(), nothing.as_ptr());
    let (call, flags) = (libc::SYS_execveat, libc::AT_EMPTY_PATH);
    // SAFETY: the path is an empty string with its NUL; both lists end with a null pointer, and what stands before it in
    // `words` are addresses of strings of the caller's that outlive the call. Where it comes back, nothing has changed.
    unsafe { libc::syscall(call, program, path, words, environment, flags) };
    crate::last_errno()
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs::{self, File};
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::{Command, Output};

    use tempfile::TempDir;

    use super::*;
    use crate::execute::Execution;

    /// Has a shell note its mask by itself: for what it executes, it changes it.
    const MASK: &str = "while read -r key value; do test $key = SigBlk: && echo $value > mask.$$; done < /proc/$$/status";
    /// A shell in the reaper's place reads what it is to do from a file that is called as the reaper's verb: it says what it is,
    /// and ends once its child has said the same.
    const REAP: &str = "tr '\\0' ' ' < /proc/$$/cmdline > words; tr '\\0' ' ' < /proc/$$/environ > environment; \
        echo $$ > reaper; read line < done";
    const CHILD: &str = "cut -d' ' -f1,4,5 /proc/$$/stat > child; echo > done";

    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("reap"), format!("{MASK}; {REAP}")).unwrap();
        let done = folder.path().join("done");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &done, kind, rustix::fs::Mode::RWXU, 0).unwrap();
        folder
    }

    fn reaper(program: &str, apart: Option<Apart>) -> Reaper {
        Reaper { program: File::open(program).unwrap().into(), apart }
    }

    /// How a process ends that leaves its place to `reaper`, and its child executes a shell with this script.
    fn run(folder: &Path, reaper: Reaper, script: &str) -> std::io::Result<Output> {
        let words = ["sh", "-c", script].map(|word| CString::new(word).unwrap()).to_vec();
        let execution = Execution::new(vec![c"/bin/sh".to_owned()], words, Vec::new());
        let mut command = Command::new("/nothing");
        command.current_dir(folder);
        // SAFETY: the closure makes system calls only.
        unsafe {
            command.pre_exec(move || {
                leave_to(&reaper)?;
                Err(execution.execute().errno.into())
            })
        };
        command.output()
    }

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap().trim().to_owned()
    }

    /// The signals that a process has held back, bit 0 the first one.
    fn mask(folder: &Path, pid: &str) -> u64 {
        u64::from_str_radix(&read(folder, &format!("mask.{pid}")), 16).unwrap()
    }

    #[test]
    fn the_child_goes_on_apart_and_its_parent_hears_all_signals_later() {
        let folder = folder();
        let folder = folder.path();
        let script = format!("{MASK}; {CHILD}");
        assert!(run(folder, reaper("/bin/sh", None), &script).unwrap().status.success());
        let child = read(folder, "child");
        let child: Vec<&str> = child.split(' ').collect();
        assert_eq!(child[0], child[2], "it leads no group");
        assert_eq!(read(folder, "words"), format!("ferrite-shim reap {}", child[0]));
        assert_eq!(read(folder, "environment"), "");
        assert_eq!(mask(folder, child[0]), 0);
        let reaper = read(folder, "reaper");
        for signal in [1, 2, 3, 10, 12, 15, 17, 20, 28, 34, 37, 64] {
            assert_ne!(mask(folder, &reaper) & (1 << (signal - 1)), 0, "signal {signal}");
        }
    }

    #[test]
    fn a_child_with_a_group_of_its_own_joins_it_and_the_reaper_can_kill_it() {
        let folder = folder();
        let folder = folder.path();
        let file = |name: &str| File::create(folder.join(name)).unwrap().into();
        let apart = Apart { processes: file("procs"), kill: file("kill") };
        let number = apart.kill.as_raw_fd();
        let script = format!("echo 1 >&{number}; {REAP}");
        fs::write(folder.join("reap"), script).unwrap();
        let child = format!("test -e /proc/$$/fd/{number} && echo open > kill; {CHILD}");
        assert!(run(folder, reaper("/bin/sh", Some(apart)), &child).unwrap().status.success());
        assert_eq!(read(folder, "procs"), "0");
        assert_eq!(read(folder, "kill"), "1");
        assert!(read(folder, "words").ends_with(&format!(" {number}")));
    }

    #[test]
    fn without_a_reaper_nothing_is_run() {
        let folder = folder();
        let refused =
            run(folder.path(), reaper("/etc/passwd", None), "read line < done; echo > child");
        assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        // Its last words would have been waited for.
        fs::OpenOptions::new().read(true).write(true).open(folder.path().join("done")).unwrap();
        assert!(!folder.path().join("child").exists());
    }
}
