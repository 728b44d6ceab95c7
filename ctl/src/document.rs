//! Documents that people wrote: read, checked, and shown with the place that is wrong.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ferrite_schema::document::Problem;

/// Largest document: far above any that a person writes, so that a disk image given by mistake is refused
/// instead of read.
const DOCUMENT_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DocumentError {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("read {path}: it is larger than {} MiB, so it is no document", DOCUMENT_MAX_BYTES / 1024 / 1024)]
    TooLarge { path: PathBuf },
    #[error("read {path}: it is not UTF-8 text")]
    NotText { path: PathBuf },
    #[error("{path}:{}:{}: {}\n{excerpt}", problem.line, problem.column, problem.message)]
    Invalid { path: PathBuf, problem: Problem, excerpt: String },
    #[error("{bad} of {all} files are not valid")]
    Several { bad: usize, all: usize },
}

/// Reads `path` (`-` is standard input) and parses it.
///
/// # Errors
/// The file cannot be read or its content is not valid.
pub fn load<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, Problem>,
) -> Result<T, DocumentError> {
    let text = text_of(path)?;
    parse(&text).map_err(|problem| DocumentError::Invalid {
        path: path.to_owned(),
        excerpt: excerpt(&text, &problem),
        problem,
    })
}

fn text_of(path: &Path) -> Result<String, DocumentError> {
    let failed = |source| DocumentError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(DOCUMENT_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(DOCUMENT_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > DOCUMENT_MAX_BYTES {
        return Err(DocumentError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|_not_utf8| DocumentError::NotText { path: path.to_owned() })
}

/// The offending line with a mark under the place.
fn excerpt(text: &str, problem: &Problem) -> String {
    let line = text.lines().nth(problem.line.saturating_sub(1)).unwrap_or_default();
    let number = problem.line.to_string();
    let gutter = " ".repeat(number.len());
    let indent: String = line
        .chars()
        .take(problem.column.saturating_sub(1))
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    format!("{gutter} |\n{number} | {line}\n{gutter} | {indent}^")
}

#[cfg(test)]
mod tests {
    use super::{DocumentError, load};
    use std::path::Path;

    fn check(text: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("unit.toml");
        std::fs::write(&file, text).unwrap();
        let error = load(&file, ferrite_schema::unit::parse).unwrap_err().to_string();
        let prefix = format!("{}/", folder.path().display());
        assert_eq!(error.replace(&prefix, ""), expected);
    }

    #[test]
    fn a_bad_value_is_shown_in_its_line() {
        check(
            "name = \"hello\"\nimage = \"hello\"\nstop_grace_s = \"ten\"\n",
            "unit.toml:3:16: invalid type: string \"ten\", expected u32\n  |\n3 | stop_grace_s = \"ten\"\n  |                ^",
        );
    }

    #[test]
    fn a_binary_file_is_not_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk.raw");
        std::fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
        let error = load(&file, ferrite_schema::unit::parse).unwrap_err();
        assert!(matches!(error, DocumentError::NotText { .. }), "{error}");
    }

    #[test]
    fn an_absent_file_is_named() {
        let error = load(Path::new("/nowhere/unit.toml"), ferrite_schema::unit::parse).unwrap_err();
        assert_eq!(error.to_string(), "read /nowhere/unit.toml");
    }

    #[test]
    fn a_huge_file_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk.raw");
        std::fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
        let error = load(&file, ferrite_schema::unit::parse).unwrap_err();
        assert!(matches!(error, DocumentError::TooLarge { .. }), "{error}");
    }
}
