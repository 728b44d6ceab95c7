//! Tests of the client against a QEMU of our own making at the other end of a socket pair.

use std::io::{BufRead, BufReader};
use std::thread;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// Connects to a peer that greets and then answers the n-th command with the n-th text.
fn connected(answers: Vec<&'static str>) -> (Qmp, thread::JoinHandle<Vec<String>>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let peer = thread::spawn(move || {
        let mut commands = Vec::new();
        theirs.write_all(b"{\"QMP\": {}}\r\n").unwrap();
        let mut lines = BufReader::new(theirs.try_clone().unwrap()).lines();
        for answer in std::iter::once("{\"return\": {}}\r\n").chain(answers) {
            let Some(Ok(line)) = lines.next() else { break };
            commands.push(line);
            theirs.write_all(answer.as_bytes()).unwrap();
        }
        commands
    });
    (Qmp::negotiate(ours, Deadline::after(SOON)).unwrap(), peer)
}

#[test]
fn commands_are_sent_and_events_between_are_kept() {
    let (mut qmp, peer) = connected(vec![
        "{\"event\": \"STOP\"}\n{\"event\": \"RESET\", \"data\": {\"guest\": true}}\n{\"return\": {\"status\": \"paused\"}}\n",
    ]);
    assert_eq!(qmp.status().unwrap(), "paused");
    let event = qmp.wait_event(&["SHUTDOWN", "RESET"], Deadline::after(SOON)).unwrap();
    assert_eq!(event.name, "RESET");
    assert_eq!(event.data["guest"], true);
    drop(qmp);
    let commands = peer.join().unwrap();
    assert!(commands[0].contains("qmp_capabilities"));
    assert!(commands[1].contains("query-status"));
}

#[test]
fn a_refusal_names_the_command_and_the_reason() {
    let (mut qmp, _peer) =
        connected(vec!["{\"error\": {\"class\": \"X\", \"desc\": \"bad key\"}}\n"]);
    let error = qmp.press(&["nonsense"]).unwrap_err();
    assert_eq!(error.to_string(), "run QEMU command send-key: bad key");
}

#[test]
fn the_end_of_qemu_is_an_error_except_to_quit() {
    let (mut qmp, peer) = connected(vec![]);
    peer.join().unwrap();
    assert!(matches!(qmp.status(), Err(QmpError::Closed)));
    qmp.quit().unwrap();
}

#[test]
fn waiting_for_an_event_ends_at_the_deadline() {
    let (mut qmp, _peer) = connected(vec!["{\"event\": \"STOP\"}\n{\"return\": {}}\n", ""]);
    qmp.pause().unwrap();
    let error = qmp.wait_event(&["SHUTDOWN"], Deadline::after(Duration::ZERO)).unwrap_err();
    assert!(matches!(error, QmpError::Event { .. }), "{error}");
}

#[test]
fn rubbish_is_named() {
    let (mut qmp, _peer) = connected(vec!["what?\n"]);
    let error = qmp.status().unwrap_err();
    assert!(error.to_string().contains("what?"), "{error}");
}
