//! The host's own Debian mirror, read from apt's sources in both of their formats.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Directory that apt's sources live in.
const APT_DIR: &str = "/etc/apt";
/// Suites of Debian's main archive; a third party's archive that uses another name is passed over.
const RELEASES: [&str; 8] =
    ["bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable", "oldstable"];

/// Archives to fetch from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// URI of the main archive.
    pub main: String,
    /// URI of the security archive, where the host knows one.
    pub security: Option<String>,
}

/// Why the host's mirror is not known.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FindMirror {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "no Debian archive in {APT_DIR}/sources.list or {APT_DIR}/sources.list.d: name one with --mirror URI"
    )]
    None,
}

/// Reads the host's apt sources.
///
/// # Errors
/// There are none that name a Debian archive.
pub fn of_host() -> Result<Mirrors, FindMirror> {
    in_directory(Path::new(APT_DIR))
}

fn in_directory(apt: &Path) -> Result<Mirrors, FindMirror> {
    let mut files = vec![apt.join("sources.list")];
    let parts = apt.join("sources.list.d");
    match fs::read_dir(&parts) {
        Ok(entries) => {
            let mut found: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            found.sort();
            files.extend(found);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(FindMirror::Read { path: parts, source }),
    }
    let mut entries = Vec::new();
    for path in files {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(FindMirror::Read { path, source }),
        };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => entries.extend(one_line(&text)),
            Some("sources") => entries.extend(deb822(&text)),
            Some(_) | None => {}
        }
    }
    choose(&entries).ok_or(FindMirror::None)
}

/// An archive that the host uses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    uri: String,
    suite: String,
}

fn choose(entries: &[Entry]) -> Option<Mirrors> {
    let trimmed = |entry: &Entry| entry.uri.trim_end_matches('/').to_owned();
    let is_main = |entry: &&Entry| RELEASES.contains(&entry.suite.as_str());
    let main = entries
        .iter()
        .filter(is_main)
        .find(|entry| trimmed(entry).ends_with("/debian"))
        .or_else(|| entries.iter().find(is_main))
        .map(trimmed)?;
    let security = entries
        .iter()
        .find(|entry| {
            let release = entry.suite.strip_suffix("-security");
            release.is_some_and(|release| RELEASES.contains(&release))
        })
        .map(trimmed);
    Some(Mirrors { main, security })
}

/// `deb [options] URI SUITE COMPONENT…`; only lines with the component `main` count.
fn one_line(text: &str) -> Vec<Entry> {
    text.lines()
        .filter_map(|line| {
            let line = line.split('#').next().unwrap_or("").trim();
            let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
            let rest = match rest.strip_prefix('[') {
                Some(options) => options.split_once(']')?.1,
                None => rest,
            };
            let mut words = rest.split_ascii_whitespace();
            let (uri, suite) = (words.next()?, words.next()?);
            words
                .any(|component| component == "main")
                .then(|| Entry { uri: uri.to_owned(), suite: suite.to_owned() })
        })
        .filter(|entry| is_plain(&entry.uri))
        .collect()
}

/// Stanzas of `Key: value` lines, continued by lines that start with a blank.
fn deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let without_comments: Vec<&str> =
        text.lines().filter(|line| !line.starts_with('#')).map(str::trim_end).collect();
    for stanza in without_comments.split(|line| line.is_empty()) {
        let words = |key: &str| field(stanza, key);
        let enabled = !words("enabled").iter().any(|word| word == "no");
        let binary = words("types").iter().any(|word| word == "deb");
        let main = words("components").iter().any(|word| word == "main");
        if !(enabled && binary && main) {
            continue;
        }
        for uri in words("uris").into_iter().filter(|uri| is_plain(uri)) {
            entries
                .extend(words("suites").into_iter().map(|suite| Entry { uri: uri.clone(), suite }));
        }
    }
    entries
}

fn field(stanza: &[&str], wanted: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut inside = false;
    for line in stanza {
        let value = if line.starts_with([' ', '\t']) {
            inside.then_some(*line)
        } else {
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            inside = key.eq_ignore_ascii_case(wanted);
            inside.then_some(value)
        };
        values.extend(value.unwrap_or("").split_ascii_whitespace().map(str::to_owned));
    }
    values
}

/// A medium or a mirror list cannot be handed on as it stands.
fn is_plain(uri: &str) -> bool {
    ["http://", "https://", "file:"].iter().any(|scheme| uri.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, sources: &str, expected: Option<(&str, Option<&str>)>) {
        let entries = [one_line(list), deb822(sources)].concat();
        let expected = expected.map(|(main, security)| Mirrors {
            main: main.to_owned(),
            security: security.map(str::to_owned),
        });
        assert_eq!(choose(&entries), expected, "{list:?} {sources:?}");
    }

    #[test]
    fn both_formats_are_read() {
        check(
            "# deb http://comment.test/debian trixie main\n\
             deb [arch=amd64 signed-by=/k.gpg] http://one.test/debian/ bookworm main contrib # why\n\
             deb-src http://src.test/debian bookworm main\n\
             deb http://sec.test/debian-security bookworm-security main\n",
            "",
            Some(("http://one.test/debian", Some("http://sec.test/debian-security"))),
        );
        check(
            "",
            "Types: deb deb-src\n# a comment inside\nURIs: http://two.test/debian\nSuites: trixie\n trixie-updates\n\
             Components: main\n\nTypes: deb\nURIs: https://two.test/debian-security/\nSuites: trixie-security\n\
             Components: main\n",
            Some(("http://two.test/debian", Some("https://two.test/debian-security"))),
        );
    }

    #[test]
    fn third_parties_media_and_disabled_stanzas_are_passed_over() {
        check(
            "deb cdrom:[Debian]/ trixie main\ndeb https://third.test/apt nodistro main\n\
             deb https://docker.test/linux/debian bookworm stable\ndeb https://x.test/pkg bookworm main\n",
            "Enabled: no\nTypes: deb\nURIs: http://off.test/debian\nSuites: trixie\nComponents: main\n\n\
             Types: deb\nURIs: http://right.test/debian\nSuites: trixie\nComponents: main\n",
            Some(("http://right.test/debian", None)),
        );
        check("deb https://third.test/apt nodistro main\n", "", None);
    }
}
