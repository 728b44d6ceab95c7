//! Ways between the host's loopback and the machines: ports of machines that are published on the host, and services
//! of the host that machines find at the gateway.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};

use super::super::cable::unless_blocked;
use super::super::topology::Service;
use super::relay::Relay;
use super::seeking::{Seeking, Sought};
use super::sockets::{Listening, connecting};

/// Connections carried at once; further ones wait to be accepted.
const RELAYS_MAX: usize = 512;
/// The gateway's own ports of connections to machines.
const FIRST_OWN_PORT: u16 = 49_152;

/// A port of a machine, or of all, that the host reaches.
#[derive(Debug)]
pub(crate) struct Published {
    listener: TcpListener,
    /// Where on the host's loopback.
    pub(crate) at: SocketAddr,
    /// Name of the machine; without one, whichever takes a connection.
    pub(crate) machine: Option<String>,
    pub(crate) port: u16,
    /// Who took the last connection, where several can.
    last: Option<IpAddr>,
}

#[derive(Debug)]
struct Offered {
    listening: Listening,
    host: SocketAddr,
}

/// All ways, and what goes along them.
#[derive(Debug)]
pub(crate) struct Ways {
    pub(crate) published: Vec<Published>,
    offered: Vec<Offered>,
    relays: Vec<Relay>,
    /// Connections that no machine has taken yet, each with the host's port at which it came.
    seeking: Vec<(u16, Seeking)>,
    own_port: u16,
}

impl Ways {
    pub(crate) fn new(services: &[Service], entropy: u64) -> Self {
        let offer = |service: &Service| Offered {
            listening: Listening::new(service.port),
            host: service.host,
        };
        let offered = services.iter().map(offer).collect();
        let begin = u16::try_from(entropy % u64::from(u16::MAX - FIRST_OWN_PORT)).unwrap_or(0);
        let own_port = FIRST_OWN_PORT + begin;
        let (published, relays, seeking) = (Vec::new(), Vec::new(), Vec::new());
        Self { published, offered, relays, seeking, own_port }
    }

    /// Publishes a port of a machine, or of all, on the host's loopback: at `host_port`, or at one that the kernel chooses.
    pub(crate) fn publish(
        &mut self,
        machine: Option<&str>,
        port: u16,
        host_port: Option<u16>,
    ) -> io::Result<SocketAddr> {
        let wanted = SocketAddrV4::new(Ipv4Addr::LOCALHOST, host_port.unwrap_or(0));
        let listener = TcpListener::bind(wanted)?;
        listener.set_nonblocking(true)?;
        let at = listener.local_addr()?;
        let machine = machine.map(str::to_owned);
        self.published.push(Published { listener, at, machine, port, last: None });
        Ok(at)
    }

    /// Ends what is published at the host's port. Connections go on. False where nothing is.
    pub(crate) fn unpublish(&mut self, host_port: u16) -> bool {
        let before = self.published.len();
        self.published.retain(|one| one.at.port() != host_port);
        self.published.len() < before
    }

    /// What to wait for.
    pub(crate) fn waits_for<'a>(
        &'a self,
        sockets: &SocketSet<'_>,
    ) -> Vec<(BorrowedFd<'a>, PollFlags)> {
        let has_room = self.has_room();
        let listeners = self.published.iter().filter(|_| has_room);
        let listeners = listeners.map(|one| (one.listener.as_fd(), PollFlags::IN));
        let relays = self.relays.iter().map(|relay| relay.waits_for(sockets));
        listeners.chain(relays.filter(|(_, flags)| !flags.is_empty())).collect()
    }

    fn has_room(&self) -> bool {
        self.relays.len() + self.seeking.len() < RELAYS_MAX
    }

    /// Takes new connections, both ways, and carries on what the others have. `addresses` tells where a machine is, or all.
    pub(crate) fn go_on(
        &mut self,
        interface: &mut Interface,
        sockets: &mut SocketSet<'static>,
        addresses: impl Fn(Option<&str>) -> Vec<IpAddr>,
    ) {
        for index in 0..self.published.len() {
            self.take(index, interface, sockets, &addresses);
        }
        self.seek(interface, sockets);
        for offered in &mut self.offered {
            for handle in offered.listening.accept(sockets) {
                match to_host(offered.host) {
                    Ok(host) if self.relays.len() < RELAYS_MAX => {
                        self.relays.push(Relay::new(host, handle));
                    }
                    Ok(_) | Err(_) => {
                        sockets.remove(handle);
                    }
                }
            }
        }
        self.relays.retain_mut(|relay| relay.go_on(sockets));
    }

    /// Takes the connections that have come at what is published with this number.
    fn take(
        &mut self,
        index: usize,
        interface: &mut Interface,
        sockets: &mut SocketSet<'static>,
        addresses: &impl Fn(Option<&str>) -> Vec<IpAddr>,
    ) {
        while self.has_room() {
            let Some(published) = self.published.get(index) else { return };
            // What the kernel refuses is some client's connection that is gone already.
            let Ok(Some((host, _))) = unless_blocked(published.listener.accept()) else { return };
            let is_ready = host.set_nonblocking(true).and_then(|()| host.set_nodelay(true));
            let (port, at) = (published.port, published.at.port());
            let machines = addresses(published.machine.as_deref());
            if is_ready.is_err() {
                continue;
            }
            if published.machine.is_none() {
                let seeking = Seeking::new(host, port, &machines, published.last);
                self.seeking.push((at, seeking));
                continue;
            }
            let Some(machine) = machines.first() else { return };
            let own_port = next_port(&mut self.own_port);
            if let Some(handle) = to_machine((*machine, port), own_port, interface, sockets) {
                self.relays.push(Relay::new(host, handle));
            }
        }
    }

    /// Goes on to look for machines that take what came for all.
    fn seek(&mut self, interface: &mut Interface, sockets: &mut SocketSet<'static>) {
        for (at, seeking) in std::mem::take(&mut self.seeking) {
            match seeking.go_on(interface, sockets, || next_port(&mut self.own_port)) {
                Sought::Still(seeking) => self.seeking.push((at, seeking)),
                Sought::Taken(machine, relay) => {
                    self.relays.push(relay);
                    for one in self.published.iter_mut().filter(|one| one.at.port() == at) {
                        one.last = Some(machine);
                    }
                }
                Sought::Nobody => {}
            }
        }
    }
}

fn next_port(own: &mut u16) -> u16 {
    *own = own.checked_add(1).unwrap_or(FIRST_OWN_PORT);
    *own
}

fn to_machine(
    to: (IpAddr, u16),
    own_port: u16,
    interface: &mut Interface,
    sockets: &mut SocketSet<'static>,
) -> Option<SocketHandle> {
    let mut socket = connecting();
    socket.connect(interface.context(), to, own_port).ok()?;
    Some(sockets.add(socket))
}

/// Begins a connection to a service of the host.
fn to_host(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(errno) => Err(errno.into()),
    }
}
