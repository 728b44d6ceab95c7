//! From "start" to "running" with the image present.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use ferrite_ctl::context::{Context as ApiContext, Store};
use ferrite_schema::api::Event;
use ferrite_schema::names;
use ferrite_vm::host::Host;
use ferrite_vm::machine::Timing;
use ferrite_vm::running::Running;

use super::Setting;
use super::setting::succeed;
use crate::machine::{node_with_client, tsc};
use crate::report::{Report, median};

/// Adds the rows.
pub(crate) fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let host = Host::probe()?;
    let directory = setting.scratch().join("start");
    std::fs::create_dir_all(&directory)?;
    let (machine, client) =
        node_with_client(&host, &setting.probed_image, &directory, Timing::Real)?;
    let mut running = Running::start(&machine, &host)?;
    tsc(&mut running.console()?, "ferrite-init: ready")?;
    let port = running.forwarded_port(names::API_PORT)?;
    Store::at(directory.join("ferrite"))
        .save(&ApiContext { endpoint: format!("https://127.0.0.1:{port}"), ..client })?;
    let ferrite = |words: &[&str]| {
        let mut command = Command::new(setting.ours("ferrite"));
        command.env("XDG_CONFIG_HOME", &directory).env("FERRITE_CONTEXT", "bench");
        succeed(command.args(words).current_dir(&directory))
    };
    ferrite(&["import", &setting.busybox.display().to_string(), "--name", "busybox"])?;
    let unit = "name = \"bench\"\nimage = \"busybox\"\ncommand = [\"/bin/sleep\", \"1000000\"]\nstop_grace_s = 1\n";
    std::fs::write(directory.join("bench.toml"), unit)?;
    for _ in 0..setting.runs {
        ferrite(&["unit", "start", "bench.toml"])?;
        ferrite(&["unit", "destroy", "bench"])?;
    }
    let text = ferrite(&["events", "--unit", "bench", "-o", "json"])?;
    let times = starts(&text)?;
    if Setting::theirs("podman").is_none() {
        report.missing("podman run: there is no podman on this computer");
    }
    report.figure("unit start to running, in an emulated guest", median(times)? * 1e3, "ms");
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
