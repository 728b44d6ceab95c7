//! Who can be reached over the network, and a server that says who reached it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket,
};
use std::process::ExitCode;
use std::time::Duration;

use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType};
use serde::Serialize;

/// What cannot be reached is given up after this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves `port` by TCP and UDP, over IPv4 and IPv6: a greeting that names the peer, then every line comes back.
pub(crate) fn greet(port: u16) -> io::Result<ExitCode> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
    writeln!(io::stdout(), "{}", serde_json::json!({ "greeting": port }))?;
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((_, peer)) = socket.recv_from(&mut packet) {
            drop(socket.send_to(format!("hello {}", plain(peer)).as_bytes(), peer));
        }
    });
    for connection in listener.incoming().flatten() {
        std::thread::spawn(move || echo(connection));
    }
    Ok(ExitCode::SUCCESS)
}

fn plain(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

fn echo(mut connection: TcpStream) -> io::Result<()> {
    writeln!(connection, "hello {}", plain(connection.peer_addr()?))?;
    let lines = BufReader::new(connection.try_clone()?).lines();
    for line in lines {
        writeln!(connection, "{}", line?)?;
    }
    Ok(())
}

/// Tries each target: `tcp4/HOST/PORT`, `tcp6/…`, `udp4/…`, `udp6/…`. The answer is its first line, or `error: …`.
pub(crate) fn reach(targets: &[String]) -> BTreeMap<String, String> {
    let answer = |target: &String| ask(target).unwrap_or_else(|error| format!("error: {error}"));
    targets.iter().map(|target| (target.clone(), answer(target))).collect()
}

fn ask(target: &str) -> io::Result<String> {
    let bad = || io::Error::other("use PROTOCOL/HOST/PORT");
    let mut parts = target.splitn(3, '/');
    let (Some(protocol), Some(host), Some(port)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(bad());
    };
    let port: u16 = port.parse().map_err(|_nonsense| bad())?;
    let of_family = |address: &SocketAddr| address.is_ipv6() == protocol.ends_with('6');
    let address = (host, port).to_socket_addrs()?.find(of_family);
    let address = address.ok_or_else(|| io::Error::other("no address of this family"))?;
    if protocol.starts_with("tcp") {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        return Ok(line.trim_end().to_owned());
    }
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(address)?;
    socket.send(b"who am I?")?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned())
}

/// What the units' network is made of on the node.
#[derive(Debug, Serialize)]
pub(crate) struct Traces {
    interfaces: Vec<String>,
    /// Folders of units' files.
    folders: Vec<String>,
    /// Bytes of elements in each set of the packet filter; a set that does not exist is absent.
    sets: BTreeMap<String, usize>,
}

/// Looks at the node from its own network namespace.
pub(crate) fn traces() -> io::Result<Traces> {
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let mut sets = BTreeMap::new();
    for (family, name) in
        [(1, "ports4"), (1, "ports6"), (1, "bound4"), (7, "macs"), (7, "v4"), (7, "v6")]
    {
        if let Some(bytes) = elements(family, name)? {
            sets.insert(name.to_owned(), bytes);
        }
    }
    Ok(Traces { interfaces: names("/sys/class/net"), folders: names("/run/ferrite/net"), sets })
}

/// Asks for the elements of a set: `NFT_MSG_GETSETELEM` with `NLM_F_REQUEST | NLM_F_DUMP`.
/// # Source
/// linux/netfilter/nf_tables.h
fn elements(family: u8, set: &str) -> io::Result<Option<usize>> {
    let mut attributes = Vec::new();
    for (kind, text) in [(1_u16, "ferrite"), (2, set)] {
        let length = u16::try_from(5 + text.len()).unwrap_or(0);
        attributes.extend_from_slice(&length.to_ne_bytes());
        attributes.extend_from_slice(&kind.to_ne_bytes());
        attributes.extend_from_slice(text.as_bytes());
        attributes.push(0);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(20 + attributes.len()).unwrap_or(0);
    let mut request = length.to_ne_bytes().to_vec();
    request.extend_from_slice(&[13, 10, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, family, 0, 0, 0]);
    request.extend_from_slice(&attributes);
    let netfilter = std::num::NonZeroU32::new(12).map(Protocol::from_raw);
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, netfilter)?;
    rustix::net::send(&socket, &request, SendFlags::empty())?;
    let mut all = 0;
    loop {
        let mut answer = vec![0; 65536];
        let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
        let mut rest = answer.get(..length).unwrap_or_default();
        while let Some((kind, message, others)) = split(rest) {
            match kind {
                // NLMSG_ERROR, NLMSG_DONE
                2 => return Ok(None),
                3 => return Ok(Some(all)),
                _ => all += elements_of(message.get(20..).unwrap_or_default()),
            }
            rest = others;
        }
    }
}

fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok().filter(|length| *length >= 16)?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let others = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, bytes.get(..length)?, others))
}

/// Bytes within `NFTA_SET_ELEM_LIST_ELEMENTS`.
fn elements_of(mut attributes: &[u8]) -> usize {
    let mut all = 0;
    while let Some(head) = attributes.get(..4) {
        let number = |at: usize| {
            let bytes = head.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
            usize::from(bytes.map_or(0, u16::from_ne_bytes))
        };
        let (length, kind) = (number(0).max(4), number(2) & 0x3fff);
        if kind == 3 {
            all += length - 4;
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}
