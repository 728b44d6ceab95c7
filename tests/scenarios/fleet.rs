//! Three machines that are one cluster: they find one another, run one etcd, and run a unit where one of them dies.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;
use ferrite_tests::demo;
use ferrite_tests::images::{self, Kind};
use ferrite_tests::node::BOOT;
use ferrite_tests::turnstile;
use ferrite_vm::console::Until;
use ferrite_vm::deadline::Deadline;
use serde_json::Value;

use crate::{mesh, nemesis, survival};

pub(crate) const NODES: [&str; 3] = ["trio-1", "trio-2", "trio-3"];
/// A member's last word on its way into the cluster.
pub(crate) const SERVES: &str = "member-serves";
/// A node that is known to the cluster, and knows what it is to run.
pub(crate) const ASSIGNED: &str = "assigned instances=";

pub(crate) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// Where each instance of `web` runs, by name.
pub(crate) fn places(computer: &Computer) -> Result<BTreeMap<String, String>> {
    let all = computer.ask(&["unit", "list"])?;
    let units = all.as_array().context("units")?;
    let web = units.iter().find(|unit| unit["name"] == "web").context("web")?;
    let instances = web["instances"].as_array().context("instances")?;
    for instance in instances {
        // Its health check may take a moment more.
        ensure!(instance["state"] == "running", "{instance:#}");
    }
    Ok(instances.iter().map(|one| (text(one, "name"), text(one, "machine_name"))).collect())
}

/// Machines that are there, and which of all leads.
pub(crate) fn alive(computer: &Computer) -> Result<(Vec<String>, Option<String>)> {
    let all = computer.ask(&["machine", "list"])?;
    let all = all.as_array().context("machines")?;
    let alive = all.iter().filter(|one| one["state"] == "alive");
    let leader = all.iter().find(|one| one["leader"] == true).map(|one| text(one, "name"));
    let mut names: Vec<String> = alive.map(|one| text(one, "name")).collect();
    names.sort();
    Ok((names, leader))
}

/// Machines that are there, and which of them leads.
fn machines(computer: &Computer) -> Result<(Vec<String>, String)> {
    let (names, leader) = alive(computer)?;
    Ok((names, leader.context("a leader")?))
}

/// What whoever comes to this computer's port hears from one instance of `web` or another.
fn through_the_door(computer: &Computer, door: u16) -> Result<String> {
    computer.ferrite(&["unit", "start", "../configs/units/front.toml"])?;
    let deadline = std::time::Instant::now() + BOOT;
    loop {
        let url = format!("http://127.0.0.1:{door}/");
        let output = Command::new("curl").args(["-s", "-m", "30", &url]).output()?;
        if output.status.success() && !output.stdout.is_empty() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        ensure!(std::time::Instant::now() < deadline, "nobody answers: {output:?}");
    }
}

/// Waits for a new line of a node's console.
pub(crate) fn wait_for_new(console: &mut ferrite_vm::console::Console, words: &str) -> Result<()> {
    let until = Until { deadline: Deadline::after(BOOT), machine: None, interrupt: None };
    console.wait_for(&[words], until)?;
    Ok(())
}

#[test]
fn three_machines_are_one_cluster_and_a_unit_outlives_one_of_them() -> Result<()> {
    let image = images::image(Kind::Product)?;
    let image = image.to_str().context("name the image's folder")?;
    let archive = demo::busybox()?;
    let archive = archive.to_str().context("name the archive")?;
    let _places = turnstile::enter_with(NODES.len());
    let computer = Computer::new("fleet", "trio")?;
    // Free now, and asked for at once.
    let door = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let up = ["cluster", "up", "trio", "--nodes", "3", "--image", image];
    computer.ferrite(&[&up[..], &["--publish", &format!("{door}:8080")]].concat())?;
    for node in NODES {
        computer.wait_for(node, SERVES, BOOT).with_context(|| format!("{node} serves"))?;
        computer.wait_for(node, ASSIGNED, BOOT).with_context(|| format!("{node} is known"))?;
    }
    let (alive, leader) = machines(&computer)?;
    assert_eq!(alive, NODES);

    // One unit, on three machines, one each. Those that have not its image get it from the one that has.
    computer.ferrite(&["import", archive, "--name", "hello", "--machine", NODES[1]])?;
    computer.ferrite(&["unit", "start", "../configs/units/web.toml"])?;
    let before = places(&computer)?;
    assert_eq!(before.keys().collect::<Vec<_>>(), ["web@1", "web@2", "web@3"]);
    let mut used: Vec<&String> = before.values().collect();
    used.sort();
    assert_eq!(used, NODES, "one on each machine");

    mesh::units_of_all_machines_reach_one_another(&computer)?;
    let answer = through_the_door(&computer, door)?;
    ensure!(answer.starts_with("web-"), "{answer}");

    // A machine dies: what ran there runs elsewhere, the others stay where they are.
    let victim = NODES.into_iter().find(|node| *node != leader).context("a follower")?;
    let mut console = computer.console(&leader)?;
    console.skip_to_end()?;
    computer.ferrite(&["cluster", "kill", victim])?;
    wait_for_new(&mut console, "cause=\"machine-lost\"")?;
    computer.ferrite(&["unit", "start", "web"])?;
    let after = places(&computer)?;
    for (instance, machine) in &after {
        ensure!(machine != victim, "{instance} runs on {victim}");
        let stayed = before.get(instance) == Some(machine);
        ensure!(
            stayed || before.get(instance).is_some_and(|was| was == victim),
            "{instance} moved"
        );
    }
    let (alive, same) = machines(&computer)?;
    assert_eq!((alive.len(), same), (2, leader.clone()));
    let answer = through_the_door(&computer, door)?;
    ensure!(answer.starts_with("web-"), "{answer}");

    // It comes back, and nothing moves.
    let mut console = computer.console(victim)?;
    console.skip_to_end()?;
    computer.ferrite(&["cluster", "up", "trio"])?;
    wait_for_new(&mut console, ASSIGNED)?;
    assert_eq!(machines(&computer)?.0, NODES);
    assert_eq!(places(&computer)?, after);

    survival::the_cluster_outlives_what_befalls_its_machines(&computer)?;
    computer.ferrite(&["unit", "destroy", "web", "front"])?;
    if std::env::var_os("FERRITE_LONG").is_some() {
        nemesis::befalls_its_machines(&computer, &NODES)?;
    }
    computer.ferrite(&["cluster", "down", "trio", "--delete"])?;
    Ok(())
}
