//! Addresses at which machines of the cluster may be, as they call on a link. Anybody can call: an address here is worth one
//! attempt to reach it, and only a certificate makes more of it. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ferrite_schema::cluster::MachineId;

/// Most addresses that are known at once. The oldest goes, and those that were proven go last.
const HINTS_MAX: usize = 32;
/// What was not heard for this long is no hint any more.
const AGE_MAX: Duration = Duration::from_secs(120);
/// An address that failed is tried again after this long, and after twice as long each time that it fails again.
const AGAIN: Duration = Duration::from_secs(1);
const DOUBLED_MAX: u32 = 6;

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hint {
    /// Who says to be there, or who is, where that is proven.
    machine: MachineId,
    serves: bool,
    heard: Instant,
    /// A certificate of the cluster was shown there.
    proven: Option<Instant>,
    /// How often it failed since, and until when it is left alone.
    failed: u32,
    rests_until: Option<Instant>,
}

/// All of them, by address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hints(BTreeMap<SocketAddr, Hint>);

impl Hints {
    /// `machine` is said to be at this address, and `serves` to be a relay; `true` where that is news.
    pub(super) fn heard(
        &mut self,
        address: SocketAddr,
        (machine, serves): (&MachineId, bool),
        now: Instant,
    ) -> bool {
        self.forget(now);
        if let Some(known) = self.0.get_mut(&address) {
            known.heard = now;
            let news = known.proven.is_none() && known.machine != *machine;
            if known.proven.is_none() {
                known.machine.clone_from(machine);
            }
            let begins = serves && !known.serves;
            known.serves = serves;
            return news || begins;
        }
        self.make_room();
        let machine = machine.clone();
        let hint = Hint { machine, serves, heard: now, proven: None, failed: 0, rests_until: None };
        self.0.insert(address, hint);
        true
    }

    /// This machine has shown its certificate at this address.
    pub(super) fn proven(&mut self, address: SocketAddr, machine: &MachineId, now: Instant) {
        self.forget(now);
        if !self.0.contains_key(&address) {
            self.make_room();
        }
        let serves = self.0.get(&address).is_some_and(|known| known.serves);
        let (machine, proven) = (machine.clone(), Some(now));
        let hint = Hint { machine, serves, heard: now, proven, failed: 0, rests_until: None };
        self.0.insert(address, hint);
    }

    /// The address led to nobody who is believed. One that is no hint is none afterwards.
    pub(super) fn failed(&mut self, address: SocketAddr, now: Instant) {
        if let Some(known) = self.0.get_mut(&address) {
            known.proven = None;
            // Several may have tried at once.
            if known.rests_until.is_some_and(|until| until > now) {
                return;
            }
            known.rests_until = Some(now + AGAIN * (1 << known.failed.min(DOUBLED_MAX)));
            known.failed = known.failed.saturating_add(1);
        }
    }

    /// Those that are worth an attempt now: proven ones first, then those that say to serve.
    pub(super) fn addresses(&self, now: Instant) -> Vec<SocketAddr> {
        let mut all: Vec<_> = self.worth(now).collect();
        all.sort_by_key(|(_, hint)| (hint.proven.is_none(), !hint.serves));
        all.into_iter().map(|(address, _)| *address).collect()
    }

    /// Those among them where one of these machines is said to be and that are not proven.
    pub(super) fn said_of(
        &self,
        of: impl Fn(&MachineId, IpAddr) -> bool,
        now: Instant,
    ) -> Vec<SocketAddr> {
        let unproven = self.worth(now).filter(|(_, hint)| hint.proven.is_none());
        let wanted = unproven.filter(|(address, hint)| of(&hint.machine, address.ip()));
        wanted.map(|(address, _)| *address).collect()
    }

    /// Where machines are, as far as that was proven lately and means something beyond a link.
    pub(super) fn places(&self, now: Instant) -> BTreeMap<MachineId, IpAddr> {
        let mut proven: Vec<_> = self
            .0
            .iter()
            .filter_map(|(address, hint)| Some((hint.proven?, address.ip(), &hint.machine)))
            .filter(|(since, ..)| now.saturating_duration_since(*since) < AGE_MAX)
            .filter(|(_, address, _)| !is_of_link(*address))
            .collect();
        proven.sort_by_key(|(since, ..)| *since);
        proven.into_iter().map(|(_, address, machine)| (machine.clone(), address)).collect()
    }

    fn worth(&self, now: Instant) -> impl Iterator<Item = (&SocketAddr, &Hint)> {
        self.0.iter().filter(move |(_, hint)| {
            now.saturating_duration_since(hint.heard) < AGE_MAX
                && hint.rests_until.is_none_or(|until| until <= now)
        })
    }

    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, hint| now.saturating_duration_since(hint.heard) < AGE_MAX);
    }

    fn make_room(&mut self) {
        if self.0.len() < HINTS_MAX {
            return;
        }
        let worst = self
            .0
            .iter()
            .min_by_key(|(_, hint)| (hint.proven.is_some(), hint.failed == 0, hint.heard));
        if let Some(worst) = worst.map(|(address, _)| *address) {
            self.0.remove(&worst);
        }
    }
}

/// It means nothing beyond the link.
pub(super) const fn is_of_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(digit: &str) -> MachineId {
        digit.repeat(32).parse().unwrap()
    }

    fn at(number: u32) -> SocketAddr {
        (std::net::Ipv4Addr::from_bits(0x0a00_0000 + number), 7443).into()
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_proven_comes_first_and_outlives_any_number_of_forged_calls() {
        let (mut hints, now) = (Hints::default(), Instant::now());
        hints.heard(at(1), (&id("a"), false), now);
        hints.heard(at(2), (&id("b"), true), now);
        hints.proven(at(1), &id("a"), now);
        assert_eq!(hints.addresses(now), [at(1), at(2)]);
        for number in 100..10_000 {
            hints.heard(at(number), (&id("f"), true), now + s(1));
        }
        let known = hints.addresses(now + s(1));
        assert_eq!((known.len(), known[0]), (HINTS_MAX, at(1)));
        assert_eq!(hints.places(now + s(1)), [(id("a"), at(1).ip())].into());
    }

    #[test]
    fn who_forges_anothers_id_takes_nobodys_place() {
        let (mut hints, now) = (Hints::default(), Instant::now());
        hints.proven(at(1), &id("a"), now);
        assert!(hints.heard(at(9), (&id("a"), true), now + s(1)));
        hints.heard(at(1), (&id("f"), true), now + s(1));
        assert_eq!(hints.places(now + s(1)), [(id("a"), at(1).ip())].into());
        assert_eq!(hints.addresses(now + s(1)), [at(1), at(9)]);
    }

    #[test]
    fn an_address_that_leads_nowhere_is_tried_ever_more_seldom_however_often_it_is_called() {
        let (mut hints, begin) = (Hints::default(), Instant::now());
        let mut tried = 0;
        for tenth in 0..6000 {
            let now = begin + s(1) * tenth / 10;
            hints.heard(at(1), (&id("f"), true), now);
            for address in hints.addresses(now) {
                tried += 1;
                hints.failed(address, now);
                hints.failed(address, now);
            }
        }
        assert!((10..20).contains(&tried), "{tried} attempts in ten minutes");
        // It works again: nothing of that is held against it.
        hints.proven(at(1), &id("a"), begin + s(600));
        assert_eq!(hints.addresses(begin + s(600)), [at(1)]);
    }

    #[test]
    fn what_was_not_heard_for_long_is_forgotten_and_what_moved_is_where_it_was_last() {
        let (mut hints, now) = (Hints::default(), Instant::now());
        hints.proven(at(1), &id("a"), now);
        hints.proven(at(2), &id("a"), now + s(1));
        assert_eq!(hints.places(now + s(1)), [(id("a"), at(2).ip())].into());
        let link = "[fe80::1%3]:7443".parse().unwrap();
        hints.proven(link, &id("b"), now + s(1));
        assert_eq!(hints.places(now + s(1)).get(&id("b")), None, "it means nothing elsewhere");
        assert_eq!(hints.addresses(now + AGE_MAX + s(1)), []);
        assert_eq!(hints.places(now + AGE_MAX + s(1)), BTreeMap::new());
    }

    #[test]
    fn only_what_is_news_wakes_anybody() {
        let (mut hints, now) = (Hints::default(), Instant::now());
        assert!(hints.heard(at(1), (&id("a"), false), now));
        assert!(!hints.heard(at(1), (&id("a"), false), now));
        assert!(hints.heard(at(1), (&id("a"), true), now), "it serves now");
        assert!(!hints.heard(at(1), (&id("a"), true), now));
    }

    proptest! {
        #[test]
        fn they_are_never_more_than_a_few(
            steps in prop::collection::vec((0..3_u8, 0..100_u32, 0..40_u64), 0..500),
        ) {
            let (mut hints, mut now) = (Hints::default(), Instant::now());
            for (step, number, later) in steps {
                now += s(later) / 10;
                match step {
                    0 => drop(hints.heard(at(number), (&id("a"), false), now)),
                    1 => hints.proven(at(number), &id("b"), now),
                    _ => hints.failed(at(number), now),
                }
                prop_assert!(hints.0.len() <= HINTS_MAX);
            }
        }
    }
}
