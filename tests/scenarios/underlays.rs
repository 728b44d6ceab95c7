//! The cluster's network over networks of other kinds than that of `fleet`, and otherwise than there.

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;
use ferrite_tests::demo;
use ferrite_tests::images::{self, Kind};
use ferrite_tests::node::BOOT;
use ferrite_tests::turnstile;
use serde_json::Value;

use crate::fleet::ASSIGNED;
use crate::mesh::{self, Instances};

/// Two machines that are linked and run `web`.
fn two_machines(name: &'static str, words: &[&str]) -> Result<(Computer, Instances)> {
    let image = images::image(Kind::Product)?;
    let image = image.to_str().context("name the image's folder")?;
    let archive = demo::busybox()?;
    let archive = archive.to_str().context("name the archive")?;
    let computer = Computer::new(&format!("underlays-{name}"), name)?;
    let up = ["cluster", "up", name, "--nodes", "2", "--image", image];
    computer.ferrite(&[&up[..], words].concat())?;
    for number in [1, 2] {
        let node = format!("{name}-{number}");
        computer.wait_for(&node, ASSIGNED, BOOT).with_context(|| format!("{node} is known"))?;
    }
    computer.ferrite(&["import", archive, "--name", "hello"])?;
    computer.ferrite(&["unit", "start", "../configs/units/web.toml"])?;
    let all = mesh::all_ready(&computer)?;
    Ok((computer, all))
}

/// Two instances that are not on the same machine.
fn apart(all: &Instances) -> Result<[&str; 2]> {
    let mut each = all.iter();
    let (one, (here, _)) = each.next().context("an instance")?;
    let other = each.find(|(_, (there, _))| there != here);
    Ok([one, other.context("an instance on the other machine")?.0])
}

/// The addresses of each machine.
fn addresses(computer: &Computer) -> Result<Vec<Vec<String>>> {
    let machines = computer.ask(&["machine", "list"])?;
    let of = |machine: &Value| {
        let all = machine["addresses"].as_array().into_iter().flatten();
        all.filter_map(|address| Some(address.as_str()?.to_owned())).collect()
    };
    Ok(machines.as_array().context("machines")?.iter().map(of).collect())
}

#[test]
fn machines_without_ipv4_are_a_cluster_whose_units_have_it() -> Result<()> {
    let _places = turnstile::enter_with(2);
    let (computer, all) = two_machines("six", &["--ipv6-only"])?;
    let addresses = addresses(&computer)?;
    for machine in &addresses {
        ensure!(!machine.is_empty() && machine.iter().all(|one| one.contains(':')), "{machine:?}");
    }
    mesh::much_goes_both_ways(&computer, &all, apart(&all)?)?;
    mesh::nobody_reads_it(&computer)
}

#[test]
fn neighbours_are_a_cluster_without_wireguard_and_with_a_network_of_their_choice() -> Result<()> {
    let _places = turnstile::enter_with(2);
    let words = ["--transport", "routes", "--network-ipv4", "172.20.0.0/22"];
    let (computer, all) = two_machines("flat", &words)?;
    for (_, addresses) in all.values() {
        let ipv4 = addresses.iter().find(|address| address.is_ipv4()).context("IPv4")?;
        ensure!(ipv4.to_string().starts_with("172.20."), "{ipv4}");
    }
    let [one, other] = apart(&all)?;
    mesh::much_goes_both_ways(&computer, &all, [one, other])?;
    mesh::it_is_as_it_is(&computer)?;
    let v6 = all[other].1.iter().find(|address| address.is_ipv6()).context("IPv6")?;
    let asks = format!("wget -q -O - 'http://[{v6}]/'");
    let said = mesh::inside(&computer, one, &asks)?;
    assert_eq!(said.trim(), other.replace('@', "-"));
    mesh::machines_ports_are_not_for_units(&computer, &all, [one, other])
}
