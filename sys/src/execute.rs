//! Executing a program in this process's place (execve(2)), as the kernel decides and nobody else: the C library's
//! `execvp` hands what the kernel refuses as no program to `/bin/sh`.

use std::ffi::{CStr, CString};

use rustix::io::Errno;

/// A program under the names it may have, its words and its environment, in memory as the kernel reads them.
#[derive(Debug)]
pub struct Execution {
    candidates: Vec<CString>,
    arguments: Words,
    environment: Words,
}

/// Words, and what the kernel is given of them: their addresses, with a zero at the end.
#[derive(Debug)]
struct Words {
    addresses: Vec<usize>,
    /// What the addresses lead to: the heap's own places, which moving this does not move.
    _held: Vec<CString>,
}

impl Words {
    fn new(held: Vec<CString>) -> Self {
        // As numbers, so that this may be sent to other threads.
        let addresses = held.iter().map(|word| word.as_ptr().expose_provenance());
        let addresses = addresses.chain([0]).collect();
        Self { addresses, _held: held }
    }
}

/// Why the kernel executed nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The candidate that this is about; none where there was none.
    pub candidate: Option<&'a CStr>,
    /// The kernel's reason.
    pub errno: Errno,
}

impl Execution {
    /// The program is the first of `candidates` that the kernel executes.
    #[must_use]
    pub fn new(
        candidates: Vec<CString>,
        arguments: Vec<CString>,
        environment: Vec<CString>,
    ) -> Self {
        let (arguments, environment) = (Words::new(arguments), Words::new(environment));
        Self { candidates, arguments, environment }
    }

    /// Executes it. Comes back only where the kernel executes nothing, with the weightiest reason: that something may
    /// not be executed, before that it is not there. Makes system calls only, so that a forked process may call it.
    pub fn execute(&self) -> Refused<'_> {
        // Rust's programs ignore this signal, and what is ignored stays so in what they execute.
        let ignored = set_broken_pipe(libc::SIG_DFL);
        let refused = self.first();
        set_broken_pipe(ignored);
        refused
    }

    fn first(&self) -> Refused<'_> {
        let mut refused = Refused { candidate: None, errno: Errno::NOENT };
        for candidate in self.candidates.iter().map(CString::as_c_str) {
            let (arguments, environment) =
                (self.arguments.addresses.as_ptr(), self.environment.addresses.as_ptr());
            // SAFETY: the path is a string that ends with a zero; the lists are addresses of such strings, which live as
            // long as `self` does, and end with a zero. Where the call comes back, the kernel has changed nothing.
            unsafe { libc::execve(candidate.as_ptr(), arguments.cast(), environment.cast()) };
            let found = Refused { candidate: Some(candidate), errno: crate::last_errno() };
            match weight(found.errno) {
                Weight::Final => return found,
                weight if refused.candidate.is_none() || weight > self::weight(refused.errno) => {
                    refused = found;
                }
                Weight::Absent | Weight::Unusable => {}
            }
        }
        refused
    }
}

/// What a reason means for the other candidates.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// Nothing is there.
    Absent,
    /// What is there cannot be meant.
    Unusable,
    /// It was found, and is what was meant.
    Final,
}

fn weight(errno: Errno) -> Weight {
    match errno {
        Errno::NOENT | Errno::NOTDIR => Weight::Absent,
        Errno::ACCESS
        | Errno::LOOP
        | Errno::NAMETOOLONG
        | Errno::NODEV
        | Errno::STALE
        | Errno::TIMEDOUT => Weight::Unusable,
        _ => Weight::Final,
    }
}

/// What is done about writes that nobody reads; what was done before.
fn set_broken_pipe(action: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: the action is one of the two that are no function, or what this call returned before. Only the error
    // value is none, and that is never returned for a signal that exists.
    unsafe { libc::signal(libc::SIGPIPE, action) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::os::unix::fs::symlink;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    fn words(words: &[&str]) -> Vec<CString> {
        words.iter().map(|word| CString::new(*word).unwrap()).collect()
    }

    /// Writes a file by another process: what is open for writing here, a process that another test starts has open for a
    /// moment, too, and then it is no program.
    fn write(path: &str, text: &str, mode: &str) {
        let script = "printf %s \"$1\" > \"$0\" && chmod \"$2\" \"$0\"";
        let words = ["-c", script, path, text, mode];
        assert!(Command::new("/bin/sh").args(words).status().unwrap().success());
    }

    /// What a process says that executes these in its place.
    fn run(candidates: &[&str], arguments: &[&str], environment: &[&str]) -> io::Result<String> {
        let execution = Execution::new(words(candidates), words(arguments), words(environment));
        let mut command = Command::new("/nothing");
        // SAFETY: the closure makes system calls only.
        unsafe { command.pre_exec(move || Err(execution.execute().errno.into())) };
        Ok(String::from_utf8(command.output()?.stdout).unwrap())
    }

    #[test]
    fn the_first_that_the_kernel_takes_runs_with_these_words_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir(place("folder")).unwrap();
        symlink("circle", place("circle")).unwrap();
        write(&place("unmarked"), "#!/bin/sh\necho wrong\n", "644");
        write(&place("script"), "#!/bin/sh\necho $0 $1 $A $B\n", "700");
        let names = ["absent", "folder", "unmarked", "unmarked/below", "circle", "script"];
        let places: Vec<String> = names.iter().map(|name| place(name)).collect();
        let candidates: Vec<&str> = places.iter().map(String::as_str).collect();
        let said = run(&candidates, &["named", "one"], &["A=1", "B=2"]).unwrap();
        assert_eq!(said, format!("{} one 1 2\n", place("script")));
        // Nothing of this process's own stays behind: neither its environment nor what it ignores.
        let said = run(&["/bin/cat"], &["cat", "/proc/self/environ"], &["A=1"]).unwrap();
        assert_eq!(said, "A=1\0");
        let said = run(&["/bin/grep"], &["grep", "SigIgn", "/proc/self/status"], &[]).unwrap();
        assert_eq!(u64::from_str_radix(said[8..].trim(), 16).unwrap() & (1 << 12), 0, "{said}");
    }

    #[test]
    fn what_the_kernel_refuses_is_run_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name).display().to_string();
        write(&place("garbage"), "echo from the shell\n", "755");
        write(&place("orphan"), "#!/no/such/interpreter\n", "755");
        write(&place("unmarked"), "#!/bin/sh\n", "644");
        for (names, errno, at) in [
            (&["garbage"][..], Errno::NOEXEC, "garbage"),
            (&["orphan"], Errno::NOENT, "orphan"),
            (&["absent"], Errno::NOENT, "absent"),
            (&["absent", "unmarked", "absent"], Errno::ACCESS, "unmarked"),
            (&["garbage/below"], Errno::NOTDIR, "garbage/below"),
            (&["absent", "garbage/below"], Errno::NOENT, "absent"),
            (&["absent", "garbage", "unmarked"], Errno::NOEXEC, "garbage"),
        ] {
            let candidates = names.iter().map(|name| CString::new(place(name)).unwrap()).collect();
            let execution = Execution::new(candidates, words(&["x"]), Vec::new());
            let refused = execution.execute();
            let found = refused.candidate.map(|path| path.to_str().unwrap().to_owned());
            assert_eq!((refused.errno, found), (errno, Some(place(at))), "{names:?}");
        }
        let nothing = Execution::new(Vec::new(), words(&["x"]), Vec::new());
        assert_eq!(nothing.execute(), Refused { candidate: None, errno: Errno::NOENT });
    }
}
