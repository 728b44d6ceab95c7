//! Ways between the host and machines, with what people use.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Instant;

use ferrite_vm::switch::client::Client;
use ferrite_vm::switch::topology::{Network, Service};
use ferrite_vm::switch::{Running, Switch};

use super::room::{Room, inside};
use super::wire::SOON;

const MUCH_BYTES: usize = 100 << 20;

struct Bed {
    folder: tempfile::TempDir,
    room: Room,
    /// A service of the host, at the gateway's port 5000.
    service: TcpListener,
    _switch: Running,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = service.local_addr().unwrap();
        let services = vec![Service { name: "registry".to_owned(), port: 5000, host }];
        let network = Network { services, ..Network::of(&["one"], 3) };
        let switch = Switch::start(network.clone(), folder.path()).unwrap();
        let room = Room::new(&network, folder.path(), "one").addressed(&network, "one");
        room.reaches("192.168.1.1", &[]);
        Self { folder, room, service, _switch: switch }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn client(&self) -> Client {
        Client::connect(self.folder.path()).unwrap()
    }

    fn published(&self, port: u16) -> std::net::SocketAddr {
        self.client().publish("one", port, None).unwrap()
    }
}

/// Bytes that no two places share.
fn much() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(next).take(MUCH_BYTES / 8).flat_map(u64::to_le_bytes).collect()
}

#[test]
fn curl_fetches_and_sends_much_through_both_ways() {
    inside("ways::curl_fetches_and_sends_much_through_both_ways", || {
        let bed = Bed::new();
        let much = much();
        let (given, fetched) = (bed.file("given"), bed.file("fetched"));
        std::fs::write(&given, &much).unwrap();
        // The host fetches from a machine.
        let at = bed.published(8080);
        let web = ["busybox", "httpd", "-p", "8080", "-h", &bed.file(""), "-v", "-f"];
        let mut web = bed.room.command(&web).stderr(Stdio::null()).spawn().unwrap();
        let mut curl = std::process::Command::new("curl");
        let url = format!("http://{at}/given");
        curl.args(["-sSf", "--retry", "30", "--retry-all-errors", "--retry-delay", "1", "-o"]);
        super::room::run(curl.arg(&fetched).arg(url));
        assert!(std::fs::read(&fetched).unwrap() == much, "what the host fetched is other");
        web.kill().unwrap();
        web.wait().unwrap();
        // A machine fetches from the host over IPv4, and sends to it over IPv6.
        let service = bed.service.try_clone().unwrap();
        let served = std::thread::spawn(move || serve(&service));
        std::fs::remove_file(&fetched).unwrap();
        let url = "http://192.168.1.1:5000/much";
        bed.room.run(&["curl", "-sSf", "-o", &fetched, url]);
        assert!(std::fs::read(&fetched).unwrap() == much, "what the machine fetched is other");
        // The kernel may still be making itself an address of the other kind.
        let url = "http://[fd66:6572:7269:1::1]:5000/much";
        let retry = ["--retry", "30", "--retry-all-errors", "--retry-delay", "1"];
        let words = [&["curl", "-sSf", "-H", "Expect:", "-T", &given][..], &retry, &[url]].concat();
        let said = bed.room.run(&words);
        assert_eq!(said, "thanks");
        assert!(served.join().unwrap() == much, "what the machine sent is other");
    });
}

/// Gives much to the first who asks, and takes much from the second.
fn serve(service: &TcpListener) -> Vec<u8> {
    let (mut stream, _) = service.accept().unwrap();
    head(&mut stream);
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {MUCH_BYTES}\r\n\r\n").unwrap();
    stream.write_all(&much()).unwrap();
    let (mut stream, _) = service.accept().unwrap();
    head(&mut stream);
    let mut body = vec![0; MUCH_BYTES];
    stream.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nthanks").unwrap();
    body
}

fn head(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut byte = [0];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}

#[test]
fn the_host_sends_much_and_each_direction_has_its_own_end() {
    inside("ways::the_host_sends_much_and_each_direction_has_its_own_end", || {
        let bed = Bed::new();
        let at = bed.published(9000);
        let much = much();
        let expected = {
            let mut sum = std::process::Command::new("sha256sum");
            let given = bed.file("given");
            std::fs::write(&given, &much).unwrap();
            super::room::run(sum.stdin(File::open(given).unwrap()))
        };
        // It answers once it has heard the end.
        let mut nc = bed.room.command(&["busybox", "nc", "-l", "-p", "9000", "-e", "sha256sum"]);
        let mut nc = nc.spawn().unwrap();
        let begin = Instant::now();
        let answer = loop {
            assert!(begin.elapsed() < 3 * SOON, "nobody answers");
            let mut stream = TcpStream::connect(at).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut answer = String::new();
            // Until it listens, the machine refuses, and that is heard.
            if stream.write_all(&much).is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
                drop(stream.read_to_string(&mut answer));
            }
            if !answer.is_empty() {
                break answer;
            }
        };
        assert_eq!(answer, expected);
        nc.wait().unwrap();
    });
}

#[test]
fn ways_that_lead_nowhere_end_at_once() {
    inside("ways::ways_that_lead_nowhere_end_at_once", || {
        let bed = Bed::new();
        let at = bed.client().publish("one", 9, None).unwrap();
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut rest = Vec::new();
        let heard = stream.read_to_end(&mut rest);
        assert!(heard.is_err() || rest.is_empty(), "{heard:?}");
        bed.client().unpublish(at.port()).unwrap();
        let error = TcpStream::connect(at).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        // The host's service is not there any more, and what was never offered is not either.
        let Bed { room, service, folder, _switch } = bed;
        drop(service);
        for port in ["5000", "5001", "22"] {
            let url = format!("http://192.168.1.1:{port}/");
            let output = room.try_run(&["curl", "-sS", "-m", "60", &url]);
            let code = output.status.code();
            let said = String::from_utf8_lossy(&output.stderr);
            // 7: refused, 56: reset.
            assert!(matches!(code, Some(7 | 56)), "{port}: {code:?} {said}");
        }
        drop(folder);
    });
}

#[test]
fn a_port_of_all_machines_leads_to_one_that_takes_it() {
    inside("ways::a_port_of_all_machines_leads_to_one_that_takes_it", || {
        let folder = tempfile::tempdir().unwrap();
        let network = Network::of(&["off", "one", "two"], 3);
        let _switch = Switch::start(network.clone(), folder.path()).unwrap();
        let rooms = ["one", "two"].map(|name| {
            let room = Room::new(&network, folder.path(), name).addressed(&network, name);
            room.reaches("192.168.1.1", &[]);
            std::fs::write(folder.path().join(name), name).unwrap();
            room
        });
        let mut client = Client::connect(folder.path()).unwrap();
        let at = client.publish_any(8080, None).unwrap();
        let status = client.status().unwrap();
        assert_eq!((&status.published[0].machine, status.published[0].port), (&None, 8080));
        // One of them serves, then the other one does; who is off and who refuses are passed over.
        for (room, name) in rooms.iter().zip(["one", "two"]).rev() {
            let file = folder.path().join(name).display().to_string();
            let words = ["busybox", "httpd", "-p", "8080", "-h", "/", "-f"];
            let mut web = room.command(&words).stderr(Stdio::null()).spawn().unwrap();
            let mut curl = std::process::Command::new("curl");
            curl.args(["-sSf", "--retry", "30", "--retry-all-errors", "--retry-delay", "1"]);
            assert_eq!(super::room::run(curl.arg(format!("http://{at}{file}"))), name);
            web.kill().unwrap();
            web.wait().unwrap();
        }
        // Nobody does: the connection ends.
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let heard = stream.read(&mut [0]).map_err(|error| error.kind());
        assert!(matches!(heard, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "{heard:?}");
    });
}

#[test]
fn a_machine_that_has_said_all_is_still_answered() {
    inside("ways::a_machine_that_has_said_all_is_still_answered", || {
        let bed = Bed::new();
        let service = bed.service.try_clone().unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = service.accept().unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut heard = String::new();
            stream.read_to_string(&mut heard).unwrap();
            stream.write_all(b"bye").unwrap();
            heard
        });
        let words = "printf hello | busybox nc 192.168.1.1 5000";
        assert_eq!(bed.room.run(&["sh", "-c", words]), "bye");
        assert_eq!(served.join().unwrap(), "hello");
    });
}

#[test]
fn nobody_waits_long_for_a_machine_that_is_off() {
    let folder = tempfile::tempdir().unwrap();
    let _switch = Switch::start(Network::of(&["one"], 3), folder.path()).unwrap();
    let at = Client::connect(folder.path()).unwrap().publish("one", 22, None).unwrap();
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let heard = stream.read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(heard, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "{heard:?}");
}

#[test]
fn the_metadata_address_has_no_documents() {
    inside("ways::the_metadata_address_has_no_documents", || {
        let bed = Bed::new();
        let url = "http://169.254.169.254/latest/meta-data/";
        let words = ["curl", "-sS", "-m", "60", "-o", "/dev/null", "-w", "%{http_code}"];
        let status = |url: &str| bed.room.run(&[&words[..], &[url]].concat());
        assert_eq!(status(url), "404");
        let output = bed.room.try_run(&["busybox", "wget", "-O", "-", url]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("404 Not Found"), "{said}");
        // It is the metadata address's alone.
        let output = bed.room.try_run(&["curl", "-sS", "-m", "60", "http://192.168.1.1/"]);
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        // Also for a machine that has no address but one of the link.
        bed.room.run(&["ip", "address", "flush", "dev", "eth0"]);
        bed.room.run(&["ip", "address", "add", "169.254.3.4/16", "dev", "eth0"]);
        assert_eq!(status(url), "404");
    });
}
