//! At which of its addresses a peer is tried: a pure step function.
//!
//! WireGuard sends to one address, and learns another only from a packet that comes. Where the first one of a peer is silent, the
//! others are tried in turn, round and round. A peer that answers, or to which nothing is sent, is left where it is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::wireguard::{Key, Seen};

/// A session is used for so long after its handshake (WireGuard's `REJECT_AFTER_TIME`), in seconds.
const SESSION_S: u64 = 180;
/// An address is tried for so long: handshakes are begun every 5 s (WireGuard's `REKEY_TIMEOUT`), and one may be lost.
const TRIED_FOR: Duration = Duration::from_secs(15);

/// What was seen of each peer last.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    peers: BTreeMap<Key, Tried>,
}

#[derive(Debug, Clone, Copy)]
struct Tried {
    /// Place of its address among those that it has.
    place: usize,
    last: Seen,
    /// Since when something is sent there, and nothing comes.
    in_vain: Option<Duration>,
}

impl Endpoints {
    /// These peers are at their first addresses from now on.
    pub(super) fn begin<'a>(&mut self, peers: impl Iterator<Item = &'a Key>) {
        for key in peers {
            self.peers.remove(key);
        }
    }

    /// Takes in what the kernel says of all peers, and answers with those that are to be tried elsewhere. `now` is of a clock that
    /// only goes forward, `now_s` in seconds since the epoch, as handshakes are; `ways` are all addresses of each peer.
    pub(super) fn step(
        &mut self,
        (now, now_s): (Duration, u64),
        seen: &[(Key, Seen)],
        ways: &BTreeMap<Key, Vec<SocketAddr>>,
    ) -> Vec<(Key, SocketAddr)> {
        let mut elsewhere = Vec::new();
        let before = std::mem::take(&mut self.peers);
        for (key, last) in seen {
            let Some(ways) = ways.get(key) else { continue };
            let fresh = Tried { place: 0, last: *last, in_vain: None };
            let mut tried = before.get(key).copied().unwrap_or(fresh);
            tried.in_vain = tried.in_vain.filter(|_| !answers(&tried.last, last, now_s));
            if last.sent_bytes > tried.last.sent_bytes && !answers(&tried.last, last, now_s) {
                let since = *tried.in_vain.get_or_insert(now);
                if now.saturating_sub(since) >= TRIED_FOR && ways.len() > 1 {
                    tried.place =
                        tried.place.saturating_add(1).checked_rem(ways.len()).unwrap_or(0);
                    tried.in_vain = Some(now);
                    elsewhere.extend(ways.get(tried.place).map(|way| (*key, *way)));
                }
            } else {
                // Nobody asks for it, so that nobody knows.
                tried.in_vain = None;
            }
            tried.last = *last;
            self.peers.insert(*key, tried);
        }
        elsewhere
    }
}

/// It is in a session, or something has come from it. Of a clock that was set one cannot tell how old a handshake is; one that
/// was not there before is new.
const fn answers(before: &Seen, now: &Seen, now_s: u64) -> bool {
    in_session(now.handshake_s, now_s)
        || now.handshake_s != before.handshake_s
        || now.received_bytes > before.received_bytes
}

/// Whether a handshake of that time is of a session that lasts still. One of a time that is yet to come says nothing: the clock was
/// set back.
pub(super) const fn in_session(handshake_s: u64, now_s: u64) -> bool {
    handshake_s != 0 && now_s >= handshake_s && now_s.saturating_sub(handshake_s) < SESSION_S
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: Key = [1; 32];
    /// When the tests begin, in seconds since the epoch.
    const EPOCH_S: u64 = 1_000_000;

    fn way(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 51_820))
    }

    struct Test {
        endpoints: Endpoints,
        ways: BTreeMap<Key, Vec<SocketAddr>>,
        seen: Seen,
        s: u64,
    }

    impl Test {
        fn of(ways: u8) -> Self {
            Self {
                endpoints: Endpoints::default(),
                ways: [(KEY, (1..=ways).map(way).collect())].into(),
                seen: Seen::default(),
                s: 0,
            }
        }

        /// Ten seconds pass, in which so much is sent.
        fn look(&mut self, sent_bytes: u64) -> Option<u8> {
            self.s += 10;
            self.seen.sent_bytes += sent_bytes;
            let now = (Duration::from_secs(self.s), EPOCH_S + self.s);
            let moved = self.endpoints.step(now, &[(KEY, self.seen)], &self.ways);
            moved.first().map(|(_, to)| match to.ip() {
                std::net::IpAddr::V4(ip) => ip.octets()[3],
                std::net::IpAddr::V6(_) => panic!("none"),
            })
        }

        fn shakes_hands(&mut self) {
            self.seen.handshake_s = EPOCH_S + self.s;
            self.seen.received_bytes += 92;
        }
    }

    #[test]
    fn an_address_that_does_not_answer_makes_room_for_the_next_round_and_round() {
        let mut test = Test::of(3);
        let moved: Vec<Option<u8>> = (0..14).map(|_| test.look(148)).collect();
        let at = |to| Some(to);
        // The first look only sees how much was sent before it.
        let none = None;
        assert_eq!(
            moved,
            [
                none,
                none,
                none,
                at(2),
                none,
                at(3),
                none,
                at(1),
                none,
                at(2),
                none,
                at(3),
                none,
                at(1)
            ]
        );
    }

    #[test]
    fn a_peer_that_answers_stays_until_its_session_is_over() {
        let mut test = Test::of(2);
        for _ in 0..4 {
            test.look(148);
        }
        test.shakes_hands();
        let session: Vec<Option<u8>> = (0..17).map(|_| test.look(1000)).collect();
        assert_eq!(session, [None; 17], "its handshake is fresh");
        // It is at its second address now, and falls silent.
        let after: Vec<Option<u8>> = (0..4).map(|_| test.look(148)).collect();
        assert_eq!(after, [None, None, Some(1), None]);
        // Something comes, though no handshake is seen.
        for _ in 0..20 {
            test.seen.received_bytes += 1;
            assert_eq!(test.look(148), None);
        }
    }

    #[test]
    fn where_nothing_is_sent_or_there_is_nowhere_else_nothing_changes() {
        let mut silent = Test::of(2);
        assert!((0..50).all(|_| silent.look(0).is_none()));
        // Now and then a packet is not enough to know.
        assert!((0..50).all(|number| silent.look(148 * (number % 2)).is_none()));
        let mut only = Test::of(1);
        assert!((0..50).all(|_| only.look(148).is_none()));
        let mut none = Test::of(0);
        assert!((0..50).all(|_| none.look(148).is_none()));
        // A peer that is to be tried at its first address again.
        let mut test = Test::of(3);
        let moved: Vec<u8> = (0..6).filter_map(|_| test.look(148)).collect();
        assert_eq!(moved, [2, 3]);
        test.endpoints.begin([KEY].iter());
        let moved: Vec<u8> = (0..6).filter_map(|_| test.look(148)).collect();
        assert_eq!(moved, [2, 3]);
        test.endpoints.step((Duration::MAX, 0), &[], &test.ways);
        assert!(test.endpoints.peers.is_empty(), "who is gone is forgotten");
    }

    #[test]
    fn a_clock_that_was_set_moves_nobody_who_answers() {
        let mut test = Test::of(2);
        test.look(100);
        for _ in 0..60 {
            // The node's clock is a day ahead of what the kernel wrote down.
            test.seen.handshake_s = EPOCH_S - 86_400;
            test.seen.received_bytes += 100;
            assert_eq!(test.look(100), None);
        }
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nobody_where_he_is_silent() {
        let mut test = Test::of(2);
        test.shakes_hands();
        // The node's clock is a day behind what the kernel wrote down.
        test.seen.handshake_s = EPOCH_S + 86_400;
        let moved: Vec<Option<u8>> = (0..6).map(|_| test.look(148)).collect();
        assert_eq!(moved, [None, None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn a_session_is_of_a_handshake_that_was_and_not_long_ago() {
        for (handshake_s, expected) in [
            (0, false),
            (EPOCH_S, true),
            (EPOCH_S - SESSION_S + 1, true),
            (EPOCH_S - SESSION_S, false),
            (EPOCH_S + 1, false),
            (u64::MAX, false),
        ] {
            assert_eq!(in_session(handshake_s, EPOCH_S), expected, "{handshake_s}");
        }
        assert!(!in_session(0, 0), "there was none, whatever the clock says");
    }

    proptest! {
        /// Whatever happens: nobody moves whose handshake is fresh, and nobody twice within the time that an address has.
        #[test]
        fn nobody_flaps(
            steps in prop::collection::vec((1..30_u64, 0..3_u64, any::<bool>(), any::<bool>()), 0..60),
            ways in 0..4_u8,
        ) {
            let mut test = Test::of(ways);
            let mut moved_s = None;
            for (seconds, sent, hand, came) in steps {
                test.s += seconds;
                if hand {
                    test.shakes_hands();
                }
                test.seen.received_bytes += u64::from(came);
                let fresh = EPOCH_S + test.s + 10 < test.seen.handshake_s + SESSION_S;
                if let Some(to) = test.look(sent) {
                    prop_assert!(!fresh && !hand && !came && sent > 0 && ways > 1);
                    prop_assert!((1..=ways).contains(&to));
                    prop_assert!(moved_s.is_none_or(|before| test.s >= before + 15));
                    moved_s = Some(test.s);
                }
            }
        }
    }
}
