//! Images and containers that mean harm, and what they reach of the node: nothing.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::{Node, SOON};
use ferrite_tests::programs::{program, succeed};
use serde_json::Value;

/// What makes containers and joins them.
const RUNTIME: &str = "ferrite-container";
/// A library that says, where it is loaded, by whom.
const PLANT: &str = r#"
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void planted(void) {
    char own[256];
    long length = readlink("/proc/self/exe", own, sizeof own);
    int file = open("/trace/planted", O_CREAT | O_WRONLY | O_APPEND, 0666);
    if (file < 0) file = open("/tmp/planted", O_CREAT | O_WRONLY | O_APPEND, 0666);
    if (length > 0) length = write(file, own, length);
    close(file);
}
"#;
/// A static program, as the node's are, that looks up a user the usual way.
const VICTIM: &str =
    "#include <pwd.h>\nint main(void) { return getpwnam(\"nobody-here\") != 0; }\n";
/// How often a unit is started while its volume is changed under it.
const RACES: usize = 10;
/// Numbers of open files that a working directory may name.
const FILES: std::ops::Range<u32> = 3..12;

#[test]
fn hostile_images_and_containers_reach_nothing_of_the_node() -> Result<()> {
    let mut node = Node::new("attacks", Kind::Probed)?;
    node.boot()?;
    let archive = hostile_image(&node.machine.directory)?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "hostile"])?;
    planted_libraries_stay_unused(&mut node)?;
    the_runtime_cannot_be_overwritten(&node)?;
    no_working_directory_leads_out(&node)?;
    a_false_proc_deceives_nobody(&node)?;
    a_race_for_a_mount_is_lost(&mut node)
}

fn submit(node: &Node, name: &str, words: &[&str], more: &str) -> Result<String> {
    let file = format!("{name}.toml");
    let command = serde_json::to_string(words)?;
    let text = format!(
        "name = \"{name}\"\nimage = \"hostile\"\ncommand = {command}\nrestart = \"never\"\nnetwork = \"none\"\n\
         stop_grace_s = 0\n{more}\n"
    );
    fs::write(node.machine.directory.join(&file), text)?;
    Ok(file)
}

fn start(node: &Node, name: &str, words: &[&str], more: &str) -> Result<()> {
    let file = submit(node, name, words, more)?;
    node.ferrite(&["unit", "start", &file]).map(drop)
}

fn exec(node: &Node, words: &[&str]) -> Result<Output> {
    node.ferrite_output(&[&["unit", "exec"], words].concat())
}

/// The image of scenarios, with everything in it that a careless runtime would load or follow.
fn hostile_image(directory: &Path) -> Result<PathBuf> {
    let folder = directory.join("hostile");
    let tree = folder.join("tree");
    let libraries = ["lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
    for name in libraries.iter().chain(&["etc", "opt"]) {
        fs::create_dir_all(tree.join(name))?;
    }
    let source = folder.join("plant.c");
    fs::write(&source, PLANT)?;
    let plant = folder.join("plant.so");
    succeed(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&plant).arg(&source))?;
    for name in libraries {
        for service in ["files", "compat", "dns", "plant"] {
            fs::copy(&plant, tree.join(name).join(format!("libnss_{service}.so.2")))?;
        }
        // What a static program needs before it can load anything.
        for library in ["libc.so.6", "ld-linux-x86-64.so.2"] {
            let file = succeed(Command::new("cc").arg(format!("-print-file-name={library}")))?;
            fs::copy(file.trim(), tree.join(name).join(library))?;
        }
    }
    fs::write(folder.join("victim.c"), VICTIM)?;
    let mut compile = Command::new("cc");
    compile.args(["-static", "-w", "-o"]).arg(tree.join("opt/victim"));
    succeed(compile.arg(folder.join("victim.c")))?;
    let services = "passwd: plant files\ngroup: plant files\nshadow: plant\nhosts: plant\n";
    fs::write(tree.join("etc/nsswitch.conf"), services)?;
    fs::write(tree.join("etc/passwd"), "root:x:0:0::/:/bin/sh\napp:x:7:8::/tmp:/bin/sh\n")?;
    fs::write(tree.join("etc/group"), "root:x:0:\napp:x:8:\nmore:x:9:app\n")?;
    // Started by the runtime this is the runtime.
    symlink("/proc/self/exe", tree.join("opt/again"))?;
    let archive = folder.join("archive.tar");
    let places =
        ["lib", "lib64", "usr", "etc", "opt"].map(|name| (tree.join(name), format!("/{name}")));
    let additions: Vec<(&Path, &str)> =
        places.iter().map(|(here, there)| (here.as_path(), there.as_str())).collect();
    demo::extended(&demo::busybox_with_probe()?, &additions, &archive)?;
    Ok(archive)
}

/// Looking up users of the image, on its start, in a command and in copies, loads nothing of the image.
fn planted_libraries_stay_unused(node: &mut Node) -> Result<()> {
    // Everybody may write there.
    let more = "user = \"app\"\nvolumes = [{ tmpfs = \"1MiB\", target = \"/trace\" }]";
    let traces = ["planted", "--", "/bin/ferrite-probe", "read", "/trace/planted"];
    start(node, "planted", &["/bin/ferrite-probe", "hang"], more)?;
    let identity = exec(node, &["planted", "--", "/bin/ferrite-probe", "identity"])?;
    let identity: Value = serde_json::from_slice(&identity.stdout)?;
    assert_eq!(
        (&identity["uid"], &identity["gid"], &identity["groups"]),
        (&7.into(), &8.into(), &serde_json::json!([9])),
        "{identity}"
    );
    for user in ["app", "root", "app:more", "4242"] {
        for terminal in [&["-t"][..], &[]] {
            let words =
                [terminal, &["-u", user, "planted", "--", "/bin/ferrite-probe", "exit", "7"]];
            assert_eq!(exec(node, &words.concat())?.status.code(), Some(7), "{user}");
        }
    }
    fs::write(node.machine.directory.join("note"), "text")?;
    node.ferrite(&["unit", "cp", "note", "planted:/tmp/note"])?;
    node.ferrite(&["unit", "cp", "planted:/tmp/note", "back"])?;
    let found = exec(node, &traces)?;
    let text = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(text.contains("No such file"), "it was loaded: {found:?}");
    assert!(node.is_absent("/tmp/planted")?, "it was loaded on the node");
    // The trap works.
    exec(node, &["planted", "--", "/opt/victim"])?;
    let found = exec(node, &traces)?;
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(text.contains("/opt/victim") && !text.contains(RUNTIME), "{text}");
    Ok(())
}

/// The runtime's program, which a container can have run in it, cannot be written, not then and not later.
fn the_runtime_cannot_be_overwritten(node: &Node) -> Result<()> {
    let hunt = ["/bin/ferrite-probe", "hunt", "/tmp/enough", RUNTIME, "/tmp/seen"];
    for (name, more) in
        [("hunter", ""), ("hunter-root", "host_user_namespace = \"the node's own root\"")]
    {
        start(node, name, &hunt, more)?;
        for _ in 0..5 {
            assert_eq!(exec(node, &[name, "--", "/bin/true"])?.status.code(), Some(0));
        }
        let mut again = Command::new(program("ferrite")?);
        again.args(["unit", "exec", "-i", name, "--", "/opt/again", "exec"]);
        again.env("XDG_CONFIG_HOME", &node.machine.directory).env("FERRITE_CONTEXT", "node");
        let mut again = again.stdin(Stdio::piped()).spawn()?;
        let deadline = Instant::now() + SOON;
        while !exec(node, &[name, "--", "/bin/test", "-e", "/tmp/seen"])?.status.success() {
            ensure!(Instant::now() < deadline, "the runtime was never seen in {name}");
        }
        let mut input = again.stdin.take().context("speak to the runtime in the container")?;
        // Nonsense, so that it ends; the hunter still holds its program.
        drop(input.write_all(b"{}\n"));
        drop(input);
        again.wait()?;
        exec(node, &[name, "--", "/bin/touch", "/tmp/enough"])?;
        while node.ask(&["unit", "status", name])?["state"] != "exited" {
            ensure!(Instant::now() < deadline, "{name} hunts for ever");
        }
        let log = node.ferrite(&["unit", "logs", name])?;
        let line = log.lines().find(|line| line.starts_with('{'));
        let found: Value = serde_json::from_str(line.with_context(|| log.clone())?)?;
        let programs = found["programs"].as_object().context("programs")?;
        let (_, outcomes) = programs
            .iter()
            .find(|(program, _)| program.ends_with(RUNTIME))
            .with_context(|| format!("the runtime is not among {found}"))?;
        let errors: Vec<i64> =
            outcomes.as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
        assert!(!errors.is_empty() && !errors.contains(&0), "{name} opened it: {found}");
    }
    // As a unit's own program it is only a program that does not know what to do.
    let file = submit(node, "itself", &["/proc/self/exe", "nonsense"], "")?;
    node.ferrite_output(&["unit", "start", &file, "--until", "ended"])?;
    assert_eq!(node.ask(&["unit", "status", "itself"])?["state"], "failed");
    Ok(())
}

/// A working directory that names one of the runtime's open files is refused, or inside the container.
fn no_working_directory_leads_out(node: &Node) -> Result<()> {
    let out = "../../../../../../../../usr/bin/ferrite-container";
    let look = ["/bin/ferrite-probe", "open", out];
    let check = |place: &str, found: Result<Value, serde_json::Error>| {
        // Refused, there is no answer.
        found.map_or(0, |found| {
            assert_eq!(found["errno"], 2, "{place} leads to the node: {found}");
            1
        })
    };
    let (mut started, mut joined) = (0, 0);
    start(node, "inside", &["/bin/ferrite-probe", "hang"], "")?;
    let named = ["/proc/self/cwd", "/proc/self/root", "/proc/1/cwd", "/proc/1/root"];
    let places = FILES.map(|number| format!("/proc/self/fd/{number}"));
    let places: Vec<String> = places.chain(named.map(str::to_owned)).collect();
    for place in &places {
        let file = submit(node, "workdir", &look, &format!("workdir = \"{place}\""))?;
        node.ferrite_output(&["unit", "start", &file, "--until", "ended"])?;
        let log = node.ferrite(&["unit", "logs", "workdir"])?;
        started += check(place, serde_json::from_str(log.trim()));
        node.ferrite(&["unit", "destroy", "workdir"])?;
        let said = exec(node, &[&["-w", place, "inside", "--"][..], &look].concat())?;
        joined += check(place, serde_json::from_slice(&said.stdout));
    }
    assert!(started > 0 && joined > 0, "nothing was asked: {started} starts, {joined} commands");
    Ok(())
}

/// A container that may mount has a `/proc` of lies; commands and copies neither believe it nor fail to start.
fn a_false_proc_deceives_nobody(node: &Node) -> Result<()> {
    let lie = "mount -t tmpfs none /proc && mkdir -p /proc/self/attr /proc/self/fd && \
               ln -s /proc/../etc /proc/self/ns && ln -s /opt/again /proc/self/exe && \
               ln -s /etc/nsswitch.conf /proc/self/oom_score_adj && touch /tmp/lies && exec sleep 100000";
    start(node, "liar", &["/bin/sh", "-c", lie], "capabilities = { add = [\"SYS_ADMIN\"] }")?;
    let deadline = Instant::now() + SOON;
    while !exec(node, &["liar", "--", "/bin/test", "-e", "/tmp/lies"])?.status.success() {
        ensure!(Instant::now() < deadline, "{}", node.ferrite(&["unit", "logs", "liar"])?);
    }
    // What it says is not what is seen outside of it.
    let output = exec(node, &["-u", "app", "liar", "--", "/bin/sh", "-c", "echo $HOME; ls /proc"])?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/tmp\nself\n", "{output:?}");
    node.ferrite(&["unit", "cp", "note", "liar:/tmp/note"])?;
    let output = exec(node, &["liar", "--", "/bin/cat", "/tmp/note"])?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "text", "{output:?}");
    // The command's own confinement did not come from there: what it asks the kernel for is refused.
    let output =
        exec(node, &["-u", "app", "liar", "--", "/bin/sh", "-c", "mount -t tmpfs x /tmp"])?;
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    let refused = ["permission denied", "operation not permitted"].map(|why| said.contains(why));
    assert!(refused.contains(&true) && !output.status.success(), "{output:?}");
    Ok(())
}

/// One unit makes a folder of a shared volume a link and back while another one has something mounted in it.
fn a_race_for_a_mount_is_lost(node: &mut Node) -> Result<()> {
    let shared = "{ name = \"shared\", target = \"/data\" }";
    let targets = ["/proc", "../../../../../../../../../../var/lib", "/sys/fs/cgroup", "/dev"];
    let swap = [&["/bin/ferrite-probe", "swap", "/data"][..], &targets].concat();
    start(node, "swapper", &swap, &format!("volumes = [{shared}]"))?;
    let before = node.probe(&["read", "/proc/1/mountinfo"])?;
    let mut mounted = 0;
    for _ in 0..RACES {
        let volumes =
            format!("volumes = [{shared}, {{ tmpfs = \"1MiB\", target = \"/data/place/inner\" }}]");
        let file = submit(node, "victim", &["/bin/ferrite-probe", "identity"], &volumes)?;
        node.ferrite_output(&["unit", "start", &file, "--until", "ended"])?;
        let status = node.ask(&["unit", "status", "victim"])?;
        let log = node.ferrite(&["unit", "logs", "victim"])?;
        if status["state"] == "exited" {
            let identity: Value = serde_json::from_str(log.trim())?;
            let places = inner_mounts(&identity);
            assert_eq!(places.len(), 1, "{places:?}: {identity}");
            for reserved in ["/proc", "/sys", "/dev"] {
                assert!(!places[0].starts_with(reserved), "{places:?}");
            }
            mounted += 1;
        } else {
            assert_eq!(status["state"], "failed", "{status}");
            let reason = status["reason"].to_string();
            assert!(reason.contains("/data/place/inner"), "{status}");
        }
        node.ferrite(&["unit", "destroy", "victim"])?;
    }
    assert_eq!(node.probe(&["read", "/proc/1/mountinfo"])?, before);
    for path in ["/var/lib/inner", "/sys/fs/cgroup/inner", "/dev/inner"] {
        let found = node.probe(&["read", path]).err().map(|error| error.to_string());
        assert!(found.as_ref().is_some_and(|text| text.contains("No such file")), "{found:?}");
    }
    assert_eq!(node.ask(&["unit", "status", "swapper"])?["state"], "running");
    ensure!(mounted > 0, "no start met the folder as a folder");
    node.ferrite(&["unit", "stop", "swapper"]).map(drop)
}

/// Places of mounts that are the victim's own memory.
fn inner_mounts(identity: &Value) -> Vec<String> {
    let mounts = identity["mounts"].as_array().into_iter().flatten();
    mounts
        .filter(|mount| mount["super_options"].to_string().contains("size=1024k"))
        .filter_map(|mount| mount["target"].as_str().map(str::to_owned))
        .collect()
}
