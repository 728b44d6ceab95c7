//! Taking what is the node's: its ports.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use ferrite_sys::attempts;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, ipproto};
use serde::Serialize;

/// Where this container sees its own control group.
const CGROUP: &str = "/sys/fs/cgroup";

/// What came of it: errno, 0 where it worked.
#[derive(Debug, Serialize)]
pub(crate) struct Taken {
    /// Programs of the control group that were to be taken away first.
    detached: BTreeMap<&'static str, i32>,
    /// `PROTOCOL/PORT`.
    bound: BTreeMap<String, i32>,
}

/// Takes away what keeps this container from anything, then binds each target on all addresses: `tcp4/PORT`, `udp6/…`,
/// `mptcp4/…`.
pub(crate) fn take(targets: &[String]) -> io::Result<Taken> {
    let cgroup = File::open(CGROUP)?;
    let code = |result: Result<(), Errno>| result.err().map_or(0, Errno::raw_os_error);
    let detached = attempts::detach_programs(cgroup.as_fd());
    let detached = detached.into_iter().map(|(name, result)| (name, code(result))).collect();
    let mut bound = BTreeMap::new();
    for target in targets {
        let bad = || io::Error::other("use PROTOCOL/PORT");
        let (protocol, port) = target.split_once('/').ok_or_else(bad)?;
        let port = port.parse().map_err(|_nonsense| bad())?;
        let (kind, number) = match protocol.trim_end_matches(['4', '6']) {
            "tcp" => (SocketType::STREAM, ipproto::TCP),
            "mptcp" => (SocketType::STREAM, ipproto::MPTCP),
            "udp" => (SocketType::DGRAM, ipproto::UDP),
            _ => return Err(bad()),
        };
        let (family, any): (_, IpAddr) = if protocol.ends_with('6') {
            (AddressFamily::INET6, Ipv6Addr::UNSPECIFIED.into())
        } else {
            (AddressFamily::INET, Ipv4Addr::UNSPECIFIED.into())
        };
        let result = rustix::net::socket(family, kind, Some(number))
            .and_then(|socket| rustix::net::bind(&socket, &SocketAddr::new(any, port)));
        bound.insert(target.clone(), code(result));
    }
    Ok(Taken { detached, bound })
}
