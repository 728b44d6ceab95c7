//! `lo` of a new network namespace is brought up: programs expect 127.0.0.1 to be there.

use std::fs::File;
use std::io;

use nix::sched::CloneFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

/// Index of the loopback interface: the first in every network namespace.
const LOOPBACK_INDEX: i32 = 1;
/// `RTM_NEWLINK` (linux/rtnetlink.h).
const RTM_NEWLINK: u16 = 16;
/// `NLM_F_REQUEST | NLM_F_ACK` (linux/netlink.h).
const REQUEST_WITH_ACK: u16 = 0x1 | 0x4;
/// `NLMSG_ERROR`, which is also an acknowledgement.
const NLMSG_ERROR: u16 = 2;
/// `IFF_UP` (linux/if.h).
const IFF_UP: u32 = 1;
/// Length of the request: header and `struct ifinfomsg`.
const REQUEST_BYTES: u32 = 16 + 16;

/// Enters the network namespace of `pid`, sets `lo` up, and comes back.
///
/// Only for a single-threaded process, whose network namespace is the thread's.
pub(super) fn bring_up(pid: i32) -> io::Result<()> {
    let own = File::open("/proc/self/ns/net")?;
    let containers = File::open(format!("/proc/{pid}/ns/net"))?;
    nix::sched::setns(&containers, CloneFlags::CLONE_NEWNET)?;
    let result = set_up();
    nix::sched::setns(&own, CloneFlags::CLONE_NEWNET)?;
    result
}

fn set_up() -> io::Result<()> {
    // Protocol 0 of this family is NETLINK_ROUTE.
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    rustix::net::send(&socket, &request(), SendFlags::empty())?;
    let mut answer = [0_u8; 512];
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    match acknowledged(answer.get(..length).unwrap_or_default()) {
        Some(0) => Ok(()),
        Some(negated) => Err(io::Error::from_raw_os_error(negated.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// `nlmsghdr` (length, type, flags, sequence, port), then `ifinfomsg` (family, padding, type, index, flags, change).
fn request() -> Vec<u8> {
    let mut message = Vec::new();
    message.extend_from_slice(&REQUEST_BYTES.to_ne_bytes());
    message.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&REQUEST_WITH_ACK.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    message
}

/// The error number, negated, of an acknowledgement.
fn acknowledged(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(())?;
    Some(i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_length_it_says() {
        assert_eq!(request().len(), usize::try_from(REQUEST_BYTES).unwrap());
    }

    #[test]
    fn answers_are_read() {
        let mut answer = vec![0; 36];
        answer[4] = 2;
        assert_eq!(acknowledged(&answer), Some(0));
        answer[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(acknowledged(&answer), Some(-1));
        assert_eq!(acknowledged(&answer[..10]), None);
        answer[4] = 3;
        assert_eq!(acknowledged(&answer), None);
    }
}
