//! Pulling from Debian's registry on the host's loopback: ours beside podman, each in an emulated guest.

use std::time::Instant;

use anyhow::{Context, Result};
use ferrite_tests::registry::{HOST, Registry};

use super::guest::{self, Node};
use super::setting::Setting;
use crate::report::{Report, median};

/// A pull takes seconds in an emulated guest: a few are enough.
const RUNS_MAX: usize = 5;
/// Ours is to be no slower.
const TARGET: f64 = 1.0;

/// Adds the row.
pub(crate) fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let folder = setting.scratch().join("pull");
    std::fs::create_dir_all(&folder)?;
    let registry = Registry::open()?;
    registry.push(&setting.large, "bench/large:1")?;
    let name = format!("{HOST}:{}/bench/large:1", registry.port);
    let settings = format!("\n[registries.\"{HOST}:{}\"]\nplain_http = true\n", registry.port);
    let runs = setting.runs.min(RUNS_MAX);
    let node = Node::boot(setting, &folder.join("node"), &settings)?;
    let mut ours = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        node.ferrite(&["pull", &name])?;
        ours.push(start.elapsed().as_secs_f64());
        node.ferrite(&["images", "remove", &name])?;
    }
    drop(node);
    let ours = median(ours)?;
    let Some(debian) = &setting.debian else {
        report.missing("podman pull: there is no Debian to compare with");
        report.figure("pull, in a guest", ours, "s");
        return Ok(());
    };
    let script = format!(
        "for run in $(seq {runs}); do\ntimed pull podman pull -q --tls-verify=false {name}\n\
         podman rmi -f {name} >/dev/null\ndone\n"
    );
    let mut times = guest::in_debian(debian, &folder.join("debian"), &[], &script)?;
    let podman = median(times.remove("pull").context("hear podman")?)?;
    report.against("pull, in a guest", (ours, "s"), ("podman pull", podman), TARGET);
    Ok(())
}
