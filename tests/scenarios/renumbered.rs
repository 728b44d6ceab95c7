//! A cluster whose machines all get other addresses while they are off, and whose configurations name only addresses that
//! nobody has any more: they find one another by calling on their link.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;
use ferrite_tests::images::{self, Kind};
use ferrite_tests::node::BOOT;
use ferrite_tests::turnstile;
use ferrite_vm::console::{Console, Until};
use ferrite_vm::deadline::Deadline;
use serde_json::{Value, json};

const NODES: [&str; 3] = ["moved-1", "moved-2", "moved-3"];
/// A member whose etcd hears a quorum; a node that has a link.
const SAYS: [&str; 2] = ["member-serves", "assigned instances="];
/// The third byte of all addresses, from now on.
const NUMBER: u8 = 77;

fn wait_for(console: &mut Console, words: &str) -> Result<()> {
    let until = Until { deadline: Deadline::after(BOOT), machine: None, interrupt: None };
    console.wait_for(&[words], until)?;
    Ok(())
}

/// The network that the machines hang on from their next start on.
fn renumber(computer: &Computer) -> Result<()> {
    let path = computer.folder().join("cluster.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let number = record["network"]["number"].as_u64().context("the network's number")?;
    ensure!(number != u64::from(NUMBER), "it has that number already");
    record["network"]["number"] = json!(NUMBER);
    Ok(fs::write(&path, serde_json::to_vec_pretty(&record)?)?)
}

/// Addresses of all machines, as the cluster knows them.
fn addresses(computer: &Computer) -> Result<Vec<String>> {
    let all = computer.ask(&["machine", "list"])?;
    let all = all.as_array().context("machines")?;
    ensure!(all.len() == NODES.len(), "{all:#?}");
    ensure!(all.iter().all(|one| one["state"] == "alive"), "{all:#?}");
    let addresses = all.iter().filter_map(|one| one["addresses"].as_array()).flatten();
    Ok(addresses.filter_map(Value::as_str).map(str::to_owned).collect())
}

#[test]
fn machines_that_all_moved_while_off_find_one_another_where_nobody_knows_an_address() -> Result<()>
{
    let image = images::image(Kind::Product)?;
    let image = image.to_str().context("name the image's folder")?;
    let _places = turnstile::enter_with(NODES.len());
    let computer = Computer::new("renumbered", "moved")?;
    computer.ferrite(&["cluster", "up", "moved", "--nodes", "3", "--image", image])?;
    for words in SAYS {
        for node in NODES {
            computer.wait_for(node, words, BOOT).with_context(|| format!("{node}: {words}"))?;
        }
    }
    let before = addresses(&computer)?;
    ensure!(!before.iter().any(|one| one.starts_with("192.168.77.")), "{before:?}");

    computer.ferrite(&["cluster", "kill", "moved"])?;
    renumber(&computer)?;
    let mut consoles = Vec::new();
    for node in NODES {
        let mut console = computer.console(node)?;
        console.skip_to_end()?;
        consoles.push(console);
    }
    // It waits until they have found one another.
    computer.ferrite(&["cluster", "up", "moved"])?;
    for (console, node) in consoles.iter_mut().zip(NODES) {
        wait_for(console, SAYS[0]).with_context(|| format!("{node} serves again"))?;
    }
    // What the store remembers is what was before, until each has said where it is now.
    let deadline = Instant::now() + BOOT;
    loop {
        let after = addresses(&computer);
        let moved = |all: &Vec<String>| {
            !all.iter().any(|one| before.contains(one))
                && all.iter().any(|one| one.starts_with("192.168.77."))
        };
        if after.as_ref().is_ok_and(moved) {
            break;
        }
        ensure!(Instant::now() < deadline, "{before:?}, then {after:?}");
    }
    computer.ferrite(&["cluster", "down", "moved", "--delete"])?;
    Ok(())
}
