//! Runs the probe as a process.

#![expect(clippy::unwrap_used, reason = "what a test needs may fail loudly")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

fn probe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ferrite-probe")).args(arguments).output().unwrap()
}

#[test]
fn orphans_are_made_by_the_batch() {
    // Nobody adopts them here but the host's own PID 1, so that only their number is asserted.
    let output = probe(&["orphans", "25", "10"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["made"], &answer["batches"]), (&25.into(), &3.into()));
}

#[test]
fn exit_status_is_the_one_asked_for() {
    assert_eq!(probe(&["exit", "7"]).status.code(), Some(7));
    assert_eq!(probe(&["nonsense"]).status.code(), Some(99));
}

#[test]
fn both_streams_are_spewed() {
    let output = probe(&["spew", "3"]);
    assert_eq!(output.stdout, b"out 1\nout 2\nout 3\n");
    assert_eq!(output.stderr, b"err 1\nerr 2\nerr 3\n");
}

#[test]
fn acknowledged_records_are_there_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ferrite-probe"))
        .args(["sync-writer", path])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen: Vec<String> = lines.take(6).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(seen, ["resume 0", "1", "2", "3", "4", "5"]);
    let answer: serde_json::Value =
        serde_json::from_slice(&probe(&["sync-check", path]).stdout).unwrap();
    assert!(answer["last"].as_u64().unwrap() >= 5, "{answer}");
    assert_eq!(answer["damaged"], serde_json::Value::Null);
}

#[test]
fn sigterm_is_heard_and_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ferrite-probe"))
        .args(["await-term", folder.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "waiting");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "stopped by SIGTERM");
    assert!(child.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(folder.path().join("stopped")).unwrap(), "SIGTERM\n");
}
