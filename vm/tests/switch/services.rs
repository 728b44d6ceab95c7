//! What machines find at the gateway, as other people's programs see it.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;

use ferrite_vm::switch::client::Client;
use ferrite_vm::switch::topology::{Network, Service};
use ferrite_vm::switch::{Running, Switch};

use super::room::{Room, inside, run};

struct Bed {
    folder: tempfile::TempDir,
    network: Network,
    _switch: Running,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Service {
            name: "registry".to_owned(),
            port: 5000,
            host: ([127, 0, 0, 1], 5000).into(),
        };
        let network =
            Network { number: 7, services: vec![registry], ..Network::of(&["one", "two"], 3) };
        let switch = Switch::start(network.clone(), folder.path()).unwrap();
        Self { folder, network, _switch: switch }
    }

    fn room(&self, machine: &str) -> Room {
        Room::new(&self.network, self.folder.path(), machine)
    }

    fn addressed(&self, machine: &str) -> Room {
        self.room(machine).addressed(&self.network, machine)
    }

    /// A program that DHCP clients run with what they got: it keeps it, and sets the address.
    fn script(&self) -> String {
        let path = self.folder.path().join("got.sh");
        let kept = self.kept();
        let text = format!(
            "#!/bin/sh\nenv >>{kept}\necho \"event $1 $reason\" >>{kept}\n\
             case \"$1$reason\" in bound|BOUND|REBOOT) ip address add ${{ip:-$new_ip_address}}/24 dev eth0 ;;\n\
             *) ip link set eth0 up ;; esac\n"
        );
        std::fs::write(&path, text).unwrap();
        run(std::process::Command::new("chmod").arg("+x").arg(&path));
        path.display().to_string()
    }

    fn kept(&self) -> String {
        self.folder.path().join("got").display().to_string()
    }

    fn got(&self) -> String {
        std::fs::read_to_string(self.kept()).unwrap()
    }
}

#[track_caller]
fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|one| one == *line), "{line:?} is not in:\n{text}");
    }
}

#[test]
fn iscs_dhclient_gets_the_machines_address() {
    inside("services::iscs_dhclient_gets_the_machines_address", || {
        let bed = Bed::new();
        let room = bed.room("two");
        let file = |name: &str| bed.folder.path().join(name).display().to_string();
        let (leases, pid) = (file("leases"), file("pid"));
        let script = bed.script();
        let words =
            ["dhclient", "-4", "-1", "-v", "-sf", &script, "-lf", &leases, "-pf", &pid, "eth0"];
        room.run(&words);
        has(
            &bed.got(),
            &[
                "new_ip_address=192.168.7.11",
                "new_subnet_mask=255.255.255.0",
                "new_routers=192.168.7.1",
                "new_domain_name_servers=192.168.7.1",
                "new_host_name=two",
                "new_domain_name=ferrite.test",
                "new_ntp_servers=192.168.7.1",
                "new_dhcp_lease_time=3600",
                "new_dhcp_server_identifier=192.168.7.1",
            ],
        );
        room.reaches("192.168.7.1", &[]);
        // It asks for the same again, and gets another when the machine has moved.
        Client::connect(bed.folder.path())
            .unwrap()
            .readdress("two", Ipv4Addr::new(192, 168, 7, 77))
            .unwrap();
        std::fs::remove_file(bed.kept()).unwrap();
        room.run(&words);
        has(&bed.got(), &["new_ip_address=192.168.7.77"]);
    });
}

#[test]
fn busyboxs_udhcpc_gets_it_and_strangers_get_none() {
    inside("services::busyboxs_udhcpc_gets_it_and_strangers_get_none", || {
        let bed = Bed::new();
        let room = bed.room("one");
        room.run(&["ip", "link", "set", "eth0", "up"]);
        let script = bed.script();
        let udhcpc =
            ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-s", &script, "-t", "10"];
        room.run(&udhcpc);
        has(&bed.got(), &["event bound ", "ip=192.168.7.10", "router=192.168.7.1", "hostname=one"]);
        assert!(room.run(&["ip", "-4", "address", "show", "eth0"]).contains("192.168.7.10/24"));
        // Another card at the same cable is nobody's machine.
        room.run(&["ip", "link", "set", "eth0", "address", "02:00:00:00:00:99"]);
        let stranger = [&udhcpc[..9], &["-t", "2", "-T", "1"]].concat();
        let output = room.try_run(&stranger);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("no lease"), "{said}");
    });
}

#[test]
fn dig_finds_the_names_over_udp_and_tcp() {
    inside("services::dig_finds_the_names_over_udp_and_tcp", || {
        let bed = Bed::new();
        let room = bed.addressed("one");
        room.reaches("192.168.7.1", &[]);
        let dig = |words: &[&str]| {
            let common = ["dig", "@192.168.7.1", "+time=10", "+tries=3"];
            room.run(&[&common, words].concat())
        };
        for transport in ["+notcp", "+tcp"] {
            let short = |name: &str, kind: &str| dig(&[transport, "+short", name, kind]);
            assert_eq!(short("two", "A"), "192.168.7.11\n");
            assert_eq!(short("Two.Ferrite.Test", "A"), "192.168.7.11\n");
            assert_eq!(short("two", "AAAA"), "fd66:6572:7269:7:5054:ff:fe07:b\n");
            assert_eq!(short("registry", "A"), "192.168.7.1\n");
            assert_eq!(short("gateway.ferrite.test", "AAAA"), "fd66:6572:7269:7::1\n");
            for (name, kind, status) in [
                ("three", "A", "NXDOMAIN"),
                ("two", "MX", "NOERROR"),
                ("example.org", "A", "NXDOMAIN"),
            ] {
                let said = dig(&[transport, name, kind]);
                let expected = format!("status: {status}");
                assert!(said.contains(&expected) && said.contains("ANSWER: 0"), "{said}");
                assert!(!said.contains("malformed") && !said.contains("extra bytes"), "{said}");
            }
            let said = dig(&[transport, "two", "CH", "A"]);
            assert!(said.contains("status: REFUSED"), "{said}");
        }
        // Two questions over one connection, and over IPv6.
        let said = dig(&["+tcp", "+keepopen", "+short", "one", "A", "two", "A"]);
        assert_eq!(said, "192.168.7.10\n192.168.7.11\n");
        // A resolver as programs have it.
        let said = room.run(&["busybox", "nslookup", "two.ferrite.test", "192.168.7.1"]);
        assert!(said.contains("192.168.7.11"), "{said}");
    });
}

#[test]
fn chronyd_takes_the_time() {
    inside("services::chronyd_takes_the_time", || {
        let bed = Bed::new();
        let room = bed.addressed("one");
        let pid = bed.folder.path().join("chronyd.pid").display().to_string();
        let pid = format!("pidfile {pid}");
        let server = "server 192.168.7.1 iburst";
        let mut words = vec!["chronyd", "-Q", "-t", "60", "-u", "root", "-U"];
        words.extend(["cmdport 0", &pid, server]);
        let output = room.try_run(&words);
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let wrong = said.split("System clock wrong by ").nth(1).unwrap_or_else(|| panic!("{said}"));
        let wrong: f64 = wrong.split(' ').next().unwrap().parse().unwrap();
        assert!(wrong.abs() < 0.5, "it is the same clock: {said}");
    });
}

#[test]
fn the_kernel_makes_itself_an_address_and_rdisc6_reads_the_advertisement() {
    let name = "services::the_kernel_makes_itself_an_address_and_rdisc6_reads_the_advertisement";
    inside(name, || {
        let bed = Bed::new();
        let room = bed.room("two");
        let own = "fd66:6572:7269:7:5054:ff:fe07:b";
        let mut monitor = room.command(&["timeout", "60", "ip", "-6", "-o", "monitor", "address"]);
        let mut monitor = monitor.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
        room.run(&["ip", "link", "set", "eth0", "up"]);
        let is_there = |line: String| line.contains(own) && !line.contains("tentative");
        assert!(lines.any(|line| is_there(line.unwrap())));
        monitor.kill().unwrap();
        monitor.wait().unwrap();
        let routes = room.run(&["ip", "-6", "route"]);
        assert!(routes.contains("fd66:6572:7269:7::/64 dev eth0"), "{routes}");
        assert!(routes.contains("default via fe80::5054:ff:fe07:1 dev eth0"), "{routes}");
        let said = room.run(&["rdisc6", "-r", "20", "-w", "3000", "eth0"]);
        for part in ["fd66:6572:7269:7::/64", "1500 bytes", "52:54:00:07:00:01", "64 ("] {
            assert!(said.contains(part), "{part:?}: {said}");
        }
        room.reaches("fd66:6572:7269:7::1", &["-6"]);
        let words = ["dig", "-6", "@fd66:6572:7269:7::1", "+time=10", "+short", "two", "AAAA"];
        assert_eq!(room.run(&words).trim(), own);
    });
}

#[test]
fn machines_reach_one_another_as_the_faults_allow() {
    inside("services::machines_reach_one_another_as_the_faults_allow", || {
        let bed = Bed::new();
        let (one, two) = (bed.addressed("one"), bed.addressed("two"));
        let reaches = |room: &Room, address: &str| {
            room.reaches(address, &[]);
        };
        let lost = |room: &Room, address: &str| {
            let output = room.try_run(&["ping", "-c", "2", "-i", "0.2", "-W", "1", address]);
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("100% packet loss"), "{said}");
        };
        reaches(&one, "192.168.7.11");
        reaches(&two, "192.168.7.10");
        // Frames of full length, none in pieces.
        one.reaches("192.168.7.11", &["-M", "do", "-s", "1472"]);
        one.reaches("192.168.7.1", &["-M", "do", "-s", "1472"]);
        let mut client = Client::connect(bed.folder.path()).unwrap();
        client.partition(&[&["one"], &["two"]]).unwrap();
        lost(&one, "192.168.7.11");
        reaches(&one, "192.168.7.1");
        client.heal(None).unwrap();
        reaches(&one, "192.168.7.11");
        client.cut("two").unwrap();
        lost(&two, "192.168.7.1");
        client.heal(Some("two")).unwrap();
        reaches(&two, "192.168.7.1");
        let faults = ferrite_vm::switch::faults::Faults { delay_ms: 40, ..Default::default() };
        client.fault(Some("one"), Some("two"), faults).unwrap();
        client.fault(Some("two"), Some("one"), faults).unwrap();
        let said = one.run(&["ping", "-c", "3", "-i", "0.2", "-w", "30", "192.168.7.11"]);
        let least = said.split("rtt min/avg/max/mdev = ").nth(1).unwrap();
        let least: f64 = least.split('/').next().unwrap().parse().unwrap();
        assert!((80.0..2000.0).contains(&least), "{said}");
        capture_has_pings(bed.folder.path());
    });
}

#[test]
fn qemu_connects_whoever_starts_first_and_again_when_the_switch_comes_again() {
    let name = "services::qemu_connects_whoever_starts_first_and_again_when_the_switch_comes_again";
    inside(name, || {
        let folder = tempfile::tempdir().unwrap();
        let network = Network::of(&["one"], 3);
        let mut room = Room::new(&network, folder.path(), "one").addressed(&network, "one");
        for _ in 0..2 {
            let switch = Switch::start(network.clone(), folder.path()).unwrap();
            room.reaches("192.168.1.1", &[]);
            let lost = ["ping", "-c", "1", "-w", "1", "192.168.1.1"];
            drop(switch);
            assert!(!room.try_run(&lost).status.success());
        }
        let _switch = Switch::start(network.clone(), folder.path()).unwrap();
        room.reaches("192.168.1.1", &[]);
        room.restart(folder.path(), "one");
        room.reaches("192.168.1.1", &[]);
    });
}

fn capture_has_pings(folder: &Path) {
    let file = std::fs::File::open(folder.join("capture.pcap")).unwrap();
    // As nobody: as root it changes who it is, which it cannot here.
    let mut tcpdump = std::process::Command::new("unshare");
    let said = run(tcpdump.args(["--user", "tcpdump", "-r", "-", "-n", "icmp"]).stdin(file));
    assert!(said.contains("192.168.7.10 > 192.168.7.11: ICMP echo request"), "{said}");
    assert!(said.contains("192.168.7.1 > 192.168.7.10: ICMP echo reply"), "{said}");
}
