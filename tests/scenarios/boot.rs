//! The same disk boots everywhere, and what it runs arrives.

use std::process::Command;

use anyhow::Result;
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::Node;
use ferrite_tests::programs::{checkout, program, succeed};
use ferrite_vm::machine::Boot;

fn ready(name: &str, boot: Option<Boot>) -> Result<()> {
    let mut node = Node::new(name, Kind::Product)?;
    if let Some(boot) = boot {
        node.machine.boot = boot;
    }
    node.boot()?;
    let machine = node.ask(&["machine", "status"])?;
    assert_eq!(machine["slot"], "A");
    assert_eq!(machine["ready"], true);
    Ok(())
}

#[test]
fn a_fresh_disk_boots_directly() -> Result<()> {
    ready("boot-direct", None)
}

#[test]
fn a_fresh_disk_boots_under_bios() -> Result<()> {
    ready("boot-bios", Some(Boot::Bios))
}

#[test]
fn a_fresh_disk_boots_under_uefi() -> Result<()> {
    ready("boot-uefi", Some(Boot::Uefi))
}

#[test]
fn a_container_runs_and_its_output_and_exit_status_arrive() -> Result<()> {
    let mut node = Node::new("first-container", Kind::Product)?;
    node.boot()?;
    let archive = demo::busybox()?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "busybox"])?;
    let unit = r#"
name = "first"
image = "busybox"
command = ["/bin/sh", "-c", "echo to stdout; echo to stderr >&2; exit 7"]
restart = "never"
"#;
    std::fs::write(node.machine.directory.join("first.toml"), unit)?;
    node.ferrite_output(&["unit", "start", "first.toml", "--until", "ended"])?;
    let status = node.ask(&["unit", "status", "first"])?;
    assert_eq!(status["last_exit"]["code"], 7, "{status}");
    let output = node.ferrite_output(&["unit", "logs", "first"])?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "to stdout\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "to stderr\n");
    Ok(())
}

#[test]
fn a_node_is_configured_by_its_oem_partition() -> Result<()> {
    let mut node = Node::new("oem", Kind::Product)?;
    let directory = node.machine.directory.clone();
    let out = directory.join("image");
    let mut build = Command::new(program("ferrite")?);
    build.current_dir(checkout()).args(["image", "build", "--cloud-config"]);
    succeed(build.arg(directory.join("cloud-config")).arg("--out").arg(&out))?;
    std::fs::rename(out.join("disk.raw"), node.disk())?;
    node.machine.fw_cfg.clear();
    node.machine.boot = Boot::Bios;
    node.boot()?;
    assert_eq!(node.ask(&["machine", "status"])?["hostname"], "node");
    Ok(())
}
