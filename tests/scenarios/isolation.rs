//! What a container is kept from, as its own program sees it, and what its bounds do to it and spare the others.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::{Node, SOON};
use ferrite_tests::programs::said;
use ferrite_tests::units;
use serde_json::{Value, json};

const EPERM: i64 = 1;
const ENOENT: i64 = 2;
const EACCES: i64 = 13;
const EROFS: i64 = 30;
const ENOSYS: i64 = 38;
/// There where the kernel runs programs of 32 bits.
const OF_32_BITS: &str = "/proc/sys/abi/vsyscall32";

/// A unit that looks around and ends.
const LOOK: &str = r#"command = ["/bin/ferrite-probe", "confinement"]
restart = "never"
network = "none"
"#;

fn import(node: &Node) -> Result<()> {
    let archive = demo::busybox_with_probe()?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "busybox"]).map(drop)
}

fn submit(node: &Node, name: &str, image: &str, more: &str) -> Result<String> {
    let file = format!("{name}.toml");
    let text = format!("name = \"{name}\"\nimage = \"{image}\"\n{more}");
    fs::write(node.machine.directory.join(&file), text)?;
    Ok(file)
}

/// Starts a unit that ends by itself, and returns its status.
fn run(node: &Node, name: &str, image: &str, more: &str) -> Result<Value> {
    let file = submit(node, name, image, more)?;
    node.ferrite_output(&["unit", "start", &file, "--until", "ended"])?;
    node.ask(&["unit", "status", name])
}

/// Runs a unit that answers one line of JSON.
fn answer(node: &Node, name: &str, more: &str) -> Result<Value> {
    let status = run(node, name, "busybox", more)?;
    let log = node.ferrite(&["unit", "logs", name])?;
    serde_json::from_str(log.trim()).with_context(|| format!("{status}\n{log}"))
}

/// Asserts that a unit could not be started, and that the reason names what is wrong.
fn assert_refused(node: &Node, name: &str, image: &str, more: &str, why: &str) -> Result<()> {
    let more =
        format!("command = [\"/bin/true\"]\nrestart = \"never\"\nnetwork = \"none\"\n{more}");
    let file = submit(node, name, image, &more)?;
    let output = node.ferrite_output(&["unit", "start", &file, "--until", "ended"])?;
    assert!(!output.status.success(), "{name} was started");
    // A document that can never be right is not even taken.
    let reason = match node.ask(&["unit", "status", name]) {
        Ok(status) if status["state"] == "failed" => status["reason"].to_string(),
        Ok(status) => status.to_string(),
        Err(_) => said(&output),
    };
    assert!(reason.contains(why), "{name}: {reason}");
    Ok(())
}

#[test]
fn a_container_sees_only_what_is_its_own() -> Result<()> {
    only_its_own("isolation", Kind::Probed).map(drop)
}

/// Debian's kernel has entries for programs of 32 bits, which the one of `slim` lacks.
#[test]
fn a_container_sees_only_what_is_its_own_on_debians_kernel() -> Result<()> {
    let seen = only_its_own("isolation-debian", Kind::Debian)?;
    assert!(seen, "the kernel has lost what this is about");
    Ok(())
}

/// What a node's kernel was built with.
struct Kernel {
    takes_32_bits: bool,
    /// Names in `/proc`.
    proc: Value,
}

impl Kernel {
    /// Whether it has a file; those that are not at the top of `/proc` every kernel has.
    fn has(&self, path: &str) -> bool {
        let name = path.strip_prefix("/proc/").filter(|name| !name.contains('/'));
        let names = self.proc.as_array();
        name.is_none_or(|name| names.is_some_and(|names| names.contains(&json!(name))))
    }
}

/// Where a container's range of user and group IDs begins on the node.
fn range_of(identity: &Value) -> Result<u32> {
    let range = words(&identity["uid_map"][0]);
    let [inside, first, count] = &range[..] else { anyhow::bail!("no range: {identity}") };
    assert_eq!((inside.as_str(), count.as_str()), ("0", "65536"), "{identity}");
    assert_eq!(words(&identity["gid_map"][0]), range, "{identity}");
    let first: u32 = first.parse()?;
    assert!(first >= 1 << 20 && first.is_multiple_of(1 << 16), "{identity}");
    Ok(first)
}

/// Says whether that kernel runs programs of 32 bits.
fn only_its_own(name: &str, kind: Kind) -> Result<bool> {
    let mut node = Node::new(name, kind)?;
    node.boot()?;
    let takes_32_bits = !node.is_absent(OF_32_BITS)?;
    let proc = node.probe(&["list", "/proc"])?;
    let kernel = Kernel { takes_32_bits, proc };
    import(&node)?;
    let host = node.probe(&["identity"])?;
    let more = format!(
        "{LOOK}hostname = \"inner\"\nenv = {{ COLOUR = \"blue\" }}\nulimits = {{ nofile = {{ soft = 100, hard = 200 }} }}\n\
         sysctls = {{ \"kernel.shmmax\" = \"123456\" }}\n\
         volumes = [{{ name = \"data\", target = \"/data\" }}, {{ tmpfs = \"1MiB\", target = \"/scratch\" }}]\n\
         [resources]\ncpus = 0.5\ncpu_weight = 50\nmemory = \"64MiB\"\nmemory_high = \"48MiB\"\nmemory_min = \"8MiB\"\npids_max = 50\nio_write_per_s = \"10MiB\"\nio_weight = 30\n"
    );
    let found = answer(&node, "plain", &more)?;
    let identity = &found["identity"];
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        assert_ne!(identity["namespaces"][kind], host["namespaces"][kind], "{kind}: {identity}");
    }
    let range = range_of(identity)?;
    assert_privileges(identity);
    assert_surroundings(identity, &kernel);
    assert_attempts(&found, &kernel);
    for (path, owner) in [("/", 0), ("/bin/busybox", 0), ("/data", 0)] {
        assert_eq!(found["owners"][path], json!([owner, owner]), "{path}: {}", found["owners"]);
    }
    assert_eq!(found["limits"]["Max open files"], json!(["100", "200"]));
    assert_eq!(found["limits"]["Max core file size"], json!(["0", "0"]));
    let bounds = &found["bounds"];
    for (file, value) in [
        ("cpu.max", "50000 100000"),
        ("cpu.weight", "50"),
        ("memory.max", "67108864"),
        ("memory.high", "50331648"),
        ("memory.min", "8388608"),
        ("memory.swap.max", "0"),
        ("pids.max", "50"),
    ] {
        assert_eq!(bounds[file], value, "{file}: {bounds}");
    }
    assert!(
        bounds["io.max"].as_str().is_some_and(|text| text.contains("wbps=10485760")),
        "{bounds}"
    );
    assert_eq!(bounds["io.weight"], "default 30", "{bounds}");

    let more = format!(
        "{LOOK}user = \"1000:1001\"\nread_only_root = true\ncapabilities = {{ drop = [\"ALL\"] }}\n"
    );
    let found = answer(&node, "nobody", &more)?;
    let identity = &found["identity"];
    assert_eq!((&identity["uid"], &identity["gid"]), (&json!(1000), &json!(1001)), "{identity}");
    assert_ne!(range_of(identity)?, range, "a range of its own");
    assert_eq!(identity["capabilities"]["CapBnd"], json!([]), "{identity}");
    assert_eq!(found["attempts"]["make a folder"], EROFS, "{}", found["attempts"]);
    Ok(takes_32_bits)
}

fn words(value: &Value) -> Vec<String> {
    value.as_str().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn assert_privileges(identity: &Value) {
    let default = json!([
        "chown",
        "dac_override",
        "fowner",
        "fsetid",
        "kill",
        "setgid",
        "setuid",
        "setpcap",
        "net_bind_service",
        "net_raw",
        "sys_chroot",
        "audit_write",
        "setfcap"
    ]);
    for (set, expected) in [
        ("CapEff", &default),
        ("CapPrm", &default),
        ("CapBnd", &default),
        ("CapInh", &json!([])),
        ("CapAmb", &json!([])),
    ] {
        assert_eq!(&identity["capabilities"][set], expected, "{set}");
    }
    assert_eq!(identity["no_new_privileges"], true, "{identity}");
    assert_eq!(identity["seccomp"], 2, "{identity}");
    assert_eq!(identity["oom_score_adj"], 0, "{identity}");
}

fn assert_surroundings(identity: &Value, kernel: &Kernel) {
    assert_eq!(identity["hostname"], "inner");
    assert_eq!(identity["directory"], "/");
    let environment = json!({ "COLOUR": "blue", "HOME": "/", "HOSTNAME": "inner", "PATH": "/bin" });
    assert_eq!(identity["environment"], environment);
    let files = identity["open_files"].as_object().map(|files| files.keys().cloned().collect());
    assert_eq!(files, Some(vec!["0".to_owned(), "1".to_owned(), "2".to_owned()]), "{identity}");
    assert_eq!(identity["interfaces"], json!(["lo"]), "{identity}");
    let devices = [
        "fd", "full", "kcore", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    ];
    // A link, where there is something to lead to.
    let made = |device: &&str| *device != "kcore" || kernel.has("/proc/kcore");
    let devices: Vec<_> = devices.into_iter().filter(made).collect();
    assert_eq!(identity["devices"], json!(devices), "{identity}");
    let none = Vec::new();
    let mounts = identity["mounts"].as_array().unwrap_or(&none);
    let mount = |target: &str| mounts.iter().find(|mount| mount["target"] == target).cloned();
    for (target, kind, option) in [
        ("/", "overlay", "nodev"),
        ("/proc", "proc", "nosuid"),
        ("/sys", "sysfs", "ro"),
        ("/sys/fs/cgroup", "cgroup2", "ro"),
        ("/dev/shm", "tmpfs", "noexec"),
        ("/data", "ext4", "nodev"),
        ("/scratch", "tmpfs", "nosuid"),
    ] {
        let found = mount(target).unwrap_or_default();
        let options = found["options"].as_array().unwrap_or(&none);
        assert!(found["kind"] == kind && options.contains(&json!(option)), "{target}: {found}");
    }
    assert!(mount("/data").is_some_and(|data| data["options"][0] == "rw"), "{identity}");
    assert!(
        !mounts.iter().any(|mount| mount["target"].as_str().is_some_and(|t| t.starts_with("/var")))
    );
}

fn assert_attempts(found: &Value, kernel: &Kernel) {
    for (call, errno) in found["calls"].as_object().into_iter().flatten() {
        let absent = call == "clone3"
            || call.starts_with("call ")
            || call.starts_with("32-bit") && !kernel.takes_32_bits;
        let expected = if absent || call == "32-bit socketcall" { ENOSYS } else { EPERM };
        assert_eq!(errno, &json!(expected), "{call}: {}", found["calls"]);
    }
    assert_eq!(found["calls"].as_object().map(serde_json::Map::len), Some(21));
    for (attempt, expected) in [
        ("mknod in /", EPERM),
        ("mknod in /dev", EPERM),
        ("mknod in /dev/shm", EPERM),
        ("make a cgroup", EROFS),
        ("make a folder", 0),
        // Files of the node's root, on read-only mounts: the owner is looked at first.
        ("write /proc/sys/kernel/hostname", EACCES),
        ("write /proc/sysrq-trigger", EACCES),
        ("write /sys/fs/cgroup/pids.max", EACCES),
        ("write /sys/fs/cgroup/cgroup.procs", EACCES),
    ] {
        let there = attempt.strip_prefix("write ").is_none_or(|path| kernel.has(path));
        let expected = if there { expected } else { ENOENT };
        assert_eq!(found["attempts"][attempt], expected, "{attempt}: {}", found["attempts"]);
    }
    for path in ["/proc/kcore", "/proc/kallsyms", "/proc/interrupts", "/proc/modules"] {
        let cover = if kernel.has(path) { "device 1:3" } else { "absent" };
        assert_eq!(found["covered"][path], cover, "{path}: {}", found["covered"]);
    }
    assert_eq!(found["covered"]["/sys/firmware"], "0 entries", "{}", found["covered"]);
}

#[test]
fn exceptions_are_loud_and_what_cannot_be_is_refused() -> Result<()> {
    let mut node = Node::new("isolation-exceptions", Kind::Probed)?;
    node.boot()?;
    import(&node)?;
    let open = |path: &str| {
        format!(
            "command = [\"/bin/ferrite-probe\", \"open\", \"{path}\"]\nrestart = \"never\"\nnetwork = \"none\"\n"
        )
    };
    // Root of the node, a node of the disk, and yet the disk stays closed.
    let shared =
        "host_user_namespace = \"a test\"\nvolumes = [{ host = \"/dev\", target = \"/nodes\" }]\n";
    let found = answer(&node, "shared", &(open("/nodes/vda") + shared))?;
    assert_eq!(found["errno"], EPERM, "{found}");
    let status = node.ask(&["unit", "status", "shared"])?;
    assert!(status["notes"][0].as_str().is_some_and(|note| note.ends_with(": a test")), "{status}");
    let given = answer(&node, "given", &(open("/dev/vda") + "devices = [\"/dev/vda\"]\n"))?;
    assert_eq!(given["errno"], 0, "{given}");
    let found = answer(&node, "privileged", &(open("/dev/vda") + "privileged = true\n"))?;
    assert_eq!(found["errno"], 0, "{found}");
    let status = node.ask(&["unit", "status", "privileged"])?;
    assert!(
        status["notes"][0].as_str().is_some_and(|note| note.starts_with("privileged")),
        "{status}"
    );

    // Read-only is what is mounted below, too: STATE, of a node whose root is read-only anyway.
    let touch = "command = [\"/bin/touch\", \"/node/var/written\"]\nrestart = \"never\"\n\
                 host_user_namespace = \"a test\"\nnetwork = \"none\"\n";
    for (name, read_only) in [("written", false), ("unwritten", true)] {
        let volume = format!(
            "volumes = [{{ host = \"/\", target = \"/node\", read_only = {read_only} }}]\n"
        );
        let file = format!("{name}.toml");
        let text = format!("name = \"{name}\"\nimage = \"busybox\"\n{touch}{volume}");
        fs::write(node.machine.directory.join(&file), text)?;
        node.ferrite_output(&["unit", "start", &file, "--until", "ended"])?;
        let status = node.ask(&["unit", "status", name])?;
        assert_eq!(status["last_exit"]["code"] == 0, !read_only, "{status}");
    }
    let log = said(&node.ferrite_output(&["unit", "logs", "unwritten"])?);
    assert!(log.contains("Read-only file system"), "{log}");

    for (name, more, why) in [
        ("parameter", "sysctls = { \"kernel.panic\" = \"0\" }\n", "kernel.panic"),
        ("number", "user = \"4294967295\"\n", "4294967295"),
        ("hexadecimal", "user = \"0x0\"\n", "0x0"),
        ("overflow", "user = \"4294967296\"\n", "4294967296"),
        ("negative", "user = \"-1\"\n", "-1"),
        ("group", "user = \"1000:99999999999\"\n", "99999999999"),
        ("missing", "user = \"nobody-here\"\n", "nobody-here"),
        ("device", "devices = [\"/dev/no-such\"]\n", "/dev/no-such"),
    ] {
        assert_refused(&node, name, "busybox", more, why)?;
    }
    for (name, target) in [("proc", "/etc"), ("sys", "/tmp"), ("dev", "../../etc")] {
        let archive = with_link(&node, name, target)?;
        node.ferrite(&["import", &archive.display().to_string(), "--name", name])?;
        assert_refused(&node, &format!("link-{name}"), name, "", &format!("mount on /{name}"))?;
    }
    // A link of the image leads a volume where none may be.
    let archive = with_link(&node, "lead", "/proc")?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "lead"])?;
    let more = "volumes = [{ name = \"v\", target = \"/lead\" }]\n";
    assert_refused(&node, "led", "lead", more, "the runtime's own")?;
    // Nothing of what was refused is left.
    let folder = "/sys/fs/cgroup/units/led/cgroup.procs";
    assert!(node.is_absent(folder)?, "the cgroup is still there");
    Ok(())
}

/// The image with a link at its top.
fn with_link(node: &Node, name: &str, target: &str) -> Result<PathBuf> {
    let folder = node.machine.directory.join(format!("image-{name}"));
    fs::create_dir_all(&folder)?;
    let archive = folder.join("archive.tar");
    let link = folder.join(name);
    std::os::unix::fs::symlink(target, &link)?;
    demo::extended(&demo::busybox()?, &[(&link, &format!("/{name}"))], &archive)?;
    Ok(archive)
}

#[test]
fn bounds_bite_and_spare_the_node_and_the_neighbour() -> Result<()> {
    let mut node = Node::new("isolation-bounds", Kind::Probed)?;
    // The kernel says on the console whom it kills.
    node.expected.extend([
        "Out of memory",
        "oom-kill",
        "Memory cgroup out of memory",
        "invoked oom-killer",
        "Call Trace",
    ]);
    node.boot()?;
    import(&node)?;
    let quiet = "command = [\"/bin/sleep\", \"100000\"]\nnetwork = \"none\"\n";
    let file = submit(&node, "neighbour", "busybox", quiet)?;
    node.ferrite(&["unit", "start", &file])?;
    let before = node.ask(&["unit", "status", "neighbour"])?;

    // `tail` keeps the last line, and the first one never ends.
    let hog = "command = [\"/bin/tail\", \"/dev/zero\"]\nrestart = \"never\"\nnetwork = \"none\"\n\
               [resources]\nmemory = \"32MiB\"\n";
    let status = run(&node, "hog", "busybox", hog)?;
    assert!(status["reason"].as_str().is_some_and(|reason| reason.contains("OOM")), "{status}");
    assert_eq!(status["last_exit"], json!({ "how": "signal", "signal": 9 }), "{status}");

    let bomb = "command = [\"/bin/sh\", \"-c\", \"f() { f | f & }; f; while :; do sleep 1; done\"]\n\
                restart = \"never\"\nstop_grace_s = 1\nnetwork = \"none\"\n[resources]\npids_max = 40\ncpus = 0.3\n";
    let file = submit(&node, "bomb", "busybox", bomb)?;
    node.ferrite(&["unit", "start", &file])?;
    let group = "/sys/fs/cgroup/units/bomb";
    wait_until(&mut node, &format!("{group}/pids.events"), |text| count(text, "max") > 0)?;
    wait_until(&mut node, &format!("{group}/cpu.stat"), |text| count(text, "nr_throttled") > 0)?;
    assert_eq!(node.ask(&["machine", "status"])?["ready"], true);
    let after = node.ask(&["unit", "status", "neighbour"])?;
    units::same(&before, &after, &["state", "pid", "restarts"])?;
    node.ferrite(&["unit", "stop", "bomb"])?;
    assert!(node.is_absent(&format!("{group}/cgroup.procs"))?, "the cgroup is still there");
    Ok(())
}

fn count(text: &str, key: &str) -> u64 {
    let mut fields = text.lines().filter_map(|line| line.split_once(' '));
    fields.find_map(|(name, value)| (name == key).then(|| value.parse().ok())?).unwrap_or(0)
}

/// Reads a file of the node again and again until it is so. Files of control groups tell nobody.
fn wait_until(node: &mut Node, path: &str, is_so: impl Fn(&str) -> bool) -> Result<()> {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let text = node.probe(&["read", path])?["text"].as_str().unwrap_or_default().to_owned();
        if is_so(&text) {
            return Ok(());
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "{path} stays:\n{text}");
    }
}

#[test]
fn a_node_can_forbid_exceptions() -> Result<()> {
    let mut node = Node::new("isolation-forbidden", Kind::Probed)?;
    let path = node.machine.directory.join("cloud-config");
    let config = fs::read_to_string(&path)?;
    fs::write(
        &path,
        format!(
            "{config}\n[containers]\nallow_privileged = false\nallow_host_paths = false\n\
             allow_host_network = false\nallow_host_user_namespace = false\n"
        ),
    )?;
    node.boot()?;
    import(&node)?;
    assert_refused(&node, "privileged", "busybox", "privileged = true\n", "allow_privileged")?;
    let volume = "volumes = [{ host = \"/oem\", target = \"/oem\" }]\n";
    assert_refused(&node, "host-path", "busybox", volume, "allow_host_paths")?;
    assert_refused(&node, "device", "busybox", "devices = [\"/dev/vda\"]\n", "allow_host_paths")?;
    let users = "host_user_namespace = \"a test\"\n";
    assert_refused(&node, "host-users", "busybox", users, "allow_host_user_namespace")?;
    let network = "command = [\"/bin/true\"]\nrestart = \"never\"\nnetwork = \"host\"\n";
    let file = submit(&node, "host-network", "busybox", network)?;
    let output = node.ferrite_output(&["unit", "start", &file, "--until", "ended"])?;
    assert!(!output.status.success(), "host-network was started");
    let why = node.ferrite(&["unit", "why", "host-network"])?;
    assert!(why.contains("allow_host_network"), "{why}");
    assert_named_volumes_keep_owners_and_content(&mut node)
}

/// Two units, two ranges of IDs, one volume: both see the same owners.
fn assert_named_volumes_keep_owners_and_content(node: &mut Node) -> Result<()> {
    let volume = "volumes = [{ name = \"shared\", target = \"/tmp\" }]\nnetwork = \"none\"\n";
    let write = "command = [\"/bin/sh\", \"-c\", \"echo text > /tmp/file; chown 7:8 /tmp/file; touch /tmp/run; chmod 755 /tmp/run\"]\n\
                 restart = \"never\"\n";
    let status = run(node, "writer", "busybox", &format!("{write}{volume}"))?;
    assert_eq!(status["state"], "exited", "{status}");
    let read =
        "command = [\"/bin/stat\", \"-c\", \"%u %g %n\", \"/tmp/file\"]\nrestart = \"never\"\n";
    run(node, "reader", "busybox", &format!("{read}{volume}"))?;
    assert_eq!(node.ferrite(&["unit", "logs", "reader"])?.trim(), "7 8 /tmp/file");
    let text = node.probe(&["read", "/var/lib/ferrite/volumes/shared/file"])?;
    assert_eq!(text["text"], "text\n");
    // The volume outlives the units.
    node.ferrite(&["unit", "destroy", "writer"])?;
    node.probe(&["read", "/var/lib/ferrite/volumes/shared/file"]).map(drop)
}
