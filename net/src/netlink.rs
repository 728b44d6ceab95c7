//! Netlink without a runtime: requests are made as bytes, sent in one packet, and answered before anything else
//! happens. The agent's blocking threads and the single-threaded shim share it.
//!
//! # Source
//! netlink(7), linux/netlink.h

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Bytes of `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER_BYTES: usize = 16;
/// Everything is padded to this.
const ALIGNMENT: usize = 4;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
const ACK: u16 = 0x4;
/// `NLMSG_ERROR`, which is also an acknowledgement.
const ERROR: u16 = 2;
/// `NLMSG_DONE`: the last message of a list.
const DONE: u16 = 3;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// Room for one answer: an acknowledgement repeats the request that failed.
const ANSWER_BYTES: usize = 16 * 1024;
/// The kernel answers at once; it is never waited for without end.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// `NLM_F_DUMP`: all there are.
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_EXCL`.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_REPLACE`.
pub(crate) const REPLACE: u16 = 0x100;

/// Whom a socket speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Interfaces, addresses, routes.
    Route,
    /// Packet filter and connection tracking.
    Netfilter,
    /// Whatever has a name there: WireGuard.
    Generic,
}

/// The kernel did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NetlinkProblem {
    #[error("open a netlink socket")]
    Open(#[source] io::Error),
    #[error("find interface {name}")]
    Find { name: String, source: io::Error },
    #[error("send a netlink request")]
    Send(#[source] io::Error),
    #[error("read the answer to a netlink request")]
    Receive(#[source] io::Error),
    #[error("{act}")]
    Refused { act: &'static str, source: io::Error },
}

impl NetlinkProblem {
    /// The kernel's answer lacks what was asked for.
    pub(crate) fn nonsense() -> Self {
        Self::Receive(io::ErrorKind::InvalidData.into())
    }

    /// The kernel's error number, where it refused something.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            Self::Open(_) | Self::Find { .. } | Self::Send(_) | Self::Receive(_) => None,
        }
    }
}

/// Requests that go to the kernel together, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// What each request is for; the index is its sequence number.
    acts: Vec<&'static str>,
    /// Where the request starts whose acknowledgement ends the exchange.
    last: Option<(usize, u32)>,
}

impl Batch {
    /// Adds a request: its `header` is what the family puts before the attributes.
    pub(crate) fn request(
        &mut self,
        act: &'static str,
        (kind, flags): (u16, u16),
        header: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.last = Some((self.bytes.len(), self.sequence()));
        self.message(act, (kind, flags), header, fill);
    }

    /// Adds a message that is not acknowledged: the frame of a transaction.
    pub(crate) fn frame(&mut self, act: &'static str, kind: u16, header: &[u8]) {
        self.message(act, (kind, 0), header, |_| {});
    }

    fn sequence(&self) -> u32 {
        u32::try_from(self.acts.len()).unwrap_or(u32::MAX)
    }

    fn message(
        &mut self,
        act: &'static str,
        (kind, flags): (u16, u16),
        header: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence().to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        fill(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        patch(&mut self.bytes, start, &length.to_ne_bytes());
        self.acts.push(act);
    }

    /// What goes over the wire: only the last request is acknowledged, since errors are told unasked.
    fn finished(mut self) -> (Vec<u8>, u32, Vec<&'static str>) {
        let Some((start, sequence)) = self.last else { return (Vec::new(), 0, Vec::new()) };
        let flags = self.bytes.get(start + 6..start + 8).and_then(|bytes| bytes.try_into().ok());
        let flags = flags.map_or(0, u16::from_ne_bytes) | ACK;
        patch(&mut self.bytes, start + 6, &flags.to_ne_bytes());
        (self.bytes, sequence, self.acts)
    }
}

fn patch(bytes: &mut [u8], start: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(start..start + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Attributes of a request: type, length, value, padding.
#[derive(Debug)]
pub(crate) struct Attributes<'batch>(&'batch mut Vec<u8>);

impl<'batch> Attributes<'batch> {
    /// Attributes that are added to these bytes.
    #[cfg(test)]
    pub(crate) const fn of(bytes: &'batch mut Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Attributes<'_> {
    /// An attribute of bytes.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.with(kind, |bytes| bytes.extend_from_slice(value))
    }

    /// A number in the machine's order, as the route family has it.
    pub(crate) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// A number in network order, as the netfilter family has it.
    pub(crate) fn net_number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// A text with its NUL.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.with(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        })
    }

    /// Attributes within an attribute.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.with(kind | NESTED, |bytes| fill(&mut Attributes(bytes)))
    }

    /// Bytes that are no attribute: a header within an attribute.
    pub(crate) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    fn with(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        fill(self.0);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        patch(self.0, start, &length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        self
    }
}

/// A socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Opens a socket.
    pub(crate) fn open(family: Family) -> Result<Self, NetlinkProblem> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => std::num::NonZeroU32::new(12).map(Protocol::from_raw),
            Family::Generic => std::num::NonZeroU32::new(16).map(Protocol::from_raw),
        };
        let failed = |errno: rustix::io::Errno| NetlinkProblem::Open(errno.into());
        let (domain, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let socket = rustix::net::socket_with(domain, kind, SocketFlags::CLOEXEC, protocol);
        let socket = socket.map_err(failed)?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_MAX)).map_err(failed)?;
        Ok(Self(socket))
    }

    /// Number of an interface in this socket's network namespace.
    pub(crate) fn index_of(&self, name: &str) -> Result<u32, NetlinkProblem> {
        rustix::net::netdevice::name_to_index(&self.0, name)
            .map_err(|errno| NetlinkProblem::Find { name: name.to_owned(), source: errno.into() })
    }

    /// Has the kernel carry out a batch. The first request that it refuses is the error; whether others were
    /// carried out is the family's business.
    pub(crate) fn carry_out(&self, batch: Batch) -> Result<(), NetlinkProblem> {
        let (bytes, last, acts) = batch.finished();
        if bytes.is_empty() {
            return Ok(());
        }
        rustix::net::send(&self.0, &bytes, SendFlags::empty())
            .map_err(|errno| NetlinkProblem::Send(errno.into()))?;
        let mut first = None;
        loop {
            let mut answer = vec![0; ANSWER_BYTES];
            let (length, _) = rustix::net::recv(&self.0, &mut answer[..], RecvFlags::empty())
                .map_err(|errno| NetlinkProblem::Receive(errno.into()))?;
            for (sequence, negated) in verdicts(answer.get(..length).unwrap_or_default()) {
                if negated != 0 && first.is_none() {
                    let index = usize::try_from(sequence).unwrap_or(usize::MAX);
                    let act = acts.get(index).copied().unwrap_or("carry out a netlink request");
                    let source = io::Error::from_raw_os_error(negated.saturating_neg());
                    first = Some(NetlinkProblem::Refused { act, source });
                }
                if sequence == last {
                    return first.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Asks, and answers with what each message of the answer holds after its header.
    pub(crate) fn ask(&self, batch: Batch) -> Result<Vec<Vec<u8>>, NetlinkProblem> {
        let mut found = Vec::new();
        self.ask_each(batch, |message| found.push(message.to_vec()))?;
        Ok(found)
    }

    /// Likewise, one message after the other: a list may be longer than anybody wants to keep.
    pub(crate) fn ask_each(
        &self,
        batch: Batch,
        mut hear: impl FnMut(&[u8]),
    ) -> Result<(), NetlinkProblem> {
        let (bytes, last, acts) = batch.finished();
        rustix::net::send(&self.0, &bytes, SendFlags::empty())
            .map_err(|errno| NetlinkProblem::Send(errno.into()))?;
        let mut answer = vec![0; ANSWER_BYTES];
        loop {
            let (length, _) = rustix::net::recv(&self.0, &mut answer[..], RecvFlags::empty())
                .map_err(|errno| NetlinkProblem::Receive(errno.into()))?;
            let mut rest = answer.get(..length).unwrap_or_default();
            while let Some((length, kind, sequence)) = header(rest) {
                let Some(message) = rest.get(HEADER_BYTES..length) else { break };
                rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
                if sequence != last {
                    continue;
                }
                match kind {
                    DONE => return Ok(()),
                    ERROR => {
                        let code = message.get(..4).and_then(|code| code.try_into().ok());
                        let negated = code.map_or(0, i32::from_ne_bytes);
                        if negated == 0 {
                            return Ok(());
                        }
                        let act = acts.first().copied().unwrap_or("ask the kernel");
                        let source = io::Error::from_raw_os_error(negated.saturating_neg());
                        return Err(NetlinkProblem::Refused { act, source });
                    }
                    _ => hear(message),
                }
            }
        }
    }
}

/// Attributes as they were written: kind and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind & !NESTED, value))
    })
}

/// Sequence number and negated error number of each acknowledgement.
fn verdicts(mut answer: &[u8]) -> Vec<(u32, i32)> {
    let mut found = Vec::new();
    while let Some((length, kind, sequence)) = header(answer) {
        let Some(message) = answer.get(..length) else { break };
        let code =
            message.get(HEADER_BYTES..HEADER_BYTES + 4).and_then(|code| code.try_into().ok());
        if let (ERROR, Some(code)) = (kind, code) {
            found.push((sequence, i32::from_ne_bytes(code)));
        }
        answer = answer.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    found
}

fn header(message: &[u8]) -> Option<(usize, u16, u32)> {
    let length = u32::from_ne_bytes(message.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let sequence = u32::from_ne_bytes(message.get(8..12)?.try_into().ok()?);
    let length = usize::try_from(length).ok().filter(|length| *length >= HEADER_BYTES)?;
    Some((length, kind, sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_the_kernel_reads_it() {
        let mut batch = Batch::default();
        batch.frame("begin", 0x10, &[9; 4]);
        batch.request("do", (16, CREATE), &[7; 4], |attributes| {
            attributes.text(3, "ab").nest(18, |inner| {
                inner.number(1, 5);
            });
        });
        let (bytes, last, acts) = batch.finished();
        assert_eq!((last, acts), (1, vec!["begin", "do"]));
        let begin: &[u8] = &[20, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9];
        let head: &[u8] = &[40, 0, 0, 0, 16, 0, 5, 4, 1, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7];
        let text: &[u8] = &[7, 0, 3, 0, b'a', b'b', 0, 0];
        let nest: &[u8] = &[12, 0, 18, 0x80, 8, 0, 1, 0, 5, 0, 0, 0];
        assert_eq!(bytes, [begin, head, text, nest].concat());
    }

    #[test]
    fn verdicts_are_read_and_nonsense_is_not() {
        let mut ack = vec![20, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        ack.extend_from_slice(&(-17_i32).to_ne_bytes());
        assert_eq!(verdicts(&ack), [(7, -17)]);
        assert_eq!(verdicts(&[ack.clone(), ack.clone()].concat()), [(7, -17), (7, -17)]);
        assert_eq!(verdicts(&ack[..18]), []);
        ack[0] = 3;
        assert_eq!(verdicts(&ack), []);
    }
}
