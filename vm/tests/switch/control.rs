//! What the switch is told while it runs, seen by who is connected.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ferrite_vm::deadline::Deadline;
use ferrite_vm::switch::client::{Client, ControlError};
use ferrite_vm::switch::control::CONTROL_SOCKET;
use ferrite_vm::switch::faults::Faults;
use ferrite_vm::switch::recorder::history;
use ferrite_vm::switch::topology::{Fault, Network, Station};
use ferrite_vm::switch::{Running, Switch, SwitchError, cable_socket};

use super::wire::{BROADCAST, Plug, SOON, mac};

const NAMES: [&str; 3] = ["one", "two", "three"];

struct Bed {
    plugs: [Plug; 3],
    client: Client,
    _switch: Running,
    folder: tempfile::TempDir,
}

impl Bed {
    /// Three machines, each of which has said its name.
    fn new(network: Network) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let switch = Switch::start(network, folder.path()).unwrap();
        let mut plugs = NAMES.map(|name| Plug::new(folder.path(), name));
        let client = Client::connect(folder.path()).unwrap();
        for (number, name) in (1..).zip(NAMES) {
            plugs[usize::from(number) - 1].say(BROADCAST, number, name);
        }
        for (index, plug) in plugs.iter_mut().enumerate() {
            let mut heard = [plug.hear(), plug.hear()];
            heard.sort_unstable();
            let mut others: Vec<&str> =
                NAMES.into_iter().filter(|name| *name != NAMES[index]).collect();
            others.sort_unstable();
            assert_eq!(heard[..], others[..]);
        }
        Self { plugs, client, _switch: switch, folder }
    }

    /// Who hears whom: every machine speaks to all, and each hears what it hears until all have been told the end by
    /// an unhindered frame.
    fn heard(&mut self) -> Vec<(u8, u8)> {
        let mut pairs = Vec::new();
        for from in 1..=3 {
            self.plugs[usize::from(from) - 1].say(BROADCAST, from, &format!("speaks {from}"));
        }
        // All that was said before is forwarded when this is answered: it was there when the switch looked who has
        // something.
        self.client.status().unwrap();
        self.client.heal(None).unwrap();
        for from in 1..=3 {
            self.plugs[usize::from(from) - 1].say(BROADCAST, from, "end");
        }
        for to in 1..=3 {
            let mut ends = 0;
            while ends < 2 {
                match self.plugs[usize::from(to) - 1].hear().strip_prefix("speaks ") {
                    Some(from) => pairs.push((from.parse().unwrap(), to)),
                    None => ends += 1,
                }
            }
        }
        pairs.sort_unstable();
        pairs
    }
}

fn all() -> Vec<(u8, u8)> {
    vec![(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)]
}

#[test]
fn cables_are_cut_one_way_and_both_and_healed() {
    let mut bed = Bed::new(Network::of(&NAMES, 1));
    assert_eq!(bed.heard(), all());
    bed.client.cut_one_way("one", "two").unwrap();
    assert_eq!(bed.heard(), [(1, 3), (2, 1), (2, 3), (3, 1), (3, 2)]);
    bed.client.cut("three").unwrap();
    let status = bed.client.status().unwrap();
    assert_eq!(status.faults.len(), 6, "to and from two machines and the gateway: {status:?}");
    assert_eq!(bed.heard(), [(1, 2), (2, 1)]);
    bed.client.partition(&[&["one", "three"], &["two"]]).unwrap();
    assert_eq!(bed.heard(), [(1, 3), (3, 1)]);
    assert_eq!(bed.heard(), all(), "the last look healed it");
}

#[test]
fn declared_faults_are_there_from_the_start_and_healing_keeps_them() {
    let faults = Faults { delay_ms: 50, ..Faults::default() };
    let from_one = Fault { from: Some("one".to_owned()), to: None, faults };
    let mut bed = Bed::new(Network { faults: vec![from_one], ..Network::of(&NAMES, 1) });
    bed.client.cut("one").unwrap();
    bed.client.heal(Some("one")).unwrap();
    let begin = Instant::now();
    bed.plugs[0].say(mac(2), 1, "late");
    assert_eq!(bed.plugs[1].hear(), "late");
    assert!(begin.elapsed() >= Duration::from_millis(50), "{:?}", begin.elapsed());
}

#[test]
fn what_cannot_be_is_refused_with_the_reason_and_changes_nothing() {
    let mut bed = Bed::new(Network::of(&NAMES, 1));
    let before = bed.client.status().unwrap();
    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: Result<T, ControlError>, wrong: &str) {
        match result.unwrap_err() {
            ControlError::Refused { reason } => assert!(reason.contains(wrong), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    let client = &mut bed.client;
    refused(client.cut("four"), "there are one, two, three");
    refused(client.cut_one_way("one", "four"), "four");
    refused(client.partition(&[&["one"], &["two"]]), "three is in 0 groups");
    refused(client.partition(&[&["one", "three"], &["two", "three"]]), "three is in 2 groups");
    refused(client.partition(&[&["one", "two", "three", "four"]]), "four");
    refused(client.publish("four", 80, None), "four");
    refused(client.publish("gateway", 80, None), "no machine");
    refused(client.publish("one", 0, None), "port 0");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    refused(client.publish("one", 80, Some(taken.local_addr().unwrap().port())), "in use");
    refused(client.unpublish(1), "nothing is");
    refused(client.readdress("one", Ipv4Addr::new(10, 0, 0, 1)), "192.168.1.0/24");
    refused(client.readdress("one", Ipv4Addr::new(192, 168, 1, 11)), "somebody else's");
    refused(client.readdress("one", Ipv4Addr::new(192, 168, 1, 1)), "somebody else's");
    let station = |name: &str| Station { name: name.to_owned(), published: Vec::new() };
    refused(client.add(station("two")), "taken");
    refused(client.add(station("Two")), "a-z");
    assert_eq!(client.status().unwrap(), before);
}

#[test]
fn lines_that_are_no_commands_are_answered_and_endless_ones_end_the_connection() {
    let bed = Bed::new(Network::of(&NAMES, 1));
    let connect = || UnixStream::connect(bed.folder.path().join(CONTROL_SOCKET)).unwrap();
    let mut stream = connect();
    stream.write_all(b"hello\n{\"do\":\"heal\"}\n\xff\n").unwrap();
    let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("read the command"));
    assert_eq!(lines.next().unwrap(), "\"done\"");
    assert!(lines.next().unwrap().contains("refused"));
    let mut endless = connect();
    let piece = [b'a'; 4096];
    while endless.write_all(&piece).is_ok() {}
    assert_eq!(Client::connect(bed.folder.path()).unwrap().status().unwrap().machines.len(), 3);
}

#[test]
fn a_switch_of_its_own_ends_when_nobody_uses_it_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let patience = Duration::from_millis(50);
    let switch = Switch::new(Network::of(&NAMES, 1), folder.path()).unwrap();
    let switch = switch.ending_when_unused_for(patience);
    // Somebody is there before it looks; whoever is connected would hear its end.
    let client = UnixStream::connect(folder.path().join(CONTROL_SOCKET)).unwrap();
    let plug = UnixStream::connect(cable_socket(folder.path(), "two")).unwrap();
    let thread = std::thread::spawn(|| switch.run());
    let hears_nothing = |mut stream: UnixStream| {
        stream.set_read_timeout(Some(10 * patience)).unwrap();
        let heard = stream.read(&mut [0; 64]).map_err(|error| error.kind());
        // The gateway says that it is there.
        assert!(!matches!(heard, Ok(0)), "the switch has ended");
    };
    hears_nothing(client);
    hears_nothing(plug.try_clone().unwrap());
    hears_nothing(plug);
    thread.join().unwrap().unwrap();
    assert!(Client::connect(folder.path()).is_err());
}

#[test]
fn a_machine_that_is_added_takes_part() {
    let mut bed = Bed::new(Network::of(&NAMES, 1));
    bed.client.add(Station { name: "four".to_owned(), published: vec![80] }).unwrap();
    let mut four = Plug::new(bed.folder.path(), "four");
    four.say(BROADCAST, 4, "I am new");
    assert_eq!(bed.plugs.each_mut().map(Plug::hear), ["I am new"; 3]);
    bed.plugs[0].say(mac(4), 1, "welcome");
    assert_eq!(four.hear(), "welcome");
    let status = bed.client.status().unwrap();
    assert_eq!(status.machines.len(), 4);
    assert_eq!(
        (status.published[0].machine.as_deref(), status.published[0].port),
        (Some("four"), 80)
    );
    bed.client.cut("four").unwrap();
    assert_eq!(bed.heard().len(), 6);
}

/// A frame with a UDP datagram to everybody, for the recorder. Its checksum is left out, which IPv4 allows.
fn beacon(from: u8, text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let [total, datagram] = [(length + 28).to_be_bytes(), (length + 8).to_be_bytes()];
    let mut ip = [&[0x45, 0][..], &total, &[0, 0, 0, 0, 64, 17, 0, 0], &[0; 4], &[255; 4]].concat();
    let sum: u32 = ip.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let udp = [&4000_u16.to_be_bytes()[..], &9999_u16.to_be_bytes(), &datagram, &[0, 0]].concat();
    [&BROADCAST[..], &mac(from), &[8, 0], &ip, &udp, text.as_bytes()].concat()
}

#[test]
fn beacons_are_heard_over_a_cut_cable_and_from_whom_they_come() {
    let mut bed = Bed::new(Network::of(&NAMES, 1));
    bed.client.cut("two").unwrap();
    let mut beacons = Client::connect(bed.folder.path()).unwrap().follow().unwrap();
    let mut next = || beacons.next(Deadline::after(SOON)).unwrap().unwrap();
    // Whatever address it gives: the cable says who it is.
    bed.plugs[1].send(&beacon(1, "unit 7 runs"));
    let first = next();
    assert_eq!((first.machine.as_str(), first.text.as_str()), ("two", "unit 7 runs"));
    bed.plugs[0].send(&beacon(1, "unit 8 runs"));
    let second = next();
    assert_eq!((second.machine.as_str(), second.text.as_str()), ("one", "unit 8 runs"));
    assert!(second.at_ns > first.at_ns);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let ago = now.saturating_sub(Duration::from_nanos(second.at_ns));
    assert!(ago < SOON, "{ago:?}");
    // Who comes late hears all of it, and who looks later finds it in the folder.
    let mut late = Client::connect(bed.folder.path()).unwrap().follow().unwrap();
    assert_eq!(late.next(Deadline::after(SOON)).unwrap(), Some(first));
    assert_eq!(late.next(Deadline::after(SOON)).unwrap(), Some(second));
    let history = history(bed.folder.path()).unwrap();
    assert_eq!(history.iter().map(|one| one.machine.as_str()).collect::<Vec<_>>(), ["two", "one"]);
}

#[test]
fn many_beacons_are_told_to_who_comes_late_and_one_who_reads_none_disturbs_nobody() {
    let mut bed = Bed::new(Network::of(&NAMES, 1));
    let mut deaf = Client::connect(bed.folder.path()).unwrap().follow().unwrap();
    let text = "x".repeat(1000);
    for _ in 0..20_000 {
        bed.plugs[0].send(&beacon(1, &text));
    }
    let mut late = Client::connect(bed.folder.path()).unwrap().follow().unwrap();
    for number in 0..20_000 {
        let told = late.next(Deadline::after(SOON)).unwrap();
        assert!(told.is_some_and(|told| told.text == text), "{number}");
    }
    assert!(deaf.next(Deadline::after(SOON)).unwrap().is_some(), "it may begin at any time");
}

#[test]
fn a_switch_ends_when_it_is_told_and_when_it_is_dropped_even_without_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Switch::new(Network::of(&NAMES, 1), folder.path()).unwrap();
    let thread = std::thread::spawn(|| switch.run());
    Client::connect(folder.path()).unwrap().stop().unwrap();
    thread.join().unwrap().unwrap();
    let running = Switch::start(Network::of(&NAMES, 1), folder.path()).unwrap();
    let mut plug = Plug::new(folder.path(), "one");
    drop(folder);
    drop(running);
    assert!(plug.is_closed());
}

#[test]
fn a_second_switch_in_the_same_folder_is_refused_and_the_first_goes_on() {
    let mut bed = Bed::new(Network::of(&NAMES, 1));
    let error = Switch::start(Network::of(&NAMES, 1), bed.folder.path()).unwrap_err();
    assert!(error.to_string().contains("one runs there already"), "{error}");
    assert_eq!(bed.heard(), all());
}

#[test]
fn a_network_that_cannot_be_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = Switch::start(Network::of(&["a", "a"], 1), folder.path()).unwrap_err();
    assert!(matches!(error, SwitchError::Topology(_)), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let error = Client::connect(folder.path()).unwrap_err();
    assert!(error.to_string().contains("it runs while its network is up"), "{error}");
    let absent = Path::new("/nonexistent/folder");
    let error = Switch::start(Network::of(&["a"], 1), absent).unwrap_err();
    assert!(matches!(error, SwitchError::LayOut { .. }), "{error}");
}
