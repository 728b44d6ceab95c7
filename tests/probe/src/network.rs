//! Open ports.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::ExitCode;

use serde::Serialize;

/// A socket that anyone may talk to.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Port {
    protocol: &'static str,
    address: IpAddr,
    port: u16,
}

/// State of a listening TCP socket and of an unconnected UDP one.
/// # Source
/// `include/net/tcp_states.h`
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// Listening TCP sockets and unconnected UDP ones of this network namespace.
pub(crate) fn ports() -> io::Result<Vec<Port>> {
    let tables = [
        ("tcp", "/proc/net/tcp", TCP_LISTEN),
        ("tcp", "/proc/net/tcp6", TCP_LISTEN),
        ("udp", "/proc/net/udp", UDP_UNCONNECTED),
        ("udp", "/proc/net/udp6", UDP_UNCONNECTED),
    ];
    let mut ports = Vec::new();
    for (protocol, path, state) in tables {
        let table = match fs::read_to_string(path) {
            Ok(table) => table,
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        ports.extend(table.lines().skip(1).filter_map(|line| port(line, protocol, state)));
    }
    ports.sort();
    Ok(ports)
}

/// Listens and greets whoever connects.
pub(crate) fn listen(port: u16) -> io::Result<ExitCode> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    writeln!(
        io::stdout(),
        "{}",
        serde_json::json!({ "listening": listener.local_addr()?.port() })
    )?;
    // A connection that is gone already is no reason to end.
    for mut connection in listener.incoming().flatten() {
        drop(connection.write_all(b"{\"hello\":true}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Parses `  0: 0100007F:1D13 00000000:0000 0A …`.
fn port(line: &str, protocol: &'static str, state: &str) -> Option<Port> {
    let mut words = line.split_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    if words.nth(1)? != state {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Port { protocol, address: self::address(address)?, port })
}

/// Addresses are written as 32-bit words in the machine's order, which is little endian.
fn address(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for start in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(start..start + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{address, port, ports};

    #[test]
    fn a_listening_socket() {
        let line = "   0: 0100007F:1D13 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0";
        let found = port(line, "tcp", "0A").unwrap();
        assert_eq!((found.address.to_string().as_str(), found.port), ("127.0.0.1", 7443));
        assert_eq!(port(&line.replace("0A", "01"), "tcp", "0A"), None);
    }

    #[test]
    fn addresses() {
        let text = |hex| address(hex).map(|address| address.to_string());
        assert_eq!(text("00000000000000000000000001000000").as_deref(), Some("::1"));
        assert_eq!(text("0202000A").as_deref(), Some("10.0.2.2"));
        assert_eq!(text("02"), None);
    }

    #[test]
    fn a_port_that_was_opened_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let opened = listener.local_addr().unwrap().port();
        assert!(ports().unwrap().iter().any(|port| port.port == opened && port.protocol == "tcp"));
    }
}
