//! Connections to servers of which some addresses do not answer: families take turns, and the next address is tried while
//! the one before is silent still.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};

use super::address::Origin;

/// Longest wait for a name's addresses, for TCP by all of them together, and for TLS.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How long an address is waited for before the next is tried as well (RFC 8305).
const NEXT_AFTER: Duration = Duration::from_millis(250);
/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 16;

/// What became of an address.
#[derive(Debug)]
struct Tried {
    address: SocketAddr,
    /// Nothing came of it where there is none.
    why: Option<io::Error>,
}

/// No address of a server took a connection.
#[derive(Debug)]
struct Unreached(Vec<Tried>);

impl std::error::Error for Unreached {}

impl fmt::Display for Unreached {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("its name has no address");
        }
        for (index, tried) in self.0.iter().enumerate() {
            formatter.write_str(if index == 0 { "" } else { "; " })?;
            match &tried.why {
                Some(why) => write!(formatter, "{}: {why}", tried.address)?,
                None => write!(formatter, "{}: nothing came", tried.address)?,
            }
        }
        Ok(())
    }
}

/// The addresses of a server that were not tried yet.
#[derive(Debug)]
pub(super) struct Addresses {
    left: VecDeque<SocketAddr>,
    /// Those from which no connection came of use.
    tried: Vec<Tried>,
}

impl From<Vec<SocketAddr>> for Addresses {
    fn from(left: Vec<SocketAddr>) -> Self {
        Self { left: left.into(), tried: Vec::new() }
    }
}

impl Addresses {
    /// Looks a server's name up.
    pub(super) async fn of(origin: &Origin) -> io::Result<Self> {
        let looking = lookup_host((origin.host.as_str(), origin.port));
        let found = timeout(PATIENCE, looking).await.map_err(|_elapsed| {
            io::Error::new(io::ErrorKind::TimedOut, "nobody says what addresses its name has")
        })??;
        Ok(in_turns(found).into())
    }

    /// Whether there is another one to try.
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Notes that nothing came of a connection to this address.
    pub(super) fn note(&mut self, address: SocketAddr, why: Option<io::Error>) {
        self.tried.push(Tried { address, why });
    }

    /// Why none was of use. Where a server refused it, and no address was silent, its kind says so: another try soon does no better.
    pub(super) fn problem(self) -> io::Error {
        use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, NetworkUnreachable, Other};
        let kind = |tried: &Tried| tried.why.as_ref().map_or(Other, io::Error::kind);
        let kinds: Vec<io::ErrorKind> = self.tried.iter().map(kind).collect();
        // A family that this node does not have says nothing about the server.
        let at_once = |kind: &io::ErrorKind| {
            matches!(kind, ConnectionRefused | NetworkUnreachable | AddrNotAvailable)
        };
        let refused = kinds.contains(&ConnectionRefused) && kinds.iter().all(at_once);
        let kind = if refused { ConnectionRefused } else { Other };
        io::Error::new(kind, Unreached(self.tried))
    }

    /// The first connection that is there. An address that was begun with and is overtaken is not lost.
    pub(super) async fn connect(&mut self) -> Option<(SocketAddr, TcpStream)> {
        let until = Instant::now() + PATIENCE;
        let mut running = FuturesUnordered::new();
        let mut begun = VecDeque::new();
        loop {
            if let Some(address) = self.left.pop_front() {
                begun.push_back(address);
                running.push(async move { (address, TcpStream::connect(address).await) });
            }
            let next = if self.left.is_empty() { until } else { Instant::now() + NEXT_AFTER };
            let wait = sleep(next.min(until).saturating_duration_since(Instant::now()));
            tokio::select! {
                ended = running.next() => match ended {
                    Some((address, Ok(stream))) => {
                        begun.retain(|one| *one != address);
                        begun.append(&mut self.left);
                        self.left = begun;
                        return Some((address, stream));
                    }
                    Some((address, Err(error))) => {
                        begun.retain(|one| *one != address);
                        self.note(address, Some(error));
                    }
                    None => return None,
                },
                () = wait => {
                    if Instant::now() >= until {
                        begun.into_iter().for_each(|address| self.note(address, None));
                        return None;
                    }
                }
            }
        }
    }
}

/// The addresses, families in turns, the resolver's first one first.
fn in_turns(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let first_is_ipv6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| one.is_ipv6() == first_is_ipv6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        match (first.next(), second.next()) {
            (None, None) => break,
            (one, other) => turns.extend(one.into_iter().chain(other)),
        }
    }
    turns.truncate(ADDRESSES_MAX);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_the_first_stays_first() {
        let check = |found: &[&str], expected: &[&str]| {
            let read = |text: &&str| text.parse::<SocketAddr>().unwrap();
            let expected: Vec<SocketAddr> = expected.iter().map(read).collect();
            assert_eq!(in_turns(found.iter().map(read)), expected, "{found:?}");
        };
        check(&[], &[]);
        check(&["1.1.1.1:1"], &["1.1.1.1:1"]);
        check(
            &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "[::1]:1"],
            &["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"],
        );
        check(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]);
        let many = (1..=40).map(|last| SocketAddr::from(([10, 0, 0, last], 1)));
        assert_eq!(in_turns(many).len(), ADDRESSES_MAX);
    }

    #[test]
    fn a_server_that_refuses_is_told_from_one_that_cannot_be_reached() {
        use io::ErrorKind::{ConnectionRefused, NetworkUnreachable, Other, TimedOut};
        for (whys, expected) in [
            (vec![], Other),
            (vec![Some(ConnectionRefused)], ConnectionRefused),
            (vec![Some(NetworkUnreachable), Some(ConnectionRefused)], ConnectionRefused),
            (vec![Some(NetworkUnreachable)], Other),
            (vec![Some(ConnectionRefused), None], Other),
            (vec![Some(TimedOut), Some(ConnectionRefused)], Other),
        ] {
            let mut addresses = Addresses::from(Vec::new());
            for why in &whys {
                addresses.note(SocketAddr::from(([10, 0, 0, 1], 1)), why.map(io::Error::from));
            }
            assert_eq!(addresses.problem().kind(), expected, "{whys:?}");
        }
    }

    /// A listener that takes no connection any more, as a server behind a filter that drops packets, and what fills it.
    async fn silent() -> (tokio::net::TcpListener, Vec<TcpStream>) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = Vec::new();
        while let Ok(taken) = timeout(NEXT_AFTER, TcpStream::connect(address)).await {
            held.push(taken.unwrap());
            assert!(held.len() < 100, "it takes all");
        }
        (listener, held)
    }

    #[tokio::test]
    async fn a_silent_address_holds_up_for_a_moment_only() {
        let (mute, _held) = silent().await;
        let good = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mute, good) = (mute.local_addr().unwrap(), good.local_addr().unwrap());
        // Nobody listens there.
        let closed = "127.0.0.1:1".parse().unwrap();
        for all in [&[mute, good][..], &[mute, closed, mute, good], &[closed, good], &[good, mute]]
        {
            let begun = Instant::now();
            let mut addresses = Addresses::from(all.to_vec());
            let (address, _) = addresses.connect().await.unwrap();
            assert_eq!(address, good, "{all:?}");
            assert!(begun.elapsed() < PATIENCE / 3, "{all:?}: {:?}", begun.elapsed());
            assert!(!addresses.left.contains(&good), "{all:?}");
        }
    }

    #[tokio::test]
    async fn where_none_answers_all_are_named() {
        let closed: [SocketAddr; 2] = ["127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap()];
        let mut addresses = Addresses::from(closed.to_vec());
        assert!(addresses.connect().await.is_none());
        addresses.note("10.0.0.1:1".parse().unwrap(), None);
        let text = addresses.problem().to_string();
        for part in ["127.0.0.1:1: ", "[::1]:1: ", "10.0.0.1:1: nothing came"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
