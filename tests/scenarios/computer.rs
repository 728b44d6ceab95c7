//! `ferrite cluster` as people use it on their computer, with nothing of the harness in between.

use std::path::Path;

use anyhow::{Context, Result};
use ferrite_tests::computer::Computer;
use ferrite_tests::images::{self, Kind};
use ferrite_tests::node::{BOOT, READY};
use ferrite_tests::programs::said;
use ferrite_tests::turnstile;

const CLUSTER: &str = "here";
const NODE: &str = "here-1";

/// The state of its one machine.
fn state(computer: &Computer) -> Result<String> {
    Ok(computer.states()?.into_iter().map(|(_, state)| state).collect())
}

#[test]
fn a_cluster_is_started_asked_frozen_cut_and_deleted() -> Result<()> {
    let image = images::image(Kind::Product)?;
    let _place = turnstile::enter();
    let computer = Computer::new("computer", CLUSTER)?;
    let image = image.to_str().context("name the image's folder")?;

    // A node that is not ready in time runs on, and can be asked why.
    let up = ["cluster", "up", CLUSTER, "--image", image, "--timeout", "1s", "--memory", "512"];
    let late = computer.run(&up)?;
    assert!(!late.status.success() && said(&late).contains("not ready in 1s"), "{}", said(&late));
    assert_eq!(computer.ask(&["context", "list"])?[0]["name"], CLUSTER);
    assert_eq!(state(&computer)?, "running");
    computer.wait_for(NODE, READY, BOOT)?;
    assert_eq!(computer.ask(&["machine", "status"])?["hostname"], NODE);
    assert!(computer.ferrite(&up)?.contains("is up already"));

    computer.ferrite(&["cluster", "pause", CLUSTER])?;
    assert_eq!(state(&computer)?, "paused");
    computer.ferrite(&["cluster", "resume", CLUSTER])?;
    computer.ask(&["machine", "status"])?;
    computer.ferrite(&["cluster", "kill", CLUSTER])?;
    assert_eq!(state(&computer)?, "down");
    let asked = computer.run(&["machine", "status"])?;
    assert!(said(&asked).contains("is it running?"), "{}", said(&asked));

    computer.ferrite(&["cluster", "up", CLUSTER])?;
    let status = computer.ask(&["machine", "status"])?;
    assert_eq!(status["hostname"], NODE, "the port is another one at every start");
    computer.ferrite(&["cluster", "down", CLUSTER])?;
    assert_eq!(state(&computer)?, "down");
    computer.ferrite(&["cluster", "down", CLUSTER, "--delete"])?;
    assert!(!exists(&computer.folder())?, "something of the cluster is left");
    assert_eq!(computer.ask(&["context", "list"])?, serde_json::json!([]));
    Ok(())
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().with_context(|| format!("look for {}", path.display()))
}
