//! The cluster's network and its services by name, as units on three machines meet them. `fleet` boots the machines.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;
use ferrite_tests::programs::said;
use serde_json::Value;

/// Bytes that one instance sends to another, each way.
fn sent_bytes() -> u64 {
    if std::env::var_os("FERRITE_LONG").is_some() { 100 << 20 } else { 10 << 20 }
}
/// What must not be readable on the wire.
const SECRET: &str = "nobody-but-the-peer-reads-this";
/// From a change of readiness to another machine's answer; a bound for the wait, not the figure.
const SOON: Duration = Duration::from_secs(60);

/// Each instance of `web`: its machine and its addresses.
pub(crate) type Instances = BTreeMap<String, (String, Vec<IpAddr>)>;

fn instances(computer: &Computer) -> Result<Instances> {
    let all = computer.ask(&["service", "list"])?;
    let all = all.as_array().context("services")?;
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let web = all.iter().filter(|one| one["service"] == "web");
    web.map(|one| {
        let addresses = one["addresses"].as_array().context("addresses")?;
        let addresses = addresses.iter().filter_map(Value::as_str).map(str::parse);
        let addresses = addresses.collect::<Result<Vec<IpAddr>, _>>()?;
        Ok((text(one, "instance"), (text(one, "machine_name"), addresses)))
    })
    .collect()
}

/// Runs a shell's line in an instance; what it wrote.
pub(crate) fn inside(computer: &Computer, instance: &str, line: &str) -> Result<String> {
    computer.ferrite(&["unit", "exec", instance, "--", "/bin/sh", "-c", line])
}

/// Addresses that a name has for an instance.
fn look_up(computer: &Computer, instance: &str, name: &str) -> Result<Vec<IpAddr>> {
    let said = inside(computer, instance, &format!("nslookup {name} || true"))?;
    // The first one is the resolver's own.
    let lines = said.lines().filter_map(|line| line.strip_prefix("Address"));
    let words = lines.skip(1).filter_map(|line| line.split_whitespace().last());
    let mut found: Vec<IpAddr> = words.filter_map(|word| word.parse().ok()).collect();
    found.sort();
    Ok(found)
}

fn sorted(all: &Instances, of: &[&str]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> =
        of.iter().flat_map(|name| all[*name].1.iter().copied()).collect();
    addresses.sort();
    addresses
}

/// Asks until the answer is `expected`.
fn answers(computer: &Computer, instance: &str, name: &str, expected: &[IpAddr]) -> Result<()> {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let found = look_up(computer, instance, name)?;
        if found == expected {
            return Ok(());
        }
        ensure!(std::time::Instant::now() < deadline, "{name}: {found:?}, not {expected:?}");
    }
}

/// Asks until the name is one, with or without addresses.
fn is_known(computer: &Computer, instance: &str, name: &str) -> Result<()> {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let said = inside(computer, instance, &format!("nslookup {name} 2>&1 || true"))?;
        if !said.contains("NXDOMAIN") {
            return Ok(());
        }
        ensure!(std::time::Instant::now() < deadline, "{name} is not known: {said}");
    }
}

/// Waits until all three instances of `web` are answered for.
pub(crate) fn all_ready(computer: &Computer) -> Result<Instances> {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let answers = computer.ask(&["service", "resolve", "web"])?;
        if answers.as_array().is_some_and(|all| all.len() == 3) {
            return instances(computer);
        }
        ensure!(std::time::Instant::now() < deadline, "not all are ready: {answers}");
    }
}

/// Three instances of `web` run, each on a machine of its own.
pub(crate) fn units_of_all_machines_reach_one_another(computer: &Computer) -> Result<()> {
    let all = all_ready(computer)?;
    assert_eq!(all.keys().collect::<Vec<_>>(), ["web@1", "web@2", "web@3"]);
    let addresses: Vec<IpAddr> = sorted(&all, &["web@1", "web@2", "web@3"]);
    for address in addresses.iter().filter(|address| address.is_ipv4()) {
        assert!(address.to_string().starts_with("10.112."), "{address}");
    }
    assert_eq!(addresses.len(), 6, "each has one of each family: {addresses:?}");

    // By name, from each machine; each says who it is.
    for from in all.keys() {
        assert_eq!(look_up(computer, from, "web.service.ferrite.local")?, addresses, "{from}");
        for number in 1..=3 {
            let asks = format!("wget -q -O - http://{number}.web/");
            assert_eq!(inside(computer, from, &asks)?.trim(), format!("web-{number}"), "{from}");
        }
    }
    let v6 = all["web@2"].1.iter().find(|address| address.is_ipv6()).context("an IPv6 address")?;
    let asks = format!("wget -q -O - 'http://[{v6}]/'");
    assert_eq!(inside(computer, "web@1", &asks)?.trim(), "web-2");
    let nobody = inside(computer, "web@1", "nslookup none.service.ferrite.local 2>&1 || true")?;
    assert!(nobody.contains("NXDOMAIN"), "{nobody}");

    much_goes_both_ways(computer, &all, ["web@1", "web@2"])?;
    nobody_reads_it(computer)?;
    what_is_not_ready_is_not_answered(computer)?;
    machines_ports_are_not_for_units(computer, &all, ["web@1", "web@3"])
}

/// Between two instances, on two machines, and nothing of it is cut in pieces.
pub(crate) fn much_goes_both_ways(
    computer: &Computer,
    all: &Instances,
    [one, other]: [&str; 2],
) -> Result<()> {
    let v4 = |name: &str| {
        let address = all[name].1.iter().find(|address| address.is_ipv4());
        address.copied().context("an IPv4 address")
    };
    let sent = sent_bytes();
    let offer = format!(
        "exec nc -l -p 9000 -e /bin/sh -c 'echo {SECRET}; head -c {sent} /dev/zero' </dev/null"
    );
    let is_there = "while ! grep -q ':2328 .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done";
    let received = std::thread::scope(|scope| -> Result<Vec<String>> {
        let offers = [one, other].map(|from| {
            let offer = &offer;
            scope.spawn(move || inside(computer, from, offer))
        });
        // Both at the same time, each from the other.
        let ways = [(one, other, v4(other)?), (other, one, v4(one)?)];
        let takes = ways.map(|(to, from, address)| {
            scope.spawn(move || {
                inside(computer, from, is_there)?;
                inside(computer, to, &format!("nc -w 60 {address} 9000 </dev/null | wc -c"))
            })
        });
        let joined = |_panic| anyhow::anyhow!("a thread panicked");
        let mut received = Vec::new();
        for take in takes {
            received.push(take.join().map_err(joined)??.trim().to_owned());
        }
        for offer in offers {
            offer.join().map_err(joined)??;
        }
        Ok(received)
    })?;
    let expected = (sent + SECRET.len() as u64 + 1).to_string();
    assert_eq!(received, [expected.clone(), expected]);

    assert_eq!(captured(computer, "ip[6:2] & 0x3fff != 0 or ip6[6] == 44")?, "", "pieces");
    Ok(())
}

/// The first frame on the wire that is like that.
fn captured(computer: &Computer, like: &str) -> Result<String> {
    let capture = computer.folder().join("net/capture.pcap");
    let mut tcpdump = Command::new("tcpdump");
    let output = tcpdump.args(["-n", "-c", "1", "-r"]).arg(&capture).arg(like).output();
    let output = output.context("run tcpdump")?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether what was sent can be read on the wire.
fn is_read(computer: &Computer) -> Result<bool> {
    let capture = computer.folder().join("net/capture.pcap");
    let found = Command::new("grep").args(["-c", SECRET]).arg(&capture).output()?;
    Ok(String::from_utf8_lossy(&found.stdout).trim() != "0")
}

/// All of it went through WireGuard.
pub(crate) fn nobody_reads_it(computer: &Computer) -> Result<()> {
    ensure!(!captured(computer, "udp port 51820")?.is_empty(), "nothing went through the mesh");
    ensure!(!is_read(computer)?, "it was read on the wire");
    Ok(())
}

/// None of it did.
pub(crate) fn it_is_as_it_is(computer: &Computer) -> Result<()> {
    assert_eq!(captured(computer, "udp port 51820")?, "");
    ensure!(is_read(computer)?, "it was not seen on the wire");
    Ok(())
}

/// A server that is ready once somebody has given it a page. Whenever it begins it has none.
const SHY: &str = r#"
name = "shy"
image = "hello"
command = ["/bin/sh", "-c", "httpd -f -p 80 -h /srv & wait"]
volumes = [{ tmpfs = "1MiB", target = "/srv" }]
restart = "always"

[health]
http = ":80/"
start_period_s = 3600
"#;

/// Gives it one as soon as it runs.
fn give_a_page(computer: &Computer) -> Result<()> {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        match inside(computer, "shy", "echo here >/srv/index.html") {
            Ok(_) => return Ok(()),
            Err(why) => ensure!(std::time::Instant::now() < deadline, "{why:#}"),
        }
    }
}

fn what_is_not_ready_is_not_answered(computer: &Computer) -> Result<()> {
    let file = computer.folder().with_file_name("shy.toml");
    std::fs::write(&file, SHY)?;
    computer.ferrite(&["unit", "start", file.to_str().context("name the file")?])?;
    let name = "shy.service.ferrite.local";
    is_known(computer, "web@1", name)?;
    for _ in 0..2 {
        answers(computer, "web@1", name, &[])?;
        give_a_page(computer)?;
        let all = computer.ask(&["service", "list"])?;
        let shy = all.as_array().into_iter().flatten().find(|one| one["service"] == "shy");
        let addresses = shy.context("shy")?["addresses"].as_array().context("addresses")?;
        let mut expected: Vec<IpAddr> =
            addresses.iter().filter_map(|one| one.as_str()?.parse().ok()).collect();
        expected.sort();
        assert_eq!(expected.len(), 2, "{all}");
        answers(computer, "web@1", name, &expected)?;
        answers(computer, "web@3", name, &expected)?;
        // What runs this ends with the container.
        computer.run(&["unit", "exec", "shy", "--", "killall", "httpd"])?;
    }
    answers(computer, "web@3", name, &[])?;
    computer.ferrite(&["unit", "destroy", "shy"])?;
    Ok(())
}

/// To the first one, those of the other one's machine.
pub(crate) fn machines_ports_are_not_for_units(
    computer: &Computer,
    all: &Instances,
    [one, other]: [&str; 2],
) -> Result<()> {
    let machine = format!("{}.machine.ferrite.local", all[other].0);
    let found = look_up(computer, one, &machine)?;
    let address = found.iter().find(|address| address.is_ipv4()).context("its address")?;
    inside(computer, one, &format!("ping -c 1 -W 30 {address}"))?;
    for port in [7443, 2380] {
        let connects = format!("nc -w 5 {address} {port} </dev/null && echo reached || echo not");
        assert_eq!(inside(computer, one, &connects)?.trim(), "not", "{address} {port}");
    }
    // Nor is the other node's own end of the network for units.
    let gateway = all[other].1.iter().find_map(|address| match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Some(IpAddr::from([a, b, c, 1]))
        }
        IpAddr::V6(_) => None,
    });
    let gateway = gateway.context("its gateway")?;
    for port in [53, 7443] {
        let connects = format!("nc -w 5 {gateway} {port} </dev/null && echo reached || echo not");
        assert_eq!(inside(computer, one, &connects)?.trim(), "not", "{gateway} {port}");
    }
    Ok(())
}
