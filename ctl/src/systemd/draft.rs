//! The unit as far as it has come, and what was said on the way.

use std::collections::BTreeMap;

use ferrite_schema::unit::{BadValue, RestartPolicy, Unit};

use super::findings::Findings;
use super::flags::Given;
use super::names::{Name, Open};

/// A unit that is being made of a file.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// Its name.
    pub(crate) name: &'a Name,
    /// As far as it has come.
    pub(crate) unit: Unit,
    /// What was said.
    pub(crate) findings: Findings,
    /// What stands in values and is known on the machine alone.
    pub(crate) open: Open,
    /// Which line a value comes from, by keys that lead to it, joined by points.
    lines: BTreeMap<String, usize>,
}

impl<'a> Draft<'a> {
    /// A unit that says nothing but its name. systemd starts nothing again that it was not told to.
    pub(crate) fn new(name: &'a Name, findings: Findings, open: Open) -> Option<Self> {
        let text = format!("name = \"{}\"\nimage = \"x\"\n", name.as_str());
        let mut unit: Unit = ferrite_schema::document::parse(&text).ok()?;
        unit.restart = Some(RestartPolicy::Never);
        Some(Self { name, unit, findings, open, lines: BTreeMap::new() })
    }

    /// Remembers the line that the value at `keys` comes from.
    pub(crate) fn mark(&mut self, keys: impl Into<String>, line: usize) {
        self.lines.insert(keys.into(), line);
    }

    /// The line that the value at `keys` comes from.
    pub(crate) fn line(&self, keys: &str) -> Option<usize> {
        self.lines.get(keys).copied()
    }

    /// The line that a bad value comes from; `otherwise` where none is known.
    pub(crate) fn line_of(&self, bad: &BadValue, otherwise: usize) -> usize {
        let of = |count| self.lines.get(&bad.path.get(..count)?.join("."));
        let known = (1..=bad.path.len()).rev().find_map(of);
        known.copied().unwrap_or(otherwise)
    }

    /// What of `text` is known on the machine alone.
    pub(crate) fn open_in(&self, text: &str) -> Option<&str> {
        self.open.iter().find(|open| text.contains(open.as_str())).map(String::as_str)
    }

    /// The option has a value that is known here; otherwise it is said that it is left out.
    pub(crate) fn knows(&mut self, given: &Given) -> bool {
        let Some(open) = self.open_in(&given.value) else { return true };
        let why = format!("{}; write the value itself", unknown(open));
        self.findings.lost(given.line, given.shown(), why);
        false
    }

    /// Says that an option's value is none that Ferrite could take.
    pub(crate) fn odd(&mut self, given: &Given, why: impl Into<String>) {
        self.findings.lost(given.line, given.shown(), why);
    }
}

/// Why nobody knows here what `open` stands for.
pub(crate) fn unknown(open: &str) -> String {
    match open.starts_with('%') {
        true => format!("`{open}` is known on the machine alone"),
        false => format!("`{open}` comes from a file of the machine, or from nowhere"),
    }
}
