//! Connections that the gateway itself answers: names over TCP, and the metadata address.

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;

use super::dns::{self, Names};
use super::http::{self, Due};

/// Talks at once; the oldest goes where there are more.
const TALKS_MAX: usize = 64;
/// Bytes that are heard before an answer must have been due: the longest DNS message and its length.
const HEARD_MAX_BYTES: usize = (64 << 10) + 2;

/// What is talked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Names,
    Metadata,
}

#[derive(Debug)]
struct Talk {
    handle: SocketHandle,
    about: About,
    heard: Vec<u8>,
    to_say: Vec<u8>,
    /// Nothing more is heard.
    is_over: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Talks(Vec<Talk>);

impl Talks {
    pub(crate) fn add(&mut self, handle: SocketHandle, about: About, sockets: &mut SocketSet<'_>) {
        if self.0.len() >= TALKS_MAX {
            let oldest = self.0.remove(0);
            sockets.get_mut::<tcp::Socket<'_>>(oldest.handle).abort();
            // Its reset is not sent any more: whoever still talks gets one with the next segment.
            sockets.remove(oldest.handle);
        }
        let (heard, to_say) = (Vec::new(), Vec::new());
        self.0.push(Talk { handle, about, heard, to_say, is_over: false });
    }

    /// Hears and says what can be.
    pub(crate) fn go_on(&mut self, sockets: &mut SocketSet<'_>, names: &Names) {
        self.0.retain_mut(|talk| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(talk.handle);
            talk.go_on(socket, names);
            let is_closed = !socket.is_open();
            if is_closed {
                sockets.remove(talk.handle);
            }
            !is_closed
        });
    }
}

impl Talk {
    fn go_on(&mut self, socket: &mut tcp::Socket<'_>, names: &Names) {
        while socket.can_recv() {
            let heard = &mut self.heard;
            let is_over = self.is_over;
            let taken = socket.recv(|bytes| {
                if !is_over {
                    heard.extend_from_slice(bytes);
                }
                (bytes.len(), ())
            });
            if taken.is_err() {
                break;
            }
        }
        if !self.is_over {
            self.answer(names);
        }
        if self.heard.len() > HEARD_MAX_BYTES {
            socket.abort();
            return;
        }
        if socket.can_send() && !self.to_say.is_empty() {
            let said = socket.send_slice(&self.to_say).unwrap_or(0);
            self.to_say.drain(..said);
        }
        let nothing_comes = !socket.may_recv() && socket.recv_queue() == 0;
        if self.to_say.is_empty() && (self.is_over || nothing_comes) {
            socket.close();
        }
    }

    fn answer(&mut self, names: &Names) {
        match self.about {
            About::Names => {
                while let Some(message) = take_message(&mut self.heard) {
                    let Some(reply) = dns::answer(&message, names) else { continue };
                    let length = u16::try_from(reply.len()).unwrap_or(0);
                    self.to_say.extend(length.to_be_bytes());
                    self.to_say.extend(reply);
                }
            }
            About::Metadata => {
                if let Due::Reply(reply) = http::answer(&self.heard, |_| None) {
                    self.to_say = reply;
                    self.heard.clear();
                    self.is_over = true;
                }
            }
        }
    }
}

/// Takes a DNS message off a stream, where each is behind its length (RFC 1035, section 4.2.2).
fn take_message(heard: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (length, rest) = heard.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let message = rest.get(..length)?.to_vec();
    heard.drain(..2 + length);
    Some(message)
}
