//! The gateway inside the switch: a host of the network that gives the machines what they need to live.
//!
//! | what | how |
//! |---|---|
//! | addresses | DHCP (static, by Ethernet address), router advertisements |
//! | names | DNS, UDP and TCP, of the machines, the gateway and the services |
//! | time | NTP, from the host's clock |
//! | metadata | HTTP at 169.254.169.254 |
//! | ways | published ports of machines on the host's loopback; services of the host at the gateway's ports |
//!
//! It forwards nothing else, to nobody.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime};

use rustix::event::PollFlags;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::udp;
use smoltcp::time::Instant;
use smoltcp::wire::IpCidr;

use super::mac::Mac;
use super::port::{Frame, Port};
use super::topology::Network;
use super::wire;

mod device;
mod dhcp;
mod dns;
mod http;
mod ntp;
mod relay;
mod router;
mod seeking;
mod sockets;
mod talks;
mod ways;

#[cfg(test)]
mod tests;

use device::Queues;
use dhcp::{Lease, Server};
use dns::Names;
use sockets::Listening;
use talks::{About, Talks};
use ways::Ways;

/// Where clouds have documents about a machine.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const NAMES_PORT: u16 = 53;
const HTTP_PORT: u16 = 80;
const TIME_PORT: u16 = 123;

/// The gateway.
pub struct Gateway {
    ipv6_only: bool,
    server: Server,
    advertisement: Frame,
    advertise_at: Duration,
    leases: BTreeMap<Mac, Lease>,
    names: Names,
    interface: Interface,
    queues: Queues,
    sockets: SocketSet<'static>,
    names_datagrams: SocketHandle,
    time_datagrams: SocketHandle,
    listening: [(Listening, About); 2],
    talks: Talks,
    ways: Ways,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { leases, ways, .. } = self;
        f.debug_struct("Gateway")
            .field("leases", leases)
            .field("ways", ways)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// The gateway of a network that was checked. `entropy` is where its connections' numbers begin: with another one
    /// they are not taken for those of a gateway that was there before.
    #[must_use]
    pub fn new(network: &Network, entropy: u64) -> Self {
        let (mac, address) = (network.mac(Port::GATEWAY), network.ipv4(Port::GATEWAY));
        let ipv6 = network.ipv6(Port::GATEWAY);
        let mut queues = Queues::default();
        let mut config = Config::new(wire::hardware(mac));
        config.random_seed = entropy;
        let mut interface = Interface::new(config, &mut queues, Instant::ZERO);
        interface.update_ip_addrs(|own| {
            let all = [
                (IpAddr::from(address), 24),
                (METADATA.into(), 16),
                (ipv6.into(), 64),
                (wire::link_local(mac).into(), 64),
            ];
            own.extend(all.map(|(address, bits)| IpCidr::new(address.into(), bits)));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let names_datagrams = sockets::datagrams(&mut sockets, NAMES_PORT);
        let time_datagrams = sockets::datagrams(&mut sockets, TIME_PORT);
        let metadata = (METADATA, HTTP_PORT);
        let listening = [
            (Listening::new(NAMES_PORT), About::Names),
            (Listening::new(metadata), About::Metadata),
        ];
        let machines = network.ports().filter(|port| *port != Port::GATEWAY);
        let lease =
            |port| Lease { address: network.ipv4(port), name: network.name(port).to_owned() };
        Self {
            ipv6_only: network.ipv6_only,
            server: Server { mac, address },
            advertisement: router::advertisement(mac, ipv6).into(),
            advertise_at: Duration::ZERO,
            leases: machines.map(|port| (network.mac(port), lease(port))).collect(),
            names: names(network),
            interface,
            queues,
            sockets,
            names_datagrams,
            time_datagrams,
            listening,
            talks: Talks::default(),
            ways: Ways::new(&network.services, entropy),
        }
    }

    /// A frame arrives.
    pub fn arrive(&mut self, frame: Frame) {
        if wire::asks_for_routers(&frame) {
            self.queues.leaving.push(Frame::clone(&self.advertisement));
        }
        let datagram = wire::datagram(&frame);
        let lease = |mac| self.leases.get(&mac).cloned();
        let datagram = datagram.filter(|_| !self.ipv6_only);
        let reply = datagram.and_then(|datagram| dhcp::answer(&datagram, self.server, lease));
        match reply {
            Some(reply) => self.queues.leaving.push(reply.into()),
            None => self.queues.arrived.push_back(frame),
        }
    }

    /// Does what is due, and returns the frames that leave.
    pub fn poll(&mut self, now: Duration) -> Vec<Frame> {
        if self.advertise_at <= now {
            self.advertise_at = now + router::EVERY;
            self.queues.leaving.push(Frame::clone(&self.advertisement));
        }
        let moment = instant(now);
        self.interface.poll(moment, &mut self.queues, &mut self.sockets);
        self.answer_datagrams();
        for (listening, about) in &mut self.listening {
            for handle in listening.accept(&mut self.sockets) {
                self.talks.add(handle, *about, &mut self.sockets);
            }
        }
        self.talks.go_on(&mut self.sockets, &self.names);
        let (leases, names) = (&self.leases, &self.names);
        let addresses = |machine: Option<&str>| {
            let meant =
                leases.values().filter(|lease| machine.is_none_or(|name| lease.name == name));
            let known = meant.filter_map(|lease| names.get(&lease.name));
            let reached = known.map(|(ipv4, ipv6)| ipv4.map_or(IpAddr::V6(*ipv6), IpAddr::V4));
            reached.collect()
        };
        self.ways.go_on(&mut self.interface, &mut self.sockets, addresses);
        self.interface.poll(moment, &mut self.queues, &mut self.sockets);
        std::mem::take(&mut self.queues.leaving)
    }

    /// When something is due again without a frame or a connection.
    pub(crate) fn next(&mut self, now: Duration) -> Duration {
        let inner = self.interface.poll_delay(instant(now), &self.sockets);
        let inner = inner.map(|delay| now + Duration::from_micros(delay.total_micros()));
        inner.unwrap_or(self.advertise_at).min(self.advertise_at)
    }

    /// What to wait for.
    pub(crate) fn waits_for(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        self.ways.waits_for(&self.sockets)
    }

    /// Publishes a port of a machine, or of whichever takes a connection, on the host's loopback.
    pub(crate) fn publish(
        &mut self,
        machine: Option<&str>,
        port: u16,
        host_port: Option<u16>,
    ) -> io::Result<SocketAddr> {
        self.ways.publish(machine, port, host_port)
    }

    /// Ends that.
    pub(crate) fn unpublish(&mut self, host_port: u16) -> bool {
        self.ways.unpublish(host_port)
    }

    /// What is published: machine (or all), its port, where on the host.
    pub(crate) fn published(&self) -> impl Iterator<Item = (Option<&str>, u16, SocketAddr)> {
        self.ways.published.iter().map(|one| (one.machine.as_deref(), one.port, one.at))
    }

    /// Gives a machine another address, from its next lease on. False where it is another machine's.
    pub(crate) fn readdress(&mut self, machine: &str, address: Ipv4Addr) -> bool {
        let taken =
            self.leases.values().any(|lease| lease.name != machine && lease.address == address);
        // Nobody asks for one where there are none.
        if taken || self.ipv6_only {
            return false;
        }
        for lease in self.leases.values_mut().filter(|lease| lease.name == machine) {
            lease.address = address;
        }
        if let Some((ipv4, _)) = self.names.get_mut(machine) {
            *ipv4 = Some(address);
        }
        true
    }

    /// Knows the machine at `port` from now on.
    pub(crate) fn add(&mut self, network: &Network, port: Port) {
        let (name, address) = (network.name(port).to_owned(), network.ipv4(port));
        self.names.insert(name.clone(), addresses(network, port));
        self.leases.insert(network.mac(port), Lease { address, name });
    }

    fn answer_datagrams(&mut self) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.names_datagrams);
        answer_each(socket, |message| dns::answer(message, &self.names));
        let received = SystemTime::now();
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.time_datagrams);
        answer_each(socket, |message| {
            ntp::answer(message, received, SystemTime::now()).map(Vec::from)
        });
    }
}

fn answer_each(socket: &mut udp::Socket<'_>, answer: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    while socket.can_recv() && socket.can_send() {
        let Ok((message, from)) = socket.recv() else { return };
        if let Some(reply) = answer(message) {
            // Where there is no room, the answer is lost, as datagrams are.
            socket.send_slice(&reply, from).ok();
        }
    }
}

fn names(network: &Network) -> Names {
    let own = addresses(network, Port::GATEWAY);
    let services = network.services.iter().map(|service| (service.name.clone(), own));
    let machines =
        network.ports().map(|port| (network.name(port).to_owned(), addresses(network, port)));
    services.chain(machines).collect()
}

fn addresses(network: &Network, port: Port) -> (Option<Ipv4Addr>, Ipv6Addr) {
    ((!network.ipv6_only).then(|| network.ipv4(port)), network.ipv6(port))
}

fn instant(since_start: Duration) -> Instant {
    Instant::from_micros(i64::try_from(since_start.as_micros()).unwrap_or(i64::MAX))
}
