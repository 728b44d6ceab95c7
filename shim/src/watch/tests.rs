use std::fs::File;
use std::io::Write;
use std::process::{Command as Program, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use ferrite_schema::api::LogLine;
use ferrite_schema::shim::LOG_CURRENT;
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags};
use rustix::pty::OpenptFlags;
use tempfile::TempDir;

use super::*;

/// Both ends of the program's output, and of its errors where they are apart.
struct Streams {
    stdout: (OwnedFd, OwnedFd),
    stderr: Option<(OwnedFd, OwnedFd)>,
}

fn pipes() -> Streams {
    Streams {
        stdout: rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap(),
        stderr: Some(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()),
    }
}

fn terminal() -> Streams {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
    Streams { stdout: (master, slave), stderr: None }
}

/// A program that runs as a container would, with a cgroup that is not there, and the other ends of its output.
#[expect(clippy::zombie_processes, reason = "the watch collects it")]
fn held(folder: &TempDir, script: &str, streams: Streams) -> (Held, Vec<OwnedFd>) {
    let copy = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    let tty = streams.stderr.is_none();
    let (stdout, other_end) = streams.stdout;
    let mut command = Program::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(copy(&other_end));
    let mut kept = vec![other_end];
    let mut stderr = None;
    if let Some((reader, writer)) = streams.stderr {
        command.stderr(copy(&writer));
        stderr = Some(reader);
        kept.push(writer);
    }
    let child = command.spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let place = |name: &str| folder.path().join(name).into_os_string().into_string().unwrap();
    let held = Held {
        pid,
        pidfd: rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap(),
        stdout,
        stderr,
        stdin: None,
        tty,
        listener,
        cgroup: place("no-such-cgroup"),
        log_dir: place("log"),
        beside: false,
    };
    (held, kept)
}

/// How it ended and what is in its log; a failure where that does not end.
fn watched(folder: &TempDir, held: Held) -> (Outcome, Vec<String>) {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(watch(held).unwrap().outcome).unwrap());
    let outcome = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    let text = std::fs::read_to_string(folder.path().join("log").join(LOG_CURRENT)).unwrap();
    let line = |line: &str| serde_json::from_str::<LogLine>(line).unwrap().line;
    (outcome, text.lines().map(line).collect())
}

fn ended(code: u8) -> Outcome {
    Outcome::Ended { exit: Exit::Status { code }, oom_killed: false }
}

#[test]
fn output_that_another_holds_open_does_not_keep_a_container_alive() {
    let folder = tempfile::tempdir().unwrap();
    let (held, kept) = held(&folder, "echo one; printf two >&2; exit 3", pipes());
    let (outcome, mut lines) = watched(&folder, held);
    lines.sort();
    assert_eq!((outcome, lines), (ended(3), vec!["one".to_owned(), "two".to_owned()]));
    drop(kept);
}

#[test]
fn a_terminal_that_another_holds_open_does_not_keep_a_container_alive() {
    let folder = tempfile::tempdir().unwrap();
    let (held, kept) = held(&folder, "echo last words", terminal());
    let (outcome, lines) = watched(&folder, held);
    assert_eq!((outcome, lines.first().unwrap().trim_end()), (ended(0), "last words"));
    drop(kept);
}

#[test]
fn whoever_writes_on_into_a_dead_containers_output_is_not_heard_to_the_end() {
    for streams in [pipes(), terminal()] {
        let folder = tempfile::tempdir().unwrap();
        let (held, mut kept) = held(&folder, "exit 4", streams);
        let mut other = File::from(kept.remove(0));
        let flood = std::thread::spawn(move || while other.write_all(&[b'y'; 512]).is_ok() {});
        assert_eq!(watched(&folder, held).0, ended(4));
        flood.join().unwrap();
    }
}

#[test]
fn a_container_cannot_block_its_shim_by_reading_its_own_output() {
    let folder = tempfile::tempdir().unwrap();
    let (held, kept) = held(&folder, "true", pipes());
    let same = [&held.stdout, held.stderr.as_ref().unwrap()].map(|fd| fd.try_clone().unwrap());
    assert_eq!(watched(&folder, held).0, ended(0));
    for fd in same {
        assert!(rustix::fs::fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK));
    }
    drop(kept);
}

#[test]
fn a_prompt_is_in_the_log_while_it_waits_for_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log").join(LOG_CURRENT);
    // It goes on once it has seen its own question there.
    let script =
        format!("printf 'name? '; until grep -qs name {}; do :; done; echo me", log.display());
    let (held, _kept) = held(&folder, &script, pipes());
    let (outcome, lines) = watched(&folder, held);
    assert!(matches!(outcome, Outcome::Ended { exit: Exit::Status { code: 0 }, .. }));
    assert_eq!(lines, ["name? ", "me"]);
}
