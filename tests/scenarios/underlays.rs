//! The cluster's network over networks of other kinds than that of `fleet`.

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;
use ferrite_tests::demo;
use ferrite_tests::images::{self, Kind};
use ferrite_tests::node::BOOT;
use ferrite_tests::turnstile;

use crate::fleet::ASSIGNED;
use crate::mesh;

const NODES: [&str; 2] = ["six-1", "six-2"];

/// Two machines are linked, run `web`, and send one another much.
#[test]
fn machines_without_ipv4_are_a_cluster_whose_units_have_it() -> Result<()> {
    let image = images::image(Kind::Product)?;
    let image = image.to_str().context("name the image's folder")?;
    let archive = demo::busybox()?;
    let archive = archive.to_str().context("name the archive")?;
    let _places = turnstile::enter_with(NODES.len());
    let computer = Computer::new("underlays", "six")?;
    computer.ferrite(&["cluster", "up", "six", "--nodes", "2", "--ipv6-only", "--image", image])?;
    for node in NODES {
        computer.wait_for(node, ASSIGNED, BOOT).with_context(|| format!("{node} is known"))?;
    }
    let machines = computer.ask(&["machine", "list"])?;
    for machine in machines.as_array().context("machines")? {
        let addresses = machine["addresses"].as_array().context("addresses")?;
        let all = addresses.iter().filter_map(|address| address.as_str());
        let all: Vec<&str> = all.collect();
        ensure!(!all.is_empty() && all.iter().all(|one| one.contains(':')), "{machine}");
    }

    computer.ferrite(&["import", archive, "--name", "hello"])?;
    computer.ferrite(&["unit", "start", "../configs/units/web.toml"])?;
    let all = mesh::all_ready(&computer)?;
    let mut each = all.iter();
    let (one, (here, _)) = each.next().context("an instance")?;
    let (other, _) =
        each.find(|(_, (there, _))| there != here).context("an instance on the other machine")?;
    mesh::much_goes_both_ways_and_nobody_reads_it(&computer, &all, [one, other])
}
