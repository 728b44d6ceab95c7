//! What goes through the cluster's network.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;

use super::Setting;
use super::asking::{answering, until};
use crate::report::Report;

/// Bytes that go from one machine's unit to another's.
const SENT_BYTES: u32 = 20_000_000;

/// By WireGuard, and by plain routes in another cluster, which is there only as long.
pub(super) fn measure(setting: &Setting<'_>, report: &mut Report) -> Result<()> {
    let wireguard = sent_s(setting.serving()?)?;
    let rate = f64::from(SENT_BYTES) / 1e6 / wireguard;
    report.figure("mesh, WireGuard: one way, emulated", rate, "MB/s");
    setting.leave();
    let routes = plain_s(setting)?;
    let name = "mesh: 20 MB one way, emulated";
    report.beside(name, (wireguard, "s"), ("plain routes", routes));
    Ok(())
}

fn plain_s(setting: &Setting<'_>) -> Result<f64> {
    let computer = Computer::new("bench-routes", "plain")?;
    let image = setting.image()?;
    let words =
        ["cluster", "up", "plain", "--nodes", "3", "--transport", "routes", "--image", image];
    computer.ferrite(&words)?;
    setting.serve(&computer)?;
    until(|| Ok(answering(&computer)?.len() == 3))?;
    sent_s(&computer)
}

/// How long they take.
fn sent_s(computer: &Computer) -> Result<f64> {
    let address = computer.ask(&["service", "resolve", "web"])?;
    let web = address.as_array().into_iter().flatten().find(|one| one["instance"] == "web@2");
    let address =
        web.and_then(|one| one.get("addresses")?.get(0)?.as_str()).context("an address")?;
    let listen =
        format!("exec nc -l -p 9000 -e /bin/sh -c 'head -c {SENT_BYTES} /dev/zero' </dev/null");
    let mut listens =
        computer.command(&["unit", "exec", "web@2", "--", "/bin/sh", "-c", &listen])?;
    let mut listens = listens.stdout(Stdio::piped()).spawn()?;
    let is_there = "while ! grep -q ':2328 .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done";
    computer.ferrite(&["unit", "exec", "web@2", "--", "/bin/sh", "-c", is_there])?;
    let take = format!("nc -w 60 {address} 9000 </dev/null | wc -c");
    let begun = Instant::now();
    let taken = computer.ferrite(&["unit", "exec", "web@1", "--", "/bin/sh", "-c", &take])?;
    let seconds = begun.elapsed().as_secs_f64();
    listens.wait()?;
    ensure!(taken.trim() == SENT_BYTES.to_string(), "{taken} bytes came");
    Ok(seconds)
}
