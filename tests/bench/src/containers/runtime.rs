//! From the call of a runtime to the first word of the container's program: ours beside crun and runc, same bundle
//! and seccomp filter, in random order.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::setting::Setting;
use crate::report::Report;
use ferrite_tests::programs::succeed;

/// Runs of each side for each that was asked for: one takes milliseconds.
const RUNS_FACTOR: usize = 20;
/// Present where cgroup v2 is mounted as runtimes expect it.
const UNIFIED: &str = "/sys/fs/cgroup/cgroup.controllers";

struct Side {
    name: &'static str,
    program: PathBuf,
    root: PathBuf,
    times: Vec<Duration>,
}

/// Adds the rows.
pub(crate) fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    if !Path::new(UNIFIED).exists() {
        bail!(
            "{UNIFIED} is missing; run this in `unshare --mount` with cgroup2 mounted on /sys/fs/cgroup"
        );
    }
    let folder = setting.scratch().join("runtime");
    let bundle = bundle(setting, &folder.join("bundle"))?;
    let mut sides = Vec::new();
    let ours = Some(setting.ours("ferrite-oci"));
    for (name, program) in [
        ("ferrite-oci", ours),
        ("crun", Setting::theirs("crun")),
        ("runc", Setting::theirs("runc")),
    ] {
        match program {
            // On a tmpfs, as by default: `/run` is none in every container.
            Some(program) => sides.push(Side {
                name,
                program,
                root: Path::new("/dev/shm")
                    .join(format!("ferrite-bench-{}-{name}", std::process::id())),
                times: Vec::new(),
            }),
            None => report.missing(&format!("runtime: {name} is not installed")),
        }
    }
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let measured = (0..setting.runs * RUNS_FACTOR).try_for_each(|run| {
        dice.shuffle(&mut sides);
        sides.iter_mut().try_for_each(|side| {
            let time = once(side, &bundle, &format!("bench-{run}"))?;
            side.times.push(time);
            Ok::<_, anyhow::Error>(())
        })
    });
    for side in &sides {
        #[expect(clippy::disallowed_methods, reason = "the benchmark's own folder on the host")]
        drop(fs::remove_dir_all(&side.root));
    }
    measured?;
    rows(&mut sides, report)
}

fn rows(sides: &mut [Side], report: &mut Report) -> Result<()> {
    let mut of = |name: &str, percent: usize| -> Option<f64> {
        let side = sides.iter_mut().find(|side| side.name == name)?;
        side.times.sort();
        let index = (side.times.len() * percent / 100).min(side.times.len().checked_sub(1)?);
        side.times.get(index).map(|time| time.as_secs_f64() * 1000.0)
    };
    for (label, percent) in [("p50", 50), ("p95", 95)] {
        let ours = of("ferrite-oci", percent).context("nothing of ours was measured")?;
        for (name, target) in [("crun", 0.5), ("runc", 0.5)] {
            if let Some(theirs) = of(name, percent) {
                let row = format!("create to exec, {label}, beside {name}");
                report.against(&row, (ours, "ms"), (name, theirs), target);
            }
        }
    }
    Ok(())
}

/// A bundle with the probe, which says one line.
fn bundle(setting: &Setting, bundle: &Path) -> Result<PathBuf> {
    let root = bundle.join("rootfs");
    for name in ["proc", "dev", "sys", "bin", "etc"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy(setting.ours("ferrite-probe"), root.join("bin/probe"))?;
    succeed(Command::new(setting.ours("ferrite-oci")).arg("spec").arg("--bundle").arg(bundle))?;
    let path = bundle.join("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    if let Some(process) = spec.get_mut("process").and_then(|process| process.as_object_mut()) {
        process.insert("args".to_owned(), serde_json::json!(["/bin/probe", "spew", "1"]));
        process.insert("terminal".to_owned(), false.into());
    }
    fs::write(&path, serde_json::to_vec(&spec)?)?;
    Ok(bundle.to_owned())
}

fn once(side: &Side, bundle: &Path, id: &str) -> Result<Duration> {
    let began = Instant::now();
    let mut child = Command::new(&side.program)
        .arg("--root")
        .arg(&side.root)
        .args(["run", "--bundle"])
        .arg(bundle)
        .arg(id)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {}", side.name))?;
    let mut first = [0];
    let heard = child.stdout.as_mut().map(|out| out.read_exact(&mut first));
    let time = began.elapsed();
    let output = child.wait_with_output()?;
    if !output.status.success() || !matches!(heard, Some(Ok(()))) {
        bail!("{} run: {}", side.name, String::from_utf8_lossy(&output.stderr));
    }
    Ok(time)
}

/// Random enough for an order (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            let other = self.below(index + 1);
            items.swap(index, other);
        }
    }
}
