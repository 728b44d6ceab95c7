//! Signals by their numbers (signal(7)): rustix makes those that have names. And signals as something that is waited for.

use std::io;
use std::ptr;

use nix::sys::signal::SigSet;
use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::process::Signal;

/// The last signal of Linux: `SIGRTMAX`.
const LAST: i32 = 64;

/// The signal of this number, real-time ones included; none where the kernel knows none.
#[must_use]
pub fn numbered(number: i32) -> Option<Signal> {
    if !(1..=LAST).contains(&number) {
        return None;
    }
    // SAFETY: the number was just seen to be one of the kernel's signals. rustix leaves it to others which of them the C
    // library keeps for its own threads: here they are only sent to other processes, which may have no such library.
    Some(unsafe { Signal::from_raw_unchecked(number) })
}

/// From now on the calling thread is interrupted by no signal, and [`next`] gives them.
///
/// # Errors
/// The kernel refuses.
pub fn hold_back() -> io::Result<()> {
    Ok(SigSet::all().thread_block()?)
}

/// Waits for a signal that is held back; none where none came in time. Without a `timeout` one comes.
///
/// # Errors
/// The kernel refuses.
pub fn next(timeout: Option<Timespec>) -> Result<Option<Signal>, Errno> {
    let all = SigSet::all();
    let timeout = timeout.map(|time| libc::timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec });
    let until = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    loop {
        // SAFETY: the set and the time, where there is one, outlive the call, which writes to neither; nobody wants to know
        // more of the signal, which a null pointer says.
        let number = unsafe { libc::sigtimedwait(all.as_ref(), ptr::null_mut(), until) };
        if number > 0 {
            return Ok(numbered(number));
        }
        match crate::last_errno() {
            Errno::INTR => {}
            Errno::AGAIN => return Ok(None),
            errno => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use rustix::process::Pid;

    use super::*;

    #[test]
    fn each_signal_that_there_is_can_be_sent_and_no_other() {
        for number in [0, -1, -9, 65, i32::MIN, i32::MAX] {
            assert_eq!(numbered(number), None, "{number}");
        }
        // What has no name and ends whoever does nothing about it.
        for number in [9, 15, 34, 37, 64] {
            let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
            let pid = Pid::from_child(&child);
            rustix::process::kill_process(pid, numbered(number).unwrap()).unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(number));
        }
    }

    #[test]
    fn what_is_held_back_is_given_one_by_one() {
        let worker = std::thread::spawn(|| {
            hold_back().unwrap();
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            assert_eq!(next(Some(at_once)), Ok(None));
            for number in [15, 37, 64] {
                // SAFETY: it takes nothing.
                let own = unsafe { libc::pthread_self() };
                // SAFETY: the thread is this one, and the signal one that there is, which it holds back.
                assert_eq!(unsafe { libc::pthread_kill(own, number) }, 0);
                assert_eq!(next(None), Ok(numbered(number)));
            }
            assert_eq!(next(Some(at_once)), Ok(None));
        });
        worker.join().unwrap();
    }
}
