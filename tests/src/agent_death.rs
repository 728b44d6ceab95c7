//! Ends of a node's agent, at moments that a scenario chooses.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::node::{Node, SOON};

/// What the agent says when it serves again.
const BACK: &str = "api-listening";

/// The probe, waiting for a file.
#[derive(Debug)]
pub struct Ambush(BufReader<TcpStream>);

impl Ambush {
    /// Has the probe kill the agent as soon as `path` exists; a `*` at its end stands for anything.
    ///
    /// # Errors
    /// There is no probe or no agent.
    pub fn lie(node: &mut Node, path: &str) -> Result<Self> {
        let mut lines = node.probe_lines(&["ambush", path], SOON)?;
        let mut line = String::new();
        lines.read_line(&mut line)?;
        ensure!(line.trim() == "waiting", "{line}");
        Ok(Self(lines))
    }

    /// Waits until that has happened and there is another agent.
    ///
    /// # Errors
    /// It does not happen.
    pub fn spring(mut self, node: &mut Node) -> Result<()> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        ensure!(line.trim() == "killed", "{line}");
        node.wait_for(BACK, SOON).context("the agent's successor").map(drop)
    }
}

/// Kills the agent now, and waits for its successor.
///
/// # Errors
/// There is none, or no successor.
pub fn kill(node: &mut Node) -> Result<()> {
    let processes = node.probe(&["processes"])?;
    let is_agent = |process: &&Value| {
        let field = |name: &str| process.get(name).cloned().unwrap_or_default();
        field("name") == "ferrite-agent" && field("parent") == 1
    };
    // Of an earlier agent's the probe's server may be left; it is older than the agent.
    let mut agents = processes.as_array().map(Vec::as_slice).unwrap_or_default().iter();
    let agent = agents.rfind(is_agent).context("an agent")?;
    let pid = agent.get("pid").cloned().unwrap_or_default().to_string();
    node.probe(&["kill", &pid, "9"])?;
    node.wait_for(BACK, SOON).context("the agent's successor").map(drop)
}
