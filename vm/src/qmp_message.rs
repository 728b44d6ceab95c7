//! Messages of QEMU's machine protocol.

use serde::Deserialize;
use serde_json::Value;

/// Something that happened to a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `SHUTDOWN`, `RESET`, `WATCHDOG`, `POWERDOWN`, `STOP`, `RESUME`, ….
    pub name: String,
    /// What the event says about itself.
    pub data: Value,
}

/// A message from QEMU.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    /// First message of a connection.
    Greeting,
    /// A command succeeded.
    Return(Value),
    /// A command failed.
    Error(String),
    /// Something happened.
    Event(Event),
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    #[serde(rename = "return")]
    returned: Option<Value>,
    error: Option<RawError>,
    event: Option<String>,
    data: Option<Value>,
}

#[derive(Deserialize)]
struct RawError {
    desc: String,
}

/// Reads one line; `None` where it is no message of the protocol.
pub(crate) fn parse(line: &[u8]) -> Option<Message> {
    let raw: Raw = serde_json::from_slice(line).ok()?;
    match raw {
        Raw { event: Some(name), data, .. } => {
            Some(Message::Event(Event { name, data: data.unwrap_or_default() }))
        }
        Raw { error: Some(error), .. } => Some(Message::Error(error.desc)),
        Raw { returned: Some(value), .. } => Some(Message::Return(value)),
        Raw { greeting: Some(_), .. } => Some(Message::Greeting),
        Raw { .. } => None,
    }
}

/// Finds the host's port of each forwarded TCP port in the answer to `info usernet`:
///
/// ```text
/// Hub -1 (net0):
///   Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
///   TCP[HOST_FORWARD]  14       127.0.0.1 45431       10.0.2.15  7443     0     0
/// ```
pub(crate) fn parse_forwards(text: &str) -> Vec<(u16, u16)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            words.next().filter(|word| *word == "TCP[HOST_FORWARD]")?;
            let host_port = words.nth(2)?.parse().ok()?;
            let guest_port = words.nth(1)?.parse().ok()?;
            Some((guest_port, host_port))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(line: &str, expected: Option<Message>) {
        assert_eq!(parse(line.as_bytes()), expected, "{line}");
    }

    #[test]
    fn messages_are_told_apart() {
        check(r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#, Some(Message::Greeting));
        check(r#"{"return": {}}"#, Some(Message::Return(json!({}))));
        check(
            r#"{"return": {"running": true, "status": "running"}, "id": 3}"#,
            Some(Message::Return(json!({"running": true, "status": "running"}))),
        );
        check(
            r#"{"error": {"class": "GenericError", "desc": "no such device"}}"#,
            Some(Message::Error("no such device".to_owned())),
        );
        check(
            r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true}}"#,
            Some(Message::Event(Event {
                name: "SHUTDOWN".to_owned(),
                data: json!({"guest": true}),
            })),
        );
        check(
            r#"{"timestamp": {}, "event": "POWERDOWN"}"#,
            Some(Message::Event(Event { name: "POWERDOWN".to_owned(), data: Value::Null })),
        );
        check("{}", None);
        check("", None);
        check(r#"{"return""#, None);
    }

    #[test]
    fn forwards_are_read_and_other_sockets_are_not() {
        let text = "Hub -1 (net0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
                    TCP[ESTABLISHED]   20       10.0.2.15 40000        10.0.2.2    80     0     0\r\n  \
                    TCP[HOST_FORWARD]  14       127.0.0.1 45431       10.0.2.15  7443     0     0\r\n  \
                    TCP[HOST_FORWARD]  15       127.0.0.1 45432       10.0.2.15  8080     0     0\r\n";
        assert_eq!(parse_forwards(text), [(7443, 45431), (8080, 45432)]);
        assert_eq!(parse_forwards(""), []);
        assert_eq!(parse_forwards("  TCP[HOST_FORWARD]  14 127.0.0.1 x 10.0.2.15 7443"), []);
    }
}
