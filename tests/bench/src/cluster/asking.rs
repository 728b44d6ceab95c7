//! What is asked of a cluster, and how long that is done.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;
use serde_json::Value;

/// Longest that anything takes.
const PATIENCE: Duration = Duration::from_secs(300);
/// A cluster in which nothing is written for so long has begun.
const QUIET: Duration = Duration::from_secs(10);
/// `USER_HZ`, which is this on every x86 (proc(5)).
const TICKS_PER_S: f64 = 100.0;

/// Machines that have an instance of `web` that answers, by instance.
pub(super) fn answering(computer: &Computer) -> Result<BTreeSet<(String, String)>> {
    let output = computer.run(&["service", "resolve", "web", "-o", "json"])?;
    if !output.status.success() {
        return Ok(BTreeSet::new());
    }
    let all: Value = serde_json::from_slice(&output.stdout)?;
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let all = all.as_array().into_iter().flatten();
    Ok(all.map(|one| (text(one, "instance"), text(one, "machine_name"))).collect())
}

pub(super) fn leader_of(computer: &Computer) -> Result<Option<String>> {
    let output = computer.run(&["machine", "list", "-o", "json"])?;
    if !output.status.success() {
        return Ok(None);
    }
    let all: Value = serde_json::from_slice(&output.stdout)?;
    let leader = all.as_array().into_iter().flatten().find(|one| one["leader"] == true);
    Ok(leader.and_then(|one| one["name"].as_str()).map(str::to_owned))
}

/// Lines of a command as they come, each with its time.
pub(super) struct Listening {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Listening {
    pub(super) fn to(computer: &Computer, words: &[&str]) -> Result<Self> {
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

    pub(super) fn wait_for(&self, fits: impl Fn(&str) -> bool) -> Result<Instant> {
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

/// Waits until nothing comes any more of how the cluster began: a member that has learnt joins again by way of its own etcd.
pub(super) fn settle(computer: &Computer) -> Result<()> {
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

pub(super) fn revision(computer: &Computer) -> Result<i64> {
    let all = computer.ask(&["etcd", "status"])?;
    let found = all.to_string();
    let all = all.as_array().cloned().unwrap_or_default();
    let revisions = all.iter().filter_map(|one| number(one, "revision"));
    revisions.max().with_context(|| format!("a revision in {found}"))
}

pub(super) fn voters(computer: &Computer) -> Result<usize> {
    let all = computer.ask(&["etcd", "members"])?;
    Ok(all.as_array().into_iter().flatten().filter(|one| one["learner"] != true).count())
}

/// The first number of this name, however deep.
pub(super) fn number(value: &Value, key: &str) -> Option<i64> {
    match value {
        Value::Object(all) => {
            let own = all.get(key).and_then(Value::as_i64);
            own.or_else(|| all.values().find_map(|inner| number(inner, key)))
        }
        Value::Array(all) => all.iter().find_map(|inner| number(inner, key)),
        _ => None,
    }
}

/// What is measured is how long something takes, or what happens while nothing does.
#[expect(clippy::disallowed_methods, reason = "asking without end would take the machines' time")]
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Asks until it is so.
pub(super) fn until(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "it takes too long");
        pause(Duration::from_millis(100));
    }
    Ok(())
}

/// Seconds of processor time that machines of these names have used, theirs and QEMU's.
pub(super) fn processor_s(nodes: &[&str]) -> Result<f64> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").context("read /proc")?.flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_ours = |node: &&str| {
            let name = format!("ferrite-{node}");
            command.split(|byte| *byte == 0).any(|word| word == name.as_bytes())
        };
        if !nodes.iter().any(is_ours) {
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
