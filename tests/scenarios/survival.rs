//! What befalls the machines of a cluster, and what must outlive it: a leader's death, a cable pulled out, all of them off at
//! once and at other addresses afterwards, the first one's disk wiped. `fleet` boots the machines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;
use ferrite_tests::node::BOOT;
use serde_json::Value;

use crate::fleet::{ASSIGNED, NODES, SERVES, alive, places, text, wait_for_new};

/// What the machine says that begins a cluster.
const BEGINS: &str = "cluster-begins-here";
/// Number of the network that they are in afterwards: a byte of all its addresses.
const OTHER_NETWORK: u8 = 7;

/// A container: its first process and how often it was started again.
type Container = (i64, i64);

/// Containers of `web` on one machine, as that machine itself says.
fn containers(computer: &Computer, machine: &str) -> Result<BTreeMap<String, Container>> {
    let all = computer.ask(&["unit", "list", "--machine", machine])?;
    let all = all.as_array().context("units")?;
    let web = all.iter().filter(|one| text(one, "name").starts_with("web"));
    let number = |one: &Value, key: &str| one[key].as_i64().with_context(|| format!("{one:#}"));
    web.map(|one| Ok((text(one, "name"), (number(one, "pid")?, number(one, "restarts")?))))
        .collect()
}

/// Containers on several machines.
fn all_containers<'name>(
    computer: &Computer,
    machines: impl IntoIterator<Item = &'name &'name str>,
) -> Result<BTreeMap<String, Container>> {
    let mut all = BTreeMap::new();
    for machine in machines {
        all.extend(containers(computer, machine)?);
    }
    Ok(all)
}

/// Asks until the answer is content with itself.
fn until<T>(what: &str, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + BOOT;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(why) => ensure!(Instant::now() < deadline, "{what}: {why:#}"),
        }
    }
}

/// Everybody is there and one of them leads; its name.
fn whole(computer: &Computer) -> Result<String> {
    let (names, leader) = alive(computer)?;
    ensure!(names == NODES, "{names:?}");
    leader.context("a leader")
}

/// All of `web` runs, and where.
fn settled(computer: &Computer) -> Result<BTreeMap<String, String>> {
    let places = places(computer)?;
    ensure!(places.keys().eq(["web@1", "web@2", "web@3"]), "{places:?}");
    Ok(places)
}

/// What ran on a machine that was given up stops there.
fn gives_up_what_has_moved(computer: &Computer, machine: &str) -> Result<()> {
    until("what has moved stops where it was", || {
        let left = containers(computer, machine)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}

fn others<'name>(machine: &str) -> Vec<&'name str> {
    NODES.into_iter().filter(|node| *node != machine).collect()
}

/// `web` runs with three instances, on machines that are all there.
pub(crate) fn the_cluster_outlives_what_befalls_its_machines(computer: &Computer) -> Result<()> {
    a_killed_leader_is_followed_by_another(computer)?;
    a_machine_that_is_cut_off_goes_on_and_gives_back_what_moved(computer)?;
    all_are_killed_and_come_back_at_other_addresses(computer)?;
    the_founder_comes_back_without_its_disk(computer)
}

fn a_killed_leader_is_followed_by_another(computer: &Computer) -> Result<()> {
    let leader = whole(computer)?;
    let left = others(&leader);
    let (before, was) = (settled(computer)?, all_containers(computer, &left)?);
    computer.ferrite(&["cluster", "kill", &leader])?;
    let now = until("another one leads, and runs what was lost", || {
        let (_, now) = alive(computer)?;
        let now = now.filter(|now| *now != leader).context("nobody else leads")?;
        let places = settled(computer)?;
        ensure!(places.values().all(|machine| *machine != leader), "{places:?}");
        Ok(now)
    })?;
    ensure!(left.contains(&now.as_str()), "{now}");
    let after = settled(computer)?;
    for (instance, machine) in before.iter().filter(|(_, machine)| **machine != leader) {
        assert_eq!(after.get(instance), Some(machine), "{instance} stays");
    }
    let is = all_containers(computer, &left)?;
    for (instance, container) in &was {
        assert_eq!(is.get(instance), Some(container), "{instance} was not touched");
    }
    let mut console = computer.console(&leader)?;
    console.skip_to_end()?;
    computer.ferrite(&["cluster", "up", "trio"])?;
    wait_for_new(&mut console, ASSIGNED)?;
    until("all are there", || whole(computer))?;
    assert_eq!(settled(computer)?, after, "nothing moves back");
    assert_eq!(all_containers(computer, &left)?, is, "nor is it touched");
    gives_up_what_has_moved(computer, &leader)
}

fn a_machine_that_is_cut_off_goes_on_and_gives_back_what_moved(computer: &Computer) -> Result<()> {
    let leader = whole(computer)?;
    // One that runs something; best the leader, which then decides nothing any more.
    let places = settled(computer)?;
    let alone = match places.values().any(|machine| *machine == leader) {
        true => leader,
        false => places["web@1"].clone(),
    };
    let left = others(&alone);
    let was = all_containers(computer, &NODES)?;
    let on_it = containers(computer, &alone)?;
    ensure!(!on_it.is_empty(), "{places:?}");
    computer.switch()?.partition(&[&[alone.as_str()], &left])?;
    let moved = until("what runs on the one runs on the others, too", || {
        let (names, now) = alive(computer)?;
        ensure!(names == left && now.is_some(), "{names:?}, led by {now:?}");
        let moved = settled(computer)?;
        ensure!(moved.values().all(|machine| *machine != alone), "{moved:?}");
        Ok(moved)
    })?;
    assert_eq!(containers(computer, &alone)?, on_it, "without a quorum nothing stops");
    let mut console = computer.console(&alone)?;
    console.skip_to_end()?;
    computer.switch()?.heal(None)?;
    wait_for_new(&mut console, ASSIGNED)?;
    until("all are there", || whole(computer))?;
    gives_up_what_has_moved(computer, &alone)?;
    assert_eq!(settled(computer)?, moved, "nothing else moves");
    let is = all_containers(computer, &left)?;
    for (instance, container) in was.iter().filter(|(name, _)| !on_it.contains_key(*name)) {
        assert_eq!(is.get(instance), Some(container), "{instance} was not touched");
    }
    Ok(())
}

fn all_are_killed_and_come_back_at_other_addresses(computer: &Computer) -> Result<()> {
    let cluster = computer.ask(&["machine", "list"])?;
    // That one is off already spares nobody.
    computer.ferrite(&["cluster", "kill", NODES[0]])?;
    computer.ferrite(&["cluster", "kill", "trio"])?;
    let states = computer.states()?;
    ensure!(states.iter().all(|(_, state)| state == "down"), "{states:?}");
    // Another router, other cards: no address of either family is what it was.
    let path = computer.folder().join("cluster.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    ensure!(record["network"]["number"] != OTHER_NETWORK, "{record:#}");
    record["network"]["number"] = OTHER_NETWORK.into();
    std::fs::write(&path, serde_json::to_vec(&record)?)?;
    computer.ferrite(&["cluster", "up", "trio"])?;
    until("all are there", || whole(computer))?;
    let machines = computer.ask(&["machine", "list"])?;
    let ids = |all: &Value| -> BTreeSet<String> {
        all.as_array().into_iter().flatten().map(|one| text(one, "id")).collect()
    };
    assert_eq!(ids(&machines), ids(&cluster), "the same machines");
    let then = addresses(&cluster)?;
    until("all say where they are now", || {
        let now = addresses(&computer.ask(&["machine", "list"])?)?;
        ensure!(now.is_disjoint(&then), "{now:?}, {then:?}");
        Ok(())
    })?;
    // Whoever is there first may be given what another one had.
    until("each instance runs, and once", || each_runs_once(computer))
}

/// Every address of every machine, each of which has some.
fn addresses(machines: &Value) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for machine in machines.as_array().context("machines")? {
        let own = machine["addresses"].as_array().context("addresses")?;
        ensure!(!own.is_empty(), "{machine:#}");
        all.extend(own.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    Ok(all)
}

/// Each instance of `web` runs on the machine that the cluster has for it, and on no other one.
fn each_runs_once(computer: &Computer) -> Result<()> {
    let expected: Vec<(String, String)> = settled(computer)?.into_iter().collect();
    let mut found = Vec::new();
    for machine in NODES {
        let here = containers(computer, machine)?.into_keys();
        found.extend(here.map(|name| (name, machine.to_owned())));
    }
    found.sort();
    ensure!(found == expected, "{found:?}, not {expected:?}");
    Ok(())
}

fn the_founder_comes_back_without_its_disk(computer: &Computer) -> Result<()> {
    let mut founders = NODES.into_iter().filter(|node| {
        computer.console(node).is_ok_and(|mut console| {
            console.tail(usize::MAX).is_ok_and(|said| said.contains(BEGINS))
        })
    });
    let founder = founders.next().context("one has begun the cluster")?;
    assert_eq!(founders.next(), None, "and no other one");
    let id = |machines: &Value, name: &str| {
        let all = machines.as_array().into_iter().flatten();
        let alive = all.filter(|one| one["name"] == name && one["state"] == "alive");
        alive.map(|one| text(one, "id")).next()
    };
    let old = id(&computer.ask(&["machine", "list"])?, founder).context("its ID")?;
    let mut console = computer.console(founder)?;
    console.skip_to_end()?;
    computer.ferrite(&["machine", "state", "recreate", "--yes", "--machine", founder])?;
    let new = until("it is another machine", || {
        let new = id(&computer.ask(&["machine", "list"])?, founder).context("not there")?;
        ensure!(new != old, "it is still {old}");
        Ok(new)
    })?;
    // It has none of the images that the other one had, and what was lost may come to it: with its image.
    let members = until("it is a member in the place of the one that it was", || {
        let members = computer.ask(&["etcd", "members"])?;
        let members = members.as_array().context("members")?;
        let voters = members.iter().filter(|one| one["learner"] == false && one["started"] == true);
        let ids: BTreeSet<String> = voters.map(|one| text(one, "machine")).collect();
        ensure!(ids.len() == 3 && ids.contains(&new), "{ids:?}");
        Ok(ids)
    })?;
    ensure!(!members.contains(&old), "{members:?}");
    wait_for_new(&mut console, SERVES)?;
    let mut console = computer.console(founder)?;
    let begun = console.tail(usize::MAX)?.matches(BEGINS).count();
    assert_eq!(begun, 1, "there is never a second cluster");
    until("all runs", || settled(computer))?;
    Ok(())
}
