//! Where a lease and the units' network cannot both be: the kernel has one route for an address.

use std::net::Ipv4Addr;

use super::lease::Settings;
use crate::addresses::Addresses;

/// The units' network, as it is configured: it counts also before there is a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnitsNetwork {
    network: (Ipv4Addr, u8),
    bridge: Ipv4Addr,
}

/// How they meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Overlap {
    /// The address is the bridge's: it cannot be used.
    Bridge(Ipv4Addr),
    /// The link's own network, or one behind it, has addresses of units.
    Network((Ipv4Addr, u8)),
}

impl UnitsNetwork {
    pub(crate) fn new(network: Ipv4Addr, prefix: u8) -> Self {
        let (bridge, _) = Addresses::new(network, prefix, None).gateway();
        Self { network: (network, prefix), bridge }
    }

    pub(super) fn overlap(&self, settings: &Settings) -> Option<Overlap> {
        if settings.address == self.bridge {
            return Some(Overlap::Bridge(self.bridge));
        }
        let own = (settings.address, settings.prefix);
        if have_in_common(own, self.network) {
            return Some(Overlap::Network(own));
        }
        // A wider route, as the default one is, leaves the units theirs.
        let routes = settings.routes.iter().map(|route| (route.destination, route.prefix));
        let mut narrow = routes.filter(|(_, prefix)| *prefix >= self.network.1);
        narrow.find(|route| have_in_common(*route, self.network)).map(Overlap::Network)
    }

    /// What a person should know.
    pub(super) fn sentence(&self, overlap: &Overlap) -> String {
        let (units, units_prefix) = self.network;
        let advice = "set [network] ipv4 to another network";
        match overlap {
            Overlap::Bridge(address) => format!(
                "the lease's address {address} is not used: it is that of the units' bridge; {advice}"
            ),
            Overlap::Network((address, prefix)) => format!(
                "the lease's network {address}/{prefix} overlaps the units' network {units}/{units_prefix}, and one of them is not reached; {advice}"
            ),
        }
    }
}

fn have_in_common((a, a_prefix): (Ipv4Addr, u8), (b, b_prefix): (Ipv4Addr, u8)) -> bool {
    let prefix = u32::from(a_prefix.min(b_prefix).min(32));
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    (a.to_bits() ^ b.to_bits()) & mask == 0
}

#[cfg(test)]
mod tests {
    use super::super::lease::Route;
    use super::*;

    fn check(address: &str, prefix: u8, routes: &[(&str, u8)], expected: Option<Overlap>) {
        let route = |(destination, prefix): &(&str, u8)| Route {
            destination: destination.parse().unwrap(),
            prefix: *prefix,
            gateway: None,
        };
        let settings = Settings {
            address: address.parse().unwrap(),
            prefix,
            routes: routes.iter().map(route).collect(),
            name_servers: vec![],
            search: vec![],
            mtu: None,
        };
        let units = UnitsNetwork::new(Ipv4Addr::new(10, 120, 0, 0), 16);
        assert_eq!(units.overlap(&settings), expected, "{address}/{prefix} {routes:?}");
    }

    #[test]
    fn a_lease_beside_the_units_is_told_from_one_among_them() {
        let network = |address: [u8; 4], prefix| Some(Overlap::Network((address.into(), prefix)));
        check("192.168.1.9", 24, &[("0.0.0.0", 0), ("10.0.0.0", 8)], None);
        check("10.121.0.1", 16, &[("10.119.0.0", 16)], None);
        check("10.120.3.4", 24, &[], network([10, 120, 3, 4], 24));
        check("10.120.3.4", 32, &[], network([10, 120, 3, 4], 32));
        check("10.120.3.4", 16, &[], network([10, 120, 3, 4], 16));
        check("10.7.0.9", 8, &[], network([10, 7, 0, 9], 8));
        check("1.2.3.4", 0, &[], network([1, 2, 3, 4], 0));
        check("192.168.1.9", 24, &[("10.120.9.0", 24)], network([10, 120, 9, 0], 24));
        check("192.168.1.9", 24, &[("10.120.0.0", 16)], network([10, 120, 0, 0], 16));
        check("10.120.0.1", 32, &[], Some(Overlap::Bridge([10, 120, 0, 1].into())));
    }
}
