//! Tests of following a console log.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use super::*;

fn until(wait: Duration) -> Until<'static> {
    Until { deadline: Deadline::after(wait), machine: None, interrupt: None }
}

const SOON: Duration = Duration::from_secs(10);

struct Log {
    folder: tempfile::TempDir,
    file: File,
}

fn log() -> (Log, Console) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serial.log");
    let console = Console::open(&path).unwrap();
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    (Log { folder, file }, console)
}

#[test]
fn lines_are_found_across_writes_and_once_only() {
    let (mut log, mut console) = log();
    log.file.write_all(b"one\r\ntw").unwrap();
    log.file.write_all(b"o\r\none more\r\npart").unwrap();
    let wait = until(Duration::ZERO);
    assert_eq!(console.wait_for(&["two", "one"], wait).unwrap(), (1, "one".to_owned()));
    assert_eq!(console.wait_for(&["one"], wait).unwrap(), (0, "one more".to_owned()));
    let error = console.wait_for(&["one"], wait).unwrap_err();
    assert!(error.to_string().ends_with("one\ntwo\none more\npart"), "{error}");
    assert_eq!(console.tail(1).unwrap(), "one more\npart");
}

#[test]
fn a_line_that_comes_later_wakes_the_wait() {
    let (mut log, mut console) = log();
    let writer = thread::spawn(move || {
        log.file.write_all(b"noise\nready\n").unwrap();
        log.folder
    });
    assert_eq!(console.wait_for(&["ready"], until(SOON)).unwrap().1, "ready");
    drop(writer.join().unwrap());
}

#[test]
fn the_end_of_the_machine_ends_the_wait_after_its_last_words() {
    let (mut log, mut console) = log();
    log.file.write_all(b"last words\n").unwrap();
    let (machine, other_end) = UnixStream::pair().unwrap();
    drop(other_end);
    let until = Until { machine: Some(machine.as_fd()), ..until(SOON) };
    assert_eq!(console.next_line(until).unwrap(), "last words");
    assert!(matches!(console.wait_for(&["x"], until), Err(ConsoleError::Ended { .. })));
}

#[test]
fn an_interrupt_ends_the_wait() {
    let (_log, mut console) = log();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"x").unwrap();
    let until = Until { interrupt: Some(ours.as_fd()), ..until(SOON) };
    assert!(matches!(console.next_line(until), Err(ConsoleError::Interrupted)));
}

#[test]
fn what_was_there_before_can_be_skipped() {
    let (mut log, mut console) = log();
    log.file.write_all(b"ready\n").unwrap();
    console.skip_to_end().unwrap();
    assert!(console.wait_for(&["ready"], until(Duration::ZERO)).is_err());
    log.file.write_all(b"ready again\n").unwrap();
    assert_eq!(console.wait_for(&["ready"], until(SOON)).unwrap().1, "ready again");
}

#[test]
fn control_sequences_are_taken_out() {
    assert_eq!(plain(b"\x1b[2J\x1b[01;01HBdsDxe:\tloading\r\n"), "BdsDxe: loading");
    assert_eq!(plain(b"\x1bcSeaBIOS\x07"), "SeaBIOS");
    assert_eq!(plain(b"\xff\x1b"), "\u{fffd}");
}
