//! Which connections go on as none would begin now.

use super::*;

fn ground() -> Ground {
    let ipv6 = Some(("fd00:1:2::1".parse().unwrap(), 64));
    Ground { bridge: "ferrite0".to_owned(), ipv4: ([10, 120, 0, 1].into(), 16), ipv6, flat: None }
}

/// `host:container/protocol` at an address or at all.
fn port(host: u16, container: u16, protocol: Protocol, address: Option<&str>) -> Port {
    let address = address.map(|address| address.parse().unwrap());
    Port { host, container: Some(container), protocol, address }
}

fn member(last: u8, ports: Vec<Port>) -> Member {
    Member {
        link: format!("ferrite-{last:04x}"),
        mac: [2, 0, 0, 0, 0, last],
        ipv4: [10, 120, 0, last].into(),
        ipv6: Some(format!("fd00:1:2::{last:x}").parse().unwrap()),
        ports,
        metadata: false,
    }
}

fn published() -> Published {
    let log = member(
        2,
        vec![
            port(514, 5140, Protocol::Udp, None),
            port(53, 53, Protocol::Udp, Some("192.0.2.1")),
            port(53, 53, Protocol::Udp, Some("10.120.0.1")),
            port(8080, 80, Protocol::Tcp, Some("0.0.0.0")),
        ],
    );
    Published::new(&ground(), [&log, &member(3, vec![])].into_iter())
}

/// `from>to answerer>answered`, each an address and a port behind a slash.
fn check(transport: u8, text: &str, expected: bool) {
    let end = |text: &str| -> End {
        let (address, port) = text.split_once('/').unwrap();
        (address.parse().unwrap(), port.parse().unwrap())
    };
    let way = |text: &str| {
        let (source, destination) = text.split_once('>').unwrap();
        Way { transport, source: end(source), destination: end(destination) }
    };
    let (original, reply) = text.split_once(' ').unwrap();
    let connection = Connection { original: way(original), reply: way(reply) };
    assert_eq!(published().is_stale(&connection), expected, "{text}");
}

#[test]
fn what_leads_where_it_is_published_goes_on() {
    check(UDP, "192.0.2.9/40>192.0.2.1/514 10.120.0.2/5140>192.0.2.9/40", false);
    check(UDP, "192.0.2.9/40>192.0.2.1/53 10.120.0.2/53>192.0.2.9/40", false);
    check(UDP, "2001:db8::9/40>2001:db8::1/514 fd00:1:2::2/5140>2001:db8::9/40", false);
    check(TCP, "192.0.2.9/40>192.0.2.1/8080 10.120.0.2/80>192.0.2.9/40", false);
    check(TCP, "127.0.0.1/40>127.0.0.1/8080 10.120.0.2/80>10.120.0.1/40", false);
    check(UDP, "10.120.0.3/40>192.0.2.1/514 10.120.0.2/5140>10.120.0.1/40", false);
}

#[test]
fn what_is_published_no_more_or_elsewhere_is_forgotten() {
    check(UDP, "192.0.2.9/40>192.0.2.1/515 10.120.0.2/5140>192.0.2.9/40", true);
    check(TCP, "192.0.2.9/40>192.0.2.1/514 10.120.0.2/5140>192.0.2.9/40", true);
    check(UDP, "192.0.2.9/40>192.0.2.1/514 10.120.0.3/5140>192.0.2.9/40", true);
    check(UDP, "192.0.2.9/40>192.0.2.1/514 10.120.0.2/514>192.0.2.9/40", true);
    check(UDP, "192.0.2.9/40>192.0.2.2/53 10.120.0.2/53>192.0.2.9/40", true);
    check(TCP, "127.0.0.1/40>127.0.0.1/8081 10.120.0.2/80>10.120.0.1/40", true);
    // The unit is gone, whatever the connection was.
    check(TCP, "192.0.2.9/40>192.0.2.1/8080 10.120.0.4/80>192.0.2.9/40", true);
    check(UDP, "10.120.0.4/40>192.0.2.9/514 192.0.2.9/514>192.0.2.1/40", true);
    check(TCP, "fd00:1:2::4/40>2001:db8::9/80 2001:db8::9/80>2001:db8::1/40", true);
}

#[test]
fn who_spoke_before_a_port_was_published_is_forgotten() {
    check(UDP, "192.0.2.9/514>192.0.2.1/514 192.0.2.1/514>192.0.2.9/514", true);
    check(UDP, "2001:db8::9/40>2001:db8::1/514 2001:db8::1/514>2001:db8::9/40", true);
    check(UDP, "127.0.0.1/40>127.0.0.1/514 127.0.0.1/514>127.0.0.1/40", true);
    check(UDP, "10.120.0.3/40>192.0.2.1/514 192.0.2.1/514>10.120.0.3/40", true);
    check(UDP, "192.0.2.9/40>192.0.2.1/53 192.0.2.1/53>192.0.2.9/40", true);
    // Neither the port of the unit, nor another address of the node.
    check(UDP, "192.0.2.9/40>192.0.2.1/5140 192.0.2.1/5140>192.0.2.9/40", false);
    check(UDP, "192.0.2.9/40>192.0.2.2/53 192.0.2.2/53>192.0.2.9/40", false);
    // By TCP it ends by itself.
    check(TCP, "192.0.2.9/40>192.0.2.1/8080 192.0.2.1/8080>192.0.2.9/40", false);
}

#[test]
fn what_is_not_about_what_is_published_goes_on() {
    // A unit's own, to the same port of somebody else.
    check(UDP, "10.120.0.3/40>192.0.2.9/514 192.0.2.9/514>192.0.2.1/40", false);
    check(TCP, "10.120.0.2/40>192.0.2.9/443 192.0.2.9/443>192.0.2.1/40", false);
    // The units' resolver.
    check(UDP, "10.120.0.3/40>10.120.0.1/53 10.120.0.1/53>10.120.0.3/40", false);
    // What somebody else translates.
    check(TCP, "192.0.2.9/40>192.0.2.1/9000 172.17.0.2/90>192.0.2.9/40", false);
}

#[test]
fn a_connection_is_read_as_the_kernel_says_it() {
    let put = |bytes: &mut Vec<u8>, from: u8, to: u8| {
        Attributes::of(bytes).nest(TUPLE_ADDRESSES, |put| {
            put.put(SOURCE4, &[192, 0, 2, from]).put(DESTINATION4, &[192, 0, 2, to]);
        });
        Attributes::of(bytes).nest(TUPLE_TRANSPORT, |put| {
            put.put(TRANSPORT, &[UDP]).put(SOURCE_PORT, &[0, from]).put(DESTINATION_PORT, &[2, to]);
        });
    };
    let (mut there, mut back) = (Vec::new(), Vec::new());
    put(&mut there, 9, 1);
    put(&mut back, 1, 9);
    let mut message = vec![2, 0, 0, 0];
    Attributes::of(&mut message)
        .nest(ORIGINAL, |put| {
            put.raw(&there);
        })
        .nest(REPLY, |put| {
            put.raw(&back);
        })
        .put(3, &[0, 0, 0, 8])
        .put(ID, &[1, 2, 3, 4]);
    let way = |from: u8, to: u8| Way {
        transport: UDP,
        source: ([192, 0, 2, from].into(), from.into()),
        destination: ([192, 0, 2, to].into(), 0x200 + u16::from(to)),
    };
    let expected = Connection { original: way(9, 1), reply: way(1, 9) };
    assert_eq!(connection(&message), Some(expected));
    for length in 0..HEADER_BYTES + there.len() + back.len() {
        assert_eq!(connection(&message[..length]), None, "cut at {length}");
    }
    let mut named = Vec::new();
    name(&mut Attributes::of(&mut named), &message[HEADER_BYTES..]);
    let mut expected = Vec::new();
    Attributes::of(&mut expected)
        .nest(ORIGINAL, |put| {
            put.raw(&there);
        })
        .put(ID, &[1, 2, 3, 4]);
    assert_eq!(named, expected);
}
