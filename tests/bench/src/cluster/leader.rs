//! The machine dies that leads: until etcd has another leader, and until somebody decides again.

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::asking::{Listening, leader_of, until};
use super::{CLUSTER, NODES, Setting};
use crate::report::Report;

/// The next decision comes after at most so many times what etcd takes by itself.
const RATIO_MAX: f64 = 2.0;
/// What etcd says when there is a leader again, on whichever side it is.
const ELECTED: [&str; 2] = ["became leader at term", "elected leader"];
/// A unit that is decided about.
const UNIT: &str = "name = \"decided\"\nimage = \"hello\"\ncommand = [\"/bin/sh\", \"-c\", \"exec sleep 100000\"]\n";

/// Both, of the same death.
pub(super) fn measure(setting: &Setting<'_>, report: &mut Report) -> Result<()> {
    let computer = setting.serving()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("decided.toml");
    std::fs::write(&file, UNIT)?;
    let file = file.to_str().context("name the unit's file")?;
    computer.ferrite(&["unit", "submit", file])?;
    let first = leader_of(computer)?.context("a leader")?;
    let survivor = NODES.into_iter().find(|node| *node != first).context("a follower")?;
    // Only what is said from now on.
    let words = ["unit", "logs", "-f", "-n", "0", "+etcd", "--machine", survivor];
    let etcd = Listening::to(computer, &words)?;
    let begun = Instant::now();
    computer.ferrite(&["cluster", "kill", &first])?;
    let waits = std::thread::scope(|scope| {
        let elected = scope
            .spawn(move || etcd.wait_for(|line| ELECTED.iter().any(|said| line.contains(said))));
        // As somebody would who does not know that anything happened.
        until(|| Ok(computer.run(&["unit", "start", "decided", "--no-wait"])?.status.success()))?;
        until(|| placed(&computer.run(&["unit", "list", "-o", "json"])?.stdout, &first))?;
        let decided = begun.elapsed().as_secs_f64();
        let elected = elected.join().map_err(|_panicked| anyhow::anyhow!("nobody listens"))?;
        anyhow::Ok((decided, elected))
    });
    let (decided, elected) = waits?;
    let name = "leader killed → a unit has its machine, emulated";
    match elected {
        Ok(elected) => {
            let elected = elected.saturating_duration_since(begun).as_secs_f64();
            report.against(name, (decided, "s"), ("etcd has a leader", elected), RATIO_MAX);
        }
        Err(error) => {
            report.figure(name, decided, "s");
            report.missing(&format!("etcd's own recovery: {error:#}"));
        }
    }
    computer.ferrite(&["cluster", "up", CLUSTER])?;
    until(|| Ok(computer.run(&["etcd", "status"])?.status.success()))?;
    computer.ferrite(&["unit", "destroy", "decided"])?;
    Ok(())
}

/// The unit has a machine that is there.
fn placed(listed: &[u8], dead: &str) -> Result<bool> {
    // While nobody can be asked there is no list.
    let Ok(all) = serde_json::from_slice::<Value>(listed) else { return Ok(false) };
    let units = all.as_array().into_iter().flatten().filter(|unit| unit["name"] == "decided");
    let instances = units.filter_map(|unit| unit["instances"].as_array()).flatten();
    let mut machines = instances.filter_map(|one| one["machine_name"].as_str());
    Ok(machines.any(|machine| machine != dead))
}
