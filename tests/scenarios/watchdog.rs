//! Hangs, each of which must end in a reset.

use anyhow::{Context, Result};
use ferrite_tests::images::Kind;
use ferrite_tests::node::{BOOT, Node, PID1, READY};
use serde_json::json;

/// A disk that answers its first question and then takes its time, from the first boot on.
const HANGING_DISK: [&str; 2] = ["-set", "drive.disk0.throttling.bps-total=1"];

#[test]
fn without_hardware_the_kernel_watches_both_stages() -> Result<()> {
    let mut node = Node::new("watchdog-software", Kind::Probed)?;
    node.machine.watchdog = false;
    node.machine.extra_arguments = HANGING_DISK.map(str::to_owned).to_vec();
    node.power_on()?;
    node.wait_for("the kernel's own watchdog (watchdog0) armed", BOOT)?;
    node.wait_for(PID1, BOOT).context("stage 1 hangs at the disk, and the machine is reset")?;
    let free = json!({
        "device": "disk0", "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0
    });
    node.running()?.qmp().execute("block_set_io_throttle", &free)?;
    node.wait_for(READY, BOOT)?;
    node.probe(&["freeze-init"])?;
    node.wait_for(PID1, BOOT).context("stage 2 hangs, and the machine is reset")?;
    node.wait_for(READY, BOOT)?;
    Ok(())
}
