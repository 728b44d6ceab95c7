//! The node's configuration: where it comes from, and what happens when it is bad.
//!
//! A configuration is used whole or not at all. The last good one is kept on STATE; a node whose new one is bad, or is
//! not there any more, runs with that, and says so on the console and in its status. A node that cannot read the last
//! good one either has rules that it does not know: it runs no image and grants no exception until it knows them.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ferrite_files::durable;
use ferrite_files::quarantine::Quarantine;
use ferrite_files::small::{ReadSmall, read_small};
use ferrite_schema::node_config::{self, NodeConfig};

/// Longest document that is read.
const DOCUMENT_MAX_BYTES: u64 = 4 << 20;

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
    /// It is what somebody has written, or nobody has ever written anything.
    pub known: bool,
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
                    return Loaded { config, known: true, warnings };
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
    match std::fs::symlink_metadata(&sources.last_good) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Loaded { config: NodeConfig::default(), known: true, warnings }
        }
        _ => last_good(sources, warnings),
    }
}

/// A text of bytes that are not UTF-8 is a text with a problem, not a file that cannot be read.
fn read(path: &Path) -> Result<Option<String>, ReadSmall> {
    let bytes = read_small(path, DOCUMENT_MAX_BYTES)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn keep(path: &Path, text: &str, warnings: &mut Vec<String>) {
    let private = std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o077 == 0);
    // An earlier version let everybody read it.
    if private && read(path).is_ok_and(|old| old.as_deref() == Some(text)) {
        return;
    }
    if std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
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
    let problem = match read(&sources.last_good) {
        Ok(None) => "there is no last good configuration".to_owned(),
        Ok(Some(text)) => match node_config::parse(&text) {
            Ok(config) => {
                warnings.push("the node runs with its last good configuration".to_owned());
                return Loaded { config, known: true, warnings };
            }
            // It stays: the other slot may understand it.
            Err(problem) => format!("the last good configuration {path} is not used: {problem}"),
        },
        Err(error) => format!("the last good configuration {path} cannot be read: {error}"),
    };
    warnings.push(format!(
        "{problem}; the node does not know its rules, and until it has a configuration that it can read it runs no image"
    ));
    Loaded { config: NodeConfig::closed(), known: false, warnings }
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
        assert_eq!(loaded.known, loaded.config != NodeConfig::closed());
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
        // What was configured once does not fall open because a drive is missing.
        check([None, None], Some(GOOD), Some("a"), 2);
        check([None, None], None, None, 1);
        check([None, None], Some(BAD), None, 2);
    }

    #[test]
    fn a_last_good_one_that_is_no_file_or_no_text_hinders_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (file, last_good) = (folder.path().join("0"), folder.path().join("lib/good"));
        std::fs::create_dir_all(last_good.join("x")).unwrap();
        let sources = Sources { files: vec![file.clone()], last_good: last_good.clone() };
        std::fs::write(&file, BAD).unwrap();
        let loaded = load(&sources);
        assert!(loaded.warnings[1].contains("cannot be read"));
        assert_eq!((loaded.known, loaded.config), (false, NodeConfig::closed()));
        std::fs::write(&file, GOOD).unwrap();
        assert!(load(&sources).warnings[0].contains("set aside"));
        assert_eq!(std::fs::read_to_string(&last_good).unwrap(), GOOD);
        // Nobody writes into a FIFO: reading it would never end.
        std::fs::remove_file(&last_good).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&last_good).status().unwrap();
        assert!(made.success());
        assert!(load(&sources).warnings[0].contains("set aside"));
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
