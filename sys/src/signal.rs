//! Signals by their numbers (signal(7)): rustix makes those that have names.

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
}
