use proptest::prelude::*;

use super::*;

fn network(text: &str) -> ClusterIpv4 {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn what_is_no_network_for_a_cluster_says_what_would_be() {
    for (text, why) in [
        ("10.64.0.0", "write an address and a length"),
        ("10.64.0.0/x", "write an address and a length"),
        ("fd00::/48", "write an address and a length"),
        ("10.64.0.0/24", "take a /22 (3 machines)"),
        ("10.64.0.0/23", "take a /22 (3 machines)"),
        ("10.64.0.0/200", "take a /22"),
        ("0.0.0.0/0", "wider than a /8"),
        ("10.64.0.1/12", "zeros"),
        ("127.0.0.0/8", "not within 10.0.0.0/8"),
        ("169.254.0.0/16", "not within"),
        ("224.0.0.0/8", "not within"),
        ("8.0.0.0/8", "not within"),
        ("172.0.0.0/8", "not within"),
        ("100.96.0.0/11", "100.100.100.200"),
        ("10.120.0.0/16", "nodes have 10.120.0.0/16"),
        ("10.120.64.0/20", "nodes have 10.120.0.0/16"),
    ] {
        let said = text.parse::<ClusterIpv4>().unwrap_err().to_string();
        assert!(said.contains(why) && said.contains(text), "{text}: {said}");
    }
    for (text, why) in [
        ("fd12:3456:789a::/64", "length 48"),
        ("fd12:3456:789a::", "length 48"),
        ("10.0.0.0/48", "length 48"),
        ("fd12:3456:789a:1::/48", "zeros"),
        ("fe80::/48", "neither private"),
        ("ff02::/48", "neither private"),
        ("::/48", "neither private"),
        ("fd00:ec2::/48", "a cloud"),
    ] {
        let said = text.parse::<ClusterIpv6>().unwrap_err().to_string();
        assert!(said.contains(why) && said.contains(text), "{text}: {said}");
    }
    let said = "vxlan".parse::<MeshTransport>().unwrap_err().to_string();
    assert!(said.contains("\"routes\""), "{said}");
}

#[test]
fn what_is_one_is_written_as_it_was_read() {
    for text in ["10.112.0.0/12", "10.0.0.0/8", "172.16.0.0/12", "192.168.8.0/22", "100.64.0.0/12"]
    {
        assert_eq!(network(text).to_string(), text);
    }
    assert_eq!(ClusterIpv4::USUAL, network("10.112.0.0/12"));
    for text in ["fd12:3456:789a::/48", "2001:db8:7::/48"] {
        assert_eq!(text.parse::<ClusterIpv6>().unwrap().to_string(), text);
    }
    for transport in [MeshTransport::WireGuard, MeshTransport::Routes] {
        assert_eq!(transport.word().parse(), Ok(transport));
    }
}

#[test]
fn how_many_machines_fit_follows_from_the_prefix() {
    for (text, room) in [
        ("192.168.8.0/22", 3),
        ("172.16.0.0/16", 255),
        // 256 of each are those of lone nodes.
        ("10.112.0.0/12", 4095 - 256),
        ("10.0.0.0/8", 65_535 - 256),
        ("10.120.0.0/13", 2047 - 255),
        ("172.16.0.0/12", 4095),
    ] {
        assert_eq!(network(text).room(), room, "{text}");
    }
}

proptest! {
    /// Whatever the network is, no two machines share addresses, and none has what is not the cluster's or a lone node's.
    #[test]
    fn machines_networks_are_the_clusters_and_apart(
        range in proptest::sample::select(PRIVATE4.to_vec()), bits in any::<u32>(), prefix in 8..=22_u8,
    ) {
        let bits = range.0.to_bits() | (bits >> range.1);
        let address = Ipv4Addr::from_bits(bits & !(u32::MAX >> prefix));
        if let Ok(network) = format!("{address}/{prefix}").parse::<ClusterIpv4>() {
            let mut before = None;
            prop_assert!(network.room() >= 3);
            for number in network.numbers() {
                let own = network.of(number);
                prop_assert!(network.has(own) && own != address);
                prop_assert!(own.octets()[..2] != [10, 120]);
                prop_assert!(before < Some(own), "{own}");
                before = Some(own);
            }
        }
    }
}
