//! Three machines that are one cluster, from outside: what a person with `ferrite` sees, by this computer's clock. Emulated
//! machines are slow and their leases long: the figures say so.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;
use serde_json::Value;

use crate::arguments::ClusterArguments;
use crate::report::{Report, median};

const CLUSTER: &str = "bench";
const NODES: [&str; 3] = ["bench-1", "bench-2", "bench-3"];
/// How long the cluster is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(60);
/// A cluster in which nothing is written for so long has begun.
const QUIET: Duration = Duration::from_secs(10);
/// Longest that anything takes.
const PATIENCE: Duration = Duration::from_secs(300);
/// `USER_HZ`, which is this on every x86 (proc(5)).
const TICKS_PER_S: f64 = 100.0;
/// Bytes that go through the mesh.
const SENT_BYTES: u32 = 20_000_000;
/// From a machine's death to its instance elsewhere, in seconds.
const REPLACED_MAX_S: f64 = 12.0;
/// From a change of readiness to another machine's answers, in seconds.
const VISIBLE_MAX_S: f64 = 1.0;

/// Measures all of it, with one cluster.
pub(crate) fn measure(arguments: &ClusterArguments, report: &mut Report) -> Result<()> {
    let computer = Computer::new("bench-cluster", CLUSTER)?;
    up(&computer, arguments, report)?;
    idle(&computer, report)?;
    let archive = arguments.busybox.to_str().context("name the archive")?;
    computer.ferrite(&["import", archive, "--name", "hello"])?;
    computer.ferrite(&["unit", "start", "configs/units/web.toml"])?;
    until(|| Ok(answering(&computer)?.len() == 3))?;
    mesh(&computer, report)?;
    visible(&computer, report)?;
    replaced(&computer, arguments.runs, report)?;
    leader(&computer, report)?;
    report.missing(
        "leader killed beside raw etcd's own recovery: nothing here stops both at the same moment",
    );
    report.missing("mesh beside plain routes: there are none to ask for");
    Ok(())
}

fn up(computer: &Computer, arguments: &ClusterArguments, report: &mut Report) -> Result<()> {
    let image = arguments.image.to_str().context("name the image")?;
    let begun = Instant::now();
    computer.ferrite(&["cluster", "up", CLUSTER, "--nodes", "3", "--image", image])?;
    report.figure("three nodes up and one cluster, wall", begun.elapsed().as_secs_f64(), "s");
    report.figure("three nodes up and one cluster, processor", processor_s()?, "s");
    // Until all three run etcd.
    until(|| Ok(computer.run(&["etcd", "status"])?.status.success() && voters(computer)? == 3))?;
    report.figure("until all three run etcd, wall", begun.elapsed().as_secs_f64(), "s");
    Ok(())
}

fn voters(computer: &Computer) -> Result<usize> {
    let all = computer.ask(&["etcd", "members"])?;
    Ok(all.as_array().into_iter().flatten().filter(|one| one["learner"] != true).count())
}

fn idle(computer: &Computer, report: &mut Report) -> Result<()> {
    settle(computer)?;
    let (before, spent, begun) = (revision(computer)?, processor_s()?, Instant::now());
    pause(IDLE);
    let seconds = begun.elapsed().as_secs_f64();
    let share = (processor_s()? - spent) / seconds / 3.0 * 100.0;
    report.figure("idle: processor of a node, emulated", share, "%");
    let writes = f64::from(i32::try_from(revision(computer)? - before)?);
    report.target("idle: writes to etcd in a minute", writes / seconds * 60.0, "", 0.0);
    Ok(())
}

/// Waits until nothing comes any more of how the cluster began: a member that has learnt joins again by way of its own etcd.
fn settle(computer: &Computer) -> Result<()> {
    let mut before = None;
    until(|| {
        let now = Some(revision(computer)?);
        let same = std::mem::replace(&mut before, now) == now;
        if !same {
            pause(QUIET);
        }
        Ok(same)
    })
}

fn revision(computer: &Computer) -> Result<i64> {
    let all = computer.ask(&["etcd", "status"])?;
    let found = all.to_string();
    let all = all.as_array().cloned().unwrap_or_default();
    let revisions = all.iter().filter_map(|one| number(one, "revision"));
    revisions.max().with_context(|| format!("a revision in {found}"))
}

/// The first number of this name, however deep.
fn number(value: &Value, key: &str) -> Option<i64> {
    match value {
        Value::Object(all) => {
            let own = all.get(key).and_then(Value::as_i64);
            own.or_else(|| all.values().find_map(|inner| number(inner, key)))
        }
        Value::Array(all) => all.iter().find_map(|inner| number(inner, key)),
        _ => None,
    }
}

/// Machines that have an instance of `web` that answers, by instance.
fn answering(computer: &Computer) -> Result<BTreeSet<(String, String)>> {
    let output = computer.run(&["service", "resolve", "web", "-o", "json"])?;
    if !output.status.success() {
        return Ok(BTreeSet::new());
    }
    let all: Value = serde_json::from_slice(&output.stdout)?;
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let all = all.as_array().into_iter().flatten();
    Ok(all.map(|one| (text(one, "instance"), text(one, "machine_name"))).collect())
}

fn mesh(computer: &Computer, report: &mut Report) -> Result<()> {
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
    listens.wait()?;
    ensure!(taken.trim() == SENT_BYTES.to_string(), "{taken} bytes came");
    let rate = f64::from(SENT_BYTES) / 1e6 / begun.elapsed().as_secs_f64();
    report.figure("mesh: one way, emulated", rate, "MB/s");
    Ok(())
}

/// Lines of a command as they come, each with its time.
struct Listening {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Listening {
    fn to(computer: &Computer, words: &[&str]) -> Result<Self> {
        let mut child = computer.command(words)?.stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().context("its output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    fn wait_for(&self, fits: impl Fn(&str) -> bool) -> Result<Instant> {
        loop {
            let (at, line) = self.lines.recv_timeout(PATIENCE).context("it says nothing")?;
            if fits(&line) {
                return Ok(at);
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// From a node's own word that an instance is not well to another node's answers without it.
fn visible(computer: &Computer, report: &mut Report) -> Result<()> {
    let all = answering(computer)?;
    let on = |instance: &str| {
        let found = all.iter().find(|(name, _)| name == instance);
        found.map(|(_, machine)| machine.clone()).context("its machine")
    };
    let (here, there) = (on("web@2")?, on("web@1")?);
    let events = ["events", "--follow", "--unit", "web@2", "--machine", &here, "-o", "json"];
    let events = Listening::to(computer, &events)?;
    let answers = ["service", "watch", "web", "--machine", &there, "-o", "json"];
    let answers = Listening::to(computer, &answers)?;
    answers.wait_for(|line| line.contains("web@2"))?;
    let away = "mv /srv/index.html /srv/away";
    computer.ferrite(&["unit", "exec", "web@2", "--", "/bin/sh", "-c", away])?;
    let said = events.wait_for(|line| line.contains("unhealthy"))?;
    let seen = answers.wait_for(|line| !line.contains("web@2"))?;
    let seconds = seen.saturating_duration_since(said).as_secs_f64();
    report.target(
        "not ready: from its node to another node's answers",
        seconds,
        "s",
        VISIBLE_MAX_S,
    );
    let back = "mv /srv/away /srv/index.html";
    computer.ferrite(&["unit", "exec", "web@2", "--", "/bin/sh", "-c", back])?;
    answers.wait_for(|line| line.contains("web@2"))?;
    Ok(())
}

fn leader_of(computer: &Computer) -> Result<Option<String>> {
    let output = computer.run(&["machine", "list", "-o", "json"])?;
    if !output.status.success() {
        return Ok(None);
    }
    let all: Value = serde_json::from_slice(&output.stdout)?;
    let leader = all.as_array().into_iter().flatten().find(|one| one["leader"] == true);
    Ok(leader.and_then(|one| one["name"].as_str()).map(str::to_owned))
}

/// A machine that does not lead is killed; until its instance answers elsewhere.
fn replaced(computer: &Computer, runs: usize, report: &mut Report) -> Result<()> {
    let mut seconds = Vec::new();
    for _ in 0..runs {
        let leader = leader_of(computer)?.context("a leader")?;
        let victim = NODES.into_iter().find(|node| *node != leader).context("a follower")?;
        let begun = Instant::now();
        computer.ferrite(&["cluster", "kill", victim])?;
        until(|| {
            let all = answering(computer)?;
            Ok(all.len() == 3 && all.iter().all(|(_, machine)| machine != victim))
        })?;
        seconds.push(begun.elapsed().as_secs_f64());
        computer.ferrite(&["cluster", "up", CLUSTER])?;
        // What is back may serve again before the next one goes.
        until(|| Ok(computer.run(&["etcd", "status"])?.status.success()))?;
    }
    seconds.sort_by(f64::total_cmp);
    let worst = seconds.last().copied().context("no run")?;
    let name = "machine killed → its instance answers elsewhere";
    report.target(
        &format!("{name}, median of {runs}, emulated"),
        median(seconds)?,
        "s",
        REPLACED_MAX_S,
    );
    report.target(&format!("{name}, worst, emulated"), worst, "s", REPLACED_MAX_S);
    Ok(())
}

fn leader(computer: &Computer, report: &mut Report) -> Result<()> {
    let first = leader_of(computer)?.context("a leader")?;
    let begun = Instant::now();
    computer.ferrite(&["cluster", "kill", &first])?;
    until(|| Ok(leader_of(computer)?.is_some_and(|leader| leader != first)))?;
    let seconds = begun.elapsed().as_secs_f64();
    report.figure("leader killed → another one leads, emulated", seconds, "s");
    Ok(())
}

/// What is measured is how long something takes, or what happens while nothing does.
#[expect(clippy::disallowed_methods, reason = "asking without end would take the machines' time")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Asks until it is so.
fn until(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "it takes too long");
        pause(Duration::from_millis(100));
    }
    Ok(())
}

/// Seconds of processor time that the cluster's machines have used, theirs and QEMU's.
fn processor_s() -> Result<f64> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").context("read /proc")?.flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_ours = |node: &str| {
            let name = format!("ferrite-{node}");
            command.split(|byte| *byte == 0).any(|word| word == name.as_bytes())
        };
        if !NODES.iter().any(|node| is_ours(node)) {
            continue;
        }
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name may have spaces; what follows it does not.
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
        let field = |index: usize| {
            fields.as_ref().and_then(|all| all.get(index)?.parse::<u64>().ok()).unwrap_or(0)
        };
        ticks += field(11) + field(12);
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let seconds = ticks as f64 / TICKS_PER_S;
    Ok(seconds)
}
