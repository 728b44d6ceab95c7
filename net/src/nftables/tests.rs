//! What is sent to the kernel is compared with what Debian's `nft` makes of it, in a network namespace of the
//! test's own.

use std::process::Command;

use super::*;
use crate::addresses::mac;
use crate::mesh::Flat;
use crate::namespace::{Room, ip, reaches};
use crate::netlink::{Family, Socket};

fn ground() -> Ground {
    let ipv6 = Some(("fd00:1:2::1".parse().unwrap(), 64));
    Ground { bridge: "ferrite0".to_owned(), ipv4: ([10, 120, 0, 1].into(), 16), ipv6, flat: None }
}

fn port(host: u16, container: u16, protocol: Protocol, address: Option<&str>) -> Port {
    let address = address.map(|address| address.parse().unwrap());
    Port { host, container: Some(container), protocol, address }
}

fn member(number: u32, ports: Vec<Port>) -> Member {
    let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
    Member {
        link: format!("ferrite-{number:04x}"),
        mac: mac(number),
        ipv4: [10, 120, high, low].into(),
        ipv6: Some(format!("fd00:1:2::{number:x}").parse().unwrap()),
        ports,
        metadata: number == 0x102,
    }
}

/// A lone node's.
fn install(ground: &Ground, members: &[Member]) -> Vec<Batch> {
    super::install(ground, members, &BTreeSet::new())
}

fn machines() -> BTreeSet<IpAddr> {
    ["10.2.0.2", "2001:db8::2"].map(|address| address.parse().unwrap()).into()
}

fn list() -> String {
    let output = Command::new("nft").args(["--stateless", "list", "ruleset"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn carry_out(batch: Batch) {
    Socket::open(Family::Netfilter).unwrap().carry_out(batch).unwrap();
}

fn carry_out_all(batches: Vec<Batch>) {
    batches.into_iter().for_each(carry_out);
}

/// Runs `test` in namespaces of its own.
fn inside(name: &str, test: impl Fn()) {
    crate::namespace::inside(&format!("{}::{name}", module_path!()), test);
}

#[test]
fn the_kernel_holds_what_was_meant() {
    inside("the_kernel_holds_what_was_meant", || {
        let web = member(
            0x102,
            vec![
                port(8080, 80, Protocol::Tcp, None),
                port(53, 5353, Protocol::Udp, Some("192.0.2.1")),
                port(443, 443, Protocol::Tcp, Some("2001:db8::1")),
            ],
        );
        carry_out_all(super::install(&ground(), &[web], &machines()));
        assert_eq!(list(), include_str!("rules.nft"), "the lists differ");
    });
}

fn flat() -> Flat {
    Flat { ipv4: ([10, 112, 0, 0].into(), 12), ipv6: "fd00:1:2::".parse().unwrap() }
}

#[test]
fn plain_routes_add_rules_about_the_clusters_networks_and_change_no_others() {
    inside("plain_routes_add_rules_about_the_clusters_networks_and_change_no_others", || {
        let lines = |flat| -> Vec<String> {
            carry_out_all(install(&Ground { flat, ..ground() }, &[]));
            list().lines().map(|line| line.trim().to_owned()).collect()
        };
        let (without, with) = (lines(None), lines(Some(flat())));
        let mut kept = without.iter().peekable();
        let added: Vec<&str> = with
            .iter()
            .filter(|line| kept.next_if_eq(line).is_none())
            .map(String::as_str)
            .filter(|line| !line.is_empty() && *line != "}")
            .collect();
        assert_eq!(kept.next(), None, "{with:#?}");
        let stranger = r#"iifname != "lo" iifname != "ferrite0""#;
        let expected = [
            "chain others {".to_owned(),
            "ct state established,related accept".to_owned(),
            "meta l4proto icmp accept".to_owned(),
            "meta l4proto ipv6-icmp accept".to_owned(),
            "drop".to_owned(),
            format!("{stranger} ip saddr 10.112.0.0/12 fib saddr . iif oif missing drop"),
            format!("{stranger} ip6 saddr fd00:1:2::/48 fib saddr . iif oif missing drop"),
            format!("{stranger} ip daddr 10.120.0.1 ip saddr 10.112.0.0/12 accept"),
            format!("{stranger} ip6 daddr fd00:1:2::1 ip6 saddr fd00:1:2::/48 accept"),
            r#"iifname "ferrite0" oifname != "ferrite0" ip daddr 10.112.0.0/12 accept"#.to_owned(),
            r#"iifname "ferrite0" oifname != "ferrite0" ip6 daddr fd00:1:2::/48 accept"#.to_owned(),
            r#"ip saddr 10.112.0.0/12 oifname "ferrite0" accept"#.to_owned(),
            r#"ip6 saddr fd00:1:2::/48 oifname "ferrite0" accept"#.to_owned(),
            format!("{stranger} ip daddr 10.120.0.1 goto others"),
            format!("{stranger} ip6 daddr fd00:1:2::1 goto others"),
        ];
        assert_eq!(added, expected, "{with:#?}");
    });
}

#[test]
fn members_come_and_go_and_leave_nothing() {
    inside("members_come_and_go_and_leave_nothing", || {
        carry_out_all(install(&ground(), &[]));
        let empty = list();
        let first = member(2, vec![port(8080, 80, Protocol::Tcp, None)]);
        carry_out(replace(None, Some(&first)));
        assert!(list().contains("tcp . 8080 : 10.120.0.2 . 80"), "{}", list());
        let second = Member { ports: vec![port(8080, 81, Protocol::Tcp, None)], ..first.clone() };
        carry_out(replace(Some(&first), Some(&second)));
        assert!(list().contains("tcp . 8080 : 10.120.0.2 . 81"), "{}", list());
        carry_out(replace(Some(&second), None));
        carry_out(replace(Some(&second), None));
        assert_eq!(list(), empty);
        let many: Vec<Member> = (2..1500)
            .map(|number| {
                member(number, vec![port(u16::try_from(number).unwrap(), 80, Protocol::Udp, None)])
            })
            .collect();
        carry_out_all(install(&ground(), &many));
        assert_eq!(list().matches("udp . ").count(), 2 * many.len());
        carry_out_all(install(&ground(), &[]));
        assert_eq!(list(), empty);
    });
}

#[test]
fn a_refusal_changes_nothing_and_says_what() {
    inside("a_refusal_changes_nothing_and_says_what", || {
        let batch = replace(None, Some(&member(2, vec![])));
        let error = Socket::open(Family::Netfilter).unwrap().carry_out(batch).unwrap_err();
        assert_eq!(error.to_string(), "add to a set of the packet filter");
        assert_eq!(error.errno(), Some(2), "there is no table yet");
        assert_eq!(list(), "");
    });
}

#[test]
fn the_node_forwards_for_its_units_and_keeps_the_metadata_from_them() {
    inside("the_node_forwards_for_its_units_and_keeps_the_metadata_from_them", || {
        let (near, far, unit) = (Room::new(), Room::new(), Room::new());
        for (room, here, net) in [(&near, "lan0", "10.1.0"), (&far, "lan1", "10.2.0")] {
            room.cable(here, "eth0");
            ip(&format!("address add {net}.1/24 dev {here}"));
            room.ip(&format!("address add {net}.2/24 dev eth0"));
            room.ip(&format!("route add default via {net}.1"));
        }
        far.ip("address add 169.254.169.254/32 dev lo");
        ip("route add 169.254.169.254/32 via 10.2.0.2");
        ip("link add ferrite0 type bridge");
        ip("address add 10.120.0.1/16 dev ferrite0");
        ip("link set ferrite0 up");
        unit.cable("ferrite-0102", "eth0");
        ip("link set ferrite-0102 master ferrite0");
        unit.ip("link set eth0 address 02:fe:00:00:01:02");
        unit.ip("address add 10.120.1.2/16 dev eth0");
        unit.ip("route add default via 10.120.0.1");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        assert!(reaches(&near, "10.2.0.2"), "the aid works: without rules everything passes");

        let own = Member { metadata: false, ipv6: None, ..member(0x102, vec![]) };
        carry_out_all(install(&ground(), std::slice::from_ref(&own)));
        assert!(!reaches(&near, "10.2.0.2"), "a neighbour does not pass");
        assert!(!reaches(&near, "10.120.1.2"), "nor into units");
        assert!(reaches(&near, "10.1.0.1") && reaches(&far, "10.2.0.1"), "the node itself");
        assert!(reaches(&unit, "10.2.0.2"), "a unit does");
        assert!(!reaches(&unit, "169.254.169.254"), "but not to the metadata");
        let allowed = Member { metadata: true, ..own.clone() };
        carry_out(replace(Some(&own), Some(&allowed)));
        assert!(reaches(&unit, "169.254.169.254"));
        carry_out(replace(Some(&allowed), Some(&own)));
        assert!(!reaches(&unit, "169.254.169.254"));
    });
}

/// As a translator on the way out would take it for the same service.
#[test]
fn the_metadata_is_not_reached_by_another_way_of_writing_it() {
    inside("the_metadata_is_not_reached_by_another_way_of_writing_it", || {
        let (far, unit) = (Room::new(), Room::new());
        std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
        far.cable("lan1", "eth0");
        ip("address add fd00:9::1/64 dev lan1 nodad");
        far.ip("address add fd00:9::2/64 dev eth0 nodad");
        far.ip("route add default via fd00:9::1");
        ip("link add ferrite0 type bridge");
        ip("address add fd00:1:2::1/64 dev ferrite0 nodad");
        ip("link set ferrite0 up");
        unit.cable("ferrite-0102", "eth0");
        ip("link set ferrite-0102 master ferrite0");
        unit.ip("link set eth0 address 02:fe:00:00:01:02");
        unit.ip("address add fd00:1:2::102/64 dev eth0 nodad");
        unit.ip("route add default via fd00:1:2::1");
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        let ways = ["64:ff9b::a9fe:a9fe", "64:ff9b:1:2:3:4:a9fe:a9fe", "fd00:ec2::254"];
        let others = ["64:ff9b::a09:a09", "fd00:9::2"];
        for address in ways.iter().chain(&others[..1]) {
            far.ip(&format!("address add {address}/128 dev lo nodad"));
            ip(&format!("route add {address}/128 via fd00:9::2"));
        }
        let own = Member { metadata: false, ..member(0x102, vec![]) };
        carry_out_all(install(&ground(), std::slice::from_ref(&own)));
        for address in others {
            assert!(reaches(&unit, address), "{address} is nobody's metadata");
        }
        for address in ways {
            assert!(!reaches(&unit, address), "{address}");
        }
        let allowed = Member { metadata: true, ..own.clone() };
        carry_out(replace(Some(&own), Some(&allowed)));
        for address in ways {
            assert!(reaches(&unit, address), "{address} with metadata_service");
        }
    });
}

#[test]
fn units_do_not_reach_what_machines_have_for_one_another() {
    inside("units_do_not_reach_what_machines_have_for_one_another", || {
        let (far, unit) = (Room::new(), Room::new());
        far.cable("lan1", "eth0");
        ip("address add 10.2.0.1/24 dev lan1");
        far.ip("address add 10.2.0.2/24 dev eth0");
        far.ip("address add 10.2.0.3/24 dev eth0");
        far.ip("route add default via 10.2.0.1");
        ip("link add ferrite0 type bridge");
        ip("address add 10.120.0.1/16 dev ferrite0");
        ip("link set ferrite0 up");
        unit.cable("ferrite-0102", "eth0");
        ip("link set ferrite-0102 master ferrite0");
        unit.ip("link set eth0 address 02:fe:00:00:01:02");
        unit.ip("address add 10.120.1.2/16 dev eth0");
        unit.ip("route add default via 10.120.0.1");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let own = Member { metadata: false, ipv6: None, ..member(0x102, vec![]) };
        carry_out_all(install(&ground(), &[own]));
        assert!(reaches(&unit, "10.2.0.2/7443"), "the aid works: a lone node knows no machines");
        carry_out_all(replace_machines(&BTreeSet::new(), &machines()));
        for port in [7443, 2380] {
            assert!(!reaches(&unit, &format!("10.2.0.2/{port}")), "{port}");
        }
        assert!(reaches(&unit, "10.2.0.2/8080"), "what it publishes is reached");
        assert!(reaches(&unit, "10.2.0.3/7443"), "nobody's of the cluster");
        let others = ["10.2.0.3".parse().unwrap()].into();
        carry_out_all(replace_machines(&machines(), &others));
        assert!(reaches(&unit, "10.2.0.2/7443") && !reaches(&unit, "10.2.0.3/7443"));
        assert!(!list().contains("2001:db8::2"), "{}", list());
    });
}

#[test]
fn neighbours_reach_neither_the_bridges_addresses_nor_what_is_published_on_loopback() {
    inside(
        "neighbours_reach_neither_the_bridges_addresses_nor_what_is_published_on_loopback",
        || {
            let (near, unit) = (Room::new(), Room::new());
            near.cable("lan0", "eth0");
            let nodad = "/proc/sys/net/ipv6/conf/default/accept_dad";
            std::fs::write(nodad, "0").unwrap();
            ip("address add 10.1.0.1/24 dev lan0");
            ip("address add fd00:9::1/64 dev lan0 nodad");
            near.ip("address add 10.1.0.2/24 dev eth0");
            near.ip("address add fd00:9::2/64 dev eth0 nodad");
            ip("link add ferrite0 type bridge");
            ip("address add 10.120.0.1/16 dev ferrite0");
            ip("address add fd00:1:2::1/64 dev ferrite0 nodad");
            ip("link set ferrite0 up");
            ip("link set lo up");
            unit.cable("ferrite-0102", "eth0");
            ip("link set ferrite-0102 master ferrite0");
            unit.ip("link set eth0 address 02:fe:00:00:01:02");
            unit.ip("address add 10.120.1.2/16 dev eth0");
            unit.ip("route add default via 10.120.0.1");
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            near.ip("route add 10.120.0.1 via 10.1.0.1");
            near.ip("route add fd00:1:2::1 via fd00:9::1");
            // A neighbour who is up to no good: its 127.0.0.1 is the node's.
            near.ip("address flush dev lo");
            near.ip("route add 127.0.0.1 via 10.1.0.1 src 10.1.0.2");
            let lets = "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet";
            assert!(near.command(&["sh", "-c", lets]).status().unwrap().success());
            for address in ["10.120.0.1", "fd00:1:2::1"] {
                assert!(reaches(&near, address), "the aid works: without rules {address} is there");
            }

            let ports = vec![
                port(9, 9, Protocol::Tcp, Some("127.0.0.1")),
                port(10, 9, Protocol::Tcp, Some("10.1.0.1")),
            ];
            carry_out_all(install(&ground(), &[Member { ipv6: None, ..member(0x102, ports) }]));
            for address in ["127.0.0.1", "10.120.0.1", "fd00:1:2::1"] {
                assert!(!reaches(&near, address), "{address} is not for neighbours");
            }
            assert!(reaches(&near, "10.1.0.1/10"), "what is published for them is");
            assert!(reaches(&near, "10.1.0.1") && reaches(&near, "fd00:9::1"), "as is the node");
            assert!(!reaches(&unit, "10.120.0.1"), "units ask names there");
            assert!(reaches(&unit, "10.120.0.1/53"), "and nothing else");
        },
    );
}
