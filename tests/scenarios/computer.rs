//! `ferrite cluster` as people use it on their computer, with nothing of the harness in between.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use ferrite_tests::images::{self, Kind};
use ferrite_tests::node::{BOOT, READY};
use ferrite_tests::programs::{artifacts, program, said};
use ferrite_tests::turnstile;
use ferrite_vm::console::{Console, Until};
use ferrite_vm::deadline::Deadline;
use ferrite_vm::running;
use serde_json::Value;

/// Somebody's computer: a home of its own, with one cluster that ends with the scenario.
struct Computer {
    home: PathBuf,
}

const CLUSTER: &str = "here";
const NODE: &str = "here-1";

impl Computer {
    fn new() -> Result<Self> {
        let computer = Self { home: artifacts()?.join("computer") };
        // What a run before left, also one that was killed.
        computer.run(&["cluster", "down", CLUSTER, "--delete"])?;
        Ok(computer)
    }

    fn run(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(program("ferrite")?);
        command.env("XDG_CONFIG_HOME", self.home.join("config"));
        command.env("XDG_DATA_HOME", self.home.join("data"));
        command.args(words).output().with_context(|| format!("run ferrite {words:?}"))
    }

    fn ferrite(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words)?;
        ensure!(output.status.success(), "ferrite {words:?}:\n{}", said(&output));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn ask(&self, words: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.ferrite(&[words, &["-o", "json"]].concat())?)?)
    }

    fn cluster(&self) -> PathBuf {
        self.home.join("data/ferrite/clusters").join(CLUSTER)
    }

    fn is_ready(&self) -> Result<()> {
        let mut console = Console::open(&running::serial_log(&self.cluster().join(NODE)))?;
        let until = Until { deadline: Deadline::after(BOOT), machine: None, interrupt: None };
        console.wait_for(&[READY], until)?;
        Ok(())
    }

    fn state(&self) -> Result<Value> {
        let status = self.ask(&["cluster", "status", CLUSTER])?;
        Ok(status["machines"][0]["state"].clone())
    }
}

impl Drop for Computer {
    fn drop(&mut self) {
        drop(self.run(&["cluster", "kill", CLUSTER]));
        drop(self.run(&["cluster", "down", CLUSTER, "--delete"]));
    }
}

#[test]
fn a_cluster_is_started_asked_frozen_cut_and_deleted() -> Result<()> {
    let image = images::image(Kind::Product)?;
    let _place = turnstile::enter();
    let computer = Computer::new()?;
    let image = image.to_str().context("name the image's folder")?;

    // A node that is not ready in time runs on, and can be asked why.
    let up = ["cluster", "up", CLUSTER, "--image", image, "--timeout", "1s", "--memory", "512"];
    let late = computer.run(&up)?;
    assert!(!late.status.success() && said(&late).contains("not ready in 1s"), "{}", said(&late));
    assert_eq!(computer.ask(&["context", "list"])?[0]["name"], CLUSTER);
    assert_eq!(computer.state()?, "running");
    computer.is_ready()?;
    assert_eq!(computer.ask(&["machine", "status"])?["hostname"], NODE);
    assert!(computer.ferrite(&up)?.contains("is up already"));

    computer.ferrite(&["cluster", "pause", CLUSTER])?;
    assert_eq!(computer.state()?, "paused");
    computer.ferrite(&["cluster", "resume", CLUSTER])?;
    computer.ask(&["machine", "status"])?;
    computer.ferrite(&["cluster", "kill", CLUSTER])?;
    assert_eq!(computer.state()?, "down");
    let asked = computer.run(&["machine", "status"])?;
    assert!(said(&asked).contains("is it running?"), "{}", said(&asked));

    computer.ferrite(&["cluster", "up", CLUSTER])?;
    let status = computer.ask(&["machine", "status"])?;
    assert_eq!(status["hostname"], NODE, "the port is another one at every start");
    computer.ferrite(&["cluster", "down", CLUSTER])?;
    assert_eq!(computer.state()?, "down");
    computer.ferrite(&["cluster", "down", CLUSTER, "--delete"])?;
    assert!(!exists(&computer.cluster())?, "something of the cluster is left");
    assert_eq!(computer.ask(&["context", "list"])?, serde_json::json!([]));
    Ok(())
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().with_context(|| format!("look for {}", path.display()))
}
