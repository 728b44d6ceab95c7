//! `ferrite config`.

mod certificates;
mod new_cluster;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::verdicts;
use crate::cli::{ConfigCommand, NewArguments};
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

/// The example cloud-config, which doubles as the template: every setting, explained.
const TEMPLATE: &str = include_str!("../../../configs/cloud-config.example.toml");
const TEMPLATE_HOSTNAME: &str = "# hostname = \"node-1\"";

pub(super) fn run(command: &ConfigCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        ConfigCommand::New(arguments) => match &arguments.cluster {
            Some(name) => new_cluster::run(name, arguments, session),
            None => new(arguments, session),
        },
        ConfigCommand::Validate { files } => verdicts::show(files, session, certificates::check),
    }
}

fn new(arguments: &NewArguments, session: &mut Session<'_>) -> Result<(), Failure> {
    let text = template(arguments.hostname.as_deref());
    match &arguments.file {
        None => Ok(output::write_line(session.out, &text)?),
        Some(path) => {
            write_whole(path, &text, arguments.force)?;
            session.say(&format!("wrote {}", path.display()))
        }
    }
}

fn template(hostname: Option<&str>) -> String {
    match hostname {
        Some(name) => {
            let line = format!("hostname = {}", toml::Value::from(name));
            TEMPLATE.replace(TEMPLATE_HOSTNAME, &line)
        }
        None => TEMPLATE.to_owned(),
    }
}

/// Writes a file all or nothing; an existing one only with `force`.
fn write_whole(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let failed = |source| Failure::Write { path: path.to_owned(), source };
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    if force {
        return file.persist(path).map(drop).map_err(|error| failed(error.error));
    }
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(_) if fs::symlink_metadata(path).is_ok() => {
            Err(Failure::Exists { path: path.to_owned() })
        }
        Err(error) => Err(failed(error.error)),
    }
}

#[cfg(test)]
mod tests {
    use super::{TEMPLATE, TEMPLATE_HOSTNAME, template, write_whole};
    use crate::failure::Failure;
    use ferrite_schema::node_config;

    #[test]
    fn the_template_is_a_valid_cloud_config() {
        assert!(TEMPLATE.contains(TEMPLATE_HOSTNAME));
        assert_eq!(node_config::parse(&template(None)).unwrap().hostname, None);
    }

    #[test]
    fn a_hostname_is_quoted_as_it_must_be() {
        for name in ["web-1", "quo\"te", "back\\slash"] {
            let config = node_config::parse(&template(Some(name))).unwrap();
            assert_eq!(config.hostname.as_deref(), Some(name));
        }
    }

    #[test]
    fn an_existing_file_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        write_whole(&path, "one", false).unwrap();
        assert!(matches!(write_whole(&path, "two", false), Err(Failure::Exists { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        write_whole(&path, "two", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing else is left behind");
    }
}
