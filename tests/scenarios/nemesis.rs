//! Random faults from a printed seed, one after the other, and what must hold after each: everybody is back, one leads, each
//! instance runs once, and nothing was touched on a machine that was well. Whether it was, the instances say themselves, and the
//! switch notes it by the host's clock. `fleet` boots the machines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use ferrite_tests::computer::Computer;
use ferrite_tests::node::BOOT;
use ferrite_tests::runs::Runs;
use ferrite_vm::deadline::Deadline;
use ferrite_vm::switch::client::Beacons;
use ferrite_vm::switch::faults::Faults;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::fleet::alive;

/// A unit whose instances say all the time that they run. They have the machine's network, so that they are heard whatever
/// becomes of the units'; what is sent to all nodes of a link needs no answer of anybody.
const TALKER: &str = r#"
name = "talker"
replicas = 3
image = "hello"
network = "host"
stop_grace_s = 1
command = ["/bin/sh", "-c", "read word </proc/sys/kernel/random/uuid; syslogd -O /dev/null -R '[ff02::1%eth0]:9999' -L; while :; do logger says $HOSTNAME $word; usleep 200000; done"]
"#;
const INSTANCES: usize = 3;
/// In millionths.
const HALF: u32 = 500_000;
/// For so long each instance was heard by one word alone: longer than a machine that was killed counts as alive, and what was
/// on it takes to begin elsewhere.
const LATELY: Duration = Duration::from_secs(30);
/// Longest that an instance may run twice: on a machine that is cut off for up to 40 s, and until that machine hears that it moved.
const TWICE: Duration = Duration::from_secs(120);
/// Longest wait until all is as it should be.
const CALM: Duration = Duration::from_secs(300);

/// What befalls a machine.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Its power is cut, and comes back at once.
    Killed,
    /// Its cable is pulled out for so many seconds.
    Cut(u64),
    /// It hears nobody for so many seconds, and is heard.
    Deaf(u64),
    /// It stands still for so many seconds.
    Paused(u64),
    /// Half of the frames to it and from it are lost for so many seconds.
    Lossy(u64),
}

fn draw(chance: &mut ChaCha8Rng, machines: usize) -> (usize, Fate) {
    let mut below = |bound: u64| chance.next_u64() % bound;
    let victim = usize::try_from(below(machines as u64)).unwrap_or(0);
    let seconds = 1 + below(40);
    let fate = match below(5) {
        0 => Fate::Killed,
        1 => Fate::Cut(seconds),
        2 => Fate::Deaf(seconds),
        3 => Fate::Paused(seconds),
        _ => Fate::Lossy(seconds),
    };
    (victim, fate)
}

/// Where each instance runs, and by which word.
type Calm = BTreeMap<String, (String, String)>;

struct Nemesis<'a> {
    computer: &'a Computer,
    nodes: &'a [&'a str],
    beacons: Beacons,
    runs: Runs,
    now_ns: u64,
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The host's clock, by which the switch notes what it hears.
fn clock_ns() -> u64 {
    ns(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl Nemesis<'_> {
    /// Hears what there is to hear until `enough` says so.
    fn hear(&mut self, mut enough: impl FnMut(&Runs, u64) -> bool) -> Result<()> {
        let deadline = Deadline::after(CALM);
        while !enough(&self.runs, self.now_ns) {
            let beacon = self.beacons.next(deadline)?;
            let beacon = beacon.with_context(|| format!("it is not so: {:#?}", self.lately()))?;
            self.now_ns = self.now_ns.max(beacon.at_ns);
            self.runs.hear(&beacon);
        }
        Ok(())
    }

    fn lately(&self) -> BTreeMap<&str, Vec<(&str, &ferrite_tests::runs::Run)>> {
        self.runs.since(self.now_ns.saturating_sub(ns(LATELY)))
    }

    /// Lets so many seconds pass, by the host's clock, as those that are heard tell it.
    fn pass(&mut self, seconds: u64) -> Result<()> {
        let end_ns = clock_ns() + ns(Duration::from_secs(seconds));
        self.hear(|_, now_ns| now_ns >= end_ns)
    }

    /// Waits until everybody is there, one leads, and each instance is heard from one place alone.
    fn calm(&mut self) -> Result<Calm> {
        let deadline = std::time::Instant::now() + BOOT;
        loop {
            let (names, leader) = alive(self.computer)?;
            if names == self.nodes && leader.is_some() {
                break;
            }
            ensure!(std::time::Instant::now() < deadline, "there are {names:?}, led by {leader:?}");
        }
        // What is heard first is what was said meanwhile.
        let since_ns = clock_ns() + ns(LATELY);
        self.hear(|runs, now_ns| {
            let lately = runs.since(now_ns.saturating_sub(ns(LATELY)));
            now_ns >= since_ns
                && lately.len() == INSTANCES
                && lately.values().all(|runs| runs.len() == 1)
        })?;
        let all = self.lately().into_iter().filter_map(|(instance, runs)| {
            let (word, run) = runs.first()?;
            Some((instance.to_owned(), (run.machine.clone(), (*word).to_owned())))
        });
        Ok(all.collect())
    }

    fn befall(&mut self, victim: &str, fate: Fate) -> Result<()> {
        let computer = self.computer;
        let cluster = computer.folder();
        let cluster = cluster.file_name().and_then(|name| name.to_str()).context("its name")?;
        match fate {
            Fate::Killed => {
                computer.ferrite(&["cluster", "kill", victim])?;
                computer.ferrite(&["cluster", "up", cluster])?;
            }
            Fate::Cut(seconds) => {
                computer.switch()?.cut(victim)?;
                self.pass(seconds)?;
                computer.switch()?.heal(None)?;
            }
            Fate::Deaf(seconds) => {
                for other in self.nodes.iter().filter(|node| **node != victim) {
                    computer.switch()?.cut_one_way(other, victim)?;
                }
                self.pass(seconds)?;
                computer.switch()?.heal(None)?;
            }
            Fate::Paused(seconds) => {
                computer.ferrite(&["cluster", "pause", victim])?;
                self.pass(seconds)?;
                computer.ferrite(&["cluster", "resume", victim])?;
            }
            Fate::Lossy(seconds) => {
                let faults = Faults { loss: HALF.try_into()?, ..Faults::default() };
                computer.switch()?.fault(Some(victim), None, faults)?;
                computer.switch()?.fault(None, Some(victim), faults)?;
                self.pass(seconds)?;
                computer.switch()?.heal(None)?;
            }
        }
        Ok(())
    }
}

/// Where tests are long, fifty faults befall the three machines, and fifty more with two more machines.
pub(crate) fn befalls_its_machines(computer: &Computer, nodes: &[&str; 3]) -> Result<()> {
    befalls(computer, nodes, 50)?;
    let [first, ..] = nodes;
    let cluster = first.rsplit_once('-').context("its cluster")?.0;
    let added = [4, 5].map(|number| format!("{cluster}-{number}"));
    for _ in &added {
        computer.ferrite(&["cluster", "add", cluster])?;
    }
    let all: Vec<&str> = nodes.iter().copied().chain(added.iter().map(String::as_str)).collect();
    befalls(computer, &all, 50)
}

fn befalls(computer: &Computer, nodes: &[&str], rounds: usize) -> Result<()> {
    let seed = match std::env::var("FERRITE_SEED") {
        Ok(seed) => seed.parse().context("FERRITE_SEED is a number")?,
        Err(_) => 1,
    };
    let file = computer.folder().with_file_name("talker.toml");
    std::fs::write(&file, TALKER)?;
    computer.ferrite(&["unit", "start", file.to_str().context("name the file")?])?;
    let beacons = computer.switch()?.follow()?;
    let (runs, now_ns) = (Runs::default(), 0);
    let mut nemesis = Nemesis { computer, nodes, beacons, runs, now_ns };
    // What was done stays beside what the scenario leaves.
    let mut log = File::create(computer.folder().with_file_name("nemesis.log"))?;
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut before = nemesis.calm()?;
    for round in 0..rounds {
        let (victim, fate) = draw(&mut chance, nodes.len());
        let victim = nodes[victim];
        let since_ns = clock_ns();
        let about = format!("round {round} of seed {seed}: {victim} is {fate:?}");
        nemesis.befall(victim, fate).with_context(|| about.clone())?;
        let after = nemesis.calm().with_context(|| about.clone())?;
        for (instance, (machine, word)) in &before {
            if machine == victim {
                continue;
            }
            let runs = nemesis.runs.since(since_ns);
            let silent = || format!("{about}: {instance} on {machine} was not heard");
            let heard = runs.get(instance.as_str()).with_context(silent)?;
            let words: Vec<&str> = heard.iter().map(|(word, _)| *word).collect();
            ensure!(words == [word], "{about}: {instance} on {machine} was touched: {runs:#?}");
        }
        let doubled = Duration::from_nanos(nemesis.runs.doubled_ns(since_ns));
        ensure!(doubled < TWICE, "{about}: an instance ran twice for {doubled:.1?}");
        writeln!(log, "{about}; runs twice for {doubled:.1?} at most; {after:?}")?;
        before = after;
    }
    computer.ferrite(&["unit", "destroy", "talker"])?;
    Ok(())
}
