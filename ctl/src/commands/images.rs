//! `ferrite pull` and `ferrite images`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ferrite_schema::api::{ExportFormat, Image, LayerPhase, LayerProgress, Pruned, PullProgress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::{ArchiveFormat, ImagesCommand};
use crate::client::PullStep;
use crate::failure::Failure;
use crate::output::{bytes, columns, facts, printable};
use crate::session::Session;

/// Characters of a digest that people get to see.
const DIGEST_CHARS: usize = 19;

pub(super) fn run(
    command: Option<ImagesCommand>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    match command.unwrap_or(ImagesCommand::List) {
        ImagesCommand::List => {
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
    let client = session.client()?;
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
    session.show(&image?, |image| {
        facts(&[
            ("name", image.name.clone()),
            ("digest", image.digest.clone()),
            ("size", bytes(image.size_bytes)),
        ])
    })
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
