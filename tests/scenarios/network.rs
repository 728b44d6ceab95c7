//! The network of a node's units: names, addresses, published ports, and what is left of them.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::{Node, SOON};
use ferrite_tests::programs::said;
use ferrite_tests::units;
use serde_json::Value;

/// Published by the unit `web`.
const PUBLISHED: u16 = 8080;
/// The node's address in QEMU's network, and the host's there.
const NODE: &str = "10.0.2.15";
const HOST: &str = "10.0.2.2";
/// Errors of the kernel's.
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;
const EPROTONOSUPPORT: i32 = 93;
/// The API's port by MPTCP.
const MULTIPATH: &str = "mptcp4/7443";

fn prepare(name: &str) -> Result<Node> {
    let mut node = Node::new(name, Kind::Probed)?;
    node.machine.forwards.push(PUBLISHED);
    node.boot()?;
    let archive = demo::busybox_with_probe()?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "busybox"])?;
    Ok(node)
}

/// Writes a unit that runs the probe with `words`; its file, for the command.
fn write(node: &Node, name: &str, words: &[&str], more: &str) -> Result<String> {
    let command = [&["/bin/ferrite-probe"][..], words].concat();
    let unit = format!(
        "name = \"{name}\"\nimage = \"busybox\"\ncommand = {}\n{more}\n",
        serde_json::to_string(&command)?
    );
    let file = format!("{name}.toml");
    std::fs::write(node.machine.directory.join(&file), unit)?;
    Ok(file)
}

/// Starts such a unit.
fn start(node: &Node, name: &str, words: &[&str], more: &str) -> Result<()> {
    let file = write(node, name, words, more)?;
    node.ferrite(&["unit", "start", &file]).map(drop)
}

/// Has a unit of its own run the probe once, and understands what it says.
fn once(node: &Node, name: &str, words: &[&str], more: &str) -> Result<Value> {
    let file = write(node, name, words, &format!("restart = \"never\"\n{more}"))?;
    // It may end badly, and then what it said tells more than this command.
    let ended = node.ferrite_output(&["unit", "start", &file, "--until", "ended"])?;
    let text = node.ferrite(&["unit", "logs", name])?;
    let line = text.lines().find(|line| line.starts_with('{'));
    Ok(serde_json::from_str(line.with_context(|| format!("{name} said {text:?}: {ended:?}"))?)?)
}

/// What `targets` answer to the node itself.
fn from_node(node: &mut Node, targets: &[&str]) -> Result<Value> {
    node.probe(&[&["reach"][..], targets].concat())
}

fn greets(answers: &Value, target: &str) {
    assert!(answers[target].as_str().unwrap_or("").starts_with("hello "), "{target}: {answers}");
}

fn is_lost(answers: &Value, target: &str) {
    assert!(answers[target].as_str().unwrap_or("").starts_with("error"), "{target}: {answers}");
}

#[test]
fn units_talk_by_name_and_are_reached_through_published_ports() -> Result<()> {
    let mut node = prepare("network")?;
    let ports = "[[ports]]\nhost = 8080\ncontainer = 80\n[[ports]]\nhost = 8080\ncontainer = 80\nprotocol = \"udp\"\n";
    start(&node, "web", &["greet", "80"], ports)?;
    let outside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let out = format!("tcp4/{HOST}/{}", outside.local_addr()?.port());
    std::thread::spawn(move || {
        for connection in outside.incoming() {
            drop(connection.and_then(|mut connection| connection.write_all(b"hello world\n")));
        }
    });

    // Between units, out, through the node's address, and what is closed.
    let (published, udp) = (format!("tcp4/{NODE}/8080"), format!("udp4/{NODE}/8080"));
    let api = [format!("tcp4/{NODE}/7443"), "tcp4/10.120.0.1/7443".to_owned()];
    let mut targets =
        vec!["tcp4/web/80", "tcp6/web/80", "udp4/web.ferrite.local/80", "udp6/web/80"];
    targets.extend([out.as_str(), &published, &udp]);
    let closed = ["tcp4/nobody.ferrite.local/80", &api[0], &api[1]];
    let words = [&["reach"][..], &targets, &closed].concat();
    let answers = once(&node, "client", &words, "")?;
    for target in &targets {
        greets(&answers, target);
    }
    for target in closed {
        is_lost(&answers, target);
    }
    assert_ne!(answers["tcp4/web/80"], "hello 10.120.0.1", "units see each other's own address");

    // From the node itself and from outside.
    let own = ["tcp4/127.0.0.1/8080", "udp4/127.0.0.1/8080", &published];
    let answers = from_node(&mut node, &own)?;
    for target in own {
        greets(&answers, target);
    }
    let port = node.running()?.forwarded_port(PUBLISHED)?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(SOON))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    assert_eq!(lines.next().context("greeted")??, format!("hello {HOST}"), "who it is is seen");

    // The agent dies, the connection does not.
    let before = node.ask(&["unit", "status", "web"])?;
    let processes = node.probe(&["processes"])?;
    let is_agent = |process: &&Value| process["name"] == "ferrite-agent" && process["parent"] == 1;
    let agent = processes.as_array().into_iter().flatten().find(is_agent).context("an agent")?;
    node.probe(&["kill", &agent["pid"].to_string(), "9"])?;
    node.wait_for("api-listening", SOON).context("the agent's successor")?;
    writeln!(stream, "still here")?;
    assert_eq!(lines.next().context("answered")??, "still here");
    assert_eq!(node.ask(&["unit", "status", "web"])?["pid"], before["pid"]);
    greets(&from_node(&mut node, &["tcp4/127.0.0.1/8080"])?, "tcp4/127.0.0.1/8080");
    greets(&once(&node, "later", &["reach", "tcp6/web/80"], "")?, "tcp6/web/80");

    // No unit ran before the node was ready for the first time: a container of the OS's own did.
    let console = node.console_text()?;
    assert!(console.contains("containers-work"), "the slot was on trial");

    who_speaks_before_the_unit_is_there_is_heard(&mut node)?;
    one_port_has_one_owner(&node)?;
    a_unit_with_dots_stands_for_itself_only(&node)?;
    other_networks(&node)?;
    a_unit_shares_the_network_of_another(&node)?;
    the_nodes_ports_cannot_be_taken(&node)?;
    nothing_is_left(&mut node)
}

/// From one port and to one port, all the time, as syslog and `WireGuard` do.
fn who_speaks_before_the_unit_is_there_is_heard(node: &mut Node) -> Result<()> {
    let early = ["udp4@4000/127.0.0.1/8081", "udp4@4001/10.0.2.15/8081"];
    let answers = from_node(node, &early)?;
    for target in early {
        is_lost(&answers, target);
    }
    let ports = "[[ports]]\nhost = 8081\ncontainer = 80\nprotocol = \"udp\"\n";
    start(node, "late", &["greet", "80"], ports)?;
    let end = Instant::now() + SOON;
    loop {
        let answers = from_node(node, &early)?;
        let hears =
            |target: &&str| answers[*target].as_str().is_some_and(|it| it.starts_with("hello "));
        if early.iter().all(hears) {
            break;
        }
        // Its program may need a moment; who asks all the time keeps what the kernel remembers.
        ensure!(Instant::now() < end, "not heard: {answers}");
    }
    node.ferrite(&["unit", "destroy", "late"]).map(drop)
}

fn one_port_has_one_owner(node: &Node) -> Result<()> {
    drop(start(node, "other", &["greet", "81"], "restart = \"never\"\n[[ports]]\nhost = 8080\n"));
    let refused = node.ask(&["unit", "status", "other"])?.to_string();
    assert!(refused.contains("publish port 8080/tcp: unit web has it"), "{refused}");
    let own = "restart = \"never\"\n[[ports]]\nhost = 7443\n";
    drop(start(node, "greedy", &["greet", "81"], own));
    let refused = node.ask(&["unit", "status", "greedy"])?.to_string();
    assert!(refused.contains("it is used by the node's API"), "{refused}");
    let names = "restart = \"never\"\n[[ports]]\nhost = 53\nprotocol = \"udp\"\n";
    drop(start(node, "resolver", &["greet", "53"], names));
    let refused = node.ask(&["unit", "status", "resolver"])?.to_string();
    assert!(refused.contains("it is used by the resolver of the units"), "{refused}");
    Ok(())
}

/// What units are called is nobody else's name.
fn a_unit_with_dots_stands_for_itself_only(node: &Node) -> Result<()> {
    start(node, "web.example", &["greet", "80"], "")?;
    // As programs ask: what nobody else knows they look for in the list of domains too.
    let (alone, below) = ("tcp4/web.example/80", "tcp4/web.example.ferrite.local/80");
    let (short, ours) = ("tcp4/web-example/80", "tcp4/web-example.ferrite.local/80");
    let answers = once(node, "asker", &["reach", alone, below, short, ours], "")?;
    is_lost(&answers, alone);
    is_lost(&answers, below);
    greets(&answers, short);
    greets(&answers, ours);
    node.ferrite(&["unit", "destroy", "web.example"]).map(drop)
}

fn other_networks(node: &Node) -> Result<()> {
    let none = once(node, "alone", &["identity"], "network = \"none\"")?;
    assert_eq!(none["interfaces"], serde_json::json!(["lo"]));
    let host = once(node, "host", &["identity"], "network = \"host\"")?;
    assert!(host["interfaces"].to_string().contains("ferrite0"), "{host}");
    Ok(())
}

/// As long as that runs, and anew with each of its runs.
fn a_unit_shares_the_network_of_another(node: &Node) -> Result<()> {
    let of_main = "network = \"unit:main\"\ncapabilities = { add = [\"NET_ADMIN\"] }";
    write(node, "main", &["greet", "80"], "")?;
    node.ferrite(&["unit", "submit", "main.toml"])?;
    // It takes the other one along.
    start(node, "side", &["greet", "81"], of_main)?;
    let status = |name: &str| node.ask(&["unit", "status", name]);
    let (main, side) = (status("main")?, status("side")?);
    assert_eq!((&side["network"], &side["addresses"]), (&"unit:main".into(), &main["addresses"]));
    let both = ["tcp4/main/80", "tcp4/main/81"];
    let words = [&["reach"][..], &both].concat();
    let answers = once(node, "visitor", &words, "")?;
    both.iter().for_each(|target| greets(&answers, target));
    let within = ["tcp4/127.0.0.1/80", "tcp4/127.0.0.1/81", "tcp4/main/80"];
    let words = [&["reach"][..], &within].concat();
    let answers = once(node, "neighbour", &words, "network = \"unit:main\"")?;
    within.iter().for_each(|target| greets(&answers, target));
    let seen = once(node, "watcher", &["identity"], "network = \"unit:main\"")?;
    assert!(seen["interfaces"].to_string().contains("eth0"), "{seen}");
    assert!(!seen["interfaces"].to_string().contains("ferrite0"), "{seen}");

    // A network ends with its run, and so does what shares it.
    node.ferrite(&["unit", "restart", "main"])?;
    let again = |status: &Value| status["state"] == "running" && status["pid"] != side["pid"];
    units::until(node, "side", again)?;
    let words = [&["reach"][..], &both].concat();
    let answers = once(node, "later-visitor", &words, "")?;
    both.iter().for_each(|target| greets(&answers, target));
    node.ferrite(&["unit", "stop", "main"])?;
    units::until_state(node, "side", "waiting")?;
    let why = units::why(node, "side")?;
    assert!(why.contains("waiting for main, whose network it shares"), "{why}");
    node.ferrite(&["unit", "start", "main"])?;
    units::until_state(node, "side", "running")?;

    write(node, "of-node", &["greet", "82"], "network = \"host\"")?;
    node.ferrite(&["unit", "submit", "of-node.toml"])?;
    let file = write(node, "refused", &["greet", "83"], "network = \"unit:of-node\"")?;
    let refused = node.ferrite_output(&["unit", "start", &file])?;
    assert!(said(&refused).contains("of-node has the node's"), "{}", said(&refused));
    node.ferrite(&["unit", "destroy", "side", "main", "refused", "of-node"]).map(drop)
}

/// Neither by the node's own root with rights over such programs, nor by a container like others.
fn the_nodes_ports_cannot_be_taken(node: &Node) -> Result<()> {
    let of_node = [
        "tcp4/7443",
        "tcp6/7443",
        "tcp4/2379",
        "tcp6/2380",
        "tcp4/53",
        "tcp6/53",
        "udp4/53",
        "udp6/53",
        "udp4/68",
        "udp6/68",
    ];
    let others = ["udp4/7443", "tcp6/8443", "udp6/8053", "tcp4/0", "udp6/0"];
    let words = [&["take", MULTIPATH][..], &of_node, &others].concat();
    let strong = "network = \"host\"\nhost_user_namespace = \"a test\"\n\
                  capabilities = { add = [\"BPF\", \"NET_ADMIN\"] }\n";
    for (name, more) in [("taker", strong), ("plain-taker", "network = \"host\"\n")] {
        let taken = once(node, name, &words, more)?;
        for target in of_node {
            assert_eq!(taken["bound"][target], EPERM, "{target}: {taken}");
        }
        for target in others {
            assert_eq!(taken["bound"][target], 0, "{target}: {taken}");
        }
        // What is made of sockets of TCP, where the kernel has it.
        let multipath = &taken["bound"][MULTIPATH];
        assert!(*multipath == EPERM || *multipath == EPROTONOSUPPORT, "{taken}");
        // The kernel looks for a program of its own to take away, and asks which; the filter does not even let it look.
        let expected = if name == "taker" { [EINVAL, ENOENT, ENOENT] } else { [EPERM; 3] };
        let found = ["devices", "ipv4 ports", "ipv6 ports"].map(|what| &taken["detached"][what]);
        assert_eq!(found, expected.map(Value::from).each_ref(), "{taken}");
    }
    // Ports of a network of its own are the container's.
    let words = [&["take"][..], &of_node].concat();
    let taken = once(node, "own-ports", &words, "")?;
    for target in of_node {
        assert_eq!(taken["bound"][target], 0, "{target}: {taken}");
    }
    Ok(())
}

/// The node's ends of cables to containers.
fn cables(traces: &Value) -> usize {
    traces["interfaces"].to_string().matches("ferrite-").count()
}

fn folders(traces: &Value) -> usize {
    traces["folders"].as_array().map_or(1, Vec::len)
}

fn nothing_is_left(node: &mut Node) -> Result<()> {
    let traces = node.probe(&["network-traces"])?;
    assert!(traces["sets"]["ports4"].as_u64().unwrap_or(0) > 0, "{traces}");
    // What is counted at the end is seen while it is there.
    assert!(cables(&traces) > 0 && folders(&traces) > 0, "{traces}");
    node.ferrite(&["unit", "stop", "web"])?;
    let end = Instant::now() + SOON;
    loop {
        let traces = node.probe(&["network-traces"])?;
        let sets = traces["sets"].as_object().context("sets of the packet filter")?;
        if cables(&traces) + folders(&traces) == 0
            && sets.len() == 6
            && sets.values().all(|bytes| *bytes == 0)
        {
            return Ok(());
        }
        ensure!(Instant::now() < end, "left behind: {traces}");
    }
}
