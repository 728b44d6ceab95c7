//! Which of the name servers answer, so that one that is silent does not cost every question a wait.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a server that was silent comes after the others. Then it is first again, where it was: the first one of a
/// list may know names that the others do not.
const LAST_FOR: Duration = Duration::from_secs(30);

/// What is known of the servers that were asked.
#[derive(Debug, Default)]
pub(super) struct Health(BTreeMap<SocketAddr, Known>);

#[derive(Debug, Default, Clone, Copy)]
struct Known {
    /// When it was heard last.
    heard: Option<Instant>,
    /// When it was found silent, if nothing was heard of it since.
    silent: Option<Instant>,
}

impl Health {
    /// The servers in the order in which they are asked. Others are forgotten.
    pub(super) fn ordered(&mut self, servers: &[SocketAddr], now: Instant) -> Vec<SocketAddr> {
        self.0.retain(|server, _| servers.contains(server));
        let is_last = |server: &&SocketAddr| {
            let silent = self.0.get(server).and_then(|known| known.silent);
            silent.is_some_and(|silent| now.saturating_duration_since(silent) < LAST_FOR)
        };
        let (last, first): (Vec<_>, Vec<_>) = servers.iter().partition(is_last);
        first.into_iter().chain(last).copied().collect()
    }

    /// A server said something.
    pub(super) fn heard(&mut self, server: SocketAddr, now: Instant) {
        self.0.insert(server, Known { heard: Some(now), silent: None });
    }

    /// A server did not answer what it was asked at `asked`. One that answered somebody else since then lives: it is that
    /// name which is slow, and whoever asks for such names is not to decide whom others ask.
    pub(super) fn silent(&mut self, server: SocketAddr, asked: Instant, now: Instant) {
        let known = self.0.entry(server).or_default();
        if known.heard.is_none_or(|heard| heard < asked) {
            known.silent = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 53).into()
    }

    #[test]
    fn who_was_silent_comes_last_for_a_while() {
        let all = [server(1), server(2), server(3)];
        let (mut health, begin) = (Health::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(health.ordered(&all, begin), all);
        health.silent(server(1), begin, after(2));
        assert_eq!(health.ordered(&all, after(3)), [server(2), server(3), server(1)]);
        health.silent(server(2), after(3), after(5));
        assert_eq!(health.ordered(&all, after(6)), [server(3), server(1), server(2)]);
        health.heard(server(1), after(7));
        assert_eq!(health.ordered(&all, after(8)), [server(1), server(3), server(2)]);
        health.silent(server(1), after(6), after(8));
        assert_eq!(health.ordered(&all, after(8))[0], server(1), "it was heard meanwhile");
        assert_eq!(health.ordered(&all, after(36)), all);
        assert_eq!(health.ordered(&all[..1], after(36)), &all[..1]);
        assert_eq!(health.0.len(), 1, "others are forgotten");
    }

    #[test]
    fn where_all_are_silent_all_are_asked() {
        let all = [server(1), server(2)];
        let (mut health, now) = (Health::default(), Instant::now());
        for server in all {
            health.silent(server, now, now);
        }
        assert_eq!(health.ordered(&all, now), all);
    }
}
