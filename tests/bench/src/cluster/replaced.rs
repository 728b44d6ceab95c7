//! A machine dies, and its instance answers elsewhere.

use std::time::Instant;

use anyhow::{Context, Result};

use super::asking::{answering, leader_of, until};
use super::{CLUSTER, NODES, Setting};
use crate::report::{Report, percentile};

/// From a machine's death to its instance elsewhere, in seconds.
const REPLACED_MAX_S: f64 = 12.0;

/// Kills a machine that does not lead, again and again.
pub(super) fn measure(setting: &Setting<'_>, report: &mut Report) -> Result<()> {
    let (computer, runs) = (setting.serving()?, setting.arguments.runs);
    let mut seconds = Vec::new();
    for _ in 0..runs {
        let leader = leader_of(computer)?.context("a leader")?;
        let victim = NODES.into_iter().find(|node| *node != leader).context("a follower")?;
        let begun = Instant::now();
        computer.ferrite(&["cluster", "kill", victim])?;
        until(|| {
            let all = answering(computer)?;
            Ok(all.len() == 3 && all.iter().all(|(_, machine)| machine != victim))
        })?;
        seconds.push(begun.elapsed().as_secs_f64());
        computer.ferrite(&["cluster", "up", CLUSTER])?;
        // What is back may serve again before the next one goes.
        until(|| Ok(computer.run(&["etcd", "status"])?.status.success()))?;
    }
    let name = "machine killed → its instance answers elsewhere";
    for (what, share) in [("p50", 0.5), ("p95", 0.95)] {
        let value = percentile(&seconds, share).context("no run succeeded")?;
        let name = format!("{name}, {what} of {runs}, emulated");
        report.target(&name, value, "s", REPLACED_MAX_S);
    }
    Ok(())
}
