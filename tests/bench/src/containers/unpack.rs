//! Unpacking a large real layer, compressed with gzip: ours beside GNU tar and umoci. Everybody's time ends when the
//! disk has everything.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use ferrite_tests::programs::succeed;

use super::setting::Setting;
use crate::report::{Report, median};

/// Ours against umoci, wall and processor time.
const UMOCI_TARGET: f64 = 0.25;
/// Ours against GNU tar.
const TAR_TARGET: f64 = 0.6;
/// An unpack takes seconds: a few runs are enough, and all of them stay on the disk until the end.
const RUNS_MAX: usize = 3;
/// What the layer is made of: tens of thousands of files of a Debian.
const TREE: &str = "usr/share";

/// Seconds on the wall and on the processors.
#[derive(Default)]
struct Times {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

impl Times {
    fn medians(self) -> Result<(f64, f64)> {
        Ok((median(self.wall)?, median(self.cpu)?))
    }
}

/// Adds its rows.
pub(crate) fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let folder = setting.scratch().join("unpack");
    std::fs::create_dir_all(&folder)?;
    let layout = layout(&folder)?;
    let (mut ours, mut tar, mut umoci) = (Times::default(), Times::default(), Times::default());
    for run in 0..setting.runs.min(RUNS_MAX) {
        let target = |name: &str| folder.join(format!("{name}-{run}"));
        let place = target("ours");
        let mut own = Command::new(setting.ours("examples/unpack"));
        own.arg(&layout.blob).arg(&place).arg(&layout.diff_id);
        once(&mut own, &place, &mut ours)?;
        let place = target("tar");
        let mut gnu = Command::new("tar");
        gnu.args(["-xzf"]).arg(&layout.blob).arg("-C").arg(&place).arg("--numeric-owner");
        once(&mut gnu, &place, &mut tar)?;
        if Setting::theirs("umoci").is_some() {
            let place = target("umoci");
            let mut other = Command::new("umoci");
            other.arg("unpack").arg("--image").arg(format!("{}:x", layout.folder.display()));
            once(other.arg(place.join("bundle")), &place, &mut umoci)?;
        }
    }
    let ours = ours.medians()?;
    let mut add = |name: &str, (wall, cpu): (f64, f64), target| {
        report.against("unpack, wall", (ours.0, "s"), (name, wall), target);
        report.against("unpack, processors", (ours.1, "s"), (name, cpu), target);
    };
    add("GNU tar", tar.medians()?, TAR_TARGET);
    if !umoci.wall.is_empty() {
        add("umoci", umoci.medians()?, UMOCI_TARGET);
    }
    Ok(())
}

struct Layout {
    folder: PathBuf,
    blob: PathBuf,
    diff_id: String,
}

/// An OCI layout with one image of one layer.
fn layout(folder: &Path) -> Result<Layout> {
    let image = folder.join("layout");
    let named = format!("{}:x", image.display());
    succeed(Command::new("umoci").arg("init").arg("--layout").arg(&image))?;
    succeed(Command::new("umoci").args(["new", "--image", &named]))?;
    let tar = folder.join("layer.tar");
    succeed(Command::new("tar").args(["-C", "/", "--numeric-owner", "-cf"]).arg(&tar).arg(TREE))?;
    let sum = succeed(Command::new("sha256sum").arg(&tar))?;
    let digits = sum.split_whitespace().next().context("read the digest")?;
    succeed(Command::new("umoci").args(["raw", "add-layer", "--image", &named]).arg(&tar))?;
    let blobs = image.join("blobs/sha256");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(blobs)? {
        let entry = entry?;
        files.push((entry.metadata()?.len(), entry.path()));
    }
    let (_, blob) = files.into_iter().max().context("find the layer's blob")?;
    Ok(Layout { folder: image, blob, diff_id: format!("sha256:{digits}") })
}

/// Runs `command` into the new folder `target`, and syncs. Nothing is removed before the end: for minutes after, ext4
/// looks for free inodes past each that was removed, which costs whoever comes next many times the unpacking.
fn once(command: &mut Command, target: &Path, times: &mut Times) -> Result<()> {
    std::fs::create_dir_all(target)?;
    rustix::fs::sync();
    let before = children_cpu_s();
    let start = Instant::now();
    succeed(command)?;
    let folder = std::fs::File::open(target)?;
    rustix::fs::syncfs(&folder)?;
    times.wall.push(start.elapsed().as_secs_f64());
    times.cpu.push(children_cpu_s() - before);
    Ok(())
}

/// Processor time of all ended children.
fn children_cpu_s() -> f64 {
    // Fields 16 and 17 of proc(5)'s stat, in hundredths of a second; the name before them may hold spaces.
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: Vec<f64> = fields.skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    ticks.iter().sum::<f64>() / 100.0
}
