//! Addresses of units: a number per unit, from which everything else follows.
//!
//! A unit's name prefers a number, so that it finds its old address again after a restart, of itself or of the
//! machine, as long as nobody else took it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use ring::digest::{SHA256, digest};

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// Number of the bridge itself.
const GATEWAY: u32 = 1;
/// Length of the prefix of the units' IPv6 network.
pub(crate) const IPV6_PREFIX: u8 = 64;

/// Who has which number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addresses {
    network: Ipv4Addr,
    prefix: u8,
    ipv6: Option<Ipv6Addr>,
    units: BTreeMap<String, u32>,
    taken: BTreeSet<u32>,
}

/// Every address is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Addresses {
    /// An empty network. Of both addresses only the prefix counts.
    pub(crate) fn new(network: Ipv4Addr, prefix: u8, ipv6: Option<Ipv6Addr>) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        let network = Ipv4Addr::from_bits(network.to_bits() & mask);
        let ipv6 = ipv6.map(|ipv6| Ipv6Addr::from_bits(ipv6.to_bits() >> 64 << 64));
        Self { network, prefix, ipv6, units: BTreeMap::new(), taken: BTreeSet::new() }
    }

    /// The number of a unit, which it keeps until it is released.
    pub(crate) fn take(&mut self, unit: &str) -> Result<u32, Full> {
        if let Some(number) = self.units.get(unit) {
            return Ok(*number);
        }
        // The network's own address, the bridge's and the broadcast address are nobody's.
        let first = GATEWAY + 1;
        let count = (u32::MAX >> self.prefix).saturating_sub(first);
        let preferred = preference(unit).checked_rem(count).ok_or(Full)?;
        let candidates = (preferred..count).chain(0..preferred).map(|offset| first + offset);
        let number =
            candidates.into_iter().find(|number| !self.taken.contains(number)).ok_or(Full)?;
        self.keep(unit, number);
        Ok(number)
    }

    /// Gives a unit the address that it has already. `false` where it is none of this network, or another's.
    pub(crate) fn adopt(&mut self, unit: &str, address: Ipv4Addr) -> bool {
        let number = address.to_bits().wrapping_sub(self.network.to_bits());
        let fits = number > GATEWAY && number < u32::MAX >> self.prefix;
        if !fits || self.taken.contains(&number) || self.units.contains_key(unit) {
            return false;
        }
        self.keep(unit, number);
        true
    }

    fn keep(&mut self, unit: &str, number: u32) {
        self.taken.insert(number);
        self.units.insert(unit.to_owned(), number);
    }

    /// Takes a unit's number back.
    pub(crate) fn release(&mut self, unit: &str) {
        if let Some(number) = self.units.remove(unit) {
            self.taken.remove(&number);
        }
    }

    /// The address of a number.
    pub(crate) fn ipv4(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | number)
    }

    /// Likewise in the IPv6 network.
    pub(crate) fn ipv6(&self, number: u32) -> Option<Ipv6Addr> {
        self.ipv6.map(|network| Ipv6Addr::from_bits(network.to_bits() | u128::from(number)))
    }

    /// The bridge's addresses, which are everybody's gateways.
    pub(crate) fn gateway(&self) -> (Ipv4Addr, Option<Ipv6Addr>) {
        (self.ipv4(GATEWAY), self.ipv6(GATEWAY))
    }

    /// The IPv4 network.
    pub(crate) const fn network(&self) -> Ipv4Addr {
        self.network
    }

    /// How long the IPv4 prefix is.
    pub(crate) const fn prefix(&self) -> u8 {
        self.prefix
    }
}

/// A number that a name always gives.
fn preference(name: &str) -> u32 {
    digest(&SHA256, name.as_bytes())
        .as_ref()
        .iter()
        .take(4)
        .fold(0, |all, byte| (all << 8) | u32::from(*byte))
}

/// The Ethernet address of the unit with this number: one that is administered locally.
pub(crate) const fn mac(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    [0x02, 0xfe, a, b, c, d]
}

/// A private IPv6 network (RFC 4193) that is this machine's alone.
pub(crate) fn private_ipv6(machine_id: &str) -> Ipv6Addr {
    let hash = digest(&SHA256, format!("ferrite network of {machine_id}").as_bytes());
    let number =
        hash.as_ref().iter().take(5).fold(0_u128, |all, byte| (all << 8) | u128::from(*byte));
    Ipv6Addr::from_bits((0xfd << 120) | (number << 80))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(prefix: u8) -> Addresses {
        Addresses::new(Ipv4Addr::new(10, 120, 0, 7), prefix, Some(private_ipv6("a")))
    }

    #[test]
    fn a_unit_finds_its_address_again() {
        let mut one = network(16);
        let number = one.take("web").unwrap();
        assert_eq!(one.take("web"), Ok(number));
        let mut other = network(16);
        other.take("db").unwrap();
        assert_eq!(other.take("web"), Ok(number), "the name decides");
        one.release("web");
        assert_eq!(one.take("web"), Ok(number));
        let mut later = network(16);
        assert!(later.adopt("web", one.ipv4(number)));
        assert_eq!(later.take("web"), Ok(number));
        assert!(!later.adopt("thief", one.ipv4(number)));
        assert!(!later.adopt("router", one.gateway().0));
        assert!(!later.adopt("stranger", Ipv4Addr::new(10, 121, 0, 9)));
    }

    #[test]
    fn a_network_can_be_full() {
        let mut small = network(29);
        assert_eq!(small.gateway().0, Ipv4Addr::new(10, 120, 0, 1));
        let mut given: Vec<Ipv4Addr> = (0..5)
            .map(|unit| {
                let number = small.take(&unit.to_string()).unwrap();
                small.ipv4(number)
            })
            .collect();
        given.sort();
        let expected: Vec<Ipv4Addr> = (2..7).map(|last| Ipv4Addr::new(10, 120, 0, last)).collect();
        assert_eq!(given, expected);
        assert_eq!(small.take("one more"), Err(Full));
        small.release("3");
        assert!(small.take("one more").is_ok());
    }

    #[test]
    fn private_networks_are_private_and_differ() {
        let (a, b) = (private_ipv6("a"), private_ipv6("b"));
        assert!(a.is_unique_local() && a != b);
        assert_eq!(a.to_bits() & u128::from(u64::MAX), 0);
        assert_eq!(network(16).gateway().1.unwrap().to_bits(), a.to_bits() + 1);
    }

    proptest! {
        #[test]
        fn no_two_units_share_an_address(names in proptest::collection::btree_set("[a-z]{1,3}", 1..60)) {
            let mut addresses = network(26);
            let mut seen = BTreeSet::new();
            for name in &names {
                prop_assert!(seen.insert(addresses.take(name).unwrap()));
            }
        }
    }
}
