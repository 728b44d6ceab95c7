//! IPv4 packets of one Ethernet interface, read and written beneath the kernel's own IP: before there is an
//! address, and whatever the packet filter does.
//!
//! # Source
//! packet(7), linux/filter.h

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Instructions of a classic filter that a program may have here.
const FILTER_MAX: usize = 64;
/// Everybody on the link.
const BROADCAST: [u8; 6] = [0xff; 6];

/// One instruction of a classic packet filter: code, jump if true, jump if false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// Opens a socket that hears the IPv4 packets of the interface `index` that `filter` takes, without their
/// Ethernet headers. It does not block. Nothing is heard before the filter is in force.
///
/// # Errors
/// The process may not, or there is no such interface.
pub fn open(index: u32, filter: &[Instruction]) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Without a protocol it hears nothing until it is bound.
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
    attach(&socket, filter)?;
    let address = link_address(index)?;
    // SAFETY: the address is a whole sockaddr_ll that lives until the call is over, and its size is given.
    let result =
        unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length_of(&address)) };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// Sends an IPv4 packet to everybody on the link of the interface `index`.
///
/// # Errors
/// The link is down, or its queue is full.
pub fn broadcast(socket: impl AsFd, index: u32, packet: &[u8]) -> io::Result<()> {
    let address = link_address(index)?;
    // SAFETY: packet and address live until the call is over, and their sizes are given.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const address).cast(),
            length_of(&address),
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn attach(socket: &OwnedFd, filter: &[Instruction]) -> io::Result<()> {
    let mut code: Vec<libc::sock_filter> = filter
        .iter()
        .take(FILTER_MAX)
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    let program =
        libc::sock_fprog { len: u16::try_from(code.len()).unwrap_or(0), filter: code.as_mut_ptr() };
    // SAFETY: the program points to as many instructions as it says, which live until the call is over; the kernel
    // copies and checks them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length_of(&program),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn link_address(index: u32) -> io::Result<libc::sockaddr_ll> {
    let [a, b, c, d, e, f] = BROADCAST;
    Ok(libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: u16::try_from(libc::ETH_P_IP).unwrap_or_default().to_be(),
        sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [a, b, c, d, e, f, 0, 0],
    })
}

fn length_of<T>(value: &T) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of_val(value)).unwrap_or_default()
}
