//! The client against the servers that people run: ISC dhcpd, Kea and dnsmasq, each on the other end of a cable, in
//! a network of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::namespace::{self, Room, ip};
use crate::news;

mod several;

/// Long enough for a computer that does much else.
const SOON: Duration = Duration::from_secs(60);
/// The servers' address.
const SERVER: &str = "10.9.0.1";

/// A cable: `eth0` or `eth1` is the client's end, `srv0` the servers', in another network.
struct Lan {
    folder: tempfile::TempDir,
    /// Holds the servers' network.
    other: Room,
}

impl Lan {
    fn new() -> Self {
        ip("link set lo up");
        Self::behind("eth0", "02:00:00:00:00:02", SERVER)
    }

    /// Another one, behind another card.
    fn second() -> Self {
        Self::behind("eth1", "02:00:00:00:00:03", "10.8.0.1")
    }

    fn behind(link: &str, mac: &str, server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let other = Room::new();
        other.cable(link, "srv0");
        ip(&format!("link set {link} address {mac}"));
        other.ip(&format!("address add {server}/24 dev srv0"));
        Self { folder, other }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts a server and waits for what it says when it serves.
    fn serve(&self, words: &[&str], serves: &str) -> Server {
        let mut command = self.other.command(words);
        let folder = self.folder.path();
        command.env("KEA_PIDFILE_DIR", folder).env("KEA_LOCKFILE_DIR", folder);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        loop {
            let Some(Ok(line)) = lines.next() else { panic!("{words:?} ended: {said:#?}") };
            let is_there = line.contains(serves);
            said.push(line);
            if is_there {
                break;
            }
        }
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect());
        Server { child, rest }
    }

    fn isc(&self, net: &str, more: &str) -> Server {
        let subnet = format!(
            "authoritative; ping-check false; subnet {net}.0 netmask 255.255.255.0 {{\n\
             range {net}.50 {net}.60; option routers {net}.1;\n\
             option domain-name-servers 10.9.0.3; option interface-mtu 1400;\n{more}\n}}\n"
        );
        let (config, leases) = (self.file("isc.conf", &subnet), self.file("isc.leases", ""));
        let pid = self.folder.path().join("isc.pid");
        let [config, leases, pid] = [&config, &leases, &pid].map(|path| path.to_str().unwrap());
        // A copy: a host's profile may bind the program at its place to folders of its own.
        let program = self.folder.path().join("dhcpd");
        std::fs::copy("/usr/sbin/dhcpd", &program).unwrap();
        let program = program.to_str().unwrap();
        let words = [program, "-4", "-f", "-d", "-cf", config, "-lf", leases, "-pf", pid, "srv0"];
        self.serve(&words, "Server starting service")
    }

    fn kea(&self) -> Server {
        let text = format!(
            r#"{{ "Dhcp4": {{
            "interfaces-config": {{ "interfaces": ["srv0"] }},
            "lease-database": {{ "type": "memfile", "persist": false }},
            "valid-lifetime": 600,
            "subnet4": [ {{ "id": 1, "subnet": "10.9.0.0/24", "pools": [ {{ "pool": "10.9.0.70 - 10.9.0.80" }} ],
              "option-data": [ {{ "name": "routers", "data": "{SERVER}" }},
                               {{ "name": "domain-name-servers", "data": "10.9.0.4" }} ] }} ],
            "loggers": [ {{ "name": "kea-dhcp4", "severity": "INFO",
                            "output_options": [ {{ "output": "stderr" }} ] }} ] }} }}"#
        );
        let config = self.file("kea.conf", &text);
        let program = self.folder.path().join("kea");
        std::fs::copy("/usr/sbin/kea-dhcp4", &program).unwrap();
        let words = [program.to_str().unwrap(), "-c", config.to_str().unwrap()];
        self.serve(&words, "DHCP4_STARTED")
    }

    fn dnsmasq(&self, more: &[&str]) -> Server {
        self.dnsmasq_in(
            "10.9.0",
            "120s",
            &[&["--dhcp-option=option:dns-server,10.9.0.5"], more].concat(),
        )
    }

    fn dnsmasq_in(&self, net: &str, lifetime: &str, more: &[&str]) -> Server {
        let leases = format!("--dhcp-leasefile={}", self.file("leases", "").display());
        let range = format!("--dhcp-range={net}.90,{net}.99,255.255.255.0,{lifetime}");
        let mut words = vec!["dnsmasq", "--no-daemon", "--user=root", "--group=root"];
        words.extend(["--conf-file=/dev/null", "--port=0", "--interface=srv0", "--log-dhcp"]);
        words.extend(["--no-ping", "--dhcp-authoritative"]);
        words.extend([range.as_str(), &leases]);
        words.extend(more);
        self.serve(&words, "DHCP, IP range")
    }
}

/// A server that serves.
struct Server {
    child: Child,
    rest: std::thread::JoinHandle<Vec<String>>,
}

impl Server {
    /// Ends it, and tells what it said.
    fn end(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.rest.join().unwrap()
    }
}

/// The client at work on `eth0`, while `test` looks on.
fn with_client(lan: &Lan, test: impl AsyncFnOnce(&mut Told)) {
    with_client_beside(lan, UnitsNetwork::new([10, 120, 0, 0].into(), 16), test);
}

/// Likewise, on a node whose units have this network.
fn with_client_beside(lan: &Lan, units: UnitsNetwork, test: impl AsyncFnOnce(&mut Told)) {
    with_clients(lan, units, async |begin| {
        let mut told = begin("eth0", [2, 0, 0, 0, 0, 2]);
        test(&mut told).await;
    });
}

/// Clients that `test` begins, each on a card; what they learn of name servers is kept with the first network.
fn with_clients(
    lan: &Lan,
    units: UnitsNetwork,
    test: impl AsyncFnOnce(&mut dyn FnMut(&str, [u8; 6]) -> Told),
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        let connection = tokio::spawn(connection);
        let servers = NameServers::in_file(resolv_conf(lan.folder.path()));
        let mut clients = tokio::task::JoinSet::new();
        let mut begin = |name: &str, mac| {
            // Not from /sys, which shows the network that it was mounted in.
            let shown = ip(&format!("-o link show {name}"));
            let index = shown.split(':').next().unwrap().parse().unwrap();
            let name = name.to_owned();
            let interface = Interface { index, name, mac, up: true, carrier: true };
            let (teller, news) = news::channel();
            let (carrier, receiver) = watch::channel(true);
            let hostname = "node.example.org".to_owned();
            let folder = lan.folder.path().join("links");
            let around = Surroundings { hostname, teller, units, folder };
            clients.spawn(keep(handle.clone(), interface, servers.clone(), around, receiver));
            Told { news, carrier }
        };
        test(&mut begin).await;
        clients.shutdown().await;
        connection.abort();
    });
}

fn resolv_conf(folder: &Path) -> PathBuf {
    folder.join("resolv.conf")
}

/// What the client says, and its cable.
struct Told {
    news: UnboundedReceiver<News>,
    carrier: watch::Sender<bool>,
}

impl Told {
    async fn hear(&mut self, wanted: impl Fn(&News) -> bool) -> News {
        let mut heard = Vec::new();
        let wait = async {
            loop {
                let news = self.news.recv().await.unwrap();
                if wanted(&news) {
                    return news;
                }
                heard.push(news);
            }
        };
        let found = tokio::time::timeout(SOON, wait).await.ok();
        found.unwrap_or_else(|| panic!("not heard; but {heard:?}"))
    }

    /// A lease is applied, wholly or as `warning` says.
    async fn applied(&mut self) -> Option<String> {
        let of_lease = |news: &News| match news {
            News::Standing { about, .. } => about == "dhcp lease eth0",
            _ => false,
        };
        match self.hear(of_lease).await {
            News::Standing { warning, .. } => warning,
            other => panic!("{other:?}"),
        }
    }

    async fn addressed(&mut self) {
        self.hear(|news| matches!(news, News::Addressed { .. })).await;
    }
}

fn inside(name: &str, test: impl FnOnce()) {
    namespace::inside(&format!("{}::{name}", module_path!()), test);
}

/// Somebody is there to refuse.
fn is_reached() {
    let port = (SERVER.parse::<Ipv4Addr>().unwrap(), 9).into();
    let refused = std::net::TcpStream::connect_timeout(&port, SOON).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

fn address() -> String {
    ip("-4 -o address show dev eth0")
}

#[test]
fn isc_dhcpd_gives_an_address_and_it_is_used() {
    inside("isc_dhcpd_gives_an_address_and_it_is_used", || {
        let lan = Lan::new();
        let server = lan.isc("10.9.0", "default-lease-time 600;");
        with_client(&lan, async |told| told.addressed().await);
        let (address, routes) = (address(), ip("-4 route show"));
        assert!(address.contains("inet 10.9.0.50/24"), "{address}");
        assert!(!address.contains("valid_lft forever"), "the kernel knows its end: {address}");
        assert!(routes.contains(&format!("default via {SERVER} dev eth0")), "{routes}");
        assert!(ip("link show eth0").contains("mtu 1400"));
        let names = std::fs::read_to_string(resolv_conf(lan.folder.path())).unwrap();
        assert_eq!(names, "nameserver 10.9.0.3\n");
        is_reached();
        // The agent's successor asks for the same address, and gets it.
        with_client(&lan, async |told| told.addressed().await);
        let said = server.end().join("\n");
        assert!(said.contains("from 02:00:00:00:00:02"), "{said}");
        assert_eq!(said.matches("DHCPDISCOVER").count(), 1, "the second time it knew: {said}");
    });
}

#[test]
fn kea_gives_an_address() {
    inside("kea_gives_an_address", || {
        let lan = Lan::new();
        let server = lan.kea();
        with_client(&lan, async |told| told.addressed().await);
        assert!(address().contains("inet 10.9.0.70/24"), "{}", address());
        let said = server.end().join("\n");
        assert!(said.contains("cid=[01:02:00:00:00:00:02]"), "{said}");
    });
}

#[test]
fn dnsmasq_gives_an_address_and_another_in_another_network() {
    inside("dnsmasq_gives_an_address_and_another_in_another_network", || {
        let lan = Lan::new();
        let server = lan.dnsmasq(&["--dhcp-option=option:router,10.77.0.1"]);
        with_client(&lan, async |told| {
            told.addressed().await;
            assert!(address().contains("inet 10.9.0.9"), "{}", address());
            // A router outside of the network is on the link all the same.
            let routes = ip("-4 route show default");
            assert!(routes.contains("via 10.77.0.1") && routes.contains("onlink"), "{routes}");
            server.end();
            // The cable goes into another network, where the address is refused.
            told.carrier.send(false).unwrap();
            lan.other.ip("address flush dev srv0");
            lan.other.ip("address add 10.8.0.1/24 dev srv0");
            let server = lan.isc("10.8.0", "default-lease-time 600;");
            told.carrier.send(true).unwrap();
            told.hear(|news| matches!(news, News::Lost { .. })).await;
            told.addressed().await;
            assert!(address().contains("inet 10.8.0.50/24"), "{}", address());
            assert!(!address().contains("10.9.0.9"), "{}", address());
            let routes = ip("-4 route show");
            assert!(!routes.contains("10.77.0.1"), "the old one's routes are gone: {routes}");
            drop(server.end());
        });
    });
}

/// Somebody says that the lease is in the way of the units.
fn overlap(news: &News) -> bool {
    match news {
        News::Standing { about, warning: Some(warning) } => {
            about == "dhcp overlap eth0" && warning.contains("set [network] ipv4")
        }
        _ => false,
    }
}

#[test]
fn a_lease_among_the_units_is_said_and_the_bridges_own_address_is_not_taken() {
    let name = "a_lease_among_the_units_is_said_and_the_bridges_own_address_is_not_taken";
    inside(name, || {
        let lan = Lan::new();
        let own = "host own { hardware ethernet 02:00:00:00:00:02; fixed-address 10.9.0.49; }";
        let server = lan.isc("10.9.0", &format!("default-lease-time 600; {own}"));
        with_client_beside(&lan, UnitsNetwork::new([10, 9, 0, 0].into(), 16), async |told| {
            told.hear(overlap).await;
            told.addressed().await;
        });
        assert!(address().contains("inet 10.9.0.49/24"), "a node is reached all the same");
        // The agent's successor has another configuration, and asks for the same address.
        let net = UnitsNetwork::new([10, 9, 0, 48].into(), 28);
        with_client_beside(&lan, net, async |told| {
            told.hear(overlap).await;
            told.hear(|news| matches!(news, News::Lost { .. })).await;
        });
        assert!(!address().contains("10.9.0.49"), "{}", address());
        drop(server.end());
    });
}

#[test]
fn a_lease_of_one_address_leads_out_as_clouds_give_it() {
    inside("a_lease_of_one_address_leads_out_as_clouds_give_it", || {
        let lan = Lan::new();
        let route = "--dhcp-option=121,10.9.0.1/32,0.0.0.0,0.0.0.0/0,10.9.0.1";
        let server = lan.dnsmasq(&["--dhcp-option=1,255.255.255.255", route]);
        with_client(&lan, async |told| told.addressed().await);
        assert!(address().contains("/32 "), "{}", address());
        let routes = ip("-4 route show");
        assert!(routes.contains("10.9.0.1 dev eth0 proto dhcp scope link"), "{routes}");
        assert!(routes.contains("default via 10.9.0.1 dev eth0"), "{routes}");
        is_reached();
        server.end();
    });
}

#[test]
fn a_server_that_is_gone_costs_the_address_and_is_said() {
    inside("a_server_that_is_gone_costs_the_address_and_is_said", || {
        let lan = Lan::new();
        let server =
            lan.isc("10.9.0", "default-lease-time 20; max-lease-time 20; min-lease-time 20;");
        with_client(&lan, async |told| {
            told.addressed().await;
            // It is renewed by its own server first.
            let renewed = async {
                while !is_renewed() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(SOON, renewed).await.unwrap();
            let said = server.end().join("\n");
            assert!(said.matches("DHCPACK").count() > 1, "{said}");
            assert_eq!(said.matches("DHCPDISCOVER").count(), 1, "{said}");
            let standing = |word: &'static str| {
                move |news: &News| match news {
                    News::Standing { warning: Some(warning), .. } => warning.contains(word),
                    _ => false,
                }
            };
            told.hear(standing("does not renew")).await;
            told.hear(|news| matches!(news, News::Lost { .. })).await;
            assert_eq!(address(), "", "it is somebody else's now");
            told.hear(standing("has ended")).await;
            let server = lan.isc("10.9.0", "default-lease-time 600;");
            told.addressed().await;
            told.hear(|news| matches!(news, News::Standing { warning: None, .. })).await;
            server.end();
        });
    });
}

/// After half of its time, an address has more of it left again.
fn is_renewed() -> bool {
    use std::sync::atomic::{AtomicU32, Ordering};
    static LEAST: AtomicU32 = AtomicU32::new(u32::MAX);
    let shown = address();
    let left = shown.split("valid_lft ").nth(1).and_then(|rest| rest.split("sec").next());
    let Some(left) = left.and_then(|left| left.parse().ok()) else { return false };
    let least = LEAST.fetch_min(left, Ordering::Relaxed);
    least < u32::MAX && left > least + 5
}
