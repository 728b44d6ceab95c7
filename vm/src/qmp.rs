//! A client of QEMU's machine protocol (QMP): commands, and events that can be awaited.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::deadline::{Deadline, wait_readable};
pub use crate::qmp_message::Event;
use crate::qmp_message::{self, Message};

/// How long QEMU may take to answer a command. It answers between two slices of guest code; only a host
/// that swaps or is starved makes that long.
const ANSWER: Duration = Duration::from_secs(60);
/// Events kept for [`Qmp::wait_event`]; the oldest go first.
const EVENTS_MAX: usize = 1024;
/// Longest message; the protocol's own limit for what it reads is 64 MiB, its answers to us are small.
const MESSAGE_MAX_BYTES: usize = 1 << 20;

/// What went wrong between us and QEMU.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum QmpError {
    #[error("talk to QEMU")]
    Talk { source: io::Error },
    #[error("talk to QEMU: it closed the connection")]
    Closed,
    #[error("talk to QEMU: it said {line:?}, which is no message of its protocol")]
    Understand { line: String },
    #[error("wait for QEMU: no answer to {command} in time")]
    Answer { command: String },
    #[error("run QEMU command {command}: {message}")]
    Refused { command: String, message: String },
    #[error("wait for one of the events {names:?}: none came in time")]
    Event { names: Vec<String> },
}

/// A connection.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    received: Vec<u8>,
    events: VecDeque<Event>,
}

impl Qmp {
    /// Takes over a fresh connection: reads the greeting and leaves negotiation mode. When this returns,
    /// QEMU has finished its start-up.
    ///
    /// # Errors
    /// QEMU does not greet, or ends meanwhile.
    pub fn negotiate(stream: UnixStream, deadline: Deadline) -> Result<Self, QmpError> {
        let mut qmp = Self { stream, received: Vec::new(), events: VecDeque::new() };
        match qmp.receive(deadline)? {
            Some(Message::Greeting) => {}
            Some(other) => return Err(QmpError::Understand { line: format!("{other:?}") }),
            None => return Err(QmpError::Answer { command: "connect".to_owned() }),
        }
        qmp.execute_until("qmp_capabilities", &json!({}), deadline)?;
        Ok(qmp)
    }

    /// Runs a command and returns its answer. Events that arrive meanwhile are kept.
    ///
    /// # Errors
    /// QEMU refuses, or does not answer.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        self.execute_until(command, arguments, Deadline::after(ANSWER))
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn power_button(&mut self) -> Result<(), QmpError> {
        self.execute("system_powerdown", &json!({})).map(drop)
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn reset(&mut self) -> Result<(), QmpError> {
        self.execute("system_reset", &json!({})).map(drop)
    }

    /// Ends QEMU in order: disk files are completed. For the guest it is a power cut after a flush.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn quit(&mut self) -> Result<(), QmpError> {
        match self.execute("quit", &json!({})) {
            // It may be gone before its answer is out.
            Ok(_) | Err(QmpError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Freezes the guest.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn pause(&mut self) -> Result<(), QmpError> {
        self.execute("stop", &json!({})).map(drop)
    }

    /// Lets a frozen guest go on.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn resume(&mut self) -> Result<(), QmpError> {
        self.execute("cont", &json!({})).map(drop)
    }

    /// Presses keys together: `["ctrl", "alt", "delete"]`. Names as in QEMU's `QKeyCode`.
    ///
    /// # Errors
    /// As [`Self::execute`]; a key has no such name.
    pub fn press(&mut self, keys: &[&str]) -> Result<(), QmpError> {
        let keys: Vec<Value> =
            keys.iter().map(|key| json!({"type": "qcode", "data": key})).collect();
        self.execute("send-key", &json!({ "keys": keys })).map(drop)
    }

    /// State of the guest: `running`, `paused`, `shutdown`, ….
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn status(&mut self) -> Result<String, QmpError> {
        let answer = self.execute("query-status", &json!({}))?;
        Ok(answer.get("status").and_then(Value::as_str).unwrap_or("unknown").to_owned())
    }

    /// Pairs of guest port and the host port that leads to it.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn forwards(&mut self) -> Result<Vec<(u16, u16)>, QmpError> {
        let answer =
            self.execute("human-monitor-command", &json!({"command-line": "info usernet"}))?;
        Ok(qmp_message::parse_forwards(answer.as_str().unwrap_or_default()))
    }

    /// Waits for an event with one of `names`, also among those that came before and were not asked for
    /// yet. Events before it are dropped.
    ///
    /// # Errors
    /// None came in time, or QEMU ended.
    pub fn wait_event(&mut self, names: &[&str], deadline: Deadline) -> Result<Event, QmpError> {
        loop {
            while let Some(event) = self.events.pop_front() {
                if names.contains(&event.name.as_str()) {
                    return Ok(event);
                }
            }
            match self.receive(deadline)? {
                Some(Message::Event(event)) => self.keep(event),
                Some(_) => {}
                None => {
                    let names = names.iter().map(|name| (*name).to_owned()).collect();
                    return Err(QmpError::Event { names });
                }
            }
        }
    }

    /// Forgets all events so far.
    pub fn clear_events(&mut self) {
        self.events.clear();
    }

    fn execute_until(
        &mut self,
        command: &str,
        arguments: &Value,
        deadline: Deadline,
    ) -> Result<Value, QmpError> {
        let mut line = json!({"execute": command, "arguments": arguments}).to_string();
        line.push('\n');
        self.stream.write_all(line.as_bytes()).map_err(|source| match source.kind() {
            io::ErrorKind::BrokenPipe => QmpError::Closed,
            _ => QmpError::Talk { source },
        })?;
        loop {
            match self.receive(deadline)? {
                Some(Message::Return(value)) => return Ok(value),
                Some(Message::Error(message)) => {
                    return Err(QmpError::Refused { command: command.to_owned(), message });
                }
                Some(Message::Event(event)) => self.keep(event),
                Some(Message::Greeting) => {}
                None => return Err(QmpError::Answer { command: command.to_owned() }),
            }
        }
    }

    fn keep(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The next message; `None` when the deadline passes first.
    fn receive(&mut self, deadline: Deadline) -> Result<Option<Message>, QmpError> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let message = qmp_message::parse(&line).ok_or_else(|| QmpError::Understand {
                    line: String::from_utf8_lossy(&line).trim().to_owned(),
                })?;
                return Ok(Some(message));
            }
            if self.received.len() > MESSAGE_MAX_BYTES {
                let line = format!("{} bytes without an end", self.received.len());
                return Err(QmpError::Understand { line });
            }
            let ready = wait_readable(&[self.stream.as_fd()], deadline);
            if ready.map_err(|source| QmpError::Talk { source })?.is_none() {
                return Ok(None);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(QmpError::Closed),
                Ok(count) => self.received.extend(chunk.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(QmpError::Closed);
                }
                Err(source) => return Err(QmpError::Talk { source }),
            }
        }
    }
}

#[cfg(test)]
#[path = "qmp_tests.rs"]
mod tests;
