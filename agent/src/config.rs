//! The node's configuration: where it comes from, and what happens when it is bad.
//!
//! A configuration is used whole or not at all. The last good one is kept on STATE; a node whose new one is
//! bad runs with that, and says so on the console and in its status.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ferrite_files::durable;
use ferrite_files::quarantine::Quarantine;
use ferrite_schema::node_config::{self, NodeConfig};

/// Where configurations are looked for.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Files, the first that is there counts.
    pub files: Vec<PathBuf>,
    /// The last good one.
    pub last_good: PathBuf,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What the node runs with.
    pub config: NodeConfig,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Loads the configuration; never fails, since a node without one must still be able to say so.
#[must_use]
pub fn load(sources: &Sources) -> Loaded {
    let mut warnings = Vec::new();
    for path in &sources.files {
        match read(path) {
            Ok(None) => {}
            Ok(Some(text)) => match node_config::parse(&text) {
                Ok(config) => {
                    keep(&sources.last_good, &text, &mut warnings);
                    return Loaded { config, warnings };
                }
                Err(problem) => {
                    warnings
                        .push(format!("configuration {} is not used: {problem}", path.display()));
                    return last_good(sources, warnings);
                }
            },
            Err(error) => {
                warnings.push(format!("configuration {} cannot be read: {error}", path.display()));
                return last_good(sources, warnings);
            }
        }
    }
    warnings.push(
        "there is no configuration: neither from QEMU (fw_cfg) nor on the OEM partition".to_owned(),
    );
    Loaded { config: NodeConfig::default(), warnings }
}

/// A text of bytes that are not UTF-8 is a text with a problem, not a file that cannot be read.
fn read(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn keep(path: &Path, text: &str, warnings: &mut Vec<String>) {
    let private = std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o077 == 0);
    // An earlier version let everybody read it.
    if private && std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return;
    }
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        warnings.extend(Quarantine::beside(path).keep(path, "a file should be there"));
    }
    if let Err(error) = durable::write(path, text.as_bytes()) {
        warnings.push(format!(
            "the configuration could not be kept as the last good one: {}",
            ferrite_schema::chain(&error)
        ));
    }
}

fn last_good(sources: &Sources, mut warnings: Vec<String>) -> Loaded {
    let path = sources.last_good.display();
    let (config, said) = match read(&sources.last_good) {
        Ok(None) => {
            (None, "there is no last good configuration: the node runs with none".to_owned())
        }
        Ok(Some(text)) => match node_config::parse(&text) {
            Ok(config) => {
                (Some(config), "the node runs with its last good configuration".to_owned())
            }
            // It stays: the other slot may understand it.
            Err(problem) => (
                None,
                format!(
                    "the last good configuration {path} is not used, the node runs with none: {problem}"
                ),
            ),
        },
        Err(error) => (
            None,
            format!(
                "the last good configuration {path} cannot be read, the node runs with none: {error}"
            ),
        ),
    };
    warnings.push(said);
    Loaded { config: config.unwrap_or_default(), warnings }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "#cloud-config\nhostname = \"a\"\n";
    const BAD: &str = "#cloud-config\nhostnam = \"b\"\n";

    fn check(
        texts: [Option<&str>; 2],
        kept: Option<&str>,
        hostname: Option<&str>,
        warnings: usize,
    ) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let files = vec![folder.path().join("0"), folder.path().join("1")];
        let last_good = folder.path().join("good");
        for (file, text) in files.iter().chain([&last_good]).zip([texts[0], texts[1], kept]) {
            if let Some(text) = text {
                std::fs::write(file, text).unwrap();
            }
        }
        let loaded = load(&Sources { files, last_good: last_good.clone() });
        assert_eq!(loaded.config.hostname.as_deref(), hostname);
        assert_eq!(loaded.warnings.len(), warnings, "{:?}", loaded.warnings);
        if warnings == 0 {
            assert_eq!(std::fs::read_to_string(last_good).unwrap(), GOOD);
        }
        loaded.warnings
    }

    #[test]
    fn what_everybody_could_read_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (file, last_good) = (folder.path().join("0"), folder.path().join("good"));
        for path in [&file, &last_good] {
            std::fs::write(path, GOOD).unwrap();
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(path, open).unwrap();
        }
        drop(load(&Sources { files: vec![file], last_good: last_good.clone() }));
        assert_eq!(std::fs::metadata(last_good).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_first_that_is_there_counts_and_is_kept() {
        check([Some(GOOD), Some(BAD)], None, Some("a"), 0);
        check([None, Some(GOOD)], Some(BAD), Some("a"), 0);
        check([None, None], Some(GOOD), None, 1);
    }

    #[test]
    fn a_last_good_one_that_is_no_file_or_no_text_hinders_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (file, last_good) = (folder.path().join("0"), folder.path().join("lib/good"));
        std::fs::create_dir_all(last_good.join("x")).unwrap();
        let sources = Sources { files: vec![file.clone()], last_good: last_good.clone() };
        std::fs::write(&file, BAD).unwrap();
        assert!(load(&sources).warnings[1].contains("cannot be read"));
        std::fs::write(&file, GOOD).unwrap();
        assert!(load(&sources).warnings[0].contains("set aside"));
        assert_eq!(std::fs::read_to_string(&last_good).unwrap(), GOOD);
        std::fs::write(&last_good, b"\xff").unwrap();
        assert!(load(&sources).warnings.is_empty());
        assert_eq!(std::fs::read_to_string(&last_good).unwrap(), GOOD);
    }

    #[test]
    fn a_bad_one_is_never_half_applied() {
        let warnings = check([Some(BAD), None], Some(GOOD), Some("a"), 2);
        assert!(warnings[0].contains("line 2, column 1"), "{warnings:?}");
        assert!(warnings[0].contains("hostname"), "{warnings:?}");
        let warnings = check([Some(BAD), None], Some(BAD), None, 2);
        assert!(
            warnings[1].contains("last good") && warnings[1].contains("hostnam"),
            "{warnings:?}"
        );
        check([Some("#cloud-config\nhostname = \"b\"\nx = 1\n"), None], None, None, 2);
    }
}
