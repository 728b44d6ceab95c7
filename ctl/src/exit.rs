//! How the `ferrite` command ends.

/// Exit codes of `ferrite`. Scripts rely on them: a number never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was done.
    Done,
    /// It was tried and did not work.
    Failed,
    /// The command line is wrong.
    Usage,
    /// A document, archive or disk image that was given cannot be used.
    Invalid,
    /// A signature, hash or certificate does not match.
    Unverified,
    /// The node does not answer.
    Unreachable,
    /// This computer lacks something: QEMU, a tool, space, a mirror.
    Environment,
    /// The node answered and will not do it.
    Refused,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Invalid,
        Self::Unverified,
        Self::Unreachable,
        Self::Environment,
        Self::Refused,
    ];

    /// The number that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::Unverified => 4,
            Self::Unreachable => 5,
            Self::Environment => 6,
            Self::Refused => 7,
        }
    }

    /// What it means, for a person.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "it was done",
            Self::Failed => "it was tried and did not work; the message says why",
            Self::Usage => "the command line is wrong; see --help",
            Self::Invalid => {
                "a document, archive or image that was given is not valid; nothing was done"
            }
            Self::Unverified => "a signature, hash or certificate does not match",
            Self::Unreachable => "the node does not answer",
            Self::Environment => {
                "this computer lacks something: QEMU, a tool, space, a mirror; \
                 the message says how to mend it"
            }
            Self::Refused => "the node answered and will not do it; the message says why",
        }
    }
}

/// What `ferrite help exit-codes` shows.
#[must_use]
pub fn help() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {}  {}\n", exit.code(), exit.meaning()));
    format!("Exit codes of ferrite:\n\n{}", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn codes_are_distinct_and_in_order() {
        for (index, exit) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), index);
        }
    }

    #[test]
    fn the_reference_page_names_every_code() {
        let page = include_str!("../../docs/exit-codes.md");
        for exit in Exit::ALL {
            let row = format!("| {} | {}", exit.code(), exit.meaning());
            assert!(page.contains(&row), "docs/exit-codes.md lacks the row {row:?}");
        }
    }
}
