//! `ferrite import`.

use ferrite_schema::api::Image;
use indicatif::{ProgressBar, ProgressStyle};

use crate::archive::{self, ArchiveError};
use crate::cli::ImportArguments;
use crate::failure::{Failure, chain};
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
    let nodes = session.everywhere()?;
    let (mut imported, mut failed) = (Vec::new(), Vec::new());
    for (client, machine) in &nodes {
        let bar = bar(size_bytes, session.draws_progress());
        if !machine.is_empty() {
            bar.set_message(format!("uploading to {machine}"));
        }
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
        match image {
            Ok(image) => imported.push(image),
            // What one machine does not take the others get all the same.
            Err(failure) if nodes.len() > 1 => {
                failed.push(format!("{machine}: {}", chain(&failure)));
            }
            Err(failure) => return Err(failure),
        }
    }
    show(&imported, nodes.len(), session)?;
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::SomeFailed { act: format!("import {}", file.display()), failed })
}

/// Shows an image that came onto some of `asked` nodes.
pub(super) fn show(
    images: &[Image],
    asked: usize,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    match images {
        [image] if asked == 1 => session.show(image, image_facts),
        _ => session.show(&images, |images| {
            let first = images.first().map(image_facts);
            first.map_or_else(
                || "on no machine".to_owned(),
                |first| format!("{first}\nmachines  {} of {asked}", images.len()),
            )
        }),
    }
}

fn image_facts(image: &Image) -> String {
    let mut lines = vec![("name", image.name.clone())];
    lines.extend(image.also.iter().map(|name| ("also", name.clone())));
    lines.extend([("digest", image.digest.clone()), ("size", bytes(image.size_bytes))]);
    facts(&lines)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_an_image_are_shown() {
        let one = |also: &[&str]| Image {
            name: "own:1".to_owned(),
            also: also.iter().map(|name| (*name).to_owned()).collect(),
            ..Image::default()
        };
        assert!(!image_facts(&one(&[])).contains("also"));
        let text = image_facts(&one(&["other:2", "third:3"]));
        assert!(text.contains("other:2") && text.contains("third:3"), "{text}");
    }
}
