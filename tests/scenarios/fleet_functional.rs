//! What fleet's own functional tests looked at, under their names, as steps on machines that a scenario has booted.
//!
//! | fleet's test | where |
//! |---|---|
//! | `UnitSubmit`, `UnitLoad`, `UnitStart`, `UnitList`, `UnitCat`, `NodeShutdown`, `DetectMachineId` | here, on the machines of `strangers` |
//! | `DynamicClusterMemberReboot` | `fleet`: a machine dies and comes back |
//! | `DynamicClusterNewMemberUnitMigration`, `SingleNodeConnectivityLoss` | `fleet` and `survival` |

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;
use ferrite_tests::node::SOON;
use serde_json::Value;

/// Three units, as fleet has them: each says hello, again and again.
const UNITS: [&str; 3] = ["greeter-1", "greeter-2", "greeter-3"];

/// Files of the units.
fn files(computer: &Computer) -> Result<Vec<String>> {
    let write = |name: &&str| {
        let file = computer.folder().join(format!("{name}.toml"));
        let unit = format!(
            "name = \"{name}\"\nimage = \"hello\"\nstop_grace_s = 1\n\
             command = [\"/bin/sh\", \"-c\", \"while true; do echo 'Hello, World!'; sleep 1; done\"]\n"
        );
        fs::write(&file, unit)?;
        Ok(file.display().to_string())
    };
    UNITS.iter().map(write).collect()
}

/// The state of each of the units that are known: that of its instance, or what it should be.
fn states(computer: &Computer) -> Result<Vec<(String, String)>> {
    let all = computer.ask(&["unit", "list", "greeter-*"])?;
    let word = |unit: &Value| {
        let instance = unit["instances"].as_array().and_then(|all| all.first());
        let state = instance.map_or(&unit["target"], |instance| &instance["state"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&unit["name"]), text(state))
    };
    Ok(all.as_array().context("units")?.iter().map(word).collect())
}

/// Waits until all three are in one of these states.
fn all_are(computer: &Computer, expected: &[&str]) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let states = states(computer)?;
        let fits = |(name, state): (&&str, &(String, String))| {
            *name == state.0 && expected.contains(&state.1.as_str())
        };
        if states.len() == UNITS.len() && UNITS.iter().zip(&states).all(fits) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{states:?}, not {expected:?}");
    }
}

fn none_is_known(computer: &Computer) -> Result<()> {
    let states = states(computer)?;
    ensure!(states.is_empty(), "{states:?}");
    Ok(())
}

fn with_all(computer: &Computer, verb: &[&str], words: &[String]) -> Result<String> {
    let words = words.iter().map(String::as_str);
    computer
        .ferrite(&["unit"].into_iter().chain(verb.iter().copied()).chain(words).collect::<Vec<_>>())
}

fn destroy(computer: &Computer) -> Result<()> {
    with_all(computer, &["destroy"], &UNITS.map(str::to_owned)).map(drop)
}

/// All of them that need nothing but units.
pub(crate) fn all_that_is_cheap(computer: &Computer) -> Result<()> {
    unit_submit(computer)?;
    unit_load(computer)?;
    unit_start(computer)?;
    unit_list(computer)?;
    cat(computer)
}

/// What is submitted is known, and is nowhere; what is destroyed is not known, and can be submitted again.
fn unit_submit(computer: &Computer) -> Result<()> {
    let files = files(computer)?;
    for _ in 0..2 {
        with_all(computer, &["submit"], &files)?;
        all_are(computer, &["inactive"])?;
        destroy(computer)?;
        none_is_known(computer)?;
    }
    Ok(())
}

/// What is loaded has its machine and does not run; unloaded it is nowhere, and is loaded again.
fn unit_load(computer: &Computer) -> Result<()> {
    with_all(computer, &["submit"], &files(computer)?)?;
    for _ in 0..2 {
        with_all(computer, &["load"], &UNITS.map(str::to_owned))?;
        all_are(computer, &["loaded"])?;
        with_all(computer, &["unload"], &UNITS.map(str::to_owned))?;
        all_are(computer, &["inactive"])?;
    }
    destroy(computer)
}

/// What is started runs and says what it has to; stopped it does not, and is started again.
fn unit_start(computer: &Computer) -> Result<()> {
    let files = files(computer)?;
    for _ in 0..2 {
        with_all(computer, &["start"], &files)?;
        all_are(computer, &["running"])?;
        with_all(computer, &["stop"], &UNITS.map(str::to_owned))?;
        all_are(computer, &["inactive"])?;
    }
    with_all(computer, &["start"], &files)?;
    let deadline = Instant::now() + SOON;
    loop {
        let said = computer.ferrite(&["unit", "logs", "greeter-2"])?;
        if said.contains("Hello, World!") {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{said}");
    }
}

/// All are listed, in order, each with its machine; so are their files.
fn unit_list(computer: &Computer) -> Result<()> {
    let listed = computer.ferrite(&["unit", "list", "greeter-*"])?;
    let files = computer.ferrite(&["unit", "list-files"])?;
    for text in [&listed, &files] {
        let names = text.lines().filter_map(|line| line.split_whitespace().next());
        let names: Vec<&str> = names.filter(|name| name.starts_with("greeter-")).collect();
        assert_eq!(names, UNITS, "{text}");
    }
    for line in listed.lines().skip(1) {
        ensure!(line.contains("running") && line.contains("strange-"), "{listed}");
    }
    Ok(())
}

/// What is shown of a unit is what was submitted: submitted again it changes nothing.
fn cat(computer: &Computer) -> Result<()> {
    let before = computer.ask(&["unit", "status", "greeter-1"])?;
    let shown = computer.ferrite(&["unit", "cat", "greeter-1"])?;
    ensure!(shown.contains("Hello, World!"), "{shown}");
    let file = computer.folder().join("cat.toml");
    fs::write(&file, shown)?;
    computer.ferrite(&["unit", "submit", &file.display().to_string()])?;
    let after = computer.ask(&["unit", "status", "greeter-1"])?;
    assert_eq!((&after["spec"], &after["revision"]), (&before["spec"], &before["revision"]));
    destroy(computer)
}

/// A machine that comes with the ID and the name of another one is listed neither beside it nor in its place: both are there once, alive
/// and at the addresses that it had, and nobody is at one of `copy`'s.
pub(crate) fn detect_machine_id(
    computer: &Computer,
    (name, id, addresses): (&str, &str, &[Value]),
    copy: &[String],
) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let all = computer.ask(&["machine", "list"])?;
        let machines = all.as_array().context("machines")?;
        let mut listed = machines.iter().filter_map(|one| one["addresses"].as_array()).flatten();
        let is_copys = |address: &Value| copy.iter().any(|own| address == own.as_str());
        ensure!(!listed.any(is_copys), "the copy is listed: {all}");
        let mut of = machines.iter().filter(|one| one["id"] == id || one["name"] == name);
        let (one, other) = (of.next().context("the machine")?, of.next());
        ensure!(other.is_none() && one["id"] == id && one["name"] == name, "{all}");
        // It was frozen for a while.
        if one["state"] == "alive"
            && one["addresses"].as_array().is_some_and(|own| own == addresses)
        {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{all}");
    }
}

/// A machine that is switched off in order is lost to the cluster soon, and what was bound to it runs nowhere.
pub(crate) fn node_shutdown(computer: &Computer, node: &str) -> Result<()> {
    let file = computer.folder().join("pinned.toml");
    let unit = "name = \"pinned\"\nimage = \"hello\"\nstop_grace_s = 1\ncommand = [\"/bin/sleep\", \"9999\"]\n\
                placement = { metadata = { only = [\"here\"] } }\n";
    fs::write(&file, unit)?;
    computer.ferrite(&["machine", "metadata", node, "only=here"])?;
    computer.ferrite(&["unit", "start", &file.display().to_string()])?;
    let pinned = || -> Result<(String, String)> {
        let all = computer.ask(&["unit", "list", "pinned"])?;
        let text = |key: &str| all[0]["instances"][0][key].as_str().unwrap_or_default().to_owned();
        Ok((text("machine_name"), text("state")))
    };
    assert_eq!(pinned()?, (node.to_owned(), "running".to_owned()));
    computer.ferrite(&["machine", "poweroff", "--machine", node])?;
    let deadline = Instant::now() + SOON;
    loop {
        let all = computer.ask(&["machine", "list"])?;
        let listed = all.as_array().context("machines")?.iter().find(|one| one["name"] == node);
        let state = pinned()?.1;
        if listed.is_some_and(|one| one["state"] == "lost") && state != "running" {
            break;
        }
        ensure!(Instant::now() < deadline, "pinned is {state}, and {all}");
    }
    // It waits for whoever is like the one that it was bound to.
    let why = computer.ferrite(&["unit", "why", "pinned"])?;
    ensure!(why.contains("only"), "{why}");
    computer.ferrite(&["unit", "destroy", "pinned"])?;
    Ok(())
}
