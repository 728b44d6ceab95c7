//! The agent's side of PID 1's control socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ferrite_schema::control::{PACKET_MAX_BYTES, Request, Response};
use ferrite_schema::names;
use ferrite_schema::timeline::{Phase, Span};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};
use rustix::time::ClockId;

/// What PID 1 gets to answer: staging a slot reads and writes a disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// PID 1 could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskInit {
    /// It is not there.
    #[error("connect to PID 1 at {}", names::CONTROL_SOCKET)]
    Connect(#[source] io::Error),
    /// It did not answer.
    #[error("ask PID 1")]
    Exchange(#[source] io::Error),
    /// Its answer, or the question, is no document.
    #[error("read PID 1's answer")]
    Decode(#[from] serde_json::Error),
}

/// Asks one thing; blocks until it is answered.
///
/// # Errors
/// PID 1 may have done it or not.
pub fn ask(request: &Request) -> Result<Response, AskInit> {
    let socket = connect().map_err(AskInit::Connect)?;
    let answer = exchange(&socket, &serde_json::to_vec(request)?).map_err(AskInit::Exchange)?;
    Ok(serde_json::from_slice(&answer)?)
}

fn connect() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(names::CONTROL_SOCKET)?)?;
    Ok(socket)
}

fn exchange(socket: &OwnedFd, request: &[u8]) -> io::Result<Vec<u8>> {
    rustix::net::send(socket.as_fd(), request, SendFlags::NOSIGNAL)?;
    let mut answer = vec![0; PACKET_MAX_BYTES];
    let (length, _) = rustix::net::recv(socket.as_fd(), &mut answer[..], RecvFlags::empty())?;
    answer.truncate(length);
    Ok(answer)
}

/// As [`ask`], without holding up the runtime.
///
/// # Errors
/// As [`ask`].
pub async fn ask_later(request: Request) -> Result<Response, AskInit> {
    match tokio::task::spawn_blocking(move || ask(&request)).await {
        Ok(answer) => answer,
        Err(error) => Err(AskInit::Exchange(error.into())),
    }
}

/// Microseconds since the kernel started.
#[must_use]
pub fn now_us() -> i64 {
    let now = rustix::time::clock_gettime(ClockId::Boottime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

/// Times one step of the agent's start for the boot timeline. The timeline is for people: what cannot be
/// recorded is left out.
#[derive(Debug)]
pub struct Step {
    name: &'static str,
    start_us: i64,
}

impl Step {
    /// Begins a step.
    #[must_use]
    pub fn begin(name: &'static str) -> Self {
        Self { name, start_us: now_us() }
    }

    /// Ends it and tells PID 1.
    pub fn end(self) {
        let (name, start_us) = (self.name.to_owned(), self.start_us);
        let span = Span { phase: Phase::Agent, name, start_us, end_us: now_us(), detail: None };
        if let Err(error) = ask(&Request::Span { span }) {
            tracing::debug!(error = ferrite_schema::chain(&error), "span-not-recorded");
        }
    }
}
