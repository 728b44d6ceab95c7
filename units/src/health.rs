//! Looking at a unit's health, once: a command in its container, a request or a connection to it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ferrite_schema::api::Exit;
use ferrite_schema::unit::{Health, Probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::exec;

/// Longest first line of an answer that is read.
const STATUS_MAX_BYTES: u64 = 256;

/// Part of a command's words that its failure carries.
const WORDS_MAX_CHARS: usize = 200;

/// What a look did not find in order, one sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The unit.
    Unit(String),
    /// The node, which could not look: of the unit nothing is known.
    Node(String),
}

/// Looks at the health of the unit whose run folder, address and cgroup are given.
///
/// # Errors
/// Something is wrong.
pub async fn look(
    folder: &Path,
    health: &Health,
    address: IpAddr,
    cgroup: &Path,
) -> Result<(), Wrong> {
    let refused = refused_processes(cgroup);
    let looked = probe(folder, health, address).await;
    looked.map_err(|wrong| match (refused < refused_processes(cgroup), wrong) {
        // The unit's own bound, whoever met it.
        (true, Wrong::Unit(why) | Wrong::Node(why)) => {
            Wrong::Unit(format!("{why}; {}", too_many_processes(cgroup)))
        }
        (false, wrong) => wrong,
    })
}

/// How often a process was not made because there were as many as there may be.
fn refused_processes(cgroup: &Path) -> u64 {
    let events = fs::read_to_string(cgroup.join("pids.events")).unwrap_or_default();
    let count = events.lines().find_map(|line| line.strip_prefix("max "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn too_many_processes(cgroup: &Path) -> String {
    let most = fs::read_to_string(cgroup.join("pids.max")).unwrap_or_default();
    let own = most.trim().parse::<u64>().map(|most| format!(" (pids_max = {most})"));
    format!("it may not have more processes than it has{}", own.unwrap_or_default())
}

async fn probe(folder: &Path, health: &Health, address: IpAddr) -> Result<(), Wrong> {
    let within = Duration::from_secs(health.timeout_s.into());
    let none = || Wrong::Unit("the check is none".to_owned());
    let probe = health.probe().ok_or_else(none)?;
    let looked = async {
        let asked = match probe {
            Probe::Exec(command) => return exec(folder, command, within).await,
            Probe::Http { port, path } => http(SocketAddr::new(address, port), path).await,
            Probe::Tcp(port) => connect(SocketAddr::new(address, port)).await.map(drop),
        };
        asked.map_err(Wrong::Unit)
    };
    let silent = |_elapsed| Wrong::Unit(format!("no answer within {} s", within.as_secs()));
    tokio::time::timeout(within, looked).await.map_err(silent)?
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| format!("connect to {address}: {error}"))
}

async fn http(address: SocketAddr, path: &str) -> Result<(), String> {
    let mut stream = connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: ferrite-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    let broke = |error: std::io::Error| format!("ask {address}{path}: {error}");
    stream.write_all(request.as_bytes()).await.map_err(broke)?;
    let mut answer = Vec::new();
    let mut reader = stream.take(STATUS_MAX_BYTES);
    while !answer.contains(&b'\n') {
        if reader.read_buf(&mut answer).await.map_err(broke)? == 0 {
            break;
        }
    }
    match status(&answer) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("{address}{path} answered with status {status}")),
        None => Err(format!("{address}{path} did not answer in HTTP")),
    }
}

/// The status code of an answer's first line.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let version = words.next()?;
    version.starts_with("HTTP/1.").then_some(())?;
    words.next()?.parse().ok()
}

async fn exec(folder: &Path, command: &[String], within: Duration) -> Result<(), Wrong> {
    let ran = exec::check(folder, command, within).await.map_err(|error| {
        let why = ferrite_schema::chain(&error);
        if error.is_nodes() { Wrong::Node(why) } else { Wrong::Unit(why) }
    })?;
    let how = match ran.exit {
        Exit::Status { code: 0 } => return Ok(()),
        Exit::Status { code } => format!("ended with status {code}"),
        Exit::Signal { signal } => format!("was ended by signal {signal}"),
    };
    let program = command.first().map(String::as_str).unwrap_or_default();
    Err(Wrong::Unit(
        match ran.output.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
            Some(line) => {
                let line: String = line.chars().take(WORDS_MAX_CHARS).collect();
                format!("`{program}` {how}: {line}")
            }
            None => format!("`{program}` {how}"),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 404\n", Some(404)),
            ("SSH-2.0-x\r\n", None),
            ("HTTP/1.1\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(answer.as_bytes()), expected, "{answer:?}");
        }
    }

    /// The words of a shell that cannot fork say nothing about why.
    #[test]
    fn a_limit_that_was_reached_meanwhile_is_named() {
        let cgroup = tempfile::tempdir().unwrap();
        let cgroup = cgroup.path();
        assert_eq!(refused_processes(cgroup), 0);
        fs::write(cgroup.join("pids.max"), "64\n").unwrap();
        let health = ferrite_schema::unit::parse(
            "name = \"a\"\nimage = \"i\"\n[health]\ntcp = 1\ntimeout_s = 5",
        );
        let health = health.unwrap().health.unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // Nobody accepts on it but to be told that the check has begun.
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let health = Health { tcp: None, http: Some(format!(":{port}/x")), ..health };
            let address = IpAddr::from([127, 0, 0, 1]);
            for (count, named) in [(0, false), (3, true), (3, false), (4, true)] {
                let refuses = async {
                    let (stream, _) = listener.accept().await.unwrap();
                    fs::write(cgroup.join("pids.events"), format!("max {count}\n")).unwrap();
                    drop(stream);
                };
                let (looked, ()) = tokio::join!(look(cgroup, &health, address, cgroup), refuses);
                let Err(Wrong::Unit(why)) = looked else { panic!("{looked:?}") };
                assert_eq!(why.ends_with("than it has (pids_max = 64)"), named, "{why}");
            }
        });
    }

    /// A server that answers one connection with `answer`.
    async fn served(answer: &'static str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            assert_ne!(stream.read(&mut request).await.unwrap(), 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        address
    }

    /// That the node cannot begin a command says nothing about the unit.
    #[test]
    fn a_look_that_the_node_cannot_make_is_the_nodes_fault() {
        let health = ferrite_schema::unit::parse(
            "name = \"a\"\nimage = \"i\"\n[health]\nexec = [\"/bin/true\"]",
        );
        let health = health.unwrap().health.unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = IpAddr::from([127, 0, 0, 1]);
        // No process can begin to work in it.
        let folder = Path::new("/no/such/folder");
        let looked = runtime.block_on(look(folder, &health, address, folder));
        let Err(Wrong::Node(why)) = looked else { panic!("{looked:?}") };
        assert!(why.starts_with("start a process for the command"), "{why}");
    }

    #[test]
    fn a_server_is_asked() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let address = served("HTTP/1.1 204 No Content\r\n\r\n").await;
            assert_eq!(http(address, "/x").await, Ok(()));
            let address = served("HTTP/1.1 500 Oh\r\n\r\n").await;
            let error = http(address, "/x").await.unwrap_err();
            assert!(error.ends_with("/x answered with status 500"), "{error}");
            let free = {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                listener.local_addr().unwrap()
            };
            assert!(connect(free).await.unwrap_err().contains("connect to"));
        });
    }
}
