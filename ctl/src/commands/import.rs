//! `ferrite import` and `ferrite images`.

use ferrite_schema::api::Image;
use indicatif::{ProgressBar, ProgressStyle};

use crate::archive::{self, ArchiveError};
use crate::cli::ImportArguments;
use crate::failure::Failure;
use crate::output::{bytes, columns, facts};
use crate::session::Session;

/// Characters of a digest that people get to see.
const DIGEST_CHARS: usize = 19;

pub(super) fn run(arguments: &ImportArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    archive::check(&arguments.file)?;
    let size_bytes = std::fs::metadata(&arguments.file)
        .map_err(|source| ArchiveError::Read { path: arguments.file.clone(), source })?
        .len();
    let client = session.client()?;
    let bar = bar(size_bytes, session.draws_progress());
    let seen = bar.clone();
    let image = session.wait_for(async {
        let progress = move |count| {
            seen.inc(count);
            if seen.position() >= size_bytes {
                seen.set_message("the node unpacks it");
            }
        };
        Ok(client.import(&arguments.file, &arguments.name, progress).await?)
    });
    bar.finish_and_clear();
    session.show(&image?, |image| {
        facts(&[
            ("name", image.name.clone()),
            ("digest", image.digest.clone()),
            ("size", bytes(image.size_bytes)),
        ])
    })
}

pub(super) fn list(session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.client()?;
    let images = session.wait_for(async { Ok(client.images().await?) })?;
    session.show(&images, |images| table(images))
}

fn table(images: &[Image]) -> String {
    if images.is_empty() {
        return "no images: `ferrite import FILE --name NAME` brings one".to_owned();
    }
    let rows: Vec<[String; 3]> = images
        .iter()
        .map(|image| {
            let digest = image.digest.chars().take(DIGEST_CHARS).collect();
            [image.name.clone(), digest, bytes(image.size_bytes)]
        })
        .collect();
    columns(["NAME", "DIGEST", "SIZE"], &rows)
}

fn bar(size_bytes: u64, visible: bool) -> ProgressBar {
    if !visible {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(size_bytes).with_message("uploading");
    match ProgressStyle::with_template(
        "{msg} [{bar:32}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
    ) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
