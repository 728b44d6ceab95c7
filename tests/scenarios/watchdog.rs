//! Hangs, each of which must end in a reset.

use anyhow::{Context, Result};
use ferrite_tests::images::Kind;
use ferrite_tests::node::{BOOT, Node, PID1, READY};
use serde_json::json;

/// What the kernel's own watchdog says last.
const RESET: &str = "softdog: Initiating system reboot";

/// Has the disk take a byte a second from now on, or all that it can.
fn throttle(node: &mut Node, bytes_per_second: u64) -> Result<()> {
    let limits = json!({
        "device": "disk0", "bps": bytes_per_second, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0
    });
    node.running()?.qmp().execute("block_set_io_throttle", &limits)?;
    Ok(())
}

#[test]
fn without_hardware_the_kernel_watches_both_stages() -> Result<()> {
    ends_in_a_reset("watchdog-software", Kind::Probed)
}

#[test]
fn without_hardware_the_kernels_watchdog_is_a_module_that_is_loaded() -> Result<()> {
    ends_in_a_reset("watchdog-module", Kind::Debian)
}

fn ends_in_a_reset(name: &str, kind: Kind) -> Result<()> {
    let mut node = Node::new(name, kind)?;
    node.machine.watchdog = false;
    node.power_on()?;
    // What follows is the driver of the disk, which reads the partition table.
    node.wait_for("the kernel's own watchdog (watchdog0) armed", BOOT)?;
    throttle(&mut node, 1)?;
    node.wait_for(RESET, BOOT).context("stage 1 hangs at the disk")?;
    // The firmware reads it too.
    throttle(&mut node, 0)?;
    node.wait_for(PID1, BOOT).context("the machine is reset")?;
    node.wait_for(READY, BOOT)?;
    node.probe(&["freeze-init"])?;
    node.wait_for(PID1, BOOT).context("stage 2 hangs, and the machine is reset")?;
    node.wait_for(READY, BOOT)?;
    Ok(())
}
