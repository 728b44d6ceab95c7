//! Where clouds tell machines about themselves, secrets among it, however such an address is written.
//!
//! A translator of a provider or of a network (NAT64) makes IPv4 of what is sent to certain IPv6 addresses, and 6to4 does: a
//! unit that may not ask 169.254.169.254 may not ask 64:ff9b::a9fe:a9fe either. What a network has chosen for its translator out of its
//! own addresses nobody can know here.

use std::net::Ipv6Addr;

use super::bits::Bits;

/// Link-local addresses in general (Amazon with its credentials for containers, Google, Azure, Oracle and most others);
/// Azure's, Alibaba's, Oracle's older one.
const IPV4: [([u8; 4], u8); 4] = [
    ([169, 254, 0, 0], 16),
    ([168, 63, 129, 16], 32),
    ([100, 100, 100, 200], 32),
    ([192, 0, 0, 192], 32),
];
/// Amazon's local services (metadata, credentials of EKS), Google's, Scaleway's, Oracle's. Link-local addresses do not leave a link.
const IPV6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
];
/// What all of [`FORMS`] lie in, so that other packets are asked little.
const TRANSLATED: [(Ipv6Addr, u8); 3] = [
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::UNSPECIFIED, 64),
];

/// A way to write an IPv4 address in an IPv6 one.
struct Form {
    prefix: Ipv6Addr,
    bits: u8,
    /// Where its four bytes are.
    at: [usize; 4],
    /// Byte 8 is zero (RFC 6052, section 2.2).
    gap: bool,
}

impl Form {
    const fn last(prefix: Ipv6Addr) -> Self {
        Self { prefix, bits: 96, at: [12, 13, 14, 15], gap: false }
    }

    /// Below the prefix for translators of one's own network (RFC 8215), which is divided as one likes.
    const fn local(at: [usize; 4], gap: bool) -> Self {
        Self { prefix: Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), bits: 48, at, gap }
    }
}

static FORMS: [Form; 9] = [
    // Everybody's translators (RFC 6052).
    Form::last(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0)),
    Form::local([12, 13, 14, 15], false),
    Form::local([9, 10, 11, 12], true),
    Form::local([7, 9, 10, 11], true),
    Form::local([6, 7, 9, 10], true),
    // Mapped, translated (RFC 2765), and compatible ones, which programs and old translators make.
    Form::last(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)),
    Form::last(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0)),
    Form::last(Ipv6Addr::UNSPECIFIED),
    // 6to4 (RFC 3056).
    Form {
        prefix: Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        bits: 16,
        at: [2, 3, 4, 5],
        gap: false,
    },
];

/// IPv4 destinations.
pub(super) fn ipv4() -> impl Iterator<Item = Bits> {
    IPV4.into_iter().map(|(network, prefix)| Bits::network(&network, prefix))
}

/// IPv6 destinations of clouds' own.
pub(super) fn ipv6() -> impl Iterator<Item = Bits> {
    IPV6.into_iter().map(network)
}

/// What all of [`ipv4_in_ipv6`] lie in.
pub(super) fn translated() -> impl Iterator<Item = Bits> {
    TRANSLATED.into_iter().map(network)
}

/// The IPv4 destinations, written as IPv6 addresses.
pub(super) fn ipv4_in_ipv6() -> impl Iterator<Item = Bits> {
    FORMS.iter().flat_map(|form| ipv4().map(move |network| written(form, &network)))
}

fn network((address, prefix): (Ipv6Addr, u8)) -> Bits {
    Bits::network(&address.octets(), prefix)
}

fn written(form: &Form, ipv4: &Bits) -> Bits {
    let mut bits = network((form.prefix, form.bits));
    for (of, index) in form.at.into_iter().enumerate() {
        bits.take(index, ipv4, of);
    }
    if form.gap {
        bits.take(8, &Bits::network(&[0], 8), 0);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(bits: &Bits, address: Ipv6Addr) -> bool {
        let masked = address.octets().into_iter().zip(&bits.mask).map(|(byte, mask)| byte & mask);
        masked.eq(bits.value.iter().copied())
    }

    #[test]
    fn no_way_of_writing_it_leads_to_the_metadata() {
        for address in [
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:42::42",
            "fd00:c1::a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::169.254.170.2",
            "64:ff9b::168.63.129.16",
            "64:ff9b::100.100.100.200",
            "64:ff9b::192.0.0.192",
            "::ffff:169.254.169.254",
            "::ffff:0:169.254.169.254",
            "::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "2002:a83f:8110:7::",
            // 96, 64, 56 and 48 bits of a translator's own (RFC 6052, section 2.4, has such a list).
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:ffff:1234:5678:a9fe:a9fe",
            "64:ff9b:1:abcd:a9:fea9:fe00::",
            "64:ff9b:1:aba9:fe:a9fe::",
            "64:ff9b:1:a9fe:a9:fe00::",
        ] {
            let parsed: Ipv6Addr = address.parse().unwrap();
            let own = ipv6().any(|bits| has(&bits, parsed));
            let inner = translated().any(|bits| has(&bits, parsed));
            let written = ipv4_in_ipv6().any(|bits| has(&bits, parsed));
            assert!(own || inner && written, "{address}");
        }
    }

    #[test]
    fn everything_else_is_left_alone() {
        for address in [
            "2001:db8::a9fe:a9fe",
            "64:ff9b::8.8.8.8",
            "64:ff9b::168.63.129.17",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:1:abcd::1:808:808",
            "::1",
            "::ffff:10.0.0.1",
            "2002:808:808::1",
            "fd00:ec3::254",
            "fd20:ce::255",
            "fd00:1:2::1",
        ] {
            let parsed: Ipv6Addr = address.parse().unwrap();
            let all = ipv6().chain(ipv4_in_ipv6());
            assert_eq!(all.filter(|bits| has(bits, parsed)).count(), 0, "{address}");
        }
    }
}
