//! The parent that a container's program may have, as a program of its own.
#![expect(clippy::unwrap_used, reason = "what a test needs may fail loudly")]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, FileType, Mode};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// What a program waits for to know that its parent is the reaper, ready for anything: the last that this does before is to
/// leave the folder.
const READY: &str = "until [ \"$(readlink /proc/$PPID/cwd)\" = / ]; do :; done;";

/// A reaper that ends with its test, however that ends, and then so does what it is the parent of.
struct Reaper {
    child: Child,
    folder: TempDir,
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.child.kill().and_then(|()| self.child.wait()));
        // Whoever waits for a line gets none.
        drop(fs::OpenOptions::new().read(true).write(true).open(self.path("hold")));
    }
}

impl Reaper {
    /// Starts a shell with `script`, whose parent becomes the reaper, with `more` words of its own.
    fn start(script: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["hold", "kill"] {
            rustix::fs::mknodat(CWD, folder.path().join(name), FileType::Fifo, Mode::RWXU, 0)
                .unwrap();
        }
        let mut command = Command::new("/bin/sh");
        let parent = format!("sh -c \"$SCRIPT\" & {more}");
        command.args(["-c", &parent]).current_dir(folder.path());
        command
            .env("SCRIPT", format!("{READY} {script}"))
            .env("SHIM", env!("CARGO_BIN_EXE_ferrite-shim"));
        command.env("D", folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        Self { child: command.spawn().unwrap(), folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// What a program writes to a FIFO, once.
    fn heard(&self, name: &str) -> String {
        let mut text = String::new();
        fs::File::open(self.path(name)).unwrap().read_to_string(&mut text).unwrap();
        text.trim().to_owned()
    }

    fn send(&self, number: i32) {
        let signal = ferrite_sys::signal::numbered(number).unwrap();
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

const REAP: &str = "exec \"$SHIM\" reap $!";

#[test]
fn it_ends_as_its_program() {
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -s SEGV $$", 139)]
    {
        assert_eq!(Reaper::start(script, REAP).code(), Some(code), "{script}");
    }
}

#[test]
fn signals_are_passed_on() {
    // One that it waits for, and ones that it does nothing about, of which each ends it.
    let waits = "trap 'exit 3' 37; echo > kill; cat hold & wait $!; wait $!";
    let mut reaper = Reaper::start(waits, REAP);
    assert_eq!(reaper.heard("kill"), "");
    reaper.send(37);
    assert_eq!(reaper.code(), Some(3));
    for number in [1, 10, 15, 34, 64] {
        let mut reaper = Reaper::start("echo > kill; exec cat hold", REAP);
        assert_eq!(reaper.heard("kill"), "");
        reaper.send(number);
        assert_eq!(reaper.code(), Some(128 + number), "{number}");
    }
}

#[test]
fn it_has_nothing_of_the_programs() {
    let open = "for n in 0 1 2; do test -e /proc/$PPID/fd/$n && echo $n; done > fds; exit 0";
    let mut reaper = Reaper::start(open, REAP);
    assert_eq!(reaper.code(), Some(0));
    assert_eq!(fs::read_to_string(reaper.path("fds")).unwrap(), "");
}

#[test]
fn what_a_command_leaves_is_collected_before_it_ends() {
    let leaves = "(cat hold & echo $! > left.next; mv left.next left); exit 7";
    let with_kill = "exec 9> kill; exec \"$SHIM\" reap $! 9";
    let mut reaper = Reaper::start(leaves, with_kill);
    let mut kill = fs::File::open(reaper.path("kill")).unwrap();
    let mut asked = [0];
    kill.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"1");
    // In the place of the kernel's file, this kills nobody: so it waits, and is the parent of who is left.
    let left: i32 = fs::read_to_string(reaper.path("left")).unwrap().trim().parse().unwrap();
    let status = fs::read_to_string(format!("/proc/{left}/status")).unwrap();
    assert!(status.contains(&format!("PPid:\t{}\n", reaper.child.id())), "{status}");
    assert!(reaper.child.try_wait().unwrap().is_none());
    rustix::process::kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
    assert_eq!(reaper.child.wait().unwrap().code(), Some(7));
    assert!(!Path::new(&format!("/proc/{left}")).exists(), "it was not collected");
}

#[test]
fn words_that_are_no_numbers_are_refused() {
    for words in [
        &["reap"][..],
        &["reap", "x"],
        &["reap", "0"],
        &["reap", "-1"],
        &["reap", "1", "77"],
        &["reap", "1", "1"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferrite-shim"));
        let output = command.args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("is started by ferrite-container only"), "{said}");
    }
}
