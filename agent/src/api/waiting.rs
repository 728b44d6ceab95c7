//! Peers that have not shown a certificate yet: how many are waited for, and who goes when one more comes.
//!
//! A stranger costs nothing to be one, so that any number that refuses newcomers would be used up by strangers. Here the
//! newcomer always gets in, and the oldest of those who take up most room goes: a peer that has a certificate shows it
//! within moments. Places are counted by source first, so that one source pushes out its own. Who has said what it wants
//! (a whole ClientHello) waits apart from those who have not: to say nothing is cheap, and one that comes again whenever
//! it is sent away would push out whoever is in the middle of a handshake, an operator behind the same address for example.

use std::collections::VecDeque;
use std::net::IpAddr;

/// Most peers that are waited for.
pub(super) const WAITING_MAX: usize = 64;
/// Most of them from one source.
pub(super) const PER_SOURCE_MAX: usize = 16;

/// Where a peer comes from: an IPv4 address, or an IPv6 network, of which one machine has all addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source([u8; 16]);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().octets()),
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                Self(network.to_be_bytes())
            }
        }
    }
}

/// Who is waited for, in the order in which they came; `T` ends one of them.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    peers: VecDeque<(u64, Source, T)>,
    next: u64,
}

/// All that are waited for: those who have said nothing whole yet, and those in the middle of a handshake.
#[derive(Debug)]
pub(super) struct Hall<T> {
    silent: Waiting<T>,
    shaking_hands: Waiting<T>,
}

impl<T> Default for Hall<T> {
    fn default() -> Self {
        Self { silent: Waiting::default(), shaking_hands: Waiting::default() }
    }
}

impl<T> Hall<T> {
    /// A number for a peer that is about to come.
    pub(super) const fn number(&mut self) -> u64 {
        self.silent.number()
    }

    /// One more peer, which has said nothing; answers with the one that must go, if one must.
    pub(super) fn enter(&mut self, number: u64, source: Source, end: T) -> Option<T> {
        self.silent.enter(number, source, end)
    }

    /// A peer has said what it wants; answers with the one that must go, if one must.
    pub(super) fn speaks(&mut self, number: u64, source: Source) -> Option<T> {
        let end = self.silent.leave(number)?;
        self.shaking_hands.enter(number, source, end)
    }

    /// A peer has shown its certificate, or is gone.
    pub(super) fn leave(&mut self, number: u64) {
        if self.silent.leave(number).is_none() {
            self.shaking_hands.leave(number);
        }
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { peers: VecDeque::new(), next: 0 }
    }
}

impl<T> Waiting<T> {
    /// A number for a peer that is about to come.
    pub(super) const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// One more peer; answers with the one that must go, if one must.
    pub(super) fn enter(&mut self, number: u64, source: Source, end: T) -> Option<T> {
        let goes = if self.count(source) >= PER_SOURCE_MAX {
            Some(source)
        } else if self.peers.len() >= WAITING_MAX {
            // Of equals `max_by_key` takes the last that it sees: here the one that came first.
            let largest = self.peers.iter().rev().max_by_key(|(_, source, _)| self.count(*source));
            largest.map(|(_, source, _)| *source)
        } else {
            None
        };
        let oldest = goes.and_then(|goes| self.peers.iter().position(|(_, of, _)| *of == goes));
        let gone = oldest.and_then(|at| self.peers.remove(at)).map(|(_, _, end)| end);
        self.peers.push_back((number, source, end));
        gone
    }

    /// A peer has shown its certificate, or is gone; answers with what was kept of it, unless it had to go before.
    pub(super) fn leave(&mut self, number: u64) -> Option<T> {
        let at = self.peers.iter().position(|(other, _, _)| *other == number)?;
        self.peers.remove(at).map(|(_, _, end)| end)
    }

    fn count(&self, source: Source) -> usize {
        self.peers.iter().filter(|(_, other, _)| *other == source).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    /// Those that are left after all have come, by their places in `sources`.
    fn left(sources: &[Source]) -> Vec<usize> {
        let mut waiting = Waiting::default();
        for (at, source) in sources.iter().enumerate() {
            let number = waiting.number();
            waiting.enter(number, *source, at);
        }
        waiting.peers.into_iter().map(|(_, _, at)| at).collect()
    }

    #[test]
    fn a_source_pushes_out_its_own_oldest() {
        let strangers = [source("10.0.0.1"); 80];
        assert_eq!(left(&strangers), (80 - PER_SOURCE_MAX..80).collect::<Vec<_>>());
        let mut mixed = vec![source("10.0.0.2")];
        mixed.extend(strangers);
        assert_eq!(left(&mixed)[0], 0, "another source lost its place");
    }

    #[test]
    fn many_sources_lose_the_oldest_of_the_largest() {
        let attackers = (0..6_u8).map(|n| source(&format!("10.0.0.{n}")));
        let mut all = vec![source("10.9.9.9")];
        all.extend(attackers.flat_map(|source| [source; PER_SOURCE_MAX]));
        all.push(source("10.9.9.8"));
        let left = left(&all);
        assert_eq!(left.len(), WAITING_MAX);
        assert!(left.contains(&0) && left.contains(&(all.len() - 1)), "{left:?}");
    }

    #[test]
    fn of_many_sources_with_a_peer_each_the_oldest_goes_and_not_who_came_just_now() {
        let all: Vec<_> = (0..100_u8).map(|n| source(&format!("2001:db8:0:{n}::1"))).collect();
        assert_eq!(left(&all), (100 - WAITING_MAX..100).collect::<Vec<_>>());
    }

    #[test]
    fn who_has_left_takes_no_place() {
        let mut waiting = Waiting::default();
        for _ in 0..10 * WAITING_MAX {
            let number = waiting.number();
            assert_eq!(waiting.enter(number, source("10.0.0.1"), ()), None);
            waiting.leave(number);
        }
    }

    #[test]
    fn who_says_nothing_pushes_out_nobody_who_has_spoken() {
        let mut hall = Hall::default();
        let operator = hall.number();
        assert_eq!(hall.enter(operator, source("10.0.0.1"), "operator"), None);
        assert_eq!(hall.speaks(operator, source("10.0.0.1")), None);
        for _ in 0..10 * WAITING_MAX {
            let number = hall.number();
            let gone = hall.enter(number, source("10.0.0.1"), "stranger");
            assert_ne!(gone, Some("operator"));
        }
        hall.leave(operator);
        assert_eq!(hall.speaks(operator, source("10.0.0.1")), None, "it has left");
    }

    #[test]
    fn who_had_to_go_does_not_come_back_by_speaking() {
        let mut hall = Hall::default();
        let first = hall.number();
        hall.enter(first, source("10.0.0.1"), first);
        let gone: Vec<_> = (0..PER_SOURCE_MAX)
            .filter_map(|_| {
                let number = hall.number();
                hall.enter(number, source("10.0.0.1"), number)
            })
            .collect();
        assert_eq!(gone, [first]);
        assert_eq!(hall.speaks(first, source("10.0.0.1")), None);
        assert_eq!(hall.shaking_hands.peers.len(), 0);
    }

    #[test]
    fn a_machines_network_is_one_source() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
    }
}
