//! From "start" to "running" with the image present: ours beside podman with crun, each in an emulated guest.

use std::time::Duration;

use anyhow::{Context, Result};
use ferrite_schema::api::Event;

use super::guest::{self, Node};
use super::setting::Setting;
use crate::report::{Report, median};

/// Ours against podman.
const TARGET: f64 = 0.25;
const SHIM_TARGET_MIB: f64 = 1.0;

/// Adds the rows.
pub(crate) fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let folder = setting.scratch().join("start");
    let mut node = Node::boot(setting, &folder.join("node"), "")?;
    node.ferrite(&["import", &setting.busybox.display().to_string(), "--name", "busybox"])?;
    let unit = "name = \"bench\"\nimage = \"busybox\"\ncommand = [\"/bin/sleep\", \"1000000\"]\nstop_grace_s = 1\n";
    std::fs::write(node.directory().join("bench.toml"), unit)?;
    for _ in 0..setting.runs {
        node.ferrite(&["unit", "start", "bench.toml"])?;
        node.ferrite(&["unit", "destroy", "bench"])?;
    }
    let text = node.ferrite(&["events", "--unit", "bench", "-o", "json"])?;
    node.ferrite(&["unit", "start", "bench.toml"])?;
    let shim = node.processes()?.pss_mib(|process| process["name"] == "ferrite-shim")?;
    report.target("shim of the only container, PSS", shim, "MiB", SHIM_TARGET_MIB);
    drop(node);
    // The first one on a node waits for modules of the kernel, on both sides.
    let ours = median(starts(&text)?.split_off(1))? * 1e3;
    let Some(debian) = &setting.debian else {
        report.missing("podman run: there is no Debian to compare with");
        report.figure("unit start to running, in a guest", ours, "ms");
        return Ok(());
    };
    let script = format!(
        "podman load -q -i /{}\nimage=$(podman images -q | head -n 1)\n\
         for run in $(seq 0 {}); do\n\
         timed \"run$((run > 0))\" podman run -d --name bench $image /bin/sleep 1000000\n\
         podman rm -f -t 0 bench >/dev/null\ndone\n",
        setting.busybox.file_name().unwrap_or_default().to_string_lossy(),
        setting.runs
    );
    let mut times = guest::in_debian(debian, &folder.join("debian"), &[&setting.busybox], &script)?;
    let podman = median(times.remove("run1").context("hear podman")?)? * 1e3;
    let row = "unit start to running, in a guest";
    report.against(row, (ours, "ms"), ("podman run, crun", podman), TARGET);
    Ok(())
}

/// Seconds from each `starting` to the `running` after it.
fn starts(events: &str) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    let mut began = None;
    for line in events.lines() {
        let event: Event = serde_json::from_str(line).context("understand an event")?;
        let time = Duration::from_micros(event.time_us);
        match event.message.as_str() {
            "starting" => began = Some(time),
            "running" => {
                let lasted = began.take().map(|began| time.saturating_sub(began).as_secs_f64());
                times.extend(lasted);
            }
            _ => {}
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::starts;

    #[test]
    fn a_start_lasts_from_starting_to_running() {
        let line = |time_us: u64, message: &str| {
            let event =
                serde_json::json!({ "time_us": time_us, "kind": "state", "message": message });
            event.to_string()
        };
        let text = [line(1_000_000, "starting"), line(1_250_000, "running"), line(9, "stopping")];
        assert_eq!(starts(&text.join("\n")).unwrap(), [0.25]);
    }
}
