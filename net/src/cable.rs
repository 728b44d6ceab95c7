//! A container's network, made between its creation and the start of its program.
//!
//! The cable to the bridge lies directly in the container's network namespace, and ends with that: a shim or a
//! machine that dies leaves nothing behind.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use ferrite_schema::shim::{Attachment, Network};
use nix::sched::CloneFlags;

use crate::addresses;
use crate::interface::{self, Cable};
use crate::netlink::{Batch, Family, NetlinkProblem, Socket};

/// Number of the loopback interface: the first in every network namespace.
const LOOPBACK: u32 = 1;
/// Name of a container's end.
const INSIDE: &str = "eth0";

/// A container could not be connected.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CableProblem {
    #[error("open the container's network namespace")]
    OpenNamespace(#[source] io::Error),
    #[error("enter the container's network namespace")]
    Enter(#[source] nix::Error),
    #[error("find the bridge {name}")]
    FindBridge { name: String, source: io::Error },
    #[error(transparent)]
    Netlink(#[from] NetlinkProblem),
}

/// Gives the container whose first process is `pid` the network that is asked for.
///
/// Only for a single-threaded process, whose network namespace is the thread's.
///
/// # Errors
/// It has no network, or half of one; it is not to be started.
pub fn connect(pid: i32, network: &Network) -> Result<(), CableProblem> {
    let attachment = match network {
        // One that is shared was made and connected for another.
        Network::Host | Network::Unit(_) => return Ok(()),
        Network::None => None,
        Network::Bridge(attachment) => Some(attachment),
    };
    let open = |path: &str| File::open(path).map_err(CableProblem::OpenNamespace);
    let own = open("/proc/self/ns/net")?;
    let containers = open(&format!("/proc/{pid}/ns/net"))?;
    if let Some(attachment) = attachment {
        plug_in(&containers, attachment)?;
    }
    // A socket stays in the namespace that it was opened in.
    nix::sched::setns(&containers, CloneFlags::CLONE_NEWNET).map_err(CableProblem::Enter)?;
    let socket = Socket::open(Family::Route);
    nix::sched::setns(&own, CloneFlags::CLONE_NEWNET).map_err(CableProblem::Enter)?;
    configure(&socket?, attachment)
}

fn plug_in(namespace: &File, attachment: &Attachment) -> Result<(), CableProblem> {
    let find = |source| CableProblem::FindBridge { name: attachment.bridge.clone(), source };
    let index = fs::read_to_string(format!("/sys/class/net/{}/ifindex", attachment.bridge));
    let index = index.map_err(find)?;
    let bridge =
        index.trim().parse().map_err(|_nonsense| find(io::ErrorKind::InvalidData.into()))?;
    let (address, prefix, _) = attachment.ipv4;
    let number = address.to_bits() & u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
    let cable = Cable {
        link: &attachment.link,
        bridge,
        name: INSIDE,
        mac: addresses::mac(number),
        namespace: u32::try_from(namespace.as_raw_fd()).unwrap_or(u32::MAX),
        mtu: attachment.mtu,
    };
    let lay = || {
        let mut batch = Batch::default();
        interface::lay_cable(&mut batch, cable);
        batch
    };
    let socket = Socket::open(Family::Route)?;
    match socket.carry_out(lay()) {
        // The kernel takes its time over the namespace of the run before, and the cable is there as long.
        Err(error) if error.errno() == Some(rustix::io::Errno::EXIST.raw_os_error()) => {
            let mut old = Batch::default();
            interface::remove(&mut old, &attachment.link);
            // It may be gone by now.
            drop(socket.carry_out(old));
            Ok(socket.carry_out(lay())?)
        }
        other => Ok(other?),
    }
}

/// Speaks to the container's namespace through a socket in it.
fn configure(socket: &Socket, attachment: Option<&Attachment>) -> Result<(), CableProblem> {
    let mut batch = Batch::default();
    interface::set_up(&mut batch, LOOPBACK);
    let Some(attachment) = attachment else { return Ok(socket.carry_out(batch)?) };
    let index = socket.index_of(INSIDE)?;
    let add = |batch: &mut Batch, address: IpAddr, prefix, gateway: IpAddr| {
        interface::add_address(batch, index, address, prefix);
        interface::add_default_route(batch, index, gateway);
    };
    interface::set_up(&mut batch, index);
    let (address, prefix, gateway) = attachment.ipv4;
    add(&mut batch, address.into(), prefix, gateway.into());
    socket.carry_out(batch)?;
    let Some((address, prefix, gateway)) = attachment.ipv6 else { return Ok(()) };
    let mut batch = Batch::default();
    add(&mut batch, address.into(), prefix, gateway.into());
    match socket.carry_out(batch) {
        // The unit's own sysctls forbid IPv6.
        Err(error) if error.errno() == Some(rustix::io::Errno::ACCESS.raw_os_error()) => Ok(()),
        other => Ok(other?),
    }
}
