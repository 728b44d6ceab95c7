//! What is said about lines of an imported file.

use serde::Serialize;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Ferrite has nothing for it: what it did is not done.
    Lost,
    /// Something like it is in the document, and a person should look at it.
    Changed,
    /// What it is for is done without it.
    NotNeeded,
}

impl Kind {
    /// Its name in a sentence.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Lost => "not carried over",
            Self::Changed => "carried over differently",
            Self::NotNeeded => "not needed",
        }
    }
}

/// What is said about a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    /// The line, from 1.
    pub(crate) line: usize,
    /// What stands there: a key, or an option.
    pub(crate) what: String,
    /// What became of it.
    pub(crate) kind: Kind,
    /// Why, and what to do.
    pub(crate) why: String,
}

/// All that is said about a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn lost(&mut self, line: usize, what: impl Into<String>, why: impl Into<String>) {
        self.add(line, what.into(), Kind::Lost, why.into());
    }

    pub(crate) fn changed(&mut self, line: usize, what: impl Into<String>, why: impl Into<String>) {
        self.add(line, what.into(), Kind::Changed, why.into());
    }

    pub(crate) fn not_needed(
        &mut self,
        line: usize,
        what: impl Into<String>,
        why: impl Into<String>,
    ) {
        self.add(line, what.into(), Kind::NotNeeded, why.into());
    }

    fn add(&mut self, line: usize, what: String, kind: Kind, why: String) {
        let finding = Finding { line, what, kind, why };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// In the order of the lines.
    pub(crate) fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| finding.line);
        self.0
    }
}
