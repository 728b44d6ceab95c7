//! Three machines that are one cluster, from outside: what a person with `ferrite` sees, by this computer's clock. Emulated
//! machines are slow and their leases long: the figures say so. One module per thing that is measured, each adds its rows; one that
//! fails is reported as such at the end, and the other figures are still shown.

mod asking;
mod idle;
mod leader;
mod mesh;
mod replaced;
mod visible;

use std::cell::OnceCell;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ferrite_tests::computer::Computer;

use crate::arguments::ClusterArguments;
use crate::report::Report;
use asking::{answering, processor_s, until, voters};

const CLUSTER: &str = "bench";
const NODES: [&str; 3] = ["bench-1", "bench-2", "bench-3"];

/// A part of the suite.
type Part = (&'static str, fn(&Setting<'_>, &mut Report) -> Result<()>);

/// All parts, in the order of the table. `mesh` is the last of those that share a cluster: it ends it.
const PARTS: &[Part] = &[
    ("up", up),
    ("idle", idle::measure),
    ("visible", visible::measure),
    ("replaced", replaced::measure),
    ("leader", leader::measure),
    ("mesh", mesh::measure),
    ("memory", idle::memory),
];

/// What the parts share.
struct Setting<'run> {
    arguments: &'run ClusterArguments,
    /// The cluster, from when a part needs it until one ends it.
    computer: Computer,
    begun: OnceCell<Begun>,
    serves: OnceCell<()>,
}

/// What it took to begin it.
struct Begun {
    together_s: f64,
    processor_s: f64,
    voters_s: f64,
}

impl Setting<'_> {
    fn image(&self) -> Result<&str> {
        self.arguments.image.to_str().context("name the image")
    }

    /// The cluster, which has begun, and how long that took.
    fn cluster(&self) -> Result<(&Computer, &Begun)> {
        let begun = match self.begun.get() {
            Some(begun) => begun,
            None => {
                let begun = self.begin()?;
                self.begun.get_or_init(|| begun)
            }
        };
        Ok((&self.computer, begun))
    }

    fn begin(&self) -> Result<Begun> {
        let (computer, begun) = (&self.computer, Instant::now());
        computer.ferrite(&["cluster", "up", CLUSTER, "--nodes", "3", "--image", self.image()?])?;
        let (together_s, processor_s) = (begun.elapsed().as_secs_f64(), processor_s(&NODES)?);
        until(
            || Ok(computer.run(&["etcd", "status"])?.status.success() && voters(computer)? == 3),
        )?;
        Ok(Begun { together_s, processor_s, voters_s: begun.elapsed().as_secs_f64() })
    }

    /// The cluster with three instances of `web` that answer.
    fn serving(&self) -> Result<&Computer> {
        let (computer, _) = self.cluster()?;
        if self.serves.get().is_none() {
            self.serve(computer)?;
            self.serves.get_or_init(|| ());
        }
        until(|| Ok(answering(computer)?.len() == 3))?;
        Ok(computer)
    }

    fn serve(&self, computer: &Computer) -> Result<()> {
        let archive = self.arguments.busybox.to_str().context("name the archive")?;
        computer.ferrite(&["import", archive, "--name", "hello"])?;
        computer.ferrite(&["unit", "start", "configs/units/web.toml"])?;
        Ok(())
    }

    /// The cluster is needed no more, and what comes next has the processors for itself.
    fn leave(&self) {
        drop(self.computer.run(&["cluster", "kill", CLUSTER]));
    }
}

/// Measures the parts that were asked for; all, where none was named.
pub(crate) fn measure(arguments: &ClusterArguments, report: &mut Report) -> Result<()> {
    for name in &arguments.only {
        if !PARTS.iter().any(|(part, _)| part == name) {
            let known: Vec<&str> = PARTS.iter().map(|(part, _)| *part).collect();
            bail!("there is no part {name:?}; there are {}", known.join(", "));
        }
    }
    let computer = Computer::new("bench-cluster", CLUSTER)?;
    let (begun, serves) = (OnceCell::new(), OnceCell::new());
    let setting = Setting { arguments, computer, begun, serves };
    for (name, part) in PARTS {
        let asked = arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
        if !asked {
            continue;
        }
        if let Err(error) = part(&setting, report) {
            report.missing(&format!("{name}: {error:#}"));
        }
        // What was measured is not lost by what comes after it.
        report.write_json(&arguments.json)?;
    }
    Ok(())
}

fn up(setting: &Setting<'_>, report: &mut Report) -> Result<()> {
    let (_, begun) = setting.cluster()?;
    report.figure("three nodes up and one cluster, wall", begun.together_s, "s");
    report.figure("three nodes up and one cluster, processor", begun.processor_s, "s");
    report.figure("until all three run etcd, wall", begun.voters_s, "s");
    Ok(())
}
