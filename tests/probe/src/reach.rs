//! Who can be reached over the network, and a server that says who reached it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket,
};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::{filter, identity};

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

/// Tries each target: `tcp4/HOST/PORT`, `tcp6/…`, `udp4/…`, `udp6/…`; by UDP from port 4000 of its own with `udp4@4000/…`. The
/// answer is its first line, or `error: …`.
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
    let (protocol, own) = protocol.split_once('@').unwrap_or((protocol, "0"));
    let own: u16 = own.parse().map_err(|_nonsense| bad())?;
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
    let socket = UdpSocket::bind((any, own))?;
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
    Ok(Traces {
        interfaces: identity::interfaces()?,
        folders: names("/run/ferrite/net"),
        sets: filter::sets()?,
    })
}
