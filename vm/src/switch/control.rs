//! What a switch is told and asked while it runs, and what it answers: one JSON document per line, on a socket in the
//! network's folder.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::recorder::Beacon;
use super::topology::Station;

/// The socket in a network's folder.
pub const CONTROL_SOCKET: &str = "control.sock";

/// What a switch is told. Names are those of machines, and `gateway`; where there is none, everybody is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// How is everything?
    Status {},
    /// Let nothing pass from here to there.
    Cut {
        /// From here …
        from: Option<String>,
        /// … to there,
        to: Option<String>,
        /// and back.
        both: bool,
    },
    /// Let the links from here to there do this, and nothing else.
    Fault {
        /// From here …
        from: Option<String>,
        /// … to there.
        to: Option<String>,
        /// What they do.
        faults: Faults,
    },
    /// Cut all links between machines of different groups. Every machine is in exactly one; the gateway is in none and
    /// stays with all, or in one.
    Partition {
        /// The groups.
        groups: Vec<Vec<String>>,
    },
    /// Let links be again what the topology declares.
    Heal {
        /// Those to and from this machine.
        machine: Option<String>,
    },
    /// Publish a TCP port of a machine, or of whichever answers, on the host's loopback.
    Publish {
        /// The machine.
        machine: Option<String>,
        /// Its port.
        port: u16,
        /// The host's port; without one, the kernel chooses.
        host_port: Option<u16>,
    },
    /// Publish no longer what is published at this port of the host.
    Unpublish {
        /// The host's port.
        host_port: u16,
    },
    /// Give a machine another address with its next lease. Its name and its published ports lead there at once.
    Readdress {
        /// The machine.
        machine: String,
        /// The address.
        address: Ipv4Addr,
    },
    /// Add a machine, with a cable of its own.
    Add {
        /// The machine.
        machine: Station,
    },
    /// Say every beacon, from the first on.
    Follow {},
    /// End.
    Stop {},
}

/// What a switch answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is so now.
    Done,
    /// Nothing has changed, for this reason.
    Refused(String),
    /// How everything is.
    Status(Status),
    /// Here.
    Published(SocketAddr),
    /// A beacon, for who follows them.
    Beacon(Beacon),
}

/// How everything is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The machines.
    pub machines: Vec<MachineStatus>,
    /// Ports that are published.
    pub published: Vec<PublishedStatus>,
    /// Links that are not perfect.
    pub faults: Vec<FaultStatus>,
    /// What the switch could not do: write its capture, for one.
    pub troubles: Vec<String>,
}

/// How a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineStatus {
    /// Its name.
    pub name: String,
    /// Its QEMU is connected.
    pub plugged: bool,
    /// Frames for it that were lost because it did not take them.
    pub overrun: u64,
}

/// A port that is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedStatus {
    /// The machine; without one, whichever answers.
    pub machine: Option<String>,
    /// Its port.
    pub port: u16,
    /// Where on the host.
    pub at: SocketAddr,
}

/// A link that is not perfect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultStatus {
    /// From whom.
    pub from: String,
    /// To whom.
    pub to: String,
    /// What it does.
    pub faults: Faults,
}

/// Reads a command.
///
/// # Errors
/// It is none; the text says what is wrong with it.
pub(crate) fn parse(line: &[u8]) -> Result<Command, String> {
    serde_json::from_slice(line).map_err(|error| format!("read the command: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Command) {
        assert_eq!(parse(line.as_bytes()), Ok(expected), "{line}");
    }

    #[test]
    fn commands_are_lines_that_people_can_write() {
        check(r#"{"do":"status"}"#, Command::Status {});
        let cut = Command::Cut { from: Some("one".to_owned()), to: None, both: true };
        check(r#"{"do":"cut","from":"one","both":true}"#, cut);
        let faults = Faults { delay_ms: 5, ..Faults::default() };
        let fault = Command::Fault { from: None, to: Some("two".to_owned()), faults };
        check(r#"{"do":"fault","to":"two","faults":{"delay_ms":5}}"#, fault);
        check(r#"{"do":"heal"}"#, Command::Heal { machine: None });
        let publish = Command::Publish { machine: None, port: 80, host_port: Some(8080) };
        check(r#"{"do":"publish","port":80,"host_port":8080}"#, publish);
        let machine = Some("one".to_owned());
        let publish = Command::Publish { machine, port: 80, host_port: None };
        check(r#"{"do":"publish","machine":"one","port":80}"#, publish);
    }

    #[test]
    fn what_is_no_command_is_refused_with_what_is_wrong() {
        for (line, wrong) in [
            ("", "EOF"),
            ("heal", "expected"),
            (r#"{"do":"destroy"}"#, "destroy"),
            (r#"{"do":"status","now":1}"#, "now"),
            (r#"{"do":"cut","from":"one"}"#, "both"),
            (r#"{"do":"fault","faults":{"dely_ms":5}}"#, "dely_ms"),
            (r#"{"do":"fault","faults":{"loss":1000001}}"#, "more than all"),
            (r#"{"do":"publish","machine":"one","port":70000}"#, "70000"),
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(wrong), "{line}: {error}");
        }
    }
}
