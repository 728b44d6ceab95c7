//! The control socket: clients, packets, and nothing about what they mean.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ferrite_schema::control::{PACKET_MAX_BYTES, Request, Response};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, listen, recv, send, socket_with,
};
use rustix::process::Uid;

use crate::log;

/// The agent and a person or two; more is a defect in some program.
const CLIENTS_MAX: usize = 16;
const BACKLOG: i32 = 16;

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make the control socket {path}")]
pub struct MakeSocket {
    path: String,
    source: io::Error,
}

/// What a client wants.
#[derive(Debug)]
pub enum Received {
    /// A request.
    Request(Request),
    /// Something else; says what is wrong with it.
    NotARequest(String),
    /// Nothing: it is gone, or has nothing to say.
    Nothing,
}

/// Listens and keeps its clients.
#[derive(Debug)]
pub struct ControlSocket {
    listener: OwnedFd,
    owner: Uid,
    clients: Vec<OwnedFd>,
    packet: Vec<u8>,
}

impl ControlSocket {
    /// Makes the socket for `owner` alone, who is root everywhere but in tests.
    ///
    /// # Errors
    /// Its directory does not exist or is not ours.
    pub fn open(path: &Path, owner: Uid) -> Result<Self, MakeSocket> {
        let error = |source: io::Error| MakeSocket { path: path.display().to_string(), source };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(error(source)),
            Ok(()) | Err(_) => {}
        }
        let make = || -> Result<OwnedFd, Errno> {
            let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            // Nobody can connect before `listen`, so the mode is in place in time.
            bind(&socket, &SocketAddrUnix::new(path)?)?;
            rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
            listen(&socket, BACKLOG)?;
            Ok(socket)
        };
        let listener = make().map_err(|source| error(source.into()))?;
        Ok(Self { listener, owner, clients: Vec::new(), packet: vec![0; PACKET_MAX_BYTES] })
    }

    /// What to poll for reading: first the listener, then the clients in their order.
    pub fn to_poll(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.clients.iter().map(AsFd::as_fd))
    }

    /// Lets waiting clients in, if the owner sent them and there is room.
    pub fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _ in 0..CLIENTS_MAX {
            let Ok(client) = accept_with(&self.listener, flags) else { return };
            match socket_peercred(&client) {
                Ok(peer) if peer.uid != self.owner => {
                    let uid = peer.uid.as_raw();
                    log::warn(format_args!("control socket: turned away a client uid={uid}"));
                }
                Err(_) => {}
                Ok(_) if self.clients.len() >= CLIENTS_MAX => {
                    log::warn(format_args!(
                        "control socket: turned away a client, {CLIENTS_MAX} are connected"
                    ));
                }
                Ok(_) => self.clients.push(client),
            }
        }
    }

    /// Clients that are connected.
    #[must_use]
    pub const fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Takes one packet of a client. A client that is gone stays in its place until [`ControlSocket::sweep`].
    pub fn receive(&mut self, index: usize) -> Received {
        let Some(client) = self.clients.get(index) else { return Received::Nothing };
        match recv(client, self.packet.as_mut_slice(), RecvFlags::TRUNC) {
            Ok((_, 0)) => self.hang_up(index),
            Ok((_, length)) => match self.packet.get(..length) {
                Some(packet) => match serde_json::from_slice(packet) {
                    Ok(request) => return Received::Request(request),
                    Err(error) => return Received::NotARequest(error.to_string()),
                },
                None => {
                    return Received::NotARequest(format!(
                        "a packet of {length} bytes is longer than {PACKET_MAX_BYTES}"
                    ));
                }
            },
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.hang_up(index),
        }
        Received::Nothing
    }

    /// Answers a client. One that does not take the answer is cut off: PID 1 waits for nobody.
    pub fn respond(&mut self, index: usize, response: &Response) {
        let Some(client) = self.clients.get(index) else { return };
        let packet = serde_json::to_vec(response)
            .ok()
            .filter(|packet| packet.len() <= PACKET_MAX_BYTES)
            .unwrap_or_else(|| {
                br#"{"response":"refused","reason":"the answer is too long for a packet"}"#.to_vec()
            });
        if send(client, &packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_err() {
            self.hang_up(index);
        }
    }

    /// Forgets clients that are gone.
    pub fn sweep(&mut self) {
        self.clients.retain(|client| {
            // A client in shutdown reads as end of file; peeking leaves packets where they are.
            let mut byte = [0];
            !matches!(recv(client, &mut byte[..], RecvFlags::PEEK), Ok((_, 0)))
        });
    }

    fn hang_up(&mut self, index: usize) {
        if let Some(client) = self.clients.get(index) {
            rustix::net::shutdown(client, rustix::net::Shutdown::Both).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(path: &Path) -> OwnedFd {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        socket
    }

    fn read(client: &OwnedFd) -> Option<Response> {
        let mut packet = vec![0; PACKET_MAX_BYTES];
        let (_, length) = recv(client, packet.as_mut_slice(), RecvFlags::empty()).ok()?;
        serde_json::from_slice(packet.get(..length)?).ok()
    }

    #[test]
    fn a_request_is_answered_and_a_client_that_leaves_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("init.sock");
        let mut socket = ControlSocket::open(&path, rustix::process::geteuid()).unwrap();
        let client = connect(&path);
        socket.accept();
        assert!(matches!(socket.receive(0), Received::Nothing));
        send(&client, br#"{"request":"status"}"#, SendFlags::empty()).unwrap();
        assert!(matches!(socket.receive(0), Received::Request(Request::Status)));
        socket.respond(0, &Response::AlreadySo);
        assert_eq!(read(&client), Some(Response::AlreadySo));
        send(&client, b"hello", SendFlags::empty()).unwrap();
        assert!(matches!(socket.receive(0), Received::NotARequest(_)));
        socket.sweep();
        assert_eq!(socket.clients(), 1);
        drop(client);
        assert!(matches!(socket.receive(0), Received::Nothing));
        socket.sweep();
        assert_eq!(socket.clients(), 0);
    }

    #[test]
    fn nobody_but_the_owner_is_let_in_or_can_even_connect() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("init.sock");
        let other = Uid::from_raw(rustix::process::geteuid().as_raw() + 1);
        let mut socket = ControlSocket::open(&path, other).unwrap();
        let client = connect(&path);
        socket.accept();
        assert_eq!(socket.clients(), 0);
        let mut byte = [0];
        assert!(matches!(recv(&client, &mut byte[..], RecvFlags::empty()), Ok((_, 0))));
        let mode = rustix::fs::stat(&path).unwrap().st_mode;
        assert_eq!(Mode::from_raw_mode(mode), Mode::RUSR | Mode::WUSR);
    }

    #[test]
    fn clients_are_bounded_and_one_that_never_reads_does_not_hold_us_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("init.sock");
        let mut socket = ControlSocket::open(&path, rustix::process::geteuid()).unwrap();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS_MAX + 4 {
            clients.push(connect(&path));
            socket.accept();
        }
        assert_eq!(socket.clients(), CLIENTS_MAX);
        let long = Response::Refused { reason: "x".repeat(100 * 1024) };
        for _ in 0..10 {
            socket.respond(0, &long);
        }
        socket.sweep();
        assert_eq!(socket.clients(), CLIENTS_MAX - 1);
    }

    #[test]
    fn an_answer_that_is_too_long_becomes_a_refusal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("init.sock");
        let mut socket = ControlSocket::open(&path, rustix::process::geteuid()).unwrap();
        let client = connect(&path);
        socket.accept();
        socket.respond(0, &Response::Refused { reason: "x".repeat(PACKET_MAX_BYTES) });
        assert!(matches!(read(&client), Some(Response::Refused { reason }) if reason.len() < 100));
    }
}
