//! Real services in real images: they serve, are limited, stopped, started again, and keep their data.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferrite_tests::images::Kind;
use ferrite_tests::node::{BOOT, Node, READY, SOON};
use ferrite_tests::services::{Service, archive};

/// Port of the node that leads to nginx.
const WEB: u16 = 8080;
/// Port of the node that leads to redis.
const STORE: u16 = 6379;

const UNITS: [(&str, &str); 3] = [
    (
        "web",
        "name = \"web\"\nimage = \"nginx\"\nnetwork = \"host\"\nstop_signal = \"SIGQUIT\"\n\
         [resources]\nmemory = \"64MiB\"\npids_max = 20\n\
         [health]\nhttp = \":8080/\"\ninterval_s = 2\nstart_period_s = 30\n",
    ),
    (
        "store",
        "name = \"store\"\nimage = \"redis\"\nnetwork = \"host\"\n\
         [[volumes]]\nname = \"store-data\"\ntarget = \"/data\"\n\
         [health]\nexec = [\"/usr/bin/redis-cli\", \"ping\"]\ninterval_s = 5\nstart_period_s = 30\n",
    ),
    (
        "sum",
        "name = \"sum\"\nimage = \"python3\"\nrestart = \"never\"\nnetwork = \"none\"\n\
         command = [\"/usr/bin/python3\", \"-c\", \"import sys; print(sum(range(101))); sys.exit(3)\"]\n",
    ),
];

fn node() -> Result<Node> {
    let mut node = Node::new("services", Kind::Probed)?;
    node.machine.memory_mib = 1024;
    node.machine.forwards.extend([WEB, STORE]);
    node.boot()?;
    for service in [Service::Nginx, Service::Redis, Service::Python3] {
        let archive = archive(service)?.display().to_string();
        node.ferrite(&["import", &archive, "--name", service.name()])?;
    }
    for (name, unit) in UNITS {
        std::fs::write(node.machine.directory.join(format!("{name}.toml")), unit)?;
    }
    Ok(node)
}

/// Asks until the service answers with something that contains `expected`: its program takes its time to listen.
fn served(node: &mut Node, port: u16, request: &str, expected: &str) -> Result<()> {
    let port = node.running()?.forwarded_port(port)?;
    let deadline = Instant::now() + SOON;
    loop {
        let answer = ask(port, request);
        match answer {
            Ok(answer) if answer.contains(expected) => return Ok(()),
            other => ensure!(Instant::now() < deadline, "{request:?} was answered with {other:?}"),
        }
    }
}

fn ask(port: u16, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

const GET: &str = "GET / HTTP/1.0\r\n\r\n";

#[test]
fn real_services_serve_and_keep_their_data() -> Result<()> {
    let mut node = node()?;
    node.ferrite(&["unit", "start", "web.toml"])?;
    node.ferrite(&["unit", "start", "store.toml"])?;
    served(&mut node, WEB, GET, "it works")?;
    served(&mut node, STORE, "SET answer 42\r\nQUIT\r\n", "+OK")?;
    let stats = node.ask(&["top", "--once"])?;
    let web =
        stats["units"].as_array().and_then(|all| all.iter().find(|unit| unit["unit"] == "web"));
    let web = web.with_context(|| format!("find web in {stats}"))?;
    assert_eq!(web["memory_max_bytes"], 64 << 20, "{web}");
    assert!(web["pids"].as_u64() >= Some(2), "master and worker: {web}");
    let sum = node.ferrite_output(&["unit", "start", "sum.toml", "--until", "ended"])?;
    assert!(!sum.status.success(), "exit status 3 is a failure");
    assert_eq!(node.ferrite(&["unit", "logs", "sum"])?, "5050\n");
    let log = node.ferrite(&["unit", "logs", "--stdout", "web"])?;
    assert!(log.contains("GET / HTTP/1.0"), "{log}");

    node.ferrite(&["unit", "stop", "web"])?;
    let port = node.running()?.forwarded_port(WEB)?;
    assert!(ask(port, GET).map_or(true, |answer| answer.is_empty()), "nobody serves any more");
    node.ferrite(&["unit", "start", "web"])?;
    served(&mut node, WEB, GET, "it works")?;

    node.ferrite(&["machine", "reboot"])?;
    node.wait_for(READY, BOOT)?;
    served(&mut node, WEB, GET, "it works")?;
    served(&mut node, STORE, "GET answer\r\nQUIT\r\n", "42")?;
    // Redis syncs before it answers (`appendfsync always`): what was acknowledged survives the cut.
    served(&mut node, STORE, "SET again 43\r\nQUIT\r\n", "+OK")?;
    node.cut()?;
    node.boot()?;
    served(&mut node, STORE, "MGET answer again\r\nQUIT\r\n", "43")?;
    volumes_outlive_units_and_go_when_asked(&node)
}

fn volumes_outlive_units_and_go_when_asked(node: &Node) -> Result<()> {
    let listed = || node.ask(&["volumes"]);
    let all = listed()?;
    assert_eq!((&all[0]["name"], &all[0]["units"][0]), (&"store-data".into(), &"store".into()));
    assert!(all[0]["size_bytes"].as_u64() > Some(0), "{all}");
    let refused = node.ferrite_output(&["volumes", "remove", "store-data"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("it belongs to store"), "{said}");
    node.ferrite(&["unit", "destroy", "store"])?;
    assert_eq!(listed()?[0]["units"], serde_json::json!([]));
    let removed = node.ferrite(&["volumes", "remove", "store-data"])?;
    assert!(removed.contains("removed store-data"), "{removed}");
    assert_eq!(listed()?, serde_json::json!([]));
    Ok(())
}
