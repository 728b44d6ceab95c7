//! Several machines on one switch, as `ferrite cluster up --nodes` runs them.

use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;
use ferrite_tests::images::{self, Kind};
use ferrite_tests::node::SOON;
use ferrite_tests::programs::said;
use ferrite_tests::turnstile;
use serde_json::Value;

const NODES: [&str; 2] = ["pair-1", "pair-2"];

/// Address on this computer at which a node's API is.
fn endpoint(computer: &Computer, node: &str) -> Result<SocketAddr> {
    let status = computer.ask(&["cluster", "status", "pair"])?;
    let machines = status["machines"].as_array().context("machines")?;
    let machine = machines.iter().find(|one| one["name"] == node).context("the node")?;
    let text = machine["endpoint"].as_str().and_then(|text| text.strip_prefix("https://"));
    Ok(text.context("an endpoint")?.parse()?)
}

fn is_plugged(computer: &Computer, node: &str) -> Result<bool> {
    let status = computer.switch()?.status()?;
    Ok(status.machines.iter().any(|one| one.name == node && one.plugged))
}

#[test]
fn nodes_are_killed_cut_paused_and_started_one_by_one() -> Result<()> {
    let image = images::image(Kind::Product)?;
    let image = image.to_str().context("name the image's folder")?;
    let _places = turnstile::enter_with(NODES.len());
    let computer = Computer::new("cluster", "pair")?;
    let up = computer.run(&["cluster", "up", "pair", "--nodes", "2", "--image", image])?;
    let shown = said(&up);
    ensure!(up.status.success(), "{shown}");
    // Each shows how far it is, while both boot together.
    for node in NODES {
        ensure!(shown.contains(&format!("starting {node}: ready")), "{shown}");
        ensure!(is_plugged(&computer, node)?, "{node} is not connected to the switch");
        computer.wait_for(node, "dhcp-lease", SOON).context("an address by DHCP")?;
    }
    let states = |first: &str, second: &str| {
        NODES
            .iter()
            .zip([first, second])
            .map(|(node, state)| ((*node).to_owned(), state.to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(computer.states()?, states("running", "running"));
    let contexts = computer.ask(&["context", "list"])?;
    assert_eq!(contexts[0]["name"], "pair");

    // Frozen, and thawed: one alone.
    computer.ferrite(&["cluster", "pause", "pair-2"])?;
    assert_eq!(computer.states()?, states("running", "paused"));
    computer.ferrite(&["cluster", "resume", "pair-2"])?;
    assert_eq!(computer.states()?, states("running", "running"));

    // Cut and healed: the switch says so, and the other one is whole.
    computer.ferrite(&["cluster", "cut", "pair-2"])?;
    let faults = computer.switch()?.status()?.faults;
    ensure!(
        faults.iter().all(|one| one.faults.cut && (one.from == "pair-2" || one.to == "pair-2"))
    );
    assert_eq!(faults.len(), 4, "to and from the other one and the gateway: {faults:?}");
    computer.ferrite(&["cluster", "heal", "pair-2"])?;
    assert_eq!(computer.switch()?.status()?.faults, []);

    // Killed, and started again: the other one goes on.
    computer.ferrite(&["cluster", "kill", "pair-2"])?;
    assert_eq!(computer.states()?, states("running", "down"));
    let asked = computer.run(&["cluster", "pause", "pair-2"])?;
    ensure!(said(&asked).contains("no machine of it runs"), "{}", said(&asked));
    computer.ferrite(&["cluster", "up", "pair-2"])?;
    assert_eq!(computer.states()?, states("running", "running"));
    TcpStream::connect(endpoint(&computer, "pair-2")?).context("reach its API's port")?;

    // What does not exist is said; nothing of the cluster stays.
    let asked = computer.run(&["cluster", "kill", "pair-3"])?;
    assert_eq!(asked.status.code(), Some(2), "{}", said(&asked));
    for node in NODES {
        let troubles = computer.troubles(node, &[])?;
        ensure!(troubles.is_empty(), "{node}: {troubles:?}");
    }
    computer.ferrite(&["cluster", "down", "pair", "--delete"])?;
    ensure!(!computer.folder().try_exists()?, "something of the cluster is left");
    assert_eq!(computer.ask(&["context", "list"])?, Value::Array(Vec::new()));
    Ok(())
}
