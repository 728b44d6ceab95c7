//! The runtime front end, called in a privileged unit as podman and containerd would call it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::Node;
use ferrite_tests::programs::{program, succeed};
use rustix::io::Errno;
use serde_json::{Value, json};

/// Longest that all steps may take on a busy machine.
const STEPS: &str = "300s";

/// What the unit does. Each step says one line: its name, its exit status, and all that it wrote.
const SCRIPT: &str = r#"
# To a file: containers keep the runtime's output open.
step() { name=$1; shift; "$@" > /run/said 2>&1; echo "$name: $?: $(cat /run/said)" | tr '\n' ' '; echo; }
oci() { /opt/ferrite-oci "$@"; }
left() { ls -A /run/ferrite-oci/.specifications /sys/fs/cgroup/ferrite-oci | grep -v '[.:/]'; ls /run/ferrite-oci; }
mounts() { wc -l < /proc/self/mountinfo; }
memory() { cat /sys/fs/cgroup/ferrite-oci/held/memory.max; }
gone() { while kill -0 "$1" 2>/dev/null; do usleep 10000; done; }
# A cgroup with processes of its own may not share its controllers.
mkdir /sys/fs/cgroup/own && echo $$ > /sys/fs/cgroup/own/cgroup.procs
echo garbage > /bin/garbage && chmod +x /bin/garbage
mkdir -p /run /rootfs/bin /rootfs/tmp /rootfs/proc /rootfs/dev /rootfs/sys
cp /bin/busybox /bin/ferrite-probe /bin/garbage /rootfs/bin && ln -s /proc/self/exe /rootfs/bin/again
step mounts-before mounts

step run oci run --bundle /opt/says one
step no-such-bundle oci run --bundle /opt/nothing two
step no-such-option oci run --fast three
step no-such-container oci start four

step create oci create --bundle /opt/waits --pid-file /run/pid held < /dev/null
step created oci state held
step twice oci create --bundle /opt/waits held
step start oci start held
step filtered oci exec held /bin/busybox grep Seccomp: /proc/self/status
step limited oci exec held /bin/busybox sh -c 'ulimit -n'
step homeless oci exec --env HOME= held /bin/busybox sh -c 'echo $HOME'
step exec oci exec --env WORD=inside held /bin/busybox sh -c 'echo $WORD; exit 9'
step update oci update --memory 33554432 held
step memory memory
step delete-running oci delete held
step kill oci kill held KILL
step gone gone "$(cat /run/pid)"
step stopped oci state held
step delete oci delete held

oci create --bundle /opt/hunts --pid-file /run/pid hunter > /run/hunt 2>&1 < /dev/null
oci start hunter
until [ -e /rootfs/tmp/seen ]; do oci exec hunter /bin/again features > /dev/null 2>&1; done
touch /rootfs/tmp/enough
gone "$(cat /run/pid)"
step hunt cat /run/hunt
step hunted oci delete hunter
# The runtime is the container's own program.
step itself oci run --bundle /opt/itself itself
step not-executable oci run --bundle /opt/garbage garbage
step hidden-name oci create --bundle /opt/waits .held
step private ls -ld /run/ferrite-oci/.specifications

step left left
step mounts-after mounts
"#;

#[test]
fn the_runtime_front_end_makes_containers_and_is_not_overwritten() -> Result<()> {
    let mut node = Node::new("oci", Kind::Product)?;
    node.boot()?;
    let archive = image(&node.machine.directory)?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "runtime"])?;
    let unit = "name = \"runtime\"\nimage = \"runtime\"\ncommand = [\"/bin/sh\", \"/opt/steps\"]\n\
                restart = \"never\"\nprivileged = true\nnetwork = \"none\"\n";
    fs::write(node.machine.directory.join("runtime.toml"), unit)?;
    let started =
        node.ferrite(&["unit", "start", "runtime.toml", "--until", "ended", "--timeout", STEPS]);
    let log = node.ferrite(&["unit", "logs", "runtime"])?;
    started.context(log.clone())?;
    let said: HashMap<&str, (&str, &str)> = log
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(": ")?;
            let (status, text) = rest.split_once(": ")?;
            Some((name, (status, text.trim())))
        })
        .collect();
    let step = |name: &str| said.get(name).copied().with_context(|| format!("{name} in:\n{log}"));

    assert_eq!(step("run")?, ("7", "/ of one"), "{log}");
    for (name, parts) in [
        ("no-such-bundle", &["/opt/nothing", "No such file"][..]),
        ("no-such-option", &["--fast"]),
        ("no-such-container", &["container four", "does not exist"]),
        ("twice", &["held"]),
        ("delete-running", &["held"]),
        ("hidden-name", &["ID", ".held"]),
    ] {
        let (status, text) = step(name)?;
        assert_eq!(status, "1", "{name} in:\n{log}");
        assert!(parts.iter().all(|part| text.contains(part)), "{name} in:\n{log}");
    }
    for name in ["create", "start", "update", "kill", "gone", "delete", "hunted"] {
        assert_eq!(step(name)?.0, "0", "{name} in:\n{log}");
    }
    for (name, status) in [("created", "created"), ("stopped", "stopped")] {
        let state: Value = serde_json::from_str(step(name)?.1)?;
        assert_eq!(state["status"], status, "{state}");
        assert_eq!(state["bundle"], "/opt/waits", "{state}");
    }
    assert_eq!(step("exec")?, ("9", "inside"), "{log}");
    // A filter (`SECCOMP_MODE_FILTER`), the limits and the home of the container.
    assert_eq!(step("filtered")?, ("0", "Seccomp:\t2"), "{log}");
    assert_eq!(step("limited")?, ("0", "1024"), "{log}");
    assert_eq!(step("homeless")?, ("0", "/"), "{log}");
    assert_eq!(step("itself")?.0, "0", "{log}");
    assert!(step("itself")?.1.contains("ociVersionMax"), "{log}");
    let (status, text) = step("not-executable")?;
    assert!(status == "255" && text.contains("not started"), "{log}");
    assert!(step("private")?.1.starts_with("drwx------"), "{log}");
    assert_eq!(step("memory")?, ("0", "33554432"), "{log}");
    assert_eq!(step("left")?.1, "", "{log}");
    assert_eq!(step("mounts-before")?, step("mounts-after")?);

    let hunt: Value = serde_json::from_str(step("hunt")?.1)?;
    let programs = hunt["programs"].as_object().context("programs")?;
    let ours = programs.iter().filter(|(name, _)| name.ends_with("ferrite-oci") || *name == "/");
    let errors: Vec<i64> = ours
        .flat_map(|(_, outcomes)| outcomes.as_array().into_iter().flatten())
        .filter_map(Value::as_i64)
        .collect();
    let refused = errors.contains(&i64::from(Errno::ROFS.raw_os_error()));
    assert!(refused && !errors.contains(&0), "it could be written, or was not seen: {hunt}");
    Ok(())
}

/// Busybox, the probe, the runtime, the script and bundles of one root.
fn image(directory: &Path) -> Result<PathBuf> {
    let folder = directory.join("runtime");
    let opt = folder.join("opt");
    fs::create_dir_all(&opt)?;
    fs::copy(program("ferrite-oci")?, opt.join("ferrite-oci"))?;
    fs::write(opt.join("steps"), SCRIPT)?;
    let says = ["/bin/busybox", "sh", "-c", "echo $HOME of $HOSTNAME; exit 7"];
    let hunts = ["/bin/ferrite-probe", "hunt", "/tmp/enough", "ferrite-oci", "/tmp/seen"];
    for (name, words) in [
        ("says", &says[..]),
        ("waits", &["/bin/busybox", "sleep", "100000"]),
        ("hunts", &hunts),
        ("itself", &["/bin/again", "features"]),
        ("garbage", &["/bin/garbage"]),
    ] {
        let bundle = opt.join(name);
        fs::create_dir_all(&bundle)?;
        succeed(Command::new(program("ferrite-oci")?).args(["spec", "--bundle"]).arg(&bundle))?;
        let file = bundle.join("config.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(&file)?)?;
        spec["process"]["args"] = json!(words);
        spec["process"]["env"] = json!(["PATH=/bin", "HOSTNAME=one"]);
        spec["process"]["terminal"] = json!(false);
        spec["process"]["rlimits"] =
            json!([{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024 }]);
        spec["root"] = json!({ "path": "/rootfs", "readonly": false });
        fs::write(&file, serde_json::to_vec(&spec)?)?;
    }
    let archive = folder.join("archive.tar");
    demo::extended(&demo::busybox_with_probe()?, &[(&opt, "/opt")], &archive)?;
    Ok(archive)
}
