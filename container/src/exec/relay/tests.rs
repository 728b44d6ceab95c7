use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use ferrite_schema::stream::{self, Decoder};

use super::*;

fn started(program: &[&str]) -> Started {
    let (name, arguments) = program.split_first().unwrap();
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Started { child: command.spawn().unwrap(), terminal: None, kill: None }
}

/// The exit of a program to which `arrived` was sent with the request, and what it wrote.
fn run(program: &'static [&'static str], arrived: Vec<u8>) -> (Exit, Vec<u8>) {
    let (own, mut other) = UnixStream::pair().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut peer = Peer::attached(own, &arrived).unwrap();
        let exit = relay(started(program), &mut peer).unwrap().unwrap();
        drop(peer.finish(None));
        sender.send(exit).unwrap();
    });
    let reading = std::thread::spawn(move || {
        let (mut decoder, mut found, mut chunk) = (Decoder::default(), Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = other.read(&mut chunk) {
            decoder.feed(&chunk[..count]);
            while let Some(frame) = decoder.frame().unwrap() {
                found.extend(frame.payload);
            }
        }
        found
    });
    let exit = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    (exit, reading.join().unwrap())
}

#[test]
fn what_came_with_the_request_is_the_commands_input() {
    let mut arrived = Vec::new();
    stream::encode(&mut arrived, Kind::Stdin, b"hi\n");
    stream::encode(&mut arrived, Kind::CloseStdin, b"");
    assert_eq!(run(&["cat"], arrived.clone()), (Exit::Status { code: 0 }, b"hi\n".to_vec()));
    let only_the_end = arrived.split_off(arrived.len() - stream::HEADER_BYTES);
    assert_eq!(run(&["cat"], only_the_end), (Exit::Status { code: 0 }, b"".to_vec()));
}

#[test]
fn what_is_cut_in_the_middle_of_a_frame_goes_on_with_what_comes_later() {
    let mut frames = Vec::new();
    stream::encode(&mut frames, Kind::Stdin, b"hello\n");
    stream::encode(&mut frames, Kind::CloseStdin, b"");
    for cut in 0..frames.len() {
        let (own, mut other) = UnixStream::pair().unwrap();
        let (arrived, later) = frames.split_at(cut);
        other.write_all(later).unwrap();
        let mut peer = Peer::attached(own, arrived).unwrap();
        let exit = relay(started(&["cat"]), &mut peer).unwrap();
        assert_eq!(exit, Some(Exit::Status { code: 0 }), "cut at {cut}");
    }
}

#[test]
fn a_writer_that_the_command_left_behind_does_not_keep_it_going() {
    let program = &["sh", "-c", "echo begin; yes & echo $!; exit 3"];
    let (exit, found) = run(program, Vec::new());
    assert_eq!(exit, Exit::Status { code: 3 });
    assert!(found.starts_with(b"begin\n"));
}

#[test]
fn all_that_a_command_wrote_is_there_at_its_end() {
    let (exit, found) = run(&["sh", "-c", "printf '%060000d' 7; exit 1"], Vec::new());
    assert_eq!((exit, found.len()), (Exit::Status { code: 1 }, 60_000));
}
