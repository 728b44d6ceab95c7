//! The syntax of systemd's unit files: sections, assignments that may go on over several lines, comments.
//!
//! A line that ends with a backslash goes on in the next one; comments in between are passed over. What an assignment means, and
//! that an empty one takes back all before it, is its reader's business.

use ferrite_schema::document::Problem;

/// What is written behind a `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    /// All of it, in one line; where a line went on is a blank.
    pub(crate) text: String,
    /// From which byte on it is of which line of the file; the first is of byte 0.
    breaks: Vec<(usize, usize)>,
}

impl Value {
    /// Line of the file that this byte is in, from 1.
    pub(crate) fn line_at(&self, offset: usize) -> usize {
        let before = self.breaks.iter().take_while(|(from, _)| *from <= offset);
        before.last().map_or(1, |(_, line)| *line)
    }
}

/// An assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Name of its section.
    pub(crate) section: String,
    /// What is before the `=`.
    pub(crate) key: String,
    /// What is behind it.
    pub(crate) value: Value,
    /// Its first line, from 1.
    pub(crate) line: usize,
}

/// A line as systemd sees it: with those in which it goes on.
struct Logical {
    text: String,
    breaks: Vec<(usize, usize)>,
}

/// Reads all assignments, in order.
///
/// # Errors
/// The first line that is neither a section's name nor an assignment nor a comment.
pub(crate) fn read(text: &str) -> Result<Vec<Entry>, Problem> {
    let mut entries = Vec::new();
    let mut section: Option<String> = None;
    for logical in logical(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let line = logical.breaks.first().map_or(1, |(_, line)| *line);
        let trimmed = logical.text.trim();
        if let Some(rest) = trimmed.strip_prefix('[') {
            let Some(name) = rest.strip_suffix(']') else {
                return Err(problem(line, "a section's name ends with `]`"));
            };
            section = Some(name.to_owned());
            continue;
        }
        let Some((key, value)) = logical.text.split_once('=') else {
            let why = "this is no `KEY=VALUE`; where it belongs to the line before, that one must end with a backslash, without blanks behind it";
            return Err(problem(line, why));
        };
        let Some(section) = &section else {
            return Err(problem(line, "it stands before the first section: begin with `[Unit]`"));
        };
        let start = logical.text.len() - value.trim_start().len();
        let value = Value {
            text: value.trim().to_owned(),
            breaks: logical
                .breaks
                .iter()
                .map(|(from, line)| (from.saturating_sub(start), *line))
                .collect(),
        };
        entries.push(Entry { section: section.clone(), key: key.trim().to_owned(), value, line });
    }
    Ok(entries)
}

/// A problem of a line, which has no one place in it.
pub(crate) fn problem(line: usize, message: impl Into<String>) -> Problem {
    Problem { line, column: 1, message: message.into() }
}

fn logical(text: &str) -> Vec<Logical> {
    let mut all = Vec::new();
    let mut open: Option<Logical> = None;
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let first = line.trim_start().chars().next();
        if matches!(first, Some('#' | ';')) || (open.is_none() && first.is_none()) {
            continue;
        }
        let mut logical =
            open.take().unwrap_or_else(|| Logical { text: String::new(), breaks: Vec::new() });
        logical.breaks.push((logical.text.len(), index + 1));
        let escapes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        match line.strip_suffix('\\').filter(|_| escapes % 2 == 1) {
            Some(line) => {
                logical.text.push_str(line);
                logical.text.push(' ');
                open = Some(logical);
            }
            None => {
                logical.text.push_str(line);
                all.push(logical);
            }
        }
    }
    all.extend(open);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_assignments_and_comments() {
        let text = "\u{feff}# a comment\n\n[Unit]\r\nDescription = some words \r\n; another\n[Service]\nExecStart=a=b\nExecStart=\n";
        let entries = read(text).unwrap();
        let shown: Vec<_> = entries
            .iter()
            .map(|one| (one.section.as_str(), one.key.as_str(), one.value.text.as_str(), one.line))
            .collect();
        assert_eq!(
            shown,
            [
                ("Unit", "Description", "some words", 4),
                ("Service", "ExecStart", "a=b", 7),
                ("Service", "ExecStart", "", 8),
            ]
        );
    }

    #[test]
    fn a_line_goes_on_over_comments_and_remembers_where_its_words_stood() {
        let text =
            "[Service]\nExecStart=/bin/a \\\n  # not this\n  --one \\\n\t--two\nType=oneshot\n";
        let entries = read(text).unwrap();
        let value = &entries[0].value;
        assert_eq!(value.text.split_whitespace().collect::<Vec<_>>(), ["/bin/a", "--one", "--two"]);
        let line = |word| value.line_at(value.text.find(word).unwrap());
        assert_eq!((line("/bin/a"), line("--one"), line("--two")), (2, 4, 5));
        assert_eq!((entries[1].key.as_str(), entries[1].line), ("Type", 6));
    }

    #[test]
    fn two_backslashes_at_the_end_are_no_continuation() {
        let entries = read("[A]\nk=x\\\\\nl=y\\").unwrap();
        assert_eq!((entries[0].value.text.as_str(), entries.len()), ("x\\\\", 2));
        assert_eq!(entries[1].value.text, "y");
    }

    #[test]
    fn what_is_no_assignment_is_placed() {
        for (text, line, words) in [
            ("k=v\n", 1, "before the first section"),
            ("[Unit\n", 1, "ends with `]`"),
            ("[Service]\nExecStart=/a \\ \n  --b\n", 3, "without blanks behind it"),
            ("[Service]\n\n--name x\n", 3, "no `KEY=VALUE`"),
        ] {
            let problem = read(text).unwrap_err();
            assert_eq!(problem.line, line, "{text}");
            assert!(problem.message.contains(words), "{problem}");
        }
    }
}
