//! Leases that cannot be set wholly, that become less, and leases of several cards.

use super::*;

fn inside(name: &str, test: impl FnOnce()) {
    namespace::inside(&format!("{}::{name}", module_path!()), test);
}

#[test]
fn a_route_that_cannot_be_set_takes_nothing_else_with_it() {
    inside("a_route_that_cannot_be_set_takes_nothing_else_with_it", || {
        let lan = Lan::new();
        // Nobody is reached through 127.0.0.1.
        let routes =
            "--dhcp-option=121,10.50.0.0/16,127.0.0.1,10.60.0.0/16,10.9.0.1,0.0.0.0/0,10.9.0.1";
        let server = lan.dnsmasq(&[routes]);
        with_client(&lan, async |told| {
            told.addressed().await;
            let said = told.applied().await.unwrap();
            let only =
                "eth0: the lease is not whole: set the route to 10.50.0.0/16 through 127.0.0.1";
            assert!(said.starts_with(only) && said.matches("set ").count() == 1, "{said}");
        });
        let routes = ip("-4 route show");
        for wanted in ["default via 10.9.0.1 dev eth0", "10.60.0.0/16 via 10.9.0.1 dev eth0"] {
            assert!(routes.contains(wanted), "{routes}");
        }
        let names = std::fs::read_to_string(resolv_conf(lan.folder.path())).unwrap();
        assert_eq!(names, "nameserver 10.9.0.5\n");
        server.end();
    });
}

#[test]
fn a_link_whose_address_could_not_be_set_has_none() {
    inside("a_link_whose_address_could_not_be_set_has_none", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            let connection = tokio::spawn(connection);
            let (teller, mut news) = news::channel();
            let folder = tempfile::tempdir().unwrap();
            let servers = NameServers::in_file(resolv_conf(folder.path()));
            // There is no such link.
            let link = Link::new(handle, (9999, "eth9".to_owned()), servers, folder.path());
            let machine = Machine::new([2, 0, 0, 0, 0, 2], None, Instant::now());
            let units = UnitsNetwork::new([10, 120, 0, 0].into(), 16);
            let (addressed, again, told, asking_from) = (false, None, None, None);
            let mut client =
                Client { link, machine, teller, units, addressed, again, told, asking_from };
            let settings = lease::Settings {
                address: [10, 9, 0, 90].into(),
                prefix: 24,
                routes: vec![],
                name_servers: vec![],
                search: vec![],
                mtu: None,
            };
            let lease = Lease { settings, server: [10, 9, 0, 1].into(), times: None };
            client.apply(Box::new(lease), None, AGAIN).await;
            assert_eq!(client.again.as_ref().unwrap().pause, AGAIN);
            client.apply_again().await;
            assert_eq!(client.again.as_ref().unwrap().pause, AGAIN * 2, "ever more slowly");
            let mut heard = Vec::new();
            while let Ok(news) = news.try_recv() {
                heard.push(news);
            }
            assert_eq!(heard.len(), 2, "{heard:?}");
            for news in heard {
                let News::Standing { warning: Some(warning), .. } = news else {
                    panic!("{news:?}")
                };
                assert!(warning.contains("the lease is not whole: set address 10.9.0.90"));
            }
            client.withdraw().await;
            assert!(client.again.is_none());
            connection.abort();
        });
    });
}

#[test]
fn what_could_not_be_set_of_a_lease_is_tried_again() {
    inside("what_could_not_be_set_of_a_lease_is_tried_again", || {
        let lan = Lan::new();
        let server = lan.dnsmasq_in("10.9.0", "infinite", &["--dhcp-option=6,10.9.0.5"]);
        let file = resolv_conf(lan.folder.path());
        // What merely lies in the way is taken away: a mount is not.
        std::fs::create_dir(&file).unwrap();
        let done = |words: &[&str]| {
            let done = std::process::Command::new(words[0]).args(&words[1..]).arg(&file).status();
            assert!(done.unwrap().success(), "{words:?}");
        };
        done(&["mount", "-t", "tmpfs", "none"]);
        with_client(&lan, async |told| {
            told.addressed().await;
            let said = told.applied().await.unwrap();
            assert!(said.contains("the lease is not whole: write "), "{said}");
            done(&["umount"]);
            std::fs::remove_dir(&file).unwrap();
            while told.applied().await.is_some() {}
        });
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "nameserver 10.9.0.5\n");
        let said = server.end().join("\n");
        assert_eq!(said.matches("DHCPREQUEST(").count(), 1, "nobody was asked again: {said}");
    });
}

#[test]
fn what_a_renewed_lease_brings_no_more_goes() {
    inside("what_a_renewed_lease_brings_no_more_goes", || {
        let lan = Lan::new();
        let (mtu, routes) =
            ("--dhcp-option=26,1400", "10.60.0.0/16,10.9.0.1,10.70.0.0/16,10.9.0.1");
        let server = lan.dnsmasq(&[mtu, &format!("--dhcp-option=121,0.0.0.0/0,10.9.0.1,{routes}")]);
        ip("link set eth0 mtu 1480");
        with_client(&lan, async |told| {
            assert_eq!(told.applied().await, None);
            // This is no lease's.
            ip("route add 10.80.0.0/16 via 10.9.0.1 dev eth0");
            assert!(ip("-4 route show").contains("10.60.0.0/16 via 10.9.0.1"));
            assert!(ip("link show eth0").contains("mtu 1400"));
            server.end();
            told.carrier.send(false).unwrap();
            let server = lan.dnsmasq(&["--dhcp-option=121,10.70.0.0/16,10.9.0.2"]);
            told.carrier.send(true).unwrap();
            assert_eq!(told.applied().await, None);
            let shown = ip("-4 route show");
            assert!(shown.contains("10.70.0.0/16 via 10.9.0.2"), "{shown}");
            assert!(!shown.contains("default") && !shown.contains("10.60"), "{shown}");
            assert!(shown.contains("10.80.0.0/16"), "it is somebody else's: {shown}");
            assert!(ip("link show eth0").contains("mtu 1480"), "as it was before");
            server.end();
        });
    });
}

/// What the agent's successor finds is the lease's, and not what was before it.
#[test]
fn the_mtu_from_before_leases_outlives_the_agent() {
    inside("the_mtu_from_before_leases_outlives_the_agent", || {
        let lan = Lan::new();
        ip("link set eth0 mtu 1480");
        let mtu = || ip("link show eth0");
        for brought in ["1400", "1300"] {
            let server = lan.dnsmasq(&[&format!("--dhcp-option=26,{brought}")]);
            with_client(&lan, async |told| assert_eq!(told.applied().await, None));
            assert!(mtu().contains(&format!("mtu {brought}")), "{}", mtu());
            server.end();
        }
        let server = lan.dnsmasq(&[]);
        with_client(&lan, async |told| assert_eq!(told.applied().await, None));
        assert!(mtu().contains("mtu 1480"), "{}", mtu());
        server.end();
    });
}

/// Two cards, of which the second has no way out and no name servers.
fn two_cards(order: [usize; 2]) {
    let (lan, second) = (Lan::new(), Lan::second());
    let servers = [
        lan.dnsmasq(&["--dhcp-option=option:router,10.9.0.1"]),
        second.dnsmasq_in("10.8.0", "120s", &["--dhcp-option=3", "--dhcp-option=6"]),
    ];
    with_clients(&lan, UnitsNetwork::new([10, 120, 0, 0].into(), 16), async |begin| {
        let mut told = Vec::new();
        for card in order {
            let (name, last) = [("eth0", 2), ("eth1", 3)][card];
            let mut one = begin(name, [2, 0, 0, 0, 0, last]);
            one.addressed().await;
            told.push(one);
        }
        assert!(ip("-4 -o address show dev eth1").contains("inet 10.8.0.9"));
        let routes = ip("-4 route show default");
        assert!(routes.starts_with("default via 10.9.0.1 dev eth0"), "{routes}");
        assert_eq!(routes.lines().count(), 1, "{routes}");
        let names = std::fs::read_to_string(resolv_conf(lan.folder.path())).unwrap();
        assert_eq!(names, "nameserver 10.9.0.5\n");
    });
    for server in servers {
        server.end();
    }
}

#[test]
fn a_card_without_a_way_out_that_comes_last_takes_nothing_away() {
    inside("a_card_without_a_way_out_that_comes_last_takes_nothing_away", || two_cards([0, 1]));
}

#[test]
fn a_card_without_a_way_out_that_comes_first_is_in_nobodys_way() {
    inside("a_card_without_a_way_out_that_comes_first_is_in_nobodys_way", || two_cards([1, 0]));
}

#[test]
fn of_two_ways_out_the_first_cards_is_used_until_its_cable_is_out() {
    inside("of_two_ways_out_the_first_cards_is_used_until_its_cable_is_out", || {
        let (lan, second) = (Lan::new(), Lan::second());
        let servers =
            [lan.dnsmasq(&[]), second.dnsmasq_in("10.8.0", "120s", &["--dhcp-option=6,10.8.0.5"])];
        // As configs/sysctl.conf has it.
        let setting = "/proc/sys/net/ipv4/conf/all/ignore_routes_with_linkdown";
        std::fs::write(setting, "1").unwrap();
        with_clients(&lan, UnitsNetwork::new([10, 120, 0, 0].into(), 16), async |begin| {
            let (mut late, mut first) = (None, None);
            for (name, last, told) in [("eth1", 3, &mut late), ("eth0", 2, &mut first)] {
                told.insert(begin(name, [2, 0, 0, 0, 0, last])).addressed().await;
            }
            let way = || ip("route get 192.0.2.1");
            assert!(way().contains("via 10.9.0.1 dev eth0"), "{}", way());
            let names = || std::fs::read_to_string(resolv_conf(lan.folder.path())).unwrap();
            assert_eq!(names(), "nameserver 10.9.0.5\nnameserver 10.8.0.5\n");
            lan.other.ip("link set srv0 down");
            // The other end of a cable hears of it a moment later.
            let turned = async {
                while !way().contains("via 10.8.0.1 dev eth1") {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(SOON, turned).await.unwrap();
        });
        for server in servers {
            server.end();
        }
    });
}
