//! BIND's `dig` asks the resolver, by packet and by connection, and finds nothing wrong with what it hears.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ferrite_schema::unit::Protocol;
use tokio::net::{TcpListener, UdpSocket};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::catalogue::Catalogue;
use super::{Names, Resolver, Upstream, serve_connections, serve_packets};
use crate::services::{Instance, Services};

const INSTANCES: u8 = 60;

/// A resolver with a service of 60 instances, which nobody stands behind.
struct Served {
    port: u16,
    /// It ends with this.
    _tasks: JoinSet<()>,
}

impl Served {
    async fn begin() -> Self {
        let instance = |number: u8| Instance {
            name: format!("web@{number}"),
            addresses: vec![
                [10, 121, 0, number].into(),
                [0xfd00, 0, 0, 0, 0, 0, 0, number.into()].into(),
            ],
            ports: vec![(80, Protocol::Tcp), (443, Protocol::Udp)],
        };
        let db = Instance {
            name: "db".to_owned(),
            addresses: vec![[10, 121, 1, 1].into()],
            ports: vec![(5432, Protocol::Tcp)],
        };
        let services = [
            ("web".to_owned(), (1..=INSTANCES).map(instance).collect()),
            ("db".to_owned(), vec![db]),
            ("waits".to_owned(), vec![]),
        ];
        let machines = [("dev-1".to_owned(), vec![[192, 0, 2, 1].into()])].into();
        let catalogue = Catalogue::new(&Services { services: services.into(), machines });
        let network = (Ipv4Addr::new(10, 120, 0, 0), 16);
        let mut names = Names::new("ferrite.local".to_owned(), network, None);
        names.know(Some(catalogue));
        names.insert("lone", Ipv4Addr::new(10, 120, 0, 7), None);
        let resolv_conf = PathBuf::from("/nowhere");
        let upstream = Upstream::new(vec![], resolv_conf, vec![]);
        let resolver = Arc::new(Resolver::new(Arc::new(Mutex::new(names)), upstream));
        let (listener, socket) = sockets().await;
        let port = socket.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_packets(Arc::clone(&resolver), Arc::new(socket)));
        tasks.spawn(serve_connections(resolver, listener));
        Self { port, _tasks: tasks }
    }

    /// What `dig` prints, and warns of nothing.
    async fn dig(&self, words: &str) -> String {
        let mut command = Command::new("dig");
        command.args(["-r", "@127.0.0.1", "-p", &self.port.to_string(), "+tries=1", "+time=5"]);
        let output = command.args(words.split(' ')).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // The domain is anybody's choice, and this is the default one.
        let text = text.replace(";; WARNING: .local is reserved for Multicast DNS\n", "");
        assert!(output.status.success() && output.stderr.is_empty(), "{words}: {text}");
        for bad in ["WARNING", "mismatch", "malformed", "extra bytes", "bad packet"] {
            assert!(!text.contains(bad), "{words}: {text}");
        }
        text
    }

    /// The answers' data.
    async fn short(&self, words: &str) -> BTreeSet<String> {
        let text = self.dig(&format!("+noall +answer {words}")).await;
        let records = text.lines().filter(|line| !line.starts_with(';'));
        let data = |line: &str| line.split_whitespace().skip(4).collect::<Vec<_>>().join(" ");
        records.map(data).collect()
    }
}

/// One port for both.
pub(super) async fn sockets() -> (TcpListener, UdpSocket) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        if let Ok(socket) = UdpSocket::bind(address).await {
            return (listener, socket);
        }
    }
}

fn all(address: impl Fn(u8) -> IpAddr) -> BTreeSet<String> {
    (1..=INSTANCES).map(|number| address(number).to_string()).collect()
}

fn count(text: &str, section: &str) -> u32 {
    let (_, rest) = text.split_once(&format!("{section}: ")).unwrap_or_else(|| panic!("{text}"));
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits.unwrap().parse().unwrap_or_else(|_| panic!("{section}: {text}"))
}

#[tokio::test]
async fn by_packet_it_hears_what_fits_and_by_connection_everything() {
    let served = Served::begin().await;
    let ipv4 = all(|number| [10, 121, 0, number].into());
    let ipv6 = all(|number| [0xfd00, 0, 0, 0, 0, 0, 0, number.into()].into());
    // 60 addresses fit into a packet as everybody sends it now.
    let plain = served.dig("web.ferrite.local").await;
    assert!(plain.contains("flags: qr aa rd ra;") && count(&plain, "ANSWER") == 60, "{plain}");
    assert!(plain.contains("; EDNS: version: 0, flags:; udp: 1232"), "{plain}");
    assert!(plain.contains(" (UDP)"), "{plain}");
    for words in ["+noedns", "+bufsize=512"] {
        let cut = served.dig(&format!("{words} +ignore web.ferrite.local")).await;
        assert!(cut.contains("flags: qr aa tc rd ra;") && count(&cut, "rcvd") <= 512, "{cut}");
        assert!((25..=30).contains(&count(&cut, "ANSWER")), "{cut}");
        let again = served.dig(&format!("{words} web.ferrite.local")).await;
        assert!(again.contains("Truncated, retrying in TCP mode"), "{again}");
        assert!(again.contains(" (TCP)") && count(&again, "ANSWER") == 60, "{again}");
        assert_eq!(served.short(&format!("{words} web.ferrite.local")).await, ipv4);
    }
    assert_eq!(served.short("+tcp web.service.ferrite.local").await, ipv4);
    assert_eq!(served.short("+tcp web.ferrite.local AAAA").await, ipv6);
    assert_eq!(served.short("+bufsize=65000 web.ferrite.local AAAA").await, ipv6);
    let cut = served.dig("+bufsize=65000 +ignore web.ferrite.local AAAA").await;
    assert!(count(&cut, "rcvd") <= 1232 && cut.contains(" tc "), "{cut}");
    let mut firsts = BTreeSet::new();
    for _ in 0..8 {
        let text = served.dig("+short web.ferrite.local").await;
        firsts.insert(text.lines().next().unwrap().to_owned());
    }
    assert!(firsts.len() > 1, "not always the same one first: {firsts:?}");
}

#[tokio::test]
async fn services_and_addresses_lead_to_instances() {
    let served = Served::begin().await;
    let places: BTreeSet<String> = (1..=INSTANCES)
        .map(|number| format!("0 1 80 {number}.web.service.ferrite.local."))
        .collect();
    assert_eq!(served.short("_web._tcp.ferrite.local SRV").await, places);
    let whole = served.dig("+tcp web.service.ferrite.local SRV").await;
    assert_eq!((count(&whole, "ANSWER"), count(&whole, "ADDITIONAL")), (120, 121), "{whole}");
    let db = served.dig("+noedns _tcp.db.service.ferrite.local SRV").await;
    assert!(db.contains("SRV\t0 1 5432 db.service.ferrite.local."), "{db}");
    assert!(db.contains("db.service.ferrite.local. 1\tIN\tA\t10.121.1.1"), "{db}");
    for (words, expected) in [
        ("1.web", "10.121.0.1"),
        ("web@2.ferrite.local", "10.121.0.2"),
        ("web-60.ferrite.local AAAA", "fd00::3c"),
        ("dev-1.machine.ferrite.local", "192.0.2.1"),
        ("lone", "10.120.0.7"),
        ("-x 10.121.0.9", "9.web.service.ferrite.local."),
        ("-x fd00::9", "9.web.service.ferrite.local."),
        ("-x 10.121.1.1", "db.service.ferrite.local."),
        ("-x 10.120.0.7", "lone.ferrite.local."),
        ("db.ferrite.local ANY +notcp", "\"RFC8482\" \"\""),
    ] {
        for transport in ["+notcp", "+tcp"] {
            let found = served.short(&format!("{transport} {words}")).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), [expected], "{words} {transport}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_apart_from_what_is_not_ready() {
    let served = Served::begin().await;
    let soa =
        "ferrite.local.\t\t1\tIN\tSOA\tferrite.local. hostmaster.ferrite.local. 1 3600 600 86400 1";
    for (words, status) in [
        ("waits.ferrite.local", "NOERROR"),
        ("99.web.ferrite.local", "NOERROR"),
        ("db.ferrite.local AAAA", "NOERROR"),
        ("ferrite.local NS", "NOERROR"),
        ("service.ferrite.local", "NOERROR"),
        ("cache.ferrite.local", "NXDOMAIN"),
        ("dev-2.machine.ferrite.local", "NXDOMAIN"),
        ("-x 10.120.0.8", "NXDOMAIN"),
    ] {
        for options in ["+noedns", "+tcp"] {
            let text = served.dig(&format!("{options} {words}")).await;
            assert!(text.contains(&format!("status: {status}")) && text.contains(soa), "{text}");
            assert_eq!(count(&text, "ANSWER"), 0, "{text}");
            assert_eq!(count(&text, "AUTHORITY"), 1, "{text}");
        }
    }
    assert_eq!(served.short("ferrite.local SOA").await.len(), 1);
    let failed = served.dig("www.example.org").await;
    assert!(failed.contains("status: SERVFAIL") && count(&failed, "AUTHORITY") == 0, "{failed}");
    let later = served.dig("+edns=1 +noednsnegotiation web.ferrite.local").await;
    assert!(later.contains("status: BADVERS") && later.contains("version: 0"), "{later}");
    // Some clients look whether their own mixture of large letters and small comes back.
    let mixed = served.dig("dB.FERRITE.local").await;
    assert!(
        mixed.contains(";dB.FERRITE.local.") && mixed.contains("\ndB.FERRITE.local."),
        "{mixed}"
    );
    let plain = served.dig("+noedns db.ferrite.local").await;
    assert!(!plain.contains("EDNS"), "no offer, no answer to one: {plain}");
    let dnssec = served.dig("+dnssec db.ferrite.local").await;
    assert!(dnssec.contains("flags: do;"), "{dnssec}");
}
