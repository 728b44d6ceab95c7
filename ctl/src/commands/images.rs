//! `ferrite pull` and `ferrite images`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ferrite_schema::api::{
    ExportFormat, Image, LayerPhase, LayerProgress, MachineState, Pruned, PullProgress,
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::{ArchiveFormat, ImagesCommand};
use crate::client::{Client, PullStep};
use crate::failure::{Failure, chain};
use crate::machine;
use crate::output::{bytes, columns, printable};
use crate::session::Session;

/// Characters of a digest that people get to see.
pub(super) const DIGEST_CHARS: usize = 19;

pub(super) fn run(
    command: Option<ImagesCommand>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    match command.unwrap_or(ImagesCommand::List) {
        ImagesCommand::List => {
            if let Some(cluster) = session.cluster()? {
                return list_everywhere(&cluster, session);
            }
            let client = session.client()?;
            let images = session.wait_for(async { Ok(client.images().await?) })?;
            session.show(&images, |images| table(images))
        }
        ImagesCommand::Remove { name } => {
            let client = session.client()?;
            let pruned = session.wait_for(async { Ok(client.remove_image(&name).await?) })?;
            session.show(&pruned, pruned_text)
        }
        ImagesCommand::Prune => {
            let client = session.client()?;
            let pruned = session.wait_for(async { Ok(client.prune_images().await?) })?;
            session.show(&pruned, pruned_text)
        }
        ImagesCommand::Export { name, file, format } => export(&name, &file, format, session),
    }
}

pub(super) fn pull(reference: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    let nodes = session.everywhere()?;
    let (mut pulled, mut failed) = (Vec::new(), Vec::new());
    for (client, machine) in &nodes {
        match pull_onto(client, reference, session) {
            Ok(image) => pulled.push(image),
            // What one machine cannot fetch the others get all the same.
            Err(failure) if nodes.len() > 1 => {
                failed.push(format!("{machine}: {}", chain(&failure)));
            }
            Err(failure) => return Err(failure),
        }
    }
    super::import::show(&pulled, nodes.len(), session)?;
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::SomeFailed { act: format!("pull {reference}"), failed })
}

fn pull_onto(client: &Client, reference: &str, session: &Session<'_>) -> Result<Image, Failure> {
    let mut bars = Bars::new(session.draws_progress());
    let image = session.wait_for(async {
        let mut pulling = client.pull(reference).await?;
        loop {
            match pulling.next().await? {
                PullStep::Progress(progress) => bars.show(&progress),
                PullStep::Done(image) => break Ok(image),
                PullStep::Failed(why) => break Err(Failure::Pull { why }),
            }
        }
    });
    bars.clear();
    image
}

fn export(
    name: &str,
    file: &Path,
    format: ArchiveFormat,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let format = match format {
        ArchiveFormat::Oci => ExportFormat::Oci,
        ArchiveFormat::Docker => ExportFormat::Docker,
    };
    let client = session.client()?;
    if file == Path::new("-") {
        let mut out = io::stdout().lock();
        let length = session.wait_for(client.export_image(name, format, |piece| {
            out.write_all(piece).map_err(|source| Failure::Write { path: "-".into(), source })
        }));
        return length.map(drop);
    }
    // Written beside and renamed: an export that breaks off leaves no file that looks like one.
    let beside = PathBuf::from(format!("{}.part", file.display()));
    let failed = |source| Failure::Write { path: beside.clone(), source };
    let mut out = File::create(&beside).map_err(failed)?;
    let written = session
        .wait_for(client.export_image(name, format, |piece| out.write_all(piece).map_err(failed)));
    let length = match written {
        Ok(length) => length,
        Err(error) => {
            // The error says enough.
            drop(std::fs::remove_file(&beside));
            return Err(error);
        }
    };
    std::fs::rename(&beside, file).map_err(failed)?;
    session.say(&format!("{}: {}", file.display(), bytes(length)))
}

/// An image of a machine of the cluster.
#[derive(Debug, Serialize)]
struct OnMachine {
    machine: String,
    #[serde(flatten)]
    image: Image,
}

/// What all machines have, by image. Where one does not answer, what the others have is shown first.
fn list_everywhere(cluster: &Client, session: &mut Session<'_>) -> Result<(), Failure> {
    let machines = session.wait_for(async { Ok(cluster.machines().await?) })?;
    let (mut images, mut failed) = (Vec::new(), Vec::new());
    for machine in machines.iter().filter(|machine| machine.state == MachineState::Alive) {
        let client = machine::client(cluster, machine)?;
        match session.wait_for(async { Ok(client.images().await?) }) {
            Ok(all) => images.extend(
                all.into_iter().map(|image| OnMachine { machine: machine.name.clone(), image }),
            ),
            Err(failure) => failed.push(format!("{}: {}", machine.name, chain(&failure))),
        }
    }
    images.sort_by(|one, other| {
        (&one.image.name, &one.machine).cmp(&(&other.image.name, &other.machine))
    });
    session.show(&images, |images| {
        let row = |one: &OnMachine| {
            let digest = one.image.digest.chars().take(DIGEST_CHARS).collect();
            [one.image.name.clone(), one.machine.clone(), digest, bytes(one.image.size_bytes)]
        };
        let rows: Vec<[String; 4]> = images.iter().map(row).collect();
        match rows.is_empty() {
            true => "no images: `ferrite import FILE` brings one to every machine".to_owned(),
            false => columns(["IMAGE", "MACHINE", "DIGEST", "SIZE"], &rows),
        }
    })?;
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::SomeFailed { act: "list images".to_owned(), failed })
}

fn pruned_text(pruned: &Pruned) -> String {
    let freed = format!("{} freed", bytes(pruned.freed_bytes));
    if pruned.images.is_empty() {
        return format!("no image removed, {freed}");
    }
    format!("removed {}\n{freed}", pruned.images.join(", "))
}

fn table(images: &[Image]) -> String {
    if images.is_empty() {
        return "no images: `ferrite pull REF` fetches one, `ferrite import FILE` brings one"
            .to_owned();
    }
    let rows: Vec<[String; 6]> = images
        .iter()
        .map(|image| {
            [
                image.name.clone(),
                image.digest.chars().take(DIGEST_CHARS).collect(),
                bytes(image.size_bytes),
                bytes(image.own_bytes),
                bytes(image.shared_bytes),
                image.units.join(","),
            ]
        })
        .collect();
    columns(["NAME", "DIGEST", "DOWNLOAD", "OWN", "SHARED", "UNITS"], &rows)
}

/// A bar per layer.
struct Bars {
    all: Option<MultiProgress>,
    bars: Vec<ProgressBar>,
}

impl Bars {
    fn new(draws: bool) -> Self {
        Self { all: draws.then(MultiProgress::new), bars: Vec::new() }
    }

    fn show(&mut self, progress: &PullProgress) {
        let Some(all) = &self.all else { return };
        for (index, layer) in progress.layers.iter().enumerate() {
            if self.bars.len() <= index {
                self.bars.push(all.add(bar(layer)));
            }
            if let Some(bar) = self.bars.get(index) {
                bar.set_position(layer.done_bytes);
                bar.set_message(phase(layer.phase));
            }
        }
    }

    fn clear(&self) {
        for bar in &self.bars {
            bar.finish_and_clear();
        }
    }
}

fn bar(layer: &LayerProgress) -> ProgressBar {
    let digest: String = printable(&layer.digest).chars().take(DIGEST_CHARS).collect();
    let bar = ProgressBar::new(layer.size_bytes).with_prefix(digest);
    let template = "{prefix} {msg:11} [{bar:32}] {binary_bytes}/{binary_total_bytes}";
    // The template is constant: were it wrong, the plain style would do.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

const fn phase(phase: LayerPhase) -> &'static str {
    match phase {
        LayerPhase::Waiting => "waiting",
        LayerPhase::Downloading => "downloading",
        LayerPhase::Unpacking => "unpacking",
        LayerPhase::Done => "done",
    }
}
