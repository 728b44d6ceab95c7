//! Hangs, each of which must end in a reset.

use anyhow::{Context, Result};
use ferrite_tests::images::Kind;
use ferrite_tests::node::{BOOT, Node, PID1, READY};

/// What the kernel's own watchdog says last.
const RESET: &str = "softdog: Initiating system reboot";

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
    node.disk_moves(Some(1), None)?;
    node.wait_for(RESET, BOOT).context("stage 1 hangs at the disk")?;
    // The firmware reads it too.
    node.disk_moves(None, None)?;
    node.wait_for(PID1, BOOT).context("the machine is reset")?;
    node.wait_for(READY, BOOT)?;
    node.probe(&["freeze-init"])?;
    node.wait_for(PID1, BOOT).context("stage 2 hangs, and the machine is reset")?;
    node.wait_for(READY, BOOT)?;
    Ok(())
}
