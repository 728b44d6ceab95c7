//! The other end of a switch's control socket.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cable::connect;
use super::control::{Answer, CONTROL_SOCKET, Command, Status};
use super::faults::Faults;
use super::recorder::Beacon;
use super::topology::Station;
use crate::deadline::{Deadline, wait_readable};

/// How long a switch may take to answer: it does between two frames.
const ANSWER: Duration = Duration::from_secs(30);

/// Why a switch did not do what it was told.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ControlError {
    #[error("connect to the switch at {}; it runs while its network is up", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("talk to the switch")]
    Talk { source: io::Error },
    #[error("talk to the switch: it closed the connection")]
    Closed,
    #[error("wait for the switch: it did not answer in time")]
    Wait,
    #[error("talk to the switch: it said {line:?}, which is no answer")]
    Understand { line: String },
    #[error("the switch refused: {reason}")]
    Refused { reason: String },
}

/// A connection to a switch.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    heard: Vec<u8>,
}

impl Client {
    /// Connects to the switch whose network has this folder.
    ///
    /// # Errors
    /// None runs.
    pub fn connect(folder: &Path) -> Result<Self, ControlError> {
        let path = folder.join(CONTROL_SOCKET);
        match connect(&path) {
            Ok(stream) => Ok(Self { stream, heard: Vec::new() }),
            Err(source) => Err(ControlError::Connect { path, source }),
        }
    }

    /// How everything is.
    ///
    /// # Errors
    /// The switch does not answer.
    pub fn status(&mut self) -> Result<Status, ControlError> {
        match self.ask(&Command::Status {})? {
            Answer::Status(status) => Ok(status),
            other => Err(strange(&other)),
        }
    }

    /// Pulls a machine's cable out: nothing passes to it nor from it, from nobody.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn cut(&mut self, machine: &str) -> Result<(), ControlError> {
        self.tell(&Command::Cut { from: Some(machine.to_owned()), to: None, both: true })
    }

    /// Cuts one direction between two.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn cut_one_way(&mut self, from: &str, to: &str) -> Result<(), ControlError> {
        let (from, to) = (Some(from.to_owned()), Some(to.to_owned()));
        self.tell(&Command::Cut { from, to, both: false })
    }

    /// Makes the links from here to there do this; `None` is everybody.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn fault(
        &mut self,
        from: Option<&str>,
        to: Option<&str>,
        faults: Faults,
    ) -> Result<(), ControlError> {
        let (from, to) = (from.map(str::to_owned), to.map(str::to_owned));
        self.tell(&Command::Fault { from, to, faults })
    }

    /// Parts the machines into groups that do not reach one another. The gateway stays with all, unless it is in one.
    ///
    /// # Errors
    /// A machine is in no group, in two, or is none.
    pub fn partition(&mut self, groups: &[&[&str]]) -> Result<(), ControlError> {
        let owned = |group: &&[&str]| group.iter().map(|name| (*name).to_owned()).collect();
        self.tell(&Command::Partition { groups: groups.iter().map(owned).collect() })
    }

    /// Makes all links, or those of one machine, what the topology declares.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn heal(&mut self, machine: Option<&str>) -> Result<(), ControlError> {
        self.tell(&Command::Heal { machine: machine.map(str::to_owned) })
    }

    /// Publishes a machine's port on the host's loopback, at `host_port` or one that the kernel chooses.
    ///
    /// # Errors
    /// There is no such machine, or the host's port is taken.
    pub fn publish(
        &mut self,
        machine: &str,
        port: u16,
        host_port: Option<u16>,
    ) -> Result<SocketAddr, ControlError> {
        self.ask_to_publish(Some(machine.to_owned()), port, host_port)
    }

    /// Publishes a port of all machines on the host's loopback: each connection goes to one that takes it.
    ///
    /// # Errors
    /// The host's port is taken.
    pub fn publish_any(
        &mut self,
        port: u16,
        host_port: Option<u16>,
    ) -> Result<SocketAddr, ControlError> {
        self.ask_to_publish(None, port, host_port)
    }

    fn ask_to_publish(
        &mut self,
        machine: Option<String>,
        port: u16,
        host_port: Option<u16>,
    ) -> Result<SocketAddr, ControlError> {
        match self.ask(&Command::Publish { machine, port, host_port })? {
            Answer::Published(at) => Ok(at),
            other => Err(strange(&other)),
        }
    }

    /// Ends what is published at a port of the host.
    ///
    /// # Errors
    /// Nothing is.
    pub fn unpublish(&mut self, host_port: u16) -> Result<(), ControlError> {
        self.tell(&Command::Unpublish { host_port })
    }

    /// Gives a machine another address, from its next lease on.
    ///
    /// # Errors
    /// There is no such machine, or the address is not its network's.
    pub fn readdress(&mut self, machine: &str, address: Ipv4Addr) -> Result<(), ControlError> {
        self.tell(&Command::Readdress { machine: machine.to_owned(), address })
    }

    /// Adds a machine.
    ///
    /// # Errors
    /// Its name is taken, or its cable cannot be laid.
    pub fn add(&mut self, machine: Station) -> Result<(), ControlError> {
        self.tell(&Command::Add { machine })
    }

    /// Ends the switch.
    ///
    /// # Errors
    /// It does not answer.
    pub fn stop(&mut self) -> Result<(), ControlError> {
        self.tell(&Command::Stop {})
    }

    /// Hears every beacon from the first on, on this connection.
    ///
    /// # Errors
    /// The switch does not listen.
    pub fn follow(mut self) -> Result<Beacons, ControlError> {
        self.say(&Command::Follow {})?;
        Ok(Beacons(self))
    }

    fn tell(&mut self, command: &Command) -> Result<(), ControlError> {
        match self.ask(command)? {
            Answer::Done => Ok(()),
            other => Err(strange(&other)),
        }
    }

    fn ask(&mut self, command: &Command) -> Result<Answer, ControlError> {
        self.say(command)?;
        self.hear(Deadline::after(ANSWER))?.ok_or(ControlError::Wait)
    }

    fn say(&mut self, command: &Command) -> Result<(), ControlError> {
        let mut line = serde_json::to_vec(command)
            .map_err(|error| ControlError::Talk { source: error.into() })?;
        line.push(b'\n');
        self.stream.write_all(&line).map_err(|source| ControlError::Talk { source })
    }

    /// The next answer; `None` when the deadline passes first.
    fn hear(&mut self, deadline: Deadline) -> Result<Option<Answer>, ControlError> {
        let talk = |source| ControlError::Talk { source };
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return match serde_json::from_slice(&line) {
                    Ok(Answer::Refused(reason)) => Err(ControlError::Refused { reason }),
                    Ok(answer) => Ok(Some(answer)),
                    Err(_) => {
                        let line = String::from_utf8_lossy(&line).into_owned();
                        Err(ControlError::Understand { line })
                    }
                };
            }
            if wait_readable(&[self.stream.as_fd()], deadline).map_err(talk)?.is_none() {
                return Ok(None);
            }
            let mut piece = [0; 4096];
            let length = self.stream.read(&mut piece).map_err(talk)?;
            if length == 0 {
                return Err(ControlError::Closed);
            }
            self.heard.extend_from_slice(piece.get(..length).unwrap_or_default());
        }
    }
}

/// Beacons as they are heard.
#[derive(Debug)]
pub struct Beacons(Client);

impl Beacons {
    /// The next one; `None` when the deadline passes first.
    ///
    /// # Errors
    /// The switch has ended.
    pub fn next(&mut self, deadline: Deadline) -> Result<Option<Beacon>, ControlError> {
        match self.0.hear(deadline)? {
            Some(Answer::Beacon(beacon)) => Ok(Some(beacon)),
            Some(other) => Err(strange(&other)),
            None => Ok(None),
        }
    }
}

fn strange(answer: &Answer) -> ControlError {
    ControlError::Understand { line: format!("{answer:?}") }
}
