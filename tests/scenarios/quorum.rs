//! Members of etcd become fewer and more while somebody writes, and a quorum that is lost for good is mended by one command.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;
use ferrite_tests::demo;
use ferrite_tests::images::{self, Kind};
use ferrite_tests::node::BOOT;
use ferrite_tests::programs::said;
use ferrite_tests::turnstile;
use serde_json::Value;

const NODES: [&str; 3] = ["quorum-1", "quorum-2", "quorum-3"];
/// A member's last word on its way into the cluster.
const SERVES: &str = "member-serves";
/// A node that is known to the cluster, and knows what it is to run.
const ASSIGNED: &str = "assigned instances=";
/// Keys that a machine's record takes.
const KEYS: usize = 60;
/// For members to become fewer, or more: bounds for the wait, not figures.
const SOON: Duration = Duration::from_secs(180);

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

#[expect(clippy::print_stderr, reason = "figures for who reads the test's output")]
fn say(words: &str) {
    eprintln!("{words}");
}

/// Asks until the answer is as it should be.
fn until<T>(what: &str, ask: impl Fn() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        // While leadership moves, nobody may answer.
        let answer = ask();
        if let Ok(Some(answer)) = answer {
            say(&format!("{what}: {:.1} s", begun.elapsed().as_secs_f64()));
            return Ok(answer);
        }
        ensure!(begun.elapsed() < SOON, "{what}: {:?}", answer.map(|_| ()));
    }
}

/// Names of the machines whose etcd votes.
fn voters(computer: &Computer) -> Result<BTreeSet<String>> {
    let all = computer.ask(&["etcd", "members"])?;
    let all = all.as_array().context("members")?;
    let votes = all.iter().filter(|one| one["learner"] == false);
    Ok(votes.map(|one| text(one, "machine_name")).collect())
}

fn leader(computer: &Computer) -> Result<String> {
    let all = computer.ask(&["machine", "list"])?;
    let all = all.as_array().context("machines")?;
    let leads = all.iter().find(|one| one["leader"] == true).context("a leader")?;
    Ok(text(leads, "name"))
}

/// Keys that were written, with the round in which each was last.
type Written = BTreeMap<usize, usize>;

/// Writes one key after the other, round and round, each with a command of its own, until it is told to end. What was acknowledged.
fn write(computer: &Computer, ends: &AtomicBool) -> Result<Written> {
    let mut acknowledged = Written::new();
    for round in 0.. {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        let number = round % (KEYS * NODES.len());
        let node = NODES[number % NODES.len()];
        let word = format!("w{number}=r{round}");
        if computer.run(&["machine", "metadata", node, &word])?.status.success() {
            acknowledged.insert(number, round);
        }
    }
    Ok(acknowledged)
}

/// What of it is in the cluster.
fn written(computer: &Computer) -> Result<Written> {
    let all = computer.ask(&["machine", "list"])?;
    let all = all.as_array().context("machines")?;
    let keys = all.iter().filter_map(|one| one["overrides"].as_object()).flatten();
    let number = |text: &str, prefix: char| text.strip_prefix(prefix)?.parse().ok();
    let one =
        |(key, value): (&String, &Value)| Some((number(key, 'w')?, number(value.as_str()?, 'r')?));
    Ok(keys.filter_map(one).collect())
}

/// Each key is as it was acknowledged last, or as it was written after that without an answer.
fn none_is_missing(computer: &Computer, acknowledged: &Written) -> Result<()> {
    let there = written(computer)?;
    let is_missing = |(number, round): &(&usize, &usize)| {
        there.get(number).is_none_or(|written| written < *round)
    };
    let missing: Vec<_> = acknowledged.iter().filter(is_missing).collect();
    ensure!(missing.is_empty(), "acknowledged and gone: {missing:?} of {}", acknowledged.len());
    Ok(())
}

/// A machine on which an instance runs.
fn first_host(computer: &Computer) -> Result<Option<String>> {
    let all = computer.ask(&["unit", "list"])?;
    let units = all.as_array().context("units")?;
    let instances = units.iter().filter_map(|unit| unit["instances"].as_array()).flatten();
    let mut run = instances.filter(|one| one["state"] == "running");
    Ok(run.next().map(|one| text(one, "machine_name")))
}

/// When the first process of what runs on this machine began, which another one did not.
fn began(computer: &Computer, machine: &str) -> Result<(String, String)> {
    let all = computer.ask(&["unit", "list"])?;
    let units = all.as_array().context("units")?;
    let web = units.iter().find(|unit| unit["name"] == "web").context("web")?;
    let instances = web["instances"].as_array().context("instances")?;
    let here = instances.iter().find(|one| text(one, "machine_name") == machine);
    let name = text(here.context("an instance here")?, "name");
    let asks = ["unit", "exec", &name, "--", "cut", "-d", " ", "-f", "22", "/proc/1/stat"];
    let began = computer.ferrite(&asks)?;
    Ok((name, began))
}

fn members_become(computer: &Computer, target: &str) -> Result<BTreeSet<String>> {
    computer.ferrite(&["etcd", "members", "--target", target])?;
    let wanted: usize = target.parse()?;
    until(&format!("{target} members"), || {
        Ok(Some(voters(computer)?).filter(|voters| voters.len() == wanted))
    })
}

#[test]
fn members_become_one_and_three_again_and_a_lost_quorum_is_mended() -> Result<()> {
    let image = images::image(Kind::Product)?;
    let image = image.to_str().context("name the image's folder")?;
    let archive = demo::busybox()?;
    let archive = archive.to_str().context("name the archive")?;
    let _places = turnstile::enter_with(NODES.len());
    let computer = Computer::new("quorum", "quorum")?;
    computer.ferrite(&["cluster", "up", "quorum", "--nodes", "3", "--image", image])?;
    for node in NODES {
        computer.wait_for(node, SERVES, BOOT).with_context(|| format!("{node} serves"))?;
        computer.wait_for(node, ASSIGNED, BOOT).with_context(|| format!("{node} is known"))?;
    }
    // An image comes to the machines that are there.
    until("all machines are there", || {
        let all = computer.ask(&["machine", "list"])?;
        let all = all.as_array().context("machines")?;
        let alive = all.iter().filter(|one| one["state"] == "alive").count();
        Ok((alive == NODES.len()).then_some(()))
    })?;
    computer.ferrite(&["import", archive, "--name", "hello"])?;
    computer.ferrite(&["unit", "start", "../configs/units/web.toml"])?;

    // Somebody writes all the time. The one that leads is cordoned, so that it is not the one that stays.
    let first = leader(&computer)?;
    let ends = AtomicBool::new(false);
    let acknowledged = thread::scope(|threads| -> Result<Written> {
        let writes = threads.spawn(|| write(&computer, &ends));
        let changes = || -> Result<()> {
            computer.ferrite(&["machine", "cordon", &first])?;
            let left = members_become(&computer, "1")?;
            ensure!(!left.contains(&first), "{first} led and was cordoned: {left:?}");
            members_become(&computer, "3")?;
            Ok(())
        };
        let changed = changes();
        ends.store(true, Ordering::Relaxed);
        let acknowledged = writes.join().map_err(|_panic| anyhow::anyhow!("the writer fell"))?;
        changed.and(acknowledged)
    })?;
    let rounds = acknowledged.values().max().copied().unwrap_or(0);
    say(&format!(
        "writes to {} keys were acknowledged, the last one in round {rounds}",
        acknowledged.len()
    ));
    ensure!(acknowledged.len() > 5, "hardly anybody wrote: {acknowledged:?}");
    none_is_missing(&computer, &acknowledged)?;
    a_lost_quorum_is_mended(&computer, &acknowledged)
}

fn a_lost_quorum_is_mended(computer: &Computer, acknowledged: &Written) -> Result<()> {
    // While a quorum is there, or will be once it has chosen its leader, nothing is given up.
    let refused = computer.run(&["etcd", "recover", "--yes"])?;
    ensure!(!refused.status.success(), "{}", said(&refused));
    let why = said(&refused);
    ensure!(why.contains("has a leader") || why.contains("they are a quorum"), "{why}");

    // Two of three are lost for good.
    let survivor = until("something runs", || first_host(computer))?;
    let before = began(computer, &survivor)?;
    let lost: Vec<&str> = NODES.into_iter().filter(|node| *node != survivor).collect();
    for node in &lost {
        computer.ferrite(&["cluster", "kill", node])?;
    }
    let plan = until("the quorum is lost", || {
        let asked = computer.run(&["etcd", "recover"])?;
        Ok(Some(said(&asked)).filter(|said| said.contains("GIVEN UP")))
    })?;
    ensure!(plan.contains(&survivor) && plan.contains("--yes"), "{plan}");
    let begun = Instant::now();
    let recovered = computer.ask(&["etcd", "recover", "--yes"])?;
    say(&format!("recovered: {:.1} s", begun.elapsed().as_secs_f64()));
    ensure!(recovered["epoch"] == 2 && text(&recovered, "machine_name") == survivor, "{recovered}");

    // All that was acknowledged is there, and what ran runs.
    none_is_missing(computer, acknowledged)?;
    ensure!(voters(computer)? == BTreeSet::from([survivor.clone()]));
    until("the survivor leads", || Ok((leader(computer)? == survivor).then_some(())))?;
    assert_eq!(began(computer, &survivor)?, before, "the container was started anew");
    computer.ferrite(&["machine", "metadata", &survivor, "after=yes"])?;

    // They come back with what they had, and are a quorum of the cluster that was given up: it is not, and they learn.
    computer.ferrite(&["cluster", "up", "quorum"])?;
    until("three members again", || {
        Ok(Some(voters(computer)?).filter(|voters| voters.len() == NODES.len()))
    })?;
    none_is_missing(computer, acknowledged)?;
    let all = computer.ask(&["machine", "list"])?;
    ensure!(all.to_string().contains("\"after\":\"yes\""), "what was written after it: {all:#}");
    assert_eq!(began(computer, &survivor)?, before, "the container was started anew");
    for node in lost {
        computer.wait_for(node, "member-removed", BOOT)?;
    }
    computer.ferrite(&["unit", "destroy", "web"])?;
    computer.ferrite(&["cluster", "down", "quorum", "--delete"])?;
    Ok(())
}
