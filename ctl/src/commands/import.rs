//! `ferrite import`.

use indicatif::{ProgressBar, ProgressStyle};

use crate::archive::{self, ArchiveError};
use crate::cli::ImportArguments;
use crate::failure::Failure;
use crate::output::{bytes, facts};
use crate::session::Session;

pub(super) fn run(arguments: &ImportArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    // A folder is packed first; the file that it is packed into goes with this value.
    let packed = archive::pack(&arguments.file)?;
    let file = packed.as_ref().map_or(arguments.file.as_path(), |file| file.path());
    archive::check(file)?;
    let size_bytes = std::fs::metadata(file)
        .map_err(|source| ArchiveError::Read { path: file.to_owned(), source })?
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
        Ok(client.import(file, arguments.name.as_deref(), progress).await?)
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
