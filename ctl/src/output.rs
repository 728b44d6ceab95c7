//! What a command shows: a table for people, JSON or YAML for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::screen::visible_in_line;

/// Form of a command's result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// Why a result cannot be shown.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OutputError {
    #[error("write to standard output")]
    Write { source: io::Error },
    #[error("encode the result as JSON")]
    Json { source: serde_json::Error },
    #[error("encode the result as YAML")]
    Yaml { source: serde_saphyr::ser::Error },
}

impl OutputError {
    /// The reader went away, as `head` does: nothing to complain about.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Write { source } => source.kind() == io::ErrorKind::BrokenPipe,
            Self::Json { source } => source.io_error_kind() == Some(io::ErrorKind::BrokenPipe),
            Self::Yaml { .. } => false,
        }
    }
}

/// Writes `value` in `format`; `table` says what people see.
///
/// # Errors
/// The value cannot be encoded or written.
pub fn show<T: Serialize>(
    out: &mut dyn Write,
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), OutputError> {
    let text = match format {
        Format::Table => table(value),
        Format::Json => {
            serde_json::to_string_pretty(value).map_err(|source| OutputError::Json { source })?
        }
        Format::Yaml => {
            serde_saphyr::to_string(value).map_err(|source| OutputError::Yaml { source })?
        }
    };
    write_line(out, &text)
}

/// Writes `text` and, where it has none, a line end.
///
/// # Errors
/// It cannot be written.
pub fn write_line(out: &mut dyn Write, text: &str) -> Result<(), OutputError> {
    let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    out.write_all(text.as_bytes())
        .and_then(|()| out.write_all(end.as_bytes()))
        .and_then(|()| out.flush())
        .map_err(|source| OutputError::Write { source })
}

/// Lays out rows under a heading: columns as wide as needed, no lines, no colours.
#[must_use]
pub fn columns<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading);
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    trimmed(&table.to_string())
}

/// Lays out `name  value` lines.
#[must_use]
pub fn facts(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> =
        rows.iter().map(|(name, value)| format!("{name:width$}  {}", printable(value))).collect();
    trimmed(&lines.join("\n"))
}

/// `text` without characters that steer a terminal: a node's words must not.
#[must_use]
pub fn printable(text: &str) -> String {
    visible_in_line(text).into_owned()
}

/// Bytes for a person, in powers of 1024.
#[must_use]
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// A figure, and the most that it may be where it is bounded; `-` where nobody counts it.
#[must_use]
pub fn of(value: Option<u64>, most: Option<u64>, text: fn(u64) -> String) -> String {
    match (value, most) {
        (Some(value), Some(most)) => format!("{} of {}", text(value), text(most)),
        (Some(value), None) => text(value),
        (None, _) => "-".to_owned(),
    }
}

/// A length of time for a person, its two largest parts: `3d 4h`, `4m 10s`.
#[must_use]
pub fn seconds(count: u64) -> String {
    let (days, hours, minutes) = (count / 86_400, count / 3600 % 24, count / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{count}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", count % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Format, columns, facts, printable, seconds, show};

    fn check(format: Format, expected: &str) {
        let mut out = Vec::new();
        let value = serde_json::json!({"name": "hello", "pid": 7});
        show(&mut out, format, &value, |_| "the table".to_owned()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn formats() {
        check(Format::Table, "the table\n");
        check(Format::Json, "{\n  \"name\": \"hello\",\n  \"pid\": 7\n}\n");
        check(Format::Yaml, "name: hello\npid: 7\n");
    }

    #[test]
    fn columns_line_up_and_have_no_trailing_blanks() {
        let rows = [["hello", "running"], ["a-longer-name", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(
            columns(["NAME", "STATE"], &rows),
            "NAME           STATE\nhello          running\na-longer-name"
        );
    }

    #[test]
    fn facts_line_up() {
        let rows = [("id", "1".to_owned()), ("kernel", "6.12".to_owned())];
        assert_eq!(facts(&rows), "id      1\nkernel  6.12");
    }

    #[test]
    fn a_nodes_words_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\rc"), "a\u{241b}[2Jb\u{240d}c");
    }

    #[test]
    fn lengths_of_time() {
        for (count, expected) in
            [(0, "0s"), (59, "59s"), (250, "4m 10s"), (3_720, "1h 2m"), (273_600, "3d 4h")]
        {
            assert_eq!(seconds(count), expected);
        }
    }
}
