//! Commands in containers, attaching, copying; and what a killed agent must not lose.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::{Node, SOON};
use ferrite_tests::programs::{program, said};

/// Lines that a container writes while the agent is killed under it.
const LINES: u64 = 20_000;

fn node(name: &str, kind: Kind) -> Result<Node> {
    let mut node = Node::new(name, kind)?;
    node.boot()?;
    let archive = demo::busybox_with_probe()?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "busybox"])?;
    Ok(node)
}

fn start(node: &Node, name: &str, more: &str, until: &str) -> Result<()> {
    let unit = format!("name = \"{name}\"\nimage = \"busybox\"\nrestart = \"never\"\n{more}\n");
    std::fs::write(node.machine.directory.join(format!("{name}.toml")), unit)?;
    node.ferrite(&["unit", "start", &format!("{name}.toml"), "--until", until]).map(drop)
}

fn exec(node: &Node, words: &[&str]) -> Result<Output> {
    node.ferrite_output(&[&["unit", "exec"], words].concat())
}

fn ferrite(node: &Node, words: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("ferrite")?);
    command
        .env("XDG_CONFIG_HOME", &node.machine.directory)
        .env("FERRITE_CONTEXT", "node")
        .args(words)
        .current_dir(&node.machine.directory);
    Ok(command)
}

fn with_input(node: &Node, words: &[&str], input: &[u8]) -> Result<Output> {
    let mut command = ferrite(node, words)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("take the standard input")?;
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    drop(writer.join());
    Ok(output)
}

#[test]
fn commands_attaching_and_copies() -> Result<()> {
    let node = node("exec", Kind::Product)?;
    start(
        &node,
        "box",
        "command = [\"/bin/sleep\", \"100000\"]\nenv = { A = \"unit\" }",
        "running",
    )?;
    streams_status_and_rights(&node)?;
    terminals(&node)?;
    copies(&node)?;
    attached(&node)?;
    node.ferrite(&["unit", "stop", "box"])?;
    for words in [
        &["unit", "exec", "box", "--", "/bin/true"][..],
        &["unit", "cp", "box:/etc/passwd", "."],
        &["unit", "attach", "box"],
    ] {
        let output = node.ferrite_output(words)?;
        let refused = said(&output).contains("box has no running container: stopped by");
        assert!(!output.status.success() && refused, "{}", said(&output));
    }
    Ok(())
}

fn streams_status_and_rights(node: &Node) -> Result<()> {
    let output = exec(node, &["box", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 42"])?;
    assert_eq!(output.status.code(), Some(42), "{output:?}");
    assert_eq!((&*output.stdout, &*output.stderr), (&b"out\n"[..], &b"err\n"[..]));
    let output = exec(node, &["box", "--", "/bin/sh", "-c", "kill -9 $$"])?;
    assert_eq!(output.status.code(), Some(128 + 9));
    assert_eq!(exec(node, &["box", "--", "/no/such"])?.status.code(), Some(127));
    // No shell takes for a script what the kernel does not execute, and a folder that is missing is no missing program.
    let script = "echo 'echo wrong' > /tmp/garbage; chmod 755 /tmp/garbage";
    assert_eq!(exec(node, &["box", "--", "/bin/sh", "-c", script])?.status.code(), Some(0));
    for (words, status, why) in [
        (&["box", "--", "/tmp/garbage"][..], 126, "start /tmp/garbage"),
        (&["box", "--", "/tmp"], 126, "start /tmp: Permission denied"),
        (&["-w", "/no/such", "box", "--", "/bin/true"], 126, "work in /no/such: No such file"),
        (&["box", "--", "no-such"], 127, "find no-such: there is no such program"),
    ] {
        let output = exec(node, words)?;
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(said(&output).contains(why), "{output:?}");
    }
    assert_eq!(exec(node, &["absent", "--", "/bin/true"])?.status.code(), Some(7));
    let bytes: Vec<u8> = (0..400_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let output = with_input(node, &["unit", "exec", "-i", "box", "--", "/bin/cat"], &bytes)?;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), bytes.len()));
    assert!(output.stdout == bytes, "bytes changed on the way");
    let asked = ["-u", "33:44", "-w", "/tmp", "-e", "B=exec", "box", "--"];
    let print = ["/bin/sh", "-c", "id -u; id -g; pwd; echo $A $B"];
    let output = exec(node, &[&asked[..], &print].concat())?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "33\n44\n/tmp\nunit exec\n");
    // A command in the container is confined as the container's own program is.
    let output = exec(
        node,
        &[
            "box",
            "--",
            "/bin/sh",
            "-c",
            "grep -E '^(Cap|NoNew|Seccomp:)' /proc/1/status /proc/self/status | cut -d: -f2-",
        ],
    )?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let (first, own) = lines.split_at(lines.len() / 2);
    assert_eq!(first, own, "{text}");
    assert!(text.contains("NoNewPrivs:\t1") && text.contains("Seccomp:\t2"), "{text}");
    let output =
        exec(node, &["box", "--", "/bin/sh", "-c", "ls /proc/self/fd; cat /proc/self/cgroup"])?;
    // The listing itself holds 3.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n2\n3\n0::/\n");
    Ok(())
}

fn terminals(node: &Node) -> Result<()> {
    let output = exec(node, &["-t", "box", "--", "/bin/sh", "-c", "tty; echo err >&2; exit 5"])?;
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("/dev/pts/") && text.ends_with("\r\nerr\r\n"), "{text:?}");
    // script(1) is the terminal that a person would have.
    let ours = program("ferrite")?.display().to_string();
    let inner = format!(
        "stty rows 41 cols 101; {ours} unit exec -it box -- /bin/sh -c 'stty size; exit 6'"
    );
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &inner, "/dev/null"])
        .env("XDG_CONFIG_HOME", &node.machine.directory)
        .env("FERRITE_CONTEXT", "node")
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("41 101"), "{text:?}");
    assert_eq!(output.status.code(), Some(6), "{text:?}");
    Ok(())
}

fn copies(node: &Node) -> Result<()> {
    let folder = node.machine.directory.join("tree");
    std::fs::create_dir_all(folder.join("deep"))?;
    std::fs::write(folder.join("deep/file"), [0_u8, 255, 10])?;
    node.ferrite(&["unit", "cp", "tree", "box:/tmp"])?;
    let output = exec(
        node,
        &[
            "box",
            "--",
            "/bin/sh",
            "-c",
            "stat -c %u:%g /tmp/tree/deep/file; wc -c < /tmp/tree/deep/file",
        ],
    )?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0:0\n3\n");
    node.ferrite(&["unit", "cp", "box:/tmp/tree", "back"])?;
    assert_eq!(std::fs::read(node.machine.directory.join("back/deep/file"))?, [0, 255, 10]);
    // Links of the container lead to its own files, whatever they say.
    let make = "ln -s / /tmp/root; ln -s /../../../../etc /tmp/up; ln -s /proc/1/root /tmp/magic";
    exec(node, &["box", "--", "/bin/sh", "-c", make])?;
    node.ferrite(&["unit", "cp", "box:/tmp/root/tmp/tree/deep/file", "file"])?;
    let nothing = node.ferrite_output(&["unit", "cp", "box:/tmp/up/ferrite/slot-keys", "keys"])?;
    assert!(!nothing.status.success(), "{nothing:?}");
    let magic = node.ferrite_output(&["unit", "cp", "box:/tmp/magic/etc", "etc"])?;
    assert!(!magic.status.success(), "{magic:?}");
    Ok(())
}

fn attached(node: &Node) -> Result<()> {
    start(node, "echo", "command = [\"/bin/cat\"]\nstdin = true", "running")?;
    let output = with_input(node, &["unit", "attach", "echo"], b"hello\0there\n")?;
    // Its end of input is the program's: it ends, and so does what is attached.
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"hello\0there\n"[..]));
    let shell = "command = [\"/bin/sh\", \"-c\", \"read line; tty; echo got $line\"]\ntty = true";
    start(node, "shell", shell, "running")?;
    let output = with_input(node, &["unit", "attach", "shell"], b"hello\n")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("/dev/") && text.contains("got hello\r\n"), "{text:?}: {output:?}");
    assert!(output.status.success(), "{output:?}");
    // The keys that let go of it leave it running.
    start(node, "stays", "command = [\"/bin/sleep\", \"100000\"]\ntty = true", "running")?;
    let output = with_input(node, &["unit", "attach", "stays"], b"\x10\x11")?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(node.ask(&["unit", "status", "stays"])?["state"], "running");
    Ok(())
}

#[test]
fn nothing_is_lost_when_the_agent_is_killed_under_load() -> Result<()> {
    let mut node = node("agent-killed", Kind::Probed)?;
    let count = LINES.to_string();
    let spew = format!("command = [\"/bin/ferrite-probe\", \"spew\", \"{count}\"]");
    start(&node, "idle", "command = [\"/bin/sleep\", \"100000\"]", "running")?;
    start(&node, "fast", &spew, "accepted")?;
    let found = node.probe(&["processes"])?;
    let agent = found
        .as_array()
        .into_iter()
        .flatten()
        .find(|process| process["name"] == "ferrite-agent" && process["parent"] == 1)
        .and_then(|process| process["pid"].as_u64())
        .context("find the agent")?;
    node.probe(&["kill", &agent.to_string(), "9"])?;
    node.wait_for("api-listening", SOON).context("the agent's successor")?;
    let end = Instant::now() + SOON;
    let status = loop {
        let status = node.ask(&["unit", "status", "fast"])?;
        if status["state"] == "exited" || status["state"] == "failed" {
            break status;
        }
        ensure!(Instant::now() < end, "it does not end: {status}");
    };
    assert_eq!((&status["last_exit"]["code"], &status["restarts"]), (&0.into(), &0.into()));
    let output = node.ferrite_output(&["unit", "logs", "fast"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = text.lines().filter_map(|line| line.strip_prefix("out ")?.parse::<u64>().ok());
    let numbers: Vec<u64> = numbers.collect();
    assert_eq!(numbers.len() as u64, LINES, "{} to {:?}", numbers[0], numbers.last());
    assert!(numbers.into_iter().eq(1..=LINES), "lines out of order");
    let idle = node.ask(&["unit", "status", "idle"])?;
    assert_eq!((&idle["state"], &idle["restarts"]), (&"running".into(), &0.into()), "{idle}");
    Ok(())
}
