//! One connection carried on: between a socket of the host and one of the gateway's TCP, byte by byte, each direction
//! with its own end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;

use super::super::cable::unless_blocked;
use super::sockets::connected;

/// The connection.
#[derive(Debug)]
pub(crate) struct Relay {
    host: TcpStream,
    handle: SocketHandle,
    /// The host's side has said everything.
    host_is_done: bool,
    /// The machine's side has, and the host's knows.
    machine_is_done: bool,
    /// The machine has answered.
    is_connected: bool,
}

impl Relay {
    /// Both sockets do not block; either may still be connecting.
    pub(crate) fn new(host: TcpStream, handle: SocketHandle) -> Self {
        let (host_is_done, machine_is_done, is_connected) = (false, false, false);
        Self { host, handle, host_is_done, machine_is_done, is_connected }
    }

    /// What to wait for on the host's side.
    pub(crate) fn waits_for(&self, sockets: &SocketSet<'_>) -> (BorrowedFd<'_>, PollFlags) {
        let socket = sockets.get::<tcp::Socket<'_>>(self.handle);
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !self.host_is_done && socket.can_send());
        flags.set(PollFlags::OUT, socket.can_recv());
        (self.host.as_fd(), flags)
    }

    /// Carries what can be carried. False when all is said: the socket is removed.
    pub(crate) fn go_on(&mut self, sockets: &mut SocketSet<'_>) -> bool {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        if self.carry_in(socket).and_then(|()| self.carry_out(socket)).is_err() {
            // The host's side broke: the machine's is told so, and what it still says goes nowhere.
            socket.abort();
            (self.host_is_done, self.machine_is_done) = (true, true);
        }
        let is_open = socket.is_open();
        if !is_open {
            sockets.remove(self.handle);
        }
        is_open
    }

    fn carry_in(&mut self, socket: &mut tcp::Socket<'_>) -> io::Result<()> {
        while !self.host_is_done && socket.can_send() {
            let host = &mut self.host;
            let read = socket.send(|room| match unless_blocked(host.read(room)) {
                Ok(length) => (length.unwrap_or(0), Ok(length)),
                Err(error) => (0, Err(error)),
            });
            match read.map_err(io::Error::other)?? {
                Some(0) => {
                    self.host_is_done = true;
                    socket.close();
                }
                Some(_) => {}
                None => break,
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, socket: &mut tcp::Socket<'_>) -> io::Result<()> {
        while socket.can_recv() {
            let host = &mut self.host;
            let written = socket.recv(|bytes| match unless_blocked(host.write(bytes)) {
                Ok(length) => (length.unwrap_or(0), Ok(length)),
                Err(error) => (0, Err(error)),
            });
            if written.map_err(io::Error::other)??.is_none() {
                return Ok(());
            }
        }
        // By its state: one that has said all already may be received from no more.
        let state = socket.state();
        let is_connecting = matches!(
            state,
            tcp::State::Closed | tcp::State::Listen | tcp::State::SynSent | tcp::State::SynReceived
        );
        if !self.is_connected && !is_connecting {
            self.is_connected = true;
            connected(socket);
        }
        let machine_said_all = self.is_connected && !socket.may_recv();
        if machine_said_all && !self.machine_is_done {
            self.machine_is_done = true;
            if socket.state() != tcp::State::Closed {
                self.host.shutdown(Shutdown::Write)?;
            }
        }
        Ok(())
    }
}
