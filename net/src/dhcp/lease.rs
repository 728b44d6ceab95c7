//! What an acknowledgement means for the machine: an address for a time, routes, name servers. Servers are taken
//! as they are: what is missing or makes no sense is replaced by what the standard says or the field does, since
//! a node without an address is a node that nobody reaches.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::message::{Answer, is_somebody, option};

/// A lease without a time is for this long, as busybox has it.
const LIFETIME_DEFAULT: u32 = 3600;
/// The shortest lease that is believed: servers that say 0 would otherwise be asked without pause.
const LIFETIME_MIN: u32 = 20;
/// `0xffff_ffff` seconds are for ever.
const FOR_EVER: u32 = u32::MAX;
/// Smaller ones would take IPv6 away from the link (RFC 8200 §5).
const MTU_MIN: u16 = 1280;
/// Domains that are searched; the resolver of the C library takes no more than that many letters either.
const SEARCH_MAX: usize = 6;
/// Routes that a lease may bring.
const ROUTES_MAX: usize = 64;
/// Steps through a compressed name.
const NAME_STEPS_MAX: usize = 32;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Ipv4Addr,
    pub(crate) prefix: u8,
    /// Where it leads; directly onto the link where there is none.
    pub(crate) gateway: Option<Ipv4Addr>,
}

/// What a link is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    /// Those directly onto the link come first: others may need them.
    pub(crate) routes: Vec<Route>,
    pub(crate) name_servers: Vec<Ipv4Addr>,
    pub(crate) search: Vec<String>,
    pub(crate) mtu: Option<u16>,
}

/// How long a lease counts from when it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// Then its own server is asked again ("T1").
    pub(crate) renew: Duration,
    /// Then any server is ("T2").
    pub(crate) rebind: Duration,
    /// Then the address is not ours any more.
    pub(crate) end: Duration,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) settings: Settings,
    /// Whose it is.
    pub(crate) server: Ipv4Addr,
    /// Absent where it is for ever.
    pub(crate) times: Option<Times>,
}

impl Lease {
    /// Reads an offer or acknowledgement that came from `source`; nothing where it gives no usable address.
    pub(super) fn of(answer: &Answer, source: Ipv4Addr) -> Option<Self> {
        let address = answer.yours;
        if !is_somebody(&address) {
            return None;
        }
        let prefix = answer.number(option::SUBNET_MASK).and_then(prefix_of);
        let prefix = prefix.unwrap_or_else(|| class_of(address));
        let settings = Settings {
            address,
            prefix,
            routes: routes(answer, address),
            name_servers: answer.addresses(option::NAME_SERVERS).collect(),
            search: search(answer),
            mtu: answer
                .option(option::MTU)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u16::from_be_bytes)
                .filter(|mtu| *mtu >= MTU_MIN),
        };
        let server = answer.addresses(option::SERVER).next().unwrap_or(source);
        Some(Self { settings, server, times: times(answer) })
    }
}

/// How long a subnet mask is; nothing where it is none, or of everything.
fn prefix_of(mask: u32) -> Option<u8> {
    let ones = mask.leading_ones();
    (ones + mask.trailing_zeros() == u32::BITS && ones > 0).then(|| u8::try_from(ones).ok())?
}

/// The prefix that an address had before there were masks, which is what the absence of one means.
const fn class_of(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        _ => 24,
    }
}

/// Times in their order, whatever the server says (RFC 2131 §4.4.5).
fn times(answer: &Answer) -> Option<Times> {
    let end = match answer.number(option::LEASE_TIME) {
        Some(FOR_EVER) => return None,
        Some(seconds) => seconds.max(LIFETIME_MIN),
        None => LIFETIME_DEFAULT,
    };
    let said = |number, least: u32, most: u32| {
        answer.number(number).filter(|seconds| (least..most).contains(seconds))
    };
    let rebind = said(option::REBINDING_TIME, 2, end).unwrap_or(end - end / 8);
    let renew = said(option::RENEWAL_TIME, 1, rebind).unwrap_or((end / 2).min(rebind - 1));
    let duration = |seconds: u32| Duration::from_secs(seconds.into());
    Some(Times { renew: duration(renew), rebind: duration(rebind), end: duration(end) })
}

/// Classless routes, where there are any, replace the routers (RFC 3442).
fn routes(answer: &Answer, own: Ipv4Addr) -> Vec<Route> {
    let classless = [option::CLASSLESS_ROUTES, option::MICROSOFT_ROUTES]
        .into_iter()
        .filter_map(|number| classless(answer.option(number)?, own))
        .find(|routes| !routes.is_empty());
    let mut routes = classless.unwrap_or_else(|| {
        let router = answer.addresses(option::ROUTERS).find(|router| *router != own);
        let default =
            |router| Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway: Some(router) };
        router.map(default).into_iter().collect()
    });
    routes.sort_by_key(|route| route.gateway.is_some());
    routes
}

/// Width, as many bytes of the destination as it needs, router. Nothing where it is not whole.
fn classless(mut bytes: &[u8], own: Ipv4Addr) -> Option<Vec<Route>> {
    let mut routes = Vec::new();
    while let Some((&prefix, rest)) = bytes.split_first() {
        let (significant, rest) = rest.split_at_checked(usize::from(prefix.div_ceil(8)))?;
        let (gateway, rest) = rest.split_first_chunk::<4>()?;
        let mut destination = [0; 4];
        destination.get_mut(..significant.len())?.copy_from_slice(significant);
        let mask = u32::MAX.checked_shl(32_u32.checked_sub(prefix.into())?).unwrap_or(0);
        // Bits behind the prefix mean nothing, and the kernel takes none.
        let destination = Ipv4Addr::from_bits(u32::from_be_bytes(destination) & mask);
        // Who is its own router there speaks to everybody on the link itself.
        let gateway = Some(Ipv4Addr::from(*gateway));
        let gateway = gateway.filter(|gateway| !gateway.is_unspecified() && *gateway != own);
        if routes.len() < ROUTES_MAX {
            routes.push(Route { destination, prefix, gateway });
        }
        bytes = rest;
    }
    Some(routes)
}

fn search(answer: &Answer) -> Vec<String> {
    let list = answer.option(option::DOMAIN_SEARCH).map(domains).unwrap_or_default();
    let found = if list.is_empty() {
        let text = String::from_utf8_lossy(answer.option(option::DOMAIN_NAME).unwrap_or_default());
        text.trim_end_matches('\0').split_whitespace().map(str::to_owned).collect()
    } else {
        list
    };
    found.into_iter().filter(|domain| is_domain(domain)).take(SEARCH_MAX).collect()
}

/// Names one after the other, compressed within the option (RFC 3397).
fn domains(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < bytes.len() && found.len() < SEARCH_MAX {
        let Some((name, next)) = domain(bytes, start) else { break };
        found.push(name);
        start = next;
    }
    found
}

/// The name that begins at `start`, and where the next one does.
fn domain(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut labels, mut place, mut next) = (Vec::new(), start, None);
    for _step in 0..NAME_STEPS_MAX {
        let length = *bytes.get(place)?;
        match length {
            0 => return Some((labels.join("."), next.unwrap_or(place + 1))),
            1..=63 => {
                let end = place + 1 + usize::from(length);
                labels.push(String::from_utf8_lossy(bytes.get(place + 1..end)?).into_owned());
                place = end;
            }
            0xc0..=0xff => {
                let low = *bytes.get(place + 1)?;
                next = next.or(Some(place + 2));
                place = usize::from(length & 0x3f) << 8 | usize::from(low);
            }
            _ => return None,
        }
    }
    None
}

/// A server's words become a line of a file: only what a domain is made of is let through, and what some are made of
/// all the same.
fn is_domain(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(fits)
}

/// What a server is told as our name: the first part of it, where it is one.
pub(super) fn host_name(hostname: &str) -> Option<String> {
    let label = hostname.split('.').next().unwrap_or_default();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_name = (1..=63).contains(&label.len())
        && label.bytes().all(fits)
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label != "localhost";
    is_name.then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::answer;
    use super::*;

    fn lease(options: &[u8]) -> Lease {
        let answer = Answer::decode(&answer(5, 7, [10, 9, 0, 5], options)).unwrap();
        Lease::of(&answer, Ipv4Addr::new(10, 9, 0, 1)).unwrap()
    }

    fn seconds(options: &[u8]) -> Option<(u64, u64, u64)> {
        let times = lease(options).times?;
        Some((times.renew.as_secs(), times.rebind.as_secs(), times.end.as_secs()))
    }

    fn timed(number: u8, seconds: u32) -> Vec<u8> {
        [&[number, 4][..], &seconds.to_be_bytes()].concat()
    }

    #[test]
    fn times_come_in_their_order_whatever_is_said() {
        assert_eq!(seconds(&timed(51, 80)), Some((40, 70, 80)));
        assert_eq!(seconds(&[]), Some((1800, 3150, 3600)), "no time at all");
        assert_eq!(seconds(&timed(51, 0)), Some((10, 18, 20)));
        assert_eq!(seconds(&timed(51, 1)), Some((10, 18, 20)));
        assert_eq!(seconds(&timed(51, u32::MAX)), None, "for ever");
        let all = |renew, rebind, end| {
            seconds(&[timed(58, renew), timed(59, rebind), timed(51, end)].concat())
        };
        assert_eq!(all(10, 50, 80), Some((10, 50, 80)));
        assert_eq!(all(0, 0, 80), Some((40, 70, 80)));
        assert_eq!(all(80, 80, 80), Some((40, 70, 80)));
        assert_eq!(all(50, 50, 80), Some((40, 50, 80)));
        assert_eq!(all(60, 30, 80), Some((29, 30, 80)));
        assert_eq!(all(u32::MAX, u32::MAX, u32::MAX - 1).map(|(.., end)| end), Some(4_294_967_294));
        for end in 0..5000 {
            let (renew, rebind, end) = all(end / 2, end, end).unwrap();
            assert!(0 < renew && renew < rebind && rebind < end, "{end}");
        }
    }

    #[test]
    fn masks_are_masks() {
        let prefix = |mask: &[u8]| lease(mask).settings.prefix;
        assert_eq!(prefix(&[1, 4, 255, 255, 240, 0]), 20);
        assert_eq!(prefix(&[1, 4, 255, 255, 255, 255]), 32);
        for bad in [&[][..], &[1, 4, 0, 0, 0, 0], &[1, 4, 255, 0, 255, 0], &[1, 2, 255, 255]] {
            assert_eq!(prefix(bad), 8, "{bad:?}: the address's class");
        }
    }

    #[test]
    fn routes_are_read_as_clouds_give_them() {
        let text = |options: &[u8]| -> Vec<String> {
            let word =
                |gateway: Option<Ipv4Addr>| gateway.map_or("-".to_owned(), |g| g.to_string());
            let routes = lease(options).settings.routes;
            let show = |r: &Route| format!("{}/{} {}", r.destination, r.prefix, word(r.gateway));
            routes.iter().map(show).collect()
        };
        assert_eq!(text(&[3, 4, 10, 9, 0, 1]), ["0.0.0.0/0 10.9.0.1"]);
        assert!(text(&[]).is_empty(), "no router");
        assert!(text(&[3, 4, 0, 0, 0, 0]).is_empty());
        assert!(text(&[3, 4, 10, 9, 0, 5]).is_empty(), "its own router it cannot be");
        assert_eq!(text(&[3, 8, 0, 0, 0, 0, 10, 9, 0, 1]), ["0.0.0.0/0 10.9.0.1"]);
        // The router comes before the route onto it, and replaces option 3.
        let cloud = [121, 14, 0, 10, 9, 0, 1, 32, 10, 9, 0, 1, 0, 0, 0, 0, 3, 4, 10, 9, 0, 2];
        assert_eq!(text(&cloud), ["10.9.0.1/32 -", "0.0.0.0/0 10.9.0.1"]);
        assert_eq!(text(&[121, 6, 8, 10, 10, 9, 0, 5]), ["10.0.0.0/8 -"], "its own router");
        assert_eq!(text(&[249, 6, 8, 10, 10, 9, 0, 1]), ["10.0.0.0/8 10.9.0.1"]);
        assert_eq!(text(&[121, 8, 17, 10, 20, 255, 10, 9, 0, 1]), ["10.20.128.0/17 10.9.0.1"]);
        // Broken ones leave the router.
        for bad in [&[121, 5, 33, 1, 1, 1, 1][..], &[121, 3, 8, 10, 1], &[121, 0]] {
            assert_eq!(text(&[bad, &[3, 4, 10, 9, 0, 1]].concat()), ["0.0.0.0/0 10.9.0.1"]);
        }
    }

    #[test]
    fn what_else_a_lease_brings() {
        assert_eq!(lease(&[26, 2, 5, 180]).settings.mtu, Some(1460));
        assert_eq!(lease(&[26, 2, 0, 68]).settings.mtu, None);
        assert_eq!(lease(&[26, 1, 9]).settings.mtu, None);
        assert_eq!(lease(&[]).server, Ipv4Addr::new(10, 9, 0, 1));
        assert_eq!(lease(&[54, 4, 192, 0, 2, 1]).server, Ipv4Addr::new(192, 0, 2, 1));
        let search = |options: &[u8]| lease(options).settings.search;
        assert_eq!(search(b"\x0f\x0ba.org b.org"), ["a.org", "b.org"]);
        assert_eq!(search(b"\x0f\x06a.org\0"), ["a.org"]);
        assert_eq!(search(b"\x0f\x0a_a.b_c.org"), ["_a.b_c.org"]);
        assert_eq!(search(b"\x77\x0c\x01a\x03org\0\x01b\xc0\x02\0"), ["a.org", "b.org"]);
        assert!(search(b"\x77\x02\xc0\0").is_empty(), "a name that leads to itself");
        assert!(search(b"\x0f\x07a\nb.org").iter().all(|name| !name.contains('\n')));
        for nobody in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
            let answer = Answer::decode(&answer(2, 7, nobody, &[])).unwrap();
            assert_eq!(Lease::of(&answer, Ipv4Addr::LOCALHOST), None);
        }
    }

    #[test]
    fn names_that_a_server_may_be_told() {
        assert_eq!(host_name("node-1.example.org").as_deref(), Some("node-1"));
        for odd in ["", "-a", "a_b", "localhost", "ä", "a b", &"x".repeat(64)] {
            assert_eq!(host_name(odd), None, "{odd}");
        }
    }
}
