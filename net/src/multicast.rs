//! Datagrams to whoever listens on the node's own links, and no farther: no router passes them on.
//!
//! A socket here is bound to the group's address, so that nothing comes in by it but what was sent to the group on a link
//! that was joined: neither from afar nor from units, whose bridge is no link of the node's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};

use futures_util::future::select_all;
use rustix::net::sockopt::set_ip_add_membership_with_ifindex;
use tokio::net::UdpSocket as Listening;

use crate::underlay::{Link, links};

/// Of the scope that is an organisation's own (RFC 2365); one hop is all that it gets.
pub const GROUP4: Ipv4Addr = Ipv4Addr::new(239, 255, 70, 82);
/// Of a link alone, and assigned to nobody (RFC 4291 section 2.7: the flag T).
pub const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x4652, 0x5254);
/// Longest datagram that is taken whole, in bytes.
pub const DATAGRAM_MAX_BYTES: usize = 128;

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it, with the link's number where the address means something there alone.
    pub from: SocketAddr,
    /// Its beginning.
    pub bytes: Vec<u8>,
}

/// The group on all links of the node, at one port.
#[derive(Debug)]
pub struct Group {
    port: u16,
    links: Vec<Link>,
    listening: Vec<Listening>,
    /// All of them are listened on.
    complete: bool,
}

impl Group {
    /// The group at this port, on no link yet: [`look`](Self::look) finds them.
    #[must_use]
    pub const fn at(port: u16) -> Self {
        Self { port, links: Vec::new(), listening: Vec::new(), complete: false }
    }

    /// Listens on the links that there are now. Where one cannot be listened on, the others are, and that one is tried again
    /// with the next look.
    ///
    /// # Errors
    /// The kernel does not say which there are: those of before stay.
    pub fn look(&mut self) -> io::Result<()> {
        let now = links()?;
        if now == self.links && self.complete {
            return Ok(());
        }
        // Both hold the port: the old ones go first.
        self.listening.clear();
        let mut missed = Vec::new();
        if now.iter().any(|link| link.ipv4.is_some()) {
            self.listen(join_ipv4(self.port, &now, &mut missed), &mut missed);
        }
        for link in now.iter().filter(|link| link.ipv6.is_some()) {
            self.listen(join_ipv6(self.port, link.index), &mut missed);
        }
        for error in &missed {
            tracing::debug!(%error, "group-not-joined");
        }
        self.complete = missed.is_empty();
        self.links = now;
        Ok(())
    }

    fn listen(&mut self, socket: io::Result<UdpSocket>, missed: &mut Vec<io::Error>) {
        match socket.and_then(listening) {
            Ok(socket) => self.listening.push(socket),
            Err(error) => missed.push(error),
        }
    }

    /// The next datagram; never where there is no link.
    pub async fn next(&self) -> Datagram {
        if self.listening.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let hears = self.listening.iter().map(|socket| Box::pin(hear(socket)));
            // What fails here is an error of a datagram that was sent once.
            if let (Ok(datagram), ..) = select_all(hears).await {
                return datagram;
            }
        }
    }

    /// Sends to the group, on every link and by each family that it has. What a link does not take is lost, as any datagram may be.
    pub fn send(&self, bytes: &[u8]) {
        for link in &self.links {
            let ipv4 = link.ipv4.map(|own| send_ipv4(self.port, own, bytes));
            let ipv6 = link.ipv6.map(|own| send_ipv6(self.port, own, link.index, bytes));
            for error in [ipv4, ipv6].into_iter().flatten().filter_map(Result::err) {
                tracing::debug!(link = link.index, %error, "group-not-reached");
            }
        }
    }
}

fn listening(socket: UdpSocket) -> io::Result<Listening> {
    socket.set_nonblocking(true)?;
    Listening::from_std(socket)
}

/// One socket for all links: those that cannot be joined are missed, and the others are not.
fn join_ipv4(port: u16, links: &[Link], missed: &mut Vec<io::Error>) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddrV4::new(GROUP4, port))?;
    for link in links {
        let Some(own) = link.ipv4 else { continue };
        let joined = set_ip_add_membership_with_ifindex(&socket, &GROUP4, &own, link.index);
        missed.extend(joined.err().map(io::Error::from));
    }
    Ok(socket)
}

fn join_ipv6(port: u16, link: u32) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddrV6::new(GROUP6, port, 0, link))?;
    socket.join_multicast_v6(&GROUP6, link)?;
    Ok(socket)
}

async fn hear(socket: &Listening) -> io::Result<Datagram> {
    let mut bytes = [0; DATAGRAM_MAX_BYTES];
    let (length, from) = socket.recv_from(&mut bytes).await?;
    Ok(Datagram { from, bytes: bytes.get(..length).unwrap_or_default().to_vec() })
}

/// By its own address, which leads the kernel to the link, too.
fn send_ipv4(port: u16, own: Ipv4Addr, bytes: &[u8]) -> io::Result<()> {
    let socket = UdpSocket::bind(SocketAddrV4::new(own, 0))?;
    socket.set_multicast_ttl_v4(1)?;
    socket.set_multicast_loop_v4(false)?;
    send(&socket, bytes, SocketAddrV4::new(GROUP4, port).into())
}

fn send_ipv6(port: u16, own: Ipv6Addr, link: u32, bytes: &[u8]) -> io::Result<()> {
    let of_link = if own.is_unicast_link_local() { link } else { 0 };
    let socket = UdpSocket::bind(SocketAddrV6::new(own, 0, 0, of_link))?;
    socket.set_multicast_loop_v6(false)?;
    send(&socket, bytes, SocketAddrV6::new(GROUP6, port, 0, link).into())
}

fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.send_to(bytes, to).map(drop)
}

/// The address as others write it; with its link's number where it means nothing without.
#[must_use]
pub fn at_port(from: SocketAddr, port: u16) -> SocketAddr {
    match (from, from.ip()) {
        (SocketAddr::V6(v6), IpAddr::V6(own)) if own.is_unicast_link_local() => {
            SocketAddrV6::new(own, port, 0, v6.scope_id()).into()
        }
        (_, address) => SocketAddr::new(address, port),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sched::{CloneFlags, setns};

    use super::*;
    use crate::namespace::{Room, inside, ip};

    const PORT: u16 = 51821;

    fn runs<T>(what: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(what)
    }

    /// Sends from a room, by a thread that goes there.
    fn calls(room: &Room, bytes: &'static [u8]) {
        let there = std::fs::File::open(format!("/proc/{}/ns/net", room.pid())).unwrap();
        let calls = move || {
            setns(there, CloneFlags::CLONE_NEWNET).unwrap();
            runs(async {
                let mut group = Group::at(PORT);
                group.look().unwrap();
                group.send(bytes);
            });
        };
        std::thread::spawn(calls).join().unwrap();
    }

    fn ready(room: &Room, here: &str, net: u8) {
        room.cable(here, "eth0");
        ip(&format!("address add 10.{net}.0.1/24 dev {here}"));
        ip(&format!("address add fd00:{net}::1/64 dev {here} nodad"));
        room.ip(&format!("address add 10.{net}.0.2/24 dev eth0"));
        room.ip(&format!("address add fd00:{net}::2/64 dev eth0 nodad"));
    }

    async fn heard(group: &Group, count: usize) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        while all.len() < count {
            let datagram = tokio::time::timeout(Duration::from_secs(20), group.next()).await;
            let datagram = datagram.unwrap_or_else(|_| panic!("{all:?}"));
            all.push((datagram.from.ip().to_string(), datagram.bytes));
        }
        all.sort();
        all
    }

    #[test]
    fn a_group_is_heard_on_all_links_of_the_node_and_on_none_of_its_units() {
        let name = format!(
            "{}::a_group_is_heard_on_all_links_of_the_node_and_on_none_of_its_units",
            module_path!()
        );
        inside(&name, || {
            let (near, far, unit) = (Room::new(), Room::new(), Room::new());
            ready(&near, "lan0", 1);
            ready(&far, "lan1", 2);
            ready(&unit, "ferrite-0102", 3);
            runs(async {
                let mut group = Group::at(PORT);
                group.look().unwrap();
                assert_eq!(group.links.len(), 2, "{:?}", group.links);
                calls(&unit, b"unit");
                calls(&near, b"near");
                calls(&far, b"far");
                let of = |address: &str, bytes: &[u8]| (address.to_owned(), bytes.to_vec());
                let expected = [
                    of("10.1.0.2", b"near"),
                    of("10.2.0.2", b"far"),
                    of("fd00:1::2", b"near"),
                    of("fd00:2::2", b"far"),
                ];
                assert_eq!(heard(&group, 4).await, expected);
                // What is sent to the node alone, from however far, is nobody's.
                let mut to_one = near.command(&["bash", "-c", "echo >/dev/udp/10.1.0.1/51821"]);
                assert!(to_one.status().unwrap().success());
                // A link less, a link more: those that are there count.
                ip("link del lan1");
                group.look().unwrap();
                calls(&near, b"again");
                let expected = [of("10.1.0.2", b"again"), of("fd00:1::2", b"again")];
                assert_eq!(heard(&group, 2).await, expected);
            });
        });
    }

    #[test]
    fn a_link_that_cannot_be_joined_is_tried_again() {
        let name = format!("{}::a_link_that_cannot_be_joined_is_tried_again", module_path!());
        inside(&name, || {
            let (one, other) = (Room::new(), Room::new());
            ready(&one, "lan0", 1);
            ready(&other, "lan1", 2);
            let most = |count: &str| {
                std::fs::write("/proc/sys/net/ipv4/igmp_max_memberships", count).unwrap();
            };
            runs(async {
                let mut group = Group::at(PORT);
                most("1");
                group.look().unwrap();
                assert!(!group.complete, "one link of two was joined");
                calls(&one, b"one");
                let of = |address: &str, bytes: &[u8]| (address.to_owned(), bytes.to_vec());
                let expected = [of("10.1.0.2", b"one"), of("fd00:1::2", b"one")];
                assert_eq!(heard(&group, 2).await, expected);
                most("20");
                group.look().unwrap();
                assert!(group.complete);
                calls(&other, b"other");
                let expected = [of("10.2.0.2", b"other"), of("fd00:2::2", b"other")];
                assert_eq!(heard(&group, 2).await, expected);
            });
        });
    }

    #[test]
    fn an_address_of_a_link_keeps_its_number_and_no_other_does() {
        let at = |text: &str| at_port(text.parse().unwrap(), 7443).to_string();
        assert_eq!(at("[fe80::1%3]:40000"), "[fe80::1%3]:7443");
        assert_eq!(at("[fd00::1%3]:40000"), "[fd00::1]:7443");
        assert_eq!(at("10.0.0.1:40000"), "10.0.0.1:7443");
    }
}
