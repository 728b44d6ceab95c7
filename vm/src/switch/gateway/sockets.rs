//! The gateway's TCP and UDP sockets, as smoltcp has them, with the sizes that they have here.

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Duration;
use smoltcp::wire::IpListenEndpoint;

/// Bytes on their way per direction of a connection: at the 10 ms that a loaded computer takes for a round, 25 MB/s.
const STREAM_BYTES: usize = 256 << 10;
/// Datagrams that wait, and their bytes.
const DATAGRAMS: usize = 64;
const DATAGRAM_BYTES: usize = 64 << 10;
/// Connections that come at one moment and are all taken; one more is refused.
const BACKLOG: usize = 8;
/// How long a machine may leave what was sent to it unacknowledged: longer than one is paused in a test.
const UNANSWERED: Duration = Duration::from_secs(300);
/// How long a machine may take to answer a connection: it may be off, and somebody waits.
const CONNECTING: Duration = Duration::from_secs(10);
/// How long it may take where another one can be asked.
const CONNECTING_BRIEFLY: Duration = Duration::from_secs(1);
/// How often a machine that says nothing is asked whether it still lives.
const ASKED: Duration = Duration::from_secs(30);

/// A TCP socket.
pub(crate) fn stream() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; STREAM_BYTES]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_timeout(Some(UNANSWERED));
    socket.set_keep_alive(Some(ASKED));
    socket
}

/// A TCP socket that is about to connect.
pub(crate) fn connecting() -> tcp::Socket<'static> {
    let mut socket = stream();
    socket.set_timeout(Some(CONNECTING));
    socket
}

/// A TCP socket that is about to connect, and gives up soon.
pub(crate) fn briefly() -> tcp::Socket<'static> {
    let mut socket = stream();
    socket.set_timeout(Some(CONNECTING_BRIEFLY));
    socket
}

/// It has connected.
pub(crate) fn connected(socket: &mut tcp::Socket<'_>) {
    socket.set_timeout(Some(UNANSWERED));
}

/// A UDP socket at `port` of every address of the gateway.
pub(crate) fn datagrams(sockets: &mut SocketSet<'static>, port: u16) -> SocketHandle {
    let buffer = || {
        let metadata = vec![udp::PacketMetadata::EMPTY; DATAGRAMS];
        udp::PacketBuffer::new(metadata, vec![0; DATAGRAM_BYTES])
    };
    let mut socket = udp::Socket::new(buffer(), buffer());
    // Refused only where a port is zero or the socket is open.
    let bound = socket.bind(port);
    debug_assert!(bound.is_ok());
    sockets.add(socket)
}

/// Sockets that listen at one place.
#[derive(Debug)]
pub(crate) struct Listening {
    at: IpListenEndpoint,
    waiting: Vec<SocketHandle>,
}

impl Listening {
    pub(crate) fn new(at: impl Into<IpListenEndpoint>) -> Self {
        Self { at: at.into(), waiting: Vec::new() }
    }

    /// Connections that have come; as many sockets listen anew.
    pub(crate) fn accept(&mut self, sockets: &mut SocketSet<'static>) -> Vec<SocketHandle> {
        let mut come = Vec::new();
        self.waiting.retain(|handle| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(*handle);
            match socket.state() {
                tcp::State::Listen | tcp::State::SynReceived => true,
                tcp::State::Closed => {
                    sockets.remove(*handle);
                    false
                }
                _ => {
                    come.push(*handle);
                    false
                }
            }
        });
        while self.waiting.len() < BACKLOG {
            let mut socket = stream();
            if socket.listen(self.at).is_err() {
                break;
            }
            self.waiting.push(sockets.add(socket));
        }
        come
    }
}
