//! Somebody's computer: a home of its own, and the clusters that `ferrite cluster` runs there.
//!
//! Nothing of the harness stands between a scenario and the command; faults go to the cluster's own switch.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ferrite_vm::console::{Console, Until};
use ferrite_vm::deadline::Deadline;
use ferrite_vm::running;
use ferrite_vm::switch::client::Client;
use serde_json::Value;

use crate::programs::{artifacts, program, said};

/// The computer, with one cluster, which ends with the scenario.
#[derive(Debug)]
pub struct Computer {
    home: PathBuf,
    cluster: String,
}

impl Computer {
    /// A computer for the scenario `name`, on which there is no cluster yet; `cluster` is what the scenario calls its own.
    ///
    /// # Errors
    /// What a run before left cannot be ended.
    pub fn new(name: &str, cluster: &str) -> Result<Self> {
        let computer = Self { home: artifacts()?.join(name), cluster: cluster.to_owned() };
        // What a run before left, also one that was killed.
        computer.run(&["cluster", "kill", cluster])?;
        computer.run(&["cluster", "down", cluster, "--delete"])?;
        Ok(computer)
    }

    /// Runs `ferrite`, however it ends.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        self.command(words)?.output().with_context(|| format!("run ferrite {words:?}"))
    }

    /// `ferrite` with these words, as it is run on this computer.
    ///
    /// # Errors
    /// There is no such program.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("ferrite")?);
        command.env("XDG_CONFIG_HOME", self.home.join("config"));
        command.env("XDG_DATA_HOME", self.home.join("data"));
        command.args(words);
        Ok(command)
    }

    /// Runs `ferrite`, which must succeed; what it wrote to standard output.
    ///
    /// # Errors
    /// It fails: the error has everything that it said.
    pub fn ferrite(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words)?;
        ensure!(output.status.success(), "ferrite {words:?}:\n{}", said(&output));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `ferrite … -o json` and understands its answer.
    ///
    /// # Errors
    /// It fails or answers otherwise.
    pub fn ask(&self, words: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.ferrite(&[words, &["-o", "json"]].concat())?)?)
    }

    /// Folder of the contexts that `ferrite` has here.
    #[must_use]
    pub fn contexts(&self) -> PathBuf {
        self.home.join("config/ferrite")
    }

    /// Folder of the cluster.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.home.join("data/ferrite/clusters").join(&self.cluster)
    }

    /// The cluster's switch, for faults and for who is connected.
    ///
    /// # Errors
    /// It does not run.
    pub fn switch(&self) -> Result<Client> {
        Ok(Client::connect(&self.folder().join("net"))?)
    }

    /// The console of a node, from its first line on.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn console(&self, node: &str) -> Result<Console> {
        Ok(Console::open(&running::serial_log(&self.folder().join(node)))?)
    }

    /// Waits for a line of a node's console, whenever it was said.
    ///
    /// # Errors
    /// It is not said within `duration`, or the machine ends.
    pub fn wait_for(&self, node: &str, words: &str, duration: Duration) -> Result<String> {
        let process = running::find(&self.folder().join(node))?;
        let machine = process.as_ref().map(AsFd::as_fd);
        let until = Until { deadline: Deadline::after(duration), machine, interrupt: None };
        Ok(self.console(node)?.wait_for(&[words], until)?.1)
    }

    /// State of each node's machine, by name.
    ///
    /// # Errors
    /// `ferrite cluster status` fails.
    pub fn states(&self) -> Result<Vec<(String, String)>> {
        let status = self.ask(&["cluster", "status", &self.cluster])?;
        let machines = status.get("machines").and_then(Value::as_array).context("machines")?;
        let text = |machine: &Value, key: &str| {
            machine.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        Ok(machines.iter().map(|one| (text(one, "name"), text(one, "state"))).collect())
    }

    /// Lines of a node's console that tell of trouble.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn troubles(&self, node: &str, expected: &[&str]) -> Result<Vec<String>> {
        let problems = self.console(node)?.problems(expected)?;
        Ok(problems.into_iter().map(|problem| problem.line).collect())
    }
}

impl Drop for Computer {
    fn drop(&mut self) {
        drop(self.run(&["cluster", "kill", &self.cluster]));
        drop(self.run(&["cluster", "down", &self.cluster, "--delete"]));
    }
}
